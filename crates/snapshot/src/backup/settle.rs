//! Folders that never became quiet: they are listed some more times in a row, to tell where each file that moves
//! about was last. What is known of the others stays as it is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use maildir::nofollow::Dir;
use maildir::{Entry, FileKind, Listing, Subdir, Tree, base_name, nanoseconds};

use super::account::Gone;
use super::folder::{drop_doubles, os, sort};
use super::ledger::Incident;
use super::read::{Content, Source};
use super::scan::{Scan, key};
use super::whereabouts::{Files, LOOKS, Place, ROUNDS, Sighting, Stat};
use crate::error::Result;
use crate::state::{FolderState, MessageState};

/// Where a file was found: `new` or `cur`, its name, and its links.
type Known = (Subdir, Vec<u8>, Option<usize>);

impl Scan<'_, '_, '_> {
    /// Marks folders that did not become quiet, and keeps what moves about in the mailbox where it was last.
    pub(super) fn settle(&mut self, mut tree: Tree, unsettled: &BTreeSet<Vec<u8>>) -> Result<Tree> {
        for path in unsettled {
            let name = self.run.path_of(os(path).as_ref(), b"");
            // One that was never there when it was to be listed has no look.
            let look = self.looks.get_mut(path);
            let ledger = look.map_or(&mut self.run.outcome.ledger, |look| &mut look.ledger);
            ledger.note(Incident::UnstableFolder, name, None);
        }
        if unsettled.is_empty() {
            return Ok(tree);
        }
        let mut files = Files::default();
        // One that is still known elsewhere may be a copy of what is on its way to an unsettled folder.
        self.account.gone_messages().filter(|gone| gone.ino != 0).for_each(|gone| files.add(&gone));
        let mut watched = BTreeSet::new();
        for round in 1..=ROUNDS {
            self.run.context.progress.check()?;
            // A folder may have come meanwhile, or have another name.
            if let Ok(newest) = maildir::read_tree(&self.root(), self.run.job.scope()) {
                tree = newest;
            }
            self.watch(&tree, round, &mut watched, &mut files);
            // What no pass could read is read when it may rest: at once, or in the end.
            let known = (round == 1 || round == ROUNDS).then(|| self.inodes());
            for folder in &watched {
                self.list_again(folder, round, known.as_ref(), &mut files)?;
            }
        }
        for _ in 0..LOOKS {
            let in_doubt = files.in_doubt();
            for in_folder in in_doubt.chunk_by(|(_, a), (_, b)| a.folder == b.folder) {
                let folder = &in_folder[0].1.folder;
                for ((ino, _), found) in in_folder.iter().zip(self.look_for(folder, in_folder)) {
                    let Some((subdir, name, links)) = found else { continue };
                    files.is_there(&Sighting { folder, subdir, name: &name, ino: *ino }, links);
                }
            }
        }
        self.keep(&tree, &watched, &files);
        Ok(tree)
    }

    /// Keeps what moves about in the watched folders where it was last.
    fn keep(&mut self, tree: &Tree, watched: &BTreeSet<Vec<u8>>, files: &Files) {
        let mut chosen: BTreeMap<&[u8], Vec<MessageState<'_>>> = BTreeMap::new();
        for (message, place) in files.choose().filter(|(_, place)| watched.contains(&place.folder))
        {
            let is_new = place.subdir == Subdir::New;
            let message = MessageState { name: &place.name, is_new, ..*message };
            chosen.entry(&place.folder).or_default().push(message);
        }
        for path in watched {
            let here = chosen.remove(path.as_slice()).unwrap_or_default();
            if !self.run.next.folders.contains_key(path) {
                // It came after the last pass.
                let folder = tree.folders.iter().find(|folder| key(folder) == path);
                let Some(folder) = folder.filter(|_| !here.is_empty()) else { continue };
                let state = self.run.folder_state(folder);
                self.run.next.folders.insert(path.clone(), state);
            }
            let Some(state) = self.run.next.folders.get_mut(path) else { continue };
            state.print = None;
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
                files.was_at(path, message, round);
            }
        }
        watched.extend(changed);
        // A copy of what is on its way and was never read may rest elsewhere: without it nothing tells
        // which file that is.
        let unread: HashSet<u64> = self.unread_inodes().collect();
        for (path, state) in folders().filter(|(path, _)| !watched.contains(*path)) {
            for message in state.messages().unwrap_or_default() {
                if files.has(&message) || unread.contains(&message.ino) {
                    files.is_at(path, &message);
                }
            }
        }
    }

    /// The inodes of all messages that are known.
    fn inodes(&self) -> HashSet<u64> {
        let states = self.run.next.folders.values();
        let messages = states.flat_map(|state| state.messages().unwrap_or_default());
        messages.map(|message| message.ino).collect()
    }

    /// Lists a watched folder once more. With the inodes that are `known`, files with others are read.
    fn list_again(
        &mut self,
        folder: &[u8],
        round: usize,
        known: Option<&HashSet<u64>>,
        files: &mut Files,
    ) -> Result<()> {
        let path = self.root().join(os(folder));
        let listing = match self.run.reader.list_once(&path, None) {
            Ok(listing) => listing,
            Err(e) => {
                if !e.is_vanished() {
                    files.is_as_before(folder, round);
                }
                return Ok(());
            }
        };
        let strangers = see(files, folder, &path, &listing, round);
        tracing::debug!(folder = %path.display(), "listed");
        if let Some(known) = known {
            // One that is known elsewhere is there; one that is known and has another time or size may be new.
            let is_unknown =
                |entry: &Entry| files.has_inode(entry.ino) || !known.contains(&entry.ino);
            let unknown: Vec<Entry> = strangers.into_iter().filter(is_unknown).collect();
            self.read_unknown(folder, &listing, &unknown, round, files)?;
        }
        let passed_over = files.passed_over(folder, round);
        for ((ino, _), found) in passed_over.iter().zip(self.look_for(folder, &passed_over)) {
            if let Some((subdir, name, _)) = found {
                let sighting = Sighting { folder, subdir, name: &name, ino: *ino };
                files.see(&sighting, round, || None);
            }
        }
        Ok(())
    }

    /// Looks for files where they were last in a folder: by name, and those that have another now in one listing.
    /// Gives the names, and the number of links where it can be told.
    fn look_for(&mut self, folder: &[u8], places: &[(u64, Place)]) -> Vec<Option<Known>> {
        let path = self.root().join(os(folder));
        let dirs = dirs(&path);
        let links = |ino: u64, subdir: Subdir, name: &[u8]| {
            let stat = dirs[subdir as usize].as_ref()?.stat(os(name)).ok()?;
            (stat.st_ino == ino).then(|| usize::try_from(stat.st_nlink).unwrap_or(usize::MAX))
        };
        let mut listing = None;
        let mut look = |ino: u64, place: &Place| {
            if let Some(links) = links(ino, place.subdir, &place.name) {
                return Some((place.subdir, place.name.clone(), Some(links)));
            }
            let list = || self.run.reader.list_once(&path, None).unwrap_or_default();
            let listing = listing.get_or_insert_with(list);
            let found =
                listing.find(base_name(&place.name)).iter().find(|entry| entry.ino == ino)?;
            let name = listing.name(found);
            Some((found.subdir, name.to_vec(), links(ino, found.subdir, name)))
        };
        places.iter().map(|(ino, place)| look(*ino, place)).collect()
    }

    /// Reads what nothing is known of.
    fn read_unknown(
        &mut self,
        folder: &[u8],
        listing: &Listing,
        unknown: &[Entry],
        round: usize,
        files: &mut Files,
    ) -> Result<()> {
        let inside = Path::new(os(folder));
        let path = self.root().join(inside);
        for entry in unknown {
            let (subdir, name) = (entry.subdir, listing.name(entry));
            let source = Source { folder: &path, subdir, name };
            let content = self.run.reader.read(&source, &mut self.packer)?;
            // What is gone again, or cannot be read, was delivered while it was scanned, or is unresolved.
            let Content::Stored(mut stored) = content else { continue };
            self.count(&stored);
            let xattrs = std::mem::take(&mut stored.xattrs);
            let xattrs = self.run.xattrs(xattrs, &inside.join(subdir.name()));
            let (subdir, name) = stored.found.clone().unwrap_or((subdir, name.to_vec()));
            let message = stored.message(subdir, &name, xattrs);
            self.account.came(&message, inside);
            files.was_read(folder, &message, round);
        }
        Ok(())
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

/// Takes down where a listing has the files. Gives those that are none of them.
fn see(
    files: &mut Files,
    folder: &[u8],
    path: &Path,
    listing: &Listing,
    round: usize,
) -> Vec<Entry> {
    let dirs = dirs(path);
    let mut strangers = Vec::new();
    for entry in listing.entries().iter().filter(|entry| entry.kind == FileKind::File) {
        let (name, subdir, ino) = (listing.name(entry), entry.subdir, entry.ino);
        let is_known = files.see(&Sighting { folder, subdir, name, ino }, round, || {
            let stat = dirs[subdir as usize].as_ref()?.stat(os(name)).ok()?;
            (stat.st_ino == ino).then(|| Stat {
                links: usize::try_from(stat.st_nlink).unwrap_or(usize::MAX),
                size: stat.st_size.unsigned_abs(),
                mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            })
        });
        if !is_known {
            strangers.push(*entry);
        }
    }
    strangers
}

/// `new` and `cur` of a folder, as far as they are there.
fn dirs(path: &Path) -> [Option<Dir>; 2] {
    [Subdir::New, Subdir::Cur].map(|dir| Dir::open(&path.join(dir.name())).ok())
}
