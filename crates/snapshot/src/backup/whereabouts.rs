//! Where files are that move between folders which never rest: one that moved may have been seen in two of them,
//! and belongs into the snapshot once, while a copy (a hard link) belongs there as often as there are
//! links. Listings in a row go in, and where each file was last comes out. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use maildir::{Subdir, base_name};

use crate::state::MessageState;

/// How often folders that do not become quiet are listed to see where their files are.
pub(super) const ROUNDS: usize = 12;

/// How often after that files with several links are looked for where they were, as long as some are missing.
pub(super) const LOOKS: usize = 5;

/// All files that may have moved, by inode: one that was freed may soon be another file's.
#[derive(Default)]
pub(super) struct Files(HashMap<u64, Vec<File>>);

/// A file that moved or was seen in several places.
struct File {
    /// All that is known of it but its name.
    message: MessageState<'static>,
    /// By [`place`]: a mailbox may have a hundred thousand names for one file.
    places: HashMap<Vec<u8>, Place>,
    /// How many names it has, for each round in which a look has told: the fewest, because a move may be a
    /// link and an unlink.
    links: [Option<usize>; ROUNDS],
    /// The fewest of the looks after the last round.
    links_at_end: Option<usize>,
}

/// One of a file's places.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) folder: Vec<u8>,
    pub(super) subdir: Subdir,
    pub(super) name: Vec<u8>,
    seen: Seen,
    /// Whether it was looked for after the last round, and found.
    is_there: bool,
}

/// When a file was at a place: a bit for each round, and the lowest for before them. In a folder that has
/// not changed since it was listed it always is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen(u32);

/// A name in a listing.
pub(super) struct Sighting<'l> {
    pub(super) folder: &'l [u8],
    pub(super) subdir: Subdir,
    pub(super) name: &'l [u8],
    pub(super) ino: u64,
}

/// What a look at it says: links, size and modification time.
pub(super) struct Stat {
    pub(super) links: usize,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
}

impl Files {
    pub(super) fn has(&self, message: &MessageState<'_>) -> bool {
        self.0.get(&message.ino).is_some_and(|files| files.iter().any(|f| f.holds(message)))
    }

    pub(super) fn has_inode(&self, ino: u64) -> bool {
        self.0.contains_key(&ino)
    }

    /// A file that may be on its way, wherever it is.
    pub(super) fn add(&mut self, message: &MessageState<'_>) {
        self.file(message);
    }

    /// A message was in a folder in all rounds before this one.
    pub(super) fn was_at(&mut self, folder: &[u8], message: &MessageState<'_>, round: usize) {
        self.file(message).place(folder, message.subdir(), message.name).seen = Seen::before(round);
    }

    /// A message was read in a folder in this round.
    pub(super) fn was_read(&mut self, folder: &[u8], message: &MessageState<'_>, round: usize) {
        let place = self.file(message).place(folder, message.subdir(), message.name);
        place.seen.0 |= 1 << round;
    }

    /// A message is in a folder that has not changed since it was listed.
    pub(super) fn is_at(&mut self, folder: &[u8], message: &MessageState<'_>) {
        self.file(message).place(folder, message.subdir(), message.name).seen = Seen::ALWAYS;
    }

    /// A folder could not be listed in this round: what it had it has.
    pub(super) fn is_as_before(&mut self, folder: &[u8], round: usize) {
        for place in self.0.values_mut().flatten().flat_map(|file| file.places.values_mut()) {
            if place.folder == folder && place.seen.is_in(round - 1) {
                place.seen.0 |= 1 << round;
            }
        }
    }

    /// Takes down that a listing of this `round` has a file there. Whose name it is `stat` tells, or where there is
    /// none any more the name itself: its time alone does not make it another file. Whether it is known.
    pub(super) fn see(
        &mut self,
        at: &Sighting<'_>,
        round: usize,
        stat: impl FnOnce() -> Option<Stat>,
    ) -> bool {
        let Some(files) = self.0.get_mut(&at.ino) else { return false };
        let place = place(at.folder, at.name);
        let known = files.iter().position(|file| file.places.contains_key(&place));
        let mut found = known;
        if known.is_none_or(|at| !files[at].has_one_link()) {
            let stat = stat();
            let same = |stat: &Stat| files.iter().rposition(|file| file.is(stat));
            found = stat.as_ref().and_then(same).or(known);
            if let (Some(at), Some(stat)) = (found, stat) {
                let fewest = &mut files[at].links[round - 1];
                *fewest = Some(fewest.map_or(stat.links, |fewest| fewest.min(stat.links)));
            }
        }
        if let Some(file) = found {
            files[file].place(at.folder, at.subdir, at.name).seen.0 |= 1 << round;
        }
        found.is_some()
    }

    /// The places of files with more than one link in a folder that its listing of this round passed over, and the one
    /// before did not: a name that was just being changed, or one that is gone. With their inodes.
    pub(super) fn passed_over(&self, folder: &[u8], round: usize) -> Vec<(u64, Place)> {
        let is_passed_over = |place: &&Place| {
            let seen = place.seen;
            place.folder == folder && seen.is_in(round - 1) && !seen.is_in(round)
        };
        self.select(|file| {
            let places = (!file.has_one_link()).then(|| file.places.values());
            places.into_iter().flatten().filter(is_passed_over).collect()
        })
    }

    /// The places to look for after the last round, of files with more than one link: as long as fewer were found
    /// than there are. With their inodes, by folder.
    pub(super) fn in_doubt(&self) -> Vec<(u64, Place)> {
        let mut places =
            self.select(|file| if file.is_short() { file.fresh() } else { Vec::new() });
        places.retain(|(_, place)| !place.is_certain());
        places.sort_by(|(_, a), (_, b)| a.folder.cmp(&b.folder));
        places
    }

    fn select(&self, of: impl Fn(&File) -> Vec<&Place>) -> Vec<(u64, Place)> {
        let files = self.0.iter().flat_map(|(ino, files)| files.iter().map(move |f| (*ino, f)));
        let places = files.flat_map(|(ino, file)| of(file).into_iter().map(move |p| (ino, p)));
        places.map(|(ino, place)| (ino, place.clone())).collect()
    }

    /// A place in doubt was looked for, and found under this name, with so many links if that could be told.
    pub(super) fn is_there(&mut self, at: &Sighting<'_>, links: Option<usize>) {
        let key = place(at.folder, at.name);
        for file in self.0.get_mut(&at.ino).into_iter().flatten() {
            let Some(place) = file.places.get_mut(&key) else { continue };
            (place.subdir, place.name) = (at.subdir, at.name.to_vec());
            place.is_there = true;
            if let Some(links) = links {
                let fewest = file.links_at_end.map_or(links, |fewest| fewest.min(links));
                file.links_at_end = Some(fewest);
            }
        }
    }

    /// Where each file is, as it seems, with all that is known of it but its name.
    pub(super) fn choose(&self) -> impl Iterator<Item = (&MessageState<'static>, &Place)> {
        let files = self.0.values().flatten();
        files.flat_map(|file| file.choose().into_iter().map(move |place| (&file.message, place)))
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
}

impl Place {
    /// Found after the last round, or in a folder that rests.
    fn is_certain(&self) -> bool {
        self.is_there || self.seen.is_quiet()
    }
}

impl File {
    fn new(message: MessageState<'static>) -> Self {
        Self { message, places: HashMap::new(), links: [None; ROUNDS], links_at_end: None }
    }

    fn holds(&self, message: &MessageState<'_>) -> bool {
        self.message.sum == message.sum
    }

    fn is(&self, stat: &Stat) -> bool {
        (stat.size, stat.mtime_ns) == (self.message.size, self.message.mtime_ns)
    }

    /// Whether the last look told so.
    fn has_one_link(&self) -> bool {
        self.links.iter().flatten().next_back() == Some(&1)
    }

    fn place(&mut self, folder: &[u8], subdir: Subdir, name: &[u8]) -> &mut Place {
        let place = self.places.entry(place(folder, name)).or_insert_with(|| Place {
            folder: folder.to_vec(),
            subdir,
            name: Vec::new(),
            seen: Seen(0),
            is_there: false,
        });
        place.subdir = subdir;
        place.name = name.to_vec();
        place
    }

    /// As many places as the file has links in this mailbox: those that it had in all rounds before all others, then
    /// those where it was found, then the newest. Places in quiet folders stand for what may have moved on from
    /// there since.
    fn choose(&self) -> Vec<&Place> {
        let (newest, had_several) = (self.newest(), self.had_several());
        let mut places: Vec<&Place> = self.places.values().collect();
        places.sort_by_key(|place| {
            let Place { seen, folder, name, .. } = place;
            let (last, count) = (seen.last(), seen.0.count_ones());
            // Of one link the newest place is the one; of several one may have stayed, and been passed over.
            let rounds = if had_several { (count, last) } else { (last, count) };
            let rank = (seen.has_stayed(), place.is_certain(), seen.is_fresh(newest), rounds);
            (Reverse(rank), folder, base_name(name))
        });
        places.truncate(self.quota());
        places
    }

    /// The places where it was found, but no more than it has links; what stayed, though its links may have gone
    /// meanwhile; and in any case as many as it had at all times, because what moves fast may elude all looks.
    fn quota(&self) -> usize {
        let ever = self.links.iter().flatten().max().copied().unwrap_or(1);
        let throughout = self.looks().min().unwrap_or_else(|| self.links());
        let here = throughout.saturating_sub(self.outside());
        self.certain().min(self.links()).max(self.stayed().min(ever)).max(here).max(1)
    }

    /// How many links it had at each look that told.
    fn looks(&self) -> impl Iterator<Item = usize> {
        self.links.iter().flatten().chain(&self.links_at_end).copied()
    }

    fn stayed(&self) -> usize {
        self.places.values().filter(|place| place.seen.has_stayed()).count()
    }

    fn certain(&self) -> usize {
        self.places.values().filter(|place| place.is_certain()).count()
    }

    /// Whether places are missing, of a file that had several links at some time.
    fn is_short(&self) -> bool {
        let here = self.links().saturating_sub(self.outside());
        self.had_several() && self.certain() < here.max(1)
    }

    fn had_several(&self) -> bool {
        self.links.iter().flatten().any(|links| *links > 1)
    }

    /// Its links, as far as is known: those of the last look. If there was none those that it must have had.
    fn links(&self) -> usize {
        self.looks().last().unwrap_or_else(|| self.stayed().max(1))
    }

    /// Its places but those that several rounds did not see, while they saw others.
    fn fresh(&self) -> Vec<&Place> {
        let newest = self.newest();
        self.places.values().filter(|place| place.seen.is_fresh(newest)).collect()
    }

    /// The last round that saw it in a restless folder.
    fn newest(&self) -> u32 {
        let restless = self.places.values().filter(|place| !place.seen.is_quiet());
        restless.map(|place| place.seen.last()).max().unwrap_or_default()
    }

    /// How many of its links lie outside this mailbox, as it seems: the fewest that any round leaves unexplained.
    /// One message that moved while the folders were listed explains only one. The last round does not tell
    /// what came or went in it.
    fn outside(&self) -> usize {
        let seen = || self.places.values().map(|place| place.seen);
        let unexplained = (1..ROUNDS).filter_map(|round| {
            let here = seen().filter(|seen| seen.is_in(round)).count();
            let came = seen().filter(|seen| seen.came_in(round)).count();
            let went = seen().filter(|seen| seen.went_in(round)).count();
            Some(self.links[round - 1]?.saturating_sub(here - came.min(went)))
        });
        unexplained.min().unwrap_or(0)
    }
}

impl Seen {
    const ALWAYS: Self = Self(u32::MAX);

    /// In all rounds before this one.
    fn before(round: usize) -> Self {
        Self((1 << round) - 1)
    }

    /// Whether it was there in this round. If only this one did not see it, the listing passed it over.
    fn is_in(self, round: usize) -> bool {
        let is_seen = |round: usize| self.0 & (1 << round) != 0;
        is_seen(round) || (round > 0 && is_seen(round - 1) && is_seen(round + 1))
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

    /// Whether it was there in every round, however it was before.
    fn has_stayed(self) -> bool {
        (1..=ROUNDS).all(|round| self.is_in(round))
    }

    fn is_fresh(self, newest: u32) -> bool {
        self.is_quiet() || self.last() + FRESH_ROUNDS > newest
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

/// A file that is still in a folder is seen there within so many rounds.
const FRESH_ROUNDS: u32 = 4;

#[cfg(test)]
#[path = "whereabouts_tests.rs"]
mod tests;
