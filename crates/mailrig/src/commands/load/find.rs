//! `load --find-limit`: runs at one rate after the other, until the highest that holds and the first that does not are
//! close to each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use load::engine::{Pace, Settings};
use load::limit::{Ended, Limit, Outcome, Search, Step};
use load::measure::Kind;
use load::plan::Spacing;
use load::result::Document;
use load::verdict::Word;

use super::args::RunArgs;
use super::measure::{Frame, Measured};
use super::sides::Sides;
use super::{output, page, setup};
use crate::exit::{Exit, UsageError};
use crate::ui::micros;

/// The best step, or the last one if none held.
struct Kept {
    document: Document,
    per_s: f64,
    measured_at: usize,
    measures: load::measure::Measures,
    intervals: Vec<report::load::Interval>,
}

pub(super) fn run(
    args: &RunArgs,
    frame: &Frame<'_>,
    settings: &Settings,
    sides: &mut Sides,
) -> Result<Exit> {
    if let Some(dir) = &args.out {
        output::check_free(dir)?;
    }
    let mut search = Search::new(START_PER_S, most_per_s(args, frame), RESOLUTION)
        .map_err(|e| UsageError(e.to_string()))?;
    let mut kept: Option<Kept> = None;
    let mut advice = Vec::new();
    let mut first_index = 0;
    let mut number = 0;
    let mut refused = 0;
    let mut queue_at_rest = None;
    while let Some(per_s) = search.next() {
        number += 1;
        let dir = args.out.as_ref().map(|dir| step_dir(dir, number, per_s));
        let warmup = args.warmup.unwrap_or(STEP_WARMUP);
        let length = args.duration.unwrap_or(STEP);
        let spacing = if args.poisson { Spacing::Poisson } else { Spacing::Even };
        let plan = match setup::steady(per_s, warmup, length, spacing, args.seed) {
            Ok(plan) => plan,
            // So slow that a step has no message: there is no lower rate to try.
            Err(_) if number > 1 => break,
            Err(e) => return Err(e),
        };
        let settings = Settings {
            pace: Pace::Open(plan.clone()),
            // What a server cannot take in this time after a step it does not hold anyway.
            drain: args.drain.min(STEP_DRAIN),
            first_index,
            ..settings.clone()
        };
        if let Some(depth) = queue_at_rest
            && let Some(left) = sides.wait_queue(depth + QUEUE_SLACK, QUEUE_REST, frame.stop)
        {
            frame.ui.warning(format!(
                "{left} messages of earlier steps were still in the queue when step {number} began: its \
                 deliveries waited for them, too"
            ));
        }
        let frame = Frame { plan: Some(&plan), ..*frame };
        let title = format!("step {number}, {per_s:.0}/s: ");
        let measured = frame.measure(settings, sides, dir.as_deref(), &title)?;
        first_index += plan.arrivals().count() as u64;
        let Measured { record, measures, intervals, folder } = measured;
        queue_at_rest = queue_at_rest.or(record.queue.as_ref().map(|queue| queue.first));
        let document = Document::new(record, &measures)?;
        if let Some(folder) = folder {
            folder.finish(&document)?;
        }
        if document.record.is_interrupted {
            kept.get_or_insert(Kept { document, per_s, measured_at: number, measures, intervals });
            break;
        }
        let step = step(per_s, &document, &measures);
        frame.ui.status(told(&step));
        let is_nothing = document.verdict == Word::NothingAccepted;
        let is_held = step.outcome == Outcome::Held;
        if matches!(step.outcome, Outcome::Invalid { .. }) {
            advice.clone_from(&document.advice);
        }
        let is_better = match &kept {
            None => true,
            // The answer is about the highest rate that holds, so its numbers are shown.
            Some(kept) => is_held && (kept.document.verdict != Word::Met || per_s > kept.per_s),
        };
        if is_better {
            kept = Some(Kept { document, per_s, measured_at: number, measures, intervals });
        }
        search.observe(step);
        refused = if is_nothing { refused + 1 } else { 0 };
        if refused == TRIES && search.limit().highest_held_per_s.is_none() {
            // Who takes nothing at all is not asked for less of it.
            break;
        }
    }
    let Some(mut kept) = kept else {
        return Err(UsageError("there is no rate to try".to_owned()).into());
    };
    sides.conclude(&mut kept.document.record, frame.ui);
    kept.document.remarks.clone_from(&frame.ui.warnings());
    let limit = search.limit();
    if limit.limited_by_generator.is_some() {
        // What would help is known from the step that could not be made.
        kept.document.advice = advice;
    }
    conclude(args, frame, limit, kept)
}

fn conclude(args: &RunArgs, frame: &Frame<'_>, limit: Limit, kept: Kept) -> Result<Exit> {
    let Kept { mut document, measured_at, measures, intervals, .. } = kept;
    document.record.is_interrupted |= frame.stop.is_stopped();
    let (word, sentence) = judge(&limit);
    if document.verdict != Word::NothingAccepted || document.record.is_interrupted {
        (document.verdict, document.sentence) = (word, sentence);
    }
    if let Some(broken) = &limit.first_broken {
        document.reasons.push(format!("{:.1}/s: {}", broken.per_s, broken.reason));
    }
    document.reasons.push(format!("the times below are those of step {measured_at}"));
    document.limit = Some(limit);
    let extra =
        page::Extra { intervals, place: args.deliver.clone(), command: page::command_line() };
    super::deliver(&document, &measures, extra, args.html.as_deref(), None, frame.ui)?;
    if let Some(dir) = &args.out {
        let text = serde_json::to_vec_pretty(&document)?;
        output::write_whole(&dir.join(output::RESULT), &text)?;
    }
    Ok(super::exit(&document))
}

/// The answer to what was asked: a limit that is the server's.
fn judge(limit: &Limit) -> (Word, String) {
    match (limit.highest_held_per_s, &limit.first_broken, &limit.limited_by_generator) {
        (held, _, Some(generator)) => {
            let at_least =
                held.map(|held| format!("at least {held:.1}/s hold; ")).unwrap_or_default();
            let sentence = format!(
                "{at_least}at {:.1}/s the generator was the limit: {}",
                generator.per_s, generator.reason
            );
            (Word::Invalid, sentence)
        }
        (Some(held), Some(broken), None) => (
            Word::Met,
            format!("{held:.1}/s hold, {:.1}/s do not: {}", broken.per_s, broken.reason),
        ),
        (Some(held), None, None) => {
            let sentence = format!("{held:.1}/s hold, and no higher rate was tried");
            (Word::Met, sentence)
        }
        (None, Some(broken), None) => {
            (Word::Missed, format!("not even {:.1}/s hold: {}", broken.per_s, broken.reason))
        }
        (None, None, None) => {
            (Word::Invalid, format!("the search has no result: {}", ended(limit)))
        }
    }
}

fn ended(limit: &Limit) -> &'static str {
    match limit.ended {
        Ended::Unfinished => "it was stopped",
        _ => "no step could be judged",
    }
}

/// The rate is the one that the search asked for: a plan of it has a whole number of arrivals, so its own rate may be
/// a little lower.
fn step(asked_per_s: f64, document: &Document, measures: &load::measure::Measures) -> Step {
    let totals = &document.record.totals;
    let reason = document.reasons.first().cloned().unwrap_or_default();
    let outcome = match document.verdict {
        // Objectives of time alone are met in a short step while what waits grows.
        Word::Met if overrun(document) > bearable(document) => {
            let reason =
                format!("the last message ended {} after the step", micros(overrun(document)));
            Outcome::Broke { reason }
        }
        Word::Met => Outcome::Held,
        Word::Missed | Word::NothingAccepted => Outcome::Broke { reason },
        Word::Invalid => Outcome::Invalid { reason },
    };
    let missing = totals.offered.saturating_sub(totals.counts.accepted);
    Step {
        asked_per_s,
        achieved_per_s: document.achieved_per_s,
        outcome,
        p50_us: measures.value_at(Kind::Response, 0.5),
        p99_us: measures.value_at(Kind::Response, 0.99),
        errors_percent: 100.0 * missing as f64 / totals.offered.max(1) as f64,
        queue_per_s: document.record.queue.and_then(|queue| queue.slope).map(|slope| slope.per_s),
    }
}

/// How long after the step its last message ended, in microseconds.
fn overrun(document: &Document) -> u64 {
    document.record.elapsed_us.saturating_sub(document.record.duration_us)
}

/// A server that keeps up may be at its last messages that long, in microseconds.
fn bearable(document: &Document) -> u64 {
    document.record.duration_us / 10 + 1_000_000
}

fn told(step: &Step) -> String {
    let p99 = step.p99_us.map(|us| format!(", p99 {}", micros(us)));
    let p99 = p99.unwrap_or_default();
    let outcome = match &step.outcome {
        Outcome::Held => "holds".to_owned(),
        Outcome::Broke { reason } => format!("does not hold: {reason}"),
        Outcome::Invalid { reason } => format!("cannot be judged: {reason}"),
    };
    format!("{:8.1}/s  {:.1}/s accepted{p99}  {outcome}", step.asked_per_s, step.achieved_per_s)
}

/// The ceiling of safety holds for the search, too.
fn most_per_s(args: &RunArgs, frame: &Frame<'_>) -> f64 {
    if args.yes_really { MOST_PER_S } else { load::safety::most_per_s(frame.reach) }
}

fn step_dir(dir: &Path, number: usize, per_s: f64) -> PathBuf {
    dir.join(format!("step-{number:02}-{per_s:.0}"))
}

const START_PER_S: f64 = 10.0;
const MOST_PER_S: f64 = 1_000_000.0;
/// How close the bounds come: the highest rate that holds is known to so much.
const RESOLUTION: f64 = 0.05;
const STEP: Duration = Duration::from_secs(10);
const STEP_WARMUP: Duration = Duration::from_secs(3);
/// Between two steps, for the server's queue to become as short as it was.
const QUEUE_REST: Duration = Duration::from_secs(60);
/// Messages that are always on their way.
const QUEUE_SLACK: u64 = 10;
const STEP_DRAIN: Duration = Duration::from_secs(10);
/// Steps after each other in which nothing is accepted, before anything held.
const TRIES: usize = 2;
