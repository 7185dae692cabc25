//! The embedded server: SMTP, submission and LMTP into Maildirs, or into nothing. A message is answered with
//! 250 when it is on disk and not before, and what a rule wants to go wrong goes wrong.

mod account;
mod auth;
mod body;
mod bounce;
mod certificate;
mod command;
mod control;
mod counters;
mod deliver;
mod dialogue;
mod faults;
mod keep;
mod lines;
mod log;
mod misbehave;
mod queue;
mod rates;
mod receive;
mod relay;
mod secure;
mod session;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use self::auth::{BadUsers, OFFERED, Users};
use self::body::{Body, Room};
pub use self::certificate::{BadCertificate, Certificate};
pub use self::command::{BadCommand, Command, Hello, MailParameters, parse};
pub use self::control::{BoundPath, Reply, Request, ask, bind};
use self::counters::Counters;
pub use self::counters::Counts;
pub use self::deliver::{Onward, Routes};
pub use self::dialogue::{Answer, Dialogue, Policy, Step, Transaction};
pub use self::faults::{Act, At, BadRules, Faults, Moment};
pub use self::keep::{NoMailbox, Store};
pub use self::lines::{LINE_BYTES, Line, Lines};
pub use self::log::{Event, Log, RelayEvent, TransactionEvent, Verdict};
pub use self::queue::{Queue, Waiting};
use self::rates::Clients;
pub use self::rates::Rates;
use self::relay::Attempt;
pub use self::relay::Relay;
use self::session::{End, LAST_WORDS, Session};
use crate::address::Address;
use crate::stream::Stream;

/// Where messages go.
#[derive(Debug, Default)]
pub enum Keeping {
    /// Nowhere: they are counted and dropped.
    #[default]
    Sink,
    /// To whoever has the other end. When that is full, clients wait for their 250; when it is gone, there is none.
    Tap(mpsc::Sender<Tapped>),
    /// Into mailboxes and to the next server.
    Mail(Routes),
}

/// A message that was taken, and will be acknowledged.
#[derive(Debug, Clone)]
pub struct Tapped {
    /// Who gets it.
    pub recipients: Vec<Address>,
    /// All of it, as it was sent; in memory, so [`ServerLimits::size_bytes`] should be in proportion.
    pub content: Vec<u8>,
    /// When its last byte was there.
    pub at: Instant,
}

/// What a server takes at most.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Connections at one time; the next are told to come again.
    pub connections: usize,
    /// The largest message in bytes.
    pub size_bytes: u64,
    /// How long a client may say nothing, or read nothing.
    pub idle: Duration,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long sessions may go on when the server stops.
    pub grace: Duration,
    /// What one client may do.
    pub rates: Rates,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1000,
            size_bytes: 50 << 20,
            idle: Duration::from_secs(300),
            handshake: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            rates: Rates::default(),
        }
    }
}

/// How one address is served.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the event log.
    pub name: String,
    /// What it offers and demands.
    pub policy: Policy,
    /// Whether TLS comes before the greeting.
    pub is_tls: bool,
    /// Whether a balancer tells who the client is (PROXY protocol) before anything else.
    pub is_proxied: bool,
}

/// A socket that is bound, and can be served.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// What a server is made of.
#[derive(Default)]
pub struct Setup {
    /// Where messages go.
    pub keeping: Keeping,
    /// What it takes at most.
    pub limits: ServerLimits,
    /// For listeners with TLS.
    pub tls: Option<TlsAcceptor>,
    /// Who may AUTH.
    pub users: Users,
    /// Where each transaction is told.
    pub log: Option<Log>,
}

/// What all sessions share.
pub struct Server {
    keeping: Keeping,
    limits: ServerLimits,
    tls: Option<TlsAcceptor>,
    users: Users,
    log: Option<Log>,
    /// What goes wrong; rules can be changed while it serves.
    pub faults: Faults,
    counters: Counters,
    clients: Clients,
    stopping: watch::Sender<bool>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// A server that serves nobody yet.
    pub fn new(setup: Setup) -> Arc<Self> {
        let Setup { keeping, limits, tls, users, log } = setup;
        Arc::new(Self {
            keeping,
            connections: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            clients: Clients::new(limits.rates),
            limits,
            tls,
            users,
            log,
            faults: Faults::default(),
            counters: Counters::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Serves a socket until the server stops; then waits for its sessions, as long as they may take.
    pub async fn serve(self: Arc<Self>, socket: Socket, listener: Listener) {
        let listener = Arc::new(listener);
        let mut stopping = self.stopping.subscribe();
        let mut sessions = JoinSet::new();
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
                Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // A client that went before it was let in, or too many open files: neither is the end.
                Err(e) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!("cannot accept connections on {}: {e}", listener.name);
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            is_failing = false;
            self.counters.connection();
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                self.counters.turned_away();
                let answer = Answer::new(421, "4.3.2 too many connections");
                sessions.spawn(async move { stream.turn_away(&answer).await });
                continue;
            };
            let (server, listener) = (Arc::clone(&self), Arc::clone(&listener));
            sessions.spawn(async move {
                match server.session(listener, stream, peer).await {
                    End::Broken(e) => tracing::debug!("a session broke: {e}"),
                    end => tracing::debug!(?end, "session"),
                }
                drop(permit);
            });
        }
        drop(socket);
        let rest = async { while sessions.join_next().await.is_some() {} };
        // They end by themselves when the grace is over. One that cannot, as when nobody reads the log, is dropped.
        let _ = tokio::time::timeout(self.limits.grace + LAST_WORDS * 2, rest).await;
    }

    async fn session(
        self: Arc<Self>,
        listener: Arc<Listener>,
        stream: Stream,
        peer: Option<IpAddr>,
    ) -> End {
        Session::new(self, listener, stream, peer).run().await
    }

    /// Takes messages from the queue to the next server, until this one stops.
    pub async fn relay(self: Arc<Self>, relay: Relay) {
        let Keeping::Mail(Routes { onward: Some(onward), .. }) = &self.keeping else { return };
        let (queue, stopping) = (Arc::clone(&onward.queue), self.stopping.subscribe());
        let (server, grace) = (Arc::clone(&self), self.limits.grace);
        relay.run(queue, stopping, grace, move |attempt| server.account_for_attempt(attempt)).await;
    }

    /// Bounces what failed, and tells the log; blocks.
    fn account_for_attempt(&self, attempt: &mut Attempt) {
        if let Keeping::Mail(routes) = &self.keeping
            && let Err(e) = routes.bounce(attempt)
        {
            tracing::error!("the sender of {} cannot be told that it failed: {e}", attempt.id);
            attempt.defer_failed(&e);
        }
        self.counters.attempt(attempt);
        if let Some(log) = &self.log {
            log.event_now(Event::Relay(RelayEvent::of(attempt)));
        }
    }

    /// Lets sessions end after the message that they are at, and takes no more.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// When [`Server::stop`] is called; at once if it was.
    pub async fn stopped(&self) {
        // The sender lives as long as this server does.
        let _ = self.stopping.subscribe().wait_for(|is_stopping| *is_stopping).await;
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Whether there can be TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What waits for the next server, if there is one.
    pub fn queue(&self) -> Option<&Arc<Queue>> {
        match &self.keeping {
            Keeping::Mail(routes) => routes.onward.as_ref().map(|onward| &onward.queue),
            Keeping::Sink | Keeping::Tap(_) => None,
        }
    }

    /// Writes the rest of the event log; blocks. To be called when nothing is served any more.
    pub fn close_log(&self) -> io::Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| log.close(self.limits.grace))
    }

    fn next_number(&self) -> u64 {
        self.counters.transaction()
    }

    /// Whether a client may send another message now.
    fn may_send(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.clients.sends(peer))
    }

    fn new_body(&self) -> Body {
        let room = match &self.keeping {
            Keeping::Sink => Room::Nowhere,
            Keeping::Tap(_) => Room::Memory,
            Keeping::Mail(routes) => Room::Spool(routes.spool.clone()),
        };
        Body::new(self.limits.size_bytes, room)
    }

    /// Asks or does what takes the disk, where no session waits. `None` if there are no routes, or if that panicked.
    async fn with_routes<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Routes) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let Keeping::Mail(_) = &self.keeping else { return None };
        let server = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || match &server.keeping {
            Keeping::Mail(routes) => act(routes),
            Keeping::Sink | Keeping::Tap(_) => None,
        });
        done.await.ok().flatten()
    }
}

impl Stream {
    async fn turn_away(mut self, answer: &Answer) {
        let mut out = Vec::new();
        answer.write(&mut out);
        // Who does not read it does not wait for it.
        let _ = tokio::time::timeout(PAUSE, self.write_all(&out)).await;
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(peer.ip())))
            }
            Socket::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
