//! `cargo xtask bench load`: `mailrig load` beside Postfix's smtp-source, in turn, against smtp-sink and our sink; then
//! how late it is at a rate, what its memory grows by, and how many connections it holds open.

mod limits;
mod throttle;
mod truth;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::loopback::{Server, logs};
use super::measure::{self, Cost, Measured};
use super::{WorkDir, build, machine, tools, write};
use crate::clock;
use crate::installs::debian;
use crate::options::{Options, unknown};

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    messages: u32,
    rounds: usize,
    /// Of the long run whose memory is compared with a short one's; none: not measured.
    memory_messages: Option<u64>,
    idle: u64,
    command_line: String,
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let command_line = ["cargo xtask bench load", &args.join(" ")].join(" ").trim_end().to_owned();
    let mut plan =
        Plan { messages: 50_000, rounds: 3, memory_messages: None, idle: 20_000, command_line };
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--messages" => plan.messages = options.value(name)?,
            "--rounds" => plan.rounds = options.value(name)?,
            "--memory" => plan.memory_messages = plan.memory_messages.or(Some(5_000_000)),
            "--memory-messages" => plan.memory_messages = Some(options.value(name)?),
            "--idle" => plan.idle = options.value(name)?,
            _ => return Err(unknown(name)),
        }
    }
    ensure!(plan.messages >= 1000, "--messages takes 1000 or more: fewer measure nothing");
    ensure!(plan.rounds >= 1, "--rounds takes 1 or more");
    let is_long = plan.memory_messages.is_none_or(|messages| messages > limits::SHORT_RUN);
    ensure!(
        is_long,
        "--memory-messages takes more than the {} of the short run",
        limits::SHORT_RUN
    );
    ensure!(plan.idle >= 1, "--idle takes 1 or more");
    Ok(plan)
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    debian::install(&["postfix", "time"])?;
    build()?;
    let work = WorkDir::create(&std::env::temp_dir(), false)?;
    let machine = machine::describe(&work.path)?;
    let day = clock::day(clock::now());
    let mut text = format!("# Load\n\n`{}`, {day}\n\n", plan.command_line);
    let _ = write!(
        text,
        "- {}\n- over loopback, server and client on the same machine; {} rounds, in turn; the median, and the least \
         and the most\n- wall and CPU time are those of the whole process, from its start to its end\n\n",
        machine.join("\n- "),
        plan.rounds,
    );
    throttle::measure(plan, &work.path, &mut text)?;
    truth::measure(&work.path, &mut text)?;
    limits::lateness(plan, &work.path, &mut text)?;
    limits::idle(plan, &work.path, &mut text)?;
    if let Some(messages) = plan.memory_messages {
        limits::memory(messages, &work.path, &mut text)?;
    }
    println!("{text}");
    let place = write("load", &text)?;
    eprintln!("written to {}", place.display());
    Ok(())
}

/// Runs `mailrig load` on a server, and gives what it printed.
fn load(server: &Server, options: &str, limit: Duration, work: &Path) -> Result<(Cost, Value)> {
    let mut args = vec![tools::program().into_os_string(), "load".into(), server.address().into()];
    args.extend(options.split_whitespace().map(OsString::from));
    args.extend(["--json".into(), "--quiet".into()]);
    let what = Measured { args, env: Vec::new(), dir: work.to_owned() };
    // Who sends as fast as can be is late, or at the limit, by intent: what counts is what was accepted.
    let (cost, stdout) = measure::run_to(what, &logs(work)?, limit, &[0, 4, 6])?;
    let printed = fs::read(&stdout)?;
    let document = serde_json::from_slice(&printed)
        .with_context(|| format!("`load {options}` printed no document"))?;
    Ok((cost, document))
}

fn number(document: &Value, pointer: &str) -> Result<f64> {
    match document.pointer(pointer).and_then(Value::as_f64) {
        Some(number) => Ok(number),
        None => bail!("the document of `load` has no number at {pointer}"),
    }
}

fn ensure_accepted(document: &Value, messages: u64) -> Result<()> {
    let accepted = number(document, "/accepted")?;
    let sentence = document.pointer("/sentence").and_then(Value::as_str).unwrap_or_default();
    ensure!(accepted == messages as f64, "{accepted} of {messages} were accepted: {sentence}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_run_is_asked_for_and_longer_than_the_short_one() {
        assert_eq!(parse(&[]).unwrap().memory_messages, None);
        assert_eq!(parse(&["--memory"]).unwrap().memory_messages, Some(5_000_000));
        let both = parse(&["--memory-messages", "60000", "--memory"]).unwrap();
        assert_eq!(both.memory_messages, Some(60_000));
        assert!(parse(&["--memory-messages", "50000"]).is_err());
    }

    #[test]
    fn what_would_measure_nothing_is_refused() {
        for bad in [["--messages", "999"], ["--rounds", "0"], ["--idle", "0"], ["--idle", "some"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        assert!(parse(&["--round"]).is_err());
    }
}
