//! A result for people, in ten seconds: the verdict, what was asked, the times, and what else a person should know.

use load::limit::{Outcome, Step};
use load::measure::Summary;
use load::result::{Document, Mode, Record};
use load::verdict::Word;

use crate::ui::{cell, count, duration, micros, plural, size, table};

pub(super) fn text(document: &Document) -> String {
    let mut text = format!("{}: {}\n", word(document), cell(&document.sentence));
    for reason in document.reasons.iter().filter(|reason| !is_said(document, reason)) {
        text.push_str(&format!("  {}\n", cell(reason)));
    }
    text.push('\n');
    text.push_str(&curve(document));
    text.push_str(&objectives(document));
    text.push_str(&times(document));
    text.push_str(&counts(document));
    text.push_str(&replies(&document.record));
    text.push_str(&beside(document));
    text.push_str(&summary(document));
    text
}

/// Whether the first line or the table of objectives says it.
fn is_said(document: &Document, reason: &str) -> bool {
    let mut objectives = document.objectives.iter();
    document.sentence.contains(reason)
        || objectives.any(|judged| reason.starts_with(&format!("{}: ", judged.objective)))
}

/// The rates that a search tried.
fn curve(document: &Document) -> String {
    let Some(limit) = document.limit.as_ref().filter(|limit| !limit.curve.is_empty()) else {
        return String::new();
    };
    let row = |step: &Step| {
        let (word, reason) = match &step.outcome {
            Outcome::Held => ("holds", ""),
            Outcome::Broke { reason } => ("breaks", reason.as_str()),
            Outcome::Invalid { reason } => ("not judged", reason.as_str()),
        };
        let us = |us: Option<u64>| us.map(micros).unwrap_or_default();
        let rates = [step.asked_per_s, step.achieved_per_s].map(|rate| format!("{rate:.1}/s"));
        let [asked, achieved] = rates;
        let mut row = vec![asked, word.to_owned(), achieved, us(step.p50_us), us(step.p99_us)];
        row.push(cell(reason).into_owned());
        row
    };
    let rows: Vec<_> = limit.curve.iter().map(row).collect();
    format!("{}\n", table(&["Rate", "", "Accepted", "p50", "p99", "Why"], &rows))
}

/// In capitals, to be seen first.
fn word(document: &Document) -> &'static str {
    match document.verdict {
        _ if document.record.is_interrupted => "INTERRUPTED",
        Word::Met => "MET",
        Word::Missed => "MISSED",
        Word::Invalid => "INVALID",
        Word::NothingAccepted => "NOTHING ACCEPTED",
    }
}

fn objectives(document: &Document) -> String {
    let row = |judged: &load::verdict::Judged| {
        let met = match judged.is_met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        };
        vec![judged.objective.clone(), judged.actual_text.clone(), met.to_owned()]
    };
    let rows: Vec<_> = document.objectives.iter().map(row).collect();
    format!("{}\n", table(&["Objective", "Measured", ""], &rows))
}

/// First what a sender feels, then what the server took, then its parts.
fn times(document: &Document) -> String {
    let row = |name: &str, us: &Summary| {
        let mut row = vec![name.to_owned(), count(us.count)];
        row.extend([us.p50, us.p90, us.p99, us.p999, us.max].map(micros));
        row
    };
    let whole = [
        ("response: from the planned start", &document.response_us),
        ("service: from MAIL to the last reply", &document.service_us),
        ("waiting for a connection", &document.queue_wait_us),
        ("delivery: from accepted to seen", &document.delivery_us),
    ];
    let mut rows: Vec<_> =
        whole.into_iter().filter_map(|(name, us)| Some(row(name, us.as_ref()?))).collect();
    let phases = document.phases_in_order();
    rows.extend(phases.iter().map(|(kind, us)| row(&format!("  {}", kind.name()), us)));
    if rows.is_empty() {
        return String::new();
    }
    format!("{}\n", table(&["Time", "Count", "p50", "p90", "p99", "p99.9", "Max"], &rows))
}

fn counts(document: &Document) -> String {
    let Record { totals, .. } = &document.record;
    let counts = &totals.counts;
    let mut parts = vec![
        format!("{} offered", count(totals.offered)),
        format!("{} accepted", count(counts.accepted)),
    ];
    let others = [
        (counts.refused, "refused"),
        (counts.deferred, "put off"),
        (counts.failed, "without an answer"),
        (counts.unknown, "unknown"),
        (totals.not_started, "not started"),
        (totals.not_retried, "still to be tried again"),
        (counts.retried, "further attempts"),
        (counts.reconnects, "sent again on a new connection"),
    ];
    parts.extend(
        others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))),
    );
    let mut text = format!("Messages: {}\n", parts.join(", "));
    if let Some(delivery) = &document.record.delivery {
        let parts = [
            (delivery.lost, "lost"),
            (delivery.doubled, "doubled"),
            (delivery.corrupted, "corrupted"),
            (delivery.unexpected, "of refused messages"),
            (delivery.untold, "of messages that nobody sent"),
            (delivery.unreadable, "unreadable"),
        ];
        text.push_str(&format!(
            "Copies: {} of {} seen",
            count(delivery.delivered),
            count(delivery.expected)
        ));
        for (n, what) in parts.iter().filter(|(n, _)| *n > 0) {
            text.push_str(&format!(", {} {what}", count(*n)));
        }
        text.push('\n');
    }
    text
}

fn replies(record: &Record) -> String {
    let rows = record.replies.rows();
    if rows.is_empty() {
        return String::new();
    }
    let shown = rows.iter().take(SHOWN).map(|row| {
        let code = row.code.map_or(row.failure.clone(), |code| Some(code.to_string()));
        vec![
            row.phase.clone(),
            code.unwrap_or_default(),
            row.enhanced.clone().unwrap_or_default(),
            count(row.count),
            cell(&row.text).into_owned(),
        ]
    });
    let mut text = format!(
        "\n{}",
        table(&["At", "Reply", "Enhanced", "Count", "Text"], &shown.collect::<Vec<_>>())
    );
    if rows.len() > SHOWN {
        text.push_str(&format!("and {} more kinds of replies\n", rows.len() - SHOWN));
    }
    text
}

/// The queue, the generator, and advice.
fn beside(document: &Document) -> String {
    let mut text = String::from("\n");
    if let Some(queue) = &document.record.queue {
        let slope = match queue.slope {
            Some(slope) if slope.is_growing => format!("growing by {:.1} a second", slope.per_s),
            Some(_) => "not growing".to_owned(),
            None => "too few looks to tell whether it grows".to_owned(),
        };
        text.push_str(&format!(
            "Queue: {} at first, {} at most, {} at last; {slope}\n",
            count(queue.first),
            count(queue.max),
            count(queue.last)
        ));
    }
    let generator = &document.record.generator;
    let busiest = generator.cpu_shares.iter().copied().fold(0.0, f64::max);
    let late = document.lateness_us.map(|late| format!("late by {} (p99), ", micros(late.p99)));
    text.push_str(&format!(
        "Generator: {}busiest thread {:.0} %, {} of {} files",
        late.unwrap_or_default(),
        busiest * 100.0,
        count(generator.used.descriptors_most),
        count(generator.used.descriptors_limit),
    ));
    if let Some(again) = generator.used.retransmitted.filter(|again| *again > 0) {
        text.push_str(&format!(", {} sent again", plural(again, "segment")));
    }
    text.push('\n');
    for advice in &document.advice {
        let reason = cell(&advice.reason);
        let seen = match document.sentence.contains(&advice.reason) {
            true => String::new(),
            false => format!("{reason}; "),
        };
        text.push_str(&format!("Advice: {seen}{}\n", cell(&advice.advice)));
    }
    text
}

fn summary(document: &Document) -> String {
    let Record { totals, duration_us, elapsed_us, .. } = &document.record;
    let sent = totals.counts.accepted;
    let how = match (document.record.mode, document.asked_per_s) {
        (Mode::Closed, _) | (_, None) => {
            "; closed: each message began when one before had ended, so waiting senders are not seen".to_owned()
        }
        (Mode::Open, Some(asked)) => format!(" of {asked:.1}/s asked"),
    };
    let length = std::time::Duration::from_micros(*elapsed_us.max(duration_us));
    format!(
        "{} ({}) accepted in {} over {}, {:.1}/s{how} (run {})\n",
        plural(sent, "message"),
        size(totals.counts.bytes),
        duration(length),
        plural(totals.counts.connections, "connection"),
        document.achieved_per_s,
        document.record.run,
    )
}

/// Kinds of replies that a person reads.
const SHOWN: usize = 12;
