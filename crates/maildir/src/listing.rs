//! A listing: the files of one folder by base name. Names lie in one buffer, because a folder may
//! have hundreds of thousands.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::{FolderPrint, base_name};

/// The two directories of a folder that hold messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subdir {
    /// Delivered, not yet seen by a client.
    New,
    /// Seen by a client; the name may carry flags.
    Cur,
}

impl Subdir {
    /// The directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
        }
    }
}

/// What a directory entry is, as far as the directory tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file, or a file system that does not tell (opening finds out).
    File,
    /// Anything else: it cannot be a message, or must not be followed.
    Other(&'static str),
}

/// One file in `new` or `cur`.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    start: u32,
    name_len: u16,
    base_len: u16,
    /// Where it was.
    pub subdir: Subdir,
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: FileKind,
}

/// The files of one folder, sorted by base name, `new` before `cur` where both have one.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// Names that begin with a dot, which no reader of Maildirs takes for messages.
    pub hidden: Vec<(Subdir, Vec<u8>)>,
    /// The directories as they were before each was listed.
    pub print: FolderPrint,
    /// Whether a directory kept changing: files may be missing, or be there that are gone.
    pub is_unstable: bool,
    /// Whether the print may be trusted by the next run.
    pub is_settled: bool,
    /// Equal for listings of one lister that have the same files under the same names.
    pub digest: u64,
}

impl Listing {
    /// The files, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file name of an entry of this listing.
    pub fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start as usize..][..usize::from(entry.name_len)]
    }

    /// The base name of an entry of this listing.
    pub fn base(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start as usize..][..usize::from(entry.base_len)]
    }

    /// The files with a base name.
    pub fn find(&self, base: &[u8]) -> &[Entry] {
        let start = self.entries.partition_point(|entry| self.base(entry) < base);
        let rest = &self.entries[start..];
        &rest[..rest.partition_point(|entry| self.base(entry) == base)]
    }

    pub(crate) fn push(
        &mut self,
        subdir: Subdir,
        name: &[u8],
        ino: u64,
        kind: FileKind,
    ) -> io::Result<()> {
        let too_large = |_| io::Error::other("more names than a listing can hold");
        let start = u32::try_from(self.names.len()).map_err(too_large)?;
        let name_len = u16::try_from(name.len()).map_err(too_large)?;
        let base_len = u16::try_from(base_name(name).len()).map_err(too_large)?;
        self.names.extend_from_slice(name);
        self.entries.push(Entry { start, name_len, base_len, subdir, ino, kind });
        Ok(())
    }

    /// Adds the files of an earlier listing whose base names this one lacks; both are sorted. What
    /// one readdir passed over, because it was being renamed, another one has.
    pub(crate) fn absorb(&mut self, earlier: &Self) -> io::Result<()> {
        let is_missing = |entry: &&Entry| self.find(earlier.base(entry)).is_empty();
        let missing: Vec<Entry> = earlier.entries.iter().filter(is_missing).copied().collect();
        self.append(earlier, &missing)
    }

    /// Adds entries of another listing.
    pub(crate) fn append(&mut self, other: &Self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            self.push(entry.subdir, other.name(entry), entry.ino, entry.kind)?;
        }
        self.sort();
        Ok(())
    }

    pub(crate) fn sort(&mut self) {
        let names = &self.names;
        let base = |e: &Entry| &names[e.start as usize..][..usize::from(e.base_len)];
        let name = |e: &Entry| &names[e.start as usize..][..usize::from(e.name_len)];
        self.entries.sort_unstable_by(|a, b| {
            base(a).cmp(base(b)).then(a.subdir.cmp(&b.subdir)).then_with(|| name(a).cmp(name(b)))
        });
    }
}

pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}
