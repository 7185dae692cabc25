//! From arguments to what a run needs: everything that can be wrong is found here, before the first byte is sent.

mod messages;
mod plan;
mod sessions;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use load::engine::Settings;
use load::letters::Letters;
use load::own;
use load::plan::Plan;
use load::result::Shard;
use load::safety::{self, Ask};
use load::verdict::Objectives;
use sha2::{Digest, Sha256};

use self::messages::letters;
pub(super) use self::plan::steady;
use self::plan::{check_length, pace, plan};
pub(super) use self::sessions::trust;
use self::sessions::wire;
use super::args::RunArgs;
use super::replay::Replay;
use super::target::{self, Targets};
use crate::exit::UsageError;
use crate::ui::Ui;

/// What a run needs.
pub(super) struct Setup {
    pub(super) settings: Settings,
    pub(super) targets: Targets,
    /// In every message.
    pub(super) run: u64,
    pub(super) letters: Letters,
    pub(super) expect: String,
    pub(super) shard: Option<Shard>,
    /// The plan before it was cut into shards; none in closed mode.
    pub(super) plan: Option<Plan>,
    pub(super) start_at: Option<Timestamp>,
}

pub(super) fn prepare(args: &RunArgs, replay: Option<Replay>, ui: &Ui) -> Result<Setup> {
    let (planned, trace) = replay.map(|replay| (replay.plan, replay.trace)).unzip();
    let shard = args.shard.as_deref().map(str::parse::<Shard>).transpose();
    let shard = shard.map_err(|e| UsageError(format!("--shard: {e}")))?;
    // What is over now is refused before messages are made; what is over then, afterwards.
    args.start_at.map(super::begin).transpose()?;
    let targets = target::find(&args.target, &args.i_own, args.lmtp)?;
    check_length(args, trace.is_some())?;
    let (plan, advised) = plan(args, planned)?;
    let connections = args.closed.or(args.connections).or(advised.connections).unwrap_or(100);
    if connections == 0 {
        let option = if args.closed.is_some() { "--closed" } else { "--connections" };
        return usage(&format!("{option}: expected 1 or more"));
    }
    check_ceiling(args, plan.as_ref(), &targets, connections)?;
    check_descriptors(connections.saturating_add(args.idle_connections), ui)?;
    let messages_per_connection = args.messages_per_connection.or(advised.messages_per_connection);
    if messages_per_connection == Some(0) {
        return usage("--messages-per-connection: expected 1 or more");
    }
    let settings = Settings {
        pace: pace(args, plan.as_ref(), shard),
        wire: wire(args, &targets)?,
        connections,
        messages_per_connection: messages_per_connection.unwrap_or(1),
        idle_connections: args.idle_connections,
        retry: if args.retry.is_empty() {
            advised.retry.unwrap_or_default()
        } else {
            args.retry.clone()
        },
        idle: args.idle,
        drain: args.drain,
        deliver_wait: args.deliver_wait,
        interval: Duration::from_secs(1),
        begin: None,
        workers: args.workers.unwrap_or_else(|| workers(args, &targets, connections)).max(1),
        first_index: 0,
        seed: args.seed,
    };
    let expect = expect(args)?;
    // Last: making messages takes longer than all else.
    let started = args.start_at.unwrap_or_else(Timestamp::now);
    let run = run_id(args, plan.as_ref(), started);
    let letters = letters(args, run, started, trace, ui)?;
    Ok(Setup { settings, targets, run, letters, expect, shard, plan, start_at: args.start_at })
}

/// Few sessions are cheaper on one thread; handshakes of TLS need more.
fn workers(args: &RunArgs, targets: &Targets, connections: usize) -> usize {
    let is_tls = args.tls.is_some() || targets.is_implicit_tls;
    let sessions = if is_tls { 1 } else { SESSIONS_A_THREAD };
    connections.div_ceil(sessions).min(crate::commands::threads())
}

fn usage<T>(reason: &str) -> Result<T> {
    Err(UsageError(reason.to_owned()).into())
}

fn check_ceiling(
    args: &RunArgs,
    plan: Option<&Plan>,
    targets: &Targets,
    connections: usize,
) -> Result<()> {
    let ask = Ask {
        peak_per_s: plan.map(Plan::peak_per_s),
        duration: plan.map(Plan::duration).or(args.duration),
        connections: connections.saturating_add(args.idle_connections) as u64,
    };
    let checked = safety::check_ceiling(&ask, targets.reach, args.yes_really);
    checked.map_err(|e| UsageError(e.to_string()).into())
}

/// Raises the limit of descriptors to the hard one; what is more than that is told before it fails in the middle.
fn check_descriptors(connections: usize, ui: &Ui) -> Result<()> {
    let limit = own::raise_descriptors().context("cannot raise the limit of open files")?;
    let needed = (connections as u64).saturating_add(DESCRIPTORS_BESIDE);
    if needed > limit {
        bail!(
            "{connections} connections need {needed} open files, and this process may have {limit}; \
             raise the hard limit (ulimit -Hn, LimitNOFILE=), or take fewer --connections"
        );
    }
    if needed > limit - limit / 10 {
        ui.warning(format!("{needed} of {limit} open files may be needed: that is nearly all"));
    }
    Ok(())
}

/// The same for all shards of one plan, another one for each other run.
fn run_id(args: &RunArgs, plan: Option<&Plan>, started: Timestamp) -> u64 {
    let digest = plan.map(Plan::digest).unwrap_or_default();
    let own = if args.shard.is_some() { 0 } else { std::process::id() };
    let text = format!("{digest} {} {started} {own}", args.seed);
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn expect(args: &RunArgs) -> Result<String> {
    let text = match &args.expect {
        Some(text) => text.clone(),
        None => Objectives::usual(args.queue.is_some()).to_string(),
    };
    Objectives::parse(&text).map_err(|e| UsageError(format!("--expect: {e}")))?;
    Ok(text)
}

/// That one thread serves without effort.
const SESSIONS_A_THREAD: usize = 64;

/// For logs, libraries, and watchers of mailboxes.
const DESCRIPTORS_BESIDE: u64 = 64;
