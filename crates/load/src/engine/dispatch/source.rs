//! Where arrivals come from: a plan that tells when, or whoever is free, as often as is wanted.

use std::iter::Peekable;
use std::time::{Duration, Instant};

use crate::engine::{Pace, Settings};
use crate::plan::{Arrivals, Plan};

/// Where arrivals come from.
pub(super) enum Source {
    Open { arrivals: Box<Peekable<Arrivals>>, plan: Plan, start: Instant },
    Closed { next: u64, left: u64, warmup_end: Instant, end: Option<Instant> },
}

impl Source {
    pub(super) fn new(pace: &Pace, start: Instant) -> Self {
        match pace {
            Pace::Open(plan) => Source::Open {
                arrivals: Box::new(plan.arrivals().peekable()),
                plan: plan.clone(),
                start,
            },
            Pace::Closed { messages, duration, warmup } => {
                let warmup_end = start + *warmup;
                Source::Closed {
                    next: 0,
                    left: messages.unwrap_or(u64::MAX),
                    warmup_end,
                    end: duration.and_then(|duration| warmup_end.checked_add(duration)),
                }
            }
        }
    }

    pub(super) fn next_at(&mut self) -> Option<Instant> {
        match self {
            Source::Open { arrivals, start, .. } => {
                arrivals.peek().and_then(|arrival| start.checked_add(arrival.at))
            }
            Source::Closed { .. } => {
                let now = Instant::now();
                (!self.is_over(now)).then_some(now)
            }
        }
    }

    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        match self {
            Source::Open { arrivals, .. } => arrivals.peek().is_none(),
            Source::Closed { left, end, .. } => *left == 0 || end.is_some_and(|end| now >= end),
        }
    }

    /// The next that is due: its index, its planned start, and whether it is warm-up.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, Instant, bool)> {
        if self.is_over(now) {
            return None;
        }
        match self {
            Source::Open { arrivals, plan, start } => {
                let is_due = |at: &Instant| *at <= now;
                let arrival = *arrivals.peek()?;
                let at = start.checked_add(arrival.at).filter(is_due)?;
                arrivals.next();
                Some((arrival.index, at, plan.is_warmup(arrival.stage)))
            }
            Source::Closed { next, left, warmup_end, .. } => {
                let (index, is_warmup) = (*next, now < *warmup_end);
                *next += 1;
                *left -= u64::from(!is_warmup);
                Some((index, now, is_warmup))
            }
        }
    }

    pub(super) fn next_index(&mut self) -> Option<u64> {
        match self {
            Source::Open { arrivals, .. } => arrivals.next().map(|arrival| arrival.index),
            Source::Closed { next, .. } => {
                *next += 1;
                Some(*next - 1)
            }
        }
    }
}

/// When a run ends, whatever is left.
pub(super) fn limit(settings: &Settings, start: Instant) -> Instant {
    let length = match &settings.pace {
        Pace::Open(plan) => plan.duration(),
        Pace::Closed { duration, warmup, .. } => duration.unwrap_or(LONGEST) + *warmup,
    };
    start + length.min(LONGEST) + settings.drain
}

/// No run is longer.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
