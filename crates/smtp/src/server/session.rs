//! One connection, from the greeting to the end: reads lines and bodies, asks the dialogue, does what it says,
//! and lets faults happen. Replies to commands that came together leave together.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::auth::Next;
use super::body::Body;
use super::command::{BadCommand, Command, parse};
use super::dialogue::{Answer, Dialogue, Step, Transaction};
use super::faults::{Act, At, Moment};
use super::keep::NoMailbox;
use super::lines::{Line, Lines};
use super::{Kept, Listener, Server, Trace};
use crate::stream::Stream;
use crate::stuffing::Unstuffer;

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
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

pub(super) struct Session {
    server: Arc<Server>,
    listener: Arc<Listener>,
    peer: Option<IpAddr>,
    stream: Stream,
    /// Read and not yet looked at.
    inbound: Vec<u8>,
    /// Said and not yet sent.
    out: Vec<u8>,
    lines: Lines,
    dialogue: Dialogue,
    /// The number of the message that is being sent, among all of the server's life.
    number: u64,
    /// What has come of it by BDAT.
    chunks: Option<Body>,
    /// Bytes a second, if a rule made us slow.
    pace: Option<u32>,
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
            chunks: None,
            pace: None,
        }
    }

    /// Goes through a session.
    pub(super) async fn run(mut self) -> End {
        let Err(end) = self.talk().await;
        if matches!(end, End::Stopping) {
            Answer::new(421, "4.3.2 the server stops").write(&mut self.out);
        }
        if !matches!(end, End::Silent) {
            let _ = timeout(LAST_WORDS, self.flush()).await;
            let _ = timeout(LAST_WORDS, self.stream.shutdown()).await;
        }
        end
    }

    async fn talk(&mut self) -> Result<Infallible, End> {
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
    async fn line<T>(&mut self, make: impl FnOnce(Line<'_>) -> T) -> Result<T, End> {
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
            Command::Mail(..) => {
                self.number = self.server.next_number();
                Some(At::Mail)
            }
            Command::Rcpt(to, _) => {
                recipient = Some(to.to_string());
                Some(At::Rcpt)
            }
            Command::Data | Command::Bdat(_, false) => Some(At::Data),
            Command::Quit => Some(At::Quit),
            // The end of a message has its own moment.
            Command::Bdat(_, true) => None,
            Command::Rset | Command::Noop | Command::Vrfy | Command::Help => None,
        };
        let sender = match &command {
            Command::Mail(from, _) => Some(from.as_ref().map_or("", |from| from.as_str())),
            _ => None,
        };
        let recipients: Vec<&str> = recipient.as_deref().into_iter().collect();
        let act = at.and_then(|at| self.due_from(at, sender, &recipients));
        let mut instead = self.before(&act).await?;
        if let Command::Rcpt(to, _) = &command
            && instead.is_none()
            && self.dialogue.transaction.is_some()
        {
            instead = self.server.takes(to).err().map(|why| no_mailbox(&why));
        }
        if let Some(answer) = instead {
            let is_chunk = matches!(command, Command::Bdat(..));
            let step = match command {
                Command::Bdat(size, is_last) => Step::ReadChunk(size, is_last, Err(answer)),
                _ if answer.code >= 500 => self.dialogue.error(answer),
                _ => Step::Say(answer),
            };
            debug_assert!(is_chunk || !matches!(step, Step::ReadChunk(..)));
            return self.go(step, None).await;
        }
        let step = self.dialogue.command(command, &self.listener.policy);
        self.go(step, act).await
    }

    async fn go(&mut self, step: Step, act: Option<Act>) -> Result<(), End> {
        match step {
            Step::Say(answer) => {
                if self.dialogue.transaction.is_none() {
                    self.chunks = None;
                }
                self.say(&answer, act).await
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

    /// Puts TLS on the connection.
    pub(super) async fn handshake(&mut self) -> Result<(), End> {
        let Some(acceptor) = self.server.tls.clone() else { return Err(End::Closed) };
        let stream = std::mem::replace(&mut self.stream, Stream::Gone);
        let accepted = timeout(self.server.limits.handshake, stream.accept(&acceptor)).await;
        self.stream = accepted.map_err(|_| too_slow())??;
        self.dialogue.is_secured = true;
        Ok(())
    }

    /// Goes through a mechanism (RFC 4954, 4).
    async fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<String>,
    ) -> Result<Answer, End> {
        let unreadable = || Answer::new(501, "5.5.2 that is no base64");
        let decode = |text: &[u8]| match text {
            b"=" => Some(Vec::new()),
            text => BASE64.decode(text).ok(),
        };
        let Some(mut proof) = self.server.users.dialogue(mechanism) else {
            return Ok(Answer::new(504, "5.5.4 mechanism not offered"));
        };
        let mut said = match initial.as_deref().map(|text| decode(text.as_bytes())) {
            Some(None) => return Ok(unreadable()),
            Some(said) => said,
            None => None,
        };
        // Where the server begins, an answer that came along is one to its first question.
        let mut ahead = if proof.is_client_first() { None } else { said.take() };
        let mut challenge = (proof.is_client_first() && said.is_none()).then(Vec::new);
        for _ in 0..CHALLENGES {
            if let Some(challenge) = challenge.take() {
                said = match ahead.take() {
                    Some(said) => Some(said),
                    None => {
                        Answer::new(334, BASE64.encode(challenge)).write(&mut self.out);
                        let line = self.line(|line| whole(line).map(<[u8]>::to_vec)).await?;
                        match line {
                            Err(answer) => return Ok(answer),
                            Ok(line) if line == b"*" => {
                                return Ok(Answer::new(501, "5.7.0 given up"));
                            }
                            Ok(line) => match decode(&line) {
                                Some(said) => Some(said),
                                None => return Ok(unreadable()),
                            },
                        }
                    }
                };
            }
            match proof.step(said.as_deref()) {
                Next::Ask(asked) => challenge = Some(asked),
                Next::Is(user) => {
                    self.dialogue.user = Some(user);
                    return Ok(Answer::new(235, "2.7.0 welcome"));
                }
                Next::Nobody => return Ok(Answer::new(535, "5.7.8 wrong name or password")),
                Next::Nonsense => return Ok(Answer::new(501, "5.5.2 that is not the mechanism")),
            }
        }
        Ok(Answer::new(535, "5.7.8 too many steps"))
    }

    /// The body of DATA.
    async fn body(&mut self) -> Result<(), End> {
        let mut body = self.server.new_body();
        let mut unstuffer = Unstuffer::default();
        loop {
            let before = body.space().len();
            let end = unstuffer.feed(&self.inbound, body.space());
            body.settle(before).await?;
            match end {
                Some(used) => {
                    self.inbound.drain(..used);
                    break;
                }
                None => self.inbound.clear(),
            }
            self.read(READ_BODY_BYTES).await?;
        }
        self.finish(body, unstuffer.has_bare_line_end()).await
    }

    /// A chunk of BDAT, which is read to its end whatever becomes of it.
    async fn chunk(
        &mut self,
        size: u64,
        is_last: bool,
        taken: Result<(), Answer>,
        act: Option<Act>,
    ) -> Result<(), End> {
        let mut body = match (&taken, self.chunks.take()) {
            (Ok(()), Some(body)) => body,
            (Ok(()), None) => self.server.new_body(),
            (Err(_), _) => Body::new(0, None),
        };
        let mut left = size;
        while left > 0 {
            if self.inbound.is_empty() {
                self.read(READ_BODY_BYTES).await?;
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.inbound.len());
            let before = body.space().len();
            body.space().extend_from_slice(&self.inbound[..count]);
            body.settle(before).await?;
            self.inbound.drain(..count);
            left -= count as u64;
        }
        match taken {
            Err(answer) => self.say(&answer, act).await,
            Ok(()) if is_last => self.finish(body, false).await,
            Ok(()) if body.is_too_large() => {
                self.dialogue.transaction = None;
                self.say(&too_large(), act).await
            }
            Ok(()) => {
                let answer = Answer::new(250, format!("2.0.0 {size} bytes"));
                self.chunks = Some(body);
                self.say(&answer, act).await
            }
        }
    }

    /// The message is whole: keeps it, or not, and says so.
    async fn finish(&mut self, body: Body, has_bare: bool) -> Result<(), End> {
        let Some(transaction) = self.dialogue.transaction.take() else { return Err(End::Closed) };
        let to: Vec<&str> = transaction.recipients.iter().map(|(to, _)| to.as_str()).collect();
        let from = transaction.from.as_ref().map_or("", |from| from.as_str());
        let act = self.due_from(At::End, Some(from), &to);
        let refused = if body.is_too_large() {
            Some(too_large())
        } else if has_bare {
            Some(Answer::new(550, "5.6.11 a CR or LF stands alone in the message"))
        } else {
            None
        };
        let instead = match refused {
            Some(answer) => Some(answer),
            None => self.before(&act).await?,
        };
        let is_lmtp = self.listener.policy.is_lmtp;
        let count = if is_lmtp { transaction.recipients.len() } else { 1 };
        if let Some(answer) = instead {
            for _ in 0..count {
                self.say(&answer, None).await?;
            }
            return Ok(());
        }
        let began = Instant::now();
        let trace = Trace::new(&self.dialogue, &self.listener.policy, self.peer, self.number);
        let kept = self.server.keep(transaction, trace, body, is_lmtp).await;
        tracing::debug!(took = ?began.elapsed(), "kept");
        let Kept::Answers(answers) = kept else { return Err(End::Silent) };
        for answer in answers {
            self.say(&answer, act.clone()).await?;
        }
        Ok(())
    }

    fn due(&self, at: At, recipients: &[&str]) -> Option<Act> {
        self.due_from(at, None, recipients)
    }

    /// What a rule wants now. The sender is that of the message that is being sent if none is given.
    fn due_from(&self, at: At, sender: Option<&str>, recipients: &[&str]) -> Option<Act> {
        let known = self.dialogue.transaction.as_ref().map(|Transaction { from, .. }| from);
        let known = known.map(|from| from.as_ref().map_or("", |from| from.as_str()));
        let (peer, transaction) = (self.peer, self.number);
        let sender = sender.or(known);
        self.server.faults.due(&Moment { at, peer, sender, recipients, transaction })
    }

    /// What a rule does before what was asked for is done; if it gives an answer, that is not done.
    async fn before(&mut self, act: &Option<Act>) -> Result<Option<Answer>, End> {
        match act {
            Some(Act::Reply(answer)) if !answer.is_positive() => return Ok(Some(answer.clone())),
            Some(Act::Delay(delay)) => {
                self.flush().await?;
                sleep(*delay).await;
            }
            Some(Act::Drop) => {
                self.flush().await?;
                return Err(End::Silent);
            }
            Some(Act::Hang) => {
                self.flush().await?;
                let mut nothing = [0; 1024];
                let until_gone = async {
                    while self.stream.read(&mut nothing).await? > 0 {}
                    io::Result::Ok(())
                };
                let _ = timeout(self.server.limits.idle, until_gone).await;
                return Err(End::Silent);
            }
            Some(Act::ReadSlowly(bytes)) => self.pace = Some(*bytes),
            _ => {}
        }
        Ok(None)
    }

    /// Says it, as a rule wants it.
    async fn say(&mut self, answer: &Answer, act: Option<Act>) -> Result<(), End> {
        match act {
            Some(Act::Reply(other)) => other.write(&mut self.out),
            Some(Act::Stall(stall)) => {
                self.flush().await?;
                sleep(stall).await;
                answer.write(&mut self.out);
            }
            Some(Act::LoseReply) => {
                self.flush().await?;
                return Err(End::Silent);
            }
            Some(Act::Garbage) => self.out.extend_from_slice(GARBAGE),
            Some(Act::HalfLine) => {
                let before = self.out.len();
                answer.write(&mut self.out);
                self.out.truncate(before + (self.out.len() - before) / 2);
                self.flush().await?;
                return Err(End::Silent);
            }
            _ => answer.write(&mut self.out),
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        timeout(self.server.limits.idle, written).await.map_err(|_| too_slow())??;
        self.out.clear();
        Ok(())
    }

    /// Sends what was said, and reads on. Between two messages the server may stop.
    async fn read(&mut self, bytes: usize) -> Result<(), End> {
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
        let mut stopping = self.server.stopping.subscribe();
        let idle = self.server.limits.idle;
        let reading = async {
            let mut limited = (&mut self.stream).take(bytes as u64);
            limited.read_buf(&mut self.inbound).await
        };
        let count = tokio::select! {
            read = timeout(idle, reading) => read.map_err(|_| too_slow())??,
            _ = stopping.wait_for(|is_stopping| *is_stopping), if is_between => {
                return Err(End::Stopping);
            }
        };
        if count == 0 { Err(End::Closed) } else { Ok(()) }
    }
}

fn whole(line: Line<'_>) -> Result<&[u8], Answer> {
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

fn no_mailbox(why: &NoMailbox) -> Answer {
    match why {
        NoMailbox::Unknown => Answer::new(550, "5.1.1 no such mailbox"),
        NoMailbox::Name => Answer::new(553, "5.1.3 no mailbox can have this name"),
    }
}

fn too_large() -> Answer {
    Answer::new(552, "5.3.4 message too large")
}

fn too_slow() -> End {
    End::Broken(io::ErrorKind::TimedOut.into())
}

/// For what is said and done after the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// No mechanism has more.
const CHALLENGES: usize = 8;

/// Commands are short.
const READ_BYTES: usize = 2048;

const READ_BODY_BYTES: usize = 32 * 1024;

const GARBAGE: &[u8] = b"\x00\xff\xfe<html>250 ok\r\n";
