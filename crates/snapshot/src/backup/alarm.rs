//! The expunge alarm: a mailbox that lost more than a part of its messages since the last snapshot
//! may have been wiped or ransomed, and must not pass as a normal night. Pure.

use std::collections::HashSet;

use serde::Serialize;

use super::tally::Tally;
use crate::hash::Sum;
use crate::state::MailboxState;

/// When to sound it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    /// More than this part of a mailbox's messages, in percent, is too much.
    pub percent: f64,
    /// Mailboxes that held fewer messages are passed over.
    pub min_messages: u64,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { percent: 30.0, min_messages: 1 }
    }
}

/// A mailbox that lost too much.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expunged {
    /// Its path inside the store; bytes that are not UTF-8 are replaced.
    pub mailbox: String,
    /// Messages that it held at the last snapshot.
    pub before: u64,
    /// How many of them are gone from all of its folders.
    pub expunged: u64,
    /// The same as a part of `before`.
    pub percent: f64,
}

impl Alarm {
    /// Compares a mailbox with what it was. The `tally` has what is not where it was: most nights it is
    /// too little for anything to be decoded.
    pub(crate) fn check(
        &self,
        mailbox: &str,
        old: &MailboxState,
        new: &MailboxState,
        tally: &Tally,
    ) -> Option<Expunged> {
        let before = old.folders.values().map(|folder| folder.messages).sum();
        if !self.is_due(before, tally.missing()) {
            return None;
        }
        let messages = |state: &'_ MailboxState| -> Vec<Sum> {
            let folders = state.folders.values();
            folders
                .flat_map(|folder| folder.messages().unwrap_or_default())
                .map(|message| message.sum)
                .collect()
        };
        let kept: HashSet<Sum> = messages(new).iter().chain(tally.came()).copied().collect();
        let expunged = messages(old).iter().filter(|sum| !kept.contains(*sum)).count();
        self.judge(mailbox, before, expunged as u64)
    }

    /// A mailbox that held `before` messages and lost `expunged` of them.
    pub(crate) fn judge(&self, mailbox: &str, before: u64, expunged: u64) -> Option<Expunged> {
        self.is_due(before, expunged).then(|| Expunged {
            mailbox: mailbox.to_owned(),
            before,
            expunged,
            percent: (expunged as f64 * 1000.0 / before as f64).round() / 10.0,
        })
    }

    fn is_due(&self, before: u64, expunged: u64) -> bool {
        before > 0
            && before >= self.min_messages
            && expunged as f64 * 100.0 > self.percent * before as f64
    }
}

impl Expunged {
    /// The words of the ledger.
    pub(crate) fn reason(&self) -> String {
        format!("{} of {} messages, {:.0} %", self.expunged, self.before, self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FolderState, MessageState};

    /// Folders with messages, each given by its content's number.
    fn mailbox(folders: &[(&str, &[u8])]) -> MailboxState {
        let mut state = MailboxState::default();
        for (path, contents) in folders {
            let names: Vec<String> = contents.iter().map(|c| format!("{c:03}.m:2,S")).collect();
            let messages: Vec<_> = (names.iter().zip(*contents))
                .map(|(name, content)| MessageState::sample(name.as_bytes(), *content))
                .collect();
            let mut folder = FolderState { is_maildir: true, ..FolderState::default() };
            folder.set_messages(&messages);
            state.folders.insert(path.as_bytes().to_vec(), folder);
        }
        state
    }

    fn tally(old: &MailboxState, new: &MailboxState) -> Tally {
        let mut lines = crate::backup::lines::Lines::default();
        lines.changes(old, new);
        lines.tally
    }

    #[test]
    fn only_messages_that_left_the_mailbox_count() {
        let old = mailbox(&[("", &[1, 2, 3, 4, 5, 6]), (".A", &[7, 8, 9, 10])]);
        let check = |alarm: Alarm, new: &[(&str, &[u8])]| {
            let new = mailbox(new);
            let found = alarm.check("m", &old, &new, &tally(&old, &new));
            found.map(|e| (e.before, e.expunged, e.percent))
        };
        let alarm = Alarm::default();
        // All moved, some copied, some new: nothing is gone.
        assert_eq!(check(alarm, &[(".B", &[1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11])]), None);
        assert_eq!(check(alarm, &[("", &[1, 2, 3, 4, 5, 6]), (".A", &[7])]), None);
        assert_eq!(check(alarm, &[("", &[4, 5, 6]), (".A", &[7, 8, 9])]), Some((10, 4, 40.0)));
        assert_eq!(check(alarm, &[]), Some((10, 10, 100.0)));
        assert_eq!(check(Alarm { min_messages: 11, ..alarm }, &[]), None);
        assert_eq!(check(Alarm { percent: 100.0, ..alarm }, &[]), None);
        assert_eq!(alarm.check("m", &mailbox(&[]), &mailbox(&[]), &Tally::default()), None);
        // What a dry run read to see whether it moved is not in the new state.
        let mut found = tally(&old, &mailbox(&[]));
        assert!(alarm.check("m", &old, &mailbox(&[]), &found).is_some());
        (1..=10).for_each(|content| found.unread(Some([content; 32])));
        assert_eq!(alarm.check("m", &old, &mailbox(&[]), &found), None);
    }
}
