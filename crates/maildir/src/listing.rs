//! Listing a folder: `new` before `cur`, and again if either directory changed meanwhile, because
//! readdir may show a file that is renamed under it twice or not at all. Directory identities and
//! times (the print) let the next run skip a folder that did not change.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};

use crate::{Error, Result, base_name};

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

/// Identity and times of one directory, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirPrint {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Last change of the entries.
    pub mtime_ns: i64,
    /// Last change of entries or attributes.
    pub ctime_ns: i64,
}

/// Identity and times of a folder's `new` and `cur`, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderPrint {
    /// `new` and `cur`.
    pub dirs: [DirPrint; 2],
}

impl FolderPrint {
    /// Reads the print of the folder at `path`: two stats, no listing.
    pub fn read(path: &Path) -> Result<Self> {
        let dir = |subdir: Subdir| {
            let path = path.join(subdir.name());
            match rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(dir_print(&stat)),
                // A folder may lack one of the two, see `read_tree`.
                Err(rustix::io::Errno::NOENT) if path.parent().is_some_and(Path::is_dir) => {
                    Ok(DirPrint::default())
                }
                Err(e) => Err(Error::new("stat", &path, e)),
            }
        };
        Ok(Self { dirs: [dir(Subdir::New)?, dir(Subdir::Cur)?] })
    }

    /// Whether the directories changed so shortly before `now_ns` that a further change could
    /// carry the same times. Such a print must not be trusted by the next run.
    pub fn is_racily_young(&self, now_ns: i64) -> bool {
        self.dirs.iter().any(|dir| dir.mtime_ns.max(dir.ctime_ns) > now_ns - RACY_NS)
    }
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
    /// The directories as they were before the listing.
    pub print: FolderPrint,
    /// Whether the directories kept changing through every attempt.
    pub is_unstable: bool,
    /// Whether the print may be trusted by the next run.
    pub is_settled: bool,
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
        let count = self.entries[start..].iter().take_while(|e| self.base(e) == base).count();
        &self.entries[start..start + count]
    }

    fn push(&mut self, subdir: Subdir, name: &[u8], ino: u64, kind: FileKind) -> io::Result<()> {
        let too_large = |_| io::Error::other("more names than a listing can hold");
        let start = u32::try_from(self.names.len()).map_err(too_large)?;
        let name_len = u16::try_from(name.len()).map_err(too_large)?;
        let base_len = u16::try_from(base_name(name).len()).map_err(too_large)?;
        self.names.extend_from_slice(name);
        self.entries.push(Entry { start, name_len, base_len, subdir, ino, kind });
        Ok(())
    }

    fn sort(&mut self) {
        let names = &self.names;
        let base = |e: &Entry| &names[e.start as usize..][..usize::from(e.base_len)];
        self.entries.sort_unstable_by(|a, b| {
            base(a).cmp(base(b)).then(a.subdir.cmp(&b.subdir)).then(a.start.cmp(&b.start))
        });
    }
}

/// Lists folders; keeps its buffer from one to the next.
pub struct Lister {
    buffer: Vec<MaybeUninit<u8>>,
}

impl Default for Lister {
    fn default() -> Self {
        Self { buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES] }
    }
}

impl Lister {
    /// Lists `new`, then `cur`. A listing counts only if neither directory changed while it was
    /// read; after several attempts the last one is returned as unstable.
    pub fn list(&mut self, folder: &Path) -> Result<Listing> {
        let mut attempt = 1;
        loop {
            let now_ns = now_ns();
            let before = FolderPrint::read(folder)?;
            let mut listing = Listing { print: before, ..Listing::default() };
            for (subdir, print) in [Subdir::New, Subdir::Cur].into_iter().zip(before.dirs) {
                if print == DirPrint::default() {
                    continue;
                }
                let path = folder.join(subdir.name());
                self.read_dir(&path, subdir, &mut listing)
                    .map_err(|e| Error::new("list", &path, e))?;
            }
            let is_stable = FolderPrint::read(folder)? == before;
            if is_stable || attempt == MAX_ATTEMPTS {
                listing.is_unstable = !is_stable;
                listing.is_settled = is_stable && !before.is_racily_young(now_ns);
                listing.sort();
                return Ok(listing);
            }
            attempt += 1;
        }
    }

    fn read_dir(&mut self, path: &Path, subdir: Subdir, listing: &mut Listing) -> io::Result<()> {
        let dir = open_dir(path)?;
        let mut entries = RawDir::new(dir, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // Maildir readers pass over dot files; NFS keeps its open-but-deleted ones there.
            if name.first() == Some(&b'.') {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile | FileType::Unknown => FileKind::File,
                FileType::Symlink => FileKind::Other("a symbolic link"),
                FileType::Directory => FileKind::Other("a directory"),
                FileType::Fifo => FileKind::Other("a FIFO"),
                FileType::Socket => FileKind::Other("a socket"),
                _ => FileKind::Other("a device"),
            };
            listing.push(subdir, name, entry.ino(), kind)?;
        }
        Ok(())
    }
}

/// Opens a directory without following a link in its last part.
fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn dir_print(stat: &Stat) -> DirPrint {
    DirPrint {
        dev: stat.st_dev,
        ino: stat.st_ino,
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Seconds and nanoseconds of a stat as one number; times beyond the year 2262 stop there.
pub(crate) fn nanoseconds(seconds: i64, nanoseconds: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add_unsigned(nanoseconds)
}

pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn now_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}

/// How often a folder is listed again because it changed meanwhile.
const MAX_ATTEMPTS: u32 = 10;

/// Coarser than any clock tick of a file system: two changes within it may carry one time.
const RACY_NS: i64 = 2_000_000_000;

const BUFFER_BYTES: usize = 64 * 1024;
