//! Folders that never became quiet: a message that moved between two of them may have been seen in
//! both, and belongs into the snapshot once, while a copy (a hard link) belongs there as often as
//! there are links. Some more listings in a row tell where each file was last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use maildir::{Listing, Subdir, Tree, base_name};

use super::account::Gone;
use super::folder::{drop_doubles, os, sort};
use super::ledger::Incident;
use super::scan::{Scan, key};
use crate::state::{FolderState, MessageState};

/// A file that moved or was seen in several places.
struct File {
    /// All that is known of it but its name.
    message: MessageState<'static>,
    places: Vec<Place>,
    /// How many names it has, as far as a look has told: the fewest, because a move may be a link and
    /// an unlink.
    links: Option<usize>,
}

/// One of a file's places.
struct Place {
    folder: Vec<u8>,
    subdir: Subdir,
    name: Vec<u8>,
    /// In which round it was last seen there: 0 for before, [`QUIET`] for a folder that has not changed
    /// since it was listed.
    seen: u32,
    /// In how many rounds it was seen there.
    rounds: u32,
}

/// By inode: one that was freed may soon be another file's.
#[derive(Default)]
struct Files(HashMap<u64, Vec<File>>);

impl Scan<'_, '_, '_> {
    /// Marks folders that did not become quiet, and keeps what moves about in the mailbox where it was last.
    pub(super) fn settle(&mut self, tree: &Tree, unsettled: &BTreeSet<Vec<u8>>) {
        for path in unsettled {
            let name = self.run.path_of(os(path).as_ref(), b"");
            // One that was never there when it was to be listed has no look.
            let look = self.looks.get_mut(path);
            let ledger = look.map_or(&mut self.run.outcome.ledger, |look| &mut look.ledger);
            ledger.note(Incident::UnstableFolder, name, None);
        }
        if unsettled.is_empty() {
            return;
        }
        let mut files = Files::default();
        // One that is still known elsewhere may be a copy of what is on its way to an unsettled folder.
        for gone in self.account.gone_messages().filter(|gone| gone.ino != 0) {
            files.file(&gone);
        }
        let mut watched = BTreeSet::new();
        for round in 1..=ROUNDS {
            self.watch(tree, &mut watched, &mut files);
            for folder in &watched {
                let path = self.root().join(os(folder));
                if let Ok(listing) = self.run.reader.list_once(&path, None) {
                    files.see(folder, &path, &listing, round);
                }
                tracing::debug!(folder = %path.display(), "listed");
            }
        }
        let mut chosen: BTreeMap<&[u8], Vec<MessageState<'_>>> = BTreeMap::new();
        files.0.values_mut().flatten().for_each(File::choose);
        for file in files.0.values().flatten() {
            for place in file.places.iter().filter(|place| watched.contains(&place.folder)) {
                chosen.entry(&place.folder).or_default().push(MessageState {
                    name: &place.name,
                    is_new: place.subdir == Subdir::New,
                    ..file.message
                });
            }
        }
        for path in &watched {
            let Some(state) = self.run.next.folders.get_mut(path) else { continue };
            state.print = None;
            let here = chosen.remove(path.as_slice()).unwrap_or_default();
            let kept: HashSet<(u64, &[u8])> = here.iter().map(|m| (m.ino, m.base())).collect();
            let encoded = std::mem::take(&mut state.encoded);
            let mut messages: Vec<MessageState<'_>> =
                postcard::from_bytes(&encoded).unwrap_or_default();
            messages.retain(|message| {
                let is_restless = files.has(message);
                if is_restless && !kept.contains(&(message.ino, message.base())) {
                    self.account.gone(message, Path::new(os(path)));
                }
                !is_restless
            });
            messages.extend(here.iter().copied());
            sort(&mut messages);
            drop_doubles(&mut messages);
            state.set_messages(&messages);
        }
    }

    /// Watches the folders that changed since they were listed, with all files in them: something may have
    /// come to one that was quiet before.
    fn watch(&self, tree: &Tree, watched: &mut BTreeSet<Vec<u8>>, files: &mut Files) {
        let changed = self.changed(tree).into_iter().map(|(folder, _)| key(folder));
        let changed: BTreeSet<Vec<u8>> =
            changed.filter(|path| !watched.contains(*path)).map(<[u8]>::to_vec).collect();
        if changed.is_empty() {
            return;
        }
        let folders = || self.run.next.folders.iter();
        for (path, state) in folders().filter(|(path, _)| changed.contains(*path)) {
            for message in state.messages().unwrap_or_default().iter().filter(|m| m.ino != 0) {
                files.file(message).see(path, message.subdir(), message.name, 0);
            }
        }
        watched.extend(changed);
        // A copy of what is on its way and was never read may rest elsewhere: without it nothing tells
        // which file that is.
        let unread: HashSet<u64> = self.unread_inodes().collect();
        for (path, state) in folders().filter(|(path, _)| !watched.contains(*path)) {
            for message in state.messages().unwrap_or_default() {
                if files.has(&message) || unread.contains(&message.ino) {
                    files.file(&message).see(path, message.subdir(), message.name, QUIET);
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
}

impl Files {
    fn has(&self, message: &MessageState<'_>) -> bool {
        self.0.get(&message.ino).is_some_and(|files| files.iter().any(|f| f.holds(message)))
    }

    /// The file of a message.
    fn file(&mut self, message: &MessageState<'_>) -> &mut File {
        let files = self.0.entry(message.ino).or_default();
        let at = files.iter().position(|file| file.holds(message)).unwrap_or_else(|| {
            let message = MessageState { name: b"", is_duplicate: false, ..*message };
            files.push(File { message, places: Vec::new(), links: None });
            files.len() - 1
        });
        &mut files[at]
    }

    /// Takes down where a listing, made in this `round`, has the files.
    fn see(&mut self, folder: &[u8], path: &Path, listing: &Listing, round: u32) {
        for entry in listing.entries() {
            let Some(files) = self.0.get_mut(&entry.ino) else { continue };
            let name = listing.name(entry);
            let known = files.iter().position(|file| file.place(folder, name).is_some());
            if let Some(file) = known.map(|at| &mut files[at]).filter(|f| f.links == Some(1)) {
                file.see(folder, entry.subdir, name, round);
                continue;
            }
            // Which file it is its time tells, or else a name that is known.
            let stat = path.join(entry.subdir.name()).join(os(name)).symlink_metadata().ok();
            let stat = stat.filter(|stat| stat.ino() == entry.ino);
            let same = match &stat {
                Some(stat) => files.iter_mut().rev().find(|file| file.is(stat)),
                None => known.map(|at| &mut files[at]),
            };
            let Some(file) = same else { continue };
            if let Some(stat) = &stat {
                let links = usize::try_from(stat.nlink()).unwrap_or(usize::MAX);
                file.links = Some(file.links.map_or(links, |fewest| fewest.min(links)));
            }
            file.see(folder, entry.subdir, name, round);
        }
    }
}

impl File {
    fn holds(&self, message: &MessageState<'_>) -> bool {
        (self.message.mtime_ns, self.message.sum) == (message.mtime_ns, message.sum)
    }

    fn is(&self, stat: &Metadata) -> bool {
        let mtime_ns = stat.mtime().saturating_mul(SECOND_NS).saturating_add(stat.mtime_nsec());
        (stat.size(), mtime_ns) == (self.message.size, self.message.mtime_ns)
    }

    fn place(&self, folder: &[u8], name: &[u8]) -> Option<usize> {
        let base = base_name(name);
        self.places.iter().position(|p| p.folder == folder && base_name(&p.name) == base)
    }

    fn see(&mut self, folder: &[u8], subdir: Subdir, name: &[u8], seen: u32) {
        let is_round = u32::from((1..=ROUNDS).contains(&seen));
        match self.place(folder, name) {
            Some(at) => {
                let place = &mut self.places[at];
                place.subdir = subdir;
                place.name = name.to_vec();
                // A listing may have it twice.
                place.rounds += if place.seen == seen { 0 } else { is_round };
                place.seen = seen;
            }
            None => {
                let (folder, name) = (folder.to_vec(), name.to_vec());
                self.places.push(Place { folder, subdir, name, seen, rounds: is_round });
            }
        }
    }

    /// Keeps the newest places, as many as the file has links. Those in quiet folders are not to be
    /// changed any more, and stand for what may have moved on from there since; what was seen in every
    /// round did not. A place that several rounds did not see is none: the links may lie outside the
    /// mailbox.
    fn choose(&mut self) {
        self.places.sort_by_key(|place| Reverse((place.seen, place.rounds)));
        let newest = self.places.iter().map(|place| place.seen).filter(|seen| *seen != QUIET);
        let newest = newest.max().unwrap_or_default();
        let is_fresh = |place: &&Place| place.seen + FRESH_ROUNDS > newest;
        let fresh = self.places.iter().take_while(is_fresh).count();
        let has_stayed = |place: &&Place| place.seen == QUIET || place.rounds == ROUNDS;
        let stayed = self.places.iter().filter(has_stayed).count();
        self.places.truncate(fresh.min(self.links.unwrap_or(1).max(stayed)).max(1));
    }
}

/// How often folders that do not become quiet are listed to see where their files are.
const ROUNDS: u32 = 8;

const QUIET: u32 = ROUNDS + 1;

/// A file that is still in a folder is seen there within so many rounds.
const FRESH_ROUNDS: u32 = 4;

const SECOND_NS: i64 = 1_000_000_000;
