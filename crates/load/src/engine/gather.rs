//! What all workers measured, brought together on the caller's thread: each interval as it ends, and the whole. An
//! interval is handed on when every worker is past it, so that its numbers never change afterwards.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::dispatch::Paced;
use super::{Deliveries, Settings, Stop};
use crate::measure::{Counts, Measures};
use crate::replies::Replies;

/// Measures and counts of the same messages.
#[derive(Debug, Default)]
pub struct Side {
    /// What things took.
    pub measures: Measures,
    /// How many there were.
    pub counts: Counts,
}

/// What one worker, or all, measured in an interval.
#[derive(Debug, Default)]
pub struct Slice {
    /// Messages that count.
    pub main: Side,
    /// Messages of the warm-up.
    pub warmup: Side,
}

/// What a worker hands over.
pub(super) enum Part {
    Slice { worker: usize, index: u64, open: u64, most: u64, cpu: Duration, slice: Slice },
    End { worker: usize, replies: Replies, last_end: Option<Instant> },
}

/// An interval that is over.
#[derive(Debug)]
pub struct Row<'r> {
    /// Its number, from the start of the plan.
    pub index: u64,
    /// From the start of the plan to its start.
    pub start: Duration,
    /// How long it was.
    pub length: Duration,
    /// What ended in it.
    pub slice: &'r Slice,
    /// Connections that were open at its end.
    pub open: u64,
    /// Messages that were accepted and not seen yet at its end.
    pub undelivered: u64,
}

/// A whole run.
#[derive(Debug, Default)]
pub struct Run {
    /// All that ended.
    pub total: Slice,
    /// The table of replies.
    pub replies: Replies,
    /// What the pacer did.
    pub paced: Paced,
    /// When the plan began.
    pub start: Option<Instant>,
    /// From the start of the plan to the end of the last session.
    pub length: Duration,
    /// From the start of the plan to the end of the last message that counts.
    pub last_end: Option<Duration>,
    /// Processor time of each worker's thread.
    pub worker_cpu: Vec<Duration>,
    /// Connections that were open at most: of each worker at its own moment of an interval, so rather too many.
    pub open_most: u64,
    /// Idle connections that were held to the end.
    pub held: u64,
    /// Messages that were not made when they were due.
    pub made_late: u64,
    /// Whether it was asked to stop.
    pub is_stopped: bool,
}

pub(super) struct Gather {
    parts: Receiver<Part>,
    start: Instant,
    interval: Duration,
    waiting: BTreeMap<u64, Slice>,
    /// The first interval that was not handed on.
    next: u64,
    /// How far each worker has come; `None`: it has ended.
    reached: Vec<Option<u64>>,
    open: Vec<u64>,
    /// At most, in the last interval that each has told of.
    most: Vec<u64>,
    run: Run,
}

impl Slice {
    fn add(&mut self, other: &Slice) {
        for (mine, theirs) in [(&mut self.main, &other.main), (&mut self.warmup, &other.warmup)] {
            mine.measures.add(&theirs.measures);
            mine.counts.add(&theirs.counts);
        }
    }
}

impl Gather {
    pub(super) fn new(
        settings: &Settings,
        workers: usize,
        start: Instant,
    ) -> (Self, SyncSender<Part>) {
        let (sender, parts) = sync_channel(8 * workers);
        let gather = Self {
            parts,
            start,
            interval: settings.interval,
            waiting: BTreeMap::new(),
            next: 0,
            reached: vec![Some(0); workers],
            open: vec![0; workers],
            most: vec![0; workers],
            run: Run { worker_cpu: vec![Duration::ZERO; workers], ..Run::default() },
        };
        (gather, sender)
    }

    /// Takes what comes until all workers have ended.
    pub(super) fn all(
        &mut self,
        deliveries: Option<&Mutex<Deliveries>>,
        on_row: &mut dyn FnMut(&Row<'_>),
    ) {
        while let Ok(part) = self.parts.recv() {
            self.take(part);
            self.hand_on(deliveries, on_row);
        }
        self.run.length = self.start.elapsed();
    }

    /// Waits for messages that were accepted and not seen, until none is left, or `limit`, or the stop; hands on what is left.
    pub(super) fn deliveries(
        mut self,
        deliveries: Option<&Mutex<Deliveries>>,
        limit: Duration,
        stop: &Stop,
        on_row: &mut dyn FnMut(&Row<'_>),
    ) -> Run {
        let until = Instant::now() + limit;
        if let Some(all) = deliveries {
            let is_waiting = || lock(all).missing() > 0;
            while is_waiting() && Instant::now() < until && !stop.is_stopped() {
                std::thread::park_timeout(LOOK_ROUND);
                let reached = self.index_now();
                for index in self.next..reached {
                    self.waiting.entry(index).or_default();
                }
                self.hand_on_before(reached, deliveries, on_row);
            }
        }
        self.waiting.entry(self.next).or_default();
        self.hand_on_before(u64::MAX, deliveries, on_row);
        self.run
    }

    fn index_now(&self) -> u64 {
        (self.start.elapsed().as_micros() / self.interval.as_micros().max(1)) as u64
    }

    fn take(&mut self, part: Part) {
        match part {
            Part::Slice { worker, index, open, most, cpu, slice } => {
                // What comes late is told with the first interval that is still open.
                let at = index.max(self.next);
                self.waiting.entry(at).or_default().add(&slice);
                self.reached[worker] = Some(index + 1);
                (self.open[worker], self.most[worker]) = (open, most);
                self.run.open_most = self.run.open_most.max(self.most.iter().sum());
                self.run.worker_cpu[worker] = cpu;
                self.run.total.add(&slice);
            }
            Part::End { worker, replies, last_end } => {
                let end = last_end.map(|end| end.saturating_duration_since(self.start));
                self.run.last_end = self.run.last_end.max(end);
                self.reached[worker] = None;
                self.run.replies.add(&replies);
            }
        }
    }

    fn hand_on(
        &mut self,
        deliveries: Option<&Mutex<Deliveries>>,
        on_row: &mut dyn FnMut(&Row<'_>),
    ) {
        let reached = self.reached.iter().flatten().min().copied();
        self.hand_on_before(reached.unwrap_or(self.next), deliveries, on_row);
    }

    fn hand_on_before(
        &mut self,
        end: u64,
        deliveries: Option<&Mutex<Deliveries>>,
        on_row: &mut dyn FnMut(&Row<'_>),
    ) {
        while let Some((&index, _)) = self.waiting.first_key_value()
            && index < end
        {
            let Some(mut slice) = self.waiting.remove(&index) else { break };
            let mut undelivered = 0;
            if let Some(all) = deliveries {
                let mut all = lock(all);
                let side = all.take();
                self.run.total.main.measures.add(&side.measures);
                self.run.total.main.counts.add(&side.counts);
                slice.main.measures.add(&side.measures);
                slice.main.counts.add(&side.counts);
                undelivered = all.missing();
            }
            let open = self.open.iter().sum();
            let start = self.interval.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
            let length = self.interval;
            on_row(&Row { index, start, length, slice: &slice, open, undelivered });
            self.next = index + 1;
        }
    }
}

fn lock(deliveries: &Mutex<Deliveries>) -> std::sync::MutexGuard<'_, Deliveries> {
    deliveries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often those who wait for deliveries look.
const LOOK_ROUND: Duration = Duration::from_millis(20);
