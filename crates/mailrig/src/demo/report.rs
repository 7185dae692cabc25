//! What a demo found, as plain data, and the page that people read.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use snapshot::backup;

use super::inventory::{Difference, Inventory};
use super::night::Night;
use super::store::Store;
use super::workplace::{IDENTITY, REPOSITORY};
use crate::ui::{count, duration, plural, size, table};

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

    fn files_equal(&self) -> u64 {
        self.files_compared.saturating_sub(self.differences.len() as u64)
    }
}

impl Report {
    /// Equal is only what was compared whole and has nothing wrong beside it.
    pub(crate) fn judge(&mut self) {
        let is_equal = |snapshot: &Snapshot| {
            snapshot.files_compared > 0
                && snapshot.files_compared >= snapshot.messages
                && snapshot.differences.is_empty()
        };
        self.is_equal = self.problems.is_empty() && self.snapshots.iter().all(is_equal);
    }

    /// The page for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.table();
        text.push('\n');
        text.push_str(&self.findings());
        text.push_str(&self.in_short());
        text.push_str(&self.summary());
        text.push_str(&match &self.folder {
            Some(folder) => {
                format!("\nWhere to look next; everything is in {}\n", folder.display())
            }
            None => "\nWhere to look next\n".to_owned(),
        });
        for (command, why) in self.next_steps() {
            text.push_str(&format!("  {command}\n      {why}\n"));
        }
        text
    }

    fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .snapshots
            .iter()
            .zip(["evening", "morning"])
            .map(|(snapshot, name)| {
                vec![
                    name.to_owned(),
                    count(snapshot.messages),
                    size(snapshot.bytes),
                    size(snapshot.read_bytes),
                    size(snapshot.stored_bytes),
                    percent(snapshot.stored_bytes, snapshot.bytes),
                    time(snapshot.backup_ms),
                    time(snapshot.restore_ms),
                ]
            })
            .collect();
        let header =
            ["SNAPSHOT", "MESSAGES", "SIZE", "READ", "STORED", "OF SIZE", "BACKUP", "RESTORE"];
        table(&header, &rows)
    }

    /// What must not be overlooked.
    fn findings(&self) -> String {
        const SHOWN: usize = 10;
        let mut text = String::new();
        for (snapshot, name) in self.snapshots.iter().zip(["evening", "morning"]) {
            for difference in snapshot.differences.iter().take(SHOWN) {
                let Difference { path, reason } = difference;
                text.push_str(&format!("differs    {name}: {path} {reason}\n"));
            }
            if let Some(more) = snapshot.differences.len().checked_sub(SHOWN).filter(|n| *n > 0) {
                let more = plural(more as u64, "more file");
                text.push_str(&format!("differs    {name}: and {more}, see --json\n"));
            }
        }
        for problem in self.problems.iter().take(SHOWN) {
            text.push_str(&format!("problem    {problem}\n"));
        }
        if let Some(more) = self.problems.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            text.push_str(&format!(
                "problem    and {}, see --json\n",
                plural(more as u64, "more line")
            ));
        }
        text
    }

    fn in_short(&self) -> String {
        let [evening, morning] = self.snapshots.as_slice() else { return String::new() };
        format!(
            "The night made {} changes to {}. Its backup read {}, {}: those\n\
             that were new or had got a new name. It stored {} of what the evening's had.\n\
             Restored and equal: evening {} of {} files, morning {} of {}.\n",
            count(self.night.changes()),
            plural(evening.messages, "message"),
            count(morning.messages_read),
            size(morning.read_bytes),
            percent(morning.stored_bytes, evening.stored_bytes),
            count(evening.files_equal()),
            count(evening.files_compared),
            count(morning.files_equal()),
            count(morning.files_compared),
        )
    }

    fn summary(&self) -> String {
        let compared = self.snapshots.iter().map(|snapshot| snapshot.files_compared).sum();
        let (files, elapsed) = (plural(compared, "file"), time(self.elapsed_ms));
        if self.is_equal {
            return format!(
                "All {files} came back with their name, bytes, time and mode, in {elapsed}.\n"
            );
        }
        let differ: usize = self.snapshots.iter().map(|snapshot| snapshot.differences.len()).sum();
        let problems = plural(self.problems.len() as u64, "other problem");
        format!(
            "NOT EQUAL: {} of {files} differ, {problems}, in {elapsed}.\n",
            count(differ as u64)
        )
    }

    fn next_steps(&self) -> [(String, &'static str); 3] {
        let quoted = |path: PathBuf| path.display().to_string();
        match &self.folder {
            None => [
                (
                    "mailrig init s3://BUCKET/PREFIX".into(),
                    "your own repository; README.md goes on from there to the nightly backup",
                ),
                (
                    "mailrig demo --dir DIR --keep".into(),
                    "the same, left in place for ls, restore and verify",
                ),
                (
                    "docs/recover.sh REPO IDENTITY OUT".into(),
                    "every message back with age, zstd, tar and jq alone; docs/format.md says why",
                ),
            ],
            Some(folder) => {
                let (repository, identity) =
                    (quoted(folder.join(REPOSITORY)), quoted(folder.join(IDENTITY)));
                [
                    (
                        format!("mailrig ls {repository} latest --identity {identity}"),
                        "what a snapshot holds; --mailbox and --folder look closer",
                    ),
                    (
                        format!(
                            "docs/recover.sh {repository} {identity} {}",
                            quoted(folder.join("recovered"))
                        ),
                        "the same with age, zstd, tar and jq alone; docs/format.md says why",
                    ),
                    (
                        "mailrig init s3://BUCKET/PREFIX".into(),
                        "your own repository; README.md goes on from there to the nightly backup",
                    ),
                ]
            }
        }
    }
}

/// `6 mailboxes, 48 folders, 4,012 messages, 41.0 MiB`.
pub(crate) fn store_in_short(store: &StoreCounts) -> String {
    format!(
        "{}, {}, {}, {}",
        plural(store.mailboxes, "mailbox"),
        plural(store.folders, "folder"),
        plural(store.messages, "message"),
        size(store.bytes)
    )
}

/// `2.8 %`.
fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn time(milliseconds: u64) -> String {
    duration(Duration::from_millis(milliseconds))
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
