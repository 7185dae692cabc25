//! Takes messages out of the queue to the next server, again and again until it has them or their time is over.
//! An answer that did not come whole means another try: a copy too many rather than none (RFC 1047).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::queue::{Queue, Waiting, now_ms};
use crate::address::Address;
use crate::client::{Client, Endpoint, Options};
use crate::message::{Content, Envelope};
use crate::outcome::{Outcome, Refusal};

/// Where mail goes, and how patiently.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The next server.
    pub to: Endpoint,
    /// How to speak to it.
    pub options: Options,
    /// How long to wait after each attempt; the last holds for all that follow.
    pub retry: Vec<Duration>,
    /// After so long a message goes back to its sender.
    pub expire: Duration,
    /// Messages on their way at one time.
    pub parallel: usize,
}

/// What became of one attempt, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) id: String,
    pub(super) delivered: Vec<String>,
    /// Who will not get it, and why.
    pub(super) failed: Vec<(String, String)>,
    pub(super) deferred: Vec<(String, String)>,
    pub(super) waiting: Waiting,
}

impl Attempt {
    /// Who will not get it cannot be told to the sender now, so all of it is tried again.
    pub(super) fn defer_failed(&mut self, why: &std::io::Error) {
        for (to, reason) in self.failed.drain(..) {
            let reason = format!("{reason}; the sender cannot be told: {why}");
            self.waiting.to.push(to.clone());
            self.waiting.reason.clone_from(&reason);
            self.deferred.push((to, reason));
        }
    }
}

impl Relay {
    /// Works until the server stops, and then as long as `grace`. `done` is told of each attempt before the queue
    /// is, and makes bounces of what failed.
    pub(super) async fn run(
        self,
        queue: Arc<Queue>,
        mut stopping: watch::Receiver<bool>,
        grace: Duration,
        done: impl Fn(&mut Attempt) + Clone + Send + Sync + 'static,
    ) {
        let relay = Arc::new(self);
        let slots = Arc::new(Semaphore::new(relay.parallel.max(1)));
        let longest = relay.retry.iter().max().copied().unwrap_or(LONGEST_WAIT);
        let longest_ms = longest.as_millis() as u64;
        let mut running = JoinSet::new();
        while !*stopping.borrow() {
            while running.try_join_next().is_some() {}
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                // Those under way may take minutes yet.
                _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
            };
            let Ok(slot) = slot else { return };
            let waiting = match queue.claim(now_ms(), longest_ms) {
                Ok(waiting) => waiting,
                Err(next_ms) => {
                    drop(slot);
                    let wait = next_ms.map_or(LONGEST_WAIT, |next| {
                        Duration::from_millis(next.saturating_sub(now_ms())).min(LONGEST_WAIT)
                    });
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = queue.changed.notified() => {}
                        _ = stopping.changed() => {}
                    }
                    continue;
                }
            };
            let (relay, queue, done) = (Arc::clone(&relay), Arc::clone(&queue), done.clone());
            running.spawn(async move {
                let mut attempt = relay.attempt(waiting, &queue).await;
                let given_back = tokio::task::spawn_blocking(move || {
                    done(&mut attempt);
                    queue.give_back(attempt.waiting)
                });
                if let Ok(Err(e)) = given_back.await {
                    tracing::error!("the queue cannot be written: {e}");
                }
                drop(slot);
            });
        }
        // What is on its way may arrive; what does not is tried again after the next start.
        let rest = async { while running.join_next().await.is_some() {} };
        let _ = timeout(grace, rest).await;
    }

    async fn attempt(&self, mut waiting: Waiting, queue: &Arc<Queue>) -> Attempt {
        let outcomes = self.send(&waiting, queue).await;
        waiting.attempts += 1;
        let is_over = now_ms().saturating_sub(waiting.since_ms) >= self.expire.as_millis() as u64;
        let (mut delivered, mut failed, mut deferred) = (Vec::new(), Vec::new(), Vec::new());
        for (to, outcome) in std::mem::take(&mut waiting.to).into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => delivered.push(to),
                Err((reason, is_final)) if is_final || is_over => failed.push((to, reason)),
                Err((reason, _)) => deferred.push((to, reason)),
            }
        }
        waiting.to = deferred.iter().map(|(to, _)| to.clone()).collect();
        waiting.reason = deferred.first().map(|(_, reason)| reason.clone()).unwrap_or_default();
        let at = (waiting.attempts as usize - 1).min(self.retry.len().saturating_sub(1));
        let wait = self.retry.get(at).copied().unwrap_or(LONGEST_WAIT);
        waiting.next_ms = now_ms().saturating_add(wait.as_millis() as u64);
        Attempt { id: waiting.id.clone(), delivered, failed, deferred, waiting }
    }

    /// For each recipient: it has it, or why not and whether that is final.
    async fn send(&self, waiting: &Waiting, queue: &Arc<Queue>) -> Vec<Result<(), (String, bool)>> {
        let all = |reason: String, is_final| vec![Err((reason, is_final)); waiting.to.len()];
        if waiting.to.is_empty() {
            // All have it, and it could not be removed.
            return Vec::new();
        }
        let (queue, id) = (Arc::clone(queue), waiting.id.clone());
        let read = tokio::task::spawn_blocking(move || queue.read(&id)).await;
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(e)) => return all(format!("the message cannot be read: {e}"), false),
            Err(_) => return all("the message could not be read".into(), false),
        };
        let parse = |text: &String| Address::parse(text);
        let from = match waiting.from.as_str() {
            "" => Ok(None),
            from => Address::parse(from).map(Some),
        };
        let to: Result<Vec<Address>, _> = waiting.to.iter().map(parse).collect();
        let (Ok(from), Ok(to)) = (from, to) else {
            return all("its envelope has an address that is none".into(), true);
        };
        let to = to.into_iter().map(Into::into).collect();
        let envelope = Envelope { from, to, is_utf8: waiting.is_utf8, ..Envelope::default() };
        let mut client = match Client::connect(&self.to, &self.options).await {
            Ok(client) => client,
            Err(e) => return all(e.to_string(), false),
        };
        let content = Content::new(&bytes);
        let outcomes = client.send(&envelope, &[&content], None).await;
        client.quit().await;
        let told = |outcome: Outcome| {
            // In doubt it is tried again: a copy too many rather than none.
            let is_final = !outcome.is_transient() && !matches!(outcome, Outcome::Unknown(_));
            match outcome {
                Outcome::Accepted(_) => Ok(()),
                Outcome::Refused(phase, Refusal::Reply(reply)) => {
                    Err((format!("{}: {reply}", phase.name()), is_final))
                }
                Outcome::Refused(phase, Refusal::Failure(failure)) => {
                    Err((format!("{}: {failure}", phase.name()), is_final))
                }
                Outcome::Unknown(failure) => {
                    Err((format!("after the end of the message: {failure}"), is_final))
                }
            }
        };
        outcomes.into_iter().map(told).collect()
    }
}

/// So long at most nothing is looked at, whatever the clock did meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
