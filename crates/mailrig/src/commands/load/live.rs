//! The line that shows how a run goes, on a terminal.

use std::time::Duration;

use load::engine::{Pace, Row, Settings};
use load::measure::Kind;

use super::series::Line as Interval;
use crate::ui::{Line, Ui, count, duration, micros};

/// Shows a run until it is dropped.
pub(super) struct Live {
    line: Line,
    title: String,
    length: Option<Duration>,
    accepted: u64,
    others: u64,
}

impl Live {
    pub(super) fn new(ui: &Ui, settings: &Settings, title: &str) -> Self {
        let length = match &settings.pace {
            Pace::Open(plan) => Some(plan.duration()),
            Pace::Closed { duration, warmup, .. } => duration.map(|length| length + *warmup),
        };
        Self { line: ui.line(), title: title.to_owned(), length, accepted: 0, others: 0 }
    }

    pub(super) fn show(&mut self, row: &Row<'_>, interval: &Interval) {
        let mut per_interval = 0;
        for side in [&row.slice.main, &row.slice.warmup] {
            let counts = &side.counts;
            per_interval += counts.accepted;
            self.others += counts.refused + counts.deferred + counts.failed + counts.unknown;
        }
        self.accepted += per_interval;
        let now = row.start + row.length;
        let left = match self.length.map(|length| length.saturating_sub(now)) {
            Some(left) if left.is_zero() => ", waiting for what is under way".to_owned(),
            Some(left) => format!(", left {}", duration(left)),
            None => String::new(),
        };
        let p99 = row.slice.main.measures.value_at(Kind::Response, 0.99);
        let p99 = p99.map(|us| format!("  p99 {}", micros(us))).unwrap_or_default();
        let asked = interval.asked_per_s.map(|rate| format!(" of {rate:.0}")).unwrap_or_default();
        let queue = interval.queue.map(|depth| format!("  queue {}", count(depth)));
        self.line.show(&format!(
            "{}{} accepted  {:.0}{asked}/s{p99}  {} not{}  {}{left}",
            self.title,
            count(self.accepted),
            per_interval as f64 / row.length.as_secs_f64().max(1e-3),
            count(self.others),
            queue.unwrap_or_default(),
            duration(now),
        ));
    }
}
