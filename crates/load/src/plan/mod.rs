//! The arrival plan: when each message is to start, made from a seed before the first byte is sent. Arrivals stand
//! where the expected count, the integral of the rate, reaches a number: k + 0.5 when they are even, a sum of
//! exponential draws when they are Poisson. So one rule makes every shape, and the halves keep counts exact.

mod arrivals;
mod profile;
mod quantity;
mod shape;
mod stamp;
#[cfg(test)]
mod tests;
mod trace;
mod trace_lines;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use self::arrivals::Arrivals;
pub use self::profile::{BadProfile, Profile};
pub use self::quantity::{BadQuantity, parse_duration, parse_rate};
pub use self::shape::Shape;
use self::shape::{FASTEST_PER_S, Piece};
pub use self::trace::{BadTrace, Trace, TraceArrival};

/// One planned start of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the whole plan, from 0; a shard keeps it.
    pub index: u64,
    /// From the start of the plan.
    pub at: Duration,
    /// Which stage it belongs to.
    pub stage: u16,
}

/// A time with one shape of rate. In a profile it is a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What people call it.
    pub name: String,
    /// How long it lasts.
    pub duration: Duration,
    /// How its rate runs.
    pub shape: Shape,
    /// Whether what happens in it is left out of the result.
    pub is_warmup: bool,
}

/// How arrivals lie within the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// As far apart as the rate says.
    Even,
    /// By chance, as from many senders who know nothing of one another.
    Poisson,
}

/// When messages are to start. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of all shards.
    whole: Arc<Whole>,
    /// Arrivals that are not warm-up.
    limit: Option<u64>,
    /// Which shard, of how many.
    shard: (u64, u64),
}

#[derive(Debug)]
struct Whole {
    stages: Vec<Stage>,
    source: Source,
    duration: Duration,
    warmup: Duration,
}

#[derive(Debug)]
enum Source {
    Rates { pieces: Vec<PlacedPiece>, spacing: Spacing, seed: u64 },
    Trace { trace: Arc<Trace>, speed: f64 },
}

/// A piece where it stands in the plan.
#[derive(Debug, Clone, Copy)]
struct PlacedPiece {
    piece: Piece,
    stage: u16,
    /// From the start of the plan.
    start: Duration,
    /// Arrivals expected before it, and before its end.
    before: f64,
    until: f64,
}

/// A plan that cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadPlan {
    /// No stages, or nothing but warm-up.
    #[error("a plan needs at least one phase that is not warm-up")]
    NoStages,
    /// More stages than a result can show.
    #[error("{0} phases are too many: a plan has up to 1000")]
    TooManyStages(usize),
    /// A shape that makes no sense in its stage.
    #[error("phase `{0}`: {1}")]
    Stage(String, &'static str),
    /// A year and more.
    #[error("the plan lasts longer than 366 days: shorten a phase, or replay faster")]
    TooLong,
    /// Nothing would be sent.
    #[error("the plan has no arrivals: raise the rate or the duration")]
    NoArrivals,
    /// No factor.
    #[error("a speed of {0} is no factor: it is above 0, and up to 1000000")]
    Speed(f64),
    /// A trace that was changed after it was read.
    #[error("the trace is not in order of time: sort its arrivals")]
    Disorder,
}

impl Stage {
    /// A warm-up to stand before `first`, at the rate that it begins with.
    pub fn warmup(first: &Stage, duration: Duration) -> Stage {
        let per_s = first.shape.per_s_at(Duration::ZERO, first.duration);
        let shape = Shape::Constant { per_s };
        Stage { name: "warm-up".into(), duration, shape, is_warmup: true }
    }
}

impl Plan {
    /// Stages that follow one another; warm-up comes first.
    pub fn new(stages: Vec<Stage>, spacing: Spacing, seed: u64) -> Result<Plan, BadPlan> {
        if stages.len() > MOST_STAGES {
            return Err(BadPlan::TooManyStages(stages.len()));
        }
        stages.iter().try_for_each(check)?;
        let after_warmup = stages.iter().skip_while(|stage| stage.is_warmup);
        if let Some(late) = after_warmup.clone().find(|stage| stage.is_warmup) {
            return Err(BadPlan::Stage(late.name.clone(), "warm-up comes before the other phases"));
        }
        if after_warmup.clone().next().is_none() {
            return Err(BadPlan::NoStages);
        }
        let sum = |sum: Duration, stage: &Stage| sum.checked_add(stage.duration);
        let duration = stages.iter().try_fold(Duration::ZERO, sum);
        let duration = duration.filter(|all| *all <= LONGEST).ok_or(BadPlan::TooLong)?;
        let warmup = stages.iter().filter(|stage| stage.is_warmup).map(|stage| stage.duration);
        let warmup = warmup.sum();
        let source = Source::Rates { pieces: place(&stages), spacing, seed };
        Plan::of_whole(Whole { stages, source, duration, warmup })
    }

    /// The arrivals of a mail log, `speed` times as fast: arrival k of the plan is the trace's k-th.
    pub fn of_trace(trace: Arc<Trace>, speed: f64) -> Result<Plan, BadPlan> {
        if !(speed > 0.0 && speed <= FASTEST_SPEED) {
            return Err(BadPlan::Speed(speed));
        }
        if !trace.arrivals.is_sorted_by_key(|arrival| arrival.at) {
            return Err(BadPlan::Disorder);
        }
        let last = trace.arrivals.last().ok_or(BadPlan::NoArrivals)?.at;
        // The log tells full seconds: its last one belongs to it.
        let end = Duration::from_secs(last.as_secs().saturating_add(1));
        let duration = faster(end, speed).filter(|all| *all <= LONGEST).ok_or(BadPlan::TooLong)?;
        let shape = Shape::Trace { count: trace.arrivals.len() as u64, speed };
        let stages = vec![Stage { name: "trace".into(), duration, shape, is_warmup: false }];
        let source = Source::Trace { trace, speed };
        Plan::of_whole(Whole { stages, source, duration, warmup: Duration::ZERO })
    }

    fn of_whole(whole: Whole) -> Result<Plan, BadPlan> {
        let plan = Plan { whole: Arc::new(whole), limit: None, shard: (0, 1) };
        if plan.has_arrivals() { Ok(plan) } else { Err(BadPlan::NoArrivals) }
    }

    /// Whether anything arrives after the warm-up. Of many Poisson arrivals it is not asked whether chance leaves
    /// out all: making them takes long, and it does not.
    fn has_arrivals(&self) -> bool {
        let Source::Rates { pieces, spacing, .. } = &self.whole.source else { return true };
        let (warmup, all) = (self.warmup_count(), pieces.last().map_or(0.0, |last| last.until));
        match spacing {
            // Half-way cases round as the arrivals do: one at the very end of a piece is in the next.
            Spacing::Even => (all - 0.5).ceil() > (warmup - 0.5).ceil(),
            Spacing::Poisson if all > WALKED => all > warmup,
            Spacing::Poisson => self.arrivals().any(|arrival| !self.is_warmup(arrival.stage)),
        }
    }

    /// Arrivals expected in the warm-up.
    fn warmup_count(&self) -> f64 {
        let Source::Rates { pieces, .. } = &self.whole.source else { return 0.0 };
        let last = pieces.iter().rfind(|placed| self.is_warmup(placed.stage));
        last.map_or(0.0, |placed| placed.until)
    }

    /// The plan up to so many arrivals that are not warm-up, counted over all shards.
    pub fn limited(&self, messages: u64) -> Plan {
        let limit = Some(self.limit.map_or(messages, |limit| limit.min(messages)));
        Plan { limit, ..self.clone() }
    }

    /// The arrivals of the whole plan whose index leaves `i` when divided by `n`. They keep index and time. There
    /// are none where `i` is not below `n`.
    pub fn shard(&self, i: u64, n: u64) -> Plan {
        Plan { shard: (i, n.max(1)), ..self.clone() }
    }

    /// Which part of the whole plan's arrivals these are.
    pub fn share(&self) -> f64 {
        1.0 / self.shard.1 as f64
    }

    /// All arrivals in order of time, each made when it is asked for.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals::new(self)
    }

    /// How long it lasts. Of a plan with a limit, up to when so many are expected.
    pub fn duration(&self) -> Duration {
        let whole = self.whole.duration;
        let Some(limit) = self.limit else { return whole };
        match &self.whole.source {
            Source::Rates { pieces, .. } => {
                let count = self.warmup_count() + limit as f64;
                let placed = pieces.iter().find(|placed| count <= placed.until);
                placed.map_or(whole, |placed| placed.time_of(count).min(whole))
            }
            Source::Trace { trace, speed } => {
                let next = usize::try_from(limit).ok().and_then(|next| trace.arrivals.get(next));
                next.and_then(|next| faster(next.at, *speed)).unwrap_or(whole)
            }
        }
    }

    /// How much of it, from its start, is warm-up.
    pub fn warmup(&self) -> Duration {
        self.whole.warmup
    }

    /// The stages in order; of a trace one.
    pub fn stages(&self) -> &[Stage] {
        &self.whole.stages
    }

    /// Whether what arrives in this stage is left out of the result.
    pub fn is_warmup(&self, stage: u16) -> bool {
        self.stages().get(usize::from(stage)).is_some_and(|stage| stage.is_warmup)
    }

    /// The rate of all shards that is planned at a time from the start; zero after the end. Of a trace the mean
    /// over the ten seconds around it.
    pub fn per_s_at(&self, at: Duration) -> f64 {
        match &self.whole.source {
            Source::Rates { pieces, .. } => {
                let after = pieces.partition_point(|placed| placed.start <= at);
                let placed = after.checked_sub(1).and_then(|before| pieces.get(before));
                placed.map_or(0.0, |placed| placed.piece.per_s_at(at - placed.start))
            }
            Source::Trace { trace, speed } => {
                let until = |at: Duration| {
                    let is_before = |arrival: &TraceArrival| {
                        faster(arrival.at, *speed).is_some_and(|then| then < at)
                    };
                    trace.arrivals.partition_point(is_before)
                };
                let from = at.saturating_sub(TRACE_WINDOW / 2);
                let to = at.saturating_add(TRACE_WINDOW / 2).min(self.whole.duration);
                let length = to.saturating_sub(from).as_secs_f64();
                if length > 0.0 { (until(to) - until(from)) as f64 / length } else { 0.0 }
            }
        }
    }

    /// The highest rate of all shards: of a trace, over any second; of rates, as a fine grid over each piece finds it.
    pub fn peak_per_s(&self) -> f64 {
        match &self.whole.source {
            Source::Rates { pieces, .. } => {
                let ends = pieces.iter().skip(1).map(|placed| placed.start);
                let ends = ends.chain([self.whole.duration]);
                let rates = pieces.iter().zip(ends).flat_map(|(placed, end)| {
                    let step = end.saturating_sub(placed.start) / GRID;
                    (0..=GRID).map(move |at| placed.piece.per_s_at(step * at))
                });
                rates.fold(0.0, f64::max)
            }
            Source::Trace { trace, speed } => {
                let (mut first, mut most) = (0, 0);
                for (at, arrival) in trace.arrivals.iter().enumerate() {
                    let second = Duration::from_secs_f64(*speed);
                    while arrival.at.saturating_sub(trace.arrivals[first].at) >= second {
                        first += 1;
                    }
                    most = most.max(at + 1 - first);
                }
                most as f64
            }
        }
    }

    /// SHA-256 in hex of all that makes the plan: equal for its shards, different for other plans.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let limit = self.limit.map_or("none".into(), |limit| limit.to_string());
        hash.update(format!("mailrig plan 1\nlimit {limit}\n"));
        match &self.whole.source {
            Source::Rates { spacing, seed, .. } => {
                hash.update(format!("spacing {spacing:?}\nseed {seed}\n"));
                for stage in self.stages() {
                    hash.update(format!("{stage:?}\n"));
                }
            }
            Source::Trace { trace, speed } => {
                hash.update(format!("speed {speed:?}\n"));
                for TraceArrival { at, size_bytes, recipients } in &trace.arrivals {
                    hash.update(format!("{} {size_bytes:?} {recipients}\n", at.as_nanos()));
                }
            }
        }
        hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl PlacedPiece {
    /// When so many arrivals are expected, from the start of the plan.
    fn time_of(&self, count: f64) -> Duration {
        self.start.saturating_add(self.piece.time_of(count - self.before))
    }
}

fn check(stage: &Stage) -> Result<(), BadPlan> {
    let fault = match stage.duration {
        Duration::ZERO => Some("it has no duration"),
        duration if duration > LONGEST => return Err(BadPlan::TooLong),
        duration => stage.shape.fault(duration),
    };
    fault.map_or(Ok(()), |fault| Err(BadPlan::Stage(stage.name.clone(), fault)))
}

/// Those in which nothing arrives are kept: their time passes all the same.
fn place(stages: &[Stage]) -> Vec<PlacedPiece> {
    let (mut start, mut before) = (Duration::ZERO, 0.0);
    let mut pieces = Vec::new();
    for (stage, number) in stages.iter().zip(0..) {
        for piece in stage.shape.pieces(stage.duration) {
            let until = before + piece.expected();
            let start = start + piece.start;
            pieces.push(PlacedPiece { piece, stage: number, start, before, until });
            before = until;
        }
        start += stage.duration;
    }
    pieces
}

/// None where a duration cannot be so long.
fn faster(at: Duration, speed: f64) -> Option<Duration> {
    // As it is, to the nanosecond.
    if speed == 1.0 { Some(at) } else { Duration::try_from_secs_f64(at.as_secs_f64() / speed).ok() }
}

/// Points of a piece that are looked at for its peak.
const GRID: u32 = 256;

const MOST_STAGES: usize = 1000;
/// Counts stay far below 2^53, up to which a float tells every number from the next.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
const FASTEST_SPEED: f64 = 1e6;
/// Poisson plans that are made once to see whether they are empty.
const WALKED: f64 = 10_000.0;
const TRACE_WINDOW: Duration = Duration::from_secs(10);
