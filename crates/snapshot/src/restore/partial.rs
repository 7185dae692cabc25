//! A mailbox that is not there yet: a folder beside its place, which gets its name when it is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use maildir::PARTIAL;
use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;

use super::files::{Owners, open_beneath};
use super::plan::Dir;
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
    /// Makes the folder for the mailbox `path` below `to`; clears away what an interrupted restore
    /// left there.
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
        let left_behind = base.join(path).with_file_name(&partial);
        match std::fs::remove_dir_all(&left_behind) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        rustix::fs::mkdirat(&parent, &partial, Mode::RWXU)?;
        let root = open_beneath(parent.as_fd(), &partial)?;
        Ok(Self {
            parent,
            name,
            partial,
            path: left_behind,
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

/// What did not become a mailbox would take space, and a server might list it. After a kill the next
/// restore clears it away.
impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished.load(Ordering::Relaxed) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
