//! The account of a run: what could not be read, what vanished, what is no message. Counts go into
//! the manifest, names into the report.

use serde::Serialize;

use crate::manifest::LedgerCounts;

/// What happened to something that is, or may be, mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    /// Two messages of a folder have one base name and different contents; both are kept.
    DuplicateName,
    /// Listed, then gone when it was to be read.
    ExpungedDuringRun,
    /// A mailbox that is no Maildir.
    ForeignFormat,
    /// One of most mailboxes of the store that are gone at once.
    MailboxMissing,
    /// In `new` or `cur`, and no regular file.
    NotAMessage,
    /// A link to mail outside the store.
    NotFollowed,
    /// Could not be read.
    Unreadable,
    /// A folder that kept changing while it was listed.
    UnstableFolder,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LedgerEntry {
    /// What happened.
    pub incident: Incident,
    /// To what: a path inside the store; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Why, where there is a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A run's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// How many of each.
    pub counts: LedgerCounts,
    /// The first [`NAMED_MAX`] by name.
    pub entries: Vec<LedgerEntry>,
}

impl Ledger {
    /// Counts an incident, and names it unless there are too many.
    pub fn note(&mut self, incident: Incident, path: String, reason: Option<String>) {
        *self.counter(incident) += 1;
        self.name(LedgerEntry { incident, path, reason });
    }

    /// Adds another account, of a mailbox say.
    pub fn merge(&mut self, other: Self) {
        let LedgerCounts {
            expunged_during_run,
            unreadable,
            not_messages,
            unstable_folders,
            duplicate_names,
            not_followed,
            mailboxes_missing,
            foreign_formats,
        } = other.counts;
        self.counts.expunged_during_run += expunged_during_run;
        self.counts.unreadable += unreadable;
        self.counts.not_messages += not_messages;
        self.counts.unstable_folders += unstable_folders;
        self.counts.duplicate_names += duplicate_names;
        self.counts.not_followed += not_followed;
        self.counts.mailboxes_missing += mailboxes_missing;
        self.counts.foreign_formats += foreign_formats;
        other.entries.into_iter().for_each(|entry| self.name(entry));
    }

    fn name(&mut self, entry: LedgerEntry) {
        if self.entries.len() < NAMED_MAX {
            self.entries.push(entry);
        }
    }

    fn counter(&mut self, incident: Incident) -> &mut u64 {
        match incident {
            Incident::DuplicateName => &mut self.counts.duplicate_names,
            Incident::ExpungedDuringRun => &mut self.counts.expunged_during_run,
            Incident::ForeignFormat => &mut self.counts.foreign_formats,
            Incident::MailboxMissing => &mut self.counts.mailboxes_missing,
            Incident::NotFollowed => &mut self.counts.not_followed,
            Incident::NotAMessage => &mut self.counts.not_messages,
            Incident::Unreadable => &mut self.counts.unreadable,
            Incident::UnstableFolder => &mut self.counts.unstable_folders,
        }
    }
}

/// How many incidents are named; the rest is only counted, so that memory stays bounded.
pub const NAMED_MAX: usize = 10_000;
