//! `cargo xtask bench wire`: our client and Postfix's smtp-source against Postfix's smtp-sink, and smtp-sink and our sink
//! under smtp-source, in turn. CPU time is what counts: on a machine that others use, wall time is theirs too.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::loopback::{self, LOADS, Load, Server, Sink, describe, free_port, logs, serve, start};
use super::measure::{self, Cost, Measured};
use super::table::{median, spread};
use super::{WorkDir, build, machine, tools, write};
use crate::clock;
use crate::installs::debian;
use crate::options::{Options, unknown};
use crate::workspace;

/// What to measure.
pub(crate) struct Plan {
    messages: u32,
    rounds: usize,
    command_line: String,
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let command_line = ["cargo xtask bench wire", &args.join(" ")].join(" ").trim_end().to_owned();
    let mut plan = Plan { messages: 20_000, rounds: 3, command_line };
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--messages" => plan.messages = options.value(name)?,
            "--rounds" => plan.rounds = options.value(name)?,
            _ => return Err(unknown(name)),
        }
    }
    ensure!(plan.messages >= 1000, "--messages takes 1000 or more: fewer measure nothing");
    ensure!(plan.rounds >= 1, "--rounds takes 1 or more");
    Ok(plan)
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Postfix,
    Ours,
    Pipelined,
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    debian::install(&["postfix", "time"])?;
    build()?;
    eprintln!("building the client");
    workspace::cargo()
        .args(["build", "--release", "--quiet", "--package", "smtp", "--example", "source"])
        .limit(Duration::from_secs(30 * 60))
        .ok()?;
    let work = WorkDir::create(&std::env::temp_dir(), false)?;
    let mut text =
        format!("# The wire\n\n`{}`, {}\n\n", plan.command_line, clock::day(clock::now()));
    let machine = machine::describe(&work.path)?;
    let _ = write!(
        text,
        "- {}\n- {} messages of 4 KiB over loopback in each run; {} rounds, in turn; the median, and the least and \
         the most\n\n",
        machine.join("\n- "),
        plan.messages,
        plan.rounds,
    );
    clients(plan, &work.path, &mut text)?;
    servers(plan, &work.path, &mut text)?;
    memory(&work.path, &mut text)?;
    println!("{text}");
    let place = write("wire", &text)?;
    eprintln!("written to {}", place.display());
    Ok(())
}

/// The clients against smtp-sink.
fn clients(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    text.push_str("## Clients, against smtp-sink: CPU time per message in microseconds\n\n");
    text.push_str("| | smtp-source | mailrig | of smtp-source | pipelined | of smtp-source |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    for load in LOADS {
        let sources = [Source::Postfix, Source::Ours, Source::Pipelined];
        let mut cpu_us: [Vec<f64>; 3] = Default::default();
        for round in 0..plan.rounds {
            for turn in 0..sources.len() {
                let at = (turn + round) % sources.len();
                let server = serve(Sink::Postfix, &[], work)?;
                let cost = send(sources[at], load, &server, plan.messages, work)?;
                cpu_us[at].push(cost.cpu_s * 1e6 / f64::from(plan.messages));
                eprintln!("  {}: {:.1} us", describe(load), cpu_us[at][round]);
            }
        }
        let ratio = |at: usize| median(&cpu_us[at]) / median(&cpu_us[0]);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} | {} | {:.2} |",
            describe(load),
            spread(&cpu_us[0]),
            spread(&cpu_us[1]),
            ratio(1),
            spread(&cpu_us[2]),
            ratio(2),
        );
    }
    Ok(())
}

/// The sinks under smtp-source.
fn servers(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    text.push_str("\n## Sinks, under smtp-source: messages per CPU second\n\n");
    text.push_str(
        "| | smtp-sink | mailrig serve --sink | times smtp-sink |\n|---|---:|---:|---:|\n",
    );
    for load in LOADS {
        let sinks = [Sink::Postfix, Sink::Ours];
        let mut rates: [Vec<f64>; 2] = Default::default();
        for round in 0..plan.rounds {
            for turn in 0..sinks.len() {
                let at = (turn + round) % sinks.len();
                let server = serve(sinks[at], &[], work)?;
                let before_s = cpu_s(server.child.id())?;
                send(Source::Postfix, load, &server, plan.messages, work)?;
                let took_s = cpu_s(server.child.id())? - before_s;
                rates[at].push(f64::from(plan.messages) / took_s);
                eprintln!("  {}: {:.0} a CPU second", describe(load), rates[at][round]);
            }
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} |",
            describe(load),
            spread(&rates[0]),
            spread(&rates[1]),
            median(&rates[1]) / median(&rates[0]),
        );
    }
    Ok(())
}

/// A server that syncs every message, with 500 connections at once.
fn memory(work: &Path, text: &mut String) -> Result<()> {
    let store = work.join("store");
    fs::create_dir_all(&store)?;
    let port = free_port()?;
    let mut command = Command::new(tools::program());
    command.args(["serve", "--quiet", "--create", "--store"]).arg(&store);
    command.args(["--smtp", &format!("127.0.0.1:{port}")]);
    let server = start(command, port, work)?;
    let load = Load { sessions: 500, is_reused: true };
    send(Source::Ours, load, &server, 5000, work)?;
    let peak_mb = loopback::peak_mb(&server)?;
    let _ = write!(
        text,
        "\n## Memory\n\n`mailrig serve --store`, every message synced, 5,000 messages over 500 connections at once: peak \
         {peak_mb:.0} MB.\n"
    );
    Ok(())
}

fn send(source: Source, load: Load, server: &Server, messages: u32, work: &Path) -> Result<Cost> {
    let args = if source == Source::Postfix {
        loopback::smtp_source(load, server, messages)
    } else {
        let kind = if load.is_reused { "reuse" } else { "fresh" };
        let more = if source == Source::Pipelined { "-pipelined" } else { "" };
        let program = workspace::target_dir().join("release/examples/source");
        let (sessions, count) = (load.sessions.to_string(), messages.to_string());
        let mut args = vec![program.into_os_string()];
        args.extend([&server.address(), &sessions, &count, "4096"].map(OsString::from));
        args.push(format!("{kind}{more}").into());
        args
    };
    let what = Measured { args, env: Vec::new(), dir: work.to_owned() };
    let logs = logs(work)?;
    let (cost, _) = measure::run(what, &logs, Duration::from_secs(300))?;
    Ok(cost)
}

/// User and system time of a process so far; the kernel counts hundredths of a second.
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("a strange /proc/PID/stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks(11).context("no utime")?, ticks(12).context("no stime")?);
    Ok((user + system) / 100.0)
}
