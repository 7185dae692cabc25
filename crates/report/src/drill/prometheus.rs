//! The exposition for the textfile collector. A series that comes twice makes the collector refuse
//! the whole file, so the first one stands.

use std::collections::BTreeSet;

use super::{Page, Word};
use crate::html;

pub(super) fn write(page: &Page) -> String {
    let scenario = ("scenario", page.identity.scenario.as_str());
    let by_class = page.messages.by_class.iter();
    let seconds = |us: u64| (us as f64 / 1e6).to_string();
    let rto = page.outages.iter().filter_map(|outage| {
        let labels = [scenario, ("incident", &outage.incident), ("service", &outage.service)];
        Some((labels.to_vec(), seconds(outage.rto_us?)))
    });
    let losses = page.losses.iter();
    let verdict = match page.verdict.word {
        Word::Pass => "1",
        Word::Fail => "0",
        Word::Unknown => "-1",
    };
    let one = |value: String| vec![(vec![scenario], value)];
    [
        gauge("verdict", "1 pass, 0 fail, -1 unknown.", one(verdict.to_owned())),
        gauge(
            "messages",
            "Messages, once for each recipient, by what became of them.",
            by_class.map(|(class, n)| (vec![scenario, ("class", class)], n.to_string())),
        ),
        gauge(
            "accepted",
            "Messages, once for each recipient, that were accepted.",
            one(page.messages.accepted.to_string()),
        ),
        gauge(
            "rto_seconds",
            "From the incident until the service was stable; absent if that was not seen.",
            rto,
        ),
        gauge(
            "rpo_messages",
            "Accepted messages that were out of sight at a moment.",
            losses.map(|loss| {
                (vec![scenario, ("moment", loss.moment.as_str())], loss.messages.to_string())
            }),
        ),
        gauge("duration_seconds", "Of the run.", one(seconds(page.identity.duration_us))),
        gauge(
            "end_timestamp_seconds",
            "When the run ended, since 1970.",
            page.identity.end_unix_s.map(|s| (vec![scenario], s.to_string())),
        ),
    ]
    .concat()
}

type Series<'p> = (Vec<(&'static str, &'p str)>, String);

/// A metric with its series; nothing without one.
fn gauge<'p>(name: &str, help: &str, series: impl IntoIterator<Item = Series<'p>>) -> String {
    let mut written = BTreeSet::new();
    let mut lines = String::new();
    for (labels, value) in series.into_iter().take(MOST_SERIES) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", label(value))).collect();
        let labels = labels.join(",");
        if written.insert(labels.clone()) {
            lines.push_str(&format!("mailrig_drill_{name}{{{labels}}} {value}\n"));
        }
    }
    if lines.is_empty() {
        return lines;
    }
    format!("# HELP mailrig_drill_{name} {help}\n# TYPE mailrig_drill_{name} gauge\n{lines}")
}

/// A label's value in one line.
fn label(raw: &str) -> String {
    html::plain(raw).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Of one metric.
const MOST_SERIES: usize = 1_000;
