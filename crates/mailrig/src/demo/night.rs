//! What happens to a store in a night: mail arrives, people read, file and delete it on their
//! phones.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;
use snapshot::progress::Progress;

use super::mailbox::{Arrival, Mailbox};
use super::message::{Route, compose};
use super::store::{EVENING, Store};

/// What the night changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Night {
    /// New messages, in `new/`.
    pub(crate) delivered: u64,
    /// Their bytes.
    pub(crate) delivered_bytes: u64,
    /// Messages that went from `new/` to `cur/`.
    pub(crate) seen: u64,
    /// Messages whose flags changed.
    pub(crate) flagged: u64,
    /// Messages that went to another folder.
    pub(crate) moved: u64,
    /// Messages that were copied to another folder.
    pub(crate) copied: u64,
    /// Messages that were deleted for good.
    pub(crate) deleted: u64,
    /// Names in the morning that the evening did not know: what a backup has to read.
    pub(crate) new_names: u64,
    /// Folders that were made.
    pub(crate) folders_made: u64,
}

impl Night {
    /// All of it together.
    pub(crate) fn changes(&self) -> u64 {
        self.delivered + self.seen + self.flagged + self.moved + self.copied + self.deleted
    }

    /// Lets a night pass.
    pub(crate) fn pass(store: &mut Store, progress: &Progress) -> Result<Self> {
        let mut night = Self::default();
        Progress::add(&progress.units, store.mailboxes.len() as u64);
        let evening = names(store);
        for mailbox in &mut store.mailboxes {
            progress.check()?;
            night.read_mail(mailbox)?;
            night.change_flags(mailbox)?;
            night.file_mail(mailbox)?;
            night.delete(mailbox)?;
            night.deliver(mailbox, progress)?;
            mailbox.write_control()?;
            Progress::add(&progress.units_done, 1);
        }
        night.new_names = names(store).difference(&evening).count() as u64;
        Ok(night)
    }

    /// Most of what was new is looked at, some of it answered.
    fn read_mail(&mut self, mailbox: &mut Mailbox) -> Result<()> {
        for mail in 0..mailbox.folders[INBOX].mails.len() {
            if mailbox.folders[INBOX].mails[mail].uid.is_none() && mailbox.rng.chance(80) {
                let flags = mailbox.rng.pick(&["S", "S", "RS", ""]);
                mailbox.set_flags(INBOX, mail, flags)?;
                self.seen += 1;
            }
        }
        Ok(())
    }

    fn change_flags(&mut self, mailbox: &mut Mailbox) -> Result<()> {
        for folder in 0..mailbox.folders.len() {
            for mail in 0..mailbox.folders[folder].mails.len() {
                let known = &mailbox.folders[folder].mails[mail];
                if known.uid.is_none() || !mailbox.rng.chance(3) {
                    continue;
                }
                let flags = toggled(&mailbox.folders[folder].mails[mail].flags, 'F');
                mailbox.set_flags(folder, mail, &flags)?;
                self.flagged += 1;
            }
        }
        Ok(())
    }

    /// Mail is moved to the trash and to a folder for the new year, and some copied.
    fn file_mail(&mut self, mailbox: &mut Mailbox) -> Result<()> {
        let year = mailbox.make_folder(".Archive.2026")?;
        self.folders_made += 1;
        let trash = position(mailbox, ".Trash").unwrap_or(year);
        for (to, stays) in [(trash, false), (year, false), (year, true)] {
            let wanted = mailbox.folders[INBOX].mails.len().div_ceil(60);
            for _ in 0..wanted {
                let Some(mail) = choose(mailbox, INBOX) else { break };
                let time = EVENING + mailbox.rng.below(NIGHT);
                mailbox.copy(INBOX, mail, to, time)?;
                if stays {
                    self.copied += 1;
                } else {
                    mailbox.expunge(INBOX, mail)?;
                    self.moved += 1;
                }
            }
        }
        Ok(())
    }

    /// The trash loses a third, the archive a few.
    fn delete(&mut self, mailbox: &mut Mailbox) -> Result<()> {
        for (path, divisor) in [(".Trash", 3), (".Archive.2024", 30)] {
            let Some(folder) = position(mailbox, path) else { continue };
            for _ in 0..mailbox.folders[folder].mails.len().div_ceil(divisor) {
                let Some(mail) = choose(mailbox, folder) else { break };
                mailbox.expunge(folder, mail)?;
                self.deleted += 1;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, mailbox: &mut Mailbox, progress: &Progress) -> Result<()> {
        let mails: usize = mailbox.folders.iter().map(|folder| folder.mails.len()).sum();
        let owner = mailbox.name.clone();
        for _ in 0..mails.div_ceil(40) {
            let time = EVENING + mailbox.rng.below(NIGHT);
            let route = Route { owner: &owner, is_sent: false, time };
            let bytes = compose(&mut mailbox.rng, route)?;
            mailbox.deliver(INBOX, &bytes, time, Arrival::New)?;
            self.delivered += 1;
            self.delivered_bytes += bytes.len() as u64;
            Progress::add(&progress.messages, 1);
            Progress::add(&progress.bytes, bytes.len() as u64);
        }
        Ok(())
    }
}

/// Every message as mailbox, folder and base name.
fn names(store: &Store) -> BTreeSet<(String, &'static str, String)> {
    let folders = store.mailboxes.iter().flat_map(|mailbox| {
        mailbox.folders.iter().map(move |folder| (mailbox.name.clone(), folder))
    });
    folders
        .flat_map(|(mailbox, folder)| {
            folder.mails.iter().map(move |mail| (mailbox.clone(), folder.path, mail.base.clone()))
        })
        .collect()
}

/// A message of the folder that a client has seen.
fn choose(mailbox: &mut Mailbox, folder: usize) -> Option<usize> {
    let mails = &mailbox.folders[folder].mails;
    let known: Vec<usize> = (0..mails.len()).filter(|i| mails[*i].uid.is_some()).collect();
    known.get(mailbox.rng.index(known.len())).copied()
}

fn position(mailbox: &Mailbox, path: &str) -> Option<usize> {
    mailbox.folders.iter().position(|folder| folder.path == path)
}

/// The flags with one more or one less; their letters stay sorted.
fn toggled(flags: &str, flag: char) -> String {
    let mut letters: Vec<char> = flags.chars().filter(|letter| *letter != flag).collect();
    if letters.len() == flags.chars().count() {
        letters.push(flag);
        letters.sort_unstable();
    }
    letters.into_iter().collect()
}

const INBOX: usize = 0;

/// Ten hours.
const NIGHT: u64 = 10 * 3600;
