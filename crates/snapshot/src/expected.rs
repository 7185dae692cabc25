//! What a mailbox is to be when it comes back from a snapshot: names, times, hashes and lists of UIDs, as catalogs and
//! indexes say. Of packs only the lists are read: whoever holds a restored mailbox against this trusts no pack.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::catalog::{CatalogHead, Content, Contents, Line, parse_time};
use crate::contents::{read, unseal};
use crate::crypt::Unseal;
use crate::error::Result;
use crate::hash::Sum;
use crate::layout::decode_name;
use crate::manifest::Manifest;
use crate::message;
use crate::named;
use crate::place::Part;
use crate::repository::{OpenMailbox, Repository};
use crate::restore::{folder_of_control, is_uidlist, safe_path};

/// A mailbox as a snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name, for people.
    pub name: String,
    /// Its path below the target of a restore; it never leaves that.
    pub path: PathBuf,
    /// Its folders, INBOX first.
    pub folders: Vec<Folder>,
    /// What the snapshot itself contradicts or cannot tell, for people.
    pub problems: Vec<String>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its path in the mailbox; empty for INBOX. It never leaves the mailbox.
    pub path: PathBuf,
    /// Its messages.
    pub messages: Vec<Message>,
    /// Its list of UIDs, if the snapshot has one that can be read.
    pub uidlist: Option<Kept>,
    /// Its list of keywords.
    pub keywords: Option<Kept>,
}

/// A file beside the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its path in the mailbox.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `new/` or `cur/`, and the file name with its flags.
    pub name: Vec<u8>,
    /// Modification time in nanoseconds since 1970, which is its INTERNALDATE.
    pub mtime_ns: i64,
    /// Bytes.
    pub size: u64,
    /// SHA-256, unless the index cannot be read.
    pub sum: Option<Sum>,
}

/// The id of the mailbox that `name` names, as `restore --mailbox` takes it.
pub fn id_of(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    name: &str,
) -> Result<String> {
    Ok(named::find(repository, manifest, unseal(repository, identity)?, name)?.id)
}

/// What the mailbox with this id is to be.
pub fn mailbox(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    id: &str,
) -> Result<Expected> {
    let mailbox = repository.open_mailbox(id, unseal(repository, identity)?)?;
    let (head, contents) = read(repository, manifest, &mailbox)?;
    let mut expected = Expected {
        name: mailbox.display_name(),
        path: PathBuf::new(),
        folders: Vec::new(),
        problems: Vec::new(),
    };
    match safe_path(&contents.path) {
        Some(path) => expected.path = path,
        None => expected.problems.push("its path leaves the store".into()),
    }
    let sums = sums(repository, &mailbox, &head, &contents, &mut expected.problems);
    let mut reading = Reading { repository, mailbox: &mailbox, head: &head, left: FILES_BYTES };
    for (encoded, entry) in contents.folders.iter().filter(|(_, folder)| folder.maildir) {
        let Some(path) = safe_path(encoded) else {
            expected
                .problems
                .push(format!("the path of the folder `{encoded}` leaves the mailbox"));
            continue;
        };
        let mut messages = Vec::with_capacity(entry.messages.len());
        for message in entry.messages.values() {
            let Content { mtime, size, pack, member } = &message.content;
            let (name, time) = (decode_name(&message.name), parse_time(mtime));
            let (Some(name), Some(mtime_ns)) = (name, time) else {
                let name = &message.name;
                expected.problems.push(format!("the name or time of `{name}` is not a message's"));
                continue;
            };
            let sum = sums.get(&(*pack, *member)).copied();
            let name = name.into_owned();
            messages.push(Message { name, mtime_ns, size: *size, sum });
        }
        let (mut uidlist, mut keywords) = (None, None);
        for (file, content) in files_of(&contents, encoded) {
            let (Some(path), Some(name)) = (safe_path(file), file.rsplit('/').next()) else {
                continue;
            };
            let into = match name {
                "dovecot-keywords" => &mut keywords,
                name if is_uidlist(name.as_bytes()) => &mut uidlist,
                _ => continue,
            };
            match reading.read(content) {
                Ok(bytes) => *into = Some(Kept { path, bytes }),
                Err(why) => expected.problems.push(format!("{file} cannot be read: {why}")),
            }
        }
        expected.folders.push(Folder { path, messages, uidlist, keywords });
    }
    expected.problems.truncate(PROBLEMS_MAX);
    Ok(expected)
}

/// The kept files that belong to a folder, wherever its server has them.
fn files_of<'c>(
    contents: &'c Contents,
    folder: &'c str,
) -> impl Iterator<Item = (&'c str, &'c Content)> {
    contents.files.iter().filter_map(move |(path, line)| {
        let (dir, _) = path.rsplit_once('/').unwrap_or(("", path));
        let is_its = dir == folder || folder_of_control(dir) == Some(folder);
        match line {
            Line::File { content, .. } if is_its => Some((path.as_str(), content)),
            _ => None,
        }
    })
}

/// The hash of each message by pack and member. An index that cannot be read is a problem of its messages.
fn sums(
    repository: &Repository,
    mailbox: &OpenMailbox,
    head: &CatalogHead,
    contents: &Contents,
    problems: &mut Vec<String>,
) -> BTreeMap<(u32, u32), Sum> {
    let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for message in contents.folders.values().flat_map(|folder| folder.messages.values()) {
        wanted.entry(message.content.pack).or_default().push(message.content.member);
    }
    let mut sums = BTreeMap::new();
    for (pack, mut members) in wanted {
        members.sort_unstable();
        members.dedup();
        let part = Part::of(head, pack);
        let places = match &part {
            Some(part) => part
                .places(repository.store(), &mailbox.unseal, &members)
                .map_err(|e| e.to_string()),
            None => Err(format!("the catalog does not name pack {pack}")),
        };
        match places {
            Ok(places) => sums.extend(places.iter().map(|p| ((pack, p.number), p.member.sum))),
            Err(why) => problems.push(why),
        }
    }
    sums
}

/// Reads kept files, and no more of them than memory may hold.
struct Reading<'r> {
    repository: &'r Repository,
    mailbox: &'r OpenMailbox,
    head: &'r CatalogHead,
    /// Bytes.
    left: u64,
}

impl Reading<'_> {
    fn read(&mut self, content: &Content) -> std::result::Result<Vec<u8>, String> {
        self.left = self.left.checked_sub(content.size).ok_or("the lists are too large")?;
        let mut bytes = Vec::new();
        let copied = message::copy(self.repository, self.mailbox, self.head, content, &mut bytes);
        copied.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

/// All lists of a mailbox: some millions of messages.
const FILES_BYTES: u64 = 512 << 20;

const PROBLEMS_MAX: usize = 100;
