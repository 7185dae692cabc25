//! Why a store call failed, as the questions callers ask: is it worth another try, is the object
//! simply not there, what can the administrator do next.

use std::io;

/// Result of a store call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed store call. The text names the object and the reason; [`Error::hint`] the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused: wrong key, expired token, missing permission, read-only file system.
    #[error("{action} {key}: {reason}")]
    Denied {
        /// What was tried: `open`, `read`, `write`, `list`, `delete`.
        action: &'static str,
        /// The object.
        key: String,
        /// Why, in one clause.
        reason: String,
        /// The next step for a person.
        hint: Option<String>,
    },
    /// No room, or over quota.
    #[error("write {key}: no space left at the repository")]
    Full {
        /// The object that did not fit.
        key: String,
    },
    /// A local file operation failed.
    #[error("{action} {key}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The object's path.
        key: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A location that cannot name a repository.
    #[error("`{location}` does not name a repository: {reason}")]
    Location {
        /// What the user wrote.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such object.
    #[error("{key} is not in the repository")]
    NotFound {
        /// The object.
        key: String,
    },
    /// An object is larger than its kind may be: a hostile or mistaken repository.
    #[error(
        "{key} has {size_bytes} bytes, more than the {limit_bytes} that such an object may have"
    )]
    TooLarge {
        /// The object.
        key: String,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// An object ends before the bytes that were asked for.
    #[error("{key} is truncated")]
    Truncated {
        /// The object.
        key: String,
    },
    /// The store could not be reached or answered with a passing failure, after all retries.
    #[error("{action} {key}: {reason}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The object.
        key: String,
        /// Why, in one clause.
        reason: String,
        /// The next step for a person.
        hint: Option<String>,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The next step for a person, where there is one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Denied { hint, .. } | Self::Unavailable { hint, .. } => hint.as_deref(),
            Self::Full { .. } => Some(
                "free space there and run again: what is stored is kept and not uploaded twice",
            ),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, key: &str, source: io::Error) -> Self {
        let key = key.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound if action != "write" => Self::NotFound { key },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { key },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied {
                action,
                key,
                reason: source.to_string(),
                hint: Some("check owner and mode of the repository folder".into()),
            },
            _ => Self::Io { action, key, source },
        }
    }
}
