//! The end of a restore into a live mailbox: what waited is put into place, folders that are new get
//! their names, lists of UIDs are merged under the server's lock.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use maildir::{Dotlock, Keywords, Listing, move_new};
use rustix::fs::Mode;

use super::beside::subscribe;
use super::files::{Owners, has, open_beneath};
use super::finished::{Failed, Finished, Left, sum};
use super::inplace::{How, Reflag, keywords};
use super::is_of_all;
use super::live::{Live, STAGE, Staged, remove_stale_at, replace};
use super::options::Uids;
use super::outside;
use super::plan::{Kind, MailboxPlan, Target, UIDLIST};
use super::survey::{self, KEYWORDS, read_file};
use super::uids::{Clock, Present, Settled, renumber, settle};
use super::validity;
use crate::progress::Progress;

impl Live {
    /// The end: what waited is put into place, with lists of UIDs, and what went stale goes.
    pub(crate) fn finish(
        &self,
        plan: &MailboxPlan,
        owners: &Owners,
        uids: Uids,
        clock: Clock,
        progress: &Progress,
    ) -> io::Result<Finished> {
        let record = self.places.open_control_root(&self.root)?;
        let mut finished = Finished::above(validity::highest(record.as_ref())?);
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("no holder panics"));
        let mut by_folder: BTreeMap<PathBuf, Vec<Staged>> = BTreeMap::new();
        for file in waiting {
            by_folder.entry(file.target.folder().to_owned()).or_default().push(file);
        }
        rustix::fs::syncfs(&self.stage()?.dir)?;
        let mut end =
            End { live: self, plan, owners, uids, clock, progress, finished: &mut finished };
        for (folder, live) in &self.folders {
            let files = by_folder.remove(folder).unwrap_or_default();
            let messages = sum(&files).0;
            let told = end.finished.told_messages();
            let before = self.settled();
            let is_renumbered = live.lock().expect("no holder panics").is_renumbered;
            if let Err(error) = end.folder(folder, files, is_renumbered) {
                if is_of_all(&error) {
                    return Err(error);
                }
                let told = end.finished.told_messages() - told;
                let messages = messages.saturating_sub(self.settled() - before + told);
                end.finished.left.push(Left { folder: folder.clone(), error, messages });
            }
        }
        for files in by_folder.into_values() {
            end.files(files);
        }
        for reflag in &self.reflags {
            end.reflag(reflag)?;
        }
        if let Some((names, layout)) = &self.subscribe {
            let name = OsStr::new("subscriptions");
            let control = self.places.control_root();
            let path = control.unwrap_or(&self.path).join(name);
            let dir = match control {
                Some(control) => outside::open(control)?,
                None => self.root.try_clone()?,
            };
            let lock = finished.locked(self.lock(&path, progress), &[])?;
            let before = read_file(&dir, name.as_bytes())?.unwrap_or_default();
            let after = subscribe(&before, names, *layout);
            if let Some(after) = after.filter(|_| lock.is_some()) {
                // Beside it, as it may lie in another file system.
                replace(&dir, &dir, name, &after)?;
            }
        }
        let record = self.places.open_control_root(&self.root)?;
        finished.raise(record.as_ref())?;
        finished.counts.there += self.met.load(Ordering::Relaxed);
        Ok(finished)
    }
}

/// The last steps of a mailbox.
struct End<'e> {
    live: &'e Live,
    plan: &'e MailboxPlan,
    owners: &'e Owners,
    uids: Uids,
    clock: Clock,
    progress: &'e Progress,
    finished: &'e mut Finished,
}

impl End<'_> {
    fn folder(&mut self, folder: &Path, files: Vec<Staged>, is_renumbered: bool) -> io::Result<()> {
        match self.live.how(folder) {
            Some(How::New) => self.new_folder(folder, files)?,
            Some(How::Whole) => {
                if let Some(lock) = self.lock(folder, &files)? {
                    self.whole_folder(folder, files, &lock)?;
                }
            }
            _ => self.files(files),
        }
        if is_renumbered && let Some(lock) = self.lock(folder, &[])? {
            self.renumber(folder, &lock)?;
        }
        Ok(())
    }

    /// Puts a folder that is not there together, and gives it its name when it is whole.
    fn new_folder(&mut self, folder: &Path, files: Vec<Staged>) -> io::Result<()> {
        let stage = self.live.stage()?;
        let aside = format!("folder-{}", stage.next.fetch_add(1, Ordering::Relaxed));
        rustix::fs::mkdirat(&stage.dir, aside.as_str(), Mode::RWXU)?;
        let dir = open_beneath(&stage.dir, Path::new(&aside))?;
        for subdir in ["cur", "new", "tmp"] {
            rustix::fs::mkdirat(&dir, subdir, Mode::RWXU)?;
        }
        let (lists, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.target.kind == Kind::Uidlist);
        let (outside, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.target.outside.is_some());
        self.files(outside);
        let (messages, bytes) = sum(&files);
        for file in files {
            let inside = file.target.dir.strip_prefix(folder).unwrap_or(Path::new(""));
            let to = open_beneath(&dir, inside)?;
            move_new(&stage.dir, &file.name, &to, &file.target.name)?;
        }
        for list in lists {
            let path = self.live.path.join("tmp").join(STAGE).join(&aside);
            self.list(folder, &dir, &path, &list, true)?;
        }
        let dirs: Vec<_> = self.plan.dirs_of(folder).collect();
        let owner = dirs.first().map(|dir| &dir.owner);
        let is_dotted = folder.as_os_str().as_bytes().starts_with(b".");
        self.owners.finish_dirs(&dir, dirs.iter())?;
        if self.live.subscribe.is_some() && is_dotted && !has(&dir, OsStr::new(MARKER))? {
            replace(&stage.dir, &dir, OsStr::new(MARKER), b"")?;
        }
        let above = folder.parent().unwrap_or(Path::new(""));
        let parent = self.owners.make_dirs(&self.live.root, above, owner)?;
        let name = folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        move_new(&stage.dir, aside.as_str(), &parent, name)?;
        self.live.add_placed(messages, bytes);
        Ok(())
    }

    /// Fills a folder that is there, while its server has to wait.
    fn whole_folder(
        &mut self,
        folder: &Path,
        files: Vec<Staged>,
        lock: &Dotlock,
    ) -> io::Result<()> {
        let path = self.live.path.join(folder);
        let (lists, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.target.kind == Kind::Uidlist);
        let (messages, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.target.kind == Kind::Message);
        let listing = survey::list(&path)?;
        let has_more = !messages.is_empty();
        let mut messages = messages.into_iter();
        while messages.len() > 0 {
            lock.touch().map_err(|e| e.source)?;
            let batch: Vec<Staged> = messages.by_ref().take(BATCH).collect();
            let failed = self.live.move_messages(folder, batch, Some(&listing));
            let failed =
                failed.into_iter().filter(|(_, e)| e.kind() != io::ErrorKind::AlreadyExists);
            let failed = failed.map(|(file, e)| Failed::new(&file.target, e));
            self.finished.failed.extend(failed);
        }
        self.files(files);
        let dir = open_beneath(&self.live.root, folder)?;
        let mut is_written = false;
        for list in &lists {
            lock.touch().map_err(|e| e.source)?;
            is_written |= self.list(folder, &dir, &path, list, has_more)?;
        }
        if is_written {
            self.remove_index(folder)?;
            self.finished.merged.push(folder.to_owned());
        }
        Ok(())
    }

    /// Locks a folder's list of UIDs; `files` wait for it.
    fn lock(&mut self, folder: &Path, files: &[Staged]) -> io::Result<Option<Dotlock>> {
        let control = self.live.places.control(folder);
        let control = control.unwrap_or_else(|| self.live.path.join(folder));
        let lock = self.live.lock(&control.join(OsStr::from_bytes(UIDLIST)), self.progress);
        self.finished.locked(lock, files)
    }

    /// Gives a folder in use a new UIDVALIDITY. A session that has it open is ended by Dovecot, which
    /// finds its index gone.
    fn renumber(&mut self, folder: &Path, lock: &Dotlock) -> io::Result<()> {
        let dir = self.live.places.open_control(&self.live.root, folder)?;
        let list = read_file(&dir, UIDLIST)?.unwrap_or_default();
        let listing = survey::list(&self.live.path.join(folder))?;
        let has = |base: &[u8]| !listing.find(base).is_empty();
        let highest = self.finished.highest;
        let Some((list, validity)) = renumber(&list, has, highest, self.clock.now_seconds) else {
            self.finished.useless.push(folder.join(OsStr::from_bytes(UIDLIST)));
            return Ok(());
        };
        lock.touch().map_err(|e| e.source)?;
        replace(&dir, &dir, OsStr::from_bytes(UIDLIST), &list)?;
        self.remove_index(folder)?;
        self.finished.bump(folder, validity);
        Ok(())
    }

    fn remove_index(&self, folder: &Path) -> io::Result<()> {
        self.live.remove_stale(folder, "dovecot.index")?;
        match self.live.places.index(folder) {
            Some(index) => remove_stale_at(&index, "dovecot.index"),
            None => Ok(()),
        }
    }

    /// Writes the list of the UIDs of a folder, `dir`, that lies at `path` now; tells whether it did. A
    /// list that gets nothing stays if the folder got no messages either (`has_more`): each
    /// writing takes UIDs that no message will have.
    fn list(
        &mut self,
        folder: &Path,
        dir: &OwnedFd,
        path: &Path,
        list: &Staged,
        has_more: bool,
    ) -> io::Result<bool> {
        let stage = self.live.stage()?;
        let name = list.target.name.as_bytes();
        let elsewhere = list.target.outside.as_ref().map(|dir| outside::open(dir)).transpose()?;
        let dir = elsewhere.as_ref().unwrap_or(dir);
        let snapshot = read_file(&stage.dir, list.name.as_bytes())?.unwrap_or_default();
        let present = read_file(dir, name)?;
        let times = (self.finished.highest, self.clock);
        let listing = survey::list(path)?;
        let settled = settle_folder(&snapshot, present.as_deref(), &listing, self.uids, times);
        let Some(settled) = settled else {
            self.finished.useless.push(folder.join(&list.target.name));
            return Ok(false);
        };
        self.finished.note(&settled);
        if settled.is_there && !has_more {
            return Ok(false);
        }
        self.finished.listed(&list.target, folder, &settled);
        if elsewhere.is_some() {
            outside::put_list(dir, list, &settled.list, self.owners)?;
            return Ok(true);
        }
        // Rewritten as a file of its own, so that a crash leaves the old one or the new one.
        let name = format!("list-{}", stage.next.fetch_add(1, Ordering::Relaxed));
        let mut target = list.target.clone();
        target.mtime_ns = i64::from(self.clock.now_seconds) * 1_000_000_000;
        let file = self.owners.write(
            &stage.dir,
            OsStr::new(&name),
            &target,
            &mut settled.list.as_slice(),
        )?;
        file.sync_all()?;
        rustix::fs::renameat(&stage.dir, name.as_str(), dir, &list.target.name)?;
        Ok(true)
    }

    /// Puts files into place that must not replace anything.
    fn files(&mut self, files: Vec<Staged>) {
        let mut dirs = BTreeMap::new();
        for file in files {
            let path = file.target.dir.join(&file.target.name);
            let keywords = self.keywords_staged(&file);
            let done = match &file.target.outside {
                Some(to) => self
                    .live
                    .stage()
                    .and_then(|stage| outside::put(&stage.dir, &file, to, self.owners)),
                None => self.live.move_file(&file, &file.target.dir, &mut dirs),
            };
            match done {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    self.finished.failed.push(Failed::new(&file.target, e));
                    continue;
                }
            }
            if keywords.is_some_and(|wanted| !self.means(&file.target, &wanted)) {
                self.finished.keywords.push(path);
            }
        }
    }

    /// Keywords that are about to be put into place.
    fn keywords_staged(&self, file: &Staged) -> Option<Keywords> {
        let stage = self.live.stage().ok().filter(|_| file.target.name.as_bytes() == KEYWORDS)?;
        read_file(&stage.dir, file.name.as_bytes()).ok()?.map(|bytes| Keywords::parse(&bytes))
    }

    /// Whether letters mean at a target what they are wanted to. A server that met messages without a
    /// file of keywords may have made one meanwhile.
    fn means(&self, target: &Target, wanted: &Keywords) -> bool {
        let dir = match &target.outside {
            Some(dir) => outside::open(dir),
            None => open_beneath(&self.live.root, &target.dir),
        };
        let there = keywords(dir.and_then(|dir| read_file(&dir, KEYWORDS)).ok().flatten());
        let mut letters = (b'a'..=b'z').filter(|letter| wanted.name(*letter).is_some());
        letters.all(|letter| there.name(letter) == wanted.name(letter))
    }

    fn reflag(&mut self, reflag: &Reflag) -> io::Result<()> {
        let dir = |subdir: maildir::Subdir| {
            open_beneath(&self.live.root, &reflag.folder.join(subdir.name()))
        };
        let (from, to) = (&reflag.from, &reflag.to);
        let done = move_new(dir(from.0)?, from.1.as_slice(), dir(to.0)?, to.1.as_slice());
        match done {
            Ok(()) => self.finished.counts.reflagged += 1,
            // It was renamed meanwhile: whoever did that knows better.
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Settles the list of a folder that has these messages.
pub(crate) fn settle_folder(
    snapshot: &[u8],
    present: Option<&[u8]>,
    listing: &Listing,
    uids: Uids,
    (highest, clock): (u32, Clock),
) -> Option<Settled> {
    let has = |base: &[u8]| !listing.find(base).is_empty();
    let messages = listing.entries().len() as u64;
    let present = Present { has: &has, messages, list: present, highest };
    settle(snapshot, &present, uids, clock)
}

/// Marks a folder of Maildir++.
const MARKER: &str = "maildirfolder";

/// Messages between two signs of life to a server that waits.
const BATCH: usize = 1_000;
