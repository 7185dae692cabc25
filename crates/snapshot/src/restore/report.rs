//! What a restore did: plain data. What could not be restored is a line of it, no error.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;

use super::plan::Kind;

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Ids of the snapshots that were restored from.
    pub snapshots: Vec<String>,
    /// Mailboxes, by name.
    pub mailboxes: Vec<RestoredMailbox>,
    /// Plain trees, by name.
    pub trees: Vec<RestoredTree>,
    /// Messages restored.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that the target had already.
    pub there: u64,
    /// What could not be restored.
    pub problems: Vec<Problem>,
    /// What a person should know or do.
    pub notes: BTreeSet<String>,
    /// Whether anything could not be restored.
    pub is_incomplete: bool,
}

/// A restored mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestoredMailbox {
    /// Name.
    pub name: String,
    /// Path below the target; of the folder that took all, if one did.
    pub path: String,
    /// Messages restored.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was done beside that.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A restored plain tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestoredTree {
    /// Name: its absolute path.
    pub name: String,
    /// Path below the target.
    pub path: String,
    /// Files and links restored.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// What was found and done for a mailbox beside adding messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages that the target had already.
    pub there: u64,
    /// Messages added under a new base name, because the server knows theirs as expunged or another
    /// message has it.
    pub renamed: u64,
    /// Messages that were there and got the snapshot's flags.
    pub reflagged: u64,
    /// Keywords of messages that were dropped, because 26 others have the letters.
    pub keywords_dropped: u64,
    /// UIDs that were kept.
    pub uids_kept: u64,
    /// Messages without a line in the snapshot's uidlist, which get new UIDs.
    pub uids_new: u64,
    /// Lines of uidlists that were broken, or had a UID of another message.
    pub uids_unusable: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.there += other.there;
        self.renamed += other.renamed;
        self.reflagged += other.reflagged;
        self.keywords_dropped += other.keywords_dropped;
        self.uids_kept += other.uids_kept;
        self.uids_new += other.uids_new;
        self.uids_unusable += other.uids_unusable;
    }
}

/// Something that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The mailbox's name, or its id where the name could not be read; `--messages` for a line that
    /// is no id.
    pub mailbox: String,
    /// What is missing because of it.
    #[serde(flatten)]
    pub missing: Missing,
    /// What, and why.
    pub reason: String,
}

/// How much is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Messages.
    pub messages: u64,
    /// What is kept beside messages, lists of UIDs and scripts; of plain trees all.
    pub files: u64,
}

impl Missing {
    pub(super) const NOTHING: Self = Self { messages: 0, files: 0 };

    /// So many messages.
    pub fn messages(messages: u64) -> Self {
        Self { messages, files: 0 }
    }

    pub(super) fn files(files: u64) -> Self {
        Self { messages: 0, files }
    }

    /// Of a mailbox so many messages, of a tree so many files.
    pub(super) fn of(is_tree: bool, count: u64) -> Self {
        if is_tree { Self::files(count) } else { Self::messages(count) }
    }

    /// One of what is of this kind.
    pub(super) fn one(kind: Kind) -> Self {
        Self::of(kind != Kind::Message, 1)
    }

    pub(super) fn add(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, files: self.files + other.files }
    }
}

/// A report that all threads write to.
#[derive(Default)]
pub(super) struct Shared(Mutex<Report>);

impl Shared {
    pub(super) fn problem(&self, mailbox: &str, missing: Missing, reason: impl Into<String>) {
        let mut report = self.0.lock().expect("no holder panics");
        report.is_incomplete = true;
        if report.problems.len() < PROBLEMS_MAX {
            let problem = Problem { mailbox: mailbox.to_owned(), missing, reason: reason.into() };
            report.problems.push(problem);
        }
    }

    pub(super) fn note(&self, note: impl Into<String>) {
        let mut report = self.0.lock().expect("no holder panics");
        if report.notes.len() < NOTES_MAX {
            report.notes.insert(note.into());
        }
    }

    pub(super) fn restored(&self, mailbox: RestoredMailbox) {
        self.0.lock().expect("no holder panics").mailboxes.push(mailbox);
    }

    pub(super) fn restored_tree(&self, tree: RestoredTree) {
        self.0.lock().expect("no holder panics").trees.push(tree);
    }

    pub(super) fn finish(self, snapshots: Vec<String>) -> Report {
        let mut report = self.0.into_inner().expect("no holder panics");
        report.snapshots = snapshots;
        report.mailboxes.sort_by(|a, b| a.name.cmp(&b.name).then(a.path.cmp(&b.path)));
        report.trees.sort_by(|a, b| a.name.cmp(&b.name));
        report.messages = report.mailboxes.iter().map(|mailbox| mailbox.messages).sum();
        report.bytes = report.mailboxes.iter().map(|mailbox| mailbox.bytes).sum();
        report.there = report.mailboxes.iter().map(|mailbox| mailbox.counts.there).sum();
        report
    }
}

const PROBLEMS_MAX: usize = 10_000;
const NOTES_MAX: usize = 1_000;
