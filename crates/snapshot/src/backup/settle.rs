//! Folders that never became quiet: a message that moved between two of them may have been seen in
//! both, and belongs into the snapshot once, while a copy (a hard link) belongs there as often as
//! there are links. Some more listings in a row tell where each file was last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use maildir::nofollow::Dir;
use maildir::{Listing, Subdir, Tree, base_name};
use rustix::fs::Stat;

use super::account::Gone;
use super::folder::{drop_doubles, os, sort};
use super::ledger::Incident;
use super::scan::{Scan, key};
use crate::state::{FolderState, MessageState};

/// A file that moved or was seen in several places.
struct File {
    /// All that is known of it but its name.
    message: MessageState<'static>,
    /// By [`place`]: a mailbox may have a hundred thousand names for one file.
    places: HashMap<Vec<u8>, Place>,
    /// How many names it has, for each round in which a look has told: the fewest, because a move may be a
    /// link and an unlink.
    links: [Option<usize>; ROUNDS],
}

/// One of a file's places.
struct Place {
    folder: Vec<u8>,
    subdir: Subdir,
    name: Vec<u8>,
    seen: Seen,
}

/// When a file was at a place: a bit for each round, and the lowest for before them. In a folder that has
/// not changed since it was listed it always is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(u32);

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
            self.watch(tree, round, &mut watched, &mut files);
            for folder in &watched {
                let path = self.root().join(os(folder));
                if let Ok(listing) = self.run.reader.list_once(&path, None) {
                    files.see(folder, &path, &listing, round);
                }
                tracing::debug!(folder = %path.display(), "listed");
            }
        }
        let mut chosen: BTreeMap<&[u8], Vec<MessageState<'_>>> = BTreeMap::new();
        let mut places = Vec::new();
        for file in files.0.values().flatten() {
            places.extend(file.choose().into_iter().map(|place| (file, place)));
        }
        for (file, place) in places {
            if watched.contains(&place.folder) {
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
    /// come to one that was quiet before. Until now what is known of them was so.
    fn watch(&self, tree: &Tree, round: usize, watched: &mut BTreeSet<Vec<u8>>, files: &mut Files) {
        let changed = self.changed(tree).into_iter().map(|(folder, _)| key(folder));
        let changed: BTreeSet<Vec<u8>> =
            changed.filter(|path| !watched.contains(*path)).map(<[u8]>::to_vec).collect();
        if changed.is_empty() {
            return;
        }
        let folders = || self.run.next.folders.iter();
        for (path, state) in folders().filter(|(path, _)| changed.contains(*path)) {
            for message in state.messages().unwrap_or_default().iter().filter(|m| m.ino != 0) {
                files.file(message).is_at(path, message, Seen::before(round));
            }
        }
        watched.extend(changed);
        // A copy of what is on its way and was never read may rest elsewhere: without it nothing tells
        // which file that is.
        let unread: HashSet<u64> = self.unread_inodes().collect();
        for (path, state) in folders().filter(|(path, _)| !watched.contains(*path)) {
            for message in state.messages().unwrap_or_default() {
                if files.has(&message) || unread.contains(&message.ino) {
                    files.file(&message).is_at(path, &message, Seen::ALWAYS);
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
            files.push(File::new(message));
            files.len() - 1
        });
        &mut files[at]
    }

    /// Takes down where a listing, made in this `round`, has the files.
    fn see(&mut self, folder: &[u8], path: &Path, listing: &Listing, round: usize) {
        let dirs = [Subdir::New, Subdir::Cur].map(|dir| Dir::open(&path.join(dir.name())).ok());
        for entry in listing.entries() {
            let Some(files) = self.0.get_mut(&entry.ino) else { continue };
            let name = listing.name(entry);
            let place = place(folder, name);
            let known = files.iter().position(|file| file.places.contains_key(&place));
            if let Some(file) = known.map(|at| &mut files[at]).filter(|f| f.has_one_link()) {
                file.see(folder, entry.subdir, name, round);
                continue;
            }
            // Which file it is its time tells, or else a name that is known.
            let dir = &dirs[entry.subdir as usize];
            let stat = dir.as_ref().and_then(|dir| dir.stat(os(name)).ok());
            let stat = stat.filter(|stat| stat.st_ino == entry.ino);
            let same = match &stat {
                Some(stat) => files.iter_mut().rev().find(|file| file.is(stat)),
                None => known.map(|at| &mut files[at]),
            };
            let Some(file) = same else { continue };
            if let Some(stat) = &stat {
                let links = usize::try_from(stat.st_nlink).unwrap_or(usize::MAX);
                let fewest = &mut file.links[round - 1];
                *fewest = Some(fewest.map_or(links, |fewest| fewest.min(links)));
            }
            file.see(folder, entry.subdir, name, round);
        }
    }
}

impl File {
    fn new(message: MessageState<'static>) -> Self {
        Self { message, places: HashMap::new(), links: [None; ROUNDS] }
    }

    fn holds(&self, message: &MessageState<'_>) -> bool {
        (self.message.mtime_ns, self.message.sum) == (message.mtime_ns, message.sum)
    }

    fn is(&self, stat: &Stat) -> bool {
        let mtime_ns =
            stat.st_mtime.saturating_mul(SECOND_NS).saturating_add_unsigned(stat.st_mtime_nsec);
        (stat.st_size.unsigned_abs(), mtime_ns) == (self.message.size, self.message.mtime_ns)
    }

    fn has_one_link(&self) -> bool {
        self.links.iter().flatten().any(|links| *links == 1)
    }

    /// Takes down that a message of it is known to be there.
    fn is_at(&mut self, folder: &[u8], message: &MessageState<'_>, seen: Seen) {
        self.place(folder, message.subdir(), message.name).seen = seen;
    }

    /// Takes down that a listing has it there.
    fn see(&mut self, folder: &[u8], subdir: Subdir, name: &[u8], round: usize) {
        let place = self.place(folder, subdir, name);
        place.seen.0 |= 1 << round;
    }

    fn place(&mut self, folder: &[u8], subdir: Subdir, name: &[u8]) -> &mut Place {
        let place = self.places.entry(place(folder, name)).or_insert_with(|| Place {
            folder: folder.to_vec(),
            subdir,
            name: Vec::new(),
            seen: Seen(0),
        });
        place.subdir = subdir;
        place.name = name.to_vec();
        place
    }

    /// The newest places, as many as the file has links. Those in quiet folders are not to be
    /// changed any more, and stand for what may have moved on from there since; what was always seen did
    /// not. A place that several rounds did not see is none, unless fewer are left than the file has
    /// links in this mailbox: what moves fast may elude them all.
    fn choose(&self) -> Vec<&Place> {
        let mut places: Vec<&Place> = self.places.values().collect();
        places.sort_by_key(|place| {
            let Place { seen, folder, name, .. } = place;
            (
                Reverse((seen.has_stayed(), seen.last(), seen.0.count_ones())),
                folder,
                base_name(name),
            )
        });
        let newest = places.iter().filter(|place| !place.seen.is_quiet());
        let newest = newest.map(|place| place.seen.last()).max().unwrap_or_default();
        let is_fresh = |seen: Seen| seen.is_quiet() || seen.last() + FRESH_ROUNDS > newest;
        let fresh = places.iter().filter(|place| is_fresh(place.seen)).count();
        let stayed = places.iter().filter(|place| place.seen.has_stayed()).count();
        let links = self.links.iter().flatten().min().copied().unwrap_or(1);
        let most = fresh.min(links.max(stayed));
        places.truncate(most.max(links.saturating_sub(self.links_outside())).max(1));
        places
    }

    /// How many of its links lie outside the mailbox, as it seems: the fewest that any round leaves
    /// unexplained. One message that moved while the folders were listed explains only one.
    fn links_outside(&self) -> usize {
        let seen = || self.places.values().map(|place| place.seen);
        let unexplained = (1..ROUNDS).filter_map(|round| {
            let here = seen().filter(|seen| seen.is_in(round)).count();
            let came = seen().filter(|seen| seen.came_in(round)).count();
            let went = seen().filter(|seen| seen.went_in(round)).count();
            Some(self.links[round - 1]?.saturating_sub(here - came.min(went)))
        });
        unexplained.min().unwrap_or(usize::MAX)
    }
}

impl Seen {
    const ALWAYS: Self = Self(u32::MAX);

    /// In all rounds before this one.
    fn before(round: usize) -> Self {
        Self((1 << round) - 1)
    }

    fn is_in(self, round: usize) -> bool {
        self.0 & (1 << round) != 0
    }

    /// Whether it came in this round, and stayed for the next.
    fn came_in(self, round: usize) -> bool {
        !self.is_in(round - 1) && self.is_in(round) && self.is_in(round + 1)
    }

    /// Whether it was there for the last time in this round, and not the first.
    fn went_in(self, round: usize) -> bool {
        self.is_in(round - 1) && self.is_in(round) && !self.is_in(round + 1)
    }

    fn is_quiet(self) -> bool {
        self == Self::ALWAYS
    }

    /// Whether every round saw it, however it was before.
    fn has_stayed(self) -> bool {
        self.0 | 1 == Self::before(ROUNDS + 1).0 || self.is_quiet()
    }

    /// The last round that saw it; 0 for none.
    fn last(self) -> u32 {
        self.0.checked_ilog2().unwrap_or_default()
    }
}

/// What tells one place of a file from another: its folder and base name.
fn place(folder: &[u8], name: &[u8]) -> Vec<u8> {
    [folder, base_name(name)].join(&b'/')
}

/// How often folders that do not become quiet are listed to see where their files are.
const ROUNDS: usize = 12;

/// A file that is still in a folder is seen there within so many rounds.
const FRESH_ROUNDS: u32 = 4;

const SECOND_NS: i64 = 1_000_000_000;
