//! A proxy between a sender and a mail server that breaks what a rule says, at the moment of the dialogue that it says,
//! and needs no root for it. Without a rule every byte passes as it came. It follows SMTP and LMTP in the clear; what
//! it does not understand, and TLS, passes too: only TLS that a rule made it end itself it looks into.

mod commands;
mod faults;
mod middle;
mod pipe;
mod replies;
mod rule;
mod secure;
mod session;
#[cfg(test)]
mod tests;
mod through;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::faults::Faults;
pub use self::rule::{Act, At, Rule};
use self::secure::Certificates;
pub use self::secure::Flaw;
use self::session::Session;
#[doc(hidden)]
pub use self::through::{Through, through};

/// What becomes of connections, whatever the rules say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They pass.
    #[default]
    Pass,
    /// They are refused, and those that were there are closed.
    Down,
    /// They are taken, and nothing passes; those that were there stand still. They go on when the mode changes.
    BlackHole,
}

/// What has happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were taken.
    pub sessions: u64,
    /// Connections beyond [`SESSIONS_MAX`], which were reset.
    pub turned_away: u64,
    /// Bytes that the server was given.
    pub bytes_to_server: u64,
    /// Bytes that clients were given.
    pub bytes_to_client: u64,
    /// How often each of the rules acted since they were set, in their order.
    pub acted: Vec<u64>,
}

/// A proxy that runs. Dropping it ends it without waiting.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    changes: Option<mpsc::Sender<Change>>,
    door: JoinHandle<()>,
}

/// What all sessions share.
#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    faults: Arc<Faults>,
    mode: watch::Sender<Mode>,
    certificates: Certificates,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    sessions: AtomicU64,
    turned_away: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

#[derive(Debug)]
struct Change {
    rules: Vec<Rule>,
    mode: Mode,
    done: oneshot::Sender<io::Result<()>>,
}

impl Proxy {
    /// Listens (port 0: any) and passes connections on to a server, which is called for each anew.
    pub async fn start(listen: SocketAddr, to: SocketAddr, rules: Vec<Rule>) -> io::Result<Self> {
        check(&rules)?;
        let listener = reserve(listen)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            to,
            faults: Arc::new(Faults::new(rules)),
            mode: watch::Sender::default(),
            certificates: Certificates::default(),
            counters: Counters::default(),
        });
        let (changes, changed) = mpsc::channel(1);
        let door = Door { address, place: Place::Open(listener), sessions: JoinSet::new() };
        let door = tokio::spawn(door.run(Arc::clone(&shared), changed));
        Ok(Self { address, shared, changes: Some(changes), door })
    }

    /// Where it listens, or would if it were not down.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces rules and mode. When this returns they hold, for the next command of each open session too, and count from
    /// nothing. A port that cannot be listened on again leaves the proxy down.
    pub async fn set(&self, rules: Vec<Rule>, mode: Mode) -> io::Result<()> {
        check(&rules)?;
        let (done, is_done) = oneshot::channel();
        let gone = || io::Error::other("the proxy has stopped");
        let changes = self.changes.as_ref().ok_or_else(gone)?;
        changes.send(Change { rules, mode, done }).await.map_err(|_| gone())?;
        is_done.await.map_err(|_| gone())?
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let Counters { sessions, turned_away, to_server, to_client } = &self.shared.counters;
        Counts {
            sessions: sessions.load(Ordering::Relaxed),
            turned_away: turned_away.load(Ordering::Relaxed),
            bytes_to_server: to_server.load(Ordering::Relaxed),
            bytes_to_client: to_client.load(Ordering::Relaxed),
            acted: self.shared.faults.acted(),
        }
    }

    /// Closes everything; when this returns nothing of it runs any more.
    pub async fn stop(mut self) {
        self.changes = None;
        // It ends by itself now, or has panicked and is gone.
        let _ = (&mut self.door).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.door.abort();
    }
}

impl Counters {
    fn to_server(&self, bytes: usize) {
        self.to_server.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn to_client(&self, bytes: usize) {
        self.to_client.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Lets sessions in.
struct Door {
    address: SocketAddr,
    place: Place,
    sessions: JoinSet<()>,
}

enum Place {
    Open(TcpListener),
    /// The port is kept: a socket that does not listen refuses, and lets nobody else have it.
    Closed(#[expect(dead_code, reason = "it is there to be there")] TcpSocket),
    /// Even that failed.
    Lost,
}

impl Door {
    async fn run(mut self, shared: Arc<Shared>, mut changes: mpsc::Receiver<Change>) {
        loop {
            tokio::select! {
                change = changes.recv() => {
                    let Some(Change { rules, mode, done }) = change else { break };
                    let changed = self.change(&shared, rules, mode).await;
                    // Who asked may have gone.
                    let _ = done.send(changed);
                }
                accepted = accept(&self.place) => self.let_in(&shared, accepted).await,
                Some(_) = self.sessions.join_next(), if !self.sessions.is_empty() => {}
            }
        }
        drop(self.place);
        self.sessions.shutdown().await;
    }

    async fn change(&mut self, shared: &Shared, rules: Vec<Rule>, mode: Mode) -> io::Result<()> {
        if mode == Mode::Down {
            // Closed first: two sockets cannot have a port while one of them listens.
            self.place = Place::Lost;
            self.sessions.shutdown().await;
        }
        shared.faults.set(rules);
        shared.mode.send_replace(mode);
        match (mode, &self.place) {
            (Mode::Down, _) => self.place = Place::Closed(reserve(self.address)?),
            (_, Place::Open(_)) => {}
            (_, Place::Closed(_) | Place::Lost) => {
                self.place = Place::Lost;
                self.place = Place::Open(reserve(self.address)?.listen(BACKLOG)?);
            }
        }
        Ok(())
    }

    async fn let_in(&mut self, shared: &Arc<Shared>, accepted: io::Result<TcpStream>) {
        // A client that went before it was let in, or too many open files: neither is the end.
        let Ok(client) = accepted else { return tokio::time::sleep(PAUSE).await };
        if self.sessions.len() >= SESSIONS_MAX {
            shared.counters.turned_away.fetch_add(1, Ordering::Relaxed);
            // If it cannot be reset it is closed.
            let _ = client.set_zero_linger();
            return;
        }
        shared.counters.sessions.fetch_add(1, Ordering::Relaxed);
        self.sessions.spawn(Session::new(Arc::clone(shared), client).run());
    }
}

async fn accept(place: &Place) -> io::Result<TcpStream> {
    let Place::Open(listener) = place else { return std::future::pending().await };
    let (stream, _) = listener.accept().await?;
    // It fails if the client has gone already, which is the session's to find out.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A socket that has the address and does not listen.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn check(rules: &[Rule]) -> io::Result<()> {
    for (at, rule) in rules.iter().enumerate() {
        let bad = |reason| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("rule {}: {reason}", at + 1))
        };
        rule.check().map_err(bad)?;
    }
    Ok(())
}

/// Sessions at one time.
pub const SESSIONS_MAX: usize = 10_000;

const BACKLOG: u32 = 1024;

/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
