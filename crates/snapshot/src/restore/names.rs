//! Decides what becomes of each message in a folder that is in use: it is there already, or is added
//! under its own or a fresh base name. Pure, and the same each time, so that a restore that is run
//! again adds nothing twice.

use std::collections::HashSet;

use maildir::{Entry, Keywords, Listing, Subdir, base_name, flags, fresh_base, is_unique_name};

use super::options::Flags;

/// A folder at the target.
pub(crate) struct There<'t> {
    pub(crate) listing: &'t Listing,
    /// Base names that the server has a UID for and no file: it would complain of their return.
    pub(crate) expunged: &'t HashSet<Vec<u8>>,
    /// Whether a file has this size and time, for base names that prove nothing.
    pub(crate) is_same: &'t dyn Fn(&Entry, u64, i64) -> bool,
}

/// A message of the snapshot.
pub(crate) struct Wanted<'w> {
    pub(crate) base: &'w [u8],
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    /// Whether another message of the folder has this base name.
    pub(crate) is_double: bool,
}

/// What becomes of a message.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    /// It is there.
    There(Entry),
    /// It is added under this base name.
    Add(Vec<u8>),
    /// Too many of its names are taken.
    NoName,
}

/// Decides for one message; `taken` holds the names that were given to others.
pub(crate) fn decide(
    wanted: &Wanted<'_>,
    there: &There<'_>,
    taken: &mut HashSet<Vec<u8>>,
) -> Decision {
    let find = |base: &[u8]| there.listing.find(base);
    let is_proof = is_unique_name(wanted.base) && !wanted.is_double;
    let is_it = |entry: &&Entry| is_proof || (there.is_same)(entry, wanted.size, wanted.mtime_ns);
    if let Some(entry) = find(wanted.base).iter().find(is_it) {
        return Decision::There(*entry);
    }
    let content = format!("{} {}", wanted.size, wanted.mtime_ns);
    let fresh: Vec<Vec<u8>> =
        (0..TRIES).map(|counter| fresh_base(wanted.base, &content, counter)).collect();
    // Also when its own name is free again: servers forget what was expunged.
    if let Some(entry) = fresh.iter().find_map(|base| find(base).first()) {
        return Decision::There(*entry);
    }
    let own = wanted.base.to_vec();
    let mut names = std::iter::once(own).chain(fresh);
    let is_free = |base: &Vec<u8>| {
        find(base).is_empty() && !there.expunged.contains(base) && !taken.contains(base)
    };
    match names.find(is_free) {
        Some(base) => {
            taken.insert(base.clone());
            Decision::Add(base)
        }
        None => Decision::NoName,
    }
}

/// Directory and file name of a message that is added: `name` is the snapshot's, `info_flags` its
/// flags in the target's letters.
pub(crate) fn added_name(
    subdir: Subdir,
    name: &[u8],
    base: &[u8],
    info_flags: &[u8],
    policy: Flags,
) -> (Subdir, Vec<u8>) {
    let is_seen = policy == Flags::Seen;
    if !is_seen && info_flags == flags(name) {
        // As it is, odd information after the colon included.
        let info = &name[base_name(name).len()..];
        return (subdir, [base, info].concat());
    }
    let info_flags = if is_seen { with_seen(info_flags) } else { info_flags.to_vec() };
    let subdir = if is_seen { Subdir::Cur } else { subdir };
    (subdir, [base, b":2,", &info_flags].concat())
}

/// The place of a message that is there, with the snapshot's flags; `None` if it has them. What was
/// read stays read.
pub(crate) fn reflagged_name(
    there: (Subdir, &[u8]),
    snapshot: (Subdir, &[u8]),
) -> Option<(Subdir, Vec<u8>)> {
    let (subdir, name) = there;
    let (wanted_subdir, wanted_flags) = snapshot;
    let now = flags(name);
    let wanted = if now.contains(&b'S') { with_seen(wanted_flags) } else { wanted_flags.to_vec() };
    let subdir_after = if subdir == Subdir::Cur { subdir } else { wanted_subdir };
    if subdir_after == subdir && (wanted == now || subdir == Subdir::New) {
        return None;
    }
    Some((subdir_after, [base_name(name), b":2,", &wanted].concat()))
}

/// Flags with the one for "read". Those after a comma are a server's own.
fn with_seen(flags: &[u8]) -> Vec<u8> {
    let end = memchr::memchr(b',', flags).unwrap_or(flags.len());
    let mut letters = flags[..end].to_vec();
    if !letters.contains(&b'S') {
        letters.push(b'S');
        letters.sort_unstable();
    }
    letters.extend_from_slice(&flags[end..]);
    letters
}

/// Whether flags have a letter that stands for a keyword.
pub(crate) fn has_keywords(flags: &[u8]) -> bool {
    flags.iter().take_while(|flag| **flag != b',').any(u8::is_ascii_lowercase)
}

/// The keywords of a folder, in both places, and how many found no letter.
#[derive(Debug, Default)]
pub(crate) struct Translation {
    pub(crate) from: Keywords,
    pub(crate) to: Keywords,
    pub(crate) dropped: u64,
}

impl Translation {
    pub(crate) fn flags(&mut self, flags: &[u8]) -> Vec<u8> {
        let (flags, dropped) = maildir::translate(flags, &self.from, &mut self.to);
        self.dropped += dropped as u64;
        flags
    }
}

/// Fresh names that are tried for a message. Each restore that the user undid takes one.
const TRIES: u32 = 32;
