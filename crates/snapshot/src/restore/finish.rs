//! The end of a mailbox in a restore: lists of UIDs, links, owners of folders, its name; and what is
//! reported of it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::ending::settle_folder;
use super::files::{open_beneath, remove_all};
use super::finished::{Failed, Finished};
use super::live::remove_stale_at;
use super::mailbox::{Work, stopped};
use super::options::{Place, Uids};
use super::outside;
use super::partial::Partial;
use super::plan::Kind;
use super::report::{Counts, Missing, RestoredMailbox, RestoredTree};
use super::site::{ASIDE, Site, raw_list};
use super::survey::{self, read_file};
use super::validity;
use super::{Run, is_of_all, with_cause};
use crate::error::{Error, Result};
use crate::progress::Progress;

impl Run<'_> {
    pub(super) fn finish(&self, work: &Work) -> Result<()> {
        let path = self.options.place.root().join(&work.path);
        let failed = |e: io::Error| stopped("finish", &path, e);
        let uids = self.options.uids.unwrap_or(Uids::Keep);
        let mut counts = work.counts;
        let (made, not_made) =
            outside::make(&work.plan.outside_dirs, &work.owners).map_err(failed)?;
        for (dir, error) in not_made {
            let reason = format!("make {}: {error}", dir.display());
            self.report.problem(&work.name, Missing::NOTHING, reason);
        }
        let root = match &work.site {
            Site::New(partial) => &partial.root,
            Site::Live(live) => &live.root,
        };
        let finished = match &work.site {
            Site::New(partial) => self.settle_lists(work, partial, uids).map_err(failed)?,
            Site::Live(live) => {
                let (clock, progress) = (self.clock, self.progress);
                live.finish(&work.plan, &work.owners, uids, clock, progress).map_err(failed)?
            }
        };
        for link in &work.plan.links {
            let dir = link.path.parent().unwrap_or(Path::new(""));
            let dir = match &link.outside {
                Some(dir) => outside::open(dir),
                None => open_beneath(root, dir),
            };
            let done = dir.and_then(|dir| {
                let name = link.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                work.owners.link(&dir, name, link)
            });
            match done {
                Err(e)
                    if (is_live(work) || link.outside.is_some())
                        && e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    let reason = format!("link {}: {e}", link.path.display());
                    self.report.problem(&work.name, Missing::files(1), reason);
                    work.missing.lock().expect("no holder panics").0 += u64::from(work.is_tree);
                }
                Ok(()) => {}
            }
        }
        for Failed { path, kind, error } in &finished.failed {
            let reason = format!("{}: {error}", path.display());
            self.report.problem(&work.name, Missing::one(*kind), reason);
        }
        for locked in &finished.locked {
            let reason = format!("{}: run again when it is free", locked.error);
            self.report.problem(&work.name, Missing::messages(locked.messages), reason);
            let mut missing = work.missing.lock().expect("no holder panics");
            missing.0 += locked.messages;
            missing.1 += locked.bytes;
        }
        for left in &finished.left {
            let folder = path.join(&left.folder);
            let reason = format!("finish {}: {}; {AGAIN}", folder.display(), left.error);
            self.report.problem(&work.name, Missing::messages(left.messages), reason);
        }
        for path in &finished.keywords {
            let reason = format!(
                "{}: the server made one meanwhile, in which the letters of keywords mean others than in the snapshot: \
                 run again with `--flags snapshot`, which gives the messages the right ones",
                path.display()
            );
            self.report.problem(&work.name, Missing::NOTHING, reason);
        }
        let slash = std::fs::File::open("/").map_err(failed)?;
        work.owners.finish_dirs(&slash, made.into_iter()).map_err(failed)?;
        if let Site::New(partial) = &work.site {
            partial.finish(&work.plan.dirs, &work.owners).map_err(|e| match e.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    Error::TargetExists { path: path.clone() }
                }
                _ => Error::io("rename", &path, e),
            })?;
        }
        counts.add(&finished.counts);
        self.notes(work, &finished);
        let (missing, missing_bytes) = *work.missing.lock().expect("no holder panics");
        let lost = finished.failed_messages();
        let (messages, bytes) = match &work.site {
            Site::Live(live) => *live.placed.lock().expect("no holder panics"),
            Site::New(_) => (
                work.plan.messages.saturating_sub(missing + lost),
                work.plan.bytes.saturating_sub(missing_bytes),
            ),
        };
        if let Site::Live(live) = &work.site {
            let had_sum = live.remove_stale_sums(messages, &work.plan).map_err(failed)?;
            self.advise(&work.name, &finished.merged, had_sum);
        }
        self.restored((&work.name, work.is_tree), &work.shown, (messages, bytes), counts);
        Ok(())
    }

    /// Leaves a mailbox that changed meanwhile as it is, and says what it lacks.
    pub(super) fn leave(&self, work: &Work, error: &Error) -> Result<()> {
        let (missing, _) = *work.missing.lock().expect("no holder panics");
        let (placed, met) = match &work.site {
            Site::Live(live) => {
                let placed = *live.placed.lock().expect("no holder panics");
                (placed, live.met.load(Ordering::Relaxed))
            }
            Site::New(_) => ((0, 0), 0),
        };
        let lacking = work.plan.messages.saturating_sub(missing + met + placed.0);
        let next = match (error, &self.options.place) {
            (Error::TargetExists { .. }, Place::Below(_)) => {
                "move it away and run the restore again"
            }
            _ => AGAIN,
        };
        let reason = format!("{}; {next}", with_cause(error));
        self.report.problem(&work.name, Missing::of(work.is_tree, lacking), reason);
        if let Site::Live(live) = &work.site {
            // The mailbox may be gone.
            let had_sum = live.remove_stale_sums(placed.0, &work.plan).unwrap_or(false);
            self.advise(&work.name, &[], had_sum);
            let counts = Counts { there: work.counts.there + met, ..work.counts };
            self.restored((&work.name, work.is_tree), &work.shown, placed, counts);
        } else {
            Progress::add(&self.progress.units_done, 1);
        }
        Ok(())
    }

    /// Settles the lists of UIDs of a new mailbox.
    fn settle_lists(&self, work: &Work, partial: &Partial, uids: Uids) -> io::Result<Finished> {
        let record = work.places.open_control_root(&partial.root)?;
        let mut finished = Finished::above(validity::highest(record.as_ref())?);
        self.settle_outside(work, partial, uids, &mut finished)?;
        for target in work.lists.lock().expect("no holder panics").iter() {
            let dir = open_beneath(&partial.root, &target.dir)?;
            let raw = raw_list(target);
            let bytes = read_file(&dir, raw.as_encoded_bytes())?.unwrap_or_default();
            let path = partial.path.join(&target.dir);
            let times = (finished.highest, self.clock);
            let listing = survey::list_own(&path)?;
            match settle_folder(&bytes, None, &listing, uids, times) {
                Some(settled) => {
                    finished.note(&settled);
                    let mut content = settled.list.as_slice();
                    let name: &OsStr = &target.name;
                    work.owners.write(&dir, name, target, &mut content)?;
                    finished.listed(target, &target.dir, &settled);
                }
                None => finished.useless.push(target.dir.join(&target.name)),
            }
            rustix::fs::unlinkat(&dir, &raw, rustix::fs::AtFlags::empty())?;
        }
        finished.raise(record.as_ref())?;
        Ok(finished)
    }

    /// Puts what goes outside a new mailbox there.
    fn settle_outside(
        &self,
        work: &Work,
        partial: &Partial,
        uids: Uids,
        finished: &mut Finished,
    ) -> io::Result<()> {
        let files = std::mem::take(&mut *work.outside.lock().expect("no holder panics"));
        if files.is_empty() {
            return Ok(());
        }
        let aside = open_beneath(&partial.root, Path::new(ASIDE))?;
        for file in &files {
            let Some(to) = &file.target.outside else { continue };
            if file.target.kind != Kind::Uidlist {
                match outside::put(&aside, file, to, &work.owners) {
                    Err(e) if !is_of_all(&e) => {
                        finished.failed.push(Failed::new(&file.target, e));
                    }
                    done => done?,
                }
                continue;
            }
            // Mail without its UIDs would pass for restored: it stays away until they can be written.
            let in_control = |e: io::Error| {
                io::Error::new(e.kind(), format!("{}: {e}", to.join(&file.target.name).display()))
            };
            let dir = outside::open(to).map_err(in_control)?;
            let snapshot = read_file(&aside, file.name.as_encoded_bytes())?.unwrap_or_default();
            let present = read_file(&dir, file.target.name.as_encoded_bytes())?;
            let path = partial.path.join(&file.target.dir);
            let present = present.as_deref();
            let times = (finished.highest, self.clock);
            let listing = survey::list_own(&path)?;
            match settle_folder(&snapshot, present, &listing, uids, times) {
                Some(settled) => {
                    finished.note(&settled);
                    outside::put_list(&dir, file, &settled.list, &work.owners)
                        .map_err(in_control)?;
                    finished.listed(&file.target, &file.target.dir, &settled);
                    if let Some(index) = work.places.index(&file.target.dir) {
                        remove_stale_at(&index, "dovecot.index")?;
                    }
                }
                None => finished.useless.push(to.join(&file.target.name)),
            }
        }
        if let Some(index) = work.places.index_root() {
            remove_stale_at(index, "dovecot.list.index")?;
        }
        remove_all(&partial.root, OsStr::new(ASIDE))
    }

    fn notes(&self, work: &Work, finished: &Finished) {
        let name = &work.name;
        for path in &finished.useless {
            let path = path.display();
            self.report.note(format!(
                "{name}: {path} of the snapshot says nothing, so the server numbers that folder anew"
            ));
        }
        for (folder, validity) in &finished.bumped {
            let folder = if folder.as_os_str().is_empty() { Path::new("INBOX") } else { folder };
            self.report.note(format!(
                "{name}: {} has the new UIDVALIDITY {validity}: clients download it again",
                folder.display()
            ));
        }
        if work.owners.refused.load(Ordering::Relaxed) > 0 {
            self.report.note("owners could not be restored without root: all of it is yours");
        }
        let refused = work.owners.xattrs_refused.load(Ordering::Relaxed);
        self.xattrs_refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// What Dovecot must be told of a mailbox that it may have open.
    fn advise(&self, name: &str, merged: &[PathBuf], had_sum: bool) {
        let user = format!("'{}'", name.replace('\'', r"'\''"));
        let folder = match merged {
            [] => None,
            [only] if only.as_os_str().is_empty() => Some("INBOX"),
            _ => Some("'*'"),
        };
        if let Some(folder) = folder {
            self.report.note(format!(
                "{name}: UIDs were put into folders that were there: doveadm force-resync -u {user} {folder}"
            ));
        }
        if had_sum {
            self.report.note(format!(
                "{name}: what the quota counts changed: doveadm quota recalc -u {user}"
            ));
        }
    }

    /// Reports a mailbox, or a tree, of whose messages or files so many with so many bytes came back.
    pub(super) fn restored(
        &self,
        (name, is_tree): (&str, bool),
        path: &Path,
        (count, bytes): (u64, u64),
        counts: Counts,
    ) {
        Progress::add(&self.progress.units_done, 1);
        let (name, path) = (name.to_owned(), path.to_string_lossy().into_owned());
        if is_tree {
            self.report.restored_tree(RestoredTree { name, path, files: count, bytes });
        } else {
            let messages = count;
            self.report.restored(RestoredMailbox { name, path, messages, bytes, counts });
        }
    }
}

/// What a person does about a mailbox that changed.
const AGAIN: &str = "run the restore again: it completes";

fn is_live(work: &Work) -> bool {
    matches!(work.site, Site::Live(_))
}
