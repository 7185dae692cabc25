//! Backup: walks a store, brings every mailbox's change into the repository and writes a manifest
//! last. Mailboxes are worked on by as many threads as there are processors; uploads and commits
//! go on beside them.

mod account;
mod alarm;
mod bundle;
mod chain;
mod commit;
mod context;
mod diff;
mod fold;
mod folder;
mod kept;
mod ledger;
mod lines;
mod links;
mod mailbox;
mod outside;
mod packer;
mod parent;
mod read;
mod rebuild;
mod remarks;
mod renamed;
mod scan;
mod selection;
mod settle;
mod tally;
mod uploads;
mod whereabouts;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
pub use maildir::Proof;
use maildir::{Discovery, Foreign, MailboxDir, Opener, Reach};
use serde::Serialize;

pub use self::alarm::{Alarm, Expunged};
use self::commit::Committed;
use self::context::{Context, Levels};
pub use self::diff::Trust;
pub use self::ledger::{Incident, Ledger, LedgerEntry, NAMED_MAX};
use self::links::Links;
use self::mailbox::{Job, Outcome};
pub use self::outside::Outside;
use self::outside::Places;
use self::selection::Selection;
use self::uploads::Uploads;
use crate::crypt::Unseal;
use crate::error::{Error, FOREIGN_HINT, Result};
use crate::incidents;
use crate::layout::{new_snapshot_id, snapshot_key};
use crate::manifest::{self, CatalogRef, LedgerCounts, Manifest, Totals};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::state::{KnownMailbox, Mailboxes, State, is_tree_key, mailbox_path_key};
use crate::store::Requests;
use crate::tag::Tag;

/// How to back up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names, with `*` and `?`, of the mailboxes to look at; all when empty. The others are taken
    /// over from the last snapshot.
    pub mailboxes: Vec<String>,
    /// Folders that go along as plain trees, by their absolute paths. None is in the store.
    pub with: Vec<PathBuf>,
    /// What mailboxes keep outside their folders.
    pub outside: Outside,
    /// How much of what is known is believed.
    pub trust: Trust,
    /// What shows that a folder stood still. Without trust in times nothing of the last run is
    /// believed to be unchanged: every folder is listed, twice or more.
    pub proof: Proof,
    /// Hold Dovecot's lock of a folder while it is listed.
    pub dovecot_lock: bool,
    /// When so much of a mailbox is gone that a person must look.
    pub alarm: Alarm,
    /// Write full catalogs, and store again what the repository has lost.
    pub rebase: bool,
    /// Only find out what would be done.
    pub dry_run: bool,
    /// When the run began: the snapshot's time.
    pub time: Timestamp,
    /// The host's name, for the manifest.
    pub host: String,
    /// Threads that read, hash and compress.
    pub threads: usize,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The new snapshot's id; `None` for a dry run.
    pub snapshot: Option<String>,
    /// What the snapshot holds.
    pub totals: Totals,
    /// Mailboxes by what happened to them.
    pub mailboxes: MailboxCounts,
    /// Messages and folders by what happened to them.
    pub messages: MessageCounts,
    /// Bytes put into the repository.
    pub stored_bytes: u64,
    /// What the repository was asked.
    pub requests: RequestCounts,
    /// Counts of the ledger.
    pub ledger: LedgerCounts,
    /// The ledger's lines, problems first.
    pub incidents: Vec<LedgerEntry>,
    /// Whether something that may be mail is not in the snapshot.
    pub is_incomplete: bool,
    /// Mailboxes that lost more of their messages than a normal night takes.
    pub expunge_alarms: Vec<Expunged>,
    /// Things a person should know that are no incidents.
    pub notices: Vec<String>,
    /// Why mailboxes were listed without Dovecot's lock although it was asked for; [`NAMED_MAX`] at most.
    pub unlocked: Vec<String>,
}

/// Mailboxes of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MailboxCounts {
    /// Found in the store.
    pub found: u64,
    /// First seen by this run.
    pub new: u64,
    /// Given a new catalog.
    pub changed: u64,
    /// In the last snapshot, and not in the store any more.
    pub gone: u64,
    /// Taken over without looking, because they were not selected or could not be read.
    pub carried: u64,
}

/// Messages of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// Not in the last snapshot.
    pub new: u64,
    /// In the last snapshot, and not there any more.
    pub gone: u64,
    /// In another folder than in the last snapshot, or under another base name.
    pub moved: u64,
    /// Read.
    pub read: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Of those read, encrypted by Dovecot's mail_crypt.
    pub encrypted: u64,
    /// Folders looked at.
    pub folders: u64,
    /// Folders whose directories changed, so that they were listed.
    pub folders_listed: u64,
}

/// Requests by kind, and their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// By kind.
    #[serde(flatten)]
    pub by_kind: Requests,
    /// All together.
    pub total: u64,
}

impl From<Requests> for RequestCounts {
    fn from(by_kind: Requests) -> Self {
        Self { by_kind, total: by_kind.total() }
    }
}

/// Backs up the store at `root`, a path without links, as those of `options.with` are: below them none is
/// followed. `identity` is needed only if the state was lost.
pub fn run(
    repository: &Repository,
    state: &State,
    root: &Path,
    identity: Option<&Unseal>,
    options: &Options,
    progress: &Progress,
) -> Result<Report> {
    let options =
        &Options { outside: options.outside.resolve_what_leads_somewhere(), ..options.clone() };
    let mut found =
        maildir::find_mailboxes(root).map_err(|e| Error::io(e.action, &e.path, e.source))?;
    options.outside.drop_places(root, &mut found.mailboxes);
    if found.mailboxes.is_empty() {
        return Err(no_mailbox(root, &found));
    }
    options.outside.check(root, &found.mailboxes)?;
    let mut notices = Vec::new();
    let options = &parent::resume(repository, state, root, options, &mut notices)?;
    let mut known = match state.mailboxes() {
        Some(known) => known,
        None => rebuild::run(repository, state, root, identity, options, &mut notices)?,
    };
    if !options.dry_run {
        // Without the right to do so a backup still works; the rest costs money, not mail.
        match repository.store().abort_stale_uploads(STALE_UPLOAD) {
            Ok(0) => {}
            Ok(count) => notices.push(format!("{count} unfinished uploads of killed runs removed")),
            Err(e) => tracing::warn!("unfinished uploads cannot be cleaned up: {e}"),
        }
    }
    let trees: Vec<MailboxDir> = options.with.iter().map(|path| tree(path)).collect();
    let count = |known: &Mailboxes| known.keys().filter(|path| !is_tree_key(path)).count() as u64;
    let before = count(&known);
    let links = Links::new(root, &found);
    let selection = Selection::new(state, &known, &found, &links, &trees, root, options)?;
    selection.notices(&mut notices);
    let jobs = introduce(repository, state, root, &selection.jobs, &mut known, options)?;
    Progress::add(&progress.units, jobs.len() as u64);
    let new = count(&known).saturating_sub(before);
    let mut done = work(repository, state, (root, &found.reach()), &jobs, options, progress)?;
    note_store(root, &found, &mut done.ledger);
    links.note(selection.behind_links(), &mut done.ledger, &mut notices);
    notices.extend(done.remarks.sentences());
    let carried = selection.carry(state, &known, &mut done);
    selection.count_gone(state, options, &mut done);
    let (count_unlocked, mut unlocked) = std::mem::take(&mut done.unlocked);
    unlocked.sort_unstable();
    notices.extend(unlocked.first().map(|first| not_locked(count_unlocked, first)));
    tag(&known, &mut done.catalogs);
    let gone = selection.gone.len() as u64;
    let time = options.time;
    let id = new_snapshot_id(time, &options.host, &root.to_string_lossy());
    let counts = MailboxCounts {
        found: found.mailboxes.len() as u64,
        new,
        changed: done.changed,
        gone,
        carried,
    };
    let encode_failed = |e| Error::io("encode the manifest of", root, e);
    let incidents = incidents::seal(&done.ledger, repository.recovery_seal());
    let incidents = incidents.map_err(encode_failed)?;
    // The rest is named in catalogs, and both together in the report.
    done.recorded.merge(std::mem::take(&mut done.ledger));
    done.ledger = done.recorded;
    if !options.dry_run {
        let manifest = Manifest {
            snapshot: manifest::VERSION,
            id: id.clone(),
            time,
            host: options.host.clone(),
            store: root.to_string_lossy().into_owned(),
            tool: concat!("mailrig ", env!("CARGO_PKG_VERSION")).into(),
            mailboxes: done.catalogs,
            totals: done.totals,
            ledger: done.ledger.counts,
            incidents,
        };
        let key = snapshot_key(&id);
        let body = manifest.encode().map_err(encode_failed)?;
        progress.check()?;
        Progress::add(&progress.stored_bytes, body.size_bytes);
        repository.store().put_durably(&key, body)?;
        state.set_last_run(&id, time)?;
        selection.forget_gone(state, &mut known)?;
    }
    Ok(Report {
        snapshot: (!options.dry_run).then_some(id),
        totals: done.totals,
        mailboxes: counts,
        messages: MessageCounts {
            new: done.work.messages.new,
            gone: done.work.messages.gone,
            moved: done.work.messages.moved,
            read: done.work.messages_read,
            read_bytes: done.work.bytes_read,
            encrypted: done.work.messages_encrypted,
            folders: done.work.folders,
            folders_listed: done.work.folders_listed,
        },
        stored_bytes: progress.stored_bytes.load(Ordering::Relaxed),
        requests: repository.store().requests().into(),
        ledger: done.ledger.counts,
        is_incomplete: done.ledger.counts.is_incomplete(),
        incidents: done.ledger.entries().cloned().collect(),
        expunge_alarms: done.alarms,
        notices,
        unlocked,
    })
}

fn not_locked(count: u64, first: &str) -> String {
    match count {
        1 => format!("listed without Dovecot's lock: {first}"),
        count => format!(
            "{count} mailboxes were listed without Dovecot's lock, the first because of: {first}"
        ),
    }
}

fn no_mailbox(root: &Path, found: &Discovery) -> Error {
    let mut links = found.links.iter().map(|link| root.join(link));
    if let Some(link) = links.find(|link| maildir::leads_to_mail(link)) {
        let target = std::fs::read_link(&link).unwrap_or_default();
        return Error::BehindLink { store: root.to_owned(), link, target };
    }
    let Some(Foreign { format, path }) = found.foreign.first() else {
        return Error::NoMailbox { path: root.to_owned() };
    };
    let more = match found.foreign.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    };
    Error::Foreign { store: root.to_owned(), path: root.join(path), format: *format, more }
}

/// A plain tree, which has its path as its name.
fn tree(path: &Path) -> MailboxDir {
    MailboxDir { name: path.as_os_str().as_bytes().to_vec(), path: path.to_owned() }
}

/// Gives every mailbox that is seen for the first time an id and a key. Both are durable, here and
/// in the repository, before anything is sealed to them.
fn introduce(
    repository: &Repository,
    state: &State,
    root: &Path,
    mailboxes: &[&MailboxDir],
    known: &mut Mailboxes,
    options: &Options,
) -> Result<Vec<Job>> {
    let new: Vec<&MailboxDir> = mailboxes
        .iter()
        .copied()
        .filter(|mailbox| !known.contains_key(&mailbox_path_key(&mailbox.path)))
        .collect();
    let add = |mailbox: &MailboxDir| -> Result<(String, KnownMailbox)> {
        let added = if options.dry_run {
            let (id, name) = (crate::layout::random_hex(16), mailbox.name.clone());
            KnownMailbox { id, recipient: None, name }
        } else {
            let added = repository.add_mailbox(&mailbox.name)?;
            let (id, recipient) = (added.id, added.recipient);
            KnownMailbox { id, recipient, name: mailbox.name.clone() }
        };
        Ok((mailbox_path_key(&mailbox.path), added))
    };
    let chunk = new.len().div_ceil(KEY_THREADS).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = new
            .chunks(chunk)
            .map(|part| {
                let add = &add;
                scope.spawn(move || part.iter().map(|mailbox| add(mailbox)).collect())
            })
            .collect();
        for thread in threads {
            let added: Result<Vec<_>> = thread.join().expect("adding a mailbox does not panic");
            known.extend(added?);
        }
        Ok::<(), Error>(())
    })?;
    if !new.is_empty() && !options.dry_run {
        repository.store().sync()?;
        state.set_mailboxes(known)?;
    }
    let job = |mailbox: &MailboxDir| {
        let known = known.get(&mailbox_path_key(&mailbox.path))?.clone();
        let path = mailbox.path.clone();
        let is_tree = path.is_absolute();
        let outside = if is_tree { Places::new() } else { options.outside.places(root, mailbox) };
        Some(Job { path, known, outside })
    };
    Ok(mailboxes.iter().copied().filter_map(job).collect())
}

fn work(
    repository: &Repository,
    state: &State,
    (root, reach): (&Path, &Reach),
    jobs: &[Job],
    options: &Options,
    progress: &Progress,
) -> Result<Committed> {
    let context = Context {
        repository,
        state,
        options,
        progress,
        uploads: Arc::new(Uploads::new(progress)),
        root,
        reach,
        levels: Levels::default(),
    };
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = sync_channel(options.threads * 4);
    thread::scope(|scope| {
        context.uploads.start(scope, UPLOAD_THREADS);
        for _ in 0..options.threads {
            let (context, next, sender) = (&context, &next, sender.clone());
            scope.spawn(move || worker(context, jobs, next, &sender));
        }
        drop(sender);
        let done = commit::run(&context, &outcomes);
        // After a failure the workers stop at their next message, or find nobody to report to.
        if done.is_err() {
            progress.stop();
        }
        drop(outcomes);
        context.uploads.close();
        match (done, context.uploads.failure()) {
            (Err(Error::Cancelled), Some(failure)) => Err(failure),
            (done, _) => done,
        }
    })
}

fn worker(
    context: &Context<'_>,
    jobs: &[Job],
    next: &AtomicUsize,
    sender: &SyncSender<Result<Outcome>>,
) {
    let mut opener = Opener::new(context.options.proof);
    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let outcome =
            context.progress.check().and_then(|()| mailbox::backup(context, job, &mut opener));
        let has_failed = outcome.is_err();
        if sender.send(outcome).is_err() || has_failed {
            return;
        }
    }
}

/// Gives the catalogs of a manifest the tags of their mailboxes' names.
fn tag(known: &Mailboxes, catalogs: &mut BTreeMap<String, CatalogRef>) {
    let count = catalogs.len();
    for mailbox in known.values() {
        if let Some(catalog) = catalogs.get_mut(&mailbox.id) {
            catalog.tag = Tag::new(&mailbox.id, &mailbox.name, count);
        }
    }
}

/// What the walk over the store itself could not read.
fn note_store(root: &Path, found: &Discovery, ledger: &mut Ledger) {
    for error in &found.unreadable {
        let path = error.path.strip_prefix(root).unwrap_or(&error.path);
        let path = path.to_string_lossy().into_owned();
        ledger.note(Incident::Unreadable, path, Some(error.source.to_string()));
    }
    for Foreign { format, path } in &found.foreign {
        let reason = format!("{format}: {}; {FOREIGN_HINT}", format.reason());
        ledger.note(Incident::ForeignFormat, path.to_string_lossy().into_owned(), Some(reason));
    }
}

/// No upload of a run that is alive takes so long.
const STALE_UPLOAD: Duration = Duration::from_hours(48);

const UPLOAD_THREADS: usize = 8;
const KEY_THREADS: usize = 8;
