//! Bytes out, replies in, with a limit on every wait. Counts what the kernel (or TLS) has taken of
//! each write, because that decides whether a message's end may have reached the server.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, HandshakeKind};

use super::{Secure, Secured};
use crate::deadline::Deadline;
use crate::outcome::Failure;
use crate::reply::{Reply, ReplyParser};
use crate::stream::Stream;

/// A connection and what was read ahead of it.
pub(super) struct Wire {
    stream: Stream,
    /// Unread replies begin at `start`.
    inbound: Vec<u8>,
    start: usize,
    parser: ReplyParser,
    deadline: Deadline,
}

/// A write that did not end well.
pub(super) struct Torn {
    pub(super) failure: Failure,
    /// How many bytes were taken before.
    pub(super) sent: usize,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        let (parser, deadline) = (ReplyParser::default(), Deadline::default());
        Self { stream, inbound: Vec::new(), start: 0, parser, deadline }
    }

    /// Writes all of it. The limit is for each piece, so that nobody holds us for ever by reading a byte now and then.
    pub(super) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Torn> {
        let mut sent = 0;
        let written = write(&mut self.stream, bytes, &mut self.deadline, limit, &mut sent).await;
        written.map_err(|failure| Torn { failure, sent })
    }

    /// Waits for the next reply, complete within the limit.
    pub(super) async fn reply(&mut self, limit: Duration) -> Result<Reply, Failure> {
        if let Some(reply) = parse(&mut self.parser, &mut self.inbound, &mut self.start)? {
            return Ok(reply);
        }
        let Self { stream, inbound, start, parser, deadline } = self;
        let read = async {
            loop {
                inbound.drain(..std::mem::take(start));
                inbound.reserve(READ_BYTES);
                match stream.read_buf(inbound).await {
                    Ok(0) if parser.is_inside() => return Err(Failure::HalfReply),
                    Ok(0) => return Err(Failure::Closed),
                    Ok(_) => {}
                    Err(e) => return Err(io_failure(&e)),
                }
                if let Some(reply) = parse(parser, inbound, start)? {
                    return Ok(reply);
                }
            }
        };
        deadline.limit(limit, read).await.map_err(|_| Failure::Timeout(limit))?
    }

    /// Whether the peer has said what nobody asked for: looks, and does not wait.
    pub(super) async fn has_more(&mut self) -> bool {
        if self.start == self.inbound.len() {
            self.inbound.reserve(READ_BYTES);
            let mut read = pin!(self.stream.read_buf(&mut self.inbound));
            // That it has ended or failed is noticed by who goes on.
            poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_ready())).await;
        }
        self.start < self.inbound.len()
    }

    /// Waits until the peer closes, or says what nobody wants to hear any more.
    pub(super) async fn wait_close(&mut self, limit: Duration) {
        self.inbound.clear();
        self.inbound.reserve(1);
        let read = self.stream.read_buf(&mut self.inbound);
        // Closing after the limit is as good.
        let _ = self.deadline.limit(limit, read).await;
    }

    /// Whether nothing was said, and the connection is open: looks, and does not wait.
    pub(super) async fn is_quiet(&mut self) -> bool {
        if self.start < self.inbound.len() {
            return false;
        }
        self.inbound.reserve(READ_BYTES);
        let mut read = pin!(self.stream.read_buf(&mut self.inbound));
        poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await
    }

    /// Whether what is unread is the one reply that needs no command (RFC 5321, 3.8).
    pub(super) fn has_goodbye(&self) -> bool {
        self.inbound[self.start..].starts_with(b"421")
    }

    /// Puts TLS on the connection.
    pub(super) async fn secure(&mut self, secure: &Secure) -> Result<Secured, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::Tls(e.to_string());
        let name = ServerName::try_from(secure.server_name.clone()).map_err(|e| failed(&e))?;
        let connector = TlsConnector::from(secure.tls.config());
        let (stream, secured) = match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Tcp(stream) => {
                let stream = connector.connect(name, stream).await.map_err(|e| failed(&e))?;
                let secured = secured(stream.get_ref().1);
                (Stream::TlsTcp(Box::new(stream.into())), secured)
            }
            Stream::Unix(stream) => {
                let stream = connector.connect(name, stream).await.map_err(|e| failed(&e))?;
                let secured = secured(stream.get_ref().1);
                (Stream::TlsUnix(Box::new(stream.into())), secured)
            }
            Stream::TlsTcp(_) | Stream::TlsUnix(_) | Stream::Gone => {
                return Err(Failure::Unsupported("TLS inside TLS"));
            }
        };
        self.stream = stream;
        Ok(secured)
    }
}

/// The reply that begins at `start`, if it is there.
fn parse(
    parser: &mut ReplyParser,
    inbound: &mut Vec<u8>,
    start: &mut usize,
) -> Result<Option<Reply>, Failure> {
    let Some((reply, length)) = parser.parse(&inbound[*start..]).map_err(Failure::BadReply)? else {
        return Ok(None);
    };
    *start += length;
    if *start == inbound.len() {
        inbound.clear();
        *start = 0;
    }
    Ok(Some(reply))
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    deadline: &mut Deadline,
    limit: Duration,
    sent: &mut usize,
) -> Result<(), Failure> {
    let late = |_| Failure::Timeout(limit);
    for piece in bytes.chunks(PIECE_BYTES) {
        let end = *sent + piece.len();
        let written = async {
            while *sent < end {
                match stream.write(&bytes[*sent..end]).await {
                    Ok(0) => return Err(Failure::Closed),
                    Ok(count) => *sent += count,
                    Err(e) => return Err(io_failure(&e)),
                }
            }
            Ok(())
        };
        deadline.limit(limit, written).await.map_err(late)??;
    }
    deadline.limit(limit, stream.flush()).await.map_err(late)?.map_err(|e| io_failure(&e))
}

fn secured(session: &ClientConnection) -> Secured {
    let word = |word: Option<String>| word.unwrap_or_default();
    Secured {
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        version: word(session.protocol_version().map(|version| format!("{version:?}"))),
        cipher: word(session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
    }
}

fn io_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Closed,
        io::ErrorKind::InvalidData => Failure::Tls(error.to_string()),
        _ => Failure::Io(error.to_string()),
    }
}

/// Replies are short; those to EHLO have some hundred bytes.
const READ_BYTES: usize = 1024;

/// Larger than what goes in one write with its end. In three minutes that is less than a kilobyte a second.
const PIECE_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_reads_a_little_now_and_then_does_not_hold_us_for_ever() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let reader = tokio::spawn(async move {
            let mut bytes = [0; 64];
            while theirs.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let (limit, mut sent) = (Duration::from_millis(200), 0);
        let (bytes, mut deadline) = (vec![b'x'; 4 * PIECE_BYTES], Deadline::default());
        let written = write(&mut ours, &bytes, &mut deadline, limit, &mut sent).await;
        assert_eq!(written, Err(Failure::Timeout(limit)));
        assert!((1..PIECE_BYTES).contains(&sent), "{sent}");
        drop(ours);
        reader.await.unwrap();
    }
}
