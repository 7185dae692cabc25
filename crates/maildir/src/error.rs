//! Why a Maildir could not be read: the path, what was tried, the system's reason.

use std::io;
use std::path::{Path, PathBuf};

use crate::nofollow;

/// Result of reading a Maildir.
pub type Result<T> = std::result::Result<T, Error>;

/// A directory or file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct Error {
    /// What was tried: `list`, `open`, `stat`.
    pub action: &'static str,
    /// The directory or file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

impl Error {
    pub(crate) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = nofollow::explain(path, source.into());
        Self { action, path: path.to_owned(), source }
    }

    /// Whether the thing is simply gone: on a live store that is news, not damage.
    pub fn is_vanished(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether it was given up because the caller wanted to stop.
    pub fn is_interrupted(&self) -> bool {
        self.source.kind() == io::ErrorKind::Interrupted
    }

    /// Whether a lock was not to be had in time.
    pub fn is_timeout(&self) -> bool {
        self.source.kind() == io::ErrorKind::TimedOut
    }
}
