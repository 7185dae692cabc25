//! The embedded server: SMTP, submission and LMTP into Maildirs, or into nothing. A message is answered with
//! 250 when it is on disk and not before, and what a rule wants to go wrong goes wrong.

mod auth;
mod body;
mod command;
mod dialogue;
mod faults;
mod keep;
mod lines;
mod session;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use self::auth::{BadUsers, OFFERED, Users};
use self::body::Body;
pub use self::command::{BadCommand, Command, Hello, MailParameters, RcptParameters, parse};
pub use self::dialogue::{Answer, Dialogue, Policy, Step, Transaction};
pub use self::faults::{Act, At, BadRules, Faults, Moment};
pub use self::keep::{NoMailbox, NotKept, Store};
pub use self::lines::{LINE_BYTES, Line, Lines};
use self::session::{End, Session};
use crate::address::Address;
use crate::stream::Stream;

/// Where messages go.
#[derive(Debug, Clone)]
pub enum Keeping {
    /// Nowhere: they are counted and dropped.
    Sink,
    /// Into mailboxes; what is large waits in files in this folder.
    Store(Store, PathBuf),
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
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1000,
            size_bytes: 50 << 20,
            idle: Duration::from_secs(300),
            handshake: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// How one address is served.
#[derive(Debug)]
pub struct Listener {
    /// What it offers and demands.
    pub policy: Policy,
    /// Whether TLS comes before the greeting.
    pub is_tls: bool,
}

/// A socket that is bound, and can be served.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// What all sessions share.
pub struct Server {
    keeping: Keeping,
    limits: ServerLimits,
    tls: Option<TlsAcceptor>,
    users: Users,
    /// What goes wrong; rules can be changed while it serves.
    pub faults: Faults,
    counters: Counters,
    stopping: watch::Sender<bool>,
    connections: Arc<Semaphore>,
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    turned_away: AtomicU64,
    transactions: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    in_doubt: AtomicU64,
    bytes: AtomicU64,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections beyond the limit.
    pub turned_away: u64,
    /// MAIL commands.
    pub transactions: u64,
    /// Messages, by recipient in LMTP, that were answered with 250, or would have been.
    pub accepted: u64,
    /// Messages that were refused at their end.
    pub refused: u64,
    /// Messages that were left without an answer because some of their recipients have them.
    pub in_doubt: u64,
    /// Bytes of the messages that were accepted.
    pub bytes: u64,
}

/// What became of a message that is whole.
enum Kept {
    /// One reply, or one for each recipient.
    Answers(Vec<Answer>),
    /// No reply would be true.
    InPart,
}

impl Server {
    /// A server that serves nobody yet.
    pub fn new(
        keeping: Keeping,
        limits: ServerLimits,
        tls: Option<TlsAcceptor>,
        users: Users,
    ) -> Arc<Self> {
        Arc::new(Self {
            keeping,
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits,
            tls,
            users,
            faults: Faults::default(),
            counters: Counters::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Serves a socket until the server stops; then waits for its sessions, as long as they may take.
    pub async fn serve(self: Arc<Self>, socket: Socket, listener: Listener) -> io::Result<()> {
        let listener = Arc::new(listener);
        let mut stopping = self.stopping.subscribe();
        let mut sessions = JoinSet::new();
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
                    tracing::warn!("cannot accept a connection: {e}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            self.counters.connections.fetch_add(1, Ordering::Relaxed);
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                self.counters.turned_away.fetch_add(1, Ordering::Relaxed);
                let answer = Answer::new(421, "4.3.2 too many connections");
                sessions.spawn(async move { stream.turn_away(&answer).await });
                continue;
            };
            let (server, listener) = (Arc::clone(&self), Arc::clone(&listener));
            sessions.spawn(async move {
                let end = server.session(listener, stream, peer).await;
                tracing::debug!(?end, "session");
                drop(permit);
            });
        }
        drop(socket);
        let rest = async { while sessions.join_next().await.is_some() {} };
        // What is left is dropped, and with it its connections.
        let _ = tokio::time::timeout(self.limits.grace, rest).await;
        Ok(())
    }

    async fn session(
        self: Arc<Self>,
        listener: Arc<Listener>,
        stream: Stream,
        peer: Option<IpAddr>,
    ) -> End {
        let is_tls = listener.is_tls;
        let mut session = Session::new(self, listener, stream, peer);
        if is_tls && let Err(end) = session.handshake().await {
            return end;
        }
        session.run().await
    }

    /// Lets sessions end after the message that they are at, and takes no more.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let Counters { connections, turned_away, transactions, accepted, refused, in_doubt, bytes } =
            &self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: of(connections),
            turned_away: of(turned_away),
            transactions: of(transactions),
            accepted: of(accepted),
            refused: of(refused),
            in_doubt: of(in_doubt),
            bytes: of(bytes),
        }
    }

    fn next_number(&self) -> u64 {
        self.counters.transactions.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn new_body(&self) -> Body {
        let spool = match &self.keeping {
            Keeping::Sink => None,
            Keeping::Store(_, spool) => Some(spool.as_path()),
        };
        Body::new(self.limits.size_bytes, spool)
    }

    /// Whether a recipient can get mail.
    fn takes(&self, to: &Address) -> Result<(), NoMailbox> {
        match &self.keeping {
            Keeping::Sink => Ok(()),
            Keeping::Store(store, _) => store.mailbox(to).map(drop),
        }
    }

    /// Keeps a message for all of its recipients, or for each by itself.
    async fn keep(
        self: &Arc<Self>,
        transaction: Transaction,
        trace: Trace,
        body: Body,
        is_each: bool,
    ) -> Kept {
        let bytes = body.size_bytes();
        let count = if is_each { transaction.recipients.len() } else { 1 };
        let kept = match &self.keeping {
            Keeping::Sink => Kept::Answers(vec![Answer::new(250, "2.0.0 ok"); count]),
            Keeping::Store(..) => {
                let server = Arc::clone(self);
                let deliver = move || server.deliver(&transaction, &trace, &body, is_each);
                tokio::task::spawn_blocking(deliver).await.unwrap_or(Kept::InPart)
            }
        };
        match &kept {
            Kept::Answers(answers) => {
                let accepted = answers.iter().filter(|answer| answer.is_positive()).count() as u64;
                self.counters.accepted.fetch_add(accepted, Ordering::Relaxed);
                self.counters.refused.fetch_add(answers.len() as u64 - accepted, Ordering::Relaxed);
                self.counters.bytes.fetch_add(bytes * accepted, Ordering::Relaxed);
            }
            Kept::InPart => {
                self.counters.in_doubt.fetch_add(1, Ordering::Relaxed);
            }
        }
        kept
    }

    /// Delivers; blocks.
    fn deliver(
        &self,
        transaction: &Transaction,
        trace: &Trace,
        body: &Body,
        is_each: bool,
    ) -> Kept {
        let Keeping::Store(store, _) = &self.keeping else { return Kept::Answers(Vec::new()) };
        let mut mailboxes = Vec::new();
        for (to, _) in &transaction.recipients {
            let head = trace.head(transaction.from.as_ref(), to);
            mailboxes.push(store.mailbox(to).map(|mailbox| (mailbox, head)));
        }
        let answer = |kept: Result<(), NotKept>| match kept {
            Ok(()) => Some(Answer::new(250, format!("2.0.0 kept as {}", trace.id))),
            Err(NotKept::AtAll(e)) => Some(Answer::new(451, format!("4.3.0 {}", one_line(&e)))),
            Err(NotKept::InPart(e)) => {
                tracing::error!("message {} is kept in part: {e}", trace.id);
                None
            }
        };
        let gone = || Answer::new(450, "4.2.0 the mailbox is not there any more");
        let answers: Option<Vec<Answer>> = if is_each {
            let each = mailboxes.into_iter().map(|mailbox| match mailbox {
                Ok(mailbox) => answer(store.keep(&[mailbox], body)),
                Err(_) => Some(gone()),
            });
            each.collect()
        } else {
            match mailboxes.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(mailboxes) => answer(store.keep(&mailboxes, body)).map(|answer| vec![answer]),
                Err(_) => Some(vec![gone()]),
            }
        };
        answers.map_or(Kept::InPart, Kept::Answers)
    }
}

/// What a message is marked with on its way (RFC 5321, 4.4).
struct Trace {
    id: String,
    received: String,
}

impl Trace {
    fn new(dialogue: &Dialogue, policy: &Policy, peer: Option<IpAddr>, number: u64) -> Self {
        let now = jiff::Zoned::now();
        let id = format!("{:x}-{number:x}", now.timestamp().as_millisecond());
        let (hello, name) = match &dialogue.hello {
            Some((hello, name)) => (Some(*hello), name.as_str()),
            None => (None, "unknown"),
        };
        let with = match (hello, dialogue.is_secured, dialogue.user.is_some()) {
            (Some(Hello::Helo), ..) => "SMTP",
            (Some(Hello::Lhlo), ..) => "LMTP",
            (_, false, false) => "ESMTP",
            (_, true, false) => "ESMTPS",
            (_, false, true) => "ESMTPA",
            (_, true, true) => "ESMTPSA",
        };
        let from = peer.map_or_else(|| "local".into(), |peer| format!("[{peer}]"));
        let date = jiff::fmt::rfc2822::to_string(&now).unwrap_or_default();
        let host = &policy.host;
        let received = format!(
            "Received: from {name} ({from})\r\n\tby {host} with {with} id {id};\r\n\t{date}\r\n"
        );
        Self { id, received }
    }

    fn head(&self, from: Option<&Address>, to: &Address) -> String {
        let from = from.map_or("", |from| from.as_str());
        format!("Return-Path: <{from}>\r\nDelivered-To: {to}\r\n{}", self.received)
    }
}

fn one_line(error: &io::Error) -> String {
    error.to_string().replace(|c: char| c.is_control(), " ")
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
                Ok((Stream::Tcp(stream), Some(SocketAddr::ip(&peer))))
            }
            Socket::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
