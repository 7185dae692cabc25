//! A mailbox that is not there yet: a folder beside its place, which gets its name when it is whole. Locks
//! that the kernel drops with the process keep a second restore out of it, and out of the whole target.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use maildir::PARTIAL;
use rustix::fs::{AtFlags, FlockOperation, Mode, RenameFlags};
use rustix::io::Errno;

use super::files::{Owners, open_beneath, remove_all};
use super::plan::Dir;
use super::survey;
use crate::catalog::Owner;

/// A mailbox's folder while it is being filled.
pub(crate) struct Partial {
    parent: OwnedFd,
    /// The final name.
    name: PathBuf,
    partial: PathBuf,
    /// Path of the folder as long as it is partial.
    pub(crate) path: PathBuf,
    pub(crate) root: OwnedFd,
    next: AtomicU64,
    is_finished: AtomicBool,
}

impl Partial {
    /// Makes the folder for the mailbox `path` below `to`, and locks it; clears away what an interrupted
    /// restore left there.
    pub(crate) fn create(
        to: &Path,
        path: &Path,
        owner: Option<&Owner>,
        owners: &Owners,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(if path.as_os_str().is_empty() { parent_of(to) } else { to })?;
        // `to` is the user's word and may be a link; below it nothing is followed.
        let (base, path) = if path.as_os_str().is_empty() {
            (parent_of(to), Path::new(to.file_name().ok_or(io::ErrorKind::InvalidInput)?))
        } else {
            (to, path)
        };
        let mut parent: OwnedFd = File::open(base)?.into();
        if let Some(above) = path.parent() {
            parent = owners.make_dirs(parent.as_fd(), above, owner)?;
        }
        let name = PathBuf::from(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        // Short, so that a long name has room; always the same, so that a second try finds it.
        let sum = crate::hash::sha256(name.as_os_str().as_bytes());
        let partial = PathBuf::from(format!("{PARTIAL}{}", crate::hash::hex(&sum[..8])));
        let root = take(&parent, &partial)?;
        Ok(Self {
            parent,
            name,
            path: base.canonicalize()?.join(path).with_file_name(&partial),
            partial,
            root,
            next: AtomicU64::new(0),
            is_finished: AtomicBool::new(false),
        })
    }

    /// A name for a file that goes elsewhere in the end.
    pub(crate) fn next_name(&self) -> OsString {
        self.next.fetch_add(1, Ordering::Relaxed).to_string().into()
    }

    /// Gives the folder its name. Fails if something other than an empty folder has it.
    pub(crate) fn finish(&self, dirs: &[Dir], owners: &Owners) -> io::Result<()> {
        owners.finish_dirs(&self.root, dirs.iter())?;
        let (parent, name) = (&self.parent, &self.name);
        match rustix::fs::renameat_with(parent, &self.partial, parent, name, RenameFlags::NOREPLACE)
        {
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {
                // rename replaces an empty folder, and nothing else.
                rustix::fs::renameat(parent, &self.partial, parent, name)?;
            }
            other => other?,
        }
        self.is_finished.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Makes the folder `name` in `parent`, and locks it. What a dead process left there is
/// removed under its lock.
fn take(parent: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    for _ in 0..TRIES {
        let is_new = match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Err(Errno::EXIST) => false,
            done => done.map(|()| true)?,
        };
        let root = match open_beneath(parent.as_fd(), name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            done => done?,
        };
        survey::lock(&root)?;
        // Another process may have removed it before it was locked.
        if !is_at(&root, parent, name)? {
            continue;
        }
        if is_new {
            return Ok(root);
        }
        remove_all(parent, name.as_os_str())?;
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, survey::BUSY))
}

fn is_at(dir: &OwnedFd, parent: &OwnedFd, name: &Path) -> io::Result<bool> {
    let opened = rustix::fs::fstat(dir)?;
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        named => {
            Ok(named.map(|named| (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino))?)
        }
    }
}

/// The folder that a restore fills, kept from restores of the same mailboxes as long as this lives.
pub(crate) struct Claim {
    path: PathBuf,
    is_made: bool,
    _dir: OwnedFd,
}

impl Claim {
    /// Makes the folder if need be. Restores of some mailboxes may go `along` with each other, one of all
    /// with none. `None` if it is no folder.
    pub(crate) fn new(path: &Path, along: bool) -> io::Result<Option<Self>> {
        let is_made = match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path)?;
                true
            }
            _ if !path.is_dir() => return Ok(None),
            _ => false,
        };
        let dir: OwnedFd = File::open(path)?.into();
        let operation = match along {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        survey::lock_as(&dir, operation)?;
        Ok(Some(Self { path: path.to_owned(), is_made, _dir: dir }))
    }
}

/// A restore that brings nothing leaves nothing: what has something in it stays.
impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_made {
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// What did not become a mailbox would take space, and a server might list it. After a kill the next
/// restore clears it away.
impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished.load(Ordering::Relaxed) {
            let _ = remove_all(&self.parent, self.partial.as_os_str());
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Each is lost only to another process that removes leavings at the same moment.
const TRIES: u32 = 100;
