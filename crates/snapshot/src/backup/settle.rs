//! Folders that never became quiet: a message that moved between two of them may have been seen in
//! both, and belongs into the snapshot once. Real copies (hard links) stay. Which of several places
//! have the file is told by looking at all of them and at its number of links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;

use maildir::base_name;

use super::folder::os;
use super::ledger::Incident;
use super::scan::Scan;

/// Device and inode.
type Inode = (u64, u64);

/// One of several places of a file.
#[derive(Debug)]
struct Place {
    folder: Vec<u8>,
    /// `new/` or `cur/`, and the newest name that was seen.
    subdir: &'static str,
    name: Vec<u8>,
    /// Whether the newest listing of the folder has it.
    is_listed: bool,
}

impl Scan<'_, '_, '_> {
    /// Marks folders that did not become quiet, and drops from them what moved on.
    pub(super) fn settle(&mut self, unsettled: &BTreeSet<Vec<u8>>) {
        for path in unsettled {
            let name = self.run.path_of(os(path).as_ref(), b"");
            if let Some(look) = self.looks.get_mut(path) {
                look.ledger.note(Incident::UnstableFolder, name, None);
            }
            if let Some(state) = self.run.next.folders.get_mut(path) {
                state.print = None;
            }
        }
        let mut open = self.doubled(unsettled);
        let mut moved = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 {
                self.list_again(&mut open);
            }
            open.retain_mut(|(inode, places)| {
                let Some(keep) = self.look_at(*inode, places) else { return true };
                let all = std::mem::take(places).into_iter().enumerate();
                let left = all.filter(|(at, _)| !keep.contains(at));
                moved.extend(left.map(|(_, place)| (*inode, place)));
                false
            });
            if open.is_empty() {
                break;
            }
        }
        // They move faster than they can be looked at: the newest listings decide.
        for (inode, places) in open {
            let is_anywhere = places.iter().any(|place| place.is_listed);
            let last = places.len() - 1;
            for (at, place) in places.into_iter().enumerate() {
                if if is_anywhere { !place.is_listed } else { at != last } {
                    moved.push((inode, place));
                }
            }
        }
        self.drop_moved(moved);
    }

    /// Files that were seen in several folders, one of them unsettled.
    fn doubled(&self, unsettled: &BTreeSet<Vec<u8>>) -> Vec<(Inode, Vec<Place>)> {
        let mut counts: HashMap<Inode, u32> = HashMap::new();
        let (restless, quiet): (Vec<_>, Vec<_>) =
            self.run.next.folders.iter().partition(|(path, _)| unsettled.contains(*path));
        let inode = |path: &[u8], is_new: bool, ino| {
            let print = self.looks.get(path).map(|look| look.print).unwrap_or_default();
            (print.dirs[usize::from(!is_new)].dev, ino)
        };
        for (path, state) in &restless {
            for message in state.messages().unwrap_or_default() {
                *counts.entry(inode(path, message.is_new, message.ino)).or_default() += 1;
            }
        }
        for (path, state) in &quiet {
            for message in state.messages().unwrap_or_default() {
                let inode = inode(path, message.is_new, message.ino);
                counts.entry(inode).and_modify(|count| *count += 1);
            }
        }
        counts.retain(|(_, ino), count| *count > 1 && *ino != 0);
        if counts.is_empty() {
            return Vec::new();
        }
        let mut doubled: BTreeMap<Inode, Vec<Place>> = BTreeMap::new();
        for (path, state) in &self.run.next.folders {
            for message in state.messages().unwrap_or_default() {
                let inode = inode(path, message.is_new, message.ino);
                if counts.contains_key(&inode) {
                    doubled.entry(inode).or_default().push(Place {
                        folder: path.clone(),
                        subdir: message.subdir().name(),
                        name: message.name.to_vec(),
                        is_listed: true,
                    });
                }
            }
        }
        doubled.into_iter().collect()
    }

    /// The places to keep; `None` if that cannot be told from one look.
    fn look_at(&self, inode: Inode, places: &[Place]) -> Option<BTreeSet<usize>> {
        let root = self.root();
        let mut links = 0;
        let mut there = BTreeSet::new();
        for (at, place) in places.iter().enumerate() {
            let path = root.join(os(&place.folder)).join(place.subdir).join(os(&place.name));
            let Ok(stat) = path.symlink_metadata() else { continue };
            if (stat.dev(), stat.ino()) != inode {
                continue;
            }
            links = stat.nlink();
            if links == 1 {
                // It moved here between two looks, if it was seen elsewhere before.
                there.clear();
            }
            there.insert(at);
        }
        let is_told = !there.is_empty()
            && (there.len() == places.len() || u64::try_from(there.len()).ok()? >= links);
        is_told.then_some(there)
    }

    /// Finds out under which names the folders have the files now.
    fn list_again(&mut self, open: &mut [(Inode, Vec<Place>)]) {
        let root = self.root();
        let places = || open.iter().flat_map(|(_, places)| places);
        let folders: BTreeSet<Vec<u8>> = places().map(|place| place.folder.clone()).collect();
        for folder in folders {
            let Ok(listing) = self.run.reader.list_once(&root.join(os(&folder)), None) else {
                continue;
            };
            for ((_, ino), places) in &mut *open {
                for place in places.iter_mut().filter(|place| place.folder == folder) {
                    let mut found = listing.find(base_name(&place.name)).iter();
                    let entry = found.find(|entry| entry.ino == *ino);
                    place.is_listed = entry.is_some();
                    if let Some(entry) = entry {
                        place.subdir = entry.subdir.name();
                        place.name = listing.name(entry).to_vec();
                    }
                }
            }
        }
    }

    fn drop_moved(&mut self, moved: Vec<(Inode, Place)>) {
        let mut by_folder: BTreeMap<Vec<u8>, BTreeSet<(u64, Vec<u8>)>> = BTreeMap::new();
        for ((_, ino), place) in moved {
            let base = base_name(&place.name).to_vec();
            by_folder.entry(place.folder).or_default().insert((ino, base));
        }
        for (path, left) in by_folder {
            let Some(mut state) = self.run.next.folders.remove(&path) else { continue };
            let encoded = std::mem::take(&mut state.encoded);
            let mut messages: Vec<crate::state::MessageState<'_>> =
                postcard::from_bytes(&encoded).unwrap_or_default();
            messages.retain(|message| {
                let has_left = left.contains(&(message.ino, message.base().to_vec()));
                if has_left {
                    let folder = std::path::Path::new(os(&path));
                    self.account.gone(message, &folder.join(message.subdir().name()));
                }
                !has_left
            });
            state.set_messages(&messages);
            self.run.next.folders.insert(path, state);
        }
    }
}

/// How often places are looked at that keep changing.
const ROUNDS: u32 = 8;
