//! `demo`: the whole job on made-up mail, with the judgement whether it worked.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::demo::host::Host;
use crate::demo::inventory::Inventory;
use crate::demo::night::Night;
use crate::demo::report::{Drilled, Report, Snapshot, StoreCounts, milliseconds};
use crate::demo::stage::Stage;
use crate::demo::store::Store;
use crate::demo::workplace::{RESTORED, STORE, Workplace};
use crate::exit::Exit;
use crate::ui::{Ui, count, plural, size};

/// See all of it on made-up mail
///
/// Makes a store of a few thousand messages in a fresh folder, backs it up into an encrypted
/// repository beside it, lets a night pass, backs up again, restores both snapshots and compares
/// every file with what the store had. At the end it kills a mail server of its own under load, and
/// accounts for every message. Nothing outside the folder is touched.
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
    #[arg(long, value_name = "COUNT", default_value_t = 4000, value_parser = message_count())]
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
    let mut stage = Stage::new(ui, STEPS);
    let mut report = play(args, &workplace, &mut stage)?;
    if !report.is_well() {
        // Whoever looks into it needs the files.
        workplace.keep();
    }
    report.folder = workplace.kept();
    report.elapsed_ms = milliseconds(started.elapsed());
    ui.status("");
    ui.result("demo", &report, || report.text())?;
    Ok(if report.is_well() { Exit::Done } else { Exit::Negative })
}

fn play(args: &DemoArgs, workplace: &Workplace, stage: &mut Stage<'_>) -> Result<Report> {
    let root = workplace.join(STORE);
    let host = Host::set_up(workplace)?;
    let mut problems = Vec::new();
    stage.say(format!("mailrig demo in {}\n", workplace.path().display()));

    let (mut store, evening) = stage.step("make a store", |progress| {
        let store = Store::make(&root, args.seed, args.messages, progress)?;
        let inventory = Inventory::take(&root, progress)?;
        let told = told_store(&StoreCounts::of(&store));
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
    let drilled = stage.step("kill a mail server", |_| {
        let drilled = drill(workplace)?;
        let told = told_drill(&drilled);
        Ok((drilled, told))
    })?;
    let mut report = Report {
        seed: args.seed,
        folder: None,
        store: counts,
        night,
        snapshots,
        verified,
        problems,
        drill: drilled,
        is_equal: false,
        elapsed_ms: 0,
    };
    report.judge();
    Ok(report)
}

/// The first scenario that ships, as an administrator would run it: a primary is killed under load, and every message is
/// accounted for.
fn drill(workplace: &Workplace) -> Result<Drilled> {
    let scenario = workplace.join("primary-killed.toml");
    std::fs::write(&scenario, SCENARIO)
        .with_context(|| format!("cannot write {}", scenario.display()))?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let ran = std::process::Command::new(program)
        .args(["drill", "run", "--json", "--quiet", "--out"])
        .arg(workplace.join("drill"))
        .arg(&scenario)
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot run the drill")?;
    let document: serde_json::Value = serde_json::from_slice(&ran.stdout).with_context(|| {
        format!("the drill did not end as one does: {}", String::from_utf8_lossy(&ran.stderr))
    })?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let of_mail = |outage: &&serde_json::Value| outage["service"] == "primary";
    let outages = document["rto"].as_array();
    Ok(Drilled {
        verdict: document["verdict"].as_str().unwrap_or("unknown").to_owned(),
        accepted: number(&document["messages"]["accepted"]),
        lost: number(&document["messages"]["by_class"]["lost"]),
        primary_away_ms: outages
            .and_then(|outages| outages.iter().find(of_mail))
            .and_then(|outage| outage["rto_us"].as_u64())
            .map(|us| us / 1000),
    })
}

fn told_drill(drilled: &Drilled) -> String {
    let away = drilled.primary_away_ms.map_or("it did not come back".into(), |ms| {
        format!("away for {}", crate::ui::duration(std::time::Duration::from_millis(ms)))
    });
    let (accepted, lost) = (count(drilled.accepted), count(drilled.lost));
    format!("{away}, {accepted} accepted, {lost} lost: {}", drilled.verdict)
}

const SCENARIO: &str = include_str!("../../../../scenarios/primary-killed.toml");

/// `6 mailboxes, 48 folders, 4,012 messages, 41.0 MiB`.
fn told_store(store: &StoreCounts) -> String {
    format!(
        "{}, {}, {}, {}",
        plural(store.mailboxes, "mailbox"),
        plural(store.folders, "folder"),
        plural(store.messages, "message"),
        size(store.bytes)
    )
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
    let differences = plural(differ as u64, "difference");
    format!("{} by name, bytes, time and mode: {differences}", plural(files, "file"))
}

/// Fewer leave folders empty; more fill a temporary folder.
fn message_count() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(100..=1_000_000)
}

/// As many as `play` takes.
const STEPS: usize = 9;
