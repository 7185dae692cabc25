//! `mailrig drill`: fail over on purpose, and account for every message.

mod apart;
mod args;
mod document;
mod manifest;
mod plan;
mod report;
mod restore;
mod runbook;
mod text;

use std::io::{BufRead as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use drill::journal::Event;
use drill::judge::Word;
use drill::scenario::{LONGEST_BYTES, Loaded, Manual, load as load_scenario};
use drill::{Analysis, Setup, Stop};
use jiff::Timestamp;
use load::letters::{Addresses, Ingredients, Letters, PerMessage, Sizes, mean_head_bytes};
use load::plan::{Plan, Shape, Spacing, Stage, parse_rate};
use load::safety;
use serde::Serialize;

pub(crate) use self::args::DrillArgs;
use self::args::{
    DrillCommand, HoldArgs, RecoverArgs, ResultArgs, RunArgs, ScenarioArgs, WatchArgs,
};
use self::document::Document;
use crate::commands::load::{Style, templates, write_whole};
use crate::exit::{Exit, NotUndone, UsageError};
use crate::interrupt;
use crate::repository::default_state_dir;
use crate::ui::{Ui, cell, table};

pub(crate) fn run(args: &DrillArgs, ui: &Ui) -> Result<Exit> {
    match &args.command {
        DrillCommand::Plan(args) => plan::run(&read(args)?, &name_of(&args.scenario), ui),
        DrillCommand::Rehearse(args) => rehearse(&args.scenario, ui),
        DrillCommand::Watch(args) => watch(args, ui),
        DrillCommand::Runbook(args) => runbook::run(&read(&args.scenario)?, ui),
        DrillCommand::Hold(args) => stand_above(args),
        DrillCommand::Schema => schema(ui),
        DrillCommand::Run(args) => run_scenario(args, ui),
        DrillCommand::Analyze(args) => analyze(args, ui),
        DrillCommand::Recover(args) => recover(args, ui),
        DrillCommand::Restore(args) => restore::run(args, ui),
    }
}

fn read(args: &ScenarioArgs) -> Result<Loaded> {
    let path = &args.scenario;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_BYTES as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        UsageError(format!("{name}:{line}: it is no UTF-8, and so no scenario"))
    })?;
    let loaded = load_scenario(&name, &text, &args.set).map_err(|e| UsageError(e.to_string()))?;
    arrivals(&loaded)
        .and_then(|_| Mail::of(&loaded))
        .map_err(|UsageError(why)| UsageError(format!("{name}: {why}")))?;
    Ok(loaded)
}

/// With the exit code of what it held.
fn stand_above(args: &HoldArgs) -> Result<Exit> {
    let each_signal = |end: Box<dyn Fn() + Send>| interrupt::on_each_signal(move |_| end());
    let code = drill::hold(&args.argv, each_signal)
        .with_context(|| format!("cannot run {}", args.argv.join(" ")))?;
    std::process::exit(i32::from(code));
}

/// What stands in docs/schema/scenario.json, which a test holds against what is read.
fn schema(ui: &Ui) -> Result<Exit> {
    ui.text(include_str!("../../../../../docs/schema/scenario.json"))?;
    Ok(Exit::Done)
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn run_scenario(args: &RunArgs, ui: &Ui) -> Result<Exit> {
    let loaded = read(&args.scenario)?;
    let (title, at) = (loaded.scenario.title.clone(), Timestamp::now());
    let name = name_of(&args.scenario.scenario);
    drill::safety::check(&loaded, &name, args.yes_affect.as_deref())
        .map_err(|e| UsageError(e.to_string()))?;
    apart::be_apart(&loaded.scenario.lab)?;
    let dir = args.out.clone().unwrap_or_else(|| folder(&name, at));
    let dir = std::path::absolute(&dir).with_context(|| format!("cannot use {}", dir.display()))?;
    let (told, hearing) = sync_channel(1000);
    let setup = Setup { told: Some(told), ..setup(&loaded, name, dir.clone(), at)? };
    let stop = Stop::default();
    let stopping = stop.clone();
    // What was broken is mended first, however often somebody asks: a drill that is cut off leaves its faults behind.
    interrupt::on_each_signal(move |_| stopping.stop("it was interrupted"));
    let held = hold(&loaded, &dir)?;
    if let Some(after) = args.dead_man {
        arm_dead_man(&dir, after)?;
    }
    ui.status(format!("{}\nin {}", cell(&title), dir.display()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ran = thread::scope(|scope| {
        scope.spawn(move || tell(&hearing, ui));
        runtime.block_on(drill::run(loaded, setup, stop.clone()))
    });
    drop(runtime);
    // A run that could not begin, or undid all, stands in nobody's way.
    if drill::is_clean(&dir) {
        held.release();
    }
    if ran.is_err() {
        // Only where nothing is in it yet.
        let _ = std::fs::remove_dir(&dir);
    }
    let left = ran?;
    let not_undone =
        |one: &drill::Left| format!("not undone: {}; by hand: {}", one.why, one.by_hand);
    left.iter().for_each(|one| ui.warning(not_undone(one)));
    let judged = drill::analyze(&dir).map_err(Into::into).and_then(|analysis| {
        let document = Document::new(&analysis);
        deliver(&analysis, &document, &dir, ui).map(|()| document)
    });
    let document = judged.map_err(|e: anyhow::Error| match left.is_empty() {
        true => e,
        // That comes first, for whoever reads exit codes as for whoever reads the document that is not there.
        false => {
            let left: Vec<String> = left.iter().map(not_undone).collect();
            NotUndone(format!("{}; and the report is not whole: {e:#}", left.join("; "))).into()
        }
    })?;
    Ok(match (left.is_empty(), stop.reason().as_deref()) {
        (false, _) => Exit::NotUndone,
        (true, Some("it was interrupted")) => Exit::Interrupted,
        (true, _) => exit(&document),
    })
}

fn setup(loaded: &Loaded, name: String, dir: PathBuf, at: Timestamp) -> Result<Setup> {
    let run = run_id();
    let (letters, recipients) = letters(loaded, run, at)?;
    Ok(Setup {
        dir,
        name,
        run,
        letters: Arc::new(letters),
        recipients,
        plan: arrivals(loaded)?,
        program: std::env::current_exe().context("cannot tell where this program is")?,
        variable: |name| std::env::var(name).ok(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        person,
        told: None,
    })
}

/// Asks whoever sits at the terminal, or stands behind standard input.
fn person(manual: &Manual) -> Result<String, String> {
    let who = if manual.who.is_empty() { "you" } else { &manual.who };
    let ask =
        "Enter when it is done, with a remark if you like; `no` and why if it cannot be done: ";
    eprint!("\n>>> {who}: {}\n{ask}", cell(&manual.prompt));
    let mut line = String::new();
    let read = std::io::stdin().lock().take(LONGEST_ANSWER).read_line(&mut line);
    let line = line.trim();
    match read {
        Err(e) => Err(format!("nobody can be asked: {e}")),
        Ok(0) => Err("nobody is there to do it; run the drill where somebody can answer".into()),
        Ok(_) => match line.strip_prefix("no").filter(|why| why.is_empty() || why.starts_with(' '))
        {
            Some(why) => Err(format!("{who} did not do it: {}", why.trim())),
            None if line.is_empty() => Ok("done".into()),
            None => Ok(line.to_owned()),
        },
    }
}

/// Starts a process that undoes the run when this one cannot. It has a process group of its own: what ends this one from
/// a terminal does not end it.
fn arm_dead_man(dir: &Path, after: Duration) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let (pid, after) = (std::process::id().to_string(), format!("{}ms", after.as_millis()));
    let mut command = std::process::Command::new(program);
    command.args(["drill", "watch"]).arg(dir).args(["--pid", &pid, "--after", &after, "--quiet"]);
    let null = std::process::Stdio::null;
    command.stdin(null()).stdout(null()).stderr(null()).process_group(0);
    command.spawn().context("cannot start the dead-man's watcher")?;
    Ok(())
}

fn watch(args: &WatchArgs, ui: &Ui) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watched = runtime.block_on(drill::watch(&args.dir, args.pid, args.after));
    forget(&args.dir)?;
    let Some(recovered) = watched? else {
        ui.status("The run ended, and left nothing.");
        return Ok(Exit::Done);
    };
    recovery(recovered, ui)
}

/// Nobody else drills on what this one touches, until it is undone.
fn hold(loaded: &Loaded, dir: &Path) -> Result<drill::targets::Held> {
    let targets = drill::safety::targets(loaded);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let held = drill::targets::hold(&locks()?, &targets, dir, drill::is_clean);
    if held.is_err() {
        // Nothing is in it yet, if it is ours.
        let _ = std::fs::remove_dir(dir);
    }
    Ok(held?)
}

/// Where it is written down what drills are on.
fn locks() -> Result<PathBuf> {
    Ok(default_state_dir()?.join("drills"))
}

/// Once nothing of a run is left, others may drill on what it was on, also when its folder is gone.
fn forget(dir: &Path) -> Result<()> {
    if drill::is_clean(dir) {
        let dir =
            std::path::absolute(dir).with_context(|| format!("cannot use {}", dir.display()))?;
        drill::targets::forget(&locks()?, &dir)
            .context("cannot strike out what the drill was on")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Rehearsal {
    is_ready: bool,
    answers: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    question: String,
    failed: Option<String>,
}

fn rehearse(args: &ScenarioArgs, ui: &Ui) -> Result<Exit> {
    let loaded = read(args)?;
    drill::safety::check_protected(&loaded).map_err(|e| UsageError(e.to_string()))?;
    let (name, at) = (name_of(&args.scenario), Timestamp::now());
    let dir = std::path::absolute(folder(&name, at))?;
    let setup = setup(&loaded, name, dir, at)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(drill::rehearse(loaded, &setup));
    let answer = |one: drill::Rehearsed| Answer { question: one.question, failed: one.failed };
    let answers: Vec<Answer> = answers.into_iter().map(answer).collect();
    let rehearsal = Rehearsal { is_ready: answers.iter().all(|one| one.failed.is_none()), answers };
    ui.result("drill_rehearsal", &rehearsal, || {
        let row = |one: &Answer| {
            let answer = one.failed.as_deref().map_or("yes".into(), |why| format!("no: {why}"));
            vec![cell(&one.question).into_owned(), cell(&answer).into_owned()]
        };
        let rows: Vec<_> = rehearsal.answers.iter().map(row).collect();
        let sentence = match (rows.len(), rehearsal.is_ready) {
            (0, _) => "There is nothing to ask: the lab makes all that takes part.",
            (_, true) => "Ready.",
            (_, false) => "Not ready.",
        };
        let asked = if rows.is_empty() {
            String::new()
        } else {
            table(&["Question", "Answer"], &rows) + "\n"
        };
        format!("{asked}{sentence}\n")
    })?;
    Ok(if rehearsal.is_ready { Exit::Done } else { Exit::Negative })
}

/// What happens, while it happens.
fn tell(hearing: &Receiver<(u64, Event)>, ui: &Ui) {
    for (t_us, event) in hearing.iter() {
        let what = match event {
            Event::Step { name, does, .. } => format!("{name}: {does}"),
            Event::StepEnd { failed: Some(why), .. } => format!("  failed: {why}"),
            Event::Phase { name } => format!("-- {name}"),
            Event::Aborted { why } => format!("given up: {why}"),
            Event::Note { text } => text,
            Event::Undone { failed: Some(why), .. } => format!("  not undone: {why}"),
            _ => continue,
        };
        ui.status(format!("{:9.3} s  {}", t_us as f64 / 1e6, cell(&what)));
    }
}

fn analyze(args: &ResultArgs, ui: &Ui) -> Result<Exit> {
    let analysis = drill::analyze(&args.dir)?;
    let document = Document::new(&analysis);
    if !document.result.left.is_empty() {
        let dir = args.dir.display();
        ui.warning(format!("not all is undone: run `mailrig drill recover {dir}` first"));
    }
    ui.result("drill", &document, || text::text(&document))?;
    if args.reports {
        write_whole(&args.dir.join("result.json"), &serde_json::to_vec_pretty(&document)?)?;
        report::write(&args.dir, &analysis)?;
        manifest::write(&args.dir)?;
    }
    Ok(exit(&document))
}

#[derive(Serialize)]
struct Recovery {
    undone: usize,
    left: Vec<LeftOver>,
}

#[derive(Serialize)]
struct LeftOver {
    why: String,
    by_hand: String,
}

fn recover(args: &RecoverArgs, ui: &Ui) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let recovered = runtime.block_on(drill::recover(&args.dir));
    forget(&args.dir)?;
    recovery(recovered?, ui)
}

fn recovery(recovered: drill::Recovered, ui: &Ui) -> Result<Exit> {
    let not_undone = |left: drill::Left| LeftOver { why: left.why, by_hand: left.by_hand };
    let left = recovered.left.into_iter().map(not_undone).collect();
    let recovery = Recovery { undone: recovered.undone, left };
    ui.result("drill_recovery", &recovery, || {
        let mut text = String::new();
        for one in &recovery.left {
            text.push_str(&format!("{}\n  by hand: {}\n", cell(&one.why), cell(&one.by_hand)));
        }
        let (undone, left) = (recovery.undone, recovery.left.len());
        text + &match (undone, left) {
            (0, 0) => "There was nothing to undo.\n".to_owned(),
            (_, 0) => format!("{undone} undone; nothing is left.\n"),
            _ => format!("{undone} undone; {left} left for you.\n"),
        }
    })?;
    Ok(if recovery.left.is_empty() { Exit::Done } else { Exit::NotUndone })
}

/// The result first: it counts even where there is no room for the rest.
fn deliver(analysis: &Analysis, document: &Document, dir: &Path, ui: &Ui) -> Result<()> {
    let told = ui.result("drill", document, || text::text(document));
    // A terminal that was closed takes no evidence away.
    let write = || -> Result<()> {
        write_whole(&dir.join("result.json"), &serde_json::to_vec_pretty(document)?)?;
        report::write(dir, analysis)?;
        manifest::write(dir)
    };
    let written = write();
    told?;
    written
}

fn exit(document: &Document) -> Exit {
    match document.result.verdict {
        _ if !document.result.left.is_empty() => Exit::NotUndone,
        Word::Pass => Exit::Done,
        Word::Fail => Exit::Negative,
        Word::Unknown => Exit::Inconclusive,
    }
}

/// No two runs have the same, however fast they follow each other.
fn run_id() -> u64 {
    use std::hash::BuildHasher;
    std::collections::hash_map::RandomState::new().hash_one(std::process::id())
}

/// A folder of its own for each run.
fn folder(name: &str, at: Timestamp) -> PathBuf {
    PathBuf::from(format!("drill-{name}-{}", at.strftime("%Y%m%dT%H%M%SZ")))
}

fn arrivals(loaded: &Loaded) -> Result<Plan, UsageError> {
    let scenario = &loaded.scenario;
    let per_s =
        parse_rate(&scenario.traffic.rate).map_err(|e| UsageError(format!("traffic.rate: {e}")))?;
    let stage = Stage {
        name: "traffic".into(),
        duration: scenario.max_duration.0,
        shape: Shape::Constant { per_s },
        is_warmup: false,
    };
    let plan = Plan::new(vec![stage], Spacing::Poisson, scenario.traffic.seed);
    plan.map_err(|e| UsageError(format!("traffic: {e}")))
}

/// Whom messages are from and for, and how long they are.
struct Mail {
    senders: Addresses,
    recipients: Addresses,
    sizes: Sizes,
}

impl Mail {
    fn of(loaded: &Loaded) -> Result<Self, UsageError> {
        let traffic = &loaded.scenario.traffic;
        let parse = |name: &str, text: &str| {
            Addresses::parse(text).map_err(|e| UsageError(format!("traffic.{name}: {e}")))
        };
        let (senders, recipients) =
            (parse("senders", &traffic.senders)?, parse("recipients", &traffic.recipients)?);
        let domains = recipients.domains();
        safety::check_recipient_domains(domains.iter().map(String::as_str), &[])
            .map_err(|e| UsageError(format!("traffic.recipients: {e}")))?;
        if recipients.count() > MOST_RECIPIENTS {
            return Err(UsageError(format!("traffic.recipients: {MOST_RECIPIENTS} are the most")));
        }
        let sizes = traffic.size.parse().map_err(|e| UsageError(format!("traffic.size: {e}")))?;
        Ok(Self { senders, recipients, sizes })
    }
}

/// The messages, and all whom they are for.
fn letters(loaded: &Loaded, run: u64, at: Timestamp) -> Result<(Letters, Vec<String>)> {
    let traffic = &loaded.scenario.traffic;
    let Mail { senders, recipients, sizes } = Mail::of(loaded)?;
    let all = (0..recipients.count()).map(|number| recipients.nth(number).to_string()).collect();
    let head_bytes = mean_head_bytes(&senders, &recipients, PerMessage::ONE, None);
    let made = Letters::new(Ingredients {
        run,
        seed: traffic.seed,
        start: at,
        templates: templates(&sizes, traffic.seed, Style::Mixed, head_bytes)?,
        senders,
        recipients,
        per_message: PerMessage::ONE,
        signer: None,
        observed: None,
    });
    Ok((made?, all))
}

/// Of a person, in bytes.
const LONGEST_ANSWER: u64 = 10_000;
/// Who mail is for, in one drill.
const MOST_RECIPIENTS: u64 = 10_000;
