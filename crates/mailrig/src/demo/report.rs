//! What a demo found, as plain data, and the verdict. `page` prints it for people.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use snapshot::backup;

use super::inventory::{Difference, Inventory};
use super::night::Night;
use super::store::Store;

/// All that happened.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// Where everything is, if it was kept.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) store: StoreCounts,
    pub(crate) night: Night,
    /// The evening's backup and the morning's, with what came back.
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) verified: Verified,
    /// What is wrong beyond single files: lines of a ledger, damage, what a restore missed.
    pub(crate) problems: Vec<String>,
    /// What a drill with a server of its own came to.
    pub(crate) drill: Drilled,
    /// Whether both restores are the store of their time, byte for byte, and nothing is wrong.
    pub(crate) is_equal: bool,
    pub(crate) elapsed_ms: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct StoreCounts {
    pub(crate) mailboxes: u64,
    pub(crate) folders: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    /// What the snapshot holds.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// What the backup read of the store.
    pub(crate) messages_read: u64,
    pub(crate) read_bytes: u64,
    /// What it put into the repository.
    pub(crate) stored_bytes: u64,
    pub(crate) requests: u64,
    pub(crate) backup_ms: u64,
    pub(crate) restore_ms: u64,
    /// Files that were compared with the store of that time.
    pub(crate) files_compared: u64,
    pub(crate) differences: Vec<Difference>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Verified {
    pub(crate) objects: u64,
    pub(crate) messages: u64,
    pub(crate) read_bytes: u64,
    pub(crate) elapsed_ms: u64,
}

/// A drill.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Drilled {
    /// `pass`, `fail` or `unknown`.
    pub(crate) verdict: String,
    /// Messages, once for each recipient.
    pub(crate) accepted: u64,
    pub(crate) lost: u64,
    /// From the kill until it was stable again; none: it did not come back.
    pub(crate) primary_away_ms: Option<u64>,
}

impl StoreCounts {
    pub(crate) fn of(store: &Store) -> Self {
        Self {
            mailboxes: store.mailboxes.len() as u64,
            folders: store.folders(),
            messages: store.messages(),
            bytes: store.bytes(),
        }
    }
}

impl Snapshot {
    pub(crate) fn of(done: backup::Report, elapsed: Duration) -> Self {
        Self {
            id: done.snapshot.unwrap_or_default(),
            messages: done.totals.messages,
            bytes: done.totals.bytes,
            messages_read: done.messages.read,
            read_bytes: done.messages.read_bytes,
            stored_bytes: done.stored_bytes,
            requests: done.requests.total,
            backup_ms: milliseconds(elapsed),
            restore_ms: 0,
            files_compared: 0,
            differences: Vec::new(),
        }
    }

    /// Notes how a restore differs from the store of the snapshot's time.
    pub(crate) fn compare(&mut self, wanted: &Inventory, found: &Inventory) {
        self.files_compared = wanted.files();
        self.differences = wanted.differences(found);
    }
}

impl Report {
    /// Whether all that was shown went well.
    pub(crate) fn is_well(&self) -> bool {
        self.is_equal && self.drill.verdict == "pass"
    }

    /// Equal is only what was compared whole and has nothing wrong beside it.
    pub(crate) fn judge(&mut self) {
        let is_equal = |snapshot: &Snapshot| {
            snapshot.files_compared > 0
                && snapshot.files_compared >= snapshot.messages
                && snapshot.differences.is_empty()
        };
        self.is_equal = self.problems.is_empty() && self.snapshots.iter().all(is_equal);
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
