//! What a search for the highest rate that holds is told, and what it finds.

mod search;

use serde::Serialize;

pub use search::{BadSearch, Search};

/// One try of one rate, as it was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The rate that was asked for, arrivals per second; that of [`Search::next`].
    pub asked_per_s: f64,
    /// Accepted messages per second.
    pub achieved_per_s: f64,
    /// Whether it held.
    pub outcome: Outcome,
    /// Median response time, microseconds.
    pub p50_us: Option<u64>,
    /// Response time that 99 % stay within, microseconds.
    pub p99_us: Option<u64>,
    /// Share of the offered that failed, percent.
    pub errors_percent: f64,
    /// Growth of the server's queue, messages per second.
    pub queue_per_s: Option<f64>,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Outcome {
    /// Every objective was met.
    Held,
    /// An objective was missed.
    Broke {
        /// Which one, and by how much.
        reason: String,
    },
    /// The generator did not make the rate: nothing was learnt about the server.
    Invalid {
        /// What it lacked.
        reason: String,
    },
}

/// A rate and what was wrong there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct At {
    /// Arrivals per second.
    pub per_s: f64,
    /// What was wrong.
    pub reason: String,
}

/// What a search found; while it goes on, what it found so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// The highest rate that held, arrivals per second.
    pub highest_held_per_s: Option<f64>,
    /// The lowest rate that broke.
    pub first_broken: Option<At>,
    /// Where and why the generator was the limit, if it was.
    pub limited_by_generator: Option<At>,
    /// Why there is no further step.
    pub ended: Ended,
    /// Every try, by rate; tries of one rate in their order.
    pub curve: Vec<Step>,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// What held and what broke are as near to each other as was asked.
    Narrowed,
    /// The highest rate that was allowed held: the limit is above.
    ReachedMax,
    /// Not even a small part of the first rate held.
    ReachedFloor,
    /// The generator could not make the rate.
    LimitedByGenerator,
    /// As many steps as there may be; only tries of other rates than those asked for lead here.
    TooManySteps,
    /// It has not: it was stopped.
    Unfinished,
}
