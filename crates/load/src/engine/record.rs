//! What a worker has measured since the last interval began. Warm-up is kept apart, by when a message was planned and
//! not by when it ended.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use smtp::client::Client;
use smtp::{Failure, Outcome, Phase, Refusal, Resource, Stamp};

use super::dispatch::Job;
use super::gather::{Part, Slice};
use crate::measure::{Counts, Kind};
use crate::replies::Replies;

/// One attempt to send a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// When the message was to begin: before its first attempt.
    pub(super) planned: Instant,
    /// Before the first byte of MAIL; `None` if it did not come to that.
    pub(super) service_start: Option<Instant>,
    /// After the final reply, or when the failure was noticed.
    pub(super) end: Instant,
}

/// What became of a message with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It will be tried again.
    Again,
    Accepted,
    Unknown,
    /// For good.
    Refused,
    /// The server put it off, and there is no further attempt.
    Deferred,
    /// No reply.
    Failed,
}

impl Ending {
    pub(super) fn of_refusals(outcomes: &[Outcome]) -> Self {
        let is_reply = |outcome: &&Outcome| outcome.reply().is_some();
        match outcomes.iter().find(is_reply) {
            None => Ending::Failed,
            Some(_) if outcomes.iter().any(Outcome::is_transient) => Ending::Deferred,
            Some(_) => Ending::Refused,
        }
    }
}

pub(super) struct Recorder {
    worker: usize,
    start: Instant,
    interval: Duration,
    slice: Slice,
    replies: Replies,
    /// When the last message that counts ended.
    last_end: Option<Instant>,
}

impl Recorder {
    pub(super) fn new(worker: usize, start: Instant, interval: Duration) -> Self {
        let (slice, replies) = (Slice::default(), Replies::default());
        Self { worker, start, interval, slice, replies, last_end: None }
    }

    pub(super) fn counts(&mut self, is_warmup: bool) -> &mut Counts {
        if is_warmup { &mut self.slice.warmup.counts } else { &mut self.slice.main.counts }
    }

    fn record(&mut self, is_warmup: bool, kind: Kind, took: Duration) {
        let side = if is_warmup { &mut self.slice.warmup } else { &mut self.slice.main };
        side.measures.record(kind, took);
    }

    pub(super) fn begins(&mut self, job: &Job, now: Instant) {
        let waited = now.saturating_duration_since(job.planned);
        self.record(job.is_warmup, Kind::QueueWait, waited);
        if job.is_prompt {
            self.record(job.is_warmup, Kind::Lateness, waited);
        }
        let counts = self.counts(job.is_warmup);
        if job.again.is_some() {
            counts.retried += 1;
        } else {
            counts.started += 1;
        }
    }

    pub(super) fn connected(&mut self, is_warmup: bool, client: &mut Client) {
        self.counts(is_warmup).connections += 1;
        let is_resumed = client.secured().map(|secured| secured.is_resumed);
        for stamp in client.drain_stamps() {
            self.stamp(is_warmup, &stamp, is_resumed);
        }
    }

    pub(super) fn not_connected(&mut self, is_warmup: bool, refusal: &Refusal) {
        let counts = self.counts(is_warmup);
        counts.connections_failed += 1;
        match refusal {
            Refusal::Failure(Failure::Exhausted(Resource::Ports)) => counts.ports_exhausted += 1,
            Refusal::Failure(Failure::Exhausted(Resource::Descriptors)) => {
                counts.descriptors_exhausted += 1;
            }
            _ => {}
        }
    }

    /// A reply or failure that is not the last word on a message.
    pub(super) fn refused(&mut self, phase: Phase, refusal: &Refusal) {
        self.replies.record_refusal(phase, refusal, self.start.elapsed());
    }

    /// Gives when the transaction began and ended.
    pub(super) fn transaction(
        &mut self,
        is_warmup: bool,
        client: &mut Client,
    ) -> (Option<Instant>, Instant) {
        let (mut begun, mut end) = (None, None);
        for stamp in client.drain_stamps() {
            begun.get_or_insert(stamp.start);
            end = Some(stamp.end);
            self.stamp(is_warmup, &stamp, None);
        }
        (begun, end.unwrap_or_else(Instant::now))
    }

    pub(super) fn stamps(&mut self, is_warmup: bool, stamps: &[Stamp], is_resumed: Option<bool>) {
        for stamp in stamps {
            self.stamp(is_warmup, stamp, is_resumed);
        }
    }

    fn stamp(&mut self, is_warmup: bool, stamp: &Stamp, is_resumed: Option<bool>) {
        self.record(is_warmup, kind(stamp.phase, is_resumed == Some(true)), stamp.took());
    }

    /// Every message that came to an end is in the response time, well or not: its sender has waited. One that is tried
    /// again has not come to its end.
    pub(super) fn ends(
        &mut self,
        job: &Job,
        attempt: &Attempt,
        outcomes: &[Outcome],
        ending: Ending,
        size_bytes: u64,
        is_lmtp: bool,
    ) {
        let is_warmup = job.is_warmup;
        if ending != Ending::Again {
            let response = attempt.end.saturating_duration_since(attempt.planned);
            self.record(is_warmup, Kind::Response, response);
        }
        if let Some(begun) = attempt.service_start {
            self.record(is_warmup, Kind::Service, attempt.end.saturating_duration_since(begun));
        }
        // How late the last further attempt is says nothing of how many messages a second were taken.
        if !is_warmup && job.again.is_none() {
            self.last_end = self.last_end.max(Some(attempt.end));
        }
        if !is_warmup {
            self.count_replies(outcomes, is_lmtp);
        }
        let counts = self.counts(is_warmup);
        for outcome in outcomes {
            match outcome {
                Outcome::Accepted(_) => counts.recipients_accepted += 1,
                Outcome::Refused(..) => counts.recipients_refused += 1,
                Outcome::Unknown(_) => counts.recipients_unknown += 1,
            }
        }
        match ending {
            Ending::Again => {}
            Ending::Accepted => counts.accepted += 1,
            Ending::Unknown => counts.unknown += 1,
            Ending::Refused => counts.refused += 1,
            Ending::Deferred => counts.deferred += 1,
            Ending::Failed => counts.failed += 1,
        }
        if outcomes.iter().any(Outcome::is_accepted) {
            counts.bytes += size_bytes;
        }
    }

    /// A message that was under way when all was over. It has waited at least so long: left out of the response time it would
    /// make a server that hangs look well.
    pub(super) fn cut_off(&mut self, planned: Instant, is_warmup: bool, is_sending: bool) {
        self.record(is_warmup, Kind::Response, planned.elapsed());
        let counts = self.counts(is_warmup);
        *(if is_sending { &mut counts.unknown } else { &mut counts.failed }) += 1;
    }

    /// Each reply once: those to RCPT are one a recipient, the others one for all, but in LMTP.
    fn count_replies(&mut self, outcomes: &[Outcome], is_lmtp: bool) {
        let at = self.start.elapsed();
        let mut is_shared_counted = false;
        for outcome in outcomes {
            let is_own =
                is_lmtp || matches!(outcome, Outcome::Refused(Phase::Rcpt, Refusal::Reply(_)));
            if is_own || !std::mem::replace(&mut is_shared_counted, true) {
                self.replies.record(outcome, at);
            }
        }
    }

    /// The interval that it is now.
    fn index(&self) -> u64 {
        (self.start.elapsed().as_micros() / self.interval.as_micros().max(1)) as u64
    }

    /// Hands over what an interval has brought. Who does not take it gets it with the next.
    pub(super) fn ship(&mut self, parts: &SyncSender<Part>, open: u64, most: u64) {
        let (index, slice) = (self.index().saturating_sub(1), std::mem::take(&mut self.slice));
        let (worker, cpu) = (self.worker, thread_cpu());
        let part = Part::Slice { worker, index, open, most, cpu, slice };
        if let Err(TrySendError::Full(Part::Slice { slice, .. })) = parts.try_send(part) {
            self.slice = slice;
        }
    }

    /// Hands over what is left, and waits until it is taken.
    pub(super) fn finish(&mut self, parts: &SyncSender<Part>, most: u64) {
        let (slice, cpu) = (std::mem::take(&mut self.slice), thread_cpu());
        let (worker, index) = (self.worker, self.index());
        // Nobody takes it only where the run has failed anyway.
        let _ = parts.send(Part::Slice { worker, index, open: 0, most, cpu, slice });
        let replies = std::mem::take(&mut self.replies);
        let last_end = self.last_end;
        let _ = parts.send(Part::End { worker, replies, last_end });
    }
}

/// What this thread has used of its processor.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn kind(phase: Phase, is_resumed: bool) -> Kind {
    match phase {
        Phase::Connect => Kind::Connect,
        Phase::Tls if is_resumed => Kind::TlsResumed,
        Phase::Tls => Kind::TlsFull,
        Phase::Banner => Kind::Banner,
        Phase::Ehlo => Kind::Ehlo,
        Phase::StartTls => Kind::StartTls,
        Phase::Auth => Kind::Auth,
        Phase::Mail => Kind::Mail,
        Phase::Rcpt => Kind::Rcpt,
        Phase::Data => Kind::Data,
        Phase::Body => Kind::Body,
        Phase::Rset => Kind::Rset,
        Phase::Quit => Kind::Quit,
    }
}
