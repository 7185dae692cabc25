//! One transaction. The line that must not be crossed lies before the terminator: until its first byte
//! is written a failure means that the message was refused, from then on only a complete reply tells.

use std::time::{Duration, Instant};

use super::{Client, Protocol, command};
use crate::message::{Content, Envelope};
use crate::outcome::{Failure, Outcome, Refusal};
use crate::phase::Phase;
use crate::reply::Reply;
use crate::stuffing::TERMINATOR;

/// What is sent: the parts follow each other, and each consists of whole lines.
pub type Parts<'m> = &'m [&'m Content];

/// What stands between a message's commands and its body: a journal, say.
pub type Intent<'i> = &'i mut (dyn FnMut() -> Result<(), String> + Send);

impl Client {
    /// Sends a message. `intent` is called when the server waits for the body, before any of it is
    /// written; if it fails the message is given up. Gives an outcome for each recipient, in order.
    pub async fn send(
        &mut self,
        envelope: &Envelope,
        parts: Parts<'_>,
        intent: Option<Intent<'_>>,
    ) -> Vec<Outcome> {
        if self.is_busy {
            let failure = Failure::GivenUp("the one before was left in the middle".into());
            self.ended.get_or_insert(failure);
        }
        if let Some(failure) = self.ended.clone() {
            return all(envelope, &Outcome::Refused(Phase::Mail, Refusal::Failure(failure)));
        }
        self.is_busy = true;
        let outcomes = self.transact(envelope, parts, intent).await;
        self.is_busy = false;
        outcomes
    }

    async fn transact(
        &mut self,
        envelope: &Envelope,
        parts: Parts<'_>,
        intent: Option<Intent<'_>>,
    ) -> Vec<Outcome> {
        let is_chunked = self.options.chunking && self.offered.chunking;
        let mut outcomes: Asked = Vec::with_capacity(envelope.to.len());
        let asked = if self.options.pipelining && self.offered.pipelining {
            self.ask_together(envelope, parts, is_chunked, &mut outcomes).await
        } else {
            self.ask_in_turn(envelope, parts, is_chunked, &mut outcomes).await
        };
        if let Err((phase, refusal)) = asked {
            // Who was refused before stays so, for the server's reason.
            outcomes.resize(envelope.to.len(), None);
            fill(&mut outcomes, &Outcome::Refused(phase, refusal));
        } else if let Some(failure) = self.ended.clone() {
            // Goodbye to the last RCPT, and BDAT, which is not asked for, would come next.
            fill(&mut outcomes, &Outcome::Refused(Phase::Rcpt, Refusal::Failure(failure)));
        }
        if outcomes.iter().all(Option::is_some) {
            return outcomes.into_iter().flatten().collect();
        }
        if let Some(Err(reason)) = intent.map(|intent| intent()) {
            // Closing is the only way to take DATA back.
            let failure = Failure::GivenUp(reason);
            self.ended = Some(failure.clone());
            fill(&mut outcomes, &Outcome::Refused(Phase::Data, Refusal::Failure(failure)));
            return outcomes.into_iter().flatten().collect();
        }
        if is_chunked {
            self.chunks(parts, &mut outcomes).await;
        } else {
            self.body(parts, &mut outcomes).await;
        }
        outcomes.into_iter().flatten().collect()
    }
}

/// What the commands before the body came to: an outcome for each recipient that was refused.
type Asked = Vec<Option<Outcome>>;

impl Client {
    /// MAIL, all RCPT and DATA in as few writes as their number allows.
    async fn ask_together(
        &mut self,
        envelope: &Envelope,
        parts: Parts<'_>,
        is_chunked: bool,
        asked: &mut Asked,
    ) -> Result<(), (Phase, Refusal)> {
        let mut groups = envelope.to.chunks(RECIPIENTS_TOGETHER).peekable();
        let mut is_first = true;
        while let Some(group) = groups.next() {
            let is_last = groups.peek().is_none();
            self.out.clear();
            if is_first && self.is_dirty {
                self.out.extend_from_slice(b"RSET\r\n");
            }
            if is_first {
                self.mail(envelope, parts)?;
            }
            for recipient in group {
                command::rcpt(recipient, &self.offered, &mut self.out);
            }
            if is_last && !is_chunked {
                self.out.extend_from_slice(b"DATA\r\n");
            }
            let start = Instant::now();
            let phase = if is_first { Phase::Mail } else { Phase::Rcpt };
            self.write_out(phase, start).await?;
            if std::mem::take(&mut is_first) {
                if std::mem::replace(&mut self.is_dirty, true) {
                    let reply = self.answer(Phase::Rset, start).await?;
                    self.take_reset_reply(reply)?;
                }
                let reply = self.answer(Phase::Mail, start).await?;
                if !reply.is_positive() {
                    asked.resize(envelope.to.len(), Some(refused(Phase::Mail, &reply)));
                }
            }
            let is_refused = asked.len() == envelope.to.len();
            for _ in group {
                let reply = self.answer(Phase::Rcpt, start).await?;
                if !is_refused {
                    asked.push((!reply.is_positive()).then(|| refused(Phase::Rcpt, &reply)));
                }
            }
            if is_last && !is_chunked {
                let reply = self.answer(Phase::Data, start).await?;
                self.take_data_reply(reply, asked).await?;
            }
        }
        Ok(())
    }

    /// Each command after the reply to the one before; nothing more is said once nobody is left.
    async fn ask_in_turn(
        &mut self,
        envelope: &Envelope,
        parts: Parts<'_>,
        is_chunked: bool,
        asked: &mut Asked,
    ) -> Result<(), (Phase, Refusal)> {
        if self.is_dirty {
            self.out.clear();
            self.out.extend_from_slice(b"RSET\r\n");
            let reply = self.ask(Phase::Rset).await?;
            self.take_reset_reply(reply)?;
            self.is_dirty = false;
        }
        self.out.clear();
        self.mail(envelope, parts)?;
        let reply = self.ask(Phase::Mail).await?;
        if !reply.is_positive() {
            asked.resize(envelope.to.len(), Some(refused(Phase::Mail, &reply)));
            return Ok(());
        }
        self.is_dirty = true;
        for recipient in &envelope.to {
            self.out.clear();
            command::rcpt(recipient, &self.offered, &mut self.out);
            let reply = self.ask(Phase::Rcpt).await?;
            asked.push((!reply.is_positive()).then(|| refused(Phase::Rcpt, &reply)));
        }
        if !is_chunked && asked.iter().any(Option::is_none) {
            self.out.clear();
            self.out.extend_from_slice(b"DATA\r\n");
            let reply = self.ask(Phase::Data).await?;
            self.take_data_reply(reply, asked).await?;
        }
        Ok(())
    }

    fn mail(&mut self, envelope: &Envelope, parts: Parts<'_>) -> Result<(), (Phase, Refusal)> {
        let traits = command::Traits {
            size_bytes: parts.iter().map(|part| part.size_bytes()).sum(),
            is_8bit: parts.iter().any(|part| part.is_8bit()),
        };
        command::mail(envelope, &traits, &self.offered, &mut self.out)
            .map_err(|failure| (Phase::Mail, Refusal::Failure(failure)))
    }

    /// Writes the commands that wait, and hears the reply.
    async fn ask(&mut self, phase: Phase) -> Result<Reply, (Phase, Refusal)> {
        let start = Instant::now();
        self.write_out(phase, start).await?;
        self.answer(phase, start).await
    }

    async fn write_out(&mut self, phase: Phase, start: Instant) -> Result<(), (Phase, Refusal)> {
        let out = std::mem::take(&mut self.out);
        let written = self.write(phase, start, &out).await;
        self.out = out;
        written.map_err(|failure| (phase, Refusal::Failure(failure)))
    }

    /// The reply to one of the commands before the body.
    async fn answer(&mut self, phase: Phase, start: Instant) -> Result<Reply, (Phase, Refusal)> {
        let failed = |failure| (phase, Refusal::Failure(failure));
        if let Some(failure) = self.ended.clone() {
            return Err(failed(failure));
        }
        let limits = &self.options.limits;
        let limit = if phase == Phase::Data { limits.data } else { limits.command };
        let reply = self.hear(phase, start, limit).await.map_err(failed)?;
        if reply.is_intermediate() && phase != Phase::Data {
            return Err(failed(self.out_of_step(reply)));
        }
        Ok(reply)
    }

    fn out_of_step(&mut self, reply: Reply) -> Failure {
        let failure = Failure::Unexpected(reply);
        self.ended.get_or_insert_with(|| failure.clone());
        failure
    }

    /// Where RSET is refused nobody knows whose mail the server still has in mind.
    fn take_reset_reply(&mut self, reply: Reply) -> Result<(), (Phase, Refusal)> {
        if reply.is_positive() {
            return Ok(());
        }
        let is_transient = reply.is_transient();
        let failure = self.out_of_step(reply.clone());
        // That it is final says nothing of the message.
        let refusal = if is_transient { Refusal::Reply(reply) } else { Refusal::Failure(failure) };
        Err((Phase::Rset, refusal))
    }

    /// What the reply to DATA means for those who are left.
    async fn take_data_reply(
        &mut self,
        reply: Reply,
        asked: &mut Asked,
    ) -> Result<(), (Phase, Refusal)> {
        if reply.is_positive() {
            return Err((Phase::Data, Refusal::Failure(self.out_of_step(reply))));
        }
        if !reply.is_intermediate() {
            fill(asked, &refused(Phase::Data, &reply));
        } else if asked.iter().any(Option::is_none) {
            return Ok(());
        } else if self.options.protocol == Protocol::Lmtp {
            // Nobody's replies would follow (RFC 2033, 4.2), so there is nothing to wait for.
            self.out_of_step(reply);
        } else {
            // The server waits for a message that is for nobody: it gets an empty one (RFC 2920, 3.1).
            let end = self.options.limits.end;
            self.say(Phase::Body, TERMINATOR, end)
                .await
                .map_err(|failure| (Phase::Body, Refusal::Failure(failure)))?;
        }
        Ok(())
    }

    /// The body of DATA and its end.
    async fn body(&mut self, parts: Parts<'_>, outcomes: &mut Asked) {
        let start = Instant::now();
        if let Some(refusal) = self.interruption(start).await {
            return fill(outcomes, &Outcome::Refused(Phase::Body, refusal));
        }
        let body_bytes: usize = parts.iter().map(|part| part.stuffed().len()).sum();
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let mut written = Ok(());
        for part in parts.iter().map(|part| part.stuffed()) {
            if body_bytes <= TOGETHER_BYTES {
                out.extend_from_slice(part);
            } else if written.is_ok() {
                written = self.wire.write(part, self.options.limits.write).await;
            }
        }
        let before_end = out.len();
        out.extend_from_slice(TERMINATOR);
        let mut is_end_sent = false;
        if written.is_ok() {
            written = self.wire.write(&out, self.options.limits.write).await;
            is_end_sent = written.as_ref().map_or_else(|torn| torn.sent > before_end, |()| true);
        }
        out.clear();
        // One large message must not hold its space for the rest of the session.
        out.shrink_to(TOGETHER_BYTES);
        self.out = out;
        match written {
            Ok(()) => self.ends(start, outcomes).await,
            Err(torn) if is_end_sent => {
                fill(outcomes, &Outcome::Unknown(self.end(Phase::Body, start, torn.failure)));
            }
            Err(torn) => self.cut_short(start, torn.failure, outcomes).await,
        }
    }

    /// What the server has said although it was to listen.
    async fn interruption(&mut self, start: Instant) -> Option<Refusal> {
        if !self.wire.has_more().await {
            return None;
        }
        if !self.wire.has_goodbye() {
            return Some(Refusal::Failure(self.end(Phase::Body, start, Failure::Unasked)));
        }
        Some(match self.hear(Phase::Body, start, self.options.limits.command).await {
            Ok(reply) => Refusal::Reply(reply),
            Err(failure) => Refusal::Failure(failure),
        })
    }

    /// The chunks of BDAT: all of a message that is not large goes in the last.
    async fn chunks(&mut self, parts: Parts<'_>, outcomes: &mut Asked) {
        let total: usize = parts.iter().map(|part| part.raw().len()).sum();
        let mut left = total;
        let mut bytes = parts.iter().flat_map(|part| part.raw().chunks(CHUNK_BYTES));
        loop {
            let start = Instant::now();
            if let Some(refusal) = self.interruption(start).await {
                return fill(outcomes, &Outcome::Refused(Phase::Body, refusal));
            }
            let mut out = std::mem::take(&mut self.out);
            out.clear();
            let mut chunk: Vec<&[u8]> = Vec::new();
            let mut size = 0;
            while size < CHUNK_BYTES
                && let Some(piece) = bytes.next()
            {
                size += piece.len();
                chunk.push(piece);
            }
            left -= size;
            let last = if left == 0 { " LAST" } else { "" };
            out.extend_from_slice(format!("BDAT {size}{last}\r\n").as_bytes());
            chunk.iter().for_each(|piece| out.extend_from_slice(piece));
            let written = self.wire.write(&out, self.options.limits.write).await;
            let given = out.len();
            out.clear();
            out.shrink_to(TOGETHER_BYTES);
            self.out = out;
            match written {
                Ok(()) if left == 0 => return self.ends(start, outcomes).await,
                Ok(()) => {}
                // TLS has it, and may not have passed it on.
                Err(torn) if left == 0 && torn.sent == given => {
                    let failure = self.end(Phase::Body, start, torn.failure);
                    return fill(outcomes, &Outcome::Unknown(failure));
                }
                // A chunk of which a byte is missing is none.
                Err(torn) => return self.cut_short(start, torn.failure, outcomes).await,
            }
            match self.answer(Phase::Data, start).await {
                Ok(reply) if reply.is_positive() => {}
                Ok(reply) if reply.is_intermediate() => {
                    let refusal = Refusal::Failure(self.out_of_step(reply));
                    return fill(outcomes, &Outcome::Refused(Phase::Data, refusal));
                }
                Ok(reply) => {
                    return fill(outcomes, &refused(Phase::Data, &reply));
                }
                Err((phase, refusal)) => {
                    return fill(outcomes, &Outcome::Refused(phase, refusal));
                }
            }
        }
    }

    /// The end was sent: now only complete replies count. LMTP has one for each recipient.
    async fn ends(&mut self, start: Instant, outcomes: &mut Asked) {
        let limit = self.options.limits.end;
        let is_lmtp = self.options.protocol == Protocol::Lmtp;
        while let Some(at) = outcomes.iter().position(Option::is_none) {
            let outcome = match self.hear(Phase::Body, start, limit).await {
                Ok(reply) if reply.is_positive() => {
                    self.is_dirty = false;
                    Outcome::Accepted(reply)
                }
                Ok(reply) if reply.is_intermediate() => Outcome::Unknown(self.out_of_step(reply)),
                Ok(reply) => {
                    self.is_dirty = false;
                    refused(Phase::Body, &reply)
                }
                Err(failure) => Outcome::Unknown(failure),
            };
            if is_lmtp && !matches!(outcome, Outcome::Unknown(_)) {
                outcomes[at] = Some(outcome);
            } else {
                fill(outcomes, &outcome);
            }
        }
    }

    /// The server went away, or stopped reading, before it had the end: perhaps it said why.
    async fn cut_short(&mut self, start: Instant, failure: Failure, outcomes: &mut Asked) {
        let said = self.wire.reply(LAST_WORDS).await.ok();
        let failure = self.end(Phase::Body, start, failure);
        let outcome = match said.filter(|reply| !reply.is_positive() && !reply.is_intermediate()) {
            Some(reply) => refused(Phase::Body, &reply),
            None => Outcome::Refused(Phase::Body, Refusal::Failure(failure)),
        };
        fill(outcomes, &outcome);
    }
}

fn refused(phase: Phase, reply: &Reply) -> Outcome {
    Outcome::Refused(phase, Refusal::Reply(reply.clone()))
}

fn all(envelope: &Envelope, outcome: &Outcome) -> Vec<Outcome> {
    vec![outcome.clone(); envelope.to.len()]
}

/// Gives `outcome` to all that have none yet.
fn fill(outcomes: &mut [Option<Outcome>], outcome: &Outcome) {
    for none in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
        *none = Some(outcome.clone());
    }
}

/// So that the replies to a group fit into any socket's buffers while we still write (RFC 2920, 3.1).
const RECIPIENTS_TOGETHER: usize = 100;

/// A body up to this size goes with its end in one write.
const TOGETHER_BYTES: usize = 64 * 1024;

/// Of BDAT.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How long to look for the reason why a server does not read on.
const LAST_WORDS: Duration = Duration::from_millis(500);
