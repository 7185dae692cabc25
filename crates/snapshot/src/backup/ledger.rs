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
    const ALL: [Self; 12] = [
        Self::DeliveredDuringRun,
        Self::DuplicateName,
        Self::ExpungedDuringRun,
        Self::ForeignFormat,
        Self::ManyExpunged,
        Self::MailboxMissing,
        Self::MovedDuringRun,
        Self::NotAMessage,
        Self::NotFollowed,
        Self::Unreadable,
        Self::Unresolved,
        Self::UnstableFolder,
    ];

    /// The inverse of [`Incident::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|incident| incident.name() == name)
    }

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
    /// The first by name, [`NAMED_MAX`] of them at most.
    problems: Vec<LedgerEntry>,
    /// The first of what is no problem. On a busy server it is much, and must crowd out no problem.
    others: Vec<LedgerEntry>,
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
        other.problems.into_iter().chain(other.others).for_each(|entry| self.name(entry));
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.others.is_empty()
    }

    /// What is named: problems first, the rest as far as there is room.
    pub fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.problems.iter().chain(&self.others).take(NAMED_MAX)
    }

    fn name(&mut self, entry: LedgerEntry) {
        let list = if entry.incident.is_problem() { &mut self.problems } else { &mut self.others };
        if list.len() < NAMED_MAX {
            list.push(entry);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harmless_leaves_room_for_problems() {
        let mut run = Ledger::default();
        let mut mailbox = Ledger::default();
        for n in 0..NAMED_MAX + 5 {
            mailbox.note(Incident::DeliveredDuringRun, n.to_string(), None);
        }
        mailbox.note(Incident::Unresolved, "lost".into(), None);
        for ledger in [mailbox.clone(), mailbox] {
            run.merge(ledger);
        }
        run.note(Incident::Unreadable, "unreadable".into(), None);
        let named: Vec<_> = run.entries().map(|entry| entry.path.as_str()).collect();
        assert_eq!(named[..4], ["lost", "lost", "unreadable", "0"]);
        assert_eq!(named.len(), NAMED_MAX);
        assert_eq!((run.counts.delivered_during_run, run.counts.unresolved), (20_010, 2));
        for _ in 0..NAMED_MAX {
            run.note(Incident::Unreadable, "more".into(), None);
        }
        assert!(run.entries().all(|entry| entry.incident.is_problem()));
        assert_eq!(run.entries().count(), NAMED_MAX);
    }

    #[test]
    fn an_incident_is_known_by_its_name() {
        for incident in Incident::ALL {
            assert_eq!(Incident::of_name(incident.name()), Some(incident));
        }
        assert_eq!(Incident::of_name("of a later version"), None);
    }
}
