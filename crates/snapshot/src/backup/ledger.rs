//! The account of a run: what could not be read, what vanished, what is no message. Counts go into
//! the manifest, names into the report.

use serde::Serialize;

use crate::manifest::LedgerCounts;

/// What happened to something that is, or may be, mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    /// Came while the mailbox was scanned, and is in the snapshot.
    DeliveredDuringRun,
    /// Two messages of a folder have one base name; both are kept.
    DuplicateName,
    /// There when the scan of its mailbox began, and gone before it ended.
    ExpungedDuringRun,
    /// A mailbox that is no Maildir.
    ForeignFormat,
    /// A mailbox that lost more of its messages since the last snapshot than a normal night takes.
    ManyExpunged,
    /// One of most mailboxes of the store that are gone at once.
    MailboxMissing,
    /// In another folder at the end of the scan than at its beginning; in the snapshot once.
    MovedDuringRun,
    /// In a mailbox, and nothing that a mail server would show: a folder or socket among the messages,
    /// a name that begins with a dot, a link that leads to no file.
    NotAMessage,
    /// A link to what may be mail.
    NotFollowed,
    /// Could not be read.
    Unreadable,
    /// Listed, and then not to be found under any name, though nothing shows that it is gone.
    Unresolved,
    /// A folder that kept changing while it was listed.
    UnstableFolder,
}

impl Incident {
    /// Whether it is what happens on any living server, and no reason to look.
    pub fn is_news(self) -> bool {
        matches!(self, Self::DeliveredDuringRun | Self::ExpungedDuringRun | Self::MovedDuringRun)
    }

    /// Whether somebody must look: something that may be mail is not in the snapshot, or much is gone.
    pub fn is_problem(self) -> bool {
        !self.is_news() && !matches!(self, Self::DuplicateName | Self::NotAMessage)
    }

    /// The name under which it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeliveredDuringRun => "delivered_during_run",
            Self::DuplicateName => "duplicate_name",
            Self::ExpungedDuringRun => "expunged_during_run",
            Self::ForeignFormat => "foreign_format",
            Self::MailboxMissing => "mailbox_missing",
            Self::ManyExpunged => "many_expunged",
            Self::MovedDuringRun => "moved_during_run",
            Self::NotAMessage => "not_a_message",
            Self::NotFollowed => "not_followed",
            Self::Unreadable => "unreadable",
            Self::Unresolved => "unresolved",
            Self::UnstableFolder => "unstable_folder",
        }
    }
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
        self.counts.add(&other.counts);
        other.entries.into_iter().for_each(|entry| self.name(entry));
    }

    fn name(&mut self, entry: LedgerEntry) {
        if self.entries.len() < NAMED_MAX {
            self.entries.push(entry);
        }
    }

    fn counter(&mut self, incident: Incident) -> &mut u64 {
        match incident {
            Incident::DeliveredDuringRun => &mut self.counts.delivered_during_run,
            Incident::DuplicateName => &mut self.counts.duplicate_names,
            Incident::ExpungedDuringRun => &mut self.counts.expunged_during_run,
            Incident::ForeignFormat => &mut self.counts.foreign_formats,
            Incident::MailboxMissing => &mut self.counts.mailboxes_missing,
            Incident::ManyExpunged => &mut self.counts.expunge_alarms,
            Incident::MovedDuringRun => &mut self.counts.moved_during_run,
            Incident::NotFollowed => &mut self.counts.not_followed,
            Incident::NotAMessage => &mut self.counts.not_messages,
            Incident::Unreadable => &mut self.counts.unreadable,
            Incident::Unresolved => &mut self.counts.unresolved,
            Incident::UnstableFolder => &mut self.counts.unstable_folders,
        }
    }
}

/// How many incidents are named; the rest is only counted, so that memory stays bounded.
pub const NAMED_MAX: usize = 10_000;
