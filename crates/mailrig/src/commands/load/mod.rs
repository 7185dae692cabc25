//! `load`: one run, from its arguments to its verdict; its sub-commands have files of their own.

mod args;
mod compare;
mod compose;
mod corpus;
mod find;
mod live;
mod measure;
mod merge;
mod output;
mod page;
mod replay;
mod result;
mod series;
mod setup;
mod sides;
mod target;
mod text;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use load::engine::{Pace, Stop};
use load::result::Document;
use load::verdict::Word;

pub(crate) use self::args::LoadArgs;
use self::args::{LoadCommand, RunArgs};
pub(crate) use self::compose::{Style, templates};
use self::measure::{Frame, Measured};
pub(crate) use self::output::write_whole;
use self::replay::Replay;
use self::setup::Setup;
use self::sides::{Place, Sides};
use crate::exit::{Exit, UsageError};
use crate::interrupt;
use crate::ui::{Ui, duration};

pub(crate) fn run(args: LoadArgs, ui: &Ui) -> Result<Exit> {
    match args.command {
        None => send(&args.run, None, ui),
        Some(LoadCommand::Merge(args)) => merge::run(&args, ui),
        Some(LoadCommand::Compare(args)) => compare::run(&args, ui),
        Some(LoadCommand::Replay(args)) => {
            let replay = replay::read(&args)?;
            send(&args.run, Some(replay), ui)
        }
    }
}

fn send(args: &RunArgs, replay: Option<Replay>, ui: &Ui) -> Result<Exit> {
    output::check_place(args.html.as_deref())?;
    let place = match &args.deliver {
        Some(text) => {
            Some(Place::parse(text, args.deliver_password_file.as_deref(), &setup::trust(args)?)?)
        }
        None => None,
    };
    let Setup { mut settings, targets, run, letters, expect, shard, plan, start_at } =
        setup::prepare(args, replay, ui)?;
    let stop = Stop::default();
    let stopping = stop.clone();
    interrupt::on_signal(move || stopping.stop());
    let letters = Arc::new(letters);
    let frame = Frame {
        reach: targets.reach,
        targets: &args.target,
        lookups: &targets.lookups,
        run,
        letters: &letters,
        expect: &expect,
        shard,
        plan: plan.as_ref(),
        stop: &stop,
        ui,
    };
    let say = |text: String| ui.status(text);
    let mut sides = Sides::start(run, place.as_ref(), args.queue.as_deref(), &stop, say)?;
    if args.find_limit {
        return find::run(args, &frame, &settings, &mut sides);
    }
    settings.interval = output::interval(match &settings.pace {
        Pace::Open(plan) => Some(plan.duration()),
        Pace::Closed { duration, warmup, .. } => duration.map(|length| length + *warmup),
    });
    settings.begin = start_at.map(begin).transpose()?;
    if let Some(begin) = settings.begin {
        let wait = begin.saturating_duration_since(Instant::now());
        ui.status(format!("Waiting {} for the start", duration(wait)));
    }
    let measured = frame.measure(settings, &sides, args.out.as_deref(), "")?;
    let Measured { mut record, measures, intervals, folder } = measured;
    sides.conclude(&mut record, ui);
    let mut document = Document::new(record, &measures)?;
    document.remarks.clone_from(&ui.warnings());
    let page =
        page::Extra { intervals, place: args.deliver.clone(), command: page::command_line() };
    deliver(&document, &measures, page, args.html.as_deref(), folder, ui)?;
    Ok(exit(&document))
}

/// Writes what is to be written, and prints.
fn deliver(
    document: &Document,
    measures: &load::measure::Measures,
    extra: page::Extra,
    html: Option<&Path>,
    folder: Option<output::Folder>,
    ui: &Ui,
) -> Result<()> {
    let page = page::page(document, measures, extra);
    ui.result("load", document, || text::text(document))?;
    // The result is told whatever becomes of the files.
    let written = folder.map_or(Ok(()), |folder| folder.finish(document));
    if let Some(path) = html {
        write_whole(path, report::load::html(&page).as_bytes())?;
    }
    written
}

fn exit(document: &Document) -> Exit {
    match document.verdict {
        _ if document.record.is_interrupted => Exit::Interrupted,
        Word::Met => Exit::Done,
        Word::Missed => Exit::Negative,
        Word::Invalid | Word::NothingAccepted => Exit::Inconclusive,
    }
}

/// The instant of a time of the wall clock.
fn begin(at: Timestamp) -> Result<Instant> {
    let wait = at.duration_since(Timestamp::now());
    let late = UsageError(format!("--start-at {at} is over; all shards begin at one time to come"));
    let wait = Duration::try_from(wait).map_err(|_| late)?;
    let begin = Instant::now().checked_add(wait).filter(|_| wait <= LONGEST_WAIT);
    let far = || UsageError(format!("--start-at {at} is more than a year away"));
    Ok(begin.ok_or_else(far)?)
}

/// Until the start.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);
