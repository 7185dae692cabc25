//! One run of the engine with everything beside it, and what is written while it goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use load::engine::{self, Pace, Row, Run, Settings, Stop};
use load::hlog::Facts;
use load::letters::Letters;
use load::measure::{Kind, Measures};
use load::own::{self, Own};
use load::plan::Plan;
use load::result::{Generator, Mode, PlanFacts, QueueFacts, Record, Shard, Stage, Totals};

use load::safety::Reach;

use super::live::Live;
use super::output::Folder;
use super::series::Line;
use super::sides::{Looks, Sides};
use crate::ui::Ui;

/// What is the same for all runs of a command.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f> {
    /// How far away the servers are.
    pub(super) reach: Reach,
    pub(super) targets: &'f [String],
    /// To look names up.
    pub(super) lookups: &'f [Duration],
    pub(super) run: u64,
    pub(super) letters: &'f Arc<Letters>,
    pub(super) expect: &'f str,
    pub(super) shard: Option<Shard>,
    /// The plan before it was cut into shards.
    pub(super) plan: Option<&'f Plan>,
    pub(super) stop: &'f Stop,
    pub(super) ui: &'f Ui,
}

/// What a run came to.
pub(super) struct Measured {
    pub(super) record: Record,
    pub(super) measures: Measures,
    pub(super) intervals: Vec<report::load::Interval>,
    /// The file that could not be written to its end, if one could not.
    pub(super) folder: Option<Folder>,
}

impl Frame<'_> {
    /// Which part of which plan this is, for the log of histograms.
    fn facts(&self) -> Facts {
        let shard = self.shard.unwrap_or(Shard { index: 0, count: 1 });
        Facts {
            plan: self.plan.map(Plan::digest).unwrap_or_else(|| "closed".into()),
            shard: shard.index as u32,
            shards: shard.count as u32,
            run: format!("{:016x}", self.run),
        }
    }

    /// What looking names up took, once for all.
    fn lookups(&self) -> Measures {
        let mut measures = Measures::default();
        self.lookups.iter().for_each(|took| measures.record(Kind::Dns, *took));
        measures
    }

    /// Runs once.
    pub(super) fn measure(
        &self,
        settings: Settings,
        sides: &Sides,
        dir: Option<&Path>,
        title: &str,
    ) -> Result<Measured> {
        let mut folder = dir.map(|dir| Folder::create(dir, &self.facts())).transpose()?;
        let lookups = self.lookups();
        if let Some(folder) = &mut folder {
            folder.add_measures(Duration::ZERO, &lookups);
        }
        let deliveries = sides.begin_run();
        let mut own = Own::start();
        let mut intervals = Vec::new();
        let mut live = Live::new(self.ui, &settings, title);
        let started_at = start_of(&settings);
        let mut on_row = |row: &Row<'_>| {
            own.look();
            let asked_per_s = self.plan.map(|plan| asked(plan, &settings, row));
            let line = Line::new(row, asked_per_s, sides.queue_now());
            live.show(row, &line);
            intervals.push(line.for_page(row.slice, deliveries.is_some()));
            if let Some(folder) = &mut folder {
                folder.add(&line, row.slice);
            }
        };
        let ran = engine::run(
            settings.clone(),
            Arc::clone(self.letters),
            deliveries.clone(),
            self.stop,
            &mut on_row,
        );
        let mut run = ran.context("cannot run")?;
        drop(live);
        if run.held < settings.idle_connections as u64 && !run.is_stopped {
            self.ui.warning(format!(
                "{} of {} idle connections were there at the end; the server may allow fewer, or one address too few ports (--source)",
                run.held, settings.idle_connections
            ));
        }
        own.look();
        run.total.main.measures.add(&lookups);
        let (delivery, looks) = sides.end_run();
        let mut record = self.record(&settings, &run, started_at);
        record.delivery = delivery;
        record.queue = looks
            .as_ref()
            .and_then(|looks| queue_facts(looks, run.start, settings_warmup(&settings)));
        record.generator = generator(&settings, &run, &own);
        Ok(Measured { record, measures: run.total.main.measures, intervals, folder })
    }

    fn record(&self, settings: &Settings, run: &Run, started_at: Timestamp) -> Record {
        let (mode, duration) = match &settings.pace {
            Pace::Open(plan) => (Mode::Open, plan.duration() - plan.warmup()),
            Pace::Closed { .. } => (Mode::Closed, Duration::ZERO),
        };
        let warmup = settings_warmup(settings);
        let last_end = run.last_end.unwrap_or_default();
        let elapsed = last_end.saturating_sub(warmup);
        // A plan that was not stopped has its length, though its last message ended before.
        let is_whole = mode == Mode::Open && !run.is_stopped;
        let elapsed = if is_whole { elapsed.max(duration) } else { elapsed };
        let duration = match (mode, run.is_stopped) {
            (Mode::Open, false) => duration,
            (Mode::Open, true) => run.paced.length.saturating_sub(warmup).min(duration),
            (Mode::Closed, _) => elapsed,
        };
        let mut totals = Totals::of(run);
        if mode == Mode::Closed {
            totals.offered = totals.counts.started;
        }
        Record {
            version: 1,
            mode,
            target: self.targets.to_vec(),
            run: format!("{:016x}", self.run),
            seed: settings.seed,
            plan: PlanFacts {
                digest: self.facts().plan,
                shard: self.shard,
                stages: self.plan.map(stages).unwrap_or_default(),
            },
            left_out: Vec::new(),
            expect: self.expect.to_owned(),
            started_at,
            warmup_us: warmup.as_micros() as u64,
            duration_us: duration.as_micros() as u64,
            elapsed_us: elapsed.as_micros() as u64,
            is_interrupted: run.is_stopped,
            totals,
            warmup: run.total.warmup.counts,
            replies: run.replies.clone(),
            delivery: None,
            queue: None,
            generator: Generator::default(),
        }
    }
}

fn start_of(settings: &Settings) -> Timestamp {
    let wait = settings.begin.map(|begin| begin.saturating_duration_since(Instant::now()));
    let wait = wait.unwrap_or_default();
    Timestamp::now().checked_add(wait).unwrap_or_else(|_| Timestamp::now())
}

fn settings_warmup(settings: &Settings) -> Duration {
    match &settings.pace {
        Pace::Open(plan) => plan.warmup(),
        Pace::Closed { warmup, .. } => *warmup,
    }
}

/// What the plan asked of this shard in the middle of an interval.
fn asked(plan: &Plan, settings: &Settings, row: &Row<'_>) -> f64 {
    let whole = plan.per_s_at(row.start + row.length / 2);
    match &settings.pace {
        Pace::Open(part) => whole * part.share(),
        Pace::Closed { .. } => whole,
    }
}

fn stages(plan: &Plan) -> Vec<Stage> {
    let mut start = Duration::ZERO;
    let stages = plan.stages().iter().map(|stage| {
        let begin = start;
        start += stage.duration;
        Stage {
            name: stage.name.clone(),
            start_us: begin.as_micros() as u64,
            end_us: start.as_micros() as u64,
            is_warmup: stage.is_warmup,
        }
    });
    stages.collect()
}

fn queue_facts(looks: &Looks, start: Option<Instant>, warmup: Duration) -> Option<QueueFacts> {
    let begun = start?.saturating_duration_since(looks.since) + warmup;
    let kept = looks.samples.kept();
    let (first, last) = (kept.first()?, kept.last()?);
    Some(QueueFacts {
        samples: kept.len() as u64,
        first: first.1,
        last: last.1,
        max: looks.samples.max()?,
        slope: looks.samples.slope_since(begun),
    })
}

fn generator(settings: &Settings, run: &Run, own: &Own) -> Generator {
    // What was waited for afterwards makes no thread less busy. Of less than a second no share is known: to begin takes
    // a thread all of its time.
    let length = run.last_end.unwrap_or(run.length).as_secs_f64().max(1.0);
    let clipped = Kind::ALL.iter().map(|kind| run.total.main.measures.clipped(*kind)).sum();
    Generator {
        cpu_shares: run.worker_cpu.iter().map(|cpu| cpu.as_secs_f64() / length).collect(),
        used: own::Used { descriptors_limit: own::descriptors_limit(), ..own.used() },
        connections_most: run.open_most,
        connections_limit: settings.connections as u64,
        idle_held: run.held,
        made_late: run.made_late,
        clipped,
    }
}
