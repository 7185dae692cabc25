//! The event log: a JSON line for each transaction and each attempt to relay. A thread of its own writes it. None is
//! left out: if that thread does not keep up, the mail waits.

use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::queue::now_ms;
use super::relay::Attempt;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// What became of a MAIL command.
    Transaction(TransactionEvent),
    /// What became of a message on its way to the next server.
    Relay(RelayEvent),
}

/// One transaction. Times are milliseconds since 1970; those of what did not happen are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionEvent {
    /// Its name in `Received` and in replies; in LMTP with a number for each recipient.
    pub id: String,
    /// The server's number for it, which rules count by.
    pub number: u64,
    /// Which listener it came in by.
    pub listener: String,
    /// The client's address.
    pub peer: Option<String>,
    /// What it calls itself.
    pub hello: Option<String>,
    /// Whether there was TLS.
    pub tls: bool,
    /// Who authenticated.
    pub user: Option<String>,
    /// Reverse path; empty for the null path.
    pub from: String,
    /// Who was to get it: the recipients that were accepted.
    pub to: Vec<String>,
    /// Recipients that were refused, and the replies.
    pub refused: Vec<(String, String)>,
    /// Size in bytes as it was sent, without stuffing.
    pub bytes: u64,
    /// What became of it.
    pub outcome: Verdict,
    /// The reply to its end, or the one that ended it: one, or in LMTP one for each recipient.
    pub replies: Vec<String>,
    /// What rules did to it, such as `lose_reply at end`.
    pub faults: Vec<String>,
    /// MAIL.
    pub began_ms: u64,
    /// The end of the body.
    pub ended_ms: Option<u64>,
    /// On disk.
    pub kept_ms: Option<u64>,
    /// The reply was sent.
    pub replied_ms: Option<u64>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Kept, and the client was told; in LMTP for one recipient at least.
    Accepted,
    /// Not kept, and the client was told.
    Refused,
    /// Kept, or kept for some, and the client was not told, or not all of it.
    InDoubt,
    /// Not kept: the client gave it up, or went.
    #[default]
    Aborted,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayEvent {
    /// The message.
    pub id: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Recipients that the next server has taken it for.
    pub delivered: Vec<String>,
    /// Recipients that will not get it, and why; their sender is told.
    pub failed: Vec<(String, String)>,
    /// Recipients that it is tried for again, and why.
    pub deferred: Vec<(String, String)>,
    /// When it was over, in milliseconds since 1970.
    pub at_ms: u64,
}

impl RelayEvent {
    pub(super) fn of(attempt: &Attempt) -> Self {
        let Attempt { id, delivered, failed, deferred, waiting } = attempt.clone();
        let (attempt, at_ms) = (waiting.attempts, now_ms());
        Self { id, attempt, delivered, failed, deferred, at_ms }
    }
}

/// Where events go.
#[derive(Debug)]
pub struct Log {
    sender: Mutex<Option<Sender<Event>>>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Log {
    /// Writes events to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = channel(WAITING);
        let writer = std::thread::spawn(move || write(receiver, out));
        Self { sender: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) }
    }

    /// Writes an event soon. Where the writer does not keep up this waits.
    pub(super) async fn event(&self, event: Event) {
        if let Some(sender) = self.sender() {
            // What cannot be sent any more the writer has an error for, told by `close`.
            let _ = sender.send(event).await;
        }
    }

    /// Like [`Log::event`]; blocks.
    pub(super) fn event_now(&self, event: Event) {
        if let Some(sender) = self.sender() {
            let _ = sender.blocking_send(event);
        }
    }

    fn sender(&self) -> Option<Sender<Event>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what is left; blocks. An error, of now or of before, means that events are missing.
    pub fn close(&self) -> io::Result<()> {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer.map(JoinHandle::join) {
            Some(ended) => ended.unwrap_or_else(|_| Err(io::Error::other("the writer panicked"))),
            None => Ok(()),
        }
    }
}

fn write(mut events: Receiver<Event>, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    while let Some(event) = events.blocking_recv() {
        put(&mut out, &event)?;
        while let Ok(event) = events.try_recv() {
            put(&mut out, &event)?;
        }
        // Nobody waits: who reads along shall see it.
        out.flush()?;
    }
    Ok(())
}

fn put(out: &mut impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}

/// Events that wait for the writer.
const WAITING: usize = 10_000;
