//! One mailbox in both snapshots: reads what the comparison needs, and counts its result by folder.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::changes::{Change, Changes, Place, Side, changes};
use super::pairs::Pair;
use super::{Counts, FolderChanges, MailboxChanges, MessageChange, State};
use crate::catalog::{self, CatalogHead, Contents, MessageEntry};
use crate::contents::readable;
use crate::crypt::Unseal;
use crate::error::Result;
use crate::headers::Headers;
use crate::index::{self, INDEX_BYTES, IndexMember, Sections};
use crate::layout::{id_in_name, mailbox_prefix};
use crate::manifest::{CatalogRef, Manifest};
use crate::message_id::MessageId;
use crate::progress::Progress;
use crate::repository::{OpenMailbox, Repository};

/// What the comparison of every mailbox needs.
pub(super) struct Comparison<'c> {
    pub(super) repository: &'c Repository,
    pub(super) from: &'c Manifest,
    pub(super) to: &'c Manifest,
    pub(super) identity: &'c Unseal,
    pub(super) names: bool,
    pub(super) progress: &'c Progress,
}

/// What changed in one mailbox.
pub(super) struct Compared {
    pub(super) mailbox: MailboxChanges,
    pub(super) counts: Counts,
    pub(super) messages: Vec<MessageChange>,
}

/// A mailbox as one snapshot has it.
struct Read {
    mailbox: OpenMailbox,
    head: CatalogHead,
    contents: Contents,
}

impl Comparison<'_> {
    pub(super) fn pair(&self, pair: &Pair) -> Result<Compared> {
        self.progress.check()?;
        let old = pair.old.as_ref().map(|old| self.read(old)).transpose()?;
        let new = pair.new.as_ref().map(|new| self.read(new)).transpose()?;
        let nothing = Contents::default();
        let mut from = side(old.as_ref(), &nothing);
        let mut to = side(new.as_ref(), &nothing);
        let mut found = changes(&from, &to);
        if !found.doubts.is_empty() {
            for (read, side) in [(&old, &mut from), (&new, &mut to)] {
                let Some(read) = read else { continue };
                let packs: HashSet<&str> = found.doubts.iter().map(String::as_str).collect();
                self.members(read, &packs, |place, member| {
                    if let Some(sum) = crate::hash::parse_sum(&member.sha256) {
                        side.sums.insert(place, sum);
                    }
                })?;
            }
            found = changes(&from, &to);
        }
        let mailbox = mailbox(old.as_ref(), new.as_ref(), &found);
        let messages = if self.names {
            self.messages(old.as_ref(), new.as_ref(), &found, &mailbox.name)?
        } else {
            Vec::new()
        };
        Ok(Compared { mailbox, counts: counts(&found), messages })
    }

    fn read(&self, (id, catalog): &(String, CatalogRef)) -> Result<Read> {
        let mailbox = self.repository.open_mailbox(id, self.identity)?;
        let (store, unseal) = (self.repository.store(), &mailbox.unseal);
        let (head, contents) =
            catalog::read(store, id, &catalog.catalog, &catalog.reference, unseal)?;
        Ok(Read { mailbox, head, contents })
    }

    /// Gives `each` the members of some packs, as the indexes have them.
    fn members(
        &self,
        read: &Read,
        packs: &HashSet<&str>,
        mut each: impl FnMut(Place, IndexMember),
    ) -> Result<()> {
        let numbers: HashSet<u32> = (read.head.needs.iter())
            .filter(|need| packs.contains(id_in_name(&need.object)))
            .filter_map(|need| need.pack)
            .collect();
        let needs = read.head.needs.iter();
        for need in needs.filter(|need| need.sections.iter().any(|s| numbers.contains(&s.0))) {
            let key = format!("{}{}", mailbox_prefix(&read.mailbox.id), need.object);
            let sealed = need.reference.read(self.repository.store(), &key, INDEX_BYTES)?;
            let mut sections = Sections::open(&key, &sealed, &read.mailbox.unseal)?;
            while let Some(section) = sections.next_section()? {
                if !packs.contains(section.pack.as_str()) {
                    continue;
                }
                let mut number = 0;
                while let Some(line) = sections.next_line()? {
                    each((section.pack.clone(), number), index::parse(&key, line)?);
                    number += 1;
                }
            }
        }
        Ok(())
    }

    /// The messages that changed, with their header fields.
    fn messages(
        &self,
        old: Option<&Read>,
        new: Option<&Read>,
        found: &Changes,
        mailbox: &str,
    ) -> Result<Vec<MessageChange>> {
        // Of a message that is in both snapshots, the second has the id that leads on.
        let mut wanted: [Vec<(usize, Place)>; 2] = Default::default();
        for (nth, changed) in found.messages.iter().enumerate() {
            let (at, read, name) = match &changed.to {
                Some(to) => (1, new, Some(to)),
                None => (0, old, changed.from.as_ref()),
            };
            let place = read.zip(name).and_then(|(read, name)| place(read, name));
            wanted[at].extend(place.map(|place| (nth, place)));
        }
        let mut headers: HashMap<usize, Headers> = HashMap::new();
        for (read, wanted) in [old, new].into_iter().zip(&wanted) {
            let Some(read) = read.filter(|_| !wanted.is_empty()) else { continue };
            let packs = wanted.iter().map(|(_, place)| place.0.as_str()).collect();
            let mut by_place: HashMap<&Place, Vec<usize>> = HashMap::new();
            wanted.iter().for_each(|(nth, p)| by_place.entry(p).or_default().push(*nth));
            self.members(read, &packs, |place, member| {
                for nth in by_place.get(&place).into_iter().flatten() {
                    headers.insert(*nth, member.headers.clone());
                }
            })?;
        }
        let message = |(nth, changed): (usize, &super::changes::Changed)| {
            let last = changed.to.as_ref().map(|name| (self.to, new, name));
            let last = last.or(changed.from.as_ref().map(|name| (self.from, old, name)));
            let (manifest, read, (folder, key)) = last?;
            let id = MessageId::new(&manifest.id, &read?.mailbox.id, folder, key).to_string();
            let folder = |name: &Option<(String, String)>| Some(folder_name(&name.as_ref()?.0));
            let Headers { from, subject, .. } = headers.remove(&nth).unwrap_or_default();
            Some(MessageChange {
                mailbox: mailbox.to_owned(),
                change: changed.change,
                id,
                from_folder: folder(&changed.from),
                to_folder: folder(&changed.to),
                from,
                subject,
            })
        };
        Ok(found.messages.iter().enumerate().filter_map(message).collect())
    }
}

fn side<'r>(read: Option<&'r Read>, nothing: &'r Contents) -> Side<'r> {
    let packs = |read: &Read| {
        let needs = read.head.needs.iter();
        needs.filter_map(|need| Some((need.pack?, id_in_name(&need.object).to_owned()))).collect()
    };
    Side {
        contents: read.map_or(nothing, |read| &read.contents),
        packs: read.map(packs).unwrap_or_default(),
        sums: HashMap::new(),
    }
}

fn place(read: &Read, (folder, key): &(String, String)) -> Option<Place> {
    let entry: &MessageEntry = read.contents.folders.get(folder)?.messages.get(key)?;
    let need = read.head.needs.iter().find(|need| need.pack == Some(entry.content.pack))?;
    Some((id_in_name(&need.object).to_owned(), entry.content.member))
}

fn counts(found: &Changes) -> Counts {
    let count = |change| found.messages.iter().filter(|c| c.change == change).count() as u64;
    Counts {
        delivered: count(Change::Delivered),
        expunged: count(Change::Expunged),
        moved: count(Change::Moved),
        reflagged: count(Change::Reflagged),
    }
}

fn mailbox(old: Option<&Read>, new: Option<&Read>, found: &Changes) -> MailboxChanges {
    let name = |read: &Read| read.mailbox.display_name();
    let (state, renamed_from) = match (old, new) {
        (Some(_), None) => (State::Gone, None),
        (None, _) => (State::New, None),
        (Some(old), Some(new)) if old.mailbox.id != new.mailbox.id => {
            (State::Renamed, Some(name(old)))
        }
        (Some(_), Some(_)) => (State::Kept, None),
    };
    let newest = new.or(old);
    MailboxChanges {
        name: newest.map(name).unwrap_or_default(),
        id: newest.map(|read| read.mailbox.id.clone()).unwrap_or_default(),
        state,
        renamed_from,
        folders: folders(old, new, found),
    }
}

/// Folders that changed, or have messages that did. One that was renamed has its new path.
fn folders(old: Option<&Read>, new: Option<&Read>, found: &Changes) -> Vec<FolderChanges> {
    let paths = |read: Option<&Read>| -> HashSet<String> {
        let folders = read.map(|read| read.contents.folders.iter());
        let folders = folders.into_iter().flatten().filter(|(_, folder)| folder.maildir);
        folders.map(|(path, _)| path.clone()).collect()
    };
    let (before, after) = (paths(old), paths(new));
    let new_names: HashMap<&str, &str> =
        found.renamed.iter().map(|(new, old)| (old.as_str(), new.as_str())).collect();
    let mut rows: BTreeMap<&str, FolderChanges> = BTreeMap::new();
    for path in before.union(&after).filter(|path| !new_names.contains_key(path.as_str())) {
        let (state, renamed_from) = match found.renamed.get(path) {
            Some(old) => (State::Renamed, Some(folder_name(old))),
            None if !before.contains(path) => (State::New, None),
            None if !after.contains(path) => (State::Gone, None),
            None => (State::Kept, None),
        };
        let folder = folder_name(path);
        let row = FolderChanges { folder, state, renamed_from, ..FolderChanges::default() };
        rows.insert(path, row);
    }
    let mut count = |path: &str, add: fn(&mut FolderChanges)| {
        let path = new_names.get(path).copied().unwrap_or(path);
        if let Some(row) = rows.get_mut(path) {
            add(row);
        }
    };
    for changed in &found.messages {
        let from = changed.from.as_ref().map_or("", |(folder, _)| folder);
        let to = changed.to.as_ref().map_or("", |(folder, _)| folder);
        match changed.change {
            Change::Delivered => count(to, |row| row.delivered += 1),
            Change::Expunged => count(from, |row| row.expunged += 1),
            Change::Moved => {
                count(from, |row| row.moved_out += 1);
                count(to, |row| row.moved_in += 1);
            }
            Change::Reflagged => count(to, |row| row.reflagged += 1),
        }
    }
    let is_changed = |row: &FolderChanges| {
        let messages = row.delivered + row.expunged + row.moved_in + row.moved_out + row.reflagged;
        row.state != State::Kept || messages > 0
    };
    rows.into_values().filter(is_changed).collect()
}

fn folder_name(path: &str) -> String {
    if path.is_empty() { "INBOX".into() } else { readable(path) }
}
