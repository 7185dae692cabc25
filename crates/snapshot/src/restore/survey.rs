//! What is at the target before an in-place restore: the live mailbox's folders, their messages and
//! their server's files. Reads only; follows no link below the store.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use maildir::{Lister, Listing, Uidlist};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::files::open_beneath;
use super::outside::Places;
use super::plan::{UIDLIST, UIDLISTS};

/// A folder at the target.
#[derive(Default)]
pub(crate) struct FolderThere {
    pub(crate) exists: bool,
    pub(crate) listing: Listing,
    /// Base names of the uidlist that have no file.
    pub(crate) expunged: HashSet<Vec<u8>>,
    pub(crate) has_uidlist: bool,
    /// Whether Dovecot has one.
    pub(crate) has_dovecots: bool,
    pub(crate) has_keywords: bool,
}

impl FolderThere {
    /// Whether a server and its clients know anything of it. Messages of the snapshot that have no
    /// UIDs yet are what an interrupted restore left.
    pub(crate) fn is_in_use(&self, is_ours: impl Fn(&[u8]) -> bool) -> bool {
        let mut entries = self.listing.entries().iter();
        self.has_uidlist || entries.any(|entry| !is_ours(self.listing.base(entry)))
    }

    /// Looks at the folder `folder` of the mailbox that is open as `root` and lies at `path`.
    pub(crate) fn read(
        root: &OwnedFd,
        path: &Path,
        folder: &Path,
        places: &Places,
    ) -> io::Result<Self> {
        match open_beneath(root, folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            done => drop(done?),
        }
        let listing = list(&path.join(folder))?;
        let mut there = Self { exists: true, listing, ..Self::default() };
        let dir = match places.open_control(root, folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(there),
            done => done?,
        };
        for name in UIDLISTS {
            let Some(bytes) = read_file(&dir, name)? else { continue };
            there.has_uidlist = true;
            there.has_dovecots |= name == UIDLIST;
            let list = Uidlist::parse(&bytes);
            let records = list.iter().flat_map(|list| &list.records);
            let gone = records.filter(|record| there.listing.find(record.base()).is_empty());
            there.expunged.extend(gone.map(|record| record.base().to_vec()));
        }
        there.has_keywords = read_file(&dir, KEYWORDS)?.is_some();
        Ok(there)
    }
}

/// A listing that certainly has all messages: a message that is overlooked would be doubled.
pub(crate) fn list(folder: &Path) -> io::Result<Listing> {
    let mut lister = Lister::default();
    for _ in 0..LISTINGS {
        let listing = lister.list(folder).map_err(named)?;
        if !listing.is_unstable {
            return Ok(listing);
        }
    }
    Err(io::Error::other("the folder changed all the time, so that what is there is not certain"))
}

/// A listing of a folder that nobody else knows yet: nothing can move in it, however young it is.
pub(crate) fn list_own(folder: &Path) -> io::Result<Listing> {
    Lister::default().list_once(folder, None).map_err(named)
}

/// Says of which part of a folder an error is.
fn named(error: maildir::Error) -> io::Error {
    let name = error.path.file_name().unwrap_or_default().to_string_lossy();
    let text = if error.path.is_symlink() {
        format!("`{name}` is a link, and links are not followed")
    } else {
        format!("`{name}`: {}", error.source)
    };
    io::Error::new(error.source.kind(), text)
}

/// A file that a server keeps in a folder; `None` if there is none, or something else has its name.
pub(crate) fn read_file(dir: impl AsFd, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whether a file has this size and modification time, as far as its file system keeps that.
pub(crate) fn is_same(dir: impl AsFd, name: &OsStr, size: u64, mtime_ns: i64) -> bool {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let Ok(stat) = rustix::fs::statat(dir, name, flags) else { return false };
    let seconds = mtime_ns.div_euclid(1_000_000_000);
    let fraction = mtime_ns.rem_euclid(1_000_000_000).unsigned_abs();
    stat.st_size.unsigned_abs() == size
        && stat.st_mtime == seconds
        && (stat.st_mtime_nsec == fraction || stat.st_mtime_nsec == 0)
}

/// A file's size; `None` if it is not there any more.
pub(crate) fn size(dir: impl AsFd, name: &OsStr) -> Option<u64> {
    let stat = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(stat.st_size.unsigned_abs())
}

/// Keeps other restores out of a mailbox as long as its directory is open.
pub(crate) fn lock(root: &OwnedFd) -> io::Result<()> {
    lock_as(root, FlockOperation::NonBlockingLockExclusive)
}

/// The same, with a lock of this kind.
pub(crate) fn lock_as(root: &OwnedFd, operation: FlockOperation) -> io::Result<()> {
    match rustix::fs::flock(root, operation) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::ResourceBusy, BUSY)),
        // Where directories cannot be locked, people see to it.
        _ => Ok(()),
    }
}

/// Why a folder is left alone.
pub(crate) const BUSY: &str = "another restore is at work in it";

/// The file that says which keyword each letter stands for.
pub(crate) const KEYWORDS: &[u8] = b"dovecot-keywords";

/// A listing tries several times itself.
const LISTINGS: u32 = 2;

const FILE_BYTES: u64 = 512 << 20;
