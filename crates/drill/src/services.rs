//! Asks services all the time how they are. Where one is away it is asked more often, so that its return is known to some
//! milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::journal::Event;
use crate::world::{World, lock};

/// Asks until it is dropped.
pub(crate) fn start(world: &Arc<World>) -> JoinSet<()> {
    let mut asking = JoinSet::new();
    // The first is the traffic itself.
    for (s, name) in (1..).zip(world.scenario.services.keys().cloned()) {
        asking.spawn(ask(Arc::clone(world), s, name));
    }
    asking
}

async fn ask(world: Arc<World>, s: u16, name: String) {
    let Some(service) = world.scenario.services.get(&name) else { return };
    let mut next = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = world.ask(&service.probe, service.patience.0).await;
        let took = asked.elapsed().as_micros() as u64;
        let is_well = answer.is_ok();
        let failed = answer.err();
        world.journal.note_at(asked, Event::Probe { s, failed, took });
        note(&world, &name, is_well);
        let wait = if is_well { service.interval.0 } else { service.interval.0.min(AWAY) };
        next = (next + wait).max(Instant::now());
        tokio::time::sleep_until(next.into()).await;
    }
}

/// How long each has been away, for what ends a run before its time.
pub(crate) fn note(world: &World, name: &str, is_well: bool) {
    let mut away = lock(&world.away);
    if is_well {
        away.remove(name);
    } else {
        away.entry(name.to_owned()).or_insert_with(Instant::now);
    }
}

/// Ends the run when a service is away for longer than the scenario bears.
pub(crate) async fn abort(world: Arc<World>) {
    loop {
        for abort in &world.scenario.abort_if {
            let since = lock(&world.away).get(&abort.service).copied();
            if since.is_some_and(|since| since.elapsed() >= abort.length.0) {
                let length = crate::human(abort.length.0);
                return world.stop.stop(&format!("`{}` was away for {length}", abort.service));
            }
        }
        tokio::time::sleep(LOOK_ROUND).await;
    }
}

/// Between two questions to one that is away.
const AWAY: Duration = Duration::from_millis(10);
/// How often somebody looks whether the run is to end.
const LOOK_ROUND: Duration = Duration::from_millis(50);
