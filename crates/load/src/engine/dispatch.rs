//! What is to begin next, and who has room for it, behind one lock: an arrival is taken and its place reserved in one
//! step, so that none waits while a session is free. Arrivals stay in the plan until they begin: a backlog costs nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::iter::Peekable;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Pace, Settings};
use crate::letters::{Letter, Letters};
use crate::plan::{Arrivals, Plan};

/// A message that begins.
pub(super) struct Job {
    pub(super) index: u64,
    /// Made ahead, if the maker had come so far.
    pub(super) letter: Option<Letter>,
    /// When it was to begin.
    pub(super) planned: Instant,
    pub(super) is_warmup: bool,
    /// Whether a session was free when it was due, so that what it is late is our doing.
    pub(super) is_prompt: bool,
    /// What an earlier attempt left, if there was one.
    pub(super) again: Option<Again>,
}

/// What is known of a message that is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Again {
    /// Attempts so far.
    pub(super) attempts: u32,
    /// Positions of the recipients that are left.
    pub(super) left: Vec<u32>,
    /// Recipients that have it.
    pub(super) accepted: u32,
}

/// A message that waits for its next attempt.
struct Waiting {
    due: Instant,
    index: u64,
    is_warmup: bool,
    again: Again,
}

/// What the pacer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paced {
    /// Arrivals that were due before the run ended, warm-up not counted.
    pub offered: u64,
    /// Of those, the ones that no session was free for until the end.
    pub not_started: u64,
    /// Messages that were waiting for another attempt when the run ended.
    pub not_retried: u64,
}

pub(super) struct Dispatch {
    state: Mutex<State>,
    /// Told when a retry is planned or the run ends; the pacer waits here.
    changed: Condvar,
    /// Told when messages made ahead run low.
    low: Condvar,
    inboxes: Vec<Inbox>,
    first_index: u64,
    start: Instant,
    /// When the run ends, whatever is left.
    limit: Instant,
}

#[derive(Default)]
pub(super) struct Inbox {
    jobs: Mutex<VecDeque<Job>>,
    pub(super) told: Notify,
}

struct State {
    source: Source,
    /// Those that the maker is to make.
    to_make: Source,
    ready: VecDeque<Letter>,
    retries: BinaryHeap<Reverse<Waiting>>,
    busy: Vec<usize>,
    room: Vec<usize>,
    /// When all were busy for the last time.
    last_full: Option<Instant>,
    offered: u64,
    made_late: u64,
    is_maker_resting: bool,
    end: End,
}

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Running,
    /// Nothing new begins.
    Ending,
    /// Sessions are to go.
    Closed,
}

/// Where arrivals come from.
enum Source {
    Open { arrivals: Box<Peekable<Arrivals>>, plan: Plan, start: Instant },
    Closed { next: u64, left: u64, warmup_end: Instant, end: Option<Instant> },
}

impl Dispatch {
    pub(super) fn new(settings: &Settings, start: Instant) -> Self {
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
            first_index: settings.first_index,
            start,
            limit: limit(settings, start),
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.inboxes.len()
    }

    pub(super) fn made_late(&self) -> u64 {
        self.lock().made_late
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked ends the run by itself; the state is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what is due to whoever has room, and waits for the next; `None` when the run is over.
    pub(super) fn pace_once(&self, stopped: impl Fn() -> bool) -> Option<()> {
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
    pub(super) fn next(&self, worker: usize) -> Option<Job> {
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
    pub(super) fn again(&self, due: Instant, job: &Job, again: Again) -> bool {
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
    pub(super) fn end(&self) -> Paced {
        let mut state = self.lock();
        state.end = End::Ending;
        let not_started = state.count_due(Instant::now());
        state.offered += not_started;
        let not_retried = state.retries.iter().filter(|waiting| !waiting.0.is_warmup).count();
        state.retries.clear();
        self.low.notify_all();
        Paced { offered: state.offered, not_started, not_retried: not_retried as u64 }
    }

    /// Waits until no session has a message, no longer than until `limit`.
    pub(super) fn wait_idle(&self, limit: Instant) {
        let mut state = self.lock();
        while state.busy.iter().any(|busy| *busy > 0) {
            let now = Instant::now();
            if now >= limit {
                return;
            }
            let wait = (limit - now).min(LOOK_ROUND);
            state = self
                .changed
                .wait_timeout(state, wait)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// Tells all workers that nothing more comes.
    pub(super) fn close(&self) {
        self.lock().end = End::Closed;
        for inbox in &self.inboxes {
            inbox.told.notify_one();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().end == End::Closed
    }

    pub(super) fn inbox(&self, worker: usize) -> &Inbox {
        &self.inboxes[worker]
    }

    fn call_maker(&self, state: &State) {
        if state.is_maker_resting && state.ready.len() <= READY_LOW {
            self.low.notify_one();
        }
    }

    /// Makes messages until there are enough, and waits until there are few again; false when the run ends. They are
    /// made without the lock.
    pub(super) fn make(&self, letters: &Letters) -> bool {
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

    pub(super) fn take(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl State {
    /// Who has most room for another session, if anybody has.
    fn roomiest(&self) -> Option<usize> {
        let left = |worker: &usize| self.room[*worker] - self.busy[*worker];
        (0..self.busy.len()).filter(|worker| left(worker) > 0).max_by_key(left)
    }

    fn next_at(&mut self) -> Option<Instant> {
        let retry = self.retries.peek().map(|waiting| waiting.0.due);
        let arrival = self.source.next_at();
        [retry, arrival].into_iter().flatten().min()
    }

    fn is_done(&mut self, now: Instant) -> bool {
        self.source.is_over(now)
            && self.retries.is_empty()
            && self.busy.iter().all(|busy| *busy == 0)
    }

    fn is_all_made(&mut self) -> bool {
        match &mut self.to_make {
            Source::Open { arrivals, .. } => arrivals.peek().is_none(),
            Source::Closed { left, .. } => *left == 0,
        }
    }

    fn take(&mut self, now: Instant, first_index: u64) -> Option<Job> {
        let is_retry_due = self.retries.peek().is_some_and(|waiting| waiting.0.due <= now);
        if is_retry_due && let Some(Reverse(waiting)) = self.retries.pop() {
            let Waiting { due, index, is_warmup, again } = waiting;
            let (letter, again) = (None, Some(again));
            return Some(Job { index, letter, planned: due, is_warmup, is_prompt: true, again });
        }
        let (index, planned, is_warmup) = self.source.take(now)?;
        let index = first_index + index;
        self.offered += u64::from(!is_warmup);
        while self.ready.front().is_some_and(|letter| letter.index < index) {
            self.ready.pop_front();
        }
        let letter = match self.ready.front() {
            Some(letter) if letter.index == index => self.ready.pop_front(),
            _ => None,
        };
        self.made_late += u64::from(letter.is_none());
        let is_prompt = matches!(self.source, Source::Open { .. });
        Some(Job { index, letter, planned, is_warmup, is_prompt, again: None })
    }

    /// How many were due and have not begun, warm-up not counted.
    fn count_due(&mut self, now: Instant) -> u64 {
        let mut count = 0;
        if matches!(self.source, Source::Open { .. }) {
            while let Some((_, _, is_warmup)) = self.source.take(now) {
                count += u64::from(!is_warmup);
            }
        }
        count
    }
}

impl Source {
    fn new(pace: &Pace, start: Instant) -> Self {
        match pace {
            Pace::Open(plan) => Source::Open {
                arrivals: Box::new(plan.arrivals().peekable()),
                plan: plan.clone(),
                start,
            },
            Pace::Closed { messages, duration, warmup } => {
                let warmup_end = start + *warmup;
                Source::Closed {
                    next: 0,
                    left: messages.unwrap_or(u64::MAX),
                    warmup_end,
                    end: duration.and_then(|duration| warmup_end.checked_add(duration)),
                }
            }
        }
    }

    fn next_at(&mut self) -> Option<Instant> {
        match self {
            Source::Open { arrivals, start, .. } => {
                arrivals.peek().and_then(|arrival| start.checked_add(arrival.at))
            }
            Source::Closed { .. } => {
                let now = Instant::now();
                (!self.is_over(now)).then_some(now)
            }
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        match self {
            Source::Open { arrivals, .. } => arrivals.peek().is_none(),
            Source::Closed { left, end, .. } => *left == 0 || end.is_some_and(|end| now >= end),
        }
    }

    /// The next that is due: its index, its planned start, and whether it is warm-up.
    fn take(&mut self, now: Instant) -> Option<(u64, Instant, bool)> {
        if self.is_over(now) {
            return None;
        }
        match self {
            Source::Open { arrivals, plan, start } => {
                let is_due = |at: &Instant| *at <= now;
                let arrival = *arrivals.peek()?;
                let at = start.checked_add(arrival.at).filter(is_due)?;
                arrivals.next();
                Some((arrival.index, at, plan.is_warmup(arrival.stage)))
            }
            Source::Closed { next, left, warmup_end, .. } => {
                let (index, is_warmup) = (*next, now < *warmup_end);
                *next += 1;
                *left -= u64::from(!is_warmup);
                Some((index, now, is_warmup))
            }
        }
    }

    fn next_index(&mut self) -> Option<u64> {
        match self {
            Source::Open { arrivals, .. } => arrivals.next().map(|arrival| arrival.index),
            Source::Closed { next, .. } => {
                *next += 1;
                Some(*next - 1)
            }
        }
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.index).cmp(&(other.due, other.index))
    }
}

fn limit(settings: &Settings, start: Instant) -> Instant {
    let length = match &settings.pace {
        Pace::Open(plan) => plan.duration(),
        Pace::Closed { duration, warmup, .. } => duration.unwrap_or(LONGEST) + *warmup,
    };
    start + length.min(LONGEST) + settings.drain
}

/// No run is longer.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Messages that wait for another attempt, at most; further ones get none.
const RETRIES: usize = 1_000_000;

/// Messages made ahead: large bodies are shared, so that each is some hundred bytes.
const READY_HIGH: usize = 1024;
const READY_LOW: usize = 512;
const BATCH: usize = 64;

/// How often those who wait look whether the run is over.
const LOOK_ROUND: Duration = Duration::from_millis(50);
