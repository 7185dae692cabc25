//! A result as the page's plain data.

use load::measure::{Kind, Measures, Summary};
use load::result::{Document, Mode};
use load::verdict::Word;
use report::load as page;
use report::load::{Page, Percentiles, Value};

use crate::ui::count;

/// What the page shows and the document has not.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) intervals: Vec<page::Interval>,
    /// Where delivered mail was looked for.
    pub(super) place: Option<String>,
    pub(super) command: String,
}

/// As it was typed, for the page: it holds no secret, since secrets come from files.
pub(super) fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let quoted = words.map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,%+".contains(c);
        if word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    format!("mailrig {}", quoted.collect::<Vec<_>>().join(" "))
}

pub(super) fn page(document: &Document, measures: &Measures, extra: Extra) -> Page {
    let record = &document.record;
    Page {
        title: format!("Load on {}", record.target.join(", ")),
        verdict: page::Verdict { kind: kind(document), sentence: capital(&document.sentence) },
        run: run(document, &extra),
        objectives: document.objectives.iter().map(objective).collect(),
        remarks: remarks(document),
        counts: counts(document),
        response_us: document.response_us.map(percentiles),
        service_us: document.service_us.map(percentiles),
        response_limit_us: response_limit(document),
        spectrum: spectrum(measures),
        stages: stages(document),
        queue: queue(document),
        phases: phases(document),
        replies: replies(document),
        limit: limit(document),
        delivery: delivery(document, extra.place.as_deref()),
        generator: generator(document),
        intervals: without_empty_end(extra.intervals),
    }
}

fn kind(document: &Document) -> page::VerdictKind {
    match document.verdict {
        _ if document.record.is_interrupted => page::VerdictKind::Interrupted,
        Word::Met if document.limit.is_some() => page::VerdictKind::LimitFound,
        Word::Met => page::VerdictKind::Met,
        Word::Missed => page::VerdictKind::Missed,
        Word::Invalid => page::VerdictKind::Invalid,
        Word::NothingAccepted => page::VerdictKind::NothingAccepted,
    }
}

fn run(document: &Document, extra: &Extra) -> page::Run {
    let record = &document.record;
    let mode = match record.mode {
        Mode::Open => "open: as planned, whatever the server does",
        Mode::Closed => "closed: each message when one before has ended",
    };
    let mut more = vec![("Mode".to_owned(), mode.to_owned())];
    if let Some(shard) = record.plan.shard {
        more.push(("Shard".to_owned(), shard.to_string()));
    }
    for shard in &record.left_out {
        more.push(("Left out".to_owned(), shard.to_string()));
    }
    page::Run {
        target: record.target.join(", "),
        id: record.run.clone(),
        started: record.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        duration_us: record.duration_us,
        command: extra.command.clone(),
        seed: Some(record.seed),
        plan_digest: record.plan.digest.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        more,
    }
}

fn objective(judged: &load::verdict::Judged) -> page::Objective {
    let at = judged.objective.find(['<', '>']).unwrap_or(judged.objective.len());
    let (name, asked) = judged.objective.split_at(at);
    page::Objective {
        name: name.to_owned(),
        asked: asked.to_owned(),
        actual: judged.actual_text.clone(),
        is_met: judged.is_met,
    }
}

/// Without the intervals at the end in which nothing was planned and nothing happened: they are no fall of the rate.
fn without_empty_end(mut intervals: Vec<page::Interval>) -> Vec<page::Interval> {
    let is_empty = |row: &page::Interval| {
        row.asked_per_s.unwrap_or_default() == 0.0
            && row.accepted_per_s == 0.0
            && row.delivered_per_s.unwrap_or_default() == 0.0
            && row.max_us.is_none()
    };
    while intervals.len() > 1 && intervals.last().is_some_and(is_empty) {
        intervals.pop();
    }
    intervals
}

/// A sentence on its own begins with a capital; in JSON and on a terminal something stands before it.
fn capital(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + chars.as_str()
}

fn remarks(document: &Document) -> Vec<String> {
    let mut remarks = Vec::new();
    if let (Some(limit), Some(asked)) = (&document.limit, document.asked_per_s) {
        let held = limit.highest_held_per_s.map(|_| ", the highest that holds");
        let held = held.unwrap_or_default();
        remarks.push(format!(
            "A search: what follows the curve is of its step at {asked:.1}/s{held}."
        ));
    }
    if document.record.mode == Mode::Closed {
        remarks.push(
            "Closed mode: each message began when one before had ended. What a sender feels who \
             comes while the server is slow is not in these times."
                .to_owned(),
        );
    }
    if !document.record.left_out.is_empty() {
        let shards: Vec<String> =
            document.record.left_out.iter().map(ToString::to_string).collect();
        remarks.push(format!("Left out of this result: shards {}.", shards.join(", ")));
    }
    remarks.extend(document.remarks.iter().cloned());
    remarks
}

fn counts(document: &Document) -> page::Counts {
    let totals = &document.record.totals;
    let counts = &totals.counts;
    let fact = |key: &str, label: &str, value: u64, note: &str| page::Fact {
        key: key.to_owned(),
        label: label.to_owned(),
        value: Value::Count(value),
        note: note.to_owned(),
        is_bad: false,
    };
    page::Counts {
        offered: totals.offered,
        accepted: counts.accepted,
        refused: counts.refused,
        deferred: counts.deferred,
        failed: counts.failed,
        unknown: counts.unknown,
        not_started: totals.not_started,
        not_retried: totals.not_retried,
        asked_per_s: document.asked_per_s,
        achieved_per_s: document.achieved_per_s,
        bytes: counts.bytes,
        more: [
            Some(fact("connections", "Connections", counts.connections, "")),
            (counts.retried > 0)
                .then(|| fact("retried", "Further attempts", counts.retried, "after a 4xx reply")),
            (counts.reconnects > 0).then(|| {
                fact("reconnects", "Made anew", counts.reconnects, "closed when they were needed")
            }),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

fn percentiles(summary: Summary) -> Percentiles {
    let Summary { count, mean_us, p50, p90, p99, p999, max, .. } = summary;
    Percentiles { count, mean: mean_us, p50, p90, p99, p999, max }
}

/// The asked p99 of the response time, to be drawn across.
fn response_limit(document: &Document) -> Option<u64> {
    let asked = document.objectives.iter().find(|judged| {
        ["p99<", "response_p99<"].iter().any(|start| judged.objective.starts_with(start))
    });
    asked.map(|judged| judged.asked as u64)
}

fn spectrum(measures: &Measures) -> Vec<page::Curve> {
    let kinds = [Kind::Response, Kind::Service, Kind::Delivery];
    let curves = kinds.into_iter().filter_map(|kind| {
        let histogram = measures.get(kind)?;
        let points = histogram
            .iter_quantiles(5)
            .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()));
        // The last quantile is 1, which no scale of 1 / (1 - q) has.
        let points = points.filter(|(quantile, _)| *quantile < 1.0).collect();
        Some(page::Curve { name: kind.name().to_owned(), points })
    });
    curves.collect()
}

fn stages(document: &Document) -> Vec<page::Band> {
    let stages = document.record.plan.stages.iter().map(|stage| page::Band {
        name: stage.name.clone(),
        from_s: stage.start_us as f64 / 1e6,
        to_s: stage.end_us as f64 / 1e6,
        is_warmup: stage.is_warmup,
    });
    stages.collect()
}

fn queue(document: &Document) -> Option<page::Queue> {
    let record = &document.record;
    let slope = record.queue?.slope?;
    let (from, length) = (record.warmup_us as f64 / 1e6, record.elapsed_us as f64 / 1e6);
    Some(page::Queue {
        source: "the server's queue".to_owned(),
        slope_per_s: slope.per_s,
        from_s: from,
        to_s: from + length,
        from_depth: (record.queue?.last as f64 - slope.per_s * length).max(0.0),
    })
}

fn phases(document: &Document) -> Vec<page::Phase> {
    let waited = document.queue_wait_us.map(|us| (Kind::QueueWait.name(), us));
    let phases = document.phases_in_order().into_iter().map(|(kind, us)| (kind.name(), us));
    let phase = |(name, us): (&str, Summary)| page::Phase {
        name: name.to_owned(),
        key: match name == Kind::QueueWait.name() {
            true => "queue_wait_us".to_owned(),
            false => format!("phases.{name}"),
        },
        // Alone, it is a step like the others.
        is_alternative: name == Kind::TlsResumed.name()
            && document.phases.contains_key(Kind::TlsFull.name()),
        us: percentiles(us),
    };
    waited.into_iter().chain(phases).map(phase).collect()
}

fn replies(document: &Document) -> Vec<page::Reply> {
    let row = |row: load::replies::Row| page::Reply {
        phase: row.phase,
        code: row.code,
        enhanced: row.enhanced.unwrap_or_default(),
        text: [row.failure.unwrap_or_default(), row.text]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": "),
        count: row.count,
        first_s: Some(row.first_ms as f64 / 1e3),
        last_s: Some(row.last_ms as f64 / 1e3),
    };
    document.record.replies.rows().into_iter().map(row).collect()
}

fn limit(document: &Document) -> Option<page::Limit> {
    let limit = document.limit.as_ref()?;
    let step = |step: &load::limit::Step| {
        let (held, reason) = match &step.outcome {
            load::limit::Outcome::Held => (Some(true), String::new()),
            load::limit::Outcome::Broke { reason } => (Some(false), reason.clone()),
            load::limit::Outcome::Invalid { reason } => (None, reason.clone()),
        };
        page::Step {
            asked_per_s: step.asked_per_s,
            achieved_per_s: step.achieved_per_s,
            p50_us: step.p50_us,
            p99_us: step.p99_us,
            held,
            reason,
        }
    };
    Some(page::Limit {
        holds_per_s: limit.highest_held_per_s,
        breaks_per_s: limit.first_broken.as_ref().map(|broken| broken.per_s),
        steps: limit.curve.iter().map(step).collect(),
    })
}

fn delivery(document: &Document, place: Option<&str>) -> Option<page::Delivery> {
    let delivery = document.record.delivery.as_ref()?;
    Some(page::Delivery {
        place: place.unwrap_or_default().to_owned(),
        expected: delivery.expected,
        delivered: delivery.delivered,
        lost: delivery.lost,
        doubled: delivery.doubled,
        corrupted: delivery.corrupted,
        more: odd_copies(delivery),
        us: document.delivery_us.map(percentiles),
    })
}

/// What there should be none of, as far as there is some.
fn odd_copies(delivery: &load::deliver::Delivery) -> Vec<page::Fact> {
    let odd = [
        (
            "unexpected",
            "Though refused",
            delivery.unexpected,
            "copies of messages that were refused",
        ),
        (
            "unknown_delivered",
            "Unanswered",
            delivery.unknown_delivered,
            "seen, though not answered",
        ),
        ("untold", "Untold", delivery.untold, "copies whose outcome nobody told"),
        ("unreadable", "Unreadable", delivery.unreadable, "could not be read"),
    ];
    let fact = |(key, label, count, note): (&str, &str, u64, &str)| page::Fact {
        key: format!("delivery.{key}"),
        label: label.to_owned(),
        value: Value::Count(count),
        note: note.to_owned(),
        is_bad: false,
    };
    odd.into_iter().filter(|(_, _, count, _)| *count > 0).map(fact).collect()
}

fn generator(document: &Document) -> page::Generator {
    let generator = &document.record.generator;
    let fact = |key: &str, label: &str, value: Value, note: String, is_bad: bool| page::Fact {
        key: key.to_owned(),
        label: label.to_owned(),
        value,
        note,
        is_bad,
    };
    let counts = &document.record.totals.counts;
    let shares = generator.cpu_shares.iter().copied().enumerate();
    let (thread, busiest) = shares.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
    let used = &generator.used;
    let mut facts = vec![
        fact(
            &format!("generator.cpu_shares.{thread}"),
            "Busiest thread",
            Value::Share(busiest),
            "of one processor".into(),
            busiest > 0.9,
        ),
        fact(
            "generator.descriptors_most",
            "Open files",
            Value::Count(used.descriptors_most),
            format!("of {}", count(used.descriptors_limit)),
            counts.descriptors_exhausted > 0,
        ),
        fact(
            "generator.connections_most",
            "Connections",
            Value::Count(generator.connections_most),
            format!("of {}", count(generator.connections_limit)),
            false,
        ),
        fact(
            "ports_exhausted",
            "Times without a port",
            Value::Count(counts.ports_exhausted),
            String::new(),
            counts.ports_exhausted > 0,
        ),
    ];
    if let Some(again) = used.retransmitted {
        let note = "by this machine, for any connection".to_owned();
        let value = Value::Count(again);
        facts.push(fact("generator.retransmitted", "Segments sent again", value, note, false));
    }
    page::Generator {
        lateness_us: document.lateness_us.map(percentiles),
        facts,
        advice: document
            .advice
            .iter()
            .map(|advice| format!("{}: {}.", capital(&advice.reason), advice.advice))
            .collect(),
    }
}
