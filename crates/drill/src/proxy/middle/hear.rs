//! The way from the server to the client: what a reply answers, and what becomes of one that a rule waits for.

use std::time::{Duration, Instant};

use super::{End, Middle, State, Step};
use crate::proxy::commands::Verb;
use crate::proxy::replies::{Heard, without_starttls};
use crate::proxy::rule::Act;

/// From the server to the client.
impl Middle {
    pub(super) fn hear(&mut self, now: Instant) -> Step {
        if !self.down.pipe.has_room() {
            return Step::Idle;
        }
        match self.state {
            State::Held(until) if now < until => return Step::Idle,
            State::Securing(_) => return Step::Idle,
            State::Held(_) => self.state = State::Free,
            _ => {}
        }
        if self.down.input.is_empty() {
            return if self.down.is_ended { self.hear_end(now) } else { Step::Idle };
        }
        match &self.state {
            State::Opaque => return self.hear_bytes(self.down.input.len(), now),
            State::Watching(Act::CutAfter) => return Step::End(End::Close),
            State::Watching(Act::HoldForEver) => return Step::Idle,
            State::Watching(Act::Hold(hold)) => {
                // Nobody lives to see the end of what cannot be added.
                self.state = State::Held(now + (*hold).min(HOLD_MAX));
                return Step::Moved;
            }
            _ => {}
        }
        match self.replies.next(&self.down.input) {
            Heard::Part(bytes) => self.hear_bytes(bytes, now),
            Heard::End(bytes, code) => {
                self.hear_bytes(bytes, now);
                self.hear_reply(code, now);
                Step::Moved
            }
            Heard::Lost => {
                self.give_up(now);
                Step::Moved
            }
        }
    }

    fn hear_bytes(&mut self, bytes: usize, now: Instant) -> Step {
        let is_kept = matches!(self.state, State::Watching(Act::StripStartTls));
        if is_kept && self.kept.len() < KEPT_BYTES {
            self.kept.extend_from_slice(&self.down.input[..bytes]);
        } else {
            self.release(now);
            self.down.pipe.push(&self.down.input[..bytes], now);
        }
        self.down.input.drain(..bytes);
        Step::Moved
    }

    /// What was kept back goes on as it is.
    fn release(&mut self, now: Instant) {
        self.down.pipe.push(&std::mem::take(&mut self.kept), now);
    }

    /// A reply has ended: it answers the first command that has none yet.
    fn hear_reply(&mut self, code: u16, now: Instant) {
        if matches!(self.state, State::Watching(Act::StripStartTls)) {
            self.kept = without_starttls(&self.kept);
            self.release(now);
            self.state = State::Free;
        }
        self.find_place(code);
        let Some(verb) = self.asked.front().copied() else { return };
        match verb {
            Verb::Mail => self.accepted = 0,
            Verb::Rcpt if code / 100 == 2 => self.accepted += 1,
            Verb::End | Verb::Bdat { is_last: true, .. } if self.is_lmtp => {
                let left = if self.left == 0 { self.accepted.max(1) } else { self.left };
                self.left = left - 1;
                if self.left > 0 {
                    return;
                }
            }
            Verb::StartTls if code == 220 => self.state = State::Opaque,
            _ => {}
        }
        self.asked.pop_front();
        self.commands.answered(verb, code);
    }

    /// Two codes tell what they answer, if a server left out an answer before.
    fn find_place(&mut self, code: u16) {
        let is_it = |verb: &Verb| match code {
            354 => matches!(verb, Verb::Data),
            334 => matches!(verb, Verb::Auth | Verb::AuthAnswer),
            _ => true,
        };
        if let Some(at) = self.asked.iter().position(is_it) {
            self.asked.drain(..at);
        }
    }

    /// The server says nothing more.
    fn hear_end(&mut self, now: Instant) -> Step {
        self.asked.clear();
        match self.state {
            State::Watching(Act::CutAfter) => return Step::End(End::Close),
            State::Watching(Act::HoldForEver) => return Step::Idle,
            State::Free | State::Watching(_) => self.give_up(now),
            _ => {}
        }
        // What a rule has still to do comes before the end.
        let is_over = matches!(self.state, State::Opaque);
        if is_over && !std::mem::replace(&mut self.down.pipe.is_ending, true) {
            return Step::Moved;
        }
        Step::Idle
    }

    fn give_up(&mut self, now: Instant) {
        self.release(now);
        self.commands.give_up();
        self.state = State::Opaque;
    }
}

/// A reply to EHLO that is longer is not changed.
const KEPT_BYTES: usize = 16 * 1024;

const HOLD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
