//! Mail that is sent all the time, as a real sender sends it: at planned times, to servers in their order, and again after
//! a while. What is about to be sent is in the journal, on disk, before the first byte of it leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::letters::{Letter, Letters};
use load::plan::Plan;
use smtp::client::{Client, Endpoint};
use smtp::{Outcome, Phase, Refusal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::caught::{guarded, planted};
use crate::journal::{Done, Event, Intent};
use crate::reach::Server;
use crate::scenario::MAIL;
use crate::services;
use crate::world::{World, lock, resolve};

/// Traffic that goes on.
pub(crate) struct Traffic {
    ending: watch::Sender<Ending>,
    task: tokio::task::JoinHandle<()>,
}

/// How traffic is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not yet.
    None,
    /// Nothing new begins; what has begun is brought to its end.
    Drain,
    /// Nothing is tried again.
    Now,
}

struct Sender {
    world: Arc<World>,
    letters: Arc<Letters>,
    /// Those to which mail of strangers goes, in their order.
    servers: Vec<Server>,
    /// How many of them there are; those for submission follow.
    strangers: usize,
    retry: Vec<Duration>,
    places: Semaphore,
    ending: watch::Receiver<Ending>,
}

impl Traffic {
    /// Begins.
    pub(crate) fn start(
        world: &Arc<World>,
        letters: Arc<Letters>,
        plan: &Plan,
    ) -> Result<Self, String> {
        let (scenario, traffic) = (&world.scenario, &world.scenario.traffic);
        let patience = traffic.patience.0;
        let stranger =
            |role: &String| Server::of_strangers(role, scenario, "sender.drill.test", patience);
        let mut servers = traffic.to.iter().map(stranger).collect::<Result<Vec<_>, _>>()?;
        for role in &traffic.submit_to {
            servers.push(Server::of_members(role, scenario, &lock(&world.values), patience)?);
        }
        let (ending, receiver) = watch::channel(Ending::None);
        let sender = Arc::new(Sender {
            world: Arc::clone(world),
            letters,
            servers,
            strangers: traffic.to.len(),
            retry: traffic.retry.iter().map(|wait| wait.0).collect(),
            places: Semaphore::new(traffic.connections as usize),
            ending: receiver,
        });
        let task = tokio::spawn(guarded(Arc::clone(world), sender.all(plan.clone())));
        Ok(Self { ending, task })
    }

    /// Nothing new begins. What has begun has until `limit`; false if that was not enough.
    pub(crate) async fn drain(&mut self, limit: Duration) -> bool {
        self.ending.send_replace(Ending::Drain);
        let is_done = tokio::time::timeout(limit, &mut self.task).await.is_ok();
        if !is_done {
            self.ending.send_replace(Ending::Now);
            let _ = tokio::time::timeout(LAST_WORDS, &mut self.task).await;
            self.task.abort();
        }
        is_done
    }
}

/// When a run falls over nothing of it goes on.
impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sender {
    async fn all(self: Arc<Self>, plan: Plan) {
        let start = Instant::now();
        let mut messages = JoinSet::new();
        let mut ending = self.ending.clone();
        for arrival in plan.arrivals() {
            let due = tokio::time::Instant::from_std(start + arrival.at);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = ending.wait_for(|ending| *ending != Ending::None) => break,
            }
            while messages.try_join_next().is_some() {}
            if messages.len() >= MOST_AT_ONCE {
                // A server that takes nothing for long must not fill our memory.
                messages.join_next().await;
            }
            let sender = Arc::clone(&self);
            let message = async move { sender.message(arrival.index).await };
            messages.spawn(guarded(Arc::clone(&self.world), message));
        }
        while messages.join_next().await.is_some() {}
    }

    /// One message, to its end.
    async fn message(&self, m: u64) {
        planted(&self.world, "a message");
        let letter = self.letters.make(m);
        let known = |address: &smtp::Recipient| {
            self.world.recipients.get(&address.address.to_string()).copied()
        };
        let mut left: Vec<(u32, usize)> = Vec::new();
        for (at, recipient) in letter.envelope.to.iter().enumerate() {
            if let Some(r) = known(recipient) {
                left.push((r, at));
            }
        }
        // Every second one is of somebody who is known.
        let is_submitted = self.strangers < self.servers.len() && m % 2 == 1;
        let servers = match is_submitted {
            true => self.strangers..self.servers.len(),
            false => 0..self.strangers,
        };
        let mut attempt = 0;
        let mut waits = self.retry.iter();
        loop {
            for s in servers.clone() {
                attempt += 1;
                let is_last = s + 1 == servers.end;
                match self.attempt(&letter, &mut left, attempt, s as u16, is_last).await {
                    Ok(Ended::Next) => {}
                    Ok(Ended::Later) => break,
                    // What cannot be written down must not be sent.
                    Err(why) => return self.world.stop.stop(&why),
                }
                if left.is_empty() {
                    break;
                }
            }
            let Some(wait) = waits.next().filter(|_| !left.is_empty()) else { break };
            let mut ending = self.ending.clone();
            tokio::select! {
                () = tokio::time::sleep(*wait) => {}
                _ = ending.wait_for(|ending| *ending == Ending::Now) => break,
            }
        }
    }

    /// One attempt for those who are left, who are fewer afterwards.
    async fn attempt(
        &self,
        letter: &Letter,
        left: &mut Vec<(u32, usize)>,
        attempt: u32,
        s: u16,
        is_last: bool,
    ) -> Result<Ended, String> {
        let Ok(_place) = self.places.acquire().await else { return Ok(Ended::Later) };
        let (m, journal) = (letter.index, &self.world.journal);
        let bytes = letter.head.size_bytes() + letter.body.size_bytes();
        let to: Vec<u32> = left.iter().map(|(r, _)| *r).collect();
        let intent = Intent { m, a: attempt, s, to: to.clone(), bytes };
        journal.commit(Event::Intent(intent)).await.map_err(|e| e.to_string())?;
        let outcomes = self.transact(letter, left, usize::from(s)).await;
        let at = Instant::now();
        let mut done = Done { m, a: attempt, ..Done::default() };
        let mut still = Vec::new();
        for ((r, place), outcome) in left.iter().zip(&outcomes) {
            let list = match outcome {
                Outcome::Accepted(_) => &mut done.ok,
                Outcome::Unknown(_) => &mut done.info,
                Outcome::Refused(Phase::Body, Refusal::Reply(_)) => &mut done.rejected,
                Outcome::Refused(..) => &mut done.fail,
            };
            list.push(*r);
            if is_tried_again(outcome) {
                still.push((*r, *place));
            }
            if done.why.is_none() {
                done.why = why(outcome);
            }
        }
        // Who does not know whether it was taken tries the same again later, not somebody else at once.
        let is_later = !done.info.is_empty() || still.is_empty();
        done.more = !is_last && !is_later;
        if !done.ok.is_empty() || !done.more {
            services::note(&self.world, MAIL, !done.ok.is_empty());
        }
        *left = still;
        let ended = if is_later { Ended::Later } else { Ended::Next };
        journal.note_at(at, Event::Done(done));
        Ok(ended)
    }

    async fn transact(
        &self,
        letter: &Letter,
        left: &[(u32, usize)],
        server: usize,
    ) -> Vec<Outcome> {
        let refused =
            |phase: Phase, refusal: Refusal| vec![Outcome::Refused(phase, refusal); left.len()];
        let given_up = |why: String| Refusal::Failure(smtp::Failure::GivenUp(why));
        let Server { address, options } = &self.servers[server];
        let address = match resolve(address) {
            Ok(address) => address,
            Err(why) => return refused(Phase::Connect, given_up(why)),
        };
        let mut client = match Client::connect(&Endpoint::Tcp(address, None), options).await {
            Ok(client) => client,
            Err(not) => return refused(not.phase, not.refusal),
        };
        let mut envelope = letter.envelope.clone();
        envelope.to =
            left.iter().filter_map(|(_, at)| letter.envelope.to.get(*at).cloned()).collect();
        let outcomes = client.send(&envelope, &[&letter.head, &*letter.body], None).await;
        // Nobody waits for a goodbye.
        tokio::spawn(client.quit());
        outcomes
    }
}

/// What comes after an attempt.
enum Ended {
    /// The next server, at once.
    Next,
    /// Nothing, or another round.
    Later,
}

fn is_tried_again(outcome: &Outcome) -> bool {
    outcome.is_transient() || matches!(outcome, Outcome::Unknown(_))
}

fn why(outcome: &Outcome) -> Option<String> {
    let text = match outcome {
        Outcome::Accepted(_) => return None,
        Outcome::Refused(phase, Refusal::Reply(reply)) => format!("{}: {reply}", phase.name()),
        Outcome::Refused(phase, Refusal::Failure(failure)) => {
            format!("{}: {failure}", phase.name())
        }
        Outcome::Unknown(failure) => failure.to_string(),
    };
    Some(text.chars().take(200).collect())
}

/// Messages that wait for another attempt, at one time.
const MOST_AT_ONCE: usize = 100_000;
/// For what is under way when the time is over.
const LAST_WORDS: Duration = Duration::from_secs(2);
