//! Prints: identity and times of a folder's directories, by which a change is noticed. Times move in
//! clock ticks, so a print says nothing about a change within the tick in which it was made.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use rustix::io::Errno;

use crate::nofollow::{self, Dir, kind};
use crate::{Error, Result, Subdir};

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

impl DirPrint {
    /// Reads the print of one of a folder's directories; an empty one if the folder lacks it, see
    /// [`crate::read_tree`].
    pub(crate) fn read(folder: &Path, subdir: Subdir) -> Result<Self> {
        Self::read_in(&Dir::open(folder)?, folder, subdir)
    }

    fn read_in(dir: &Dir, folder: &Path, subdir: Subdir) -> Result<Self> {
        let failed = |e| Error::new("stat", &folder.join(subdir.name()), e);
        match dir.stat(subdir.name()) {
            Ok(stat) if kind(&stat).is_symlink() => Err(failed(Errno::LOOP)),
            Ok(stat) => Ok(Self::of(&stat)),
            Err(Errno::NOENT) if nofollow::is_dir(folder) => Ok(Self::default()),
            Err(e) => Err(failed(e)),
        }
    }

    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the directory changed so shortly before `now_ns` that a further change could carry
    /// the same times. A time to come counts as young: whose clock made it is not known.
    pub(crate) fn is_younger_than(&self, age: Duration, now_ns: i64) -> bool {
        let age_ns = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        self.mtime_ns.max(self.ctime_ns) > now_ns.saturating_sub(age_ns)
    }

    /// Whether a change that was made at `now_ns` could carry these times.
    pub(crate) fn is_young(&self, now_ns: i64) -> bool {
        self.is_younger_than(self.tick(), now_ns)
    }

    /// How long these times may stand for further changes: old file systems count in whole seconds.
    pub(crate) fn tick(&self) -> Duration {
        let is_whole = |ns: i64| ns % 1_000_000_000 == 0;
        if is_whole(self.mtime_ns) && is_whole(self.ctime_ns) { COARSE_TICK } else { TICK }
    }
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
        let dir = Dir::open(path)?;
        let read = |subdir| DirPrint::read_in(&dir, path, subdir);
        Ok(Self { dirs: [read(Subdir::New)?, read(Subdir::Cur)?] })
    }

    /// Whether a change that was made just now could carry these times.
    pub fn is_young(&self) -> bool {
        let now_ns = now_ns();
        self.dirs.iter().any(|dir| dir.is_young(now_ns))
    }

    /// How long a further change could carry these times.
    pub fn tick(&self) -> Duration {
        self.dirs.iter().map(DirPrint::tick).max().unwrap_or(TICK)
    }
}

/// Seconds and nanoseconds of a stat as one number; times beyond the year 2262 stop there.
pub fn nanoseconds(seconds: i64, nanoseconds: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add_unsigned(nanoseconds)
}

pub(crate) fn now_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}

/// Longer than a clock tick of any kernel that stamps its files itself: two changes within it may
/// carry one time.
pub const TICK: Duration = Duration::from_millis(50);

/// The same where times are cut to the second: ext3, and ext4 with small inodes.
pub(crate) const COARSE_TICK: Duration = Duration::from_millis(1050);

/// The same for the next run, which cannot look twice: coarse file systems count in seconds.
pub(crate) const RACY: Duration = Duration::from_secs(2);
