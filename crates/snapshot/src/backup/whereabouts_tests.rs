//! A model of a mailbox in which the links of one file move, come and go while it is watched.

#[path = "../../tests/repository/dice.rs"]
mod dice;

use self::dice::Dice;
use super::*;

/// What happens to a file's links.
#[derive(Clone, Copy)]
struct Case {
    /// Those in the mailbox, and those elsewhere.
    links: usize,
    outside: usize,
    /// One in so many listings has something happen after it.
    calm: usize,
    /// Whether links come and go, too.
    can_grow: bool,
    /// One in so many names is passed over by a listing.
    passed_over: usize,
    /// Whether what a listing passed over is looked for.
    is_looked_for: bool,
}

/// A mailbox of some folders with one file in it.
struct Mailbox {
    case: Case,
    dice: Dice,
    links: Vec<Link>,
    names: usize,
    /// The most names at any time.
    most: usize,
}

/// Folder and name, and what it is to be judged by.
#[derive(Clone)]
struct Link {
    folder: usize,
    name: String,
    is_throughout: bool,
    has_stayed: bool,
}

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

fn sighting<'l>(folder: &'l [u8], name: &'l [u8]) -> Sighting<'l> {
    Sighting { folder, subdir: Subdir::Cur, name, ino: 1 }
}

impl Mailbox {
    fn new(seed: u64, case: Case) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let link = |link| Link {
            folder: dice.roll(FOLDERS),
            name: format!("{link}.first"),
            is_throughout: true,
            has_stayed: true,
        };
        let links = (0..case.links).map(link).collect();
        Self { case, dice, links, names: 0, most: case.links }
    }

    /// A link moves, is copied, or goes; the first one stays where it is if there are several.
    fn perhaps_act(&mut self) {
        let Case { calm, can_grow, .. } = self.case;
        if self.dice.roll(calm) > 0 {
            return;
        }
        let count = self.links.len();
        let at = if count == 1 { 0 } else { 1 + self.dice.roll(count - 1) };
        self.names += 1;
        let (folder, name) = (self.dice.roll(FOLDERS), format!("{}.later", self.names));
        match self.dice.roll(4) {
            0 if can_grow && count < 5 => {
                let (is_throughout, has_stayed) = (false, false);
                self.links.push(Link { folder, name, is_throughout, has_stayed });
                self.most = self.most.max(self.links.len());
            }
            1 if can_grow && count > 1 => drop(self.links.remove(at)),
            _ => {
                let link = &mut self.links[at];
                (link.folder, link.name, link.has_stayed) = (folder, name, false);
            }
        }
    }

    /// What a listing of a folder shows.
    fn list(&mut self, folder: usize) -> Vec<String> {
        let names = self.links.iter().filter(|link| link.folder == folder);
        let names: Vec<String> = names.map(|link| link.name.clone()).collect();
        names.into_iter().filter(|_| self.dice.roll(self.case.passed_over) > 0).collect()
    }

    /// What stat says: one more while something moves by link and unlink.
    fn nlink(&mut self) -> usize {
        let more = usize::from(self.dice.roll(MOVING) == 0);
        self.links.len() + self.case.outside + more
    }

    /// All rounds, as they are made over a real mailbox, and what is kept then.
    fn watch(&mut self) -> Vec<(usize, String)> {
        let mut files = Files::default();
        for link in &self.links {
            files.was_at(&[link.folder as u8], &message(&link.name), 1);
        }
        for round in 1..=ROUNDS {
            for folder in 0..FOLDERS {
                for name in self.list(folder) {
                    let stat = Stat { links: self.nlink(), size: 1, mtime_ns: 1 };
                    let folder = &[folder as u8];
                    files.see(&sighting(folder, name.as_bytes()), round, || Some(stat));
                }
                self.perhaps_act();
                let again = if self.case.is_looked_for { self.list(folder) } else { Vec::new() };
                for (_, place) in files.passed_over(&[folder as u8], round) {
                    if again.iter().any(|name| name.as_bytes() == place.name) {
                        files.see(&sighting(&place.folder, &place.name), round, || None);
                    }
                }
            }
        }
        for _ in 0..if self.case.is_looked_for { LOOKS } else { 0 } {
            let in_doubt = files.in_doubt();
            for folder in 0..FOLDERS {
                let listed = self.list(folder);
                for (_, place) in in_doubt.iter().filter(|(_, p)| p.folder == [folder as u8]) {
                    if listed.iter().any(|name| name.as_bytes() == place.name) {
                        let links = Some(self.nlink());
                        files.is_there(&sighting(&place.folder, &place.name), links);
                    }
                }
            }
            self.perhaps_act();
        }
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        files.choose().map(|(_, place)| (usize::from(place.folder[0]), text(&place.name))).collect()
    }
}

/// Of many runs those that keep fewer than were there throughout, those that keep more than there ever were, and
/// those that have one that stayed elsewhere.
fn wrong(case: Case) -> [usize; 3] {
    let mut wrong = [0; 3];
    for seed in 1..=RUNS {
        let mut mailbox = Mailbox::new(seed, case);
        let kept = mailbox.watch();
        let throughout = mailbox.links.iter().filter(|link| link.is_throughout);
        let stayed = mailbox.links.iter().filter(|link| link.has_stayed);
        let is_there = |link: &Link| kept.contains(&(link.folder, link.name.clone()));
        let is_wrong = [
            kept.len() < throughout.count(),
            kept.len() > mailbox.most,
            !stayed.clone().all(is_there),
        ];
        wrong.iter_mut().zip(is_wrong).for_each(|(count, is)| *count += usize::from(is));
    }
    wrong
}

const CASE: Case =
    Case { links: 1, outside: 0, calm: 1, can_grow: false, passed_over: 20, is_looked_for: true };

#[test]
fn what_was_there_throughout_is_kept_once_however_fast_links_move_come_and_go() {
    for (links, can_grow) in [(1, false), (2, false), (3, false), (1, true), (2, true), (3, true)] {
        for (calm, passed_over) in
            [(1, 20), (2, 20), (5, 20), (20, 20), (100, 20), (5, 5), (100, 5)]
        {
            let wrong = wrong(Case { links, calm, can_grow, passed_over, ..CASE });
            let context =
                format!("{links} links, an act in {calm}, one in {passed_over} passed over");
            assert_eq!(wrong, [0; 3], "{context}, {can_grow}");
        }
    }
}

#[test]
fn a_link_outside_the_mailbox_costs_a_double_at_most() {
    for (links, can_grow, calm) in [(1, false, 5), (2, true, 5), (1, false, 100), (2, true, 100)] {
        let [fewer, more, elsewhere] = wrong(Case { links, outside: 1, can_grow, calm, ..CASE });
        assert_eq!((fewer, elsewhere), (0, 0), "{links} links, an act in {calm}");
        assert!(calm < 100 || more < RUNS as usize / 50, "{links} links: {more}");
    }
}

#[test]
fn without_a_look_at_what_was_passed_over_links_are_lost() {
    let wrong = wrong(Case { links: 2, passed_over: 3, is_looked_for: false, ..CASE });
    assert!(wrong.iter().sum::<usize>() > 0, "{wrong:?}");
}

const FOLDERS: usize = 4;
/// One in so many looks comes while something moves.
const MOVING: usize = 10;
const RUNS: u64 = 500;
