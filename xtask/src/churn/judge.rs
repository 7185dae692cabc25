//! Compares what a backup gave back with the workers' accounts, letter by letter and byte by byte.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::AddAssign;
use std::path::Path;

use anyhow::{Context, Result};

use super::account::Expected;
use super::letter::{self, Letters};

/// How many findings are put into words.
const NAMED_MAX: usize = 5;

/// Counts over one round, or all rounds of a tool.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Messages that were there throughout.
    pub(super) judged: u64,
    /// Of those: not in the backup, or not where they stayed all the time.
    pub(super) missed: u64,
    /// More names of a letter than it had at any instant.
    pub(super) doubled: u64,
    /// Files whose bytes are those of no letter.
    pub(super) corrupt: u64,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.missed + self.doubled + self.corrupt == 0
    }
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Verdict) {
        self.judged += other.judged;
        self.missed += other.missed;
        self.doubled += other.doubled;
        self.corrupt += other.corrupt;
    }
}

/// A backup's messages: folder and base name of every name of each letter.
#[derive(Debug, Default)]
pub(super) struct Found {
    names: HashMap<u64, Vec<(String, String)>>,
    corrupt: Vec<String>,
}

impl Found {
    /// Reads a restored store.
    pub(super) fn read(root: &Path, letters: &Letters) -> Result<Found> {
        let (mut found, mut expected) = (Found::default(), Vec::new());
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            let context = || format!("reading the restored folder `{}`", dir.display());
            let is_mail = dir.ends_with("new") || dir.ends_with("cur");
            for entry in fs::read_dir(&dir).with_context(context)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    dirs.push(entry.path());
                } else if is_mail {
                    let bytes = fs::read(entry.path()).with_context(context)?;
                    let folder = dir.strip_prefix(root)?.parent().unwrap_or(Path::new(""));
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let base = name.split(':').next().unwrap_or_default();
                    let place = (folder.display().to_string(), base.to_owned());
                    found.add(place, &bytes, letters, &mut expected);
                }
            }
        }
        Ok(found)
    }

    fn add(
        &mut self,
        place: (String, String),
        bytes: &[u8],
        letters: &Letters,
        expected: &mut Vec<u8>,
    ) {
        let id = letter::id(bytes);
        letters.write(id.unwrap_or_default(), expected);
        match id {
            Some(id) if *expected == bytes => self.names.entry(id).or_default().push(place),
            _ => self.corrupt.push(format!("{}/{} has other bytes", place.0, place.1)),
        }
    }
}

/// The verdict on one backup, and its first findings in words.
pub(super) fn judge(expected: &HashMap<u64, Expected>, found: &Found) -> (Verdict, Vec<String>) {
    let mut verdict = Verdict { corrupt: found.corrupt.len() as u64, ..Verdict::default() };
    let mut words: Vec<String> = found.corrupt.iter().take(NAMED_MAX).cloned().collect();
    let mut say = |what: String| {
        if words.len() < NAMED_MAX {
            words.push(what);
        }
    };
    for (letter, expected) in expected {
        let names = found.names.get(letter).map_or(&[][..], Vec::as_slice);
        verdict.judged += expected.throughout.len() as u64;
        let missed = missed(expected, names);
        if missed > 0 {
            verdict.missed += missed;
            let (few, is_more) = first(&expected.throughout);
            say(format!("missed {missed} of {few:?}{is_more}, found {:?}", first(names).0));
        }
        let most = expected.most as usize;
        if names.len() > most {
            verdict.doubled += (names.len() - most) as u64;
            let (few, is_more) = first(names);
            say(format!("had {most} names at most, found {few:?}{is_more}"));
        }
    }
    // A letter that was gone before the window was opened.
    for (_, names) in found.names.iter().filter(|(letter, _)| !expected.contains_key(letter)) {
        verdict.doubled += names.len() as u64;
        say(format!("was not there any more, found {:?}", first(names).0));
    }
    (verdict, words)
}

/// A letter that was copied many times has many names.
fn first<T>(names: &[T]) -> (&[T], &'static str) {
    (&names[..names.len().min(3)], if names.len() > 3 { " and more" } else { "" })
}

/// Messages that stayed must be where they stayed; of those that moved, each must be somewhere.
fn missed(expected: &Expected, names: &[(String, String)]) -> u64 {
    let names: HashSet<(&str, &str)> =
        names.iter().map(|(folder, base)| (folder.as_str(), base.as_str())).collect();
    let stayed = expected.throughout.iter().filter(|(_, _, has_stayed)| *has_stayed);
    let misplaced = stayed
        .filter(|(folder, base, _)| !names.contains(&(folder.as_str(), base.as_str())))
        .count();
    let too_few = expected.throughout.len().saturating_sub(names.len());
    misplaced.max(too_few) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(folder: &str, base: &str) -> (String, String) {
        (folder.to_owned(), base.to_owned())
    }

    fn check(expected: Expected, found: &[(String, String)], missed: u64, doubled: u64) {
        let judged = expected.throughout.len() as u64;
        let text = format!("{expected:?} {found:?}");
        let names = HashMap::from([(7, found.to_vec())]);
        let found = Found { names, corrupt: Vec::new() };
        let (verdict, words) = judge(&HashMap::from([(7, expected)]), &found);
        assert_eq!(verdict, Verdict { judged, missed, doubled, corrupt: 0 }, "{text}");
        assert_eq!(words.is_empty(), verdict.is_clean(), "{text}");
    }

    #[test]
    fn what_was_there_throughout_must_be_found_once() {
        let one = |has_stayed| Expected {
            most: 1,
            throughout: vec![("a".to_owned(), "1.x".to_owned(), has_stayed)],
        };
        let (here, there) = (name("a", "1.x"), name("b", "2.x"));
        check(one(true), std::slice::from_ref(&here), 0, 0);
        check(one(true), std::slice::from_ref(&there), 1, 0);
        check(one(true), &[], 1, 0);
        check(one(false), std::slice::from_ref(&there), 0, 0);
        check(one(false), &[], 1, 0);
        check(one(true), &[here.clone(), there.clone()], 0, 1);
        // The same name twice, in `new` and in `cur`.
        check(one(true), &[here.clone(), here.clone()], 0, 1);
        // A move by link: for a moment there were two.
        check(Expected { most: 2, ..one(false) }, &[here.clone(), there.clone()], 0, 0);
        // Expunged meanwhile: may be in, or not.
        let expunged = || Expected { most: 1, throughout: Vec::new() };
        check(expunged(), std::slice::from_ref(&here), 0, 0);
        check(expunged(), &[], 0, 0);
        // A copy is a message as well.
        let mut two = one(true);
        two.throughout.push(("b".to_owned(), "2.x".to_owned(), true));
        two.most = 2;
        check(two, std::slice::from_ref(&here), 1, 0);
    }

    #[test]
    fn a_changed_byte_and_a_letter_from_before_are_found() {
        let (letters, mut bytes, mut buffer) = (Letters::new(), Vec::new(), Vec::new());
        letters.write(7, &mut bytes);
        let mut found = Found::default();
        found.add(name("a", "1.x"), &bytes, &letters, &mut buffer);
        *bytes.last_mut().expect("a letter has bytes") ^= 1;
        found.add(name("a", "2.x"), &bytes, &letters, &mut buffer);
        found.add(name("a", "3.x"), b"", &letters, &mut buffer);
        let (verdict, _) = judge(&HashMap::new(), &found);
        assert_eq!(verdict, Verdict { judged: 0, missed: 0, doubled: 1, corrupt: 2 });
    }
}
