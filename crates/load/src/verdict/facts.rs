//! What is known of a run, and how each thing that can be asked about follows from it.

use std::time::Duration;

use serde::Serialize;

use super::{Context, Health, Judged, Metric, Objective, Statistic, Unit, text};
use crate::measure::{Kind, Measures};
use crate::queue::Slope;

/// What a run is judged from; warm-up apart.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// How long things took.
    pub measures: &'a Measures,
    /// Messages that the plan had.
    pub offered: u64,
    /// Of them, those with a final 2xx.
    pub accepted: u64,
    /// Those finally refused.
    pub refused: u64,
    /// Those that got no complete final reply.
    pub unknown: u64,
    /// Those that could not start.
    pub not_started: u64,
    /// How long the server took to answer them all, from the first planned start; not zero.
    pub elapsed: Duration,
    /// What became of the accepted, where somebody looked.
    pub delivery: Option<Delivery>,
    /// The server's queue, where somebody looked.
    pub queue: Option<Queue>,
    /// How the generator did.
    pub health: &'a Health,
}

/// What was found wrong with the mail that was accepted, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Accepted, and not found.
    pub lost: u64,
    /// Found more than once.
    pub doubled: u64,
    /// Found, and not as sent.
    pub corrupted: u64,
}

/// The server's queue over a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Queue {
    /// Messages at most.
    pub max: u64,
    /// How it changed; `None` if there were too few samples to tell.
    pub slope: Option<Slope>,
}

impl Facts<'_> {
    pub(super) fn judge(&self, objective: &Objective) -> Judged {
        let actual = self.actual(objective).filter(|actual| actual.is_finite());
        Judged {
            objective: objective.text.clone(),
            asked: objective.asked,
            actual,
            actual_text: actual.map_or_else(
                || "not measured".to_owned(),
                |actual| text::value(actual, objective.unit),
            ),
            unit: objective.unit,
            is_met: actual.map(|actual| objective.is_met_by(actual)),
        }
    }

    /// In the objective's unit.
    fn actual(&self, objective: &Objective) -> Option<f64> {
        let count = |messages: u64| match objective.unit {
            Unit::Percent => self.percent(messages),
            _ => Some(messages as f64),
        };
        match objective.metric {
            Metric::Time(kind, statistic) => self.time_us(kind, statistic),
            Metric::Errors => {
                let failed = self.refused.saturating_add(self.unknown);
                count(failed.saturating_add(self.not_started))
            }
            Metric::NotStarted => count(self.not_started),
            Metric::Accepted => count(self.accepted),
            Metric::Rate => Some(self.accepted as f64 / self.elapsed.as_secs_f64()),
            Metric::Lost => self.delivery.map(|delivery| delivery.lost as f64),
            Metric::Doubled => self.delivery.map(|delivery| delivery.doubled as f64),
            Metric::Corrupted => self.delivery.map(|delivery| delivery.corrupted as f64),
            Metric::Queue => self.queue.map(|queue| queue.max as f64),
            Metric::QueueSlope => {
                let slope = self.queue?.slope?;
                Some(if slope.is_growing { slope.per_s } else { slope.per_s.min(0.0) })
            }
        }
    }

    fn time_us(&self, kind: Kind, statistic: Statistic) -> Option<f64> {
        let times = self.measures.get(kind).filter(|times| !times.is_empty())?;
        Some(match statistic {
            Statistic::Quantile(share) => times.value_at_quantile(share) as f64,
            Statistic::Max => times.max() as f64,
            Statistic::Mean => times.mean(),
        })
    }

    fn percent(&self, messages: u64) -> Option<f64> {
        (self.offered > 0).then(|| messages as f64 / self.offered as f64 * 100.0)
    }

    pub(super) fn context(&self) -> Context {
        let us = |kind, share| {
            let us = self.time_us(kind, Statistic::Quantile(share));
            us.map(|us| us as u64)
        };
        Context {
            response_p50_us: us(Kind::Response, 0.5),
            service_p50_us: us(Kind::Service, 0.5),
            queue_wait_p99_us: us(Kind::QueueWait, 0.99),
            not_started: self.not_started,
        }
    }

    pub(super) fn nothing_accepted(&self) -> String {
        let Self { offered, refused, unknown, not_started, .. } = self;
        if *offered == 0 {
            return "no message that counts was sent".to_owned();
        }
        format!(
            "none of {offered} messages was accepted: {refused} were refused or put off, {unknown} \
             got no final reply, {not_started} did not start"
        )
    }
}
