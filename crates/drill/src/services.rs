//! Asks services all the time how they are. Where one is away it is asked more often, so that its return is known to some
//! milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::caught::{guarded, planted};
use crate::journal::Event;
use crate::world::{World, lock};

/// Those who ask. Dropped, they leave their last questions open.
pub(crate) struct Asking {
    tasks: JoinSet<()>,
    over: watch::Sender<bool>,
}

impl Asking {
    /// Lets somebody else ask, too, until the receiver says that it is over.
    pub(crate) fn also<F>(&mut self, ask: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(ask(self.over.subscribe()));
    }

    /// Each has its last answer, or none for as long as its patience lasts: a service that hangs at the end is away.
    pub(crate) async fn finish(mut self) {
        let _ = self.over.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Whether there is time for another question.
pub(crate) async fn goes_on(over: &mut watch::Receiver<bool>, next: Instant) -> bool {
    tokio::select! {
        _ = over.wait_for(|is_over| *is_over) => false,
        () = tokio::time::sleep_until(next.into()) => true,
    }
}

/// Asks all of them.
pub(crate) fn start(world: &Arc<World>) -> Asking {
    let mut asking = Asking { tasks: JoinSet::new(), over: watch::Sender::new(false) };
    // The first is the traffic itself.
    for (s, name) in (1..).zip(world.scenario.services.keys().cloned()) {
        asking.also(|over| guarded(Arc::clone(world), ask(Arc::clone(world), s, name, over)));
    }
    asking
}

async fn ask(world: Arc<World>, s: u16, name: String, mut over: watch::Receiver<bool>) {
    let Some(service) = world.scenario.services.get(&name) else { return };
    let mut next = Instant::now();
    loop {
        planted(&world, "a service");
        let asked = Instant::now();
        let answer = world.ask(&service.probe, service.patience.0).await;
        let took = asked.elapsed().as_micros() as u64;
        let is_well = answer.is_ok();
        let failed = answer.err();
        world.journal.note_at(asked, Event::Probe { s, failed, took });
        note(&world, &name, is_well);
        let wait = if is_well { service.interval.0 } else { service.interval.0.min(AWAY) };
        next = (next + wait).max(Instant::now());
        if !goes_on(&mut over, next).await {
            return;
        }
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
