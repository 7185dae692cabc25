//! Turns states into catalog lines: everything for a full catalog, what differs for a delta.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::ledger::LedgerEntry;
use super::tally::Tally;
use crate::catalog::{Content, Line, Owner, format_time, message_key};
use crate::incidents::NamedIncident;
use crate::layout::encode_name;
use crate::state::{FileState, FolderState, MailboxState, MessageState, attributes_of};
use crate::xattrs::Encoded;

/// Catalog lines as they are written, one JSON object each.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) bytes: Vec<u8>,
    /// What [`Lines::changes`] came upon.
    pub(crate) tally: Tally,
    /// Of the state that is being written, by number.
    xattrs: HashMap<u32, Encoded>,
}

impl Lines {
    fn push(&mut self, line: &Line) {
        serde_json::to_writer(&mut self.bytes, line).expect("plain data serialises to memory");
        self.bytes.push(b'\n');
    }

    /// The line every catalog begins with.
    pub(crate) fn mailbox(&mut self, path: &Path, state: &MailboxState) {
        let inside = path.strip_prefix("/").unwrap_or(path);
        self.push(&Line::Mailbox {
            path: encode_name(inside.as_os_str().as_bytes()).into_owned(),
            tree: path.is_absolute(),
            outside: (state.outside.iter())
                .map(|(name, place)| (name.clone(), encode_name(place).into_owned()))
                .collect(),
            messages: state.folders.values().map(|folder| folder.messages).sum(),
            bytes: state.folders.values().map(|folder| folder.bytes).sum(),
        });
    }

    /// All of a mailbox.
    pub(crate) fn full(&mut self, state: &MailboxState) {
        self.changes(&MailboxState::default(), state);
    }

    /// What happened while the catalog was made.
    pub(crate) fn incidents<'e>(&mut self, entries: impl Iterator<Item = &'e LedgerEntry>) {
        for entry in entries {
            let NamedIncident { incident, path, reason } = NamedIncident::of(entry);
            self.push(&Line::Incident { incident, path, reason });
        }
    }

    /// What turns `old` into `new`.
    pub(crate) fn changes(&mut self, old: &MailboxState, new: &MailboxState) {
        self.xattrs = new.xattrs.encoded();
        let is_first = old.folders.is_empty();
        if is_first {
            self.tally.first(new.folders.values().map(|folder| folder.messages).sum());
        }
        for path in gone(&old.folders, &new.folders) {
            self.tally.left(&old.folders[path]);
        }
        for path in gone(&old.folders, &new.folders).chain(gone(&old.files, &new.files)) {
            self.push(&Line::Gone { path: encode_name(path).into_owned() });
        }
        let none = FolderState::default();
        for (path, folder) in &new.folders {
            let known = old.folders.get(path);
            let path = encode_name(path).into_owned();
            let is_same = |old: &FolderState| {
                (old.attributes, old.xattrs, old.mtime_ns, old.is_maildir)
                    == (folder.attributes, folder.xattrs, folder.mtime_ns, folder.is_maildir)
            };
            if !known.is_some_and(is_same) {
                let owner = self.owner(folder.attributes, folder.xattrs);
                let maildir = folder.is_maildir;
                let mtime = folder.mtime_ns.map(format_time);
                self.push(&Line::Folder { path: path.clone(), maildir, owner, mtime });
            }
            self.messages(&path, known.unwrap_or(&none), folder, is_first);
        }
        for (path, file) in &new.files {
            if !old.files.get(path).is_some_and(|old| is_same_file(old, file)) {
                self.file(path, file);
            }
        }
    }

    fn messages(&mut self, folder: &str, old: &FolderState, new: &FolderState, is_first: bool) {
        if old.encoded == new.encoded {
            return;
        }
        let old = old.messages().unwrap_or_default();
        let new = new.messages().unwrap_or_default();
        let (mut old, mut new) = (old.as_slice(), new.as_slice());
        loop {
            let base = match (old.first(), new.first()) {
                (None, None) => return,
                (Some(message), None) | (None, Some(message)) => message.base(),
                (Some(a), Some(b)) => a.base().min(b.base()),
            };
            let old_group = split_group(&mut old, base);
            let new_group = split_group(&mut new, base);
            if !is_first {
                self.tally.group(old_group, new_group);
            }
            match (old_group, new_group) {
                (old, new)
                    if old.len() == new.len() && old.iter().zip(new).all(is_same_message) => {}
                (_, [b]) if !old_group.iter().any(|a| a.is_duplicate) => self.message(folder, b),
                // Doubled base names are rare: say it all again.
                _ => {
                    for message in old_group {
                        let (folder, message) = (folder.to_owned(), key(message));
                        self.push(&Line::Expunged { folder, message });
                    }
                    new_group.iter().for_each(|message| self.message(folder, message));
                }
            }
        }
    }

    fn owner(&self, attributes: (u32, u32, u32), xattrs: u32) -> Owner {
        let xattrs = self.xattrs.get(&xattrs).cloned().unwrap_or_default();
        Owner { xattrs, ..Owner::of(attributes_of(attributes)) }
    }

    fn message(&mut self, folder: &str, message: &MessageState<'_>) {
        self.push(&Line::Message {
            folder: folder.to_owned(),
            name: path_name(message),
            key: message.is_duplicate.then(|| key(message)),
            owner: self.owner((message.mode, message.uid, message.gid), message.xattrs),
            content: Content {
                mtime: format_time(message.mtime_ns),
                size: message.size,
                pack: message.pack,
                member: message.member,
            },
        });
    }

    fn file(&mut self, path: &[u8], file: &FileState) {
        let path = encode_name(path).into_owned();
        let owner = self.owner(file.attributes, file.xattrs);
        self.push(&match &file.target {
            Some(target) => Line::Link { path, target: encode_name(target).into_owned(), owner },
            None => Line::File {
                path,
                owner,
                content: Content {
                    mtime: format_time(file.mtime_ns),
                    size: file.size,
                    pack: file.pack,
                    member: file.member,
                },
            },
        });
    }
}

/// A message's key in catalogs.
fn key(message: &MessageState<'_>) -> String {
    let name = path_name(message);
    if message.is_duplicate { name } else { message_key(&name).to_owned() }
}

fn path_name(message: &MessageState<'_>) -> String {
    format!("{}/{}", message.subdir().name(), encode_name(message.name))
}

fn split_group<'m, 'b>(rest: &mut &'m [MessageState<'b>], base: &[u8]) -> &'m [MessageState<'b>] {
    let count = rest.iter().take_while(|message| message.base() == base).count();
    let (group, after) = rest.split_at(count);
    *rest = after;
    group
}

fn is_same_message((a, b): (&MessageState<'_>, &MessageState<'_>)) -> bool {
    MessageState { ino: 0, ..*a } == MessageState { ino: 0, ..*b }
}

fn is_same_file(a: &FileState, b: &FileState) -> bool {
    let seen = |file: &FileState| FileState { ino: 0, ctime_ns: 0, ..file.clone() };
    seen(a) == seen(b)
}

fn gone<'m, T>(
    old: &'m BTreeMap<Vec<u8>, T>,
    new: &'m BTreeMap<Vec<u8>, T>,
) -> impl Iterator<Item = &'m Vec<u8>> {
    old.keys().filter(|path| !new.contains_key(*path))
}
