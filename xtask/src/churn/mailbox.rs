//! A worker's share of a mailbox, and the acts: what a delivery agent, Dovecot and people with `mv`
//! and `cp -l` do. No two workers touch one file, so an act that fails is an error: then
//! someone else changed the mailbox.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::account::{Account, Place};
use super::letter::Letters;
use super::style::Style;
use super::worker::Share;
use crate::random::Random;

/// Folders, the mailbox itself first; half of the mail lies there.
const FOLDERS: [&str; 5] = ["", ".Archive", ".Archive.2025", ".Sent", ".Lists"];
const FLAGS: [&str; 8] = ["", "S", "FS", "RS", "PRS", "F", "ST", "DS"];

/// What was done since the last window was opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) renames: u64,
    pub(super) others: u64,
}

impl Done {
    pub(super) fn parse(text: &str) -> Option<Done> {
        let (renames, others) = text.split_once(' ')?;
        Some(Done { renames: renames.parse().ok()?, others: others.parse().ok()? })
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.renames, self.others)
    }
}

pub(super) struct Mailbox {
    root: PathBuf,
    /// Paths in the store, as the account names them.
    folders: Vec<String>,
    worker: u64,
    made: u64,
    messages: usize,
    account: Account,
    letters: Letters,
    bytes: Vec<u8>,
    pub(super) done: Done,
    opened: Instant,
    /// Messages that came or went since the window was opened.
    turned_over: usize,
}

impl Mailbox {
    /// Makes the folders, unless another worker did, and this worker's messages.
    pub(super) fn fill(share: &Share) -> Result<Mailbox> {
        let Share { store, mailbox, worker, seed, messages, .. } = share;
        let folders = FOLDERS.map(|folder| {
            if folder.is_empty() { mailbox.clone() } else { format!("{mailbox}/{folder}") }
        });
        for folder in &folders {
            make_folder(&store.join(folder))?;
        }
        let mut filled = Mailbox {
            root: store.clone(),
            folders: folders.to_vec(),
            worker: *worker,
            made: 0,
            messages: *messages,
            account: Account::default(),
            letters: Letters::new(),
            bytes: Vec::new(),
            done: Done::default(),
            opened: Instant::now(),
            turned_over: 0,
        };
        let mut random = Random::new(*seed, *worker);
        for _ in 0..*messages {
            filled.deliver(&mut random)?;
            if random.below(4) > 0 {
                filled.rename(filled.account.len() - 1, &mut random)?;
            }
        }
        Ok(filled)
    }

    pub(super) fn open_window(&mut self) {
        self.account.open_window();
        self.done = Done::default();
        (self.opened, self.turned_over) = (Instant::now(), 0);
    }

    pub(super) fn close_window(&self) -> String {
        self.account.close_window(&self.folders)
    }

    /// One change, most often a rename in a folder.
    pub(super) fn act(&mut self, style: Style, random: &mut Random) -> Result<()> {
        let moves = style.moves_per_mille();
        let at = random.below(self.account.len());
        match random.below(1000) {
            what if what < moves => match random.below(3) {
                0 => self.move_by_rename(at, false, random),
                1 => self.move_by_rename(at, true, random),
                _ => self.move_by_link(at, random),
            },
            what if what < moves + 4 && self.may_turn_over() => self.copy(at, random),
            what if what >= 990 && self.may_turn_over() => {
                if self.account.len() < self.messages {
                    self.deliver(random)
                } else {
                    self.expunge(at)
                }
            }
            _ => self.rename(at, random),
        }
    }

    /// Messages come and go at a hundredth of the mailbox a second at most: what is not there
    /// throughout is not judged.
    fn may_turn_over(&mut self) -> bool {
        let seconds = 1.0 + self.opened.elapsed().as_secs_f64();
        let most = (seconds * self.messages as f64 / 100.0) as usize;
        let may = self.turned_over < most.max(1);
        self.turned_over += usize::from(may);
        may
    }

    /// As LMTP: written in `tmp`, shown in `new`.
    fn deliver(&mut self, random: &mut Random) -> Result<()> {
        let place = Place { is_new: true, ..self.new_place(random) };
        let letter = self.worker << 40 | self.made;
        self.letters.write(letter, &mut self.bytes);
        let unfinished = self.root.join(&self.folders[place.folder]).join("tmp").join(&place.base);
        let to = self.path(&place, "");
        fs::write(&unfinished, &self.bytes)
            .with_context(|| format!("writing `{}`", unfinished.display()))?;
        self.account.add(letter, place, "");
        rename(&unfinished, &to)?;
        self.done.others += 1;
        Ok(())
    }

    /// A flag change, or the move to `cur` of a message that was seen.
    fn rename(&mut self, at: usize, random: &mut Random) -> Result<()> {
        let message = self.account.message(at);
        let from = self.path(&message.place, message.flags);
        let place = Place { is_new: false, ..message.place.clone() };
        let mut flags = *random.pick(&FLAGS);
        if flags == message.flags && !message.place.is_new {
            flags = if flags.is_empty() { "S" } else { "" };
        }
        rename(&from, &self.path(&place, flags))?;
        self.account.set_flags(at, false, flags);
        self.done.renames += 1;
        Ok(())
    }

    /// As `mv`, with the base name or without.
    fn move_by_rename(&mut self, at: usize, keeps_base: bool, random: &mut Random) -> Result<()> {
        let message = self.account.message(at);
        let (from, flags) = (self.path(&message.place, message.flags), message.flags);
        let base = message.place.base.clone();
        let mut place = self.new_place(random);
        if keeps_base {
            place.base = base;
        }
        let flags = if place.is_new { "" } else { flags };
        rename(&from, &self.path(&place, flags))?;
        self.account.set_place(at, place.clone());
        self.account.set_flags(at, place.is_new, flags);
        self.done.renames += 1;
        Ok(())
    }

    /// As Dovecot: a link under a new base name, then the old name goes.
    fn move_by_link(&mut self, at: usize, random: &mut Random) -> Result<()> {
        let message = self.account.message(at).clone();
        let place = self.new_place(random);
        let flags = if place.is_new { "" } else { message.flags };
        let from = self.path(&message.place, message.flags);
        self.account.will_have_one_more_name(message.letter);
        link(&from, &self.path(&place, flags))?;
        self.account.set_place(at, place.clone());
        self.account.set_flags(at, place.is_new, flags);
        unlink(&from)?;
        self.account.has_one_name_less(message.letter);
        self.done.others += 1;
        Ok(())
    }

    /// As IMAP's COPY: one more name, which from now on is a message of its own.
    fn copy(&mut self, at: usize, random: &mut Random) -> Result<()> {
        let message = self.account.message(at);
        let (letter, from) = (message.letter, self.path(&message.place, message.flags));
        let flags = message.flags;
        let place = self.new_place(random);
        let flags = if place.is_new { "" } else { flags };
        let to = self.path(&place, flags);
        self.account.add(letter, place, flags);
        self.done.others += 1;
        link(&from, &to)
    }

    fn expunge(&mut self, at: usize) -> Result<()> {
        let message = self.account.remove(at);
        self.done.others += 1;
        unlink(&self.path(&message.place, message.flags))
    }

    /// Some folder, and a base name that nobody has had.
    fn new_place(&mut self, random: &mut Random) -> Place {
        self.made += 1;
        let (secs, micros) = (1_700_000_000 + random.below(60_000_000), random.below(1_000_000));
        let base = format!("{secs}.M{micros}P{}Q{}.churn", self.worker, self.made);
        let folder = random.below(FOLDERS.len() * 2);
        let folder = if folder < FOLDERS.len() { folder } else { 0 };
        Place { folder, is_new: random.below(4) == 0, base }
    }

    fn path(&self, place: &Place, flags: &str) -> PathBuf {
        let Place { folder, is_new, base } = place;
        let folder = self.root.join(&self.folders[*folder]);
        if *is_new {
            folder.join("new").join(base)
        } else {
            folder.join("cur").join(format!("{base}:2,{flags}"))
        }
    }
}

/// Makes a folder, unless another worker did. Never the store itself: when that is gone, the harness
/// has ended.
fn make_folder(path: &Path) -> Result<()> {
    for folder in [path.to_owned(), path.join("cur"), path.join("new"), path.join("tmp")] {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("creating the folder `{}`", folder.display()))?,
        }
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("renaming `{}` to `{}`", from.display(), to.display()))
}

fn link(from: &Path, to: &Path) -> Result<()> {
    fs::hard_link(from, to)
        .with_context(|| format!("linking `{}` to `{}`", from.display(), to.display()))
}

fn unlink(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("removing `{}`", path.display()))
}
