//! How a message comes in, by DATA or BDAT, and what is said of it in the end.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::body::{Body, Room};
use super::deliver::{Trace, id};
use super::dialogue::{Answer, Transaction};
use super::faults::{Act, At};
use super::session::{End, Session, stays};
use super::{Keeping, Tapped};
use crate::stuffing::{LineEnds, Unstuffer};

impl Session {
    /// The body of DATA.
    pub(super) async fn body(&mut self) -> Result<(), End> {
        let mut body = self.server.new_body();
        let mut unstuffer = Unstuffer::default();
        loop {
            let before = body.space().len();
            let end = unstuffer.feed(&self.inbound, body.space());
            body.settle(before).await;
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
    pub(super) async fn chunk(
        &mut self,
        size: u64,
        is_last: bool,
        taken: Result<(), Answer>,
        act: Option<Act>,
    ) -> Result<(), End> {
        let (mut body, mut ends) = match (&taken, self.chunks.take()) {
            (Ok(()), Some(chunks)) => chunks,
            (Ok(()), None) => (self.server.new_body(), LineEnds::default()),
            (Err(_), _) => (Body::new(0, Room::Nowhere), LineEnds::default()),
        };
        let mut left = size;
        while left > 0 {
            if self.inbound.is_empty() {
                self.read(READ_BODY_BYTES).await?;
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.inbound.len());
            let before = body.space().len();
            ends.feed(&self.inbound[..count]);
            body.space().extend_from_slice(&self.inbound[..count]);
            body.settle(before).await;
            self.inbound.drain(..count);
            left -= count as u64;
        }
        let answer = match taken {
            Ok(()) if is_last => return self.finish(body, ends.has_bare()).await,
            Ok(()) => match body.objection() {
                None => {
                    self.chunks = Some((body, ends));
                    Answer::new(250, format!("2.0.0 {size} bytes"))
                }
                Some(answer) => answer,
            },
            Err(answer) => answer,
        };
        if !answer.is_positive() {
            // Chunks that were sent along must not pass for the whole message (RFC 3030, 2).
            self.dialogue.transaction = None;
            self.account.refusal(&answer);
        }
        self.say(&answer, act).await?;
        stays(&answer)
    }

    /// The message is whole: keeps it, or not, and says so.
    async fn finish(&mut self, body: Body, has_bare: bool) -> Result<(), End> {
        let Some(transaction) = self.dialogue.transaction.take() else { return Err(End::Closed) };
        let bytes = body.size_bytes();
        self.account.whole(bytes);
        let to = transaction.to();
        let from = transaction.from.as_ref().map_or("", |from| from.as_str());
        let act = self.due_from(At::End, Some(from), &to);
        self.account_for_fault(At::End, act.as_ref());
        let bare = || Answer::new(550, "5.6.11 a CR or LF stands alone in the message");
        let refused = body.objection().or_else(|| has_bare.then(bare));
        let instead = match refused {
            Some(answer) => Some(answer),
            None => self.before(&act).await?,
        };
        if let Some(answer) = instead {
            let is_lmtp = self.listener.policy.is_lmtp;
            let answers = vec![answer; if is_lmtp { transaction.recipients.len() } else { 1 }];
            return self.tell(&answers, bytes, None).await;
        }
        self.account.keeping();
        if let Some(Act::Ahead(ahead)) = act {
            return self.keep_later(transaction, body, ahead).await;
        }
        match self.keep(transaction, body).await {
            Some(answers) => self.tell(&answers, bytes, act).await,
            None => {
                self.server.counters.in_doubt();
                self.account.kept(None);
                Err(End::Silent)
            }
        }
    }

    /// Says first that a message is kept, and keeps it afterwards: what no server may do.
    async fn keep_later(
        &mut self,
        transaction: Transaction,
        body: Body,
        ahead: Duration,
    ) -> Result<(), End> {
        let bytes = body.size_bytes();
        let count = if self.listener.policy.is_lmtp { transaction.recipients.len() } else { 1 };
        let answers = vec![Answer::new(250, "2.0.0 ok"); count];
        self.tell(&answers, bytes, Some(Act::Ahead(ahead))).await?;
        self.flush().await?;
        sleep(ahead).await;
        // Whatever becomes of it, it was answered.
        self.keep(transaction, body).await;
        Ok(())
    }

    /// Says what became of a message.
    async fn tell(&mut self, answers: &[Answer], bytes: u64, act: Option<Act>) -> Result<(), End> {
        self.server.counters.message(answers, bytes);
        if answers.iter().any(Answer::is_positive) {
            self.dialogue.forgive();
        }
        self.account.kept(Some(answers));
        let is_true = !act.as_ref().is_some_and(Act::is_untrue);
        for answer in answers {
            self.say(answer, act.clone()).await?;
        }
        self.account.told(is_true);
        answers.iter().try_for_each(stays)
    }

    /// Keeps a message.
    async fn keep(&mut self, transaction: Transaction, body: Body) -> Option<Vec<Answer>> {
        let policy = &self.listener.policy;
        let is_each = policy.is_lmtp;
        let count = if is_each { transaction.recipients.len() } else { 1 };
        match &self.server.keeping {
            Keeping::Sink => Some(vec![Answer::new(250, "2.0.0 ok"); count]),
            Keeping::Tap(tap) => {
                let (at, recipients) = (Instant::now(), transaction.recipients);
                let tapped = Tapped { recipients, content: body.into_memory(), at };
                let answer = match tap.send(tapped).await {
                    Ok(()) => Answer::new(250, "2.0.0 ok"),
                    Err(_) => Answer::new(451, "4.3.0 nobody takes messages any more"),
                };
                Some(vec![answer; count])
            }
            Keeping::Mail(_) => {
                let id = id(self.number, self.began_ms);
                let trace = Trace::new(&self.dialogue, policy, self.peer, id);
                self.server
                    .with_routes(move |routes| routes.deliver(&transaction, &trace, &body, is_each))
                    .await
            }
        }
    }
}

const READ_BODY_BYTES: usize = 32 * 1024;
