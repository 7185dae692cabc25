//! Compares a folder's listing with what is known of it. Pure: decides which messages are known,
//! which must be looked at and which read, without touching a file.

use std::collections::{HashMap, HashSet};

use maildir::{Entry, FileKind, Listing};

use crate::state::MessageState;

/// How much of what is known is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// A known base name with its inode is the known message.
    #[default]
    BaseName,
    /// Size and modification time are compared as well (`--full`).
    Stat,
    /// Nothing: every message is read (`--rehash`).
    Nothing,
}

/// What to do about one listed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'b> {
    /// It is known; only its name may be new.
    Keep(MessageState<'b>),
    /// It is known if size, time and (for names that may be used again) inode are still the same.
    Compare(MessageState<'b>),
    /// It must be read.
    Read,
    /// It is no regular file but this.
    NotAFile(&'static str),
    /// The same file as the one before, seen twice because it was renamed meanwhile.
    SeenTwice,
}

/// Decides about each entry of `listing`, in order. `known` is sorted by base name.
pub(super) fn decide<'b>(
    known: &[MessageState<'b>],
    listing: &'b Listing,
    trust: Trust,
) -> Vec<Decision<'b>> {
    let entries = listing.entries();
    let mut decisions = Vec::with_capacity(entries.len());
    let mut known = known.iter().peekable();
    let mut at = 0;
    while let Some(first) = entries.get(at) {
        let base = listing.base(first);
        let same_base = entries[at..].iter().take_while(|e| listing.base(e) == base).count();
        while known.next_if(|k| k.base() < base).is_some() {}
        let mut candidates = Candidates::default();
        while let Some(candidate) = known.next_if(|k| k.base() == base) {
            candidates.push(candidate);
        }
        let mut seen = HashSet::new();
        for entry in entries[at..at + same_base].iter().rev() {
            // The last of several names for one file counts: `cur` comes after `new`.
            let is_seen_again = same_base > 1 && !seen.insert(entry.ino);
            decisions.push(match entry.kind {
                FileKind::Other(kind) => Decision::NotAFile(kind),
                FileKind::File if is_seen_again => Decision::SeenTwice,
                FileKind::File => decide_one(&candidates, listing, entry, trust, same_base > 1),
            });
        }
        decisions[at..].reverse();
        at += same_base;
    }
    decisions
}

/// The known messages with one base name, of which nothing bounds the number.
#[derive(Default)]
struct Candidates<'k, 'b> {
    first: Option<&'k MessageState<'b>>,
    others: HashMap<u64, &'k MessageState<'b>>,
}

impl<'k, 'b> Candidates<'k, 'b> {
    fn push(&mut self, known: &'k MessageState<'b>) {
        if self.first.is_none() {
            self.first = Some(known);
        } else {
            self.others.entry(known.ino).or_insert(known);
        }
    }

    fn with_inode(&self, ino: u64) -> Option<&'k MessageState<'b>> {
        let first = self.first.filter(|known| known.ino == ino);
        first.or_else(|| self.others.get(&ino).copied()).filter(|_| ino != 0)
    }

    fn only(&self) -> Option<&'k MessageState<'b>> {
        self.first.filter(|_| self.others.is_empty())
    }
}

fn decide_one<'b>(
    candidates: &Candidates<'_, 'b>,
    listing: &'b Listing,
    entry: &Entry,
    trust: Trust,
    is_ambiguous: bool,
) -> Decision<'b> {
    if trust == Trust::Nothing {
        return Decision::Read;
    }
    let same_file = candidates.with_inode(entry.ino);
    // Without the inode (restored store, rebuilt state) the only candidate of a single file may
    // still be it.
    let only = || candidates.only().filter(|_| !is_ambiguous);
    let Some(known) = same_file.or_else(only) else { return Decision::Read };
    let is_unique = maildir::is_unique_name(listing.base(entry));
    let renamed = MessageState {
        name: listing.name(entry),
        is_new: entry.subdir == maildir::Subdir::New,
        ..*known
    };
    if trust == Trust::BaseName && is_unique && same_file.is_some() {
        Decision::Keep(renamed)
    } else if is_unique || same_file.is_some() {
        Decision::Compare(renamed)
    } else {
        Decision::Read
    }
}
