//! `load replay`: the arrivals that a mail log shows become the plan.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use anyhow::{Context, Result};
use load::plan::{Plan, Trace};

use super::args::ReplayArgs;

pub(super) fn plan(args: &ReplayArgs) -> Result<Plan> {
    let path = args.log.display();
    let file = File::open(&args.log).with_context(|| format!("cannot read {path}"))?;
    let trace = Trace::read(BufReader::new(file)).with_context(|| format!("in {path}"))?;
    Ok(Plan::of_trace(Arc::new(trace), args.speed)?)
}
