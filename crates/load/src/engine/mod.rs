//! From an arrival plan to numbers. One thread paces, some make sessions, one makes messages ahead of them, and the
//! caller's own gathers what they measured, interval by interval. Nothing here grows with the length of a run.

mod deliveries;
mod dispatch;
mod gather;
mod hold;
mod maker;
mod pacer;
mod record;
mod session;
mod wire;
mod worker;

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use self::deliveries::Deliveries;
use self::dispatch::Dispatch;
pub use self::dispatch::Paced;
use self::gather::Gather;
pub use self::gather::{Row, Run, Side, Slice};
pub use self::wire::{TlsShares, Wire};
use self::worker::Worker;
use crate::letters::Letters;
use crate::plan::Plan;

/// When messages begin.
#[derive(Debug, Clone)]
pub enum Pace {
    /// As planned, whatever the server does.
    Open(Plan),
    /// The next when one before has ended: what it takes to end is not what a waiting sender feels.
    Closed {
        /// How many, if that ends it; warm-up not counted.
        messages: Option<u64>,
        /// How long, if that ends it; after the warm-up.
        duration: Option<Duration>,
        /// How long before anything counts.
        warmup: Duration,
    },
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When messages begin.
    pub pace: Pace,
    /// To whom, and how sessions speak.
    pub wire: Wire,
    /// Sessions at one time, at most. At least 1.
    pub connections: usize,
    /// Messages before a session is closed.
    pub messages_per_connection: u64,
    /// Connections that are opened before the plan begins, say hello, and nothing more.
    pub idle_connections: usize,
    /// How long to wait before each further attempt after a 4yz; empty: no further attempt.
    pub retry: Vec<Duration>,
    /// How long a session without a message stays open.
    pub idle: Duration,
    /// How long what is under way, waits or is to be tried again may take when the plan has ended.
    pub drain: Duration,
    /// How long to look for accepted messages that were not seen yet, when nothing is sent any more.
    pub deliver_wait: Duration,
    /// Of the time series, at least 100 ms.
    pub interval: Duration,
    /// Threads that hold sessions, at least 1.
    pub workers: usize,
    /// When the plan begins; in the past: as soon as can be.
    pub begin: Option<Instant>,
    /// The index of the plan's first message: runs that follow each other share no message.
    pub first_index: u64,
    /// Of what is drawn for sessions.
    pub seed: u64,
}

/// Asks a run to stop: nothing new begins, what is under way may end.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Stops.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was asked for.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}

/// Runs to the end, or to the stop. `on_row` is called for each interval that is over, in order.
pub fn run(
    settings: Settings,
    letters: Arc<Letters>,
    deliveries: Option<Arc<Mutex<Deliveries>>>,
    stop: &Stop,
    on_row: &mut dyn FnMut(&Row<'_>),
) -> io::Result<Run> {
    let settings = Arc::new(settings);
    // Threads are there, and the first messages made, before the first is due.
    let held = hold::open(&settings, stop)?;
    let soonest = Instant::now() + HEAD_START;
    let start = settings.begin.map_or(soonest, |begin| begin.max(soonest));
    let dispatch = Arc::new(Dispatch::new(&settings, start));
    let maker = maker::spawn(Arc::clone(&dispatch), Arc::clone(&letters))?;
    let (mut gather, parts) = Gather::new(&settings, dispatch.workers(), start);
    let mut workers = Vec::new();
    for number in 0..dispatch.workers() {
        let worker = Worker {
            number,
            start,
            settings: Arc::clone(&settings),
            dispatch: Arc::clone(&dispatch),
            letters: Arc::clone(&letters),
            deliveries: deliveries.clone(),
            stop: stop.clone(),
            parts: parts.clone(),
        };
        let name = format!("load-{number}");
        workers.push(thread::Builder::new().name(name).spawn(move || worker.run())?);
    }
    drop(parts);
    let pacer = {
        let (dispatch, stop) = (Arc::clone(&dispatch), stop.clone());
        let builder = thread::Builder::new().name("load-pacer".into());
        builder.spawn(move || pacer::pace(&dispatch, &stop))?
    };
    gather.all(deliveries.as_deref(), on_row);
    let panicked = |_| io::Error::other("a thread of the run panicked");
    for worker in workers {
        worker.join().map_err(panicked)??;
    }
    let paced = pacer.join().map_err(panicked)?;
    maker.join().map_err(panicked)?;
    let mut run = gather.deliveries(deliveries.as_deref(), settings.deliver_wait, stop, on_row);
    if let Some(held) = held {
        let kept = held.close()?;
        run.held = kept.count;
        run.replies.add(&kept.refused);
    }
    run.start = Some(start);
    run.total.main.measures.add(&paced.waits);
    run.paced = paced;
    run.made_late = dispatch.made_late();
    run.is_stopped = stop.is_stopped();
    Ok(run)
}

/// Between the start of threads and the plan's.
const HEAD_START: Duration = Duration::from_millis(50);
