//! `load compare`: what differs between two results. Worse is what a sender feels: the response time, the rate, and the
//! share of messages that were not accepted; the rest is told, and judged by people.

use anyhow::Result;
use load::measure::{Kind, Measures};
use load::result::{Part, Record};
use serde::Serialize;

use super::args::CompareArgs;
use super::result;
use crate::exit::{Exit, UsageError};
use crate::ui::{Ui, micros, table};

/// The document.
#[derive(Debug, Serialize)]
struct Comparison {
    /// Whether nothing is worse.
    is_no_worse: bool,
    /// Why the two may not be comparable.
    remarks: Vec<String>,
    /// Percentiles, in microseconds.
    times: Vec<Time>,
    /// Messages a second.
    achieved_per_s: Pair,
    /// Share of offered messages that were not accepted, in percent.
    not_accepted_percent: Pair,
}

#[derive(Debug, Serialize)]
struct Time {
    /// Such as `response` or `mail`.
    kind: &'static str,
    /// Such as `p99`.
    percentile: &'static str,
    #[serde(flatten)]
    pair: Pair,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Pair {
    before: f64,
    after: f64,
    /// In percent of before; `None` of nothing.
    change_percent: Option<f64>,
    is_worse: bool,
}

pub(super) fn run(args: &CompareArgs, ui: &Ui) -> Result<Exit> {
    if !(0.0..=1000.0).contains(&args.tolerance) {
        return Err(UsageError("--tolerance: expected 0 to 1000 percent".to_owned()).into());
    }
    let (before, after) = (result::read(&args.before)?, result::read(&args.after)?);
    let comparison = compare(&before, &after, args.tolerance);
    ui.result("load_comparison", &comparison, || text(&comparison))?;
    Ok(if comparison.is_no_worse { Exit::Done } else { Exit::Negative })
}

fn compare(before: &Part, after: &Part, tolerance: f64) -> Comparison {
    let times = times(&before.measures, &after.measures, tolerance);
    let rate = |record: &Record| {
        record.totals.counts.accepted as f64 * 1e6 / record.elapsed_us.max(1) as f64
    };
    let achieved = Pair::new(rate(&before.record), rate(&after.record), |before, after| {
        after < before * (1.0 - tolerance / 100.0)
    });
    let missing = |record: &Record| {
        let offered = record.totals.offered.max(1) as f64;
        100.0 * (1.0 - record.totals.counts.accepted as f64 / offered).max(0.0)
    };
    let not_accepted =
        Pair::new(missing(&before.record), missing(&after.record), |before, after| {
            after > before * (1.0 + tolerance / 100.0) + LEAST_PERCENT
        });
    let is_worse = achieved.is_worse
        || not_accepted.is_worse
        || times.iter().any(|time| time.kind == Kind::Response.name() && time.pair.is_worse);
    Comparison {
        is_no_worse: !is_worse,
        remarks: remarks(&before.record, &after.record),
        times,
        achieved_per_s: achieved,
        not_accepted_percent: not_accepted,
    }
}

fn times(before: &Measures, after: &Measures, tolerance: f64) -> Vec<Time> {
    let mut times = Vec::new();
    for kind in Kind::ALL {
        for (percentile, quantile) in PERCENTILES {
            let at = |measures: &Measures| measures.value_at(kind, quantile);
            let (Some(before), Some(after)) = (at(before), at(after)) else { continue };
            let pair = Pair::new(before as f64, after as f64, |before, after| {
                after > before * (1.0 + tolerance / 100.0) && after - before > LEAST_US
            });
            times.push(Time { kind: kind.name(), percentile, pair });
        }
    }
    times
}

impl Pair {
    fn new(before: f64, after: f64, is_worse: impl Fn(f64, f64) -> bool) -> Self {
        let change_percent = (before > 0.0).then(|| 100.0 * (after - before) / before);
        Self { before, after, change_percent, is_worse: is_worse(before, after) }
    }

    fn change(&self) -> String {
        self.change_percent.map(|change| format!("{change:+.1} %")).unwrap_or_default()
    }
}

fn remarks(before: &Record, after: &Record) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut differ = |what: &str, is_same: bool| {
        if !is_same {
            remarks.push(format!("{what} differ: what is compared is not the server alone"));
        }
    };
    differ("plans", before.plan.digest == after.plan.digest);
    differ("modes", before.mode == after.mode);
    differ("limits of connections", {
        before.generator.connections_limit == after.generator.connections_limit
    });
    if before.is_interrupted || after.is_interrupted {
        remarks.push("one of the runs was interrupted".to_owned());
    }
    remarks
}

fn text(comparison: &Comparison) -> String {
    let mut rows = Vec::new();
    for time in &comparison.times {
        let Pair { before, after, is_worse, .. } = time.pair;
        rows.push(vec![
            format!("{} {}", time.kind, time.percentile),
            micros(before as u64),
            micros(after as u64),
            time.pair.change(),
            if is_worse { "worse".to_owned() } else { String::new() },
        ]);
    }
    for (what, pair, unit) in [
        ("accepted", comparison.achieved_per_s, "/s"),
        ("not accepted", comparison.not_accepted_percent, " %"),
    ] {
        rows.push(vec![
            what.to_owned(),
            format!("{:.2}{unit}", pair.before),
            format!("{:.2}{unit}", pair.after),
            pair.change(),
            if pair.is_worse { "worse".to_owned() } else { String::new() },
        ]);
    }
    let mut text = table(&["", "Before", "After", "Change", ""], &rows);
    for remark in &comparison.remarks {
        text.push_str(&format!("Note: {remark}\n"));
    }
    text.push_str(if comparison.is_no_worse {
        "Nothing that a sender feels is worse\n"
    } else {
        "Worse for senders\n"
    });
    text
}

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Below this nobody feels a difference, in microseconds.
const LEAST_US: f64 = 200.0;

/// A share of lost messages that is no accident, in percent.
const LEAST_PERCENT: f64 = 0.1;
