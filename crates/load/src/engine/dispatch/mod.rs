//! What is to begin next, and who has room for it, behind one lock: an arrival is taken and its place reserved in one
//! step, so that none waits while a session is free. Arrivals stay in the plan until they begin: a backlog costs nothing.

mod source;
mod state;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::source::{Source, limit};
use self::state::{End, State, Waiting};
use super::Settings;
use crate::letters::{Letter, Letters};
use crate::measure::{Kind, Measures};

/// A message that begins.
pub(in crate::engine) struct Job {
    pub(in crate::engine) index: u64,
    /// Made ahead, if the maker had come so far.
    pub(in crate::engine) letter: Option<Letter>,
    /// When it was to begin.
    pub(in crate::engine) planned: Instant,
    pub(in crate::engine) is_warmup: bool,
    /// Whether a session was free when it was due, so that what it is late is our doing.
    pub(in crate::engine) is_prompt: bool,
    /// What an earlier attempt left, if there was one.
    pub(in crate::engine) again: Option<Again>,
}

impl Job {
    /// When the message was to begin, whichever attempt this is: its sender has waited since.
    pub(in crate::engine) fn first_planned(&self) -> Instant {
        self.again.as_ref().map_or(self.planned, |again| again.first_planned)
    }
}

/// What is known of a message that is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Again {
    /// Attempts so far.
    pub(in crate::engine) attempts: u32,
    /// Positions of the recipients that are left.
    pub(in crate::engine) left: Vec<u32>,
    /// Recipients that have it.
    pub(in crate::engine) accepted: u32,
    /// When its first attempt was to begin.
    pub(in crate::engine) first_planned: Instant,
}

/// What the pacer did.
#[derive(Debug, Clone, Default)]
pub struct Paced {
    /// Arrivals that were due before the run ended, warm-up not counted.
    pub offered: u64,
    /// Of those, the ones that no session was free for until the end.
    pub not_started: u64,
    /// Messages that were waiting for another attempt when the run ended.
    pub not_retried: u64,
    /// How long both kinds had waited by then: their response time is at least that.
    pub waits: Measures,
    /// From the start of the plan until nothing new began any more.
    pub length: Duration,
}

pub(in crate::engine) struct Dispatch {
    state: Mutex<State>,
    /// Told when a retry is planned or the run ends; the pacer waits here.
    changed: Condvar,
    /// Told when messages made ahead run low.
    low: Condvar,
    inboxes: Vec<Inbox>,
    /// Sessions that have begun to send a message.
    sending: AtomicUsize,
    first_index: u64,
    start: Instant,
    /// When the run ends, whatever is left.
    limit: Instant,
}

#[derive(Default)]
pub(in crate::engine) struct Inbox {
    jobs: Mutex<VecDeque<Job>>,
    pub(in crate::engine) told: Notify,
}

impl Dispatch {
    pub(in crate::engine) fn new(settings: &Settings, start: Instant) -> Self {
        let workers = settings.workers.clamp(1, settings.connections.max(1));
        let share = |worker: usize| {
            let connections = settings.connections.max(1);
            connections / workers + usize::from(worker < connections % workers)
        };
        let state = State {
            source: Source::new(&settings.pace, start),
            to_make: Source::new(&settings.pace, start),
            ready: VecDeque::new(),
            retries: BinaryHeap::new(),
            busy: vec![0; workers],
            room: (0..workers).map(share).collect(),
            last_full: None,
            offered: 0,
            made_late: 0,
            is_maker_resting: false,
            end: End::Running,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            low: Condvar::new(),
            inboxes: (0..workers).map(|_| Inbox::default()).collect(),
            sending: AtomicUsize::new(0),
            first_index: settings.first_index,
            start,
            limit: limit(settings, start),
        }
    }

    pub(in crate::engine) fn workers(&self) -> usize {
        self.inboxes.len()
    }

    pub(in crate::engine) fn made_late(&self) -> u64 {
        self.lock().made_late
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked ends the run by itself; the state is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what is due to whoever has room, and waits for the next; `None` when the run is over.
    pub(in crate::engine) fn pace_once(&self, stopped: impl Fn() -> bool) -> Option<()> {
        let mut state = self.lock();
        let now = Instant::now();
        if now >= self.start {
            while let Some(worker) = state.roomiest() {
                let Some(mut job) = state.take(now, self.first_index) else { break };
                job.is_prompt &= state.last_full.is_none_or(|full| full < job.planned);
                state.busy[worker] += 1;
                self.inboxes[worker].put(job);
            }
        }
        self.call_maker(&state);
        if stopped() || now >= self.limit || state.is_done(now) {
            return None;
        }
        let mut next = if now < self.start { Some(self.start) } else { state.next_at() };
        if state.roomiest().is_none() {
            // Whoever has ended one takes the next: there is nothing to do here.
            next = None;
            state.last_full = Some(now);
        }
        let wait = next.map_or(LOOK_ROUND, |next| next.saturating_duration_since(now));
        let wait = wait.min(LOOK_ROUND);
        if !wait.is_zero() {
            drop(self.changed.wait_timeout(state, wait));
        }
        Some(())
    }

    /// The next job for a session that has ended one; if nothing is due its place is free again.
    pub(in crate::engine) fn next(&self, worker: usize) -> Option<Job> {
        let mut state = self.lock();
        let mut job = match state.end {
            End::Running => state.take(Instant::now(), self.first_index),
            End::Ending | End::Closed => None,
        };
        // It waited for this session, not for us.
        job.iter_mut().for_each(|job| job.is_prompt = false);
        match &job {
            Some(_) => self.call_maker(&state),
            None => {
                let was_full = state.roomiest().is_none();
                if was_full {
                    state.last_full = Some(Instant::now());
                }
                state.busy[worker] -= 1;
                // The pacer sleeps while nobody has room, and whoever waits for the end for each that goes.
                if was_full || state.end != End::Running || state.source.is_over(Instant::now()) {
                    self.changed.notify_all();
                }
            }
        }
        job
    }

    /// Plans another attempt; false if too many wait, or the run ends.
    pub(in crate::engine) fn again(&self, due: Instant, job: &Job, again: Again) -> bool {
        let mut state = self.lock();
        if state.end != End::Running || state.retries.len() >= RETRIES {
            return false;
        }
        let waiting = Waiting { due, index: job.index, is_warmup: job.is_warmup, again };
        state.retries.push(Reverse(waiting));
        self.changed.notify_all();
        true
    }

    /// Nothing begins from now on. What was due and has not begun is counted.
    pub(in crate::engine) fn end(&self) -> Paced {
        let mut state = self.lock();
        state.end = End::Ending;
        let now = Instant::now();
        let mut waits = Measures::default();
        let not_started = state.count_due(now, &mut waits);
        state.offered += not_started;
        let mut not_retried = 0;
        for Reverse(waiting) in std::mem::take(&mut state.retries) {
            if !waiting.is_warmup {
                not_retried += 1;
                let planned = waiting.again.first_planned;
                waits.record(Kind::Response, now.saturating_duration_since(planned));
            }
        }
        self.low.notify_all();
        let length = now.saturating_duration_since(self.start);
        Paced { offered: state.offered, not_started, not_retried, waits, length }
    }

    /// Waits until no session has a message, no longer than until `limit`.
    pub(in crate::engine) fn wait_idle(&self, limit: Instant, stopped: impl Fn() -> bool) {
        let mut state = self.lock();
        while state.busy.iter().any(|busy| *busy > 0) {
            let now = Instant::now();
            // Who is still connecting when somebody stops the run has nothing to lose.
            if now >= limit || (stopped() && !self.is_sending()) {
                return;
            }
            let wait = (limit - now).min(LOOK_ROUND);
            state = self
                .changed
                .wait_timeout(state, wait)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// A session begins to send.
    pub(in crate::engine) fn sends(&self) {
        self.sending.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended, one way or the other.
    pub(in crate::engine) fn has_sent(&self) {
        self.sending.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed) > 0
    }

    /// Tells all workers that nothing more comes.
    pub(in crate::engine) fn close(&self) {
        self.lock().end = End::Closed;
        for inbox in &self.inboxes {
            inbox.told.notify_one();
        }
    }

    pub(in crate::engine) fn is_closed(&self) -> bool {
        self.lock().end == End::Closed
    }

    pub(in crate::engine) fn inbox(&self, worker: usize) -> &Inbox {
        &self.inboxes[worker]
    }

    fn call_maker(&self, state: &State) {
        if state.is_maker_resting && state.ready.len() <= READY_LOW {
            self.low.notify_one();
        }
    }

    /// Makes messages until there are enough, and waits until there are few again; false when the run ends. They are
    /// made without the lock.
    pub(in crate::engine) fn make(&self, letters: &Letters) -> bool {
        let mut indices = Vec::with_capacity(BATCH);
        {
            let mut state = self.lock();
            if state.ready.len() >= READY_HIGH || state.is_all_made() {
                state.is_maker_resting = true;
                let waited = self.low.wait_timeout(state, LOOK_ROUND);
                state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
                state.is_maker_resting = false;
            }
            if state.end != End::Running {
                return false;
            }
            if state.ready.len() >= READY_HIGH {
                return true;
            }
            while indices.len() < BATCH
                && let Some(index) = state.to_make.next_index()
            {
                indices.push(self.first_index + index);
            }
        }
        let made: Vec<Letter> = indices.into_iter().map(|index| letters.make(index)).collect();
        self.lock().ready.extend(made);
        true
    }
}

impl Inbox {
    fn put(&self, job: Job) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        self.told.notify_one();
    }

    pub(in crate::engine) fn take(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Messages that wait for another attempt, at most; further ones get none.
const RETRIES: usize = 1_000_000;

/// Messages made ahead: large bodies are shared, so that each is some hundred bytes.
const READY_HIGH: usize = 1024;
const READY_LOW: usize = 512;
const BATCH: usize = 64;

/// How often those who wait look whether the run is over.
const LOOK_ROUND: Duration = Duration::from_millis(50);
