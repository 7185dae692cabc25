//! A session with a server: ESMTP or LMTP, one transaction after the other. Commands that may go
//! together go in one write (RFC 2920); every phase is stamped; every wait has a limit; and what
//! became of a message is told for each recipient.

mod capabilities;
mod command;
mod connect;
mod transaction;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::capabilities::Capabilities;
pub use self::transaction::{Intent, Parts};
use self::wire::Wire;
use crate::outcome::{Failure, Refusal};
use crate::phase::{Phase, Stamp};
use crate::proxy::Version;
use crate::reply::Reply;
use crate::sasl::{Credentials, Mechanism};
use crate::tls::Tls;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and port, and the address to connect from, if that matters.
    Tcp(SocketAddr, Option<IpAddr>),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Esmtp,
    /// RFC 2033: the end of a message has a reply for each recipient.
    Lmtp,
}

/// How to speak.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is spoken.
    pub protocol: Protocol,
    /// Our name in EHLO or LHLO: a host name or an address literal.
    pub hello: String,
    /// Whether commands go together where the server allows it.
    pub pipelining: bool,
    /// Whether BDAT is used where the server has it.
    pub chunking: bool,
    /// What to say of ourselves before anything else, as a balancer does for its clients (PROXY protocol): in which
    /// form, and which address.
    pub proxy: Option<(Version, SocketAddr)>,
    /// TLS, if it is wanted; then nothing is sent without it but that.
    pub tls: Option<Secure>,
    /// Who we are, if the server is to know, and by which mechanism that is told.
    pub auth: Option<(Mechanism, Credentials)>,
    /// Whether a password may go where everybody in between can read it.
    pub is_plaintext_allowed: bool,
    /// How long to wait.
    pub limits: Limits,
}

impl Options {
    /// ESMTP, commands together where the server lets them, nothing else that is optional, and the limits of RFC 5321.
    pub fn new(hello: impl Into<String>) -> Self {
        Self {
            protocol: Protocol::Esmtp,
            hello: hello.into(),
            pipelining: true,
            chunking: false,
            proxy: None,
            tls: None,
            auth: None,
            is_plaintext_allowed: false,
            limits: Limits::default(),
        }
    }
}

/// TLS for a session.
#[derive(Debug, Clone)]
pub struct Secure {
    /// Whom to trust.
    pub tls: Tls,
    /// Before the greeting (RFC 8314), or by STARTTLS (RFC 3207).
    pub is_implicit: bool,
    /// The name that the server's certificate must have: a host name or an IP address.
    pub server_name: String,
}

/// What a handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// Such as `TLSv1_3`.
    pub version: String,
    /// Such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// Time limits, one for each kind of wait. The defaults are those of RFC 5321, 4.5.3.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For a TLS handshake.
    pub tls: Duration,
    /// For the greeting.
    pub banner: Duration,
    /// For the reply to a command.
    pub command: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For the server to take some bytes.
    pub write: Duration,
    /// For the reply to the end of a message.
    pub end: Duration,
    /// For the reply to QUIT.
    pub quit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            connect: Duration::from_secs(30),
            tls: minutes(1),
            banner: minutes(5),
            command: minutes(5),
            data: minutes(2),
            write: minutes(3),
            end: minutes(10),
            quit: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The same for every wait.
    pub fn all(limit: Duration) -> Self {
        Self {
            connect: limit,
            tls: limit,
            banner: limit,
            command: limit,
            data: limit,
            write: limit,
            end: limit,
            quit: limit,
        }
    }
}

/// A session that can take transactions.
pub struct Client {
    wire: Wire,
    options: Options,
    offered: Capabilities,
    secured: Option<Secured>,
    /// The phases since they were last taken.
    stamps: Vec<Stamp>,
    /// Commands that wait to be written together.
    out: Vec<u8>,
    /// Whether a transaction was left open, so that RSET must come before the next.
    is_dirty: bool,
    /// Whether a transaction has begun and has not come to its end: who leaves it in the middle leaves replies behind.
    is_busy: bool,
    /// Why nothing more can be said, if so.
    ended: Option<Failure>,
}

/// A session that did not come to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .phase.name(), reason(.refusal))]
pub struct NotConnected {
    /// In which phase it ended.
    pub phase: Phase,
    /// Why.
    pub refusal: Refusal,
    /// The phases up to then.
    pub stamps: Vec<Stamp>,
}

fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Reply(reply) => reply.to_string(),
        Refusal::Failure(failure) => failure.to_string(),
    }
}

/// For a server to close after its goodbye. RFC 5321, 4.1.1.10 wants it to.
const LONGEST_CLOSE: Duration = Duration::from_millis(500);

impl Client {
    /// What the server offered last.
    pub fn capabilities(&self) -> &Capabilities {
        &self.offered
    }

    /// How the session is secured, if it is.
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }

    /// The phases since the last call, in the order in which they ended.
    pub fn take_stamps(&mut self) -> Vec<Stamp> {
        std::mem::take(&mut self.stamps)
    }

    /// As [`Client::take_stamps`], and keeps their space.
    pub fn drain_stamps(&mut self) -> impl Iterator<Item = Stamp> {
        self.stamps.drain(..)
    }

    /// Whether the server has neither closed the connection nor said anything since: looks, and does not wait.
    pub async fn is_still_there(&mut self) -> bool {
        self.is_open() && self.wire.is_quiet().await
    }

    /// Whether another transaction can follow.
    pub fn is_open(&self) -> bool {
        self.ended.is_none() && !self.is_busy
    }

    /// Says goodbye, and waits for the reply; then for the server to close, because whoever closes first
    /// keeps the port for a minute (TIME_WAIT), and a client has fewer of them.
    pub async fn quit(mut self) -> Vec<Stamp> {
        if self.is_open() {
            let limit = self.options.limits.quit;
            if self.say(Phase::Quit, b"QUIT\r\n", limit).await.is_ok() {
                self.wire.wait_close(limit.min(LONGEST_CLOSE)).await;
            }
        }
        self.stamps
    }

    /// One command and its reply.
    async fn say(
        &mut self,
        phase: Phase,
        command: &[u8],
        limit: Duration,
    ) -> Result<Reply, Failure> {
        let start = Instant::now();
        self.write(phase, start, command).await?;
        self.hear(phase, start, limit).await
    }

    /// Writes commands to which no reply can be there yet. One that is there would pass for theirs, and that to the
    /// last of them for that to the next message; if it is 421 it may, and they need not be said any more.
    async fn write(
        &mut self,
        phase: Phase,
        start: Instant,
        commands: &[u8],
    ) -> Result<(), Failure> {
        if self.wire.has_more().await {
            if self.wire.has_goodbye() {
                return Ok(());
            }
            return Err(self.end(phase, start, Failure::Unasked));
        }
        let written = self.wire.write(commands, self.options.limits.write).await;
        written.map_err(|torn| self.end(phase, start, torn.failure))
    }

    /// The reply to what was written at `start`.
    async fn hear(
        &mut self,
        phase: Phase,
        start: Instant,
        limit: Duration,
    ) -> Result<Reply, Failure> {
        match self.wire.reply(limit).await {
            Ok(reply) => {
                self.stamp(phase, start);
                if reply.code == 421 {
                    // RFC 5321, 3.8: the server closes; what it says to this command stands.
                    self.ended = Some(Failure::Closed);
                }
                Ok(reply)
            }
            Err(failure) => Err(self.end(phase, start, failure)),
        }
    }

    fn stamp(&mut self, phase: Phase, start: Instant) {
        self.stamps.push(Stamp { phase, start, end: Instant::now() });
    }

    fn end(&mut self, phase: Phase, start: Instant, failure: Failure) -> Failure {
        self.stamp(phase, start);
        self.ended = Some(failure.clone());
        failure
    }
}
