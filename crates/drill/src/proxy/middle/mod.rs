//! What passes between a client and a server, and what a rule makes of it. Pure: bytes and the time go in, bytes come
//! out. A command on which a rule acts waits until all before it are answered, and what follows waits until that is
//! over, so that pipelining changes nothing about what a rule does.

mod hear;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::commands::{Commands, Said, Verb};
use super::faults::{Faults, Number};
use super::pipe::Pipe;
use super::replies::Replies;
use super::rule::{Act, At};
use super::secure::Flaw;

/// One direction: what was read and waits to be looked at, and what goes out.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) input: Vec<u8>,
    /// Whether nothing more is to be read.
    pub(super) is_ended: bool,
    pub(super) pipe: Pipe,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides are closed when what waits for them is written.
    Close,
    /// The same, by RST.
    Reset,
}

/// A session without its sockets.
#[derive(Debug)]
pub(super) struct Middle {
    /// To the server.
    pub(super) up: Way,
    /// To the client.
    pub(super) down: Way,
    faults: Arc<Faults>,
    session: Number,
    transaction: Number,
    commands: Commands,
    replies: Replies,
    /// What the server has not answered yet, in order.
    asked: VecDeque<Verb>,
    state: State,
    is_lmtp: bool,
    /// Whether the client's TLS ends here.
    is_secured: bool,
    /// Recipients of this transaction: in LMTP each has a reply at the end.
    accepted: usize,
    /// How many of these are still to come.
    left: usize,
    /// A reply that goes on when it is complete.
    kept: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Everything passes until a rule acts.
    Free,
    /// A rule acts on the command of so many bytes, when all before it are answered.
    Armed(Verb, usize, Act),
    /// The server has the command; something happens to its reply.
    Watching(Act),
    /// The reply waits.
    Held(Instant),
    /// So many bytes of a chunk pass, then comes the end.
    Half(u64),
    /// So many bytes of a chunk do not pass, then this is said.
    Swallowing(u64, Verb, String),
    /// The client was told to begin TLS, which the proxy takes.
    Securing(Flaw),
    /// The server has gone without the client's knowing.
    Alone,
    /// Nothing is looked at any more.
    Opaque,
}

enum Step {
    Idle,
    Moved,
    End(End),
}

impl Middle {
    pub(super) fn new(faults: Arc<Faults>) -> Self {
        let way = || Way { input: Vec::new(), is_ended: false, pipe: Pipe::new() };
        Self {
            up: way(),
            down: way(),
            session: faults.session(),
            transaction: Number::default(),
            faults,
            commands: Commands::default(),
            replies: Replies::default(),
            asked: VecDeque::new(),
            state: State::Free,
            is_lmtp: false,
            is_secured: false,
            accepted: 0,
            left: 0,
            kept: Vec::new(),
        }
    }

    /// The client has connected; the server was not called yet.
    pub(super) fn open(&mut self, now: Instant) -> Option<End> {
        if let Some(act) = self.faults.due(At::Connect, self.session, self.transaction) {
            self.state = State::Armed(Verb::Connect, 0, act);
        } else {
            self.asked.push_back(Verb::Connect);
        }
        self.advance(now)
    }

    /// Whether there is no server any more, or never was.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.state, State::Alone)
    }

    /// The certificate for the client's TLS, which is to begin now: what it had to know first is written.
    pub(super) fn secures(&self) -> Option<Flaw> {
        match self.state {
            State::Securing(flaw) if self.down.pipe.is_empty() => Some(flaw),
            _ => None,
        }
    }

    /// What comes from the client now is inside TLS. What it said in the clear after STARTTLS is forgotten: who sits in
    /// between could have said it (RFC 3207, 4.2).
    pub(super) fn secured(&mut self) {
        self.up.input.clear();
        self.up.is_ended = false;
        self.is_secured = true;
        self.commands.answered(Verb::StartTls, 0);
        self.state = State::Free;
    }

    /// When to come again although nothing was read or written.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Held(until) => Some(until),
            _ => None,
        }
    }

    /// Moves on as far as what was read and the time allow.
    pub(super) fn advance(&mut self, now: Instant) -> Option<End> {
        loop {
            let said = self.say(now);
            let heard = if self.is_alone() { Step::Idle } else { self.hear(now) };
            match (said, heard) {
                (Step::End(end), _) | (_, Step::End(end)) => return Some(end),
                (Step::Idle, Step::Idle) => return None,
                _ => {}
            }
        }
    }
}

/// From the client to the server.
impl Middle {
    fn say(&mut self, now: Instant) -> Step {
        if !self.up.pipe.has_room() || self.asked.len() >= ASKED_MAX {
            return Step::Idle;
        }
        match &mut self.state {
            State::Free => self.say_next(now),
            State::Armed(..) if self.asked.is_empty() => self.act(now),
            State::Armed(..) | State::Securing(_) => Step::Idle,
            State::Watching(Act::HoldForEver) | State::Held(_)
                if self.up.is_ended
                    && (self.up.input.is_empty() || !self.commands.is_in_chunk()) =>
            {
                Step::End(End::Close)
            }
            // It is part of the command.
            State::Watching(_) | State::Held(_) if self.commands.is_in_chunk() => {
                self.say_next(now)
            }
            State::Watching(_) | State::Held(_) => Step::Idle,
            State::Half(0) => Step::End(End::Close),
            // The rest of it never comes.
            State::Half(_) | State::Swallowing(1.., ..)
                if self.up.is_ended && self.up.input.is_empty() =>
            {
                Step::End(End::Close)
            }
            State::Half(left) => {
                let bytes = at_most(*left, self.up.input.len());
                *left -= bytes as u64;
                self.say_bytes(bytes, now)
            }
            State::Swallowing(0, verb, text) => {
                let (verb, text) = (*verb, std::mem::take(text));
                self.say_instead(verb, &text, now)
            }
            State::Swallowing(left, ..) => {
                let bytes = at_most(*left, self.up.input.len());
                *left -= bytes as u64;
                self.up.input.drain(..bytes);
                self.ended_or(bytes)
            }
            State::Alone => self.say_to_nobody(now),
            State::Opaque => self.say_bytes(self.up.input.len(), now),
        }
    }

    fn say_next(&mut self, now: Instant) -> Step {
        match self.commands.next(&self.up.input) {
            Said::Wait => Step::Idle,
            Said::More if self.up.is_ended => self.say_bytes(self.up.input.len(), now),
            Said::More => Step::Idle,
            Said::Pass(bytes) => self.say_bytes(bytes, now),
            Said::Body(bytes, is_first) => {
                let due = is_first.then(|| self.due(At::Body)).flatten();
                match due {
                    Some(Act::Reset) => return Step::End(End::Reset),
                    Some(Act::Cut) => return Step::End(End::Close),
                    Some(Act::CutInTheMiddle) => {
                        self.say_bytes(bytes / 2, now);
                        return Step::End(End::Close);
                    }
                    Some(act) => self.slow(&act),
                    None => {}
                }
                self.say_bytes(bytes, now)
            }
            Said::Command(verb, bytes) => {
                if verb == Verb::Mail {
                    self.transaction = self.faults.transaction();
                }
                match self.due_inside(verb).or_else(|| self.due_at(verb)) {
                    Some(act) => self.state = State::Armed(verb, bytes, act),
                    None => self.say_command(verb, bytes, now),
                }
                Step::Moved
            }
        }
    }

    fn due(&self, at: At) -> Option<Act> {
        self.faults.due(at, self.session, self.transaction)
    }

    /// Inside TLS there is no other, and the server, which knows of none, must not offer it (RFC 3207, 4.2).
    fn due_inside(&self, verb: Verb) -> Option<Act> {
        match verb {
            Verb::StartTls if self.is_secured => Some(Act::Reply("503 5.5.1 this is TLS".into())),
            Verb::Hello { .. } if self.is_secured => Some(Act::StripStartTls),
            _ => None,
        }
    }

    fn due_at(&self, verb: Verb) -> Option<Act> {
        let at = match verb {
            Verb::Hello { .. } => At::Ehlo,
            Verb::StartTls => At::StartTls,
            Verb::Auth => At::Auth,
            Verb::Mail => At::Mail,
            Verb::Rcpt => At::Rcpt,
            Verb::Data | Verb::Bdat { is_last: false, .. } => At::Data,
            Verb::End | Verb::Bdat { is_last: true, .. } => At::End,
            Verb::Quit => At::Quit,
            Verb::Connect | Verb::AuthAnswer | Verb::Rset | Verb::Other => return None,
        };
        let begins = matches!(verb, Verb::Bdat { is_first: true, size_bytes: 1.., .. });
        begins.then(|| self.due(At::Body)).flatten().or_else(|| self.due(at))
    }

    /// Does what a rule wants with the command at the beginning of the input.
    fn act(&mut self, now: Instant) -> Step {
        let State::Armed(verb, bytes, act) = std::mem::replace(&mut self.state, State::Free) else {
            return Step::Idle;
        };
        match act {
            Act::Latency(_) | Act::Bandwidth(_) => {
                self.slow(&act);
                self.say_command(verb, bytes, now);
            }
            Act::Refuse | Act::Reset => return Step::End(End::Reset),
            Act::Cut => return Step::End(End::Close),
            Act::CutInTheMiddle => {
                if let Verb::Bdat { size_bytes: size_bytes @ 1.., .. } = verb {
                    self.say_bytes(bytes, now);
                    self.state = State::Half(size_bytes / 2);
                } else {
                    self.say_bytes(bytes / 2, now);
                    return Step::End(End::Close);
                }
            }
            Act::CutAfter | Act::Hold(_) | Act::HoldForEver | Act::StripStartTls => {
                self.say_command(verb, bytes, now);
                self.state = State::Watching(act);
            }
            Act::PresentCertificate(flaw) => {
                self.up.input.drain(..bytes);
                self.tell("220 2.0.0 go ahead", now);
                self.state = State::Securing(flaw);
            }
            Act::Reply(text) => {
                self.up.input.drain(..bytes);
                if let Verb::Bdat { size_bytes, .. } = verb {
                    self.commands.forget_chunk();
                    self.state = State::Swallowing(size_bytes, verb, text);
                } else {
                    return self.say_instead(verb, &text, now);
                }
            }
        }
        Step::Moved
    }

    fn slow(&mut self, act: &Act) {
        for pipe in [&mut self.up.pipe, &mut self.down.pipe] {
            match act {
                Act::Latency(latency) => pipe.delay(*latency),
                Act::Bandwidth(bytes_per_s) => pipe.throttle(*bytes_per_s),
                _ => {}
            }
        }
    }

    fn say_command(&mut self, verb: Verb, bytes: usize, now: Instant) {
        if let Verb::Hello { is_lmtp } = verb {
            self.is_lmtp = is_lmtp;
        }
        self.asked.push_back(verb);
        self.say_bytes(bytes, now);
    }

    fn say_bytes(&mut self, bytes: usize, now: Instant) -> Step {
        self.up.pipe.push(&self.up.input[..bytes], now);
        self.up.input.drain(..bytes);
        self.ended_or(bytes)
    }

    /// After so many bytes: none are the end, if the client says nothing more.
    fn ended_or(&mut self, bytes: usize) -> Step {
        if bytes > 0 {
            return Step::Moved;
        }
        if self.up.is_ended && self.up.input.is_empty() {
            self.up.pipe.is_ending = true;
        }
        Step::Idle
    }

    /// Answers in the server's place. A message it must never have: it loses its client, who does not know.
    fn say_instead(&mut self, verb: Verb, text: &str, now: Instant) -> Step {
        let is_end = matches!(verb, Verb::End | Verb::Bdat { is_last: true, .. });
        let times = if is_end && self.is_lmtp { self.accepted.max(1) } else { 1 };
        for _ in 0..times {
            self.tell(text, now);
        }
        if text.starts_with("421") {
            return Step::End(End::Close);
        }
        self.commands.answered(verb, 0);
        let has_lost = is_end || matches!(verb, Verb::Connect | Verb::Bdat { .. });
        self.state = if has_lost { State::Alone } else { State::Free };
        Step::Moved
    }

    fn say_to_nobody(&mut self, now: Instant) -> Step {
        match self.commands.next(&self.up.input) {
            Said::More if !self.up.is_ended => return Step::Idle,
            Said::Pass(bytes) => {
                self.up.input.drain(..bytes);
                return Step::Moved;
            }
            Said::Command(Verb::Quit, _) => self.tell("221 2.0.0 bye", now),
            Said::Command(..) => self.tell("421 4.4.2 the connection was lost", now),
            _ => {}
        }
        Step::End(End::Close)
    }

    fn tell(&mut self, text: &str, now: Instant) {
        self.down.pipe.push(text.as_bytes(), now);
        self.down.pipe.push(b"\r\n", now);
    }
}

fn at_most(left: u64, there: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(there)
}

/// Commands that wait for their replies. A client that has more has to wait, too.
const ASKED_MAX: usize = 1000;
