//! Where files are that move between folders which never rest: one that moved may have been seen in two of them,
//! and belongs into the snapshot once, while a copy (a hard link) belongs there as often as there are
//! links. Listings in a row go in, and where each file was last comes out. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use maildir::{Subdir, base_name};

use crate::state::MessageState;

/// How often folders that do not become quiet are listed to see where their files are.
pub(super) const ROUNDS: usize = 12;

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
}

/// One of a file's places.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) folder: Vec<u8>,
    pub(super) subdir: Subdir,
    pub(super) name: Vec<u8>,
    seen: Seen,
    /// Whether it was looked for once more after the last round, and not found.
    is_gone: bool,
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

    /// The places in doubt after the last round, where a file has more of them than links in this mailbox. With
    /// their inodes, by folder.
    pub(super) fn in_doubt(&self) -> Vec<(u64, Place)> {
        let mut places = self.select(|file| {
            let mut fresh = file.fresh();
            if fresh.len() <= file.here().max(1) {
                return Vec::new();
            }
            fresh.retain(|place| !place.seen.is_quiet());
            fresh
        });
        places.sort_by(|(_, a), (_, b)| a.folder.cmp(&b.folder));
        places
    }

    fn select(&self, of: impl Fn(&File) -> Vec<&Place>) -> Vec<(u64, Place)> {
        let files = self.0.iter().flat_map(|(ino, files)| files.iter().map(move |f| (*ino, f)));
        let places = files.flat_map(|(ino, file)| of(file).into_iter().map(move |p| (ino, p)));
        places.map(|(ino, place)| (ino, place.clone())).collect()
    }

    /// A place in doubt was looked for, and is not there.
    pub(super) fn is_gone(&mut self, ino: u64, at: &Place) {
        let key = place(&at.folder, &at.name);
        for file in self.0.get_mut(&ino).into_iter().flatten() {
            if let Some(place) = file.places.get_mut(&key) {
                place.is_gone = true;
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
            files.push(File { message, places: HashMap::new(), links: [None; ROUNDS] });
            files.len() - 1
        });
        &mut files[at]
    }
}

impl File {
    fn holds(&self, message: &MessageState<'_>) -> bool {
        self.message.sum == message.sum
    }

    fn is(&self, stat: &Stat) -> bool {
        (stat.size, stat.mtime_ns) == (self.message.size, self.message.mtime_ns)
    }

    fn has_one_link(&self) -> bool {
        self.links.iter().flatten().any(|links| *links == 1)
    }

    fn place(&mut self, folder: &[u8], subdir: Subdir, name: &[u8]) -> &mut Place {
        let place = self.places.entry(place(folder, name)).or_insert_with(|| Place {
            folder: folder.to_vec(),
            subdir,
            name: Vec::new(),
            seen: Seen(0),
            is_gone: false,
        });
        place.subdir = subdir;
        place.name = name.to_vec();
        place
    }

    /// The newest places, as many as the file has links in this mailbox. Those in quiet folders are not to be changed
    /// any more, and stand for what may have moved on from there since; what was always seen did not.
    fn choose(&self) -> Vec<&Place> {
        let mut places: Vec<&Place> = self.places.values().collect();
        places.sort_by_key(|place| {
            let Place { seen, folder, name, is_gone, .. } = place;
            let newest = (!is_gone, seen.has_stayed(), seen.last(), seen.0.count_ones());
            (Reverse(newest), folder, base_name(name))
        });
        places.truncate(self.quota());
        places
    }

    /// How many places to keep: those that are not out of date, but no more than the file has links; what stayed
    /// while links went; and in any case as many as it has links in this mailbox, because what moves fast may
    /// elude all rounds.
    fn quota(&self) -> usize {
        let there = self.fresh().iter().filter(|place| !place.is_gone).count();
        let stayed = self.places.values().filter(|place| place.seen.has_stayed()).count();
        let most_links = self.links.iter().flatten().max().copied().unwrap_or(1);
        there.min(self.fewest_links().max(stayed.min(most_links))).max(self.here()).max(1)
    }

    fn fewest_links(&self) -> usize {
        self.links.iter().flatten().min().copied().unwrap_or(1)
    }

    /// Its places but those that several rounds did not see, while they saw others.
    fn fresh(&self) -> Vec<&Place> {
        let restless = self.places.values().filter(|place| !place.seen.is_quiet());
        let newest = restless.map(|place| place.seen.last()).max().unwrap_or_default();
        let is_fresh = |seen: Seen| seen.is_quiet() || seen.last() + FRESH_ROUNDS > newest;
        self.places.values().filter(|place| is_fresh(place.seen)).collect()
    }

    /// How many of its links lie in this mailbox, as it seems. Those outside are the fewest that any round leaves
    /// unexplained; one message that moved while the folders were listed explains only one. The last
    /// round does not tell what came or went in it.
    fn here(&self) -> usize {
        let seen = || self.places.values().map(|place| place.seen);
        let unexplained = (1..ROUNDS).filter_map(|round| {
            let here = seen().filter(|seen| seen.is_in(round)).count();
            let came = seen().filter(|seen| seen.came_in(round)).count();
            let went = seen().filter(|seen| seen.went_in(round)).count();
            Some(self.links[round - 1]?.saturating_sub(here - came.min(went)))
        });
        let outside = unexplained.min().unwrap_or(usize::MAX);
        self.fewest_links().saturating_sub(outside)
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
mod tests {
    use super::*;

    /// A small generator, so that a seed that fails can be run again.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % sides
        }
    }

    /// A mailbox of some folders with one file in it.
    struct Mailbox {
        dice: Dice,
        /// Folder and name of each of the file's links.
        places: Vec<(usize, String)>,
        outside: usize,
        names: usize,
        /// One in so many listings has a link move after it.
        calm: usize,
        /// One in so many names is passed over by a listing.
        passed_over: usize,
        /// Whether what a listing passed over is looked for.
        is_looked_for: bool,
    }

    impl Mailbox {
        fn message(name: &str) -> MessageState<'_> {
            MessageState {
                name: name.as_bytes(),
                is_new: false,
                is_duplicate: false,
                ino: 1,
                size: 1,
                mtime_ns: 1,
                mode: 0o600,
                uid: 0,
                gid: 0,
                pack: 0,
                member: 0,
                xattrs: 0,
                sum: [0; 32],
            }
        }

        /// A link moves; if there are several the first stays. A name does not come back.
        fn perhaps_move(&mut self) {
            if self.dice.roll(self.calm) == 0 {
                let movable = self.places.len().saturating_sub(1).max(1);
                let link = self.places.len() - 1 - self.dice.roll(movable);
                self.names += 1;
                self.places[link] = (self.dice.roll(FOLDERS), format!("{}.moved", self.names));
            }
        }

        /// All rounds, as they are made over a real mailbox. Gives how many links are kept, and whether the one that
        /// stayed is where it stayed.
        fn watch(&mut self) -> (usize, bool) {
            let mut files = Files::default();
            for (folder, name) in &self.places {
                files.was_at(&[*folder as u8], &Self::message(name), 1);
            }
            for round in 1..=ROUNDS {
                for folder in 0..FOLDERS {
                    let links = self.places.len() + self.outside;
                    let listed: Vec<String> =
                        self.places.iter().filter(|p| p.0 == folder).map(|p| p.1.clone()).collect();
                    for name in listed {
                        if self.dice.roll(self.passed_over) > 0 {
                            let stat = || Some(Stat { links, size: 1, mtime_ns: 1 });
                            let (subdir, ino) = (Subdir::Cur, 1);
                            let folder = &[folder as u8];
                            let at = Sighting { folder, subdir, name: name.as_bytes(), ino };
                            files.see(&at, round, stat);
                        }
                    }
                    self.perhaps_move();
                    for (ino, place) in files.passed_over(&[folder as u8], round) {
                        if self.is_looked_for && self.is_there(&place) {
                            let Place { folder, subdir, name, .. } = &place;
                            let at = Sighting { folder, subdir: *subdir, name, ino };
                            files.see(&at, round, || None);
                        }
                    }
                }
            }
            for (ino, place) in files.in_doubt() {
                if self.is_looked_for && !self.is_there(&place) {
                    files.is_gone(ino, &place);
                }
            }
            let chosen: Vec<&Place> = files.choose().map(|(_, place)| place).collect();
            let (folder, name) = &self.places[0];
            let is_stayer =
                |place: &&&Place| place.folder == [*folder as u8] && place.name == name.as_bytes();
            (chosen.len(), self.places.len() == 1 || chosen.iter().any(|p| is_stayer(&p)))
        }

        fn is_there(&self, place: &Place) -> bool {
            let is_it = |(folder, name): &(usize, String)| {
                place.folder == [*folder as u8] && place.name == name.as_bytes()
            };
            self.places.iter().any(is_it)
        }
    }

    /// Of many runs those that keep fewer links than there are, those that keep more, and those that have the one
    /// that stayed elsewhere.
    fn wrong(links: usize, outside: usize, calm: usize, is_looked_for: bool) -> [usize; 3] {
        let mut wrong = [0; 3];
        for seed in 1..=RUNS {
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let place = |link| (dice.roll(FOLDERS), format!("{link}.first"));
            let places = (0..links).map(place).collect();
            let (names, passed_over) = (0, 20);
            let mut mailbox =
                Mailbox { dice, places, outside, names, calm, passed_over, is_looked_for };
            let (kept, has_stayed) = mailbox.watch();
            let is_wrong = [kept < links, kept > links, !has_stayed];
            wrong
                .iter_mut()
                .zip(is_wrong)
                .for_each(|(count, is_wrong)| *count += usize::from(is_wrong));
        }
        wrong
    }

    #[test]
    fn as_many_places_are_kept_as_there_are_links_however_fast_they_move() {
        for (links, calm) in [(1, 1), (1, 10), (2, 1), (2, 5), (2, 50), (3, 5), (3, 50)] {
            assert_eq!(wrong(links, 0, calm, true), [0; 3], "{links} links, one move in {calm}");
        }
        // A link outside the mailbox may cost a double, and never a message.
        for (links, calm) in [(1, 5), (1, 50), (2, 50)] {
            let [fewer, more, elsewhere] = wrong(links, 1, calm, true);
            assert_eq!((fewer, elsewhere), (0, 0), "{links} links, one move in {calm}");
            assert!(calm < 50 || more < RUNS as usize / 20, "{links} links: {more}");
        }
    }

    #[test]
    fn without_a_look_at_what_was_passed_over_links_are_lost() {
        let wrong = wrong(2, 0, 5, false);
        assert!(wrong.iter().sum::<usize>() > 0, "{wrong:?}");
    }

    const FOLDERS: usize = 4;
    const RUNS: u64 = 1000;
}
