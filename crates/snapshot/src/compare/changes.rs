//! What changed in a mailbox between two states of it. Pure: a message is known by folder and base
//! name first, then by where its content is stored, then, if it was stored again, by its hash.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::catalog::{Contents, MessageEntry};
use crate::hash::Sum;

/// A place in the repository that means the same in both states: pack id and member number.
pub(crate) type Place = (String, u32);

/// One of the states.
pub(crate) struct Side<'c> {
    pub(crate) contents: &'c Contents,
    /// Ids of packs by number.
    pub(crate) packs: HashMap<u32, String>,
    /// Hashes of contents, if they were looked up.
    pub(crate) sums: HashMap<Place, Sum>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Delivered,
    /// It is in no folder any more.
    Expunged,
    /// It is in another folder, or has another base name.
    Moved,
    /// It has other flags, or went from `new` to `cur`.
    Reflagged,
}

/// A message that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    pub(crate) change: Change,
    /// Folder and key in the older state, unless it was delivered.
    pub(crate) from: Option<(String, String)>,
    /// Folder and key in the newer state, unless it was expunged.
    pub(crate) to: Option<(String, String)>,
}

/// What leads from one state to the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) messages: Vec<Changed>,
    /// Folders that have a new name, by it.
    pub(crate) renamed: BTreeMap<String, String>,
    /// Packs, by id, whose indexes would tell whether two messages are one.
    pub(crate) doubts: BTreeSet<String>,
}

/// A message of one of the states.
#[derive(Clone, Copy)]
struct Message<'c> {
    folder: &'c str,
    key: &'c str,
    entry: &'c MessageEntry,
}

impl Message<'_> {
    fn name(&self) -> Option<(String, String)> {
        Some((self.folder.to_owned(), self.key.to_owned()))
    }
}

impl Side<'_> {
    pub(crate) fn place(&self, entry: &MessageEntry) -> Option<Place> {
        Some((self.packs.get(&entry.content.pack)?.clone(), entry.content.member))
    }

    fn sum(&self, entry: &MessageEntry) -> Option<&Sum> {
        self.sums.get(&self.place(entry)?)
    }
}

/// What leads from `old` to `new`.
pub(crate) fn changes(old: &Side<'_>, new: &Side<'_>) -> Changes {
    let mut changes =
        Changes { renamed: renamed(old.contents, new.contents), ..Changes::default() };
    let new_names: HashMap<String, String> =
        changes.renamed.iter().map(|(new, old)| (old.clone(), new.clone())).collect();
    let (mut lost, mut found) = (Vec::new(), Vec::new());
    for (path, folder) in &old.contents.folders {
        let new_path = new_names.get(path).unwrap_or(path);
        let others = new.contents.folders.get_key_value(new_path);
        for (key, entry) in &folder.messages {
            let message = Message { folder: path, key, entry };
            let other = others.and_then(|(path, folder)| {
                let (key, entry) = folder.messages.get_key_value(key)?;
                Some(Message { folder: path, key, entry })
            });
            match other {
                None => lost.push(message),
                Some(other) if is_replaced(old, new, &message, &other, &mut changes.doubts) => {
                    lost.push(message);
                    found.push(other);
                }
                Some(other) if entry.name != other.entry.name => {
                    changes.add(Change::Reflagged, Some(&message), Some(&other));
                }
                Some(_) => {}
            }
        }
    }
    for (path, folder) in &new.contents.folders {
        let old_path = changes.renamed.get(path).unwrap_or(path);
        let others = old.contents.folders.get(old_path);
        for (key, entry) in &folder.messages {
            if others.is_none_or(|others| !others.messages.contains_key(key)) {
                found.push(Message { folder: path, key, entry });
            }
        }
    }
    changes.pair(old, new, &lost, &found);
    changes.messages.sort_unstable();
    changes
}

/// Whether two messages of one name have different contents.
fn is_replaced(
    old: &Side<'_>,
    new: &Side<'_>,
    a: &Message<'_>,
    b: &Message<'_>,
    doubts: &mut BTreeSet<String>,
) -> bool {
    let (from, to) = (old.place(a.entry), new.place(b.entry));
    let (before, after) = (&a.entry.content, &b.entry.content);
    if from == to {
        return false;
    }
    if before.size != after.size {
        return true;
    }
    match (old.sum(a.entry), new.sum(b.entry)) {
        (Some(before), Some(after)) => before != after,
        // Name, size and time are the same: it was stored again, in a larger pack.
        _ if before.mtime == after.mtime => false,
        _ => {
            doubts.extend([from, to].into_iter().flatten().map(|place| place.0));
            false
        }
    }
}

impl Changes {
    fn add(&mut self, change: Change, from: Option<&Message<'_>>, to: Option<&Message<'_>>) {
        let (from, to) = (from.and_then(Message::name), to.and_then(Message::name));
        self.messages.push(Changed { change, from, to });
    }

    /// What was lost in one place and found in another moved; the rest was expunged or delivered.
    fn pair(
        &mut self,
        old: &Side<'_>,
        new: &Side<'_>,
        lost: &[Message<'_>],
        found: &[Message<'_>],
    ) {
        let mut by_place: HashMap<Place, Vec<&Message<'_>>> = HashMap::new();
        for message in lost.iter().rev() {
            if let Some(place) = old.place(message.entry) {
                by_place.entry(place).or_default().push(message);
            }
        }
        let mut unpaired = Vec::new();
        for message in found {
            let place = new.place(message.entry);
            match place.and_then(|place| by_place.get_mut(&place)?.pop()) {
                Some(from) => self.add(Change::Moved, Some(from), Some(message)),
                None => unpaired.push(message),
            }
        }
        // Of what was stored again size and time are the same, and then the hash decides.
        let mut by_look: HashMap<(u64, &str), Vec<&Message<'_>>> = HashMap::new();
        for message in by_place.into_values().flatten() {
            let content = &message.entry.content;
            by_look.entry((content.size, &content.mtime)).or_default().push(message);
        }
        for message in unpaired {
            let content = &message.entry.content;
            let alike = by_look.entry((content.size, &content.mtime)).or_default();
            let sum = new.sum(message.entry);
            let same = alike.iter().position(|from| sum.is_some() && old.sum(from.entry) == sum);
            if let Some(same) = same {
                let from = alike.swap_remove(same);
                self.add(Change::Moved, Some(from), Some(message));
                continue;
            }
            let unknown =
                alike.iter().filter(|from| sum.is_none() || old.sum(from.entry).is_none());
            let places = unknown.flat_map(|from| [old.place(from.entry), new.place(message.entry)]);
            self.doubts.extend(places.flatten().map(|place| place.0));
            self.add(Change::Delivered, None, Some(message));
        }
        for message in by_look.into_values().flatten() {
            self.add(Change::Expunged, Some(message), None);
        }
    }
}

/// Folders that are gone and those that have most of their messages now: new path to old.
fn renamed(old: &Contents, new: &Contents) -> BTreeMap<String, String> {
    let gone = || old.folders.iter().filter(|(path, _)| !new.folders.contains_key(*path));
    let mut homes: HashMap<&str, &str> = HashMap::new();
    for (path, folder) in gone() {
        homes.extend(folder.messages.keys().map(|key| (key.as_str(), path.as_str())));
    }
    let mut votes: HashMap<(&str, &str), usize> = HashMap::new();
    for (path, folder) in new.folders.iter().filter(|(path, _)| !old.folders.contains_key(*path)) {
        for home in folder.messages.keys().filter_map(|key| homes.get(key.as_str())) {
            *votes.entry((path, home)).or_default() += 1;
        }
    }
    // More than half: no folder has two new names, and no new one two old ones worth a name.
    let is_most = |(_, home): &(&str, &str), votes: usize| {
        votes * 2 > old.folders.get(*home).map_or(0, |folder| folder.messages.len())
    };
    let mut best: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (pair, votes) in votes.into_iter().filter(|(pair, votes)| is_most(pair, *votes)) {
        let candidate = (votes, pair.1.to_owned());
        let chosen = best.entry(pair.0.to_owned()).or_default();
        *chosen = candidate.max(std::mem::take(chosen));
    }
    best.into_iter().map(|(new, (_, old))| (new, old)).collect()
}

#[cfg(test)]
mod tests;
