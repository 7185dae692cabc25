//! The event log: a JSON line for each transaction and each attempt to relay. A thread of its own writes it. None is
//! left out: if that thread does not keep up, the mail waits.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    /// Kept, or kept for some, and the client was not told, or not all of it; or it was being kept when the server
    /// had to stop.
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
    /// Says when it has ended, and how.
    writer: Mutex<mpsc::Receiver<io::Result<()>>>,
}

impl Log {
    /// Writes events to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = channel(WAITING);
        let (end, writer) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let written = write(receiver, out);
            if let Err(e) = &written {
                tracing::error!("the event log cannot be written, and is not complete: {e}");
            }
            let _ = end.send(written);
        });
        Self { sender: Mutex::new(Some(sender)), writer: Mutex::new(writer) }
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

    /// Writes what is left, if that takes no longer than `limit`; blocks. An error, of now or of before, means that
    /// events are missing.
    pub fn close(&self, limit: Duration) -> io::Result<()> {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.recv_timeout(limit).unwrap_or_else(|e| match e {
            RecvTimeoutError::Timeout => Err(io::Error::other("who reads it has stopped reading")),
            RecvTimeoutError::Disconnected => Err(io::Error::other("its writer has ended before")),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing before it is released, or has no room.
    struct Stuck(Option<mpsc::Receiver<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match &self.0 {
                // Until its other end is gone.
                Some(release) => {
                    let _ = release.recv();
                    Ok(bytes.len())
                }
                None => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_or_has_no_room_is_told_and_not_waited_for() {
        let event = || Event::Transaction(TransactionEvent::default());
        let (release, until_released) = mpsc::channel();
        let log = Log::new(Stuck(Some(until_released)));
        log.event_now(event());
        let error = log.close(Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("stopped reading"), "{error}");
        drop(release);
        let full = Log::new(Stuck(None));
        (0..3).for_each(|_| full.event_now(event()));
        let error = full.close(Duration::from_secs(30)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
