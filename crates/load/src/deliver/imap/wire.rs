//! IMAP as a client that looks for new messages needs it: one command at a time. `imap-proto` parses; what it does
//! not know is passed over. Nothing that a server sends takes more memory than a message may have.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use imap_proto::{
    AttributeValue, Capability, MailboxDatum, NameAttribute, Outcome, Response, ResponseCode,
    Status,
};
use smtp::tls::Tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::place::{Place, is_quotable, quoted};
use crate::deliver::{Judge, What};

/// Why a folder cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ImapError {
    /// The connection cannot be made, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server was silent.
    #[error("no answer for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server did not do it.
    #[error("the server answered {0} with: {1}")]
    Refused(&'static str, String),
    /// No IMAP.
    #[error("the server sent what is no answer: {0}")]
    Protocol(String),
    /// The password would go where others read it.
    #[error("the password would go in plain text to another host; use imaps://, or STARTTLS")]
    Plaintext,
    /// LOGIN cannot say it, and the server has nothing else.
    #[error("the password has characters that the server's LOGIN does not take")]
    Password,
    /// Messages cannot be told from those of before.
    #[error("the folder was made anew during the run")]
    AnotherFolder,
}

/// What a server said, as far as it matters.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// The end of a command.
    Done(Result<(), String>),
    Exists(u32),
    /// A folder that can be opened.
    Listed,
    Expunged,
    Validity(u32),
    UidNext(u32),
    /// By number in the folder, and UID.
    Message(u32, u32, What),
    Capabilities {
        has_plain: bool,
    },
    Continue,
    Greeting {
        is_known: bool,
    },
    Bye(String),
    Other,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A session.
pub(super) struct Wire {
    stream: Box<dyn Duplex>,
    inbound: Vec<u8>,
    /// How much of that was understood.
    used: usize,
    tag: u64,
}

impl Wire {
    /// Connects, and logs in. Without `tls` only to this host, or by `imaps`.
    pub(super) async fn connect(
        place: &Place,
        password: &str,
        tls: Option<&Tls>,
        judge: &Judge,
    ) -> Result<Self, ImapError> {
        let stream = within(TcpStream::connect((place.host.as_str(), place.port))).await?;
        if !is_safe(place.is_tls, tls.is_some(), stream.peer_addr()?.ip()) {
            return Err(ImapError::Plaintext);
        }
        stream.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match tls {
            Some(tls) if place.is_tls => Box::new(within(tls.connect(&place.host, stream)).await?),
            Some(_) | None => Box::new(stream),
        };
        let mut wire = Self { stream, inbound: Vec::new(), used: 0, tag: 0 };
        let is_known = match wire.next(judge).await? {
            Heard::Greeting { is_known } => is_known,
            Heard::Bye(why) => return Err(ImapError::Refused("the connection", why)),
            other => return Err(ImapError::Protocol(format!("{other:?} for a greeting"))),
        };
        if let Some(tls) = tls.filter(|_| !place.is_tls) {
            wire.command("STARTTLS", "STARTTLS", judge).await?;
            if wire.used < wire.inbound.len() {
                // Said in plain text, it would pass for the server's word in the secured session.
                return Err(ImapError::Protocol("something before the handshake".into()));
            }
            wire.stream = Box::new(within(tls.connect(&place.host, wire.stream)).await?);
        }
        if !is_known {
            wire.log_in(&place.user, password, judge).await?;
        }
        Ok(wire)
    }

    async fn log_in(&mut self, user: &str, password: &str, judge: &Judge) -> Result<(), ImapError> {
        let said = self.command("CAPABILITY", "CAPABILITY", judge).await?;
        if !said.contains(&Heard::Capabilities { has_plain: true }) {
            if !is_quotable(password) {
                return Err(ImapError::Password);
            }
            let login = format!("LOGIN {} {}", quoted(user), quoted(password));
            return self.command("LOGIN", &login, judge).await.map(drop);
        }
        self.say("AUTHENTICATE PLAIN").await?;
        loop {
            match self.next(judge).await? {
                Heard::Continue => break,
                Heard::Done(Err(why)) => return Err(ImapError::Refused("AUTHENTICATE", why)),
                Heard::Done(Ok(())) => return Err(ImapError::Protocol("OK at once".into())),
                _ => {}
            }
        }
        let word = BASE64.encode(format!("\0{user}\0{password}"));
        self.send(format!("{word}\r\n").as_bytes()).await?;
        self.rest("AUTHENTICATE", judge).await.map(drop)
    }

    /// Sends a command, and gives what was heard until it was done.
    pub(super) async fn command(
        &mut self,
        name: &'static str,
        line: &str,
        judge: &Judge,
    ) -> Result<Vec<Heard>, ImapError> {
        self.say(line).await?;
        self.rest(name, judge).await
    }

    async fn rest(&mut self, name: &'static str, judge: &Judge) -> Result<Vec<Heard>, ImapError> {
        let mut all = Vec::new();
        loop {
            match self.next(judge).await? {
                Heard::Done(Ok(())) => return Ok(all),
                Heard::Done(Err(why)) | Heard::Bye(why) => {
                    return Err(ImapError::Refused(name, why));
                }
                Heard::Other => {}
                heard if all.len() < HEARD_MAX => all.push(heard),
                _ => return Err(ImapError::Protocol(format!("too much for {name}"))),
            }
        }
    }

    /// Sends a command, and does not wait.
    pub(super) async fn say(&mut self, line: &str) -> Result<(), ImapError> {
        self.tag += 1;
        let line = format!("m{} {line}\r\n", self.tag);
        self.send(line.as_bytes()).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ImapError> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within(sent).await
    }

    /// The next thing that is said. Messages are judged where they lie.
    pub(super) async fn next(&mut self, judge: &Judge) -> Result<Heard, ImapError> {
        let heard = self.next_with(|response, tag| heard(response, tag, judge)).await?;
        Ok(heard.unwrap_or(Heard::Other))
    }

    /// What `hear` makes of the next thing that is said, and of the tag of the last command; `None` for what is not
    /// understood.
    pub(super) async fn next_with<T>(
        &mut self,
        hear: impl FnOnce(Response<'_>, u64) -> T,
    ) -> Result<Option<T>, ImapError> {
        loop {
            let inbound = &self.inbound[self.used..];
            match Response::parse(inbound) {
                Ok((rest, response)) => {
                    let heard = hear(response, self.tag);
                    self.used = self.inbound.len() - rest.len();
                    return Ok(Some(heard));
                }
                Err(error) if error.is_incomplete() => {}
                Err(_) => {
                    if let Some(length) = unknown_line(inbound)? {
                        self.used += length;
                        return Ok(None);
                    }
                }
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), ImapError> {
        self.inbound.drain(..self.used);
        self.used = 0;
        if self.inbound.is_empty() && self.inbound.capacity() > BUFFER_BYTES {
            self.inbound = Vec::new();
        }
        if self.inbound.len() > INBOUND_BYTES {
            return Err(ImapError::Protocol("more than was asked for".into()));
        }
        if within(self.stream.read_buf(&mut self.inbound)).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}

/// Whether a password may be sent: there will be TLS, or nobody is in between.
fn is_safe(is_imaps: bool, has_tls: bool, peer: IpAddr) -> bool {
    has_tls || !is_imaps && peer.to_canonical().is_loopback()
}

/// Where a line ends that is not understood; `None`: not yet. One with a literal cannot be passed over.
fn unknown_line(inbound: &[u8]) -> Result<Option<usize>, ImapError> {
    let end = inbound.windows(2).position(|two| two == b"\r\n");
    let line = &inbound[..end.unwrap_or(inbound.len())];
    let text = || String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).into_owned();
    if !line.starts_with(b"* ") || line.ends_with(b"}") || line.len() > LINE_BYTES {
        return Err(ImapError::Protocol(text()));
    }
    Ok(end.map(|end| end + 2))
}

pub(super) fn heard(response: Response<'_>, tag: u64, judge: &Judge) -> Heard {
    match response {
        Response::Done { tag: of, status, outcome } if of.0 == format!("m{tag}") => {
            let text = || outcome.information.unwrap_or_default().into_owned();
            Heard::Done(if status == Status::Ok { Ok(()) } else { Err(text()) })
        }
        Response::Capabilities(all) => Heard::Capabilities { has_plain: has_plain(&all) },
        Response::Continue(_) => Heard::Continue,
        Response::Data { status: Status::Bye, outcome } => {
            Heard::Bye(outcome.information.unwrap_or_default().into_owned())
        }
        Response::Data {
            outcome: Outcome { code: Some(ResponseCode::UidValidity(uid)), .. },
            ..
        } => Heard::Validity(uid),
        Response::Data {
            outcome: Outcome { code: Some(ResponseCode::UidNext(uid)), .. }, ..
        } => Heard::UidNext(uid),
        Response::Data { status: Status::PreAuth, .. } => Heard::Greeting { is_known: true },
        // The first thing that is said; later nobody asks.
        Response::Data { status: Status::Ok, .. } => Heard::Greeting { is_known: false },
        Response::MailboxData(MailboxDatum::Exists(count)) => Heard::Exists(count),
        Response::MailboxData(MailboxDatum::List(list)) => {
            let is_name_only = |attribute: &NameAttribute<'_>| {
                let other = matches!(attribute, NameAttribute::Extension(name) if name.eq_ignore_ascii_case("\\NonExistent"));
                other || matches!(attribute, NameAttribute::NoSelect)
            };
            match list.name_attributes.iter().any(is_name_only) {
                true => Heard::Other,
                false => Heard::Listed,
            }
        }
        Response::Expunge(_) => Heard::Expunged,
        Response::Fetch(number, parts) => message(number, &parts, judge),
        _ => Heard::Other,
    }
}

fn message(number: u32, parts: &[AttributeValue<'_>], judge: &Judge) -> Heard {
    let uid = parts.iter().find_map(|part| match part {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    });
    let body = parts.iter().find_map(|part| match part {
        AttributeValue::BodySection { section: None, data, .. } => Some(data.as_deref()),
        _ => None,
    });
    // Without them it tells of flags.
    let (Some(uid), Some(body)) = (uid, body) else { return Heard::Other };
    let what = match body {
        Some(bytes) if bytes.len() > MESSAGE_BYTES => What::Unreadable("larger than 64 MiB".into()),
        Some(bytes) => What::Message(judge(bytes)),
        None => What::Unreadable("gone before it could be read".into()),
    };
    Heard::Message(number, uid, what)
}

fn has_plain(all: &[Capability<'_>]) -> bool {
    let is_plain = |one: &Capability<'_>| matches!(one, Capability::Auth(name) if name.eq_ignore_ascii_case("PLAIN"));
    all.iter().any(is_plain)
}

async fn within<T>(wait: impl Future<Output = io::Result<T>>) -> Result<T, ImapError> {
    timeout(PATIENCE, wait).await.map_err(|_| ImapError::Silent(PATIENCE))?.map_err(ImapError::Io)
}

/// What is read of a message, and a byte that tells of more.
pub(super) const FETCHED: &str = "(UID BODY.PEEK[]<0.67108865>)";
pub(super) const MESSAGE_BYTES: usize = 64 << 20;
const INBOUND_BYTES: usize = MESSAGE_BYTES + (1 << 20);
/// What is kept from message to message.
const BUFFER_BYTES: usize = 1 << 20;
const LINE_BYTES: usize = 64 << 10;
const SHOWN_BYTES: usize = 80;
/// Of a command that is not one for messages.
const HEARD_MAX: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_gets_no_password_in_plain_text() {
        for (is_imaps, has_tls, peer, expected) in [
            (false, false, "127.0.0.1", true),
            (false, false, "::1", true),
            (false, false, "::ffff:127.0.0.1", true),
            (false, false, "192.0.2.1", false),
            (false, true, "192.0.2.1", true),
            (true, true, "192.0.2.1", true),
            (true, false, "127.0.0.1", false),
        ] {
            let is = is_safe(is_imaps, has_tls, peer.parse().unwrap());
            assert_eq!(is, expected, "{is_imaps} {has_tls} {peer}");
        }
    }

    #[test]
    fn strange_lines_are_passed_over_and_what_is_no_line_is_not_waited_for() {
        let endless = [b"* ".as_slice(), &[b'x'; LINE_BYTES]].concat();
        for (line, expected) in [
            (b"* X y\r\n* 1 EXISTS\r\n".as_slice(), Some(Some(7))),
            (b"* X y\r", Some(None)),
            (b"* X {3}\r\nabc\r\n", None),
            (b"X y\r\n", None),
            (&endless, None),
        ] {
            assert_eq!(unknown_line(line).ok(), expected);
        }
    }
}
