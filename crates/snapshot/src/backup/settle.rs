//! Folders that never became quiet: a message that moved between two of them may have been seen in
//! both, and belongs into the snapshot once. Real copies (hard links) stay. Which of several places
//! have the file is told by looking at all of them and at its number of links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use maildir::Entry;

use super::account::Gone;
use super::folder::{drop_doubles, os, sort};
use super::ledger::Incident;
use super::scan::Scan;
use crate::state::{FolderState, MessageState};

/// Device and inode.
type Inode = (u64, u64);

/// A file that was seen in several places.
#[derive(Default)]
struct Doubled {
    inode: Inode,
    places: Vec<Place>,
    /// Its names, as far as a look has told.
    links: usize,
    /// The fewest of all looks, none of which fell between the link and the unlink of a move: the
    /// file had so many names throughout.
    fewest: Option<usize>,
    /// How many looks in a row found all its names: one may fall between the link and the unlink of
    /// a move.
    agreed: u32,
}

/// One of them.
struct Place {
    folder: Vec<u8>,
    /// As the state has it.
    base: Vec<u8>,
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
        let root = self.root();
        let mut open = self.doubled(unsettled);
        let mut moved = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 {
                self.list_again(&mut open);
            }
            let is_open = |file: &mut Doubled| match file.look(&root) {
                None => true,
                Some(keep) => {
                    moved.extend(file.leave_all_but(&keep));
                    false
                }
            };
            open.retain_mut(is_open);
            if open.is_empty() {
                break;
            }
        }
        // They move faster than they can be looked at: the newest listings decide, and where these
        // have fewer names than the file, the places in which it was last seen stand for the others.
        for mut file in open {
            let (listed, missing): (Vec<usize>, Vec<usize>) =
                (0..file.places.len()).rev().partition(|at| file.places[*at].is_listed);
            let names = file.fewest.unwrap_or(1).max(1);
            let keep = listed.into_iter().chain(missing).take(names).collect();
            moved.extend(file.leave_all_but(&keep));
        }
        self.drop_moved(moved);
    }

    /// Files that were seen in several folders, one of them unsettled.
    fn doubled(&self, unsettled: &BTreeSet<Vec<u8>>) -> Vec<Doubled> {
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
        let mut doubled: BTreeMap<Inode, Doubled> = BTreeMap::new();
        for (path, state) in &self.run.next.folders {
            for message in state.messages().unwrap_or_default() {
                let inode = inode(path, message.is_new, message.ino);
                if counts.contains_key(&inode) {
                    let file = doubled.entry(inode).or_default();
                    file.inode = inode;
                    file.places.push(Place {
                        folder: path.clone(),
                        base: message.base().to_vec(),
                        subdir: message.subdir().name(),
                        name: message.name.to_vec(),
                        is_listed: true,
                    });
                }
            }
        }
        doubled.into_values().collect()
    }

    /// Finds out under which names the folders have the files now.
    fn list_again(&mut self, open: &mut [Doubled]) {
        let root = self.root();
        let places = || open.iter().flat_map(|file| &file.places);
        let folders: BTreeSet<Vec<u8>> = places().map(|place| place.folder.clone()).collect();
        for folder in folders {
            let Ok(listing) = self.run.reader.list_once(&root.join(os(&folder)), None) else {
                continue;
            };
            let mut by_inode: HashMap<u64, Vec<&Entry>> = HashMap::new();
            for entry in listing.entries() {
                by_inode.entry(entry.ino).or_default().push(entry);
            }
            for file in &mut *open {
                let mut entries = by_inode.remove(&file.inode.1).unwrap_or_default();
                let here = file.places.iter_mut().filter(|place| place.folder == folder);
                // The same name first: what is left may have been given another one.
                let mut here: Vec<_> = here.collect();
                here.sort_by_key(|place| listing.find(&place.base).is_empty());
                for place in here {
                    let same = entries.iter().position(|e| listing.base(e) == place.base);
                    let entry = same.map(|at| entries.swap_remove(at)).or_else(|| entries.pop());
                    place.is_listed = entry.is_some();
                    if let Some(entry) = entry {
                        place.subdir = entry.subdir.name();
                        place.name = listing.name(entry).to_vec();
                    }
                }
            }
        }
    }

    /// Keeps messages where they were last.
    pub(super) fn put_back(&mut self, gone: &[Gone]) {
        let root = self.run.next.folders.get(&b""[..]).map(|root| root.attributes);
        let mut by_folder: BTreeMap<&Path, Vec<&Gone>> = BTreeMap::new();
        for gone in gone {
            by_folder.entry(&gone.folder).or_default().push(gone);
        }
        for (folder, gone) in by_folder {
            let state = self.run.next.folders.entry(folder.as_os_str().as_bytes().to_vec());
            let state = state.or_insert_with(|| FolderState {
                attributes: root.unwrap_or((0o700, 0, 0)),
                is_maildir: true,
                ..FolderState::default()
            });
            let encoded = std::mem::take(&mut state.encoded);
            let mut messages: Vec<_> = postcard::from_bytes(&encoded).unwrap_or_default();
            messages.extend(gone.iter().map(|gone| gone.message()));
            sort(&mut messages);
            drop_doubles(&mut messages);
            state.set_messages(&messages);
            state.print = None;
        }
    }

    /// Takes messages out of the folders that they left.
    fn drop_moved(&mut self, moved: Vec<(Inode, Place)>) {
        let mut by_folder: BTreeMap<Vec<u8>, BTreeSet<(u64, Vec<u8>)>> = BTreeMap::new();
        for ((_, ino), place) in moved {
            by_folder.entry(place.folder).or_default().insert((ino, place.base));
        }
        for (path, left) in by_folder {
            let Some(state) = self.run.next.folders.get_mut(&path) else { continue };
            let encoded = std::mem::take(&mut state.encoded);
            let mut messages: Vec<MessageState<'_>> =
                postcard::from_bytes(&encoded).unwrap_or_default();
            messages.retain(|message| {
                let has_left = left.contains(&(message.ino, message.base().to_vec()));
                if has_left {
                    self.account.gone(message, Path::new(os(&path)));
                }
                !has_left
            });
            drop_doubles(&mut messages);
            state.set_messages(&messages);
        }
    }
}

impl Doubled {
    /// The places to keep; `None` if that cannot be told from one look.
    fn look(&mut self, root: &Path) -> Option<BTreeSet<usize>> {
        let mut there = BTreeSet::new();
        for (at, place) in self.places.iter().enumerate() {
            let path = root.join(os(&place.folder)).join(place.subdir).join(os(&place.name));
            let Ok(stat) = path.symlink_metadata() else { continue };
            if (stat.dev(), stat.ino()) != self.inode {
                continue;
            }
            self.links = usize::try_from(stat.nlink()).unwrap_or(usize::MAX);
            self.fewest = Some(self.fewest.map_or(self.links, |fewest| fewest.min(self.links)));
            if self.links == 1 {
                // If it was found elsewhere before, it has moved here since.
                there.clear();
            }
            there.insert(at);
        }
        let is_all = there.len() == self.places.len() || there.len() >= self.links;
        if there.is_empty() || !is_all {
            self.agreed = 0;
            return None;
        }
        self.agreed += 1;
        (self.links == 1 || self.agreed > 1).then_some(there)
    }

    fn leave_all_but(&mut self, keep: &BTreeSet<usize>) -> Vec<(Inode, Place)> {
        let places = std::mem::take(&mut self.places).into_iter().enumerate();
        let left = places.filter(|(at, _)| !keep.contains(at));
        left.map(|(_, place)| (self.inode, place)).collect()
    }
}

/// How often places are looked at that keep changing.
const ROUNDS: u32 = 8;
