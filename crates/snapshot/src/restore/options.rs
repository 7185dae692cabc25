//! What to restore, where to and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::backup::Outside;
use crate::message_id::MessageId;

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub place: Place,
    /// Only the mailbox with this name.
    pub mailbox: Option<String>,
    /// Only this folder of it, as people write it: see [`super::folder_path`].
    pub folder: Option<String>,
    /// Only these messages.
    pub messages: Option<Vec<MessageId>>,
    /// What becomes of UIDs; by default kept where no mail is yet, else left to the server.
    pub uids: Option<Uids>,
    /// Flags of messages.
    pub flags: Flags,
    /// Owner and group of everything, instead of the recorded ones.
    pub owner: Option<(u32, u32)>,
    /// Where files go that lay outside mailboxes.
    pub outside: Outside,
    /// How long to wait for a lock of a live mailbox's server.
    pub lock_wait: Duration,
    /// Only find out what would be done.
    pub dry_run: bool,
    /// Mailboxes or packs at work at the same time.
    pub threads: usize,
}

impl Options {
    /// All of a snapshot, as it is, below `to`.
    pub fn all(to: PathBuf) -> Self {
        Self {
            place: Place::Below(to),
            mailbox: None,
            folder: None,
            messages: None,
            uids: None,
            flags: Flags::Keep,
            owner: None,
            outside: Outside::default(),
            lock_wait: LOCK_WAIT,
            dry_run: false,
            threads: 1,
        }
    }
}

/// Where to restore to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below this folder, where a mailbox must not be yet.
    Below(PathBuf),
    /// Into the live mailboxes of a store: what is missing is added.
    Live {
        /// The store.
        store: PathBuf,
        /// The folder beside the others, as people write it, that takes all that is restored.
        as_folder: Option<String>,
    },
}

impl Place {
    /// The target or store.
    pub fn root(&self) -> &PathBuf {
        match self {
            Self::Below(root) | Self::Live { store: root, .. } => root,
        }
    }
}

/// What becomes of UIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uids {
    /// UIDVALIDITY and UIDs as in the snapshot, the next UID above what clients may have seen since.
    Keep,
    /// A new UIDVALIDITY: clients download everything again. A live folder in use
    /// gets new UIDs too.
    New,
    /// The lists byte for byte. Only right where no client was served since the backup.
    Exact,
}

/// Flags of restored messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// Those of the snapshot for what is added; what is there keeps its own.
    Keep,
    /// Those of the snapshot, also for what is there; but nothing that was read becomes unread.
    Snapshot,
    /// As [`Flags::Keep`], and what is added is marked as read.
    Seen,
}

/// As long as Dovecot waits itself.
pub const LOCK_WAIT: Duration = Duration::from_secs(120);
