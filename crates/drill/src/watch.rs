//! Sees mail come into stores while it comes: how long after its reply a message is there for its reader. It is there
//! where somebody serves; what comes into a standby's store nobody reads yet.

use std::sync::Arc;

use load::deliver::{Judge, Judged, What, watch_maildir};
use load::letters::{read_mark, sum};
use tokio::task::JoinSet;

use crate::caught::guarded;
use crate::journal::{Event, Seen};
use crate::survey::{Readable, Source, body_start};
use crate::world::{World, lock};

/// Watches until it is dropped.
pub(crate) async fn start(world: &Arc<World>, places: &[Readable]) -> JoinSet<()> {
    let mut watching = JoinSet::new();
    for (p, readable) in (0..).zip(places) {
        let Source::Store { root, .. } = &readable.source else { continue };
        match watch_maildir(root, judge(world.run)).await {
            Ok(watch) => {
                let see = see(Arc::clone(world), watch, p, readable.place.role);
                watching.spawn(guarded(Arc::clone(world), see));
            }
            // Then it is not known how late mail is, which nobody may have asked.
            Err(e) => {
                let text = format!("{} is not watched: {e}", readable.place.name);
                world.journal.note(Event::Note { text });
            }
        }
    }
    watching
}

async fn see(world: Arc<World>, mut watch: load::deliver::Watch, p: u16, role: u16) {
    while let Some(seen) = watch.next().await {
        let is_served = lock(&world.serving).contains(&role);
        if let (What::Message(Judged::Ours { index, .. }), true) = (seen.what, is_served) {
            world.journal.note_at(seen.at, Event::Seen(Seen { m: index, r: None, p }));
        }
    }
}

fn judge(run: u64) -> Judge {
    Arc::new(move |message| {
        let body = body_start(message);
        match read_mark(&message[..body]) {
            Some(mark) if mark.run == run => {
                Judged::Ours { index: mark.index, sum_ok: sum(&message[body..]) == mark.sum }
            }
            Some(_) => Judged::Foreign,
            None => Judged::Other,
        }
    })
}
