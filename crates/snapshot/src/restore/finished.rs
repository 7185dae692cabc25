//! What the end of a mailbox brought about: plain data, which the reports are made of, and the
//! UIDVALIDITYs that were given, which Dovecot must not give again.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::Dotlock;

use super::live::Staged;
use super::plan::{Kind, Target, UIDLIST};
use super::report::Counts;
use super::uids::Settled;
use super::validity;

/// What the end of a mailbox brought about.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) counts: Counts,
    /// UIDVALIDITY of lists that were given a new one.
    pub(crate) bumped: Vec<(PathBuf, u32)>,
    /// The highest UIDVALIDITY of Dovecot's lists, of those that were written, too. Each new one is
    /// higher: a folder that is renamed to another one's name must not have its number.
    pub(crate) highest: u32,
    /// Whether one of them is new.
    is_raised: bool,
    /// Files that were there when they were to be put into place, or could not be.
    pub(crate) failed: Vec<Failed>,
    /// What was not done for want of a lock.
    pub(crate) locked: Vec<Locked>,
    /// Folders that changed meanwhile.
    pub(crate) left: Vec<Left>,
    /// Files of keywords that give letters another meaning than the snapshot's.
    pub(crate) keywords: Vec<PathBuf>,
    /// Folders whose list of UIDs changed while they were in use.
    pub(crate) merged: Vec<PathBuf>,
    /// Lists that say nothing.
    pub(crate) useless: Vec<PathBuf>,
}

/// A file that could not be put into place.
pub(crate) struct Failed {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) error: io::Error,
}

impl Failed {
    pub(super) fn new(target: &Target, error: io::Error) -> Self {
        let dir = target.outside.as_ref().unwrap_or(&target.dir);
        Self { path: dir.join(&target.name), kind: target.kind, error }
    }
}

/// A lock that others held all the time, and what so stays away.
pub(crate) struct Locked {
    pub(crate) error: io::Error,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// A folder that others changed, and how many messages so stay away.
pub(crate) struct Left {
    pub(crate) folder: PathBuf,
    pub(crate) error: io::Error,
    pub(crate) messages: u64,
}

/// The messages among `files`, and their bytes.
pub(super) fn sum(files: &[Staged]) -> (u64, u64) {
    let messages = files.iter().filter(|file| file.target.kind == Kind::Message);
    messages.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.target.size))
}

impl Finished {
    /// Before the first list, where Dovecot has given numbers up to `highest`.
    pub(crate) fn above(highest: u32) -> Self {
        Self { highest, ..Self::default() }
    }

    /// Notes `files` that stay away because a lock was not to be had in time.
    pub(super) fn locked(
        &mut self,
        lock: io::Result<Dotlock>,
        files: &[Staged],
    ) -> io::Result<Option<Dotlock>> {
        match lock {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let (messages, bytes) = sum(files);
                self.locked.push(Locked { error, messages, bytes });
                Ok(None)
            }
            lock => lock.map(Some),
        }
    }

    pub(super) fn failed_messages(&self) -> u64 {
        self.failed.iter().filter(|failed| failed.kind == Kind::Message).count() as u64
    }

    /// Messages that are told as missing so far.
    pub(super) fn told_messages(&self) -> u64 {
        let locked = self.locked.iter().map(|locked| locked.messages).sum::<u64>();
        self.failed_messages() + locked
    }

    /// Counts what a settled list says.
    pub(super) fn note(&mut self, settled: &Settled) {
        self.counts.uids_kept += settled.kept;
        self.counts.uids_new += settled.new;
        self.counts.uids_unusable += settled.unusable;
    }

    /// Notes a list that was written for a folder.
    pub(crate) fn listed(&mut self, list: &Target, folder: &Path, settled: &Settled) {
        if settled.is_bumped {
            self.bumped.push((folder.to_owned(), settled.uid_validity));
        }
        if list.name.as_bytes() == UIDLIST {
            self.highest = self.highest.max(settled.uid_validity);
            self.is_raised |= settled.is_bumped;
        }
    }

    pub(super) fn bump(&mut self, folder: &Path, validity: u32) {
        self.bumped.push((folder.to_owned(), validity));
        self.highest = self.highest.max(validity);
        self.is_raised = true;
    }

    /// Brings Dovecot's record in `dir` up to the lists that were written, so that its next folder
    /// gets a higher number. Where there is none, only a new number begins one.
    pub(crate) fn raise(&self, dir: Option<&OwnedFd>) -> io::Result<()> {
        let Some(dir) = dir else { return Ok(()) };
        let before = validity::highest(Some(dir))?;
        if before < self.highest && (before > 0 || self.is_raised) {
            validity::raise(dir, self.highest)?;
        }
        Ok(())
    }
}
