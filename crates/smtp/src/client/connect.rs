//! From nothing to a session that can take transactions: connection, TLS, greeting, EHLO.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use super::wire::Wire;
use super::{Capabilities, Client, Endpoint, Limits, NotConnected, Options, Protocol, Secure};
use crate::outcome::{Failure, Refusal, Resource};
use crate::phase::{Phase, Stamp};
use crate::proxy::{self, Version};
use crate::reply::Reply;
use crate::sasl::{Credentials, Dialogue, Mechanism, SaslError};
use crate::stream::Stream;

impl Client {
    /// Connects, and says hello.
    pub async fn connect(endpoint: &Endpoint, options: &Options) -> Result<Self, NotConnected> {
        let start = Instant::now();
        let connected = timeout(options.limits.connect, open(endpoint)).await;
        let stamp = Stamp { phase: Phase::Connect, start, end: Instant::now() };
        let failure = match connected {
            Ok(Ok(stream)) => {
                let mut client = Self {
                    wire: Wire::new(stream),
                    options: options.clone(),
                    offered: Capabilities::default(),
                    secured: None,
                    stamps: vec![stamp],
                    out: Vec::new(),
                    is_dirty: false,
                    is_busy: false,
                    ended: None,
                };
                return match client.greet(endpoint).await {
                    Ok(()) => Ok(client),
                    Err((phase, refusal)) => {
                        Err(NotConnected { phase, refusal, stamps: client.stamps })
                    }
                };
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Timeout(options.limits.connect),
        };
        let refusal = Refusal::Failure(failure);
        Err(NotConnected { phase: Phase::Connect, refusal, stamps: vec![stamp] })
    }

    async fn greet(&mut self, endpoint: &Endpoint) -> Result<(), (Phase, Refusal)> {
        if let Some((version, client)) = self.options.proxy {
            self.introduce(version, client, endpoint)
                .await
                .map_err(|failure| (Phase::Connect, Refusal::Failure(failure)))?;
        }
        let secure = self.options.tls.clone();
        if let Some(secure) = secure.as_ref().filter(|secure| secure.is_implicit) {
            self.handshake(secure).await?;
        }
        let banner = self.hear(Phase::Banner, Instant::now(), self.options.limits.banner).await;
        self.positive(Phase::Banner, banner)?;
        self.hello().await?;
        if let Some(secure) = secure.filter(|secure| !secure.is_implicit) {
            self.start_tls(&secure).await?;
        }
        match self.options.auth.clone() {
            Some((mechanism, credentials)) => self.authenticate(mechanism, &credentials).await,
            None => Ok(()),
        }
    }

    /// Says what a balancer would say of its client.
    async fn introduce(
        &mut self,
        version: Version,
        client: SocketAddr,
        endpoint: &Endpoint,
    ) -> Result<(), Failure> {
        let server = match endpoint {
            Endpoint::Tcp(server, _) => *server,
            // It has no address: that of the client is as good as any.
            Endpoint::Unix(_) => client,
        };
        let header = proxy::header(version, client, server);
        let header = header.map_err(|e| Failure::Io(e.to_string()))?;
        let written = self.wire.write(&header, self.options.limits.write).await;
        written.map_err(|torn| torn.failure)
    }

    async fn start_tls(&mut self, secure: &Secure) -> Result<(), (Phase, Refusal)> {
        if !self.offered.starttls {
            let failure = Failure::Unsupported("the server offers no STARTTLS");
            return Err((Phase::StartTls, Refusal::Failure(failure)));
        }
        let reply = self.say(Phase::StartTls, b"STARTTLS\r\n", self.options.limits.command).await;
        self.positive(Phase::StartTls, reply)?;
        if self.wire.has_more().await {
            // Said in plain text, it would pass for the server's word in the secured session.
            return Err((Phase::StartTls, Refusal::Failure(Failure::Unasked)));
        }
        self.handshake(secure).await?;
        self.hello().await
    }

    async fn handshake(&mut self, secure: &Secure) -> Result<(), (Phase, Refusal)> {
        let start = Instant::now();
        let limit = self.options.limits.tls;
        let secured = match timeout(limit, self.wire.secure(secure)).await {
            Ok(secured) => secured,
            Err(_) => Err(Failure::Timeout(limit)),
        };
        self.stamp(Phase::Tls, start);
        self.secured = Some(secured.map_err(|failure| (Phase::Tls, Refusal::Failure(failure)))?);
        Ok(())
    }

    /// RFC 4954. What is sent in between is stamped as one phase.
    async fn authenticate(
        &mut self,
        mechanism: Mechanism,
        credentials: &Credentials,
    ) -> Result<(), (Phase, Refusal)> {
        let failed = |failure| (Phase::Auth, Refusal::Failure(failure));
        if mechanism.is_plaintext() && self.secured.is_none() && !self.options.is_plaintext_allowed
        {
            let failure = "the password would go in plain text: there is no TLS";
            return Err(failed(Failure::Unsupported(failure)));
        }
        let host = match &self.options.tls {
            Some(secure) => secure.server_name.clone(),
            None => self.options.hello.clone(),
        };
        let sasl = |e: SaslError| failed(Failure::Sasl(e.to_string()));
        let mut dialogue = Dialogue::start(mechanism, credentials, &host).map_err(sasl)?;
        let mut line = format!("AUTH {}", mechanism.name());
        if dialogue.is_first() {
            let first = dialogue.step(None).map_err(sasl)?;
            // Nothing to say is said as `=`, because nothing at all is a wait for a challenge.
            line.push(' ');
            line.push_str(&if first.is_empty() { "=".into() } else { BASE64.encode(first) });
        }
        let start = Instant::now();
        let said = self.answer_challenges(&mut dialogue, line).await;
        self.stamp(Phase::Auth, start);
        match said {
            Ok(reply) if reply.is_positive() && dialogue.may_end() => Ok(()),
            Ok(reply) if reply.is_positive() => {
                let failure = "the server did not prove that it knows the password";
                Err(failed(Failure::Sasl(failure.into())))
            }
            Ok(reply) => Err((Phase::Auth, Refusal::Reply(reply))),
            Err(failure) => Err(failed(failure)),
        }
    }

    async fn answer_challenges(
        &mut self,
        dialogue: &mut Dialogue,
        mut line: String,
    ) -> Result<Reply, Failure> {
        let Limits { write, command, .. } = self.options.limits;
        let mut why = None;
        for _ in 0..CHALLENGES {
            line.push_str("\r\n");
            self.wire.write(line.as_bytes(), write).await.map_err(|torn| torn.failure)?;
            let reply = self.wire.reply(command).await?;
            if !reply.is_intermediate() || why.is_some() {
                return why.map_or(Ok(reply), Err);
            }
            let challenge = BASE64.decode(reply.text.trim());
            let challenge = challenge.map_err(|e| SaslError::new(format!("a challenge: {e}")));
            line = match challenge.and_then(|challenge| dialogue.step(Some(&challenge))) {
                Ok(answer) => BASE64.encode(answer),
                Err(e) => {
                    why = Some(Failure::Sasl(e.to_string()));
                    "*".to_owned()
                }
            };
        }
        Err(Failure::Sasl(format!("more than {CHALLENGES} challenges")))
    }

    async fn hello(&mut self) -> Result<(), (Phase, Refusal)> {
        let verb = match self.options.protocol {
            Protocol::Esmtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let reply = self.say_hello(verb).await;
        let is_old = |reply: &Reply| matches!(reply.code, 500 | 502);
        if self.options.protocol == Protocol::Esmtp && reply.as_ref().is_ok_and(is_old) {
            let reply = self.say_hello("HELO").await;
            self.positive(Phase::Ehlo, reply)?;
            self.offered = Capabilities::default();
            return Ok(());
        }
        let reply = self.positive(Phase::Ehlo, reply)?;
        self.offered = Capabilities::parse(&reply);
        Ok(())
    }

    async fn say_hello(&mut self, verb: &str) -> Result<Reply, Failure> {
        let line = format!("{verb} {}\r\n", self.options.hello);
        self.say(Phase::Ehlo, line.as_bytes(), self.options.limits.command).await
    }

    fn positive(
        &mut self,
        phase: Phase,
        reply: Result<Reply, Failure>,
    ) -> Result<Reply, (Phase, Refusal)> {
        match reply {
            Ok(reply) if reply.is_positive() => Ok(reply),
            Ok(reply) if reply.is_intermediate() => {
                Err((phase, Refusal::Failure(Failure::Unexpected(reply))))
            }
            Ok(reply) => Err((phase, Refusal::Reply(reply))),
            Err(failure) => Err((phase, Refusal::Failure(failure))),
        }
    }
}

async fn open(endpoint: &Endpoint) -> Result<Stream, Failure> {
    match endpoint {
        Endpoint::Tcp(to, from) => Ok(Stream::Tcp(open_tcp(*to, *from).await?)),
        Endpoint::Unix(path) => {
            let opened = UnixStream::connect(path).await;
            Ok(Stream::Unix(opened.map_err(|e| failed(&e, io::ErrorKind::AddrNotAvailable))?))
        }
    }
}

async fn open_tcp(to: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, Failure> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|e| failed(&e, io::ErrorKind::AddrNotAvailable))?;
    if let Some(from) = from {
        let bound = socket.bind(SocketAddr::new(from, 0));
        // Port 0 in use: all of them are.
        bound.map_err(|e| failed(&e, io::ErrorKind::AddrInUse))?;
    }
    // A message and its end are two packets where they are large: the second must not wait for the
    // acknowledgement of the first.
    socket.set_nodelay(true).map_err(|e| Failure::Io(e.to_string()))?;
    let connected = socket.connect(to).await;
    connected.map_err(|e| failed(&e, io::ErrorKind::AddrNotAvailable))
}

/// `no_port` is what the kernel says where no port is left.
fn failed(error: &io::Error, no_port: io::ErrorKind) -> Failure {
    match error.raw_os_error() {
        _ if error.kind() == no_port => Failure::Exhausted(Resource::Ports),
        Some(ENFILE | EMFILE) => Failure::Exhausted(Resource::Descriptors),
        _ => Failure::Io(error.to_string()),
    }
}

/// Too many open files on this system, or in this process (errno(3)).
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// No mechanism has more than three.
const CHALLENGES: usize = 8;
