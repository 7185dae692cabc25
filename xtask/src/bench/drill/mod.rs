//! `cargo xtask bench drill`: a drill that sends 1,000 messages a second, the marks of its recovery times beside an
//! observer that knows nothing of it, and a history of a million messages that is judged.

mod marks;
mod observer;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::loopback::logs;
use super::measure::{self, Cost, Measured};
use super::table::{median, spread};
use super::{WorkDir, build, machine, tools, write};
use crate::clock;
use crate::installs::debian;
use crate::options::{Options, unknown};
use crate::workspace;

/// What to measure.
pub(crate) struct Plan {
    rounds: usize,
    marks: usize,
    messages: u64,
    command_line: String,
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let command_line = ["cargo xtask bench drill", &args.join(" ")].join(" ").trim_end().to_owned();
    let mut plan = Plan { rounds: 3, marks: 10, messages: 1_000_000, command_line };
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--rounds" => plan.rounds = options.value(name)?,
            "--marks" => plan.marks = options.value(name)?,
            "--messages" => plan.messages = options.value(name)?,
            _ => return Err(unknown(name)),
        }
    }
    ensure!(plan.rounds >= 1, "--rounds takes 1 or more");
    ensure!(plan.marks >= 1, "--marks takes 1 or more");
    ensure!(plan.messages >= 1000, "--messages takes 1000 or more: fewer measure nothing");
    Ok(plan)
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    debian::install(&["time"])?;
    build()?;
    eprintln!("building what writes a history");
    workspace::cargo()
        .args(["build", "--release", "--quiet", "--package", "drill", "--example", "history"])
        .limit(Duration::from_secs(30 * 60))
        .ok()?;
    let work = WorkDir::create(&std::env::temp_dir(), false)?;
    let day = clock::day(clock::now());
    let mut text = format!("# Drills\n\n`{}`, {day}\n\n", plan.command_line);
    let _ = writeln!(text, "- {}", machine::describe(&work.path)?.join("\n- "));
    traffic(plan, &work.path, &mut text)?;
    marks::measure(plan.marks, &work.path, &mut text)?;
    judging(plan, &work.path, &mut text)?;
    println!("{text}");
    let place = write("drill", &text)?;
    eprintln!("written to {}", place.display());
    Ok(())
}

/// The first scenario that ships, ten times as fast.
fn traffic(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    let _ = write!(
        text,
        "\n## Traffic\n\n`scenarios/primary-killed.toml --set rate=1000/s`: both servers, the drill and its journal on this \
         machine. Arrivals are a Poisson process.\n\n| round | verdict | sent | accepted | in a class | a second, mean | median | least | CPU s | peak MB |\n\
         |---:|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for round in 1..=plan.rounds {
        let out = work.join(format!("traffic-{round}"));
        let scenario = workspace::root().join("scenarios/primary-killed.toml");
        let mut args: Vec<OsString> = vec![tools::program().into(), "drill".into(), "run".into()];
        args.extend([scenario.into(), "--set".into(), "rate=1000/s".into(), "--out".into()]);
        args.push(out.clone().into());
        let (cost, _) = measured(args, work, &[0, 4])?;
        let result = result(&out)?;
        let messages = &result["messages"];
        let classes = messages["by_class"].as_object().context("no classes")?;
        let classed: u64 = classes.values().filter_map(Value::as_u64).sum();
        let rates = rates(&out)?;
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let _ = writeln!(
            text,
            "| {round} | {} | {} | {} | {classed} | {mean:.0} | {:.0} | {least:.0} | {:.1} | {:.0} |",
            result["verdict"].as_str().unwrap_or("?"),
            messages["sent"],
            messages["accepted"],
            median(&rates),
            cost.cpu_s,
            cost.peak_mb,
        );
        eprintln!("  {mean:.0} a second");
        fs::remove_dir_all(&out)?;
    }
    text.push_str(
        "\nA second is a whole one of the run, and what counts are messages whose first attempt began in it, each of them in \
         the journal, on disk, before that. CPU and memory are those of the largest process and of all below it.\n",
    );
    Ok(())
}

/// First attempts in each whole second of the run but the first and the last one.
fn rates(out: &Path) -> Result<Vec<f64>> {
    let mut counts: Vec<f64> = Vec::new();
    for line in BufReader::new(File::open(out.join("journal.jsonl"))?).lines() {
        let line: Value = serde_json::from_str(&line?).context("a line of the journal")?;
        let intent = &line["e"]["intent"];
        if intent["a"] == 1 && intent["s"] == 0 {
            let second = usize::try_from(line["t"].as_u64().context("no time")? / 1_000_000)?;
            counts.resize(counts.len().max(second + 1), 0.0);
            counts[second] += 1.0;
        }
    }
    let from = counts.iter().position(|count| *count > 0.0).context("nothing was sent")?;
    ensure!(counts.len() > from + 3, "too short a run");
    Ok(counts[from + 1..counts.len() - 1].to_vec())
}

/// A history that nobody has lived through.
fn judging(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    let out = work.join("history");
    let program = workspace::target_dir().join("release/examples/history");
    let args = vec![program.into(), out.clone().into(), plan.messages.to_string().into()];
    measured(args, work, &[0])?;
    let bytes = fs::metadata(out.join("journal.jsonl"))?.len();
    let mut costs: Vec<Cost> = Vec::new();
    for _ in 0..plan.rounds {
        let args: [OsString; 3] = [tools::program().into(), "drill".into(), "analyze".into()];
        let (cost, _) = measured([args.to_vec(), vec![out.clone().into()]].concat(), work, &[0])?;
        eprintln!("  judged in {:.1} s", cost.wall_s);
        costs.push(cost);
    }
    let all = |figure: fn(&Cost) -> f64| costs.iter().map(figure).collect::<Vec<f64>>();
    let _ = write!(
        text,
        "\n## Judging\n\n`mailrig drill analyze` of {} messages, each accepted, seen and found, in a journal of {:.0} MB; \
         {} rounds.\n\n| | |\n|---|---:|\n| wall s | {} |\n| CPU s | {} |\n| peak MB | {} |\n",
        plan.messages,
        bytes as f64 / 1e6,
        plan.rounds,
        spread(&all(|cost| cost.wall_s)),
        spread(&all(|cost| cost.cpu_s)),
        spread(&all(|cost| cost.peak_mb)),
    );
    fs::remove_dir_all(&out)?;
    Ok(())
}

fn measured(args: Vec<OsString>, work: &Path, codes: &[i32]) -> Result<(Cost, std::path::PathBuf)> {
    let what = Measured { args, env: Vec::new(), dir: work.to_owned() };
    measure::run_to(what, &logs(work)?, Duration::from_secs(600), codes)
}

fn result(out: &Path) -> Result<Value> {
    let text = fs::read(out.join("result.json")).context("the drill left no result")?;
    serde_json::from_slice(&text).context("the result of the drill")
}
