//! `load replay`: the arrivals that a mail log shows become the plan, and their sizes and recipients those of messages.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use anyhow::{Context, Result};
use load::plan::{Plan, Trace};

use super::args::ReplayArgs;

/// What a log shows.
pub(super) struct Replay {
    pub(super) plan: Plan,
    pub(super) trace: Arc<Trace>,
}

pub(super) fn read(args: &ReplayArgs) -> Result<Replay> {
    let path = args.log.display();
    let file = File::open(&args.log).with_context(|| format!("cannot read {path}"))?;
    let trace = Trace::read(BufReader::new(file)).with_context(|| format!("in {path}"))?;
    let trace = Arc::new(trace);
    Ok(Replay { plan: Plan::of_trace(Arc::clone(&trace), args.speed)?, trace })
}
