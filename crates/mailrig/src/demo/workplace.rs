//! The fresh folder that a demo works in, and its end.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use snapshot::layout::random_hex;

use crate::exit::UsageError;

/// A folder that is removed when this is dropped, unless it is kept.
pub(crate) struct Workplace {
    dir: PathBuf,
    /// Whether the folder itself was there before; its content never was.
    existed: bool,
    is_kept: bool,
}

impl Workplace {
    /// `dir`, which must be missing or empty, or else a new folder among the temporary ones.
    pub(crate) fn make(dir: Option<&Path>) -> Result<Self> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => std::env::temp_dir().join(format!("mailrig-demo-{}", random_hex(4))),
        };
        let context = || format!("making the folder {}", dir.display());
        let existed = dir.exists();
        if existed && fs::read_dir(&dir).with_context(context)?.next().is_some() {
            let reason = format!("{} is not empty; the demo takes a fresh folder", dir.display());
            return Err(UsageError(reason).into());
        }
        if !existed {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(context)?;
        }
        let dir = dir.canonicalize().with_context(context)?;
        Ok(Self { dir, existed, is_kept: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Leaves everything where it is.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Where everything is, if it stays.
    pub(crate) fn kept(&self) -> Option<PathBuf> {
        self.is_kept.then(|| self.dir.clone())
    }

    fn remove(&self) -> std::io::Result<()> {
        if !self.existed {
            return fs::remove_dir_all(&self.dir);
        }
        for name in CONTENT {
            let path = self.dir.join(name);
            match if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) } {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(e) = self.remove() {
            tracing::error!("the demo's folder {} is still there: {e}", self.dir.display());
        }
    }
}

pub(crate) const STORE: &str = "store";
pub(crate) const REPOSITORY: &str = "repository";
pub(crate) const STATE: &str = "state";
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const RESTORED: [&str; 2] = ["restored-evening", "restored-morning"];

const CONTENT: [&str; 6] = [STORE, REPOSITORY, STATE, IDENTITY, RESTORED[0], RESTORED[1]];
