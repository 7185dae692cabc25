//! What changed between two snapshots. Catalogs tell; indexes are read only where the same content
//! may have been stored again in between, or to name messages.

mod changes;
mod mailbox;
mod pairs;

use serde::Serialize;

pub use self::changes::Change;
use self::mailbox::{Compared, Comparison};
use self::pairs::Pair;
use crate::contents::unseal;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::named;
use crate::parallel;
use crate::progress::Progress;
use crate::repository::Repository;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only the mailbox with this name, path or id.
    pub mailbox: Option<String>,
    /// Whether to name each message.
    pub names: bool,
    /// Mailboxes at work at the same time.
    pub threads: usize,
}

/// What changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first snapshot's id.
    pub from: String,
    /// The second one's.
    pub to: String,
    /// Mailboxes that changed, by name.
    pub mailboxes: Vec<MailboxChanges>,
    /// Mailboxes that did not.
    pub unchanged: u64,
    /// Messages by what became of them.
    pub totals: Counts,
    /// The messages, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<MessageChange>>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Whether there is any.
    pub is_incomplete: bool,
}

/// Messages by what became of them. A move within a mailbox counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New.
    pub delivered: u64,
    /// In no folder any more.
    pub expunged: u64,
    /// In another folder, or under another base name.
    pub moved: u64,
    /// With other flags, or gone from `new` to `cur`.
    pub reflagged: u64,
}

/// A mailbox that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MailboxChanges {
    /// Its name.
    pub name: String,
    /// Its id in the repository.
    pub id: String,
    /// Whether it is in both snapshots.
    pub state: State,
    /// The name it had, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// Its folders that changed.
    pub folders: Vec<FolderChanges>,
}

/// A folder that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FolderChanges {
    /// Path inside the mailbox; `INBOX` for the mailbox itself.
    pub folder: String,
    /// Whether it is in both snapshots.
    pub state: State,
    /// The path it had, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// New messages.
    pub delivered: u64,
    /// Messages that are in no folder any more.
    pub expunged: u64,
    /// Messages that came from another folder, or have another base name.
    pub moved_in: u64,
    /// Messages that went to another folder, or had another base name.
    pub moved_out: u64,
    /// Messages with other flags, or gone from `new` to `cur`.
    pub reflagged: u64,
}

/// Whether a mailbox or folder is in both snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In the first only.
    Gone,
    /// In both.
    #[default]
    Kept,
    /// In the second only.
    New,
    /// In both under different names.
    Renamed,
}

/// A message that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MessageChange {
    /// Its mailbox's name.
    pub mailbox: String,
    /// What became of it.
    pub change: Change,
    /// Its id: in the second snapshot, or if it was expunged in the first.
    pub id: String,
    /// Its folder in the first snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_folder: Option<String>,
    /// Its folder in the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_folder: Option<String>,
    /// From.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// A mailbox that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Its name, or its id where the name could not be read.
    pub mailbox: String,
    /// Why.
    pub reason: String,
}

/// Compares two snapshots.
pub fn run(
    repository: &Repository,
    from: &Manifest,
    to: &Manifest,
    identity: Option<&Unseal>,
    options: &Options,
    progress: &Progress,
) -> Result<Report> {
    let identity = unseal(repository, identity)?;
    let comparison = Comparison { repository, from, to, identity, names: options.names, progress };
    let mut report = Report { from: from.id.clone(), to: to.id.clone(), ..Report::default() };
    let mut pairs = pairs::of(from, to);
    if let Some(wanted) = &options.mailbox {
        let known: Vec<named::Known<'_>> = pairs.iter().filter_map(Pair::known).collect();
        let open = named::named(repository, identity, &known, wanted, "neither snapshot has a")?;
        pairs.retain(|pair| open.iter().any(|open| open.id == pair.id()));
    }
    report.unchanged = pairs.iter().filter(|pair| pair.is_unchanged()).count() as u64;
    pairs.retain(|pair| !pair.is_unchanged());
    let pairs = comparison.find_renamed(pairs, options.threads)?;
    Progress::add(&progress.units, pairs.len() as u64);
    let compared = parallel::map(options.threads, &pairs, |pair| {
        let compared = comparison.pair(pair);
        Progress::add(&progress.units_done, 1);
        compared
    });
    let mut messages = Vec::new();
    for (pair, compared) in pairs.iter().zip(compared) {
        match compared {
            Ok(compared) => report.add(compared, &mut messages),
            Err(e @ Error::WrongIdentity { .. }) => return Err(e),
            Err(e) if e.is_local_to_object() || matches!(e, Error::TooNew { .. }) => {
                let (mailbox, reason) = (pair.id().to_owned(), e.to_string());
                report.problems.push(Problem { mailbox, reason });
            }
            Err(e) => return Err(e),
        }
    }
    report.mailboxes.sort_unstable();
    report.problems.sort_unstable();
    messages.sort_unstable();
    report.messages = options.names.then_some(messages);
    report.is_incomplete = !report.problems.is_empty();
    Ok(report)
}

impl Report {
    fn add(&mut self, compared: Compared, messages: &mut Vec<MessageChange>) {
        self.totals.delivered += compared.counts.delivered;
        self.totals.expunged += compared.counts.expunged;
        self.totals.moved += compared.counts.moved;
        self.totals.reflagged += compared.counts.reflagged;
        if compared.mailbox.state == State::Kept && compared.mailbox.folders.is_empty() {
            // Another catalog of the same messages: packs were folded, or kept files changed.
            self.unchanged += 1;
        } else {
            self.mailboxes.push(compared.mailbox);
        }
        messages.extend(compared.messages);
    }
}
