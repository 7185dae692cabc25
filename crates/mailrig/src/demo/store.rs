//! Makes the demo's store: six mailboxes with their folders, filled with mail of eighteen months.

use std::path::Path;
use std::thread;

use anyhow::Result;
use snapshot::progress::Progress;

use super::mailbox::{Arrival, Mailbox};
use super::message::{Route, compose};
use super::rng::Rng;

/// The store and what is in it.
pub(crate) struct Store {
    pub(crate) mailboxes: Vec<Mailbox>,
}

impl Store {
    /// Makes about `messages` messages below `root`, the same from the same seed.
    pub(crate) fn make(root: &Path, seed: u64, messages: u64, progress: &Progress) -> Result<Self> {
        Progress::add(&progress.units, MAILBOXES.len() as u64);
        let make = |number: usize| {
            let rng = Rng::new(seed, number as u64 + 1);
            let made = fill(root, &MAILBOXES[number], messages, rng, progress)?;
            Progress::add(&progress.units_done, 1);
            Ok(made)
        };
        let mailboxes = thread::scope(|scope| {
            let make = &make;
            let threads: Vec<_> =
                (0..MAILBOXES.len()).map(|number| scope.spawn(move || make(number))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Mailbox>>| {
                thread.join().unwrap_or_else(|_| anyhow::bail!("making a mailbox panicked"))
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { mailboxes })
    }

    pub(crate) fn folders(&self) -> u64 {
        self.mailboxes.iter().map(|mailbox| mailbox.folders.len() as u64).sum()
    }

    pub(crate) fn messages(&self) -> u64 {
        let folders = self.mailboxes.iter().flat_map(|mailbox| &mailbox.folders);
        folders.map(|folder| folder.mails.len() as u64).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        let folders = self.mailboxes.iter().flat_map(|mailbox| &mailbox.folders);
        folders.flat_map(|folder| &folder.mails).map(|mail| mail.size_bytes).sum()
    }
}

struct Plan {
    name: &'static str,
    /// Share of all messages, in percent.
    percent: u64,
    is_shared: bool,
}

fn fill(root: &Path, plan: &Plan, messages: u64, rng: Rng, progress: &Progress) -> Result<Mailbox> {
    let mut mailbox = Mailbox::make(root, plan.name, plan.is_shared, rng)?;
    for (folder, (path, percent)) in FOLDERS.into_iter().enumerate() {
        if !path.is_empty() {
            mailbox.make_folder(path)?;
        }
        let wanted = (messages * plan.percent * percent).div_ceil(10_000);
        for number in 0..wanted {
            progress.check()?;
            let step = SPAN / wanted;
            let time = EVENING - SPAN + number * step + mailbox.rng.below(step.max(1));
            let is_sent = matches!(path, ".Sent" | ".Drafts");
            let route = Route { owner: plan.name, is_sent, time };
            let bytes = compose(&mut mailbox.rng, route)?;
            // The newest mail of an inbox has not been looked at.
            let arrival = if path.is_empty() && number * 20 >= wanted * 19 {
                Arrival::New
            } else {
                Arrival::Known(flags(&mut mailbox.rng, path))
            };
            mailbox.deliver(folder, &bytes, time, arrival)?;
            Progress::add(&progress.messages, 1);
            Progress::add(&progress.bytes, bytes.len() as u64);
        }
    }
    mailbox.write_control()?;
    Ok(mailbox)
}

fn flags(rng: &mut Rng, folder: &str) -> &'static str {
    match folder {
        ".Drafts" => "DS",
        ".Sent" => "S",
        _ => rng.pick(&["S", "S", "S", "S", "RS", "RS", "FS", "", "Sa", "RSc"]),
    }
}

/// 2026-01-15 20:00 UTC: the evening of the first backup, long past so that no clock disagrees.
pub(crate) const EVENING: u64 = 1_768_507_200;

/// Eighteen months.
const SPAN: u64 = 540 * 86_400;

const MAILBOXES: [Plan; 6] = [
    Plan { name: "alice@example.org", percent: 28, is_shared: false },
    Plan { name: "bob@example.org", percent: 22, is_shared: false },
    Plan { name: "carol@example.org", percent: 18, is_shared: false },
    Plan { name: "info@example.com", percent: 14, is_shared: true },
    Plan { name: "taro@example.com", percent: 12, is_shared: false },
    Plan { name: "zoe@example.com", percent: 6, is_shared: false },
];

/// Folders and their shares of a mailbox's messages, in percent. Names with other letters are in
/// modified UTF-7, as IMAP has them: Entwürfe and 日本語.
const FOLDERS: [(&str, u64); 8] = [
    ("", 42),
    (".Sent", 16),
    (".Drafts", 1),
    (".Trash", 5),
    (".Archive.2024", 14),
    (".Archive.2025", 14),
    (".Projekte.Entw&APw-rfe", 4),
    (".&ZeVnLIqe-", 4),
];
