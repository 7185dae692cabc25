//! `demo`: the whole job on made-up mail, with the judgement whether it worked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use snapshot::backup::{self, Trust};
use snapshot::crypt::{self, Unseal};
use snapshot::manifest::Manifest;
use snapshot::progress::Progress;
use snapshot::repository::{Repository, read_identity};
use snapshot::state::State;
use snapshot::store::local::Local;
use snapshot::{restore, verify};

use super::init::write_identity;
use super::threads;
use crate::demo::inventory::Inventory;
use crate::demo::night::Night;
use crate::demo::report::{Report, Snapshot, StoreCounts, Verified, milliseconds, store_in_short};
use crate::demo::store::Store;
use crate::demo::workplace::{IDENTITY, REPOSITORY, RESTORED, STATE, STORE, Workplace};
use crate::exit::Exit;
use crate::repository::host_name;
use crate::ui::{Ui, count, duration, plural, size};

/// See all of it on made-up mail
///
/// Makes a store of a few thousand messages in a fresh folder, backs it up into an encrypted
/// repository beside it, lets a night pass, backs up again, restores both snapshots and compares
/// every file with what the store had. Nothing outside the folder is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mailrig demo
  mailrig demo --dir /srv/demo --keep")]
pub(crate) struct DemoArgs {
    /// Folder to work in, missing or empty [default: a new one among the temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave everything in place at the end
    #[arg(long)]
    keep: bool,
    /// Messages to make
    #[arg(long, value_name = "COUNT", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    messages: u64,
    /// Seed of the mail: the same seed makes the same store
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &DemoArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let mut workplace = Workplace::make(args.dir.as_deref())?;
    if args.keep {
        workplace.keep();
    }
    let mut stage = Stage::new(ui);
    let mut report = play(args, &workplace, &mut stage)?;
    if !report.is_equal {
        // Whoever looks into it needs the files.
        workplace.keep();
    }
    report.folder = workplace.kept();
    report.elapsed_ms = milliseconds(started.elapsed());
    ui.status("");
    ui.result("demo", &report, || report.text())?;
    Ok(if report.is_equal { Exit::Done } else { Exit::Negative })
}

fn play(args: &DemoArgs, workplace: &Workplace, stage: &mut Stage<'_>) -> Result<Report> {
    let root = workplace.join(STORE);
    let host = Host::set_up(workplace)?;
    let mut problems = Vec::new();
    stage.ui.status(format!("mailrig demo in {}\n", workplace.path().display()));

    let (mut store, evening) = stage.step("make a store", |progress| {
        let store = Store::make(&root, args.seed, args.messages, progress)?;
        let inventory = Inventory::take(&root, progress)?;
        let told = store_in_short(&StoreCounts::of(&store));
        Ok(((store, inventory), told))
    })?;
    let counts = StoreCounts::of(&store);
    let first = stage.step("back it up", |progress| host.backup(&mut problems, progress))?;
    let (night, morning) = stage.step("let a night pass", |progress| {
        let night = Night::pass(&mut store, progress)?;
        let inventory = Inventory::take(&root, progress)?;
        Ok(((night, inventory), told_night(&night)))
    })?;
    let second = stage.step("back up again", |progress| host.backup(&mut problems, progress))?;
    let ids = [&first, &second].map(|done| done.id.clone());
    let verified =
        stage.step("verify both", |progress| host.verify(&ids, &mut problems, progress))?;
    let mut snapshots = vec![first, second];
    let names = ["restore the evening", "restore the morning"];
    for ((snapshot, name), to) in snapshots.iter_mut().zip(names).zip(RESTORED) {
        let to = workplace.join(to);
        stage.step(name, |progress| host.restore(snapshot, to, &mut problems, progress))?;
    }
    stage.step("compare", |progress| {
        for ((snapshot, wanted), to) in snapshots.iter_mut().zip([evening, morning]).zip(RESTORED) {
            snapshot.compare(&wanted, &Inventory::take(&workplace.join(to), progress)?);
        }
        Ok(((), told_comparison(&snapshots)))
    })?;
    let mut report = Report {
        seed: args.seed,
        folder: None,
        store: counts,
        night,
        snapshots,
        verified,
        problems,
        is_equal: false,
        elapsed_ms: 0,
    };
    report.judge();
    Ok(report)
}

/// Numbers the steps, shows them while they run, and tells how they ended.
struct Stage<'u> {
    ui: &'u Ui,
    /// One a step: a signal between two of them must not be lost.
    steps: Vec<Arc<Progress>>,
    next: usize,
}

impl<'u> Stage<'u> {
    fn new(ui: &'u Ui) -> Self {
        let steps: Vec<Arc<Progress>> = (0..STEPS).map(|_| Arc::default()).collect();
        crate::interrupt::watch_all(steps.clone());
        Self { ui, steps, next: 0 }
    }

    /// Runs a step; it gives its result and what to tell of it.
    fn step<T>(
        &mut self,
        name: &str,
        run: impl FnOnce(&Progress) -> Result<(T, String)>,
    ) -> Result<T> {
        let progress = Arc::clone(&self.steps[self.next]);
        self.next += 1;
        progress.check()?;
        let started = Instant::now();
        let display = self.ui.progress(&progress, "mailboxes");
        let done = run(&progress);
        drop(display);
        let (result, told) = done?;
        let (number, elapsed) = (self.next, duration(started.elapsed()));
        self.ui.status(format!("{number}/{STEPS}  {name:<20} {elapsed:>7}  {told}"));
        Ok(result)
    }
}

/// What an administrator's host has: a store, a repository, an identity and a state.
struct Host {
    root: PathBuf,
    repository: PathBuf,
    state: PathBuf,
    identity: Unseal,
}

impl Host {
    fn set_up(workplace: &Workplace) -> Result<Self> {
        let (repository, identity) = (workplace.join(REPOSITORY), workplace.join(IDENTITY));
        let (recipient, secret) = crypt::generate();
        let recipient = recipient.to_string();
        write_identity(&identity, &secret, &recipient, &repository.display().to_string())?;
        Repository::init(Box::new(Local::open(&repository)), &[recipient], false)?;
        Ok(Self {
            root: workplace.join(STORE),
            repository,
            state: workplace.join(STATE),
            identity: read_identity(&identity)?,
        })
    }

    /// Opened anew each time, as each night does.
    fn open(&self) -> Result<Repository> {
        Ok(Repository::open(Box::new(Local::open(&self.repository)))?)
    }

    fn backup(
        &self,
        problems: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<(Snapshot, String)> {
        let started = Instant::now();
        let repository = self.open()?;
        let state = State::open(&self.state, &repository.description().id, &self.root)?;
        let options = backup::Options {
            mailboxes: Vec::new(),
            trust: Trust::BaseName,
            rebase: false,
            dry_run: false,
            time: Timestamp::now(),
            host: host_name(),
            threads: threads(),
        };
        let done = backup::run(&repository, &state, &self.root, None, &options, progress)?;
        let ledger = done.incidents.iter().map(|entry| {
            format!(
                "backup: {} {:?} {}",
                entry.path,
                entry.incident,
                entry.reason.as_deref().unwrap_or("")
            )
        });
        problems
            .extend(ledger.chain(done.notices.iter().map(|notice| format!("backup: {notice}"))));
        let told = format!(
            "{} read, {} stored, {}",
            size(done.messages.read_bytes),
            size(done.stored_bytes),
            plural(done.requests.total, "request")
        );
        Ok((Snapshot::of(done, started.elapsed()), told))
    }

    fn verify(
        &self,
        ids: &[String],
        problems: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<(Verified, String)> {
        let started = Instant::now();
        let repository = self.open()?;
        let manifests: Vec<Manifest> = ids
            .iter()
            .map(|id| Manifest::read(repository.store(), id))
            .collect::<snapshot::Result<_>>()?;
        let level = verify::Level::Content;
        let options = verify::Options { level, sample_percent: 100.0, seed: 0, threads: threads() };
        let identity = Some(&self.identity);
        let found = verify::run(&repository, &manifests, identity, &options, progress)?;
        let damage = found.problems.iter();
        problems
            .extend(damage.map(|damage| format!("verify: {} {}", damage.object, damage.reason)));
        let told = format!(
            "{} opened, {} hashed",
            plural(found.objects, "object"),
            plural(found.messages, "message")
        );
        let verified = Verified {
            objects: found.objects,
            messages: found.messages,
            read_bytes: found.bytes_read,
            elapsed_ms: milliseconds(started.elapsed()),
        };
        Ok((verified, told))
    }

    fn restore(
        &self,
        snapshot: &mut Snapshot,
        to: PathBuf,
        problems: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<((), String)> {
        let started = Instant::now();
        let repository = self.open()?;
        let manifest = Manifest::read(repository.store(), &snapshot.id)?;
        let options = restore::Options {
            to,
            mailbox: None,
            folder: None,
            dry_run: false,
            threads: threads(),
        };
        let identity = Some(&self.identity);
        let done = restore::run(&repository, &manifest, identity, &options, progress)?;
        problems
            .extend(done.problems.iter().map(|p| format!("restore: {} {}", p.mailbox, p.reason)));
        snapshot.restore_ms = milliseconds(started.elapsed());
        Ok(((), format!("{}, {}", plural(done.messages, "message"), size(done.bytes))))
    }
}

fn told_night(night: &Night) -> String {
    let Night { delivered, seen, flagged, moved, copied, deleted, .. } = *night;
    let parts = [
        (delivered, "new"),
        (seen, "seen"),
        (flagged, "flagged"),
        (moved, "moved"),
        (copied, "copied"),
        (deleted, "deleted"),
    ];
    parts.map(|(number, what)| format!("{} {what}", count(number))).join(", ")
}

fn told_comparison(snapshots: &[Snapshot]) -> String {
    let files = snapshots.iter().map(|snapshot| snapshot.files_compared).sum();
    let differ: usize = snapshots.iter().map(|snapshot| snapshot.differences.len()).sum();
    format!("{} by name, bytes, time and mode, {differ} differ", plural(files, "file"))
}

const STEPS: usize = 8;
