//! Arrivals one after another, each made when it is asked for: a plan of a year takes no more memory than one of a
//! second. A shard makes those of the others too and passes over them, so that chance falls the same way for all.

use std::sync::Arc;
use std::time::Duration;

use super::{Arrival, Plan, Source, Spacing, Whole, faster};
use crate::random::Random;

/// The arrivals of a plan in order of time.
#[derive(Debug, Clone)]
pub struct Arrivals {
    whole: Arc<Whole>,
    /// Arrivals that are not warm-up and may still come, of all shards.
    left: u64,
    shard: (u64, u64),
    /// Index of the next.
    index: u64,
    /// Where it falls among the expected arrivals.
    count: f64,
    random: Random,
    /// The piece it may be in, or a later one is it.
    piece: usize,
    last: Duration,
}

impl Arrivals {
    pub(super) fn new(plan: &Plan) -> Self {
        let seed = match plan.whole.source {
            Source::Rates { seed, .. } => seed,
            Source::Trace { .. } => 0,
        };
        Self {
            whole: plan.whole.clone(),
            left: plan.limit.unwrap_or(u64::MAX),
            shard: plan.shard,
            index: 0,
            count: 0.0,
            random: Random::new(seed, STREAM),
            piece: 0,
            last: Duration::ZERO,
        }
    }

    /// The next of all shards.
    fn step(&mut self) -> Option<Arrival> {
        if self.left == 0 {
            return None;
        }
        let (at, stage) = self.place()?;
        let stages = &self.whole.stages;
        let is_warmup = stages.get(usize::from(stage)).is_some_and(|stage| stage.is_warmup);
        self.left -= u64::from(!is_warmup);
        // Formulas may be wrong in their last bit; an order must not be.
        self.last = self.last.max(at);
        let arrival = Arrival { index: self.index, at: self.last, stage };
        self.index += 1;
        Some(arrival)
    }

    fn place(&mut self) -> Option<(Duration, u16)> {
        match &self.whole.source {
            Source::Rates { pieces, spacing, .. } => {
                match spacing {
                    // The half keeps the count exact: sums of rates that end just below or above a whole number
                    // have as many arrivals as that number.
                    Spacing::Even => self.count = self.index as f64 + 0.5,
                    Spacing::Poisson => self.count += self.random.exponential(),
                }
                while pieces.get(self.piece)?.until <= self.count {
                    self.piece += 1;
                }
                let placed = pieces.get(self.piece)?;
                Some((placed.time_of(self.count), placed.stage))
            }
            Source::Trace { trace, speed } => {
                let arrival = trace.arrivals.get(usize::try_from(self.index).ok()?)?;
                Some((faster(arrival.at, *speed)?, 0))
            }
        }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        // A shard that does not exist would look for its arrivals to the end.
        while self.shard.0 < self.shard.1 {
            let arrival = self.step()?;
            if arrival.index % self.shard.1 == self.shard.0 {
                return Some(arrival);
            }
        }
        None
    }
}

/// Messages have the streams of their index, from 0 up.
const STREAM: u64 = u64::MAX;
