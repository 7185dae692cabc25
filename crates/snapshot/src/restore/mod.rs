//! Restore: reads snapshots' catalogs, plans what comes from which pack, and writes it: a mailbox
//! that is not there into a folder beside its name that is renamed when it is whole, a live one
//! message by message. What the repository lacks is in the report; the rest is restored.

mod beside;
mod ending;
mod files;
mod finish;
mod finished;
mod inplace;
mod keywords;
mod live;
mod mailbox;
mod merge;
mod names;
mod options;
mod outside;
mod partial;
mod plan;
mod report;
mod salvage;
mod select;
mod site;
mod store;
mod survey;
mod uids;
mod unpack;
mod validity;
mod xattrs;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::mailbox::{Job, Work};
pub use self::options::{Flags, LOCK_WAIT, Options, Place, Uids};
pub(crate) use self::outside::folder_of_control;
use self::partial::Claim;
pub(crate) use self::plan::{is_uidlist, safe_path};
use self::report::Shared;
pub use self::report::{Counts, Missing, Problem, Report, RestoredMailbox, RestoredTree};
pub use self::select::folder_path;
use self::store::LiveStore;
use self::uids::Clock;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::repository::Repository;

/// Restores from snapshots: from one, or from those that the ids of messages name.
pub fn run(
    repository: &Repository,
    manifests: &[Manifest],
    identity: Option<&Unseal>,
    options: &Options,
    progress: &Progress,
) -> Result<Report> {
    let plain = Unseal::Plain;
    let identity = match identity {
        _ if !repository.is_encrypted() => &plain,
        Some(identity) => identity,
        None => return Err(Error::NoIdentity),
    };
    // Backup followed the same links; in what differs from user to user none is followed.
    let options = &Options { outside: options.outside.resolve()?, ..options.clone() };
    let run = Run {
        repository,
        identity,
        options,
        progress,
        report: Shared::default(),
        manifests,
        live_store: LiveStore::read(options)?,
        occupied: AtomicUsize::new(0),
        xattrs_refused: AtomicU64::new(0),
        validity_kept: AtomicU64::new(0),
        deleted: AtomicU64::new(0),
        resized: AtomicU64::new(0),
        left_outside: Mutex::default(),
        clock: clock(manifests),
    };
    let selected = run.select(manifests)?;
    run.check_places(&selected)?;
    let _claim = match &options.place {
        Place::Below(to) if !options.dry_run => {
            let is_of_some = options.mailbox.is_some() || options.messages.is_some();
            Claim::new(to, is_of_some).map_err(|e| match e.kind() {
                io::ErrorKind::ResourceBusy => Error::Busy { path: to.clone() },
                _ => Error::io("restore to", to, e),
            })?
        }
        _ => None,
    };
    Progress::add(&progress.units, selected.len() as u64);
    let selected_count = selected.len();
    let queue = Queue::default();
    // Taken from the end.
    queue.add(selected.into_iter().rev().map(Job::Mailbox));
    thread::scope(|scope| {
        let work = || {
            let done = run.work(&queue);
            if done.is_err() {
                progress.stop();
            }
            done
        };
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        let ends: Vec<Result<()>> =
            threads.into_iter().map(|t| t.join().expect("restoring does not panic")).collect();
        // The failure itself, not the interruption of the others that it caused.
        let is_cause = |end: &Result<()>| matches!(end, Err(e) if !matches!(e, Error::Cancelled));
        match ends.iter().position(is_cause) {
            Some(cause) => ends.into_iter().nth(cause).unwrap_or(Ok(())),
            None => ends.into_iter().collect(),
        }
    })?;
    let root = options.place.root();
    if run.occupied.load(Ordering::Relaxed) == selected_count && selected_count > 0 {
        return Err(Error::TargetExists { path: root.clone() });
    }
    if let Some(note) = run.live_store.note(options.dry_run) {
        run.report.note(note);
    }
    let kept = run.validity_kept.load(Ordering::Relaxed);
    if kept > 0 {
        let (folders, their) = if kept == 1 { ("folder", "its") } else { ("folders", "their") };
        run.report.note(format!(
            "{kept} {folders} in use kept {their} UIDVALIDITY: `--uids new` gives one to lists of Dovecot only"
        ));
    }
    let deleted = run.deleted.load(Ordering::Relaxed);
    if deleted > 0 {
        let (messages, them) =
            if deleted == 1 { ("message has", "it") } else { ("messages have", "them") };
        run.report.note(format!(
            "{deleted} {messages} the flag T (\\Deleted), as in the snapshot: the next expunge of a \
             client removes {them} again; undelete {them} there first"
        ));
    }
    let resized = run.resized.load(Ordering::Relaxed);
    if resized > 0 {
        let messages =
            if resized == 1 { "message that is there has" } else { "messages that are there have" };
        run.report.note(format!(
            "{resized} {messages} another size than in the snapshot; `--as-folder` brings the snapshot's"
        ));
    }
    let refused = run.xattrs_refused.load(Ordering::Relaxed);
    if refused > 0 {
        let files = if refused == 1 { "file or folder" } else { "files and folders" };
        run.report.note(format!(
            "extended attributes or ACLs of {refused} {files} could not be set at the target"
        ));
    }
    for (kind, (count, example)) in &*run.left_outside.lock().expect("no holder panics") {
        let mailboxes = if *count == 1 { "mailbox" } else { "mailboxes" };
        run.report.note(format!(
            "{kind} files of {count} {mailboxes} are in mailrig.outside beside the mail, where no server looks; \
             with --{kind} they go to their place, which was {example}"
        ));
    }
    let report = run.report.finish(manifests.iter().map(|m| m.id.clone()).collect());
    if !(options.dry_run || report.mailboxes.is_empty() && report.trees.is_empty()) {
        files::sync(root).map_err(|e| Error::io("sync", root, e))?;
    }
    Ok(report)
}

/// What all mailboxes of a run share.
struct Run<'r> {
    repository: &'r Repository,
    identity: &'r Unseal,
    options: &'r Options,
    progress: &'r Progress,
    report: Shared,
    manifests: &'r [Manifest],
    /// Of a restore in place.
    live_store: LiveStore,
    /// Mailboxes whose places are not free.
    occupied: AtomicUsize,
    /// Files and folders without their extended attributes.
    xattrs_refused: AtomicU64,
    /// Folders in use that keep their UIDVALIDITY although a new one was asked for.
    validity_kept: AtomicU64,
    /// Messages added to live mailboxes that are marked as deleted.
    deleted: AtomicU64,
    /// Messages of live mailboxes that have another size than in the snapshot.
    resized: AtomicU64,
    /// What stayed beside the mail, by its kind: of how many mailboxes, and where one had it.
    left_outside: Mutex<BTreeMap<&'static str, (u64, String)>>,
    clock: Clock,
}

/// Jobs, taken from the end, so that a mailbox's packs are done before the next mailbox is begun.
#[derive(Default)]
struct Queue<'r> {
    jobs: Mutex<Vec<Job<'r>>>,
    busy: AtomicUsize,
}

impl<'r> Queue<'r> {
    fn add(&self, jobs: impl Iterator<Item = Job<'r>>) {
        self.jobs.lock().expect("no holder panics").extend(jobs);
    }
}

impl<'r> Run<'r> {
    fn work(&self, queue: &Queue<'r>) -> Result<()> {
        loop {
            self.progress.check()?;
            let job = {
                let mut jobs = queue.jobs.lock().expect("no holder panics");
                let job = jobs.pop();
                if job.is_some() {
                    queue.busy.fetch_add(1, Ordering::SeqCst);
                }
                job
            };
            let Some(job) = job else {
                // Who is busy may still add packs.
                if queue.busy.load(Ordering::SeqCst) == 0 {
                    return Ok(());
                }
                thread::park_timeout(Duration::from_millis(1));
                continue;
            };
            let done = match job {
                Job::Mailbox(selected) => self.mailbox(&selected, queue),
                Job::Pack(work, pack) => self.pack(&work, &pack),
            };
            queue.busy.fetch_sub(1, Ordering::SeqCst);
            done?;
        }
    }
}

/// Whether one mailbox or message cannot have the name it asks for, which says nothing of others.
fn is_odd_name(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, NotADirectory};
    matches!(error.kind(), AlreadyExists | InvalidFilename | InvalidInput | NotADirectory)
}

/// Whether a failure of the target concerns all mailboxes, or ends the run.
fn is_of_all(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), Interrupted | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// Whether one mailbox is left as it is for this, and others go on.
fn is_of_mailbox(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => !is_of_all(source),
        Error::TargetExists { .. } => true,
        _ => false,
    }
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Whether a mailbox can be restored to this folder. A link is none, wherever it leads.
fn is_free_below(root: &Path, path: &Path) -> io::Result<bool> {
    let target = root.join(path);
    if !path.as_os_str().is_empty() && target.is_symlink() {
        let reason = "it is a link, and links are not followed";
        return Err(io::Error::new(io::ErrorKind::NotADirectory, reason));
    }
    is_free(&target)
}

/// Whether a folder can be restored to: it is not there, or empty.
fn is_free(path: &Path) -> io::Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(e) => Err(e),
    }
}

fn clock(manifests: &[Manifest]) -> Clock {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_seconds = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX);
    let oldest = manifests.iter().map(|manifest| manifest.time.as_second()).min();
    let age = oldest.map_or(0, |oldest| i64::from(now_seconds).saturating_sub(oldest).max(0));
    Clock { now_seconds, age_seconds: u32::try_from(age).unwrap_or(u32::MAX) }
}
