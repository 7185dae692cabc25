//! When to send: a plan from a rate, a profile or a trace, or none where sessions send as they are free.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use load::engine::Pace;
use load::plan::{Plan, Profile, Shape, Spacing, Stage};
use load::result::Shard;

use super::usage;
use crate::commands::load::args::RunArgs;
use crate::exit::UsageError;

/// What a profile says beside its plan.
#[derive(Default)]
pub(super) struct Advised {
    pub(super) retry: Option<Vec<Duration>>,
    pub(super) connections: Option<usize>,
    pub(super) messages_per_connection: Option<u64>,
}

/// What says how long a run is must say something, and something that is not said already.
pub(in crate::commands::load) fn check_length(args: &RunArgs, is_trace: bool) -> Result<()> {
    if args.messages == Some(0) {
        return usage("--messages: expected 1 or more");
    }
    if args.duration.is_some_and(|duration| duration.is_zero()) {
        return usage("--for: expected more than 0, such as 1m");
    }
    if is_trace && (args.duration.is_some() || args.warmup.is_some() || args.poisson) {
        return usage(
            "replay has its times from the log: --for, --warmup and --poisson are for --rate; --messages cuts it short",
        );
    }
    Ok(())
}

pub(in crate::commands::load) fn plan(
    args: &RunArgs,
    trace: Option<Plan>,
) -> Result<(Option<Plan>, Advised)> {
    let mut advised = Advised::default();
    let plan = match (&trace, &args.profile, args.rate) {
        (Some(_), None, None) if is_left_to_the_plan(args) => trace,
        (Some(_), ..) => {
            return usage(
                "replay has its plan from the log: --rate, --poisson, --for, --warmup, --profile, \
                 --find-limit and --closed have others",
            );
        }
        (None, Some(path), _) => {
            let profile = read_profile(path)?;
            advised.retry = profile.retry.clone();
            advised.connections = profile.connections.map(|count| count as usize);
            advised.messages_per_connection = profile.messages_per_connection.map(u64::from);
            let plan = profile.plan(args.seed).with_context(|| format!("in {}", path.display()))?;
            Some(plan)
        }
        (None, None, Some(per_s)) => Some(constant(args, per_s)?),
        (None, None, None) if args.closed.is_some() || args.find_limit => None,
        (None, None, None) => {
            return usage(
                "how much is to be sent? Give a --rate such as 200/s, a --profile, --find-limit, or --closed",
            );
        }
    };
    Ok((plan.map(|plan| args.messages.map_or(plan.clone(), |most| plan.limited(most))), advised))
}

fn is_left_to_the_plan(args: &RunArgs) -> bool {
    let is_other = args.closed.is_some() || args.find_limit || args.poisson;
    !is_other && args.duration.is_none() && args.warmup.is_none()
}

/// At one rate: for as long as was said, or until all messages have begun.
fn constant(args: &RunArgs, per_s: f64) -> Result<Plan> {
    let enough = |messages: u64| Duration::try_from_secs_f64((messages as f64 + 1.0) / per_s);
    let duration = match (args.duration, args.messages) {
        (Some(duration), _) => duration,
        // At random some need longer than on average.
        (None, Some(messages)) => {
            let enough = enough(messages).map_err(|_| {
                UsageError(format!(
                    "{messages} messages at {per_s}/s take longer than any clock runs"
                ))
            })?;
            if args.poisson { enough * 2 + Duration::from_secs(60) } else { enough }
        }
        (None, None) => Duration::from_secs(60),
    };
    let spacing = if args.poisson { Spacing::Poisson } else { Spacing::Even };
    steady(per_s, args.warmup.unwrap_or_default(), duration, spacing, args.seed)
}

/// A plan of one rate, with a warm-up before it.
pub(in crate::commands::load) fn steady(
    per_s: f64,
    warmup: Duration,
    duration: Duration,
    spacing: Spacing,
    seed: u64,
) -> Result<Plan> {
    let shape = Shape::Constant { per_s };
    let main = Stage { name: "constant".into(), duration, shape, is_warmup: false };
    let mut stages = Vec::new();
    if !warmup.is_zero() {
        stages.push(Stage {
            name: "warm-up".into(),
            duration: warmup,
            is_warmup: true,
            ..main.clone()
        });
    }
    stages.push(main);
    Ok(Plan::new(stages, spacing, seed).map_err(|e| UsageError(e.to_string()))?)
}

fn read_profile(path: &Path) -> Result<Profile> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Profile::parse(&path.display().to_string(), &text)?)
}

pub(in crate::commands::load) fn pace(
    args: &RunArgs,
    plan: Option<&Plan>,
    shard: Option<Shard>,
) -> Pace {
    match (plan, shard) {
        (Some(plan), None) => Pace::Open(plan.clone()),
        (Some(plan), Some(Shard { index, count })) => Pace::Open(plan.shard(index, count)),
        (None, _) => Pace::Closed {
            messages: args.messages,
            duration: match (args.duration, args.messages) {
                (None, None) => Some(Duration::from_secs(60)),
                (duration, _) => duration,
            },
            warmup: args.warmup.unwrap_or_default(),
        },
    }
}
