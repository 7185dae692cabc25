//! Writes files and directories with their owners, modes and times. Everything goes relative to
//! open directories and follows no link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::plan::{Dir, Link, Target};
use super::xattrs::Wanted;
use crate::catalog::Owner;

/// Who gets what is restored.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Instead of the recorded ones.
    pub(crate) given: Option<(u32, u32)>,
    /// How often the system did not allow it.
    pub(crate) refused: AtomicU64,
    /// Files and folders that did not get all their extended attributes.
    pub(crate) xattrs_refused: AtomicU64,
}

impl Owners {
    /// Gives an open file or directory to its owner, with its mode and extended attributes.
    fn set(&self, fd: impl AsFd, owner: &Owner) -> io::Result<()> {
        let fd = fd.as_fd();
        let xattrs = Wanted::of(owner);
        let has_users = xattrs.set_users(fd);
        let (uid, gid) = self.ids(owner);
        let stat = rustix::fs::fstat(fd)?;
        if (stat.st_uid, stat.st_gid) != (uid, gid) {
            self.allow(rustix::fs::fchown(fd, user(uid), group(gid)))?;
        }
        let mode = mode(owner);
        if stat.st_mode & 0o7777 != mode.as_raw_mode() {
            rustix::fs::fchmod(fd, mode)?;
        }
        if !(xattrs.set_acls(fd) && has_users) {
            self.xattrs_refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn ids(&self, owner: &Owner) -> (u32, u32) {
        self.given.unwrap_or((owner.uid, owner.gid))
    }

    /// Who is not root restores all to himself: that is counted and no failure.
    fn allow(&self, done: rustix::io::Result<()>) -> io::Result<()> {
        match done {
            Err(Errno::PERM) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            done => Ok(done?),
        }
    }

    /// Writes a file that must not be there yet, with all that belongs to it.
    pub(crate) fn write(
        &self,
        dir: impl AsFd,
        name: &OsStr,
        target: &Target,
        content: &mut dyn Read,
    ) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, name, flags, PRIVATE)?);
        io::copy(content, &mut file)?;
        self.set(&file, &target.owner)?;
        set_time(&file, target.mtime_ns)?;
        Ok(file)
    }

    /// Makes a link as the snapshot had it, wherever it points.
    pub(crate) fn link(&self, dir: impl AsFd, name: &OsStr, link: &Link) -> io::Result<()> {
        let dir = dir.as_fd();
        rustix::fs::symlinkat(&link.target, dir, name)?;
        let (uid, gid) = self.ids(&link.owner);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        self.allow(rustix::fs::chownat(dir, name, user(uid), group(gid), flags))
    }

    /// Gives directories their owners, modes and times: last, because a mode may forbid writing, and
    /// writing changes the time.
    pub(crate) fn finish_dirs<'d>(
        &self,
        root: impl AsFd,
        dirs: impl DoubleEndedIterator<Item = &'d Dir>,
    ) -> io::Result<()> {
        let root = root.as_fd();
        for dir in dirs.rev() {
            let open = open_beneath(root, &dir.path)?;
            self.set(&open, &dir.owner)?;
            if let Some(mtime_ns) = dir.mtime_ns {
                set_time(&open, mtime_ns)?;
            }
        }
        Ok(())
    }

    /// Opens `path` below `base`, making what is missing and giving it to `owner`; a link on the
    /// way is an error.
    pub(crate) fn make_dirs(
        &self,
        base: impl AsFd,
        path: &Path,
        owner: Option<&Owner>,
    ) -> io::Result<OwnedFd> {
        let mut at = base.as_fd().try_clone_to_owned()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            match open_dir(at.as_fd(), name) {
                Ok(next) => at = next,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&at, name, SHARED) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                    at = open_dir(at.as_fd(), name)?;
                    if let Some(owner) = owner {
                        let (uid, gid) = self.ids(owner);
                        self.allow(rustix::fs::fchown(&at, user(uid), group(gid)))?;
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(at)
    }
}

fn set_time(fd: impl AsFd, mtime_ns: i64) -> io::Result<()> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    Ok(rustix::fs::futimens(fd, &Timestamps { last_access: omit, last_modification })?)
}

fn user(uid: u32) -> Option<Uid> {
    Some(Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    Some(Gid::from_raw(gid))
}

/// No set-uid and the like from a repository: a mail store has no use for them, an attacker has.
fn mode(owner: &Owner) -> Mode {
    Mode::from_raw_mode(owner.mode_bits() & 0o777)
}

/// Opens the directory `path` below `base`; a link on the way is an error.
pub(crate) fn open_beneath(base: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let mut at = base.as_fd().try_clone_to_owned()?;
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        at = open_dir(at.as_fd(), name)?;
    }
    Ok(at)
}

fn open_dir(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let at = at.as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name.as_bytes(), flags, Mode::empty()) {
        Err(e @ (Errno::LOOP | Errno::NOTDIR)) if is_link(at, name) => {
            let _ = e;
            let name = name.to_string_lossy();
            Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("`{name}` is a link, and links are not followed"),
            ))
        }
        done => Ok(done?),
    }
}

fn is_link(at: impl AsFd, name: &OsStr) -> bool {
    rustix::fs::readlinkat(at, name.as_bytes(), Vec::new()).is_ok()
}

/// Removes what a directory has under a name, with all below it. By handles: by its path, what was swapped
/// for a link meanwhile would lose its files.
pub(crate) fn remove_all(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let dir = dir.as_fd();
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return Ok(done?),
    }
    let below = open_dir(dir, name)?;
    for entry in rustix::fs::Dir::read_from(&below)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            remove_all(&below, OsStr::from_bytes(name))?;
        }
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Whether a directory has an entry of this name, whatever it is.
pub(crate) fn has(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Writes everything on the file system of `dir` to the disk: a restore that says done survives a
/// power cut.
pub(crate) fn sync(to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, to, flags, Mode::empty())?;
    Ok(rustix::fs::syncfs(dir)?)
}

/// For folders above a mailbox, which no snapshot describes: other mailboxes may lie there too.
const SHARED: Mode = Mode::from_bits_retain(0o755);

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_removed_is_removed_whole_and_nothing_that_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::create_dir_all(path.join("stage/.A/cur")).unwrap();
        fs::create_dir_all(path.join("elsewhere/cur")).unwrap();
        for file in ["stage/1", "stage/.A/cur/2", "elsewhere/cur/3"] {
            fs::write(path.join(file), file).unwrap();
        }
        for link in ["stage/link", "swapped"] {
            std::os::unix::fs::symlink(path.join("elsewhere"), path.join(link)).unwrap();
        }
        let base = File::open(path).unwrap();
        for name in ["stage", "swapped"] {
            remove_all(&base, OsStr::new(name)).unwrap();
            assert!(path.join(name).symlink_metadata().is_err(), "{name}");
        }
        assert!(path.join("elsewhere/cur/3").exists());
        let error = remove_all(&base, OsStr::new("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
