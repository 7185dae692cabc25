//! Writes restored files and directories. Everything goes relative to open directories and follows
//! no link, into a folder that is renamed to its name when it is whole.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
};
use rustix::io::Errno;

use super::plan::{Dir, Link, Target};
use crate::catalog::Owner;

/// A mailbox's folder while it is being filled.
pub(crate) struct Partial {
    parent: OwnedFd,
    /// The final name.
    name: PathBuf,
    partial: PathBuf,
    root: OwnedFd,
    may_chown: bool,
}

impl Partial {
    /// Makes the folder for the mailbox `path` below `to`; clears away what an interrupted restore
    /// left there.
    pub(crate) fn create(to: &Path, path: &Path, owner: Option<&Owner>) -> io::Result<Self> {
        std::fs::create_dir_all(if path.as_os_str().is_empty() { parent_of(to) } else { to })?;
        let may_chown = rustix::process::geteuid().is_root();
        // `to` is the user's word and may be a link; below it nothing is followed.
        let (base, path) = if path.as_os_str().is_empty() {
            (parent_of(to), Path::new(to.file_name().ok_or(io::ErrorKind::InvalidInput)?))
        } else {
            (to, path)
        };
        let mut parent: OwnedFd = File::open(base)?.into();
        if let Some(above) = path.parent() {
            parent = make_dirs(parent.as_fd(), above, owner.filter(|_| may_chown))?;
        }
        let name = PathBuf::from(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        // Short, so that a long name has room; always the same, so that a second try finds it.
        let sum = crate::hash::sha256(name.as_os_str().as_bytes());
        let partial = PathBuf::from(format!("{PARTIAL}{}", crate::hash::hex(&sum[..8])));
        let left_behind = base.join(path).with_file_name(&partial);
        match std::fs::remove_dir_all(&left_behind) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        rustix::fs::mkdirat(&parent, &partial, Mode::RWXU)?;
        let root = open_dir(parent.as_fd(), &partial)?;
        Ok(Self { parent, name, partial, root, may_chown })
    }

    /// Makes the directories of a plan, for the time being with a mode that can be written to.
    pub(crate) fn make_dirs(&self, dirs: &[Dir]) -> io::Result<()> {
        dirs.iter().try_for_each(|dir| self.dir(&dir.path).map(drop))
    }

    /// Gives the directories their owners and modes: last, because a mode may forbid writing.
    fn finish_dirs(&self, dirs: &[Dir]) -> io::Result<()> {
        for dir in dirs.iter().rev() {
            let made = self.dir(&dir.path)?;
            self.set_owner(made.as_fd(), &dir.owner)?;
            rustix::fs::fchmod(&made, mode(&dir.owner))?;
        }
        Ok(())
    }

    /// Opens a directory of the plan, making it where a lone file's folder was not in it.
    pub(crate) fn dir(&self, path: &Path) -> io::Result<OwnedFd> {
        make_dirs(self.root.as_fd(), path, None)
    }

    /// Writes a file. It must not be there yet.
    pub(crate) fn write(
        &self,
        dir: &OwnedFd,
        target: &Target,
        content: &mut dyn Read,
    ) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, &target.name, flags, PRIVATE)?);
        io::copy(content, &mut file)?;
        self.finish(&mut file, target)?;
        Ok(file)
    }

    /// Writes a file whose content is in memory.
    pub(crate) fn write_bytes(
        &self,
        dir: &OwnedFd,
        target: &Target,
        content: &[u8],
    ) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, &target.name, flags, PRIVATE)?);
        file.write_all(content)?;
        self.finish(&mut file, target)
    }

    /// Copies a file just written to a second target.
    pub(crate) fn copy(&self, dir: &OwnedFd, target: &Target, from: &mut File) -> io::Result<()> {
        from.rewind()?;
        self.write(dir, target, from).map(drop)
    }

    /// Removes a file of which its pack proved to be damaged.
    pub(crate) fn remove(&self, target: &Target) {
        if let Ok(dir) = self.dir(&target.dir) {
            let _ = rustix::fs::unlinkat(&dir, &target.name, AtFlags::empty());
        }
    }

    /// Makes a link as the snapshot had it, wherever it points.
    pub(crate) fn link(&self, link: &Link) -> io::Result<()> {
        let dir = self.dir(link.path.parent().unwrap_or(Path::new("")))?;
        let name = link.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        rustix::fs::symlinkat(&link.target, &dir, name)?;
        if self.may_chown {
            let (uid, gid) = ids(&link.owner);
            rustix::fs::chownat(&dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Gives the folder its name. Fails if something other than an empty folder has it.
    pub(crate) fn finish_mailbox(&self, dirs: &[Dir]) -> io::Result<()> {
        self.finish_dirs(dirs)?;
        let (parent, name) = (&self.parent, &self.name);
        match rustix::fs::renameat_with(parent, &self.partial, parent, name, RenameFlags::NOREPLACE)
        {
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {
                // rename replaces an empty folder, and nothing else.
                Ok(rustix::fs::renameat(parent, &self.partial, parent, name)?)
            }
            other => Ok(other?),
        }
    }

    fn finish(&self, file: &mut File, target: &Target) -> io::Result<()> {
        self.set_owner(file.as_fd(), &target.owner)?;
        let mode = mode(&target.owner);
        if mode != PRIVATE {
            rustix::fs::fchmod(&*file, mode)?;
        }
        let time = |ns: i64| Timespec {
            tv_sec: ns.div_euclid(1_000_000_000),
            tv_nsec: ns.rem_euclid(1_000_000_000),
        };
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: time(target.mtime_ns) };
        Ok(rustix::fs::futimens(&*file, &times)?)
    }

    fn set_owner(&self, fd: impl AsFd, owner: &Owner) -> io::Result<()> {
        if self.may_chown && (owner.uid, owner.gid) != (0, 0) {
            let (uid, gid) = ids(owner);
            rustix::fs::fchown(fd, uid, gid)?;
        }
        Ok(())
    }
}

fn ids(owner: &Owner) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
}

/// No set-uid and the like from a repository: a mail store has no use for them, an attacker has.
fn mode(owner: &Owner) -> Mode {
    Mode::from_raw_mode(owner.mode_bits() & 0o777)
}

/// Opens `path` below `base`, making what is missing and giving it to `owner`; a link on the way is
/// an error.
fn make_dirs(base: impl AsFd, path: &Path, owner: Option<&Owner>) -> io::Result<OwnedFd> {
    let mut at = base.as_fd().try_clone_to_owned()?;
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        match open_dir(at.as_fd(), name) {
            Ok(next) => at = next,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&at, name, SHARED) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                at = open_dir(at.as_fd(), name)?;
                if let Some(owner) = owner {
                    let (uid, gid) = ids(owner);
                    rustix::fs::fchown(&at, uid, gid)?;
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

fn open_dir(at: impl AsFd, name: impl AsRef<OsStr>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name.as_ref().as_bytes(), flags, Mode::empty())?)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes everything below `to` to the disk: a restore that says done survives a power cut.
pub(crate) fn sync(to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, to, flags, Mode::empty())?;
    Ok(rustix::fs::syncfs(dir)?)
}

/// Begins the name of a folder that is not whole yet.
const PARTIAL: &str = ".mailrig-partial-";

/// For folders above a mailbox, which no snapshot describes: other mailboxes may lie there too.
const SHARED: Mode = Mode::from_bits_retain(0o755);

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
