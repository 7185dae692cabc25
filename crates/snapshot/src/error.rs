//! Why an operation on a repository failed as a whole. What concerns single messages or objects is
//! data in the reports, not an error.

use std::io;
use std::path::{Path, PathBuf};

use crate::crypt::OpenError;
use crate::layout::{REPOSITORY, SNAPSHOTS};
use crate::store;

/// Result of an operation on a repository.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `init` found a repository.
    #[error("{location} is a repository already")]
    AlreadyRepository {
        /// Where.
        location: String,
    },
    /// The store has mail behind a link, and no other.
    #[error("no mailbox found in {}: {} is a link out of it, to {}, and is not followed", store.display(), link.display(), target.display())]
    BehindLink {
        /// The store.
        store: PathBuf,
        /// A link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Another restore fills the place.
    #[error("another restore is at work in {}", path.display())]
    Busy {
        /// The place.
        path: PathBuf,
    },
    /// Something was named that is not there, or that several things are called.
    #[error("{what}")]
    Choice {
        /// What is wrong with the choice.
        what: String,
        /// What can be chosen instead.
        hint: String,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// An object is not what it should be.
    #[error("{object} {reason}")]
    Damaged {
        /// The object's key.
        object: String,
        /// What is wrong, as the rest of the sentence.
        reason: String,
    },
    /// The mail server says that mail is in no Maildir.
    #[error("Dovecot has mail as {driver} ({setting}), which is not backed up")]
    ForeignDriver {
        /// `mdbox`.
        driver: String,
        /// The setting that says so.
        setting: String,
    },
    /// The store has mailboxes, but none that is a Maildir.
    #[error("no Maildir found in {}: {} is {format}, and {}{more}", store.display(), path.display(), format.reason())]
    Foreign {
        /// The store.
        store: PathBuf,
        /// A mailbox.
        path: PathBuf,
        /// Its format.
        format: maildir::Format,
        /// How many more there are, as the rest of the sentence.
        more: String,
    },
    /// A local file or directory.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another run holds the state.
    #[error("another backup is running with the state in {}", path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
    },
    /// The store directory has no mailbox.
    #[error("no mailbox found in {}: no folder there has `cur` and `new`", path.display())]
    NoMailbox {
        /// The store.
        path: PathBuf,
    },
    /// Reading needs an identity and none was given.
    #[error("the repository is encrypted and no identity was given")]
    NoIdentity,
    /// The location holds no repository.
    #[error("there is no repository at {location}")]
    NotARepository {
        /// Where.
        location: String,
    },
    /// Recipients that are none.
    #[error("{0}")]
    Recipient(String),
    /// What was asked for cannot be done to what is there.
    #[error("{0}")]
    Selection(String),
    /// A pattern that gives two mailboxes one place.
    #[error(
        "--{option} (given, or from Dovecot's settings) leads mailboxes {one} and {other} to the same \
         place {}: each would get the other's files; give one that differs from user to user, such \
         as --{option} {}/%d/%n", place.display(), place.display()
    )]
    SharedPlace {
        /// The option's name.
        option: String,
        /// A mailbox.
        one: String,
        /// Another.
        other: String,
        /// Where both are led.
        place: PathBuf,
    },
    /// The store of objects failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A place to restore to that is not free.
    #[error("{} exists and is not empty", path.display())]
    TargetExists {
        /// The place.
        path: PathBuf,
    },
    /// The repository was written by a newer mailrig.
    #[error("{object} has format version {found}; this mailrig reads up to {known}")]
    TooNew {
        /// The object's key.
        object: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The identity fits nothing here.
    #[error("the identity does not open this repository ({object} is sealed to another)")]
    WrongIdentity {
        /// The object that was tried.
        object: String,
    },
}

/// What was tried with a file of identities.
pub(crate) const READ_IDENTITY: &str = "read identity";

/// What can be done about mail that is in no Maildir.
pub(crate) const FOREIGN_HINT: &str =
    "copy it to Maildirs with `doveadm backup -u USER maildir:FOLDER`, and back those up";

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn choice(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Choice { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn damaged(object: &str, reason: impl ToString) -> Self {
        Self::Damaged { object: object.to_owned(), reason: reason.to_string() }
    }

    /// Of a decoder that reads from a store: damage, unless it was the store that failed.
    pub(crate) fn decode(object: &str, error: io::Error) -> Self {
        match error.downcast::<store::Error>() {
            Ok(failure) => Self::Store(failure),
            Err(error) => Self::damaged(object, format!("does not decode: {error}")),
        }
    }

    pub(crate) fn open(object: &str, error: OpenError) -> Self {
        match error {
            OpenError::WrongIdentity => Self::WrongIdentity { object: object.to_owned() },
            OpenError::Damaged(_) => Self::damaged(object, error),
        }
    }

    /// Whether this is about one object or mailbox, so that others may still be read.
    pub fn is_local_to_object(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::WrongIdentity { .. } => true,
            Self::Store(error) => matches!(
                error,
                store::Error::NotFound { .. }
                    | store::Error::TooLarge { .. }
                    | store::Error::Truncated { .. }
                    | store::Error::Io { action: "read", .. }
            ),
            _ => false,
        }
    }

    /// The next step for a person, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AlreadyRepository { .. } => "back up into it with `mailrig backup`",
            Self::BehindLink { .. } => {
                "mount what it leads to in its place (`mount --bind`), or back that up as the store"
            }
            Self::Choice { hint, .. } => hint,
            Self::Foreign { .. } | Self::ForeignDriver { .. } => FOREIGN_HINT,
            Self::Busy { .. } | Self::Locked { .. } => {
                "wait for it to end; a lock of a dead process frees itself"
            }
            Self::NoIdentity | Self::WrongIdentity { .. } => {
                "name the file with the recovery identity: --identity FILE or MAILRIG_IDENTITY"
            }
            Self::NoMailbox { .. } => "is the file system mounted, and is this the right folder?",
            Self::NotARepository { .. } => "make one with `mailrig init`",
            Self::TargetExists { .. } => {
                "restore into an empty folder; or, if an earlier restore was at work there, see what it \
                 lacks: the same with --in-place for --to, and --dry-run"
            }
            Self::TooNew { .. } => "use a newer mailrig",
            Self::Damaged { object, .. } if object.starts_with(SNAPSHOTS) => {
                "name an older snapshot by its id: `mailrig snapshots` lists them"
            }
            Self::Damaged { object, .. } if object == REPOSITORY => {
                "put it back from a copy; docs/format.md has its form"
            }
            Self::Damaged { .. } => "`mailrig verify --level stored` shows what else is damaged",
            Self::Io { action: READ_IDENTITY, .. } => {
                "name the file with the recovery identity: --identity FILE or MAILRIG_IDENTITY"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space there and run again"
            }
            Self::Store(error) => return error.hint().map(str::to_owned),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
