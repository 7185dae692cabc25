//! Restore: reads a snapshot's catalogs, plans what comes from which pack, and writes each mailbox
//! into a folder beside its name that is renamed when it is whole. What the repository lacks is in
//! the report; the rest is restored.

mod plan;
mod unpack;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Serialize;

use self::plan::{MailboxPlan, PackPlan, safe_path};
use self::unpack::Written;
use self::write::Partial;
use crate::catalog;
use crate::contents;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::repository::{OpenMailbox, Repository};

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The target folder.
    pub to: PathBuf,
    /// Only the mailbox with this name.
    pub mailbox: Option<String>,
    /// Only this folder of it, as people write it: see [`folder_path`].
    pub folder: Option<String>,
    /// Only find out what would be done.
    pub dry_run: bool,
    /// Mailboxes or packs at work at the same time.
    pub threads: usize,
}

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The snapshot's id.
    pub snapshot: String,
    /// Mailboxes, by name.
    pub mailboxes: Vec<RestoredMailbox>,
    /// Messages restored.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What could not be restored.
    pub problems: Vec<Problem>,
    /// Whether anything could not be restored.
    pub is_incomplete: bool,
}

/// A restored mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestoredMailbox {
    /// Name.
    pub name: String,
    /// Path below the target.
    pub path: String,
    /// Messages restored.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Something that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The mailbox's name, or its id where the name could not be read.
    pub mailbox: String,
    /// Messages that are missing because of it.
    pub messages: u64,
    /// What, and why.
    pub reason: String,
}

/// Restores from a snapshot.
pub fn run(
    repository: &Repository,
    manifest: &Manifest,
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
    let occupied = AtomicUsize::new(0);
    let run = Run { repository, manifest, identity, options, progress, occupied: &occupied };
    let ids: Vec<&String> = manifest.mailboxes.keys().collect();
    let selected = run.select(&ids)?;
    Progress::add(&progress.units, selected.len() as u64);
    let selected_count = selected.len();
    let queue = Queue { jobs: Mutex::new(Vec::new()), busy: AtomicUsize::new(0) };
    queue.jobs.lock().expect("no holder panics").extend(selected.into_iter().map(Job::Mailbox));
    let report = Mutex::new(Report { snapshot: manifest.id.clone(), ..Report::default() });
    thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads)
            .map(|_| {
                scope.spawn(|| {
                    let done = run.work(&queue, &report);
                    if done.is_err() {
                        progress.stop();
                    }
                    done
                })
            })
            .collect();
        let ends: Vec<Result<()>> =
            threads.into_iter().map(|t| t.join().expect("restoring does not panic")).collect();
        // The failure itself, not the interruption of the others that it caused.
        let is_cause = |end: &Result<()>| matches!(end, Err(e) if !matches!(e, Error::Cancelled));
        match ends.iter().position(is_cause) {
            Some(cause) => ends.into_iter().nth(cause).unwrap_or(Ok(())),
            None => ends.into_iter().collect(),
        }
    })?;
    if occupied.into_inner() == selected_count && selected_count > 0 {
        return Err(Error::TargetExists { path: options.to.clone() });
    }
    let mut report = report.into_inner().expect("no holder panics");
    if !options.dry_run && !report.mailboxes.is_empty() {
        write::sync(&options.to).map_err(|e| Error::io("sync", &options.to, e))?;
    }
    report.mailboxes.sort_by(|a, b| a.name.cmp(&b.name).then(a.path.cmp(&b.path)));
    report.messages = report.mailboxes.iter().map(|mailbox| mailbox.messages).sum();
    report.bytes = report.mailboxes.iter().map(|mailbox| mailbox.bytes).sum();
    report.is_incomplete = !report.problems.is_empty();
    Ok(report)
}

/// The path of the folder that people call `name`: `INBOX`, `Sent` or `Archive/2025` in either
/// layout, or the path itself.
pub fn folder_path<'c>(contents: &'c catalog::Contents, name: &str) -> Option<&'c str> {
    let encoded = crate::layout::encode_name(name.as_bytes()).into_owned();
    let candidates =
        [encoded.clone(), format!(".{}", encoded.replace('/', ".")), encoded.replace('.', "/")];
    if name.eq_ignore_ascii_case("INBOX") && !contents.folders.contains_key(&encoded) {
        return contents.folders.get_key_value("").map(|(path, _)| path.as_str());
    }
    candidates
        .iter()
        .find_map(|path| contents.folders.get_key_value(path))
        .map(|(path, _)| path.as_str())
}

struct Run<'r> {
    repository: &'r Repository,
    manifest: &'r Manifest,
    identity: &'r Unseal,
    options: &'r Options,
    progress: &'r Progress,
    /// Mailboxes whose places are not free.
    occupied: &'r AtomicUsize,
}

enum Job<'r> {
    Mailbox(&'r str),
    Pack(Arc<Work>, PackPlan),
}

/// Jobs, newest first, so that a mailbox's packs are done before the next mailbox is begun.
struct Queue<'r> {
    jobs: Mutex<Vec<Job<'r>>>,
    busy: AtomicUsize,
}

/// A mailbox at work.
struct Work {
    mailbox: OpenMailbox,
    path: PathBuf,
    partial: Partial,
    plan: MailboxPlan,
    packs_left: AtomicUsize,
    missing: Mutex<(u64, u64)>,
}

impl<'r> Run<'r> {
    /// The ids to restore. A name is looked up by opening keys.
    fn select(&self, ids: &[&'r String]) -> Result<Vec<&'r str>> {
        let Some(wanted) = &self.options.mailbox else {
            return Ok(ids.iter().map(|id| id.as_str()).collect());
        };
        let found = contents::find(self.repository, self.manifest, self.identity, wanted)?;
        Ok(ids.iter().filter(|id| ***id == found.id).map(|id| id.as_str()).collect())
    }

    fn work(&self, queue: &Queue<'r>, report: &Mutex<Report>) -> Result<()> {
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
                thread::yield_now();
                thread::park_timeout(std::time::Duration::from_millis(1));
                continue;
            };
            let done = match job {
                Job::Mailbox(id) => self.mailbox(id, queue, report),
                Job::Pack(work, pack) => self.pack(&work, pack, report),
            };
            queue.busy.fetch_sub(1, Ordering::SeqCst);
            done?;
        }
    }

    fn mailbox(&self, id: &str, queue: &Queue<'r>, report: &Mutex<Report>) -> Result<()> {
        let (mailbox, head, contents) = match self.read(id) {
            Ok(read) => read,
            // One identity opens all keys or none: this is no single mailbox's problem.
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => {
                self.problem(report, id, 0, e.to_string());
                Progress::add(&self.progress.units_done, 1);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let name = mailbox.display_name();
        let folder = match &self.options.folder {
            None => None,
            Some(folder) => Some(folder_path(&contents, folder).ok_or_else(|| {
                Error::Selection(format!("{name} has no folder `{folder}` in this snapshot"))
            })?),
        };
        let mut plan = plan::plan(&head, &contents, folder);
        let Some(path) = safe_path(&contents.path) else {
            self.problem(report, &name, contents.messages, "its path leaves the target".into());
            return Ok(());
        };
        for refused in &plan.refused {
            let reason = format!("{}: {}", refused.what, refused.reason);
            self.problem(report, &name, refused.messages, reason);
        }
        let target = self.options.to.join(&path);
        if !is_free(&target).map_err(|e| Error::io("look at", &target, e))? {
            let occupied = Error::TargetExists { path: target };
            if self.manifest.mailboxes.len() == 1 || self.options.mailbox.is_some() {
                return Err(occupied);
            }
            // A restore that is run again finds what the first one finished.
            self.occupied.fetch_add(1, Ordering::Relaxed);
            self.problem(report, &name, contents.messages, format!("{occupied}; left as it is"));
            Progress::add(&self.progress.units_done, 1);
            return Ok(());
        }
        if self.options.dry_run {
            self.restored(report, &name, &path, plan.messages, plan.bytes);
            return Ok(());
        }
        let owner = plan.dirs.first().map(|dir| &dir.owner);
        let made = Partial::create(&self.options.to, &path, owner)
            .and_then(|partial| partial.make_dirs(&plan.dirs).map(|()| partial));
        let partial = match made {
            Ok(partial) => partial,
            Err(e) if is_odd_name(&e) => {
                let reason = Error::io("restore to", &target, e);
                self.problem(report, &name, plan.messages, with_cause(&reason));
                return Ok(());
            }
            Err(e) => return Err(Error::io("restore to", &target, e)),
        };
        let packs = std::mem::take(&mut plan.packs);
        let work = Arc::new(Work {
            mailbox,
            path,
            partial,
            plan,
            packs_left: AtomicUsize::new(packs.len()),
            missing: Mutex::new((0, 0)),
        });
        if packs.is_empty() {
            return self.finish(&work, report);
        }
        let jobs = packs.into_iter().map(|pack| Job::Pack(Arc::clone(&work), pack));
        queue.jobs.lock().expect("no holder panics").extend(jobs);
        Ok(())
    }

    fn read(&self, id: &str) -> Result<(OpenMailbox, catalog::CatalogHead, catalog::Contents)> {
        let mailbox = self.repository.open_mailbox(id, self.identity)?;
        let catalog = &self.manifest.mailboxes[id];
        let (head, contents) = catalog::read(
            self.repository.store(),
            id,
            &catalog.catalog,
            &catalog.reference,
            &mailbox.unseal,
        )?;
        Ok((mailbox, head, contents))
    }

    fn pack(&self, work: &Work, pack: PackPlan, report: &Mutex<Report>) -> Result<()> {
        let mut written = Written::default();
        let result = self.unpack(work, &pack, &mut written, report);
        match result {
            Ok(()) => {}
            Err(e) if e.is_local_to_object() => {
                // Nothing of a damaged pack is trusted, also what looked right before the damage.
                for (member, index) in &written.targets {
                    work.partial.remove(&pack.members[member][*index]);
                }
                written.targets.clear();
                let messages = pack.members.values().flatten().filter(|t| t.is_message);
                let (count, bytes) =
                    messages.fold((0, 0), |(count, bytes), t| (count + 1, bytes + t.size));
                let mut missing = work.missing.lock().expect("no holder panics");
                missing.0 += count;
                missing.1 += bytes;
                self.problem(report, &work.mailbox.display_name(), count, e.to_string());
            }
            Err(e) => return Err(e),
        }
        if work.packs_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.finish(work, report)?;
        }
        Ok(())
    }

    fn finish(&self, work: &Work, report: &Mutex<Report>) -> Result<()> {
        let path = self.options.to.join(&work.path);
        let name = work.mailbox.display_name();
        for link in &work.plan.links {
            if let Err(e) = work.partial.link(link) {
                self.problem(report, &name, 0, format!("link {}: {e}", link.path.display()));
            }
        }
        work.partial.finish_mailbox(&work.plan.dirs).map_err(|e| match e.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                Error::TargetExists { path: path.clone() }
            }
            _ => Error::io("rename", &path, e),
        })?;
        let (missing, missing_bytes) = *work.missing.lock().expect("no holder panics");
        let (messages, bytes) = (work.plan.messages - missing, work.plan.bytes - missing_bytes);
        self.restored(report, &name, &work.path, messages, bytes);
        Ok(())
    }

    fn restored(&self, report: &Mutex<Report>, name: &str, path: &Path, messages: u64, bytes: u64) {
        Progress::add(&self.progress.units_done, 1);
        let path = path.to_string_lossy().into_owned();
        report.lock().expect("no holder panics").mailboxes.push(RestoredMailbox {
            name: name.to_owned(),
            path,
            messages,
            bytes,
        });
    }

    fn problem(&self, report: &Mutex<Report>, mailbox: &str, messages: u64, reason: String) {
        let mailbox = mailbox.to_owned();
        let mut report = report.lock().expect("no holder panics");
        if report.problems.len() < PROBLEMS_MAX {
            report.problems.push(Problem { mailbox, messages, reason });
        }
    }
}

/// Whether one mailbox or message cannot have the name it asks for, which says nothing of others.
fn is_odd_name(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, NotADirectory};
    matches!(error.kind(), AlreadyExists | InvalidFilename | InvalidInput | NotADirectory)
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
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

const PROBLEMS_MAX: usize = 10_000;
