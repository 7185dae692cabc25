//! `control`: asks a running `serve`, and tells it.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use smtp::server::{Counts, Reply, Request, Waiting, ask};

use crate::exit::Exit;
use crate::time::local_minute;
use crate::ui::{Ui, count, plural, table};

/// Ask or tell a running `mailrig serve`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mailrig control /run/ctl counts                what has happened so far
  mailrig control /run/ctl rules faults.toml     other faults from now on; an empty file: none
  mailrig control /run/ctl flush                 try now what waits to be handed on")]
pub(crate) struct ControlArgs {
    /// What the server was given as --control
    #[arg(value_name = "SOCKET")]
    socket: PathBuf,
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// What has happened so far
    Counts,
    /// What waits to be handed on
    Queue,
    /// Try now what waits to be handed on
    Flush,
    /// Follow the rules of this file from now on, and no others
    Rules {
        /// TOML; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Stop, as by SIGTERM
    Stop,
}

#[derive(Default, Serialize)]
struct ControlReport {
    counts: Option<Counts>,
    /// Messages that wait, or are tried now, if that was asked.
    waiting: Option<usize>,
    oldest: Vec<Waiting>,
    /// Rules that are followed, if they were changed.
    rules: Option<usize>,
}

pub(crate) fn run(args: &ControlArgs, ui: &Ui) -> Result<Exit> {
    let request = match &args.order {
        Order::Counts => Request::Counts,
        Order::Queue => Request::Queue,
        Order::Flush => Request::Flush,
        Order::Rules { file } => Request::Rules { toml: read(file)? },
        Order::Stop => Request::Stop,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(ask(&args.socket, &request)).with_context(|| {
        format!("cannot ask the server at {}; does it run?", args.socket.display())
    })?;
    let (report, text) = match reply {
        Reply::Counts(counts) => {
            (ControlReport { counts: Some(counts), ..ControlReport::default() }, rows(&counts))
        }
        Reply::Queue { total, oldest } => {
            let text = match args.order {
                Order::Flush => format!("It tries {} now\n", plural(total as u64, "message")),
                _ => waiting(total, &oldest),
            };
            (ControlReport { waiting: Some(total), oldest, ..ControlReport::default() }, text)
        }
        Reply::Rules(rules) => {
            let text = format!("It follows {} now\n", plural(rules as u64, "rule"));
            (ControlReport { rules: Some(rules), ..ControlReport::default() }, text)
        }
        Reply::Stopping => {
            let text = "It stops when its sessions have ended the messages that they are at\n";
            (ControlReport::default(), text.into())
        }
        Reply::Error(reason) => bail!("the server refused: {reason}"),
    };
    ui.result("control", &report, || text)?;
    Ok(Exit::Done)
}

fn read(file: &PathBuf) -> Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin()
            .take(1 << 20)
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn rows(counts: &Counts) -> String {
    let rows = [
        ("connections", counts.connections),
        ("turned away", counts.turned_away),
        ("transactions", counts.transactions),
        ("accepted", counts.accepted),
        ("refused", counts.refused),
        ("in doubt", counts.in_doubt),
        ("bytes", counts.bytes),
        ("relayed", counts.relayed),
        ("deferred", counts.deferred),
        ("bounced", counts.bounced),
    ];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(name, number)| vec![(*name).into(), count(*number)]).collect();
    table(&["", "so far"], &rows)
}

fn waiting(total: usize, oldest: &[Waiting]) -> String {
    let row = |waiting: &Waiting| {
        vec![
            local_minute(
                i64::try_from(waiting.since_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000),
            ),
            waiting.id.clone(),
            waiting.to.join(" "),
            waiting.attempts.to_string(),
            waiting.reason.clone(),
        ]
    };
    let mut text = String::new();
    if !oldest.is_empty() {
        let rows: Vec<Vec<String>> = oldest.iter().map(row).collect();
        text = table(&["SINCE", "ID", "TO", "TRIED", "LAST REASON"], &rows);
    }
    let wait = if total == 1 { "waits" } else { "wait" };
    text.push_str(&format!("{} {wait}\n", plural(total as u64, "message")));
    text
}
