//! What a restore drill has compared so far, and the differences: the first of them by name, all of them by number.

use std::collections::BTreeMap;

use serde::Serialize;

/// In what a mailbox is not as the snapshot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The mailbox, or a part of it, could not be restored or read.
    Mailbox,
    /// A folder is not there.
    Folder,
    /// A message is not there.
    Missing,
    /// A message is there that the snapshot does not have.
    Extra,
    /// A message has other bytes.
    Content,
    /// A message has another size over IMAP than its bytes.
    Size,
    /// A message has other flags or keywords, or lies in the other of `new` and `cur`.
    Flags,
    /// A message has another INTERNALDATE.
    Date,
    /// A message has another UID.
    Uid,
    /// A folder has another UIDVALIDITY, or gives UIDs again that messages had.
    UidValidity,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) mailbox: String,
    /// `INBOX`, or the path in the mailbox; empty where it is of no folder.
    pub(super) folder: String,
    /// The file name, or over IMAP the UID.
    pub(super) message: String,
    pub(super) what: What,
    pub(super) expected: String,
    pub(super) actual: String,
}

/// Numbers, and the first differences.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages that the snapshot says are there.
    pub(super) messages: u64,
    /// Those whose hash nobody could tell.
    pub(super) unhashed: u64,
    /// UIDs that were compared.
    pub(super) uids: u64,
    pub(super) folders: u64,
    /// Folders of which the snapshot has no UIDs.
    pub(super) folders_without_uids: u64,
    pub(super) differences: Vec<Difference>,
    /// Of all differences.
    pub(super) by_kind: BTreeMap<What, u64>,
}

/// Where a difference is.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) mailbox: &'a str,
    pub(super) folder: &'a str,
}

impl Tally {
    pub(super) fn differs(
        &mut self,
        at: At<'_>,
        message: &[u8],
        what: What,
        (expected, actual): (impl Into<String>, impl Into<String>),
    ) {
        *self.by_kind.entry(what).or_default() += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(Difference {
                mailbox: at.mailbox.to_owned(),
                folder: at.folder.to_owned(),
                message: String::from_utf8_lossy(message).into_owned(),
                what,
                expected: expected.into(),
                actual: actual.into(),
            });
        }
    }

    /// How many differences there are of these kinds.
    pub(super) fn of(&self, kinds: &[What]) -> u64 {
        kinds.iter().filter_map(|kind| self.by_kind.get(kind)).sum()
    }

    pub(super) fn all(&self) -> u64 {
        self.by_kind.values().sum()
    }
}

/// Those that are named.
const DIFFERENCES_MAX: usize = 100;
