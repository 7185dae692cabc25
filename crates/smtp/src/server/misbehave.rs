//! Where rules act in a session: what happens before a command is obeyed, and what is said in place of the truth.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use super::dialogue::{Answer, Transaction};
use super::faults::{Act, At, Moment};
use super::session::{End, Session};

impl Session {
    pub(super) fn due(&self, at: At, recipients: &[&str]) -> Option<Act> {
        self.due_from(at, None, recipients)
    }

    /// What a rule wants now. The sender is that of the message that is being sent if none is given.
    pub(super) fn due_from(
        &self,
        at: At,
        sender: Option<&str>,
        recipients: &[&str],
    ) -> Option<Act> {
        let known = self.dialogue.transaction.as_ref().map(|Transaction { from, .. }| from);
        let known = known.map(|from| from.as_ref().map_or("", |from| from.as_str()));
        let (peer, transaction) = (self.peer, self.number);
        let sender = sender.or(known);
        self.server.faults.due(&Moment { at, peer, sender, recipients, transaction })
    }

    /// Takes down what a rule does to the message that is being sent.
    pub(super) fn account_for_fault(&mut self, at: At, act: Option<&Act>) {
        if let Some(act) = act {
            self.account.fault(|| format!("{} at {}", act.name(), at.name()));
        }
    }

    /// What a rule does before what was asked for is done; if it gives an answer, that is not done.
    pub(super) async fn before(&mut self, act: &Option<Act>) -> Result<Option<Answer>, End> {
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
    pub(super) async fn say(&mut self, answer: &Answer, act: Option<Act>) -> Result<(), End> {
        match act {
            // What was refused was not done, and no rule says that it was.
            Some(Act::Reply(other)) if answer.is_positive() => other.write(&mut self.out),
            Some(Act::Stall(stall)) => {
                self.flush().await?;
                sleep(stall).await;
                answer.write(&mut self.out);
            }
            Some(Act::LoseReply) => {
                self.flush().await?;
                return Err(End::Silent);
            }
            Some(Act::Lie(other)) if answer.is_positive() => other.write(&mut self.out),
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
}

const GARBAGE: &[u8] = b"\x00\xff\xfe<html>250 ok\r\n";
