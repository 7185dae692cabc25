//! What is to begin next and who has room for it, without a lock and without a clock of its own.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::source::Source;
use super::{Again, Job};
use crate::letters::Letter;
use crate::measure::{Kind, Measures};

pub(super) struct State {
    pub(super) source: Source,
    /// Those that the maker is to make.
    pub(super) to_make: Source,
    pub(super) ready: VecDeque<Letter>,
    pub(super) retries: BinaryHeap<Reverse<Waiting>>,
    pub(super) busy: Vec<usize>,
    pub(super) room: Vec<usize>,
    /// When all were busy for the last time.
    pub(super) last_full: Option<Instant>,
    pub(super) offered: u64,
    pub(super) made_late: u64,
    pub(super) is_maker_resting: bool,
    pub(super) end: End,
}

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Running,
    /// Nothing new begins.
    Ending,
    /// Sessions are to go.
    Closed,
}

/// A message that waits for its next attempt.
pub(super) struct Waiting {
    pub(super) due: Instant,
    pub(super) index: u64,
    pub(super) is_warmup: bool,
    pub(super) again: Again,
}

impl State {
    /// Who has most room for another session, if anybody has.
    pub(super) fn roomiest(&self) -> Option<usize> {
        let left = |worker: &usize| self.room[*worker] - self.busy[*worker];
        (0..self.busy.len()).filter(|worker| left(worker) > 0).max_by_key(left)
    }

    pub(super) fn next_at(&mut self) -> Option<Instant> {
        let retry = self.retries.peek().map(|waiting| waiting.0.due);
        let arrival = self.source.next_at();
        [retry, arrival].into_iter().flatten().min()
    }

    pub(super) fn is_done(&mut self, now: Instant) -> bool {
        self.source.is_over(now)
            && self.retries.is_empty()
            && self.busy.iter().all(|busy| *busy == 0)
    }

    pub(super) fn is_all_made(&mut self) -> bool {
        match &mut self.to_make {
            Source::Open { arrivals, .. } => arrivals.peek().is_none(),
            Source::Closed { left, .. } => *left == 0,
        }
    }

    pub(super) fn take(&mut self, now: Instant, first_index: u64) -> Option<Job> {
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
    pub(super) fn count_due(&mut self, now: Instant, waits: &mut Measures) -> u64 {
        let mut count = 0;
        if matches!(self.source, Source::Open { .. }) {
            while let Some((_, planned, is_warmup)) = self.source.take(now) {
                if !is_warmup {
                    count += 1;
                    waits.record(Kind::Response, now.saturating_duration_since(planned));
                }
            }
        }
        count
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.index).cmp(&(other.due, other.index))
    }
}
