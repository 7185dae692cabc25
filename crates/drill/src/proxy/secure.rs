//! TLS in a server's place: certificates with a flaw, and a client's socket whose TLS ends here. What it says inside goes
//! through a pair of sockets, so that a session reads and writes as before. A client that refuses is only closed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use smtp::server::{BadCertificate, Certificate};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// What is wrong with a certificate. Each is signed by itself, so that only who trusts it sees nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// It was good until a day ago.
    Expired,
    /// It will be good in 30 days.
    NotYetValid,
    /// It is for `elsewhere.drill.test`. The others are for `localhost`, 127.0.0.1 and `proxy.drill.test`.
    OtherName,
    /// Only that nobody else signed it.
    SelfSigned,
}

/// The certificates of a proxy: of each flaw one, made when it is first needed, as a server has one for long.
#[derive(Default)]
pub(super) struct Certificates(Mutex<Vec<(Flaw, TlsAcceptor)>>);

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    fn acceptor(&self, flaw: Flaw) -> Result<TlsAcceptor, BadCertificate> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, acceptor)) = made.iter().find(|(its, _)| *its == flaw) {
            return Ok(acceptor.clone());
        }
        let acceptor = certificate(flaw, SystemTime::now())?.acceptor()?;
        made.push((flaw, acceptor.clone()));
        Ok(acceptor)
    }
}

fn certificate(flaw: Flaw, now: SystemTime) -> Result<Certificate, BadCertificate> {
    let names: &[&str] = match flaw {
        Flaw::OtherName => &["elsewhere.drill.test"],
        _ => &["proxy.drill.test", "localhost", "127.0.0.1"],
    };
    let days = match flaw {
        Flaw::Expired => now - 90 * DAY..now - DAY,
        Flaw::NotYetValid => now + 30 * DAY..now + 120 * DAY,
        Flaw::OtherName | Flaw::SelfSigned => now - DAY..now + 90 * DAY,
    };
    Certificate::self_signed_for(names, days)
}

/// One side of a session.
#[derive(Debug)]
pub(super) enum Socket {
    /// As it was accepted or called.
    Tcp(TcpStream),
    /// What is inside TLS; a [`Bridge`] must be waited for beside it.
    Inside(UnixStream),
}

impl Socket {
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Inside(stream) => stream.readable().await,
        }
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Inside(stream) => stream.writable().await,
        }
    }

    pub(super) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(bytes),
            Self::Inside(stream) => stream.try_read(bytes),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Inside(stream) => stream.try_write(bytes),
        }
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Inside(stream) => stream.shutdown().await,
        }
    }

    /// Closing it resets it; that of a bridge is told by itself.
    pub(super) fn reset_at_close(&self) {
        if let Self::Tcp(stream) = self {
            // If it is gone already that is as good.
            let _ = stream.set_zero_linger();
        }
    }
}

/// Between a client's TLS and the session. It does nothing unless it is waited for, and ends with its owner.
pub(super) struct Bridge {
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    reset: oneshot::Sender<()>,
}

impl Bridge {
    /// The handshake comes first, for [`HANDSHAKE`] at most; when it fails the session's side ends.
    pub(super) fn new(
        client: TcpStream,
        certificates: &Certificates,
        flaw: Flaw,
        inside: UnixStream,
    ) -> io::Result<Self> {
        let acceptor = certificates.acceptor(flaw).map_err(io::Error::other)?;
        let (reset, asked) = oneshot::channel();
        let work = Box::pin(carry(client, acceptor, inside, asked));
        Ok(Self { work, reset })
    }

    /// Until the client has gone, or both sides said that nothing more comes.
    pub(super) async fn done(&mut self) {
        self.work.as_mut().await;
    }

    /// Ends the client's connection by RST.
    pub(super) async fn reset(mut self) {
        // It was not waited for to its end, or it would be gone.
        let _ = self.reset.send(());
        self.work.as_mut().await;
    }
}

async fn carry(
    client: TcpStream,
    acceptor: TlsAcceptor,
    mut inside: UnixStream,
    mut asked: oneshot::Receiver<()>,
) {
    let shaking = timeout(HANDSHAKE, acceptor.accept(client));
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        _ = &mut asked => return,
    };
    // A client that does not want this certificate has said so in TLS, and is closed.
    let Ok(Ok(mut tls)) = shaken else { return };
    let is_reset = tokio::select! {
        biased;
        asked = &mut asked => asked.is_ok(),
        _ = copy_bidirectional(&mut tls, &mut inside) => false,
    };
    if is_reset {
        // As in the clear.
        let _ = tls.get_ref().0.set_zero_linger();
    }
}

/// For a client to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(86_400);
