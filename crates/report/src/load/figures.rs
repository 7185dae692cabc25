//! The key figures: what became of the messages, and response beside service.

use super::{Counts, Fact, Page, Percentiles, Value};
use crate::html::{self, Column, Table, text};
use crate::{human, plot};

/// Counts on one side, latency on the other.
pub(super) fn section(page: &Page) -> String {
    let counts = counts(&page.counts);
    let inner = format!("{}<div class=tiles>{counts}</div>{}", bar(&page.counts), latency(page));
    html::section("figures", "Key figures", "", &inner)
}

/// A number with its name, for people and programs.
pub(super) fn tile(fact: &Fact) -> String {
    let class = if fact.is_bad { "tile bad" } else { "tile" };
    let note = if fact.note.is_empty() {
        String::new()
    } else {
        format!("<small>{}</small>", text(&fact.note))
    };
    format!(
        "<div class=\"{class}\"><span>{}</span><b>{}</b>{note}</div>",
        text(&fact.label),
        value(&fact.key, &fact.value)
    )
}

/// Columns of percentiles under a key.
pub(super) fn percentile(key: &str, name: &str, us: u64) -> String {
    html::value(&format!("{key}.{name}"), us, &human::us(us))
}

/// A tile for a plain count.
pub(super) fn count_tile(key: &str, label: &str, n: u64, is_bad: bool) -> String {
    let value = Value::Count(n);
    tile(&Fact { key: key.into(), label: label.into(), value, is_bad, ..Fact::default() })
}

fn value(key: &str, value: &Value) -> String {
    match value {
        Value::Count(n) => html::value(key, n, &human::count(*n)),
        Value::Us(us) => html::value(key, us, &human::us(*us)),
        Value::Bytes(n) => html::value(key, n, &human::bytes(*n)),
        Value::PerS(rate) => html::float(key, *rate, &human::per_s(*rate)),
        Value::Share(part) => html::float(key, *part, &human::share(*part)),
        Value::Text(words) => html::value(key, words, words),
    }
}

fn counts(counts: &Counts) -> String {
    let fates = FATES.iter().zip(fates(counts));
    let mut tiles = count_tile("offered", "Offered", counts.offered, false);
    for ((key, label, ink), n) in fates {
        // Without --retry there is never one.
        if *key == "not_retried" && n == 0 {
            continue;
        }
        let label = format!("<i class={ink}></i>{label}");
        let number = html::value(key, n, &human::count(n));
        let part = if counts.offered > 0 && n > 0 {
            format!("<small>{}</small>", human::share(n as f64 / counts.offered as f64))
        } else {
            String::new()
        };
        tiles.push_str(&format!("<div class=tile><span>{label}</span><b>{number}</b>{part}</div>"));
    }
    let fact = |key: &str, label: &str, value| Fact {
        key: key.into(),
        label: label.into(),
        value,
        ..Fact::default()
    };
    if let Some(asked) = counts.asked_per_s {
        tiles.push_str(&tile(&fact("asked_per_s", "Asked rate", Value::PerS(asked))));
    }
    let achieved = Value::PerS(counts.achieved_per_s);
    tiles.push_str(&tile(&fact("achieved_per_s", "Achieved rate", achieved)));
    tiles.push_str(&tile(&fact("bytes", "Accepted data", Value::Bytes(counts.bytes))));
    tiles.extend(counts.more.iter().map(tile));
    tiles
}

/// What became of the offered messages, as parts of one bar.
fn bar(counts: &Counts) -> String {
    let fates = fates(counts);
    let whole = fates.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
    if whole == 0 {
        return String::new();
    }
    let (mut x, mut parts, mut words) = (0.0, String::new(), Vec::new());
    for ((_, label, ink), n) in FATES.iter().zip(fates).filter(|(_, n)| *n > 0) {
        let part = n as f64 / whole as f64;
        let (from, width) = (plot::percent(x), plot::percent(part));
        // A part that is too small to be seen still has a line of its own ink.
        parts.push_str(&format!("<rect class={ink} x={from} width={width} height=100% />"));
        x += part;
        words.push(format!("{} {}", human::count(n), label.to_lowercase()));
    }
    let svg = plot::svg("fates", "What became of the messages", &words.join(", "), "", &parts);
    format!("<div class=bar>{svg}</div>")
}

fn fates(counts: &Counts) -> [u64; 7] {
    let Counts { accepted, refused, deferred, not_retried, failed, unknown, not_started, .. } =
        *counts;
    [accepted, refused, deferred, not_retried, failed, unknown, not_started]
}

fn latency(page: &Page) -> String {
    let delivery = page.delivery.as_ref().and_then(|delivery| delivery.us);
    let kinds = [
        ("Response", "response_us", page.response_us),
        ("Service", "service_us", page.service_us),
        ("Delivery", "delivery_us", delivery),
    ];
    let present: Vec<(&'static str, &str, Percentiles)> =
        kinds.into_iter().filter_map(|(name, key, us)| Some((name, key, us?))).collect();
    if present.is_empty() {
        return String::new();
    }
    let mut columns = vec![Column::Words("")];
    columns.extend(present.iter().map(|(name, _, _)| Column::Number(name)));
    let mut table = Table::new("Latency", &columns);
    for (name, label, of) in PERCENTILES {
        let mut cells = vec![(*label).to_owned()];
        cells.extend(present.iter().map(|(_, key, us)| percentile(key, name, of(us))));
        table.row(&cells);
    }
    let explained: String = EXPLAINED
        .iter()
        .filter(|(name, _)| present.iter().any(|(present, _, _)| present == name))
        .map(|(name, words)| format!("<dt>{name}</dt><dd>{words}</dd>"))
        .collect();
    format!("<div class=latency>{}<dl>{explained}</dl></div>", table.html())
}

/// Keys, labels and inks of what may become of a message.
const FATES: &[(&str, &str, &str)] = &[
    ("accepted", "Accepted", "f1"),
    ("refused", "Refused", "f2"),
    ("deferred", "Put off", "f3"),
    ("not_retried", "To be retried", "f6"),
    ("failed", "No answer", "f7"),
    ("unknown", "Unknown", "f4"),
    ("not_started", "Not started", "f5"),
];

type Of = fn(&Percentiles) -> u64;

const PERCENTILES: &[(&str, &str, Of)] = &[
    ("p50", "p50", |us| us.p50),
    ("p90", "p90", |us| us.p90),
    ("p99", "p99", |us| us.p99),
    ("p999", "p99.9", |us| us.p999),
    ("max", "max", |us| us.max),
];

const EXPLAINED: &[(&str, &str)] = &[
    ("Response", "From the planned start to the final reply: what a sender feels who had to wait."),
    ("Service", "From the first byte of MAIL to the final reply: what the server took by itself."),
    ("Delivery", "From the final reply until the message was seen where it belongs."),
];
