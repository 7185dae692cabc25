//! A session: it connects when it has a message to send, sends one after the other, and rests where nothing is due. A
//! connection that a server has closed meanwhile is replaced before a message counts as failed, as senders do.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use smtp::client::{Client, Endpoint};
use smtp::{Envelope, Failure, Outcome, Phase, Refusal};

use super::dispatch::{Again, Job};
use super::record::{Attempt, Ending};
use super::worker::{Shared, Slot};
use super::{Deliveries, Pace};
use crate::letters::Letter;

/// A connection, and how often it was used.
struct Open {
    client: Client,
    sent: u64,
}

pub(super) async fn run(shared: Rc<Shared>, first: Job) {
    let mut session = Session { shared, open: None, is_warmup: false };
    let mut job = first;
    loop {
        session.deal(job).await;
        session.quit_if_used_up().await;
        job = match session.shared.worker.dispatch.next(session.shared.worker.number) {
            Some(next) => next,
            None => match session.rest().await {
                Some(next) => next,
                None => break,
            },
        };
    }
    session.quit().await;
}

struct Session {
    shared: Rc<Shared>,
    open: Option<Open>,
    /// Whether its last message was.
    is_warmup: bool,
}

/// A message under way: dropped before it has landed, nobody knows what became of it.
struct Flight<'s> {
    shared: &'s Shared,
    index: u64,
    planned: Instant,
    copies: u32,
    is_warmup: bool,
    /// Whether a session was there for it: without one the server knows nothing of it.
    is_sending: &'s Cell<bool>,
    has_landed: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            let is_sending = self.is_sending.get();
            let mut recorder = self.shared.recorder.borrow_mut();
            recorder.cut_off(self.planned, self.is_warmup, is_sending);
            drop(recorder);
            self.shared.mark(self.is_sending, false);
            self.shared.account(|deliveries, now| match is_sending {
                true => deliveries.unknown(self.index, self.copies, now),
                false => deliveries.refused(self.index),
            });
        }
    }
}

impl Session {
    /// Nothing may be awaited between the release of this session's place and its rest.
    async fn rest(&mut self) -> Option<Job> {
        self.open.as_ref()?;
        let slot = Slot::new();
        self.shared.rest(&slot);
        slot.wait().await
    }

    async fn quit_if_used_up(&mut self) {
        let most = self.shared.worker.settings.messages_per_connection;
        if self.open.as_ref().is_some_and(|open| open.sent >= most || !open.client.is_open()) {
            self.quit().await;
        }
    }

    async fn quit(&mut self) {
        if let Some(Open { client, .. }) = self.open.take() {
            let stamps = client.quit().await;
            self.shared.recorder.borrow_mut().stamps(self.is_warmup, &stamps, None);
            self.shared.open.update(|open| open - 1);
        }
    }

    async fn deal(&mut self, mut job: Job) {
        let shared = Rc::clone(&self.shared);
        let begun = Instant::now();
        self.is_warmup = job.is_warmup;
        shared.recorder.borrow_mut().begins(&job, begun);
        let letter = job.letter.take();
        let mut letter = letter.unwrap_or_else(|| shared.worker.letters.make(job.index));
        if let Some(again) = &job.again {
            keep_only(&mut letter.envelope, &again.left);
        }
        let is_sending = Cell::new(false);
        let mut flight = Flight {
            shared: &shared,
            index: job.index,
            planned: job.first_planned(),
            is_sending: &is_sending,
            copies: letter.envelope.to.len() as u32,
            is_warmup: job.is_warmup,
            has_landed: false,
        };
        let (outcomes, attempt) = self.attempt(&job, &letter, &is_sending).await;
        shared.mark(&is_sending, false);
        flight.has_landed = true;
        self.conclude(&job, &letter, &outcomes, attempt);
        let is_closed = matches!(shared.worker.settings.pace, Pace::Closed { .. });
        if is_closed && self.open.is_none() && attempt.service_start.is_none() {
            // Who may begin whenever he likes would else do nothing but connect.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends it over the connection that is there, or a new one if that turns out to be closed.
    async fn attempt(
        &mut self,
        job: &Job,
        letter: &Letter,
        is_sending: &Cell<bool>,
    ) -> (Vec<Outcome>, Attempt) {
        loop {
            self.shared.mark(is_sending, false);
            let planned = job.first_planned();
            if self.open.is_none()
                && let Err((phase, refusal)) = self.connect(job.is_warmup).await
            {
                let outcome = Outcome::Refused(phase, refusal);
                let outcomes = vec![outcome; letter.envelope.to.len()];
                return (outcomes, Attempt { planned, service_start: None, end: Instant::now() });
            }
            let Some(open) = &mut self.open else { continue };
            let is_fresh = open.sent == 0;
            open.sent += 1;
            self.shared.mark(is_sending, true);
            let parts = [&letter.head, &*letter.body];
            let outcomes = open.client.send(&letter.envelope, &parts, None).await;
            let mut recorder = self.shared.recorder.borrow_mut();
            let (service_start, end) = recorder.transaction(job.is_warmup, &mut open.client);
            if !is_fresh && is_stale(&outcomes) {
                recorder.counts(job.is_warmup).reconnects += 1;
                if let Some(Outcome::Refused(phase, refusal)) = outcomes.first()
                    && !job.is_warmup
                {
                    recorder.refused(*phase, refusal);
                }
                self.shared.open.update(|open| open - 1);
                drop(recorder);
                self.open = None;
                continue;
            }
            return (outcomes, Attempt { planned, service_start, end });
        }
    }

    /// Connects to the first server that lets us, as a sender tries those of a domain in their order.
    async fn connect(&mut self, is_warmup: bool) -> Result<(), (Phase, Refusal)> {
        let drawn = self.shared.connections.borrow_mut().draw();
        let mut failed = None;
        for endpoint in &self.shared.worker.settings.wire.endpoints {
            let endpoint = match (endpoint, drawn.source) {
                (Endpoint::Tcp(to, None), source) => Endpoint::Tcp(*to, source),
                (endpoint, _) => endpoint.clone(),
            };
            let connected = Client::connect(&endpoint, &drawn.options).await;
            let mut recorder = self.shared.recorder.borrow_mut();
            match connected {
                Ok(mut client) => {
                    recorder.connected(is_warmup, &mut client);
                    self.shared.opened();
                    self.open = Some(Open { client, sent: 0 });
                    return Ok(());
                }
                Err(not) => {
                    recorder.stamps(is_warmup, &not.stamps, None);
                    recorder.not_connected(is_warmup, &not.refusal);
                    let before = failed.replace((not.phase, not.refusal));
                    if let Some((phase, refusal)) = before.filter(|_| !is_warmup) {
                        recorder.refused(phase, &refusal);
                    }
                }
            }
        }
        let nobody = Refusal::Failure(Failure::GivenUp("there is no server to try".into()));
        Err(failed.unwrap_or((Phase::Connect, nobody)))
    }

    /// Counts what became of it, and plans another attempt for recipients that the server put off.
    fn conclude(&self, job: &Job, letter: &Letter, outcomes: &[Outcome], attempt: Attempt) {
        let shared = &self.shared;
        let before = job.again.as_ref();
        let accepted = outcomes.iter().filter(|outcome| outcome.is_accepted()).count() as u32;
        let unknown =
            outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Unknown(_))).count() as u32;
        let attempts = before.map_or(0, |again| again.attempts) + 1;
        let place = |at: usize| before.map_or(at as u32, |again| again.left[at]);
        let put_off = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_transient());
        let left: Vec<u32> = put_off.map(|(at, _)| place(at)).collect();
        let accepted_so_far = before.map_or(0, |again| again.accepted) + accepted;
        let wait = shared.worker.settings.retry.get(attempts as usize - 1);
        let is_again = !left.is_empty()
            && wait.is_some_and(|wait| {
                let first_planned = job.first_planned();
                let again = Again { attempts, left, accepted: accepted_so_far, first_planned };
                shared.worker.dispatch.again(attempt.end + *wait, job, again)
            });
        let ending = match (is_again, accepted_so_far > 0, unknown > 0) {
            (true, _, _) => Ending::Again,
            (_, true, _) => Ending::Accepted,
            (_, _, true) => Ending::Unknown,
            _ => Ending::of_refusals(outcomes),
        };
        let is_lmtp = shared.is_lmtp();
        let size_bytes = letter.head.size_bytes() + letter.body.size_bytes();
        let mut recorder = shared.recorder.borrow_mut();
        recorder.ends(job, &attempt, outcomes, ending, size_bytes, is_lmtp);
        drop(recorder);
        shared.account(|deliveries, _| {
            if accepted > 0 {
                deliveries.accepted(job.index, accepted, attempt.end);
            }
            if unknown > 0 {
                deliveries.unknown(job.index, unknown, attempt.end);
            }
            if accepted == 0 && unknown == 0 {
                deliveries.refused(job.index);
            }
        });
    }
}

impl Shared {
    /// Whether a message is being sent, for those who wait for that.
    fn mark(&self, is_sending: &Cell<bool>, now: bool) {
        match (is_sending.replace(now), now) {
            (false, true) => self.worker.dispatch.sends(),
            (true, false) => self.worker.dispatch.has_sent(),
            _ => {}
        }
    }

    fn is_lmtp(&self) -> bool {
        self.worker.settings.wire.options.protocol == smtp::client::Protocol::Lmtp
    }

    fn account(&self, tell: impl FnOnce(&mut Deliveries, Instant)) {
        if let Some(deliveries) = &self.worker.deliveries {
            tell(&mut deliveries.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        }
    }
}

fn keep_only(envelope: &mut Envelope, places: &[u32]) {
    let mut place = 0;
    envelope.to.retain(|_| {
        place += 1;
        places.contains(&(place - 1))
    });
}

/// Whether the connection had ended before the server can have taken anything of the message.
fn is_stale(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| match outcome {
        Outcome::Refused(Phase::Mail | Phase::Rset, Refusal::Failure(failure)) => {
            matches!(failure, Failure::Closed | Failure::Io(_) | Failure::HalfReply)
        }
        Outcome::Refused(Phase::Mail | Phase::Rset, Refusal::Reply(reply)) => reply.code == 421,
        _ => false,
    })
}

/// After a connection that did not come to be, where no plan says when to begin.
const PAUSE: Duration = Duration::from_millis(100);
