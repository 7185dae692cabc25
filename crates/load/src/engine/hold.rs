//! Connections that say hello and nothing more: opened before the plan begins, some at a time, on a thread of their own,
//! and held until it ends. What a server does with thousands of them must not make the plan late.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use smtp::client::{Client, Endpoint};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::wire::Connections;
use super::{Settings, Stop};
use crate::replies::Replies;

/// Connections that are held.
pub(super) struct Held {
    end: watch::Sender<bool>,
    thread: JoinHandle<io::Result<Kept>>,
}

/// What became of them.
#[derive(Default)]
pub(super) struct Kept {
    /// Those that the server had neither closed nor said anything to at the end.
    pub(super) count: u64,
    /// Why the others never came to be.
    pub(super) refused: Replies,
}

/// Opens them all; returns when each is there, or is known not to come.
pub(super) fn open(settings: &Arc<Settings>, stop: &Stop) -> io::Result<Option<Held>> {
    if settings.idle_connections == 0 {
        return Ok(None);
    }
    let (end, ended) = watch::channel(false);
    let (opened_to, opened) = channel();
    let (settings, stop) = (Arc::clone(settings), stop.clone());
    let thread = thread::Builder::new()
        .name("load-hold".into())
        .spawn(move || hold(&settings, &stop, ended, &opened_to))?;
    // Gone without a word: its result tells why.
    let _ = opened.recv();
    Ok(Some(Held { end, thread }))
}

impl Held {
    /// Closes them.
    pub(super) fn close(self) -> io::Result<Kept> {
        self.end.send_replace(true);
        self.thread
            .join()
            .map_err(|_| io::Error::other("a thread that holds connections panicked"))?
    }
}

fn hold(
    settings: &Settings,
    stop: &Stop,
    mut ended: watch::Receiver<bool>,
    opened: &Sender<()>,
) -> io::Result<Kept> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let mut connections = Connections::new(&settings.wire, settings.seed, HOLDER);
        let (mut held, mut opening, mut kept) = (Vec::new(), JoinSet::new(), Kept::default());
        let mut left = settings.idle_connections;
        loop {
            while left > 0 && opening.len() < OPENED_AT_ONCE && !stop.is_stopped() {
                left -= 1;
                let drawn = connections.draw();
                let endpoint = match (settings.wire.endpoints.first(), drawn.source) {
                    (Some(Endpoint::Tcp(to, None)), source) => Endpoint::Tcp(*to, source),
                    (Some(endpoint), _) => endpoint.clone(),
                    (None, _) => break,
                };
                opening.spawn(async move { Client::connect(&endpoint, &drawn.options).await });
            }
            match opening.join_next().await {
                Some(Ok(Ok(client))) => held.push(client),
                Some(Ok(Err(not))) => {
                    kept.refused.record_refusal(not.phase, &not.refusal, begun.elapsed());
                }
                Some(Err(e)) => return Err(io::Error::other(e)),
                None => break,
            }
        }
        // The run waits for this.
        let _ = opened.send(());
        let _ = ended.wait_for(|is_over| *is_over).await;
        for client in &mut held {
            kept.count += u64::from(client.is_still_there().await);
        }
        Ok(kept)
    })
}

/// Few enough for the queue of a listening socket.
const OPENED_AT_ONCE: usize = 64;

/// Draws other connections than any worker.
const HOLDER: usize = usize::MAX >> 1;
