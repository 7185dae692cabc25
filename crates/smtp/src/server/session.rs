//! One connection, from the greeting to the end: reads lines and bodies, asks the dialogue, does what it says,
//! and lets faults happen. Replies to commands that came together leave together.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::account::Account;
use super::body::Body;
use super::command::{BadCommand, Command, parse};
use super::dialogue::{Answer, Dialogue, Step};
use super::faults::{Act, At};
use super::keep::NoMailbox;
use super::lines::{Line, Lines};
use super::queue::now_ms;
use super::{Listener, Server};
use crate::deadline::Deadline;
use crate::proxy;
use crate::stream::Stream;
use crate::stuffing::LineEnds;

/// Why a session is over.
#[derive(Debug)]
pub(super) enum End {
    /// Somebody said goodbye, or the client went without.
    Closed,
    /// The connection broke, or the client was too slow.
    Broken(io::Error),
    /// Nothing may be said any more: a rule wanted it so, or no reply would be true.
    Silent,
    /// The server stops.
    Stopping,
    /// The server has stopped, and this did not end.
    Overdue,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

pub(super) struct Session {
    pub(super) server: Arc<Server>,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: Option<IpAddr>,
    pub(super) stream: Stream,
    /// Read and not yet looked at.
    pub(super) inbound: Vec<u8>,
    /// Said and not yet sent.
    pub(super) out: Vec<u8>,
    lines: Lines,
    pub(super) dialogue: Dialogue,
    /// The number of the message that is being sent, among all of the server's life.
    pub(super) number: u64,
    /// When its MAIL came, in milliseconds since 1970.
    pub(super) began_ms: u64,
    /// What has come of it by BDAT.
    pub(super) chunks: Option<(Body, LineEnds)>,
    /// Bytes a second, if a rule made us slow.
    pub(super) pace: Option<u32>,
    pub(super) account: Account,
    deadline: Deadline,
    /// Whether the client's address was counted.
    is_counted: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.filter(|_| self.is_counted) {
            self.server.clients.disconnects(peer);
        }
    }
}

impl Session {
    pub(super) fn new(
        server: Arc<Server>,
        listener: Arc<Listener>,
        stream: Stream,
        peer: Option<IpAddr>,
    ) -> Self {
        Self {
            server,
            listener,
            peer,
            stream,
            inbound: Vec::new(),
            out: Vec::new(),
            lines: Lines::default(),
            dialogue: Dialogue::default(),
            number: 0,
            began_ms: 0,
            chunks: None,
            pace: None,
            account: Account::default(),
            deadline: Deadline::default(),
            is_counted: false,
        }
    }

    /// Goes through a session.
    pub(super) async fn run(mut self) -> End {
        let server = Arc::clone(&self.server);
        let overdue = async move {
            server.stopped().await;
            sleep(server.limits.grace).await;
        };
        let end = tokio::select! {
            // First, because what it waits for wakes a session that reads between two messages.
            biased;
            () = overdue => End::Overdue,
            Err(end) = self.talk() => end,
        };
        if matches!(end, End::Stopping) {
            Answer::new(421, "4.3.2 the server stops").write(&mut self.out);
        }
        if !matches!(end, End::Silent | End::Overdue) {
            let _ = timeout(LAST_WORDS, self.flush()).await;
            let _ = timeout(LAST_WORDS, self.stream.shutdown()).await;
        }
        if let Some(log) = &self.server.log {
            self.account.close(log).await;
        }
        end
    }

    /// Who the client is, as a balancer tells it before anything else.
    async fn hear_balancer(&mut self) -> Result<(), End> {
        loop {
            match proxy::parse(&self.inbound) {
                Ok(Some(said)) => {
                    self.inbound.drain(..said.length);
                    self.peer = said.client.map(|client| client.ip()).or(self.peer);
                    return Ok(());
                }
                // Not a byte more: what follows may be a handshake. No header is shorter than 15.
                Ok(None) if self.inbound.is_empty() => self.read(15).await?,
                Ok(None) => self.read(1).await?,
                // Who is no balancer gets no service, and no hint (section 2 of the protocol).
                Err(bad) => {
                    return Err(End::Broken(io::Error::new(io::ErrorKind::InvalidData, bad)));
                }
            }
        }
    }

    async fn talk(&mut self) -> Result<Infallible, End> {
        if self.listener.is_proxied {
            self.hear_balancer().await?;
        }
        if let Some(peer) = self.peer {
            self.is_counted = self.server.clients.connects(peer);
            if !self.is_counted {
                self.server.counters.turned_away();
                let answer = Answer::new(421, "4.7.0 too many connections from your address");
                self.say(&answer, None).await?;
                return Err(End::Closed);
            }
        }
        if self.listener.is_tls {
            self.handshake().await?;
        }
        let policy = &self.listener.policy;
        let kind = if policy.is_lmtp { "LMTP" } else { "ESMTP" };
        let banner = Answer::new(220, format!("{} {kind} mailrig", policy.host));
        let act = self.due(At::Connect, &[]);
        match self.before(&act).await? {
            Some(answer) => {
                self.say(&answer, None).await?;
                return Err(End::Closed);
            }
            None => self.say(&banner, act).await?,
        }
        loop {
            match self.command().await? {
                Ok(command) => self.obey(command).await?,
                Err(answer) => {
                    let step = self.dialogue.error(answer);
                    self.go(step, None).await?;
                }
            }
        }
    }

    /// The next command, or what to say to what is none.
    async fn command(&mut self) -> Result<Result<Command, Answer>, End> {
        let parsed =
            |line: Line<'_>| whole(line).and_then(|line| parse(line).map_err(|bad| refusal(&bad)));
        self.line(parsed).await
    }

    /// Waits for a line, and what is made of it.
    pub(super) async fn line<T>(&mut self, make: impl FnOnce(Line<'_>) -> T) -> Result<T, End> {
        loop {
            if let Some((line, length)) = self.lines.next(&mut self.inbound) {
                let made = make(line);
                self.inbound.drain(..length);
                return Ok(made);
            }
            self.read(READ_BYTES).await?;
        }
    }

    /// Does what a command asks for, unless a rule has it otherwise.
    async fn obey(&mut self, command: Command) -> Result<(), End> {
        let mut recipient = None;
        let at = match &command {
            Command::Hello(..) => Some(At::Ehlo),
            Command::StartTls => Some(At::StartTls),
            Command::Auth(..) => Some(At::Auth),
            Command::Mail(..) => Some(At::Mail),
            Command::Rcpt(to) => {
                recipient = Some(to.to_string());
                Some(At::Rcpt)
            }
            Command::Data | Command::Bdat(_, false) => Some(At::Data),
            Command::Quit => Some(At::Quit),
            // The end of a message has its own moment.
            Command::Bdat(_, true) => None,
            Command::Rset | Command::Noop | Command::Vrfy | Command::Help => None,
        };
        let mut sender = None;
        if let Command::Mail(from, _) = &command
            && self.dialogue.transaction.is_none()
        {
            (self.number, self.began_ms) = (self.server.next_number(), now_ms());
            self.account_for(from.as_ref());
            sender = Some(from.as_ref().map_or("", |from| from.as_str()));
        }
        let recipients: Vec<&str> = match (&recipient, &self.dialogue.transaction) {
            (None, Some(transaction)) if at == Some(At::Data) => transaction.to(),
            _ => recipient.as_deref().into_iter().collect(),
        };
        let act = at.and_then(|at| self.due_from(at, sender, &recipients));
        if let Some(at) = at {
            self.account_for_fault(at, act.as_ref());
        }
        let instead = match self.before(&act).await? {
            Some(answer) => Some(answer),
            None => self.objection(&command).await,
        };
        let is_part = sender.is_some() || at == Some(At::Data);
        let step = match (instead, command) {
            (Some(answer), Command::Bdat(size, is_last)) => {
                Step::ReadChunk(size, is_last, Err(answer))
            }
            (Some(answer), _) if answer.code >= 500 => self.dialogue.error(answer),
            (Some(answer), _) => Step::Say(answer),
            (None, command) => self.dialogue.command(command, &self.listener.policy),
        };
        let step = match step {
            Step::Say(answer) if recipient.is_some() && (400..500).contains(&answer.code) => {
                self.dialogue.put_off(answer)
            }
            step => step,
        };
        if let Step::Say(answer) = &step {
            match &recipient {
                Some(to) => self.account.recipient(to, answer),
                None if is_part && !answer.is_positive() => self.account.refusal(answer),
                None => {}
            }
        }
        self.go(step, act).await?;
        if self.dialogue.transaction.is_none() {
            self.account.given_up();
        }
        Ok(())
    }

    /// Why a command cannot be obeyed that would be in order.
    async fn objection(&self, command: &Command) -> Option<Answer> {
        let has_begun = self.dialogue.transaction.is_some();
        match command {
            Command::Mail(..) if !has_begun && !self.server.may_send(self.peer) => {
                Some(Answer::new(450, "4.7.1 too many messages, come again in a minute"))
            }
            Command::Rcpt(to) if has_begun => {
                let to = to.clone();
                let takes = self.server.with_routes(move |routes| routes.takes(&to).err());
                takes.await.map(no_mailbox)
            }
            _ => None,
        }
    }

    async fn go(&mut self, step: Step, act: Option<Act>) -> Result<(), End> {
        match step {
            Step::Say(answer) => {
                if self.dialogue.transaction.is_none() {
                    self.chunks = None;
                }
                self.say(&answer, act).await?;
                stays(&answer)
            }
            Step::ReadBody(answer) => {
                self.say(&answer, act).await?;
                self.body().await
            }
            Step::ReadChunk(size, is_last, taken) => self.chunk(size, is_last, taken, act).await,
            Step::StartTls(answer) => {
                self.say(&answer, act).await?;
                self.flush().await?;
                // Sent before the handshake, it would pass for what came through TLS.
                self.inbound.clear();
                self.lines = Lines::default();
                self.chunks = None;
                self.handshake().await
            }
            Step::Authenticate(mechanism, initial) => {
                let answer = self.authenticate(&mechanism, initial).await?;
                let is_done = answer.is_positive();
                let step = if is_done { Step::Say(answer) } else { self.dialogue.error(answer) };
                Box::pin(self.go(step, act)).await
            }
            Step::Close(answer) => {
                self.say(&answer, act).await?;
                Err(End::Closed)
            }
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let idle = self.server.limits.idle;
        self.deadline.limit(idle, written).await.map_err(|_| too_slow())??;
        self.out.clear();
        if let Some(log) = &self.server.log {
            self.account.flushed(log).await;
        }
        Ok(())
    }

    /// Sends what was said, and reads on. Between two messages the server may stop.
    pub(super) async fn read(&mut self, bytes: usize) -> Result<(), End> {
        self.flush().await?;
        let bytes = match self.pace {
            Some(pace) => {
                sleep(Duration::from_secs(1) / pace).await;
                1
            }
            None => bytes,
        };
        self.inbound.reserve(bytes);
        let is_between = self.dialogue.transaction.is_none();
        let mut limited = (&mut self.stream).take(bytes as u64);
        let mut reading = pin!(limited.read_buf(&mut self.inbound));
        let read = poll_fn(|cx| {
            if is_between && self.server.is_stopping() {
                return Poll::Ready(Err(End::Stopping));
            }
            reading.as_mut().poll(cx).map_err(End::Broken)
        });
        match self.deadline.limit(self.server.limits.idle, read).await {
            Ok(Ok(0)) => Err(End::Closed),
            Ok(read) => read.map(drop),
            Err(_) => Err(too_slow()),
        }
    }
}

pub(super) fn whole(line: Line<'_>) -> Result<&[u8], Answer> {
    match line {
        Line::Whole(line) => Ok(line),
        Line::Bare => Err(Answer::new(500, "5.5.2 lines end with CR LF")),
        Line::TooLong => Err(Answer::new(500, "5.5.2 line too long")),
    }
}

fn refusal(bad: &BadCommand) -> Answer {
    let (code, enhanced) = match bad {
        BadCommand::Unknown => (500, "5.5.2"),
        BadCommand::Syntax(_) => (501, "5.5.4"),
        BadCommand::Parameter => (555, "5.5.4"),
        BadCommand::Sender(_) => (501, "5.1.7"),
        BadCommand::Recipient(_) => (501, "5.1.3"),
    };
    Answer::new(code, format!("{enhanced} {bad}"))
}

fn no_mailbox(why: NoMailbox) -> Answer {
    match why {
        NoMailbox::Unknown => Answer::new(550, "5.1.1 no such mailbox"),
        NoMailbox::Name => Answer::new(553, "5.1.3 no mailbox can have this name"),
        NoMailbox::Unsure => Answer::new(451, "4.3.0 the mailbox cannot be looked at now"),
    }
}

/// Who says 421 closes (RFC 5321, 3.8).
pub(super) fn stays(answer: &Answer) -> Result<(), End> {
    if answer.code == 421 { Err(End::Closed) } else { Ok(()) }
}

pub(super) fn too_slow() -> End {
    End::Broken(io::ErrorKind::TimedOut.into())
}

/// For what is said and done after the end.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// Commands are short.
const READ_BYTES: usize = 2048;
