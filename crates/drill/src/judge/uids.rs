//! What IMAP promises of UIDs (RFC 9051, 2.3.1.1): in a folder under one UIDVALIDITY a UID never names another message,
//! and UIDNEXT never goes back. Beside them flags and INTERNALDATE, which a failover must not change, whatever the UID is
//! then: a message is known by its number, and its copies by their places.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::journal::{Folder, Found};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// A UID names another message than before.
    Reused {
        /// The folder.
        folder: String,
        /// Its UIDVALIDITY.
        validity: u32,
        /// The UID.
        uid: u32,
        /// The message that it was.
        was: u64,
        /// The message that it is.
        is: u64,
    },
    /// UIDNEXT is lower than a number that clients have seen.
    WentBack {
        /// The folder.
        folder: String,
        /// Its UIDVALIDITY.
        validity: u32,
        /// What UIDNEXT was, or the highest UID and one.
        was: u32,
        /// What it is.
        is: u32,
    },
    /// UIDVALIDITY is another one: clients fetch all anew.
    Validity {
        /// The folder.
        folder: String,
        /// What it was.
        was: u32,
        /// What it is.
        is: u32,
    },
    /// Flags or keywords are not what they were.
    Flags {
        /// The message.
        message: u64,
        /// What they were.
        was: String,
        /// What they are.
        is: String,
    },
    /// INTERNALDATE is not what it was.
    Date {
        /// The message.
        message: u64,
        /// What it was, in seconds since 1970.
        was: i64,
        /// What it is.
        is: i64,
    },
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Breach::Reused { folder, validity, uid, was, is } => {
                write!(
                    f,
                    "{folder}: UID {uid} under {validity} was message {was} and is message {is}"
                )
            }
            Breach::WentBack { folder, validity, was, is } => {
                write!(f, "{folder}: UIDNEXT under {validity} was {was} and is {is}")
            }
            Breach::Validity { folder, was, is } => {
                write!(f, "{folder}: UIDVALIDITY was {was} and is {is}")
            }
            Breach::Flags { message, was, is } => {
                write!(f, "message {message}: flags were “{was}” and are “{is}”")
            }
            Breach::Date { message, was, is } => {
                write!(
                    f,
                    "message {message}: INTERNALDATE was {was} and is {is}, in seconds since 1970"
                )
            }
        }
    }
}

/// Notes UIDs, and what breaks promises. What is told of places where nobody serves is nothing that a client sees, and
/// does not belong here.
#[derive(Debug, Default)]
pub(super) struct Uids {
    /// Numbers of folders, by the mailbox's owner.
    folders: HashMap<u32, Vec<usize>>,
    states: Vec<State>,
    /// The message at a UID: by folder, UIDVALIDITY and UID.
    named: HashMap<(u32, u32, u32), u64>,
    /// A copy of each message, by message and recipient.
    copies: HashMap<(u64, u32), Copied>,
    /// Those beyond the first, of the few that have several.
    more: HashMap<(u64, u32), Vec<Copied>>,
    /// Copies of this survey that are like none before: new ones, or old ones that changed.
    strange: BTreeMap<((u64, u32), At), Copied>,
    /// Copies of these a reader marks and removes: they need not be what they were.
    unwanted: HashSet<(u64, u32)>,
    survey: u32,
    flags: Vec<String>,
    breaches: Vec<Breach>,
    count: u64,
    looks: u64,
}

/// Folder, UIDVALIDITY, UID.
type At = (u32, u32, u32);

/// A copy of a message as clients see it.
#[derive(Debug, Clone, Copy)]
struct Copied {
    at: At,
    /// By their number.
    flags: u32,
    date: i64,
    /// The last one that found it.
    survey: u32,
}

impl Copied {
    fn is_like(&self, other: &Self) -> bool {
        (self.flags, self.date) == (other.flags, other.date)
    }
}

#[derive(Debug)]
struct State {
    name: String,
    validity: u32,
    /// The least that UIDNEXT may be.
    next: u32,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuity {
    /// Messages that were looked at with their UID, each time that they were.
    pub looks: u64,
    /// Promises that were broken.
    pub breaches: u64,
    /// The first of them.
    pub examples: Vec<Breach>,
}

impl Uids {
    /// A message at its UID.
    pub(super) fn found(&mut self, found: &Found) {
        let (Some(imap), Some(r)) = (&found.imap, found.r) else { return };
        self.looks += 1;
        let (validity, uid) = (imap.validity, imap.uid);
        let at = self.folder(r, &imap.folder, validity);
        let state = &mut self.states[at];
        state.next = state.next.max(uid.saturating_add(1));
        let was = *self.named.entry((at as u32, validity, uid)).or_insert(found.m);
        if was != found.m {
            let folder = state.name.clone();
            self.breach(Breach::Reused { folder, validity, uid, was, is: found.m });
        }
        if let (Some(flags), Some(date)) = (&imap.flags, imap.date) {
            let (flags, survey) = (self.flags_number(flags), self.survey);
            let copy = Copied { at: (at as u32, validity, uid), flags, date, survey };
            self.copy((found.m, r), copy);
        }
    }

    pub(super) fn unwanted(&mut self, message: u64, recipient: u32) {
        self.unwanted.insert((message, recipient));
    }

    /// All places are looked at anew.
    pub(super) fn survey_begins(&mut self) {
        self.survey = self.survey.saturating_add(1);
        self.strange.clear();
    }

    /// Every place was read, or (`is_whole` is false) not.
    pub(super) fn survey_ends(&mut self, is_whole: bool) {
        let strange = std::mem::take(&mut self.strange);
        // What was not read may have the old ones: the next survey tells.
        for ((key, _), copy) in strange.into_iter().filter(|_| is_whole) {
            // Where an old copy is no more, it has become this one.
            match self.replace(key, copy, |old| old.survey != copy.survey) {
                Some(was) => self.compare(key, was, copy),
                None => self.more.entry(key).or_default().push(copy),
            }
        }
    }

    /// What a folder says of itself.
    pub(super) fn folder_state(&mut self, told: &Folder) {
        let at = self.folder(told.r, &told.folder, told.validity);
        let state = &mut self.states[at];
        let (was, is) = (state.next, told.next);
        state.next = was.max(is);
        if is < was {
            let (folder, validity) = (state.name.clone(), state.validity);
            self.breach(Breach::WentBack { folder, validity, was, is });
        }
    }

    /// What is known by now.
    pub(super) fn continuity(&self) -> Continuity {
        Continuity { looks: self.looks, breaches: self.count, examples: self.breaches.clone() }
    }

    fn flags_number(&mut self, flags: &str) -> u32 {
        let known = self.flags.iter().position(|known| known == flags);
        let number = known.unwrap_or_else(|| {
            self.flags.push(flags.to_owned());
            self.flags.len() - 1
        });
        number as u32
    }

    /// Puts a copy in the place of a known one; gives that one.
    fn replace(
        &mut self,
        key: (u64, u32),
        copy: Copied,
        is_it: impl Fn(&Copied) -> bool,
    ) -> Option<Copied> {
        let more = self.more.get_mut(&key).into_iter().flatten();
        let old = self.copies.get_mut(&key).into_iter().chain(more).find(|old| is_it(old))?;
        Some(std::mem::replace(old, copy))
    }

    /// A copy that is where one was is that one; elsewhere it is one that has moved, if it is like one that nobody has found
    /// in this survey. A message may have several that differ: one that is delivered again has another date.
    fn copy(&mut self, key: (u64, u32), copy: Copied) {
        if let Entry::Vacant(first) = self.copies.entry(key) {
            first.insert(copy);
            return;
        }
        if let Some(was) = self.replace(key, copy, |old| old.at == copy.at) {
            return self.compare(key, was, copy);
        }
        let is_it = |old: &Copied| old.is_like(&copy) && old.survey != copy.survey;
        if self.replace(key, copy, is_it).is_none()
            && let Some(was) = self.strange.insert((key, copy.at), copy)
        {
            // Two places show it.
            self.compare(key, was, copy);
        }
    }

    fn compare(&mut self, key: (u64, u32), was: Copied, is: Copied) {
        if self.unwanted.contains(&key) {
            return;
        }
        let message = key.0;
        if was.flags != is.flags {
            let told = |copy: Copied| self.flags[copy.flags as usize].clone();
            let (was, is) = (told(was), told(is));
            self.breach(Breach::Flags { message, was, is });
        }
        if was.date != is.date {
            self.breach(Breach::Date { message, was: was.date, is: is.date });
        }
    }

    /// The folder's number. A UIDVALIDITY that is not the one before is a breach, and makes all numbers new.
    fn folder(&mut self, r: u32, name: &str, validity: u32) -> usize {
        let of_owner = self.folders.entry(r).or_default();
        let Some(at) = of_owner.iter().copied().find(|at| self.states[*at].name == name) else {
            of_owner.push(self.states.len());
            self.states.push(State { name: name.to_owned(), validity, next: 0 });
            return self.states.len() - 1;
        };
        let state = &mut self.states[at];
        let was = std::mem::replace(&mut state.validity, validity);
        if was != validity {
            state.next = 0;
            self.breach(Breach::Validity { folder: name.to_owned(), was, is: validity });
        }
        at
    }

    fn breach(&mut self, breach: Breach) {
        self.count += 1;
        if self.breaches.len() < MOST_EXAMPLES {
            self.breaches.push(breach);
        }
    }
}

/// More tell nobody more.
const MOST_EXAMPLES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Imap;

    fn found(m: u64, validity: u32, uid: u32, flags: &str, date: i64) -> Found {
        let (flags, date) = (Some(flags.to_owned()), Some(date));
        let imap = Imap { folder: "INBOX".into(), validity, uid, flags, date };
        Found { m, r: Some(0), p: 0, bad: false, imap: Some(imap) }
    }

    fn folder(validity: u32, next: u32) -> Folder {
        Folder { r: 0, p: 0, folder: "INBOX".into(), validity, next }
    }

    /// Of surveys, one after the other.
    fn breaches_of(surveys: &[&[Found]], folders: &[Folder]) -> Vec<Breach> {
        let mut uids = Uids::default();
        for founds in surveys {
            uids.survey_begins();
            founds.iter().for_each(|found| uids.found(found));
            uids.survey_ends(true);
        }
        folders.iter().for_each(|folder| uids.folder_state(folder));
        let continuity = uids.continuity();
        assert_eq!(continuity.breaches as usize, continuity.examples.len());
        continuity.examples
    }

    /// Of a survey for each message.
    fn breaches(founds: &[Found], folders: &[Folder]) -> Vec<Breach> {
        breaches_of(&founds.iter().map(std::slice::from_ref).collect::<Vec<_>>(), folders)
    }

    #[test]
    fn what_stays_breaks_nothing() {
        let twice = [found(1, 7, 1, "\\Seen", 5), found(2, 7, 2, "", 6)];
        assert_eq!(breaches(&[&twice[..], &twice].concat(), &[folder(7, 3), folder(7, 9)]), []);
        // Another mailbox has numbers of its own.
        let mut other = found(2, 7, 1, "", 6);
        other.r = Some(1);
        assert_eq!(breaches(&[found(1, 7, 1, "", 6), other], &[]), []);
    }

    #[test]
    fn each_promise_that_breaks_is_told() {
        let folder_name = || "INBOX".to_owned();
        let first = || found(1, 7, 5, "a", 5);
        for (second, state, expected) in [
            (
                found(2, 7, 5, "a", 5),
                folder(7, 6),
                Breach::Reused { folder: folder_name(), validity: 7, uid: 5, was: 1, is: 2 },
            ),
            (
                first(),
                folder(7, 5),
                Breach::WentBack { folder: folder_name(), validity: 7, was: 6, is: 5 },
            ),
            (
                found(1, 8, 5, "a", 5),
                folder(8, 6),
                Breach::Validity { folder: folder_name(), was: 7, is: 8 },
            ),
            (
                found(1, 7, 5, "b", 5),
                folder(7, 6),
                Breach::Flags { message: 1, was: "a".into(), is: "b".into() },
            ),
            (found(1, 7, 5, "a", 4), folder(7, 6), Breach::Date { message: 1, was: 5, is: 4 }),
        ] {
            assert_eq!(breaches(&[first(), second], &[state]), [expected]);
        }
    }

    #[test]
    fn copies_that_differ_are_no_breach_and_one_that_changed_is() {
        let date = |was: i64, is: i64| vec![Breach::Date { message: 1, was, is }];
        let copy = |uid: u32, date: i64| found(1, 7, uid, "", date);
        let moved = |uid: u32, date: i64| found(1, 8, uid, "", date);
        let validity = || Breach::Validity { folder: "INBOX".into(), was: 7, is: 8 };
        for (surveys, expected) in [
            // It was delivered again, and stays as it is, in whatever order they are found.
            (
                vec![vec![copy(1, 5)], vec![copy(9, 6), copy(1, 5)], vec![copy(1, 5), copy(9, 6)]],
                vec![],
            ),
            (vec![vec![copy(1, 5), copy(9, 6)], vec![copy(9, 6), copy(1, 5)]], vec![]),
            // Two places show the same.
            (vec![vec![copy(1, 5), copy(9, 6), copy(1, 5), copy(9, 6)]; 2], vec![]),
            // One of them is removed.
            (vec![vec![copy(1, 5), copy(9, 6)], vec![copy(9, 6)]], vec![]),
            // Twice at one time: nobody can tell which is which.
            (vec![vec![copy(1, 5)], vec![copy(2, 5), copy(1, 5)], vec![copy(2, 5)]], vec![]),
            (vec![vec![copy(1, 5), copy(9, 6)], vec![copy(1, 5), copy(9, 7)]], date(6, 7)),
            (vec![vec![copy(1, 5)], vec![copy(9, 6)]], date(5, 6)),
            (vec![vec![copy(1, 5)], vec![copy(9, 6)], vec![copy(9, 6)]], date(5, 6)),
            (vec![vec![copy(1, 5), copy(9, 6)], vec![moved(1, 6), moved(2, 5)]], vec![validity()]),
            (
                vec![vec![copy(1, 5), copy(9, 6)], vec![moved(1, 4), moved(2, 5)]],
                [vec![validity()], date(6, 4)].concat(),
            ),
        ] {
            let surveys: Vec<&[Found]> = surveys.iter().map(Vec::as_slice).collect();
            assert_eq!(breaches_of(&surveys, &[]), expected, "{surveys:?}");
        }
        // What was not read may have the old one; the next one tells.
        let mut uids = Uids::default();
        for (survey, is_whole, expected) in
            [(copy(1, 5), true, 0), (copy(9, 6), false, 0), (copy(9, 6), true, 1)]
        {
            uids.survey_begins();
            uids.found(&survey);
            uids.survey_ends(is_whole);
            assert_eq!(uids.continuity().breaches, expected, "{survey:?} {is_whole}");
        }
        // Two places that disagree of a new copy.
        let surveys: [&[Found]; 2] = [&[copy(1, 5)], &[copy(1, 5), copy(9, 6), copy(9, 7)]];
        assert_eq!(breaches_of(&surveys, &[]), date(6, 7));
    }
}
