//! The account of a session's transactions for the event log. An event is written when its reply has left, because
//! only then is it known that the client could be told.

use super::deliver::id;
use super::dialogue::Answer;
use super::log::{Event, Log, TransactionEvent, Verdict};
use super::queue::now_ms;
use super::session::Session;
use crate::address::Address;

/// Events that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Account {
    open: Option<TransactionEvent>,
    /// Those that have an end, and whose reply has not left.
    unsent: Vec<TransactionEvent>,
}

impl Account {
    /// A rule acted in the transaction that is open.
    pub(super) fn fault(&mut self, fault: impl FnOnce() -> String) {
        if let Some(open) = &mut self.open
            && open.faults.len() < FAULTS_MAX
        {
            open.faults.push(fault());
        }
    }

    /// What was said to RCPT.
    pub(super) fn recipient(&mut self, to: &str, answer: &Answer) {
        if let Some(open) = &mut self.open {
            if answer.is_positive() {
                open.to.push(to.to_owned());
            } else {
                open.refused.push((to.to_owned(), answer.line()));
            }
        }
    }

    /// A command other than RCPT was refused.
    pub(super) fn refusal(&mut self, answer: &Answer) {
        if let Some(open) = &mut self.open {
            open.replies = vec![answer.line()];
        }
    }

    /// The message has come to its end.
    pub(super) fn whole(&mut self, bytes: u64) {
        if let Some(open) = &mut self.open {
            (open.bytes, open.ended_ms) = (bytes, Some(now_ms()));
            // What was refused on the way is no answer to the message.
            open.replies.clear();
        }
    }

    /// Whether it is kept cannot be told from here on, until it can.
    pub(super) fn keeping(&mut self) {
        if let Some(open) = &mut self.open {
            open.outcome = Verdict::InDoubt;
        }
    }

    /// It is kept, or for certain not.
    pub(super) fn kept(&mut self, answers: Option<&[Answer]>) {
        if let Some(open) = &mut self.open {
            open.kept_ms = Some(now_ms());
            open.replies = answers.unwrap_or_default().iter().map(Answer::line).collect();
            open.outcome = match answers {
                None => Verdict::InDoubt,
                Some(answers) if answers.iter().any(Answer::is_positive) => Verdict::Accepted,
                Some(_) => Verdict::Refused,
            };
        }
    }

    /// Its reply was said, in truth or not.
    pub(super) fn told(&mut self, is_true: bool) {
        if let Some(mut open) = self.open.take() {
            if !is_true {
                open.doubt();
            }
            self.unsent.push(open);
        }
    }

    /// The transaction is over, and had no end.
    pub(super) fn given_up(&mut self) {
        if let Some(mut open) = self.open.take() {
            let is_refused = open.to.is_empty() && !open.refused.is_empty();
            if is_refused || !open.replies.is_empty() {
                open.outcome = Verdict::Refused;
            }
            self.unsent.push(open);
        }
    }

    /// What was said has left.
    pub(super) async fn flushed(&mut self, log: &Log) {
        for mut event in self.unsent.drain(..) {
            event.replied_ms = Some(now_ms());
            log.event(Event::Transaction(event)).await;
        }
    }

    /// The session is over. What was said and not sent nobody has heard.
    pub(super) async fn close(&mut self, log: &Log) {
        if self.open.as_ref().is_some_and(|open| open.kept_ms.is_some()) {
            self.told(false);
        }
        let lost = std::mem::take(&mut self.unsent);
        self.given_up();
        for mut event in lost {
            event.doubt();
            log.event(Event::Transaction(event)).await;
        }
        for event in self.unsent.drain(..) {
            log.event(Event::Transaction(event)).await;
        }
    }
}

impl TransactionEvent {
    /// What was accepted may not have been heard.
    fn doubt(&mut self) {
        if self.outcome == Verdict::Accepted {
            self.outcome = Verdict::InDoubt;
        }
    }
}

impl Session {
    /// MAIL: a transaction begins, and whatever was before it is over.
    pub(super) fn account_for(&mut self, from: Option<&Address>) {
        if self.server.log.is_none() {
            return;
        }
        self.account.given_up();
        self.account.open = Some(TransactionEvent {
            id: id(self.number, self.began_ms),
            number: self.number,
            listener: self.listener.name.clone(),
            peer: self.peer.map(|peer| peer.to_string()),
            hello: self.dialogue.hello.as_ref().map(|(_, name)| name.clone()),
            tls: self.dialogue.is_secured,
            user: self.dialogue.user.clone(),
            from: from.map_or("", |from| from.as_str()).to_owned(),
            began_ms: self.began_ms,
            ..TransactionEvent::default()
        });
    }
}

/// In one line of the log: a client can ask for the same fault for ever.
const FAULTS_MAX: usize = 10_000;
