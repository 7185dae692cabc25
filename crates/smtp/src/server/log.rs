//! The event log: a JSON line for each transaction and attempt to relay. A thread of its own writes it, so
//! that a slow disk slows nobody's mail; what it cannot keep up with is counted, and told at the end.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// What became of a MAIL command.
    Transaction(TransactionEvent),
    /// What became of a message on its way to the next server.
    Relay(RelayEvent),
}

/// One transaction. Times are milliseconds since 1970; those of what did not happen are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TransactionEvent {
    /// Its name in the queue, in `Received` and in replies.
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
    /// Who was to get it.
    pub to: Vec<String>,
    /// Size in bytes as it was sent, without stuffing.
    pub bytes: u64,
    /// `accepted`, `refused`, `in-doubt` (kept, and not or not wholly answered) or `aborted` (not kept, not
    /// answered).
    pub outcome: &'static str,
    /// The reply to its end, or the one that ended it: one, or in LMTP one for each recipient.
    pub replies: Vec<String>,
    /// What a rule did to it.
    pub fault: Option<String>,
    /// MAIL.
    pub began_ms: u64,
    /// The end of the body.
    pub ended_ms: Option<u64>,
    /// On disk.
    pub kept_ms: Option<u64>,
    /// The reply was sent.
    pub replied_ms: Option<u64>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// Where events go.
pub struct Log {
    sender: Option<SyncSender<Event>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    dropped: AtomicU64,
}

impl Log {
    /// Writes events to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let writer = std::thread::spawn(move || write(&receiver, out));
        Self { sender: Some(sender), writer: Some(writer), dropped: AtomicU64::new(0) }
    }

    /// Writes an event, some time soon.
    pub(super) fn event(&self, event: Event) {
        let is_full = self.sender.as_ref().is_none_or(|sender| sender.try_send(event).is_err());
        self.dropped.fetch_add(u64::from(is_full), Ordering::Relaxed);
    }

    /// Writes what is left; gives how many events could not be written.
    pub fn close(mut self) -> io::Result<u64> {
        self.sender = None;
        let ended = self.writer.take().map(JoinHandle::join);
        if let Some(ended) = ended {
            ended.map_err(|_| io::Error::other("the writer of the event log panicked"))??;
        }
        Ok(self.dropped.load(Ordering::Relaxed))
    }
}

fn write(events: &Receiver<Event>, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    loop {
        match events.recv_timeout(LATEST) {
            Ok(event) => {
                serde_json::to_writer(&mut out, &event)?;
                out.write_all(b"\n")?;
            }
            Err(RecvTimeoutError::Timeout) => out.flush()?,
            Err(RecvTimeoutError::Disconnected) => return out.flush(),
        }
    }
}

/// Events that wait for the writer.
const WAITING: usize = 10_000;

/// After so long without another an event is in the file.
const LATEST: Duration = Duration::from_millis(100);
