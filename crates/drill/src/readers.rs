//! People who read their mail over IMAP while everything goes on. Whether they get at it is a service of its own; what they
//! see for the first time is there from then on, unless they remove it themselves.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::deliver::ImapReader;
use load::letters::read_mark;
use tokio::sync::watch;

use crate::caught::guarded;
use crate::journal::{Event, Seen};
use crate::reach::{INBOX, Reading};
use crate::scenario::READING;
use crate::services::{self, Asking};
use crate::survey::{Readable, Source, body_start};
use crate::world::{World, lock};

/// Reads as long as services are asked. `s` is the number of the service.
pub(crate) fn start(
    world: &Arc<World>,
    places: &[Readable],
    s: u16,
    asking: &mut Asking,
) -> Result<(), String> {
    let Some(readers) = &world.scenario.traffic.readers else { return Ok(()) };
    let place = Reading::of(&readers.of, &world.scenario, &lock(&world.values))?;
    let is_its = |readable: &Readable| matches!(&readable.source, Source::Imap { reading, .. } if reading.is_same(&place));
    let p = places.iter().position(is_its).and_then(|at| u16::try_from(at).ok());
    let p = p.ok_or("nobody reads where the readers are")?;
    let mut people: Vec<(u32, String)> =
        world.recipients.iter().map(|(address, r)| (*r, address.clone())).collect();
    people.sort_unstable();
    let clients = readers.clients as usize;
    for number in 0..clients {
        let people = people.iter().skip(number).step_by(clients).cloned().collect();
        let every = readers.expunge_every;
        let client = Client { world: Arc::clone(world), place: place.clone(), p, s, every };
        let (every, patience) = (readers.every.0, readers.patience.0);
        let guard = Arc::clone(world);
        asking.also(|over| guarded(guard, client.read(people, every, patience, over)));
    }
    Ok(())
}

struct Client {
    world: Arc<World>,
    place: Reading,
    p: u16,
    s: u16,
    /// Of how many messages one is removed.
    every: Option<NonZeroU32>,
}

impl Client {
    async fn read(
        self,
        people: Vec<(u32, String)>,
        every: Duration,
        patience: Duration,
        mut over: watch::Receiver<bool>,
    ) {
        // The next UID, by who reads and UIDVALIDITY.
        let mut next: HashMap<(u32, u32), u32> = HashMap::new();
        if people.is_empty() {
            return;
        }
        for (r, address) in people.iter().cycle() {
            let begun = Instant::now();
            let look = tokio::time::timeout(patience, self.look(*r, address, &mut next)).await;
            let answer = look.unwrap_or_else(|_| Err("no answer".into()));
            let (s, took) = (self.s, begun.elapsed().as_micros() as u64);
            services::note(&self.world, READING, answer.is_ok());
            self.world.journal.note_at(begun, Event::Probe { s, failed: answer.err(), took });
            if !services::goes_on(&mut over, Instant::now() + every).await {
                return;
            }
        }
    }

    async fn look(
        &self,
        r: u32,
        address: &str,
        next: &mut HashMap<(u32, u32), u32>,
    ) -> Result<(), String> {
        let mut session = self.place.log_in(address).await?;
        let opened = session.examine(INBOX).await.map_err(|e| e.to_string())?;
        let since = next.entry((r, opened.uid_validity)).or_insert(1);
        let (run, p, journal) = (self.world.run, self.p, &self.world.journal);
        let from = *since;
        if opened.uid_next > from && opened.exists > 0 {
            let mut unwanted = Vec::new();
            let is_unwanted =
                |m: u64| self.every.is_some_and(|every| m.is_multiple_of(every.get().into()));
            let fetched = session.fetch_since(from, |message| {
                if message.uid < from {
                    return true;
                }
                *since = (*since).max(message.uid.saturating_add(1));
                let body = message.body.unwrap_or_default();
                let mark = read_mark(&body[..body_start(body)]).filter(|mark| mark.run == run);
                if let Some(mark) = mark {
                    let m = mark.index;
                    journal.note(Event::Seen(Seen { m, r: Some(r), p }));
                    unwanted.extend(is_unwanted(m).then_some((message.uid, m)));
                }
                true
            });
            fetched.await.map_err(|e| e.to_string())?;
            self.remove(&mut session, r, opened.uid_validity, &unwanted).await?;
        }
        session.log_out().await;
        Ok(())
    }

    /// That it is about to is on disk before it does: a message that is gone then is not lost.
    async fn remove(
        &self,
        session: &mut ImapReader,
        r: u32,
        uid_validity: u32,
        unwanted: &[(u32, u64)],
    ) -> Result<(), String> {
        let Some(((_, last), others)) = unwanted.split_last() else { return Ok(()) };
        let journal = &self.world.journal;
        others.iter().for_each(|(_, m)| journal.note(Event::Expunging { m: *m, r }));
        let written = journal.commit(Event::Expunging { m: *last, r }).await;
        written.map_err(|e| e.to_string())?;
        let uids: Vec<u32> = unwanted.iter().map(|(uid, _)| *uid).collect();
        let removed = session.expunge(INBOX, uid_validity, &uids).await;
        removed.map_err(|e| format!("cannot remove messages: {e}"))?;
        unwanted.iter().for_each(|(_, m)| journal.note(Event::Expunged { m: *m, r }));
        Ok(())
    }
}
