//! Full throttle: how many messages a second, and what each costs, beside smtp-source on the same sink.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::loopback::{LOADS, Load, Server, Sink, describe, logs, serve, smtp_source};
use super::super::measure::{self, Cost, Measured};
use super::super::table::{median, spread};
use super::{Plan, ensure_accepted, load};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Postfix,
    /// Ours, which waits for each reply as smtp-source does.
    Waiting,
    Pipelined,
}

/// By source, one entry a round.
type Values = [Vec<f64>; 3];

pub(super) fn measure(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    let _ = write!(
        text,
        "## Full throttle\n\n{} messages of 4 KiB and a head in each run. smtp-source measures nothing; mailrig records \
         every phase of every message.\n\n",
        plan.messages
    );
    for (sink, name) in [(Sink::Postfix, "smtp-sink"), (Sink::Ours, "mailrig serve --sink")] {
        let mut rows = Vec::new();
        for load in LOADS {
            rows.push((describe(load), cell(plan, sink, load, work)?));
        }
        let rates = rows.iter().map(|(what, (rates, _))| (what.as_str(), rates));
        table(&format!("Against {name}: messages a second"), rates, text);
        let costs = rows.iter().map(|(what, (_, costs))| (what.as_str(), costs));
        table(&format!("Against {name}: CPU microseconds a message"), costs, text);
    }
    Ok(())
}

/// Messages a second, and CPU microseconds a message.
fn cell(plan: &Plan, sink: Sink, load: Load, work: &Path) -> Result<(Values, Values)> {
    let sources = [Source::Postfix, Source::Waiting, Source::Pipelined];
    let (mut rates, mut costs) = (Values::default(), Values::default());
    for round in 0..plan.rounds {
        for turn in 0..sources.len() {
            let at = (turn + round) % sources.len();
            let server = serve(sink, &[], work)?;
            let cost = send(sources[at], load, &server, plan.messages, work)?;
            rates[at].push(f64::from(plan.messages) / cost.wall_s);
            costs[at].push(cost.cpu_s * 1e6 / f64::from(plan.messages));
            eprintln!(
                "  {}, {:?}: {:.0} a second, {:.1} us",
                describe(load),
                sources[at],
                rates[at][round],
                costs[at][round]
            );
        }
    }
    Ok((rates, costs))
}

fn send(source: Source, how: Load, server: &Server, messages: u32, work: &Path) -> Result<Cost> {
    if source == Source::Postfix {
        let args = smtp_source(how, server, messages);
        let what = Measured { args, env: Vec::new(), dir: work.to_owned() };
        return Ok(measure::run(what, &logs(work)?, LIMIT)?.0);
    }
    let a_connection = if how.is_reused { REUSED } else { 1 };
    let waiting = if source == Source::Waiting { "--no-pipelining" } else { "" };
    let options = format!(
        "--closed {} --messages {messages} --messages-per-connection {a_connection} --plain --size {SIZE_BYTES} {waiting}",
        how.sessions
    );
    let (cost, document) = load(server, &options, LIMIT, work)?;
    ensure_accepted(&document, u64::from(messages))?;
    Ok(cost)
}

fn table<'r>(title: &str, rows: impl Iterator<Item = (&'r str, &'r Values)>, text: &mut String) {
    let _ = write!(
        text,
        "### {title}\n\n| | smtp-source | mailrig, each reply awaited | of smtp-source | mailrig, pipelined | of smtp-source |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for (what, values) in rows {
        let ratio = |at: usize| median(&values[at]) / median(&values[0]);
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {:.2} | {} | {:.2} |",
            spread(&values[0]),
            spread(&values[1]),
            ratio(1),
            spread(&values[2]),
            ratio(2),
        );
    }
    text.push('\n');
}

/// Of any one run.
const LIMIT: Duration = Duration::from_secs(600);

/// More than any session sends.
pub(super) const REUSED: u64 = 1_000_000_000;

/// What smtp-source sends for a text of 4,096 bytes has a head, too; ours is counted with it and must not be smaller.
pub(super) const SIZE_BYTES: u32 = 4224;
