//! Writes a journal. One thread appends and syncs; whoever must be sure waits until his line is on disk, and all that
//! wait at one time share one sync: a thousand intents a second need no thousand syncs.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Event, Line, hash};
use crate::lock::lock;

/// A journal that grows. Clones write the same one.
#[derive(Debug, Clone)]
pub struct Journal {
    lines: SyncSender<Order>,
    start: Instant,
    told: Option<SyncSender<(u64, Event)>>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<Result<(), JournalFailed>>,
}

/// The journal cannot be written: nothing that needs it may happen any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot write {}: {why}; free some space or choose another --out", path.display())]
pub struct JournalFailed {
    path: PathBuf,
    why: String,
}

struct Order {
    t_us: u64,
    event: Event,
    /// Told when it is on disk, or cannot be.
    done: Option<oneshot::Sender<Result<(), JournalFailed>>>,
}

impl Journal {
    /// Begins a journal in a file that is not there yet. `start` is where its times run from.
    pub fn create(path: &Path, start: Instant) -> io::Result<(Self, Writer)> {
        let file = File::options().append(true).create_new(true).open(path)?;
        // A file whose name a crash takes away is no journal.
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Self::begin(file, path, hash(b""), start)
    }

    /// Opens one to read it to its end, and then to go on with it. Nobody else writes it meanwhile: what was read would be
    /// old, and what is written then would cut off what came after it.
    pub fn open(path: &Path) -> io::Result<File> {
        let file = File::options().read(true).append(true).open(path)?;
        if lock(&file)? { Ok(file) } else { Err(still_runs()) }
    }

    /// Goes on with one that was read to its end: `prev` is the hash of its last line. What is behind `length` is half a line,
    /// and is cut off.
    pub fn resume(
        file: File,
        path: &Path,
        length: u64,
        prev: &str,
        start: Instant,
    ) -> io::Result<(Self, Writer)> {
        file.set_len(length)?;
        Self::begin(file, path, prev.to_owned(), start)
    }

    /// The file is locked as long as it is written: nobody undoes what goes on.
    pub(super) fn begin(
        file: File,
        path: &Path,
        prev: String,
        start: Instant,
    ) -> io::Result<(Self, Writer)> {
        if !lock(&file)? {
            return Err(still_runs());
        }
        let (lines, orders) = sync_channel(QUEUE);
        let appender = Appender { file, path: path.to_owned(), prev, buffer: Vec::new() };
        let thread = thread::Builder::new()
            .name("drill-journal".into())
            .spawn(move || appender.run(&orders))?;
        Ok((Self { lines, start, told: None }, Writer { thread }))
    }

    /// One that nobody keeps, for those who only ask.
    pub(crate) fn nowhere() -> Self {
        let (lines, _) = sync_channel(0);
        Self { lines, start: Instant::now(), told: None }
    }

    /// Tells somebody of everything but messages; who does not listen misses it.
    pub fn told(self, told: Option<SyncSender<(u64, Event)>>) -> Self {
        Self { told, ..self }
    }

    fn tell(&self, t_us: u64, event: &Event) {
        if let Some(told) = self.told.as_ref().filter(|_| !event.is_of_a_message()) {
            let _ = told.try_send((t_us, event.clone()));
        }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.us(Instant::now())
    }

    /// Of an instant; 0 before the start.
    pub fn us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Writes down what happened just now. It is on disk soon, not yet.
    pub fn note(&self, event: Event) {
        self.note_at(Instant::now(), event);
    }

    /// The same, of something that happened before. Where the disk does not keep up, this waits.
    pub fn note_at(&self, at: Instant, event: Event) {
        // A writer that has failed has told everybody who must know.
        let t_us = self.us(at);
        self.tell(t_us, &event);
        let _ = self.lines.send(Order { t_us, event, done: None });
    }

    /// Writes down what is about to happen, and waits until it is on disk.
    pub async fn commit(&self, event: Event) -> Result<(), JournalFailed> {
        let gone =
            || JournalFailed { path: PathBuf::from("the journal"), why: "it was closed".into() };
        let (done, committed) = oneshot::channel();
        let t_us = self.now_us();
        self.tell(t_us, &event);
        let order = Order { t_us, event, done: Some(done) };
        let mut order = Some(order);
        // The queue is full where the disk is slow; a worker must not be blocked by that.
        while let Some(again) = order.take() {
            match self.lines.try_send(again) {
                Ok(()) => {}
                Err(std::sync::mpsc::TrySendError::Full(again)) => {
                    order = Some(again);
                    tokio::time::sleep(FULL_WAIT).await;
                }
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(gone()),
            }
        }
        committed.await.map_err(|_| gone())?
    }
}

impl Writer {
    /// Waits until all is on disk. All clones of the journal must be gone.
    pub fn finish(self) -> Result<(), JournalFailed> {
        let panicked = |_| JournalFailed {
            path: PathBuf::from("the journal"),
            why: "its thread panicked".into(),
        };
        self.thread.join().map_err(panicked)?
    }
}

fn still_runs() -> io::Error {
    io::Error::other("the drill still runs")
}

struct Appender {
    file: File,
    path: PathBuf,
    prev: String,
    buffer: Vec<u8>,
}

impl Appender {
    fn run(mut self, orders: &Receiver<Order>) -> Result<(), JournalFailed> {
        let mut failed: Option<JournalFailed> = None;
        while let Ok(first) = orders.recv() {
            let mut waiting = Vec::new();
            let more = orders.try_iter().take(BATCH - 1);
            for Order { t_us, event, done } in std::iter::once(first).chain(more) {
                if failed.is_none() {
                    failed = self.line(t_us, event).err().map(|e| self.failed(&e.into()));
                }
                waiting.extend(done);
            }
            if failed.is_none() {
                failed = self.flush().err().map(|e| self.failed(&e));
            }
            for done in waiting {
                // Who does not wait any more need not be told.
                let _ = done.send(failed.clone().map_or(Ok(()), Err));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn line(&mut self, t_us: u64, event: Event) -> serde_json::Result<()> {
        let start = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, &Line { prev: &self.prev, t: t_us, e: event })?;
        self.prev = hash(&self.buffer[start..]);
        self.buffer.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.file.sync_data()
    }

    fn failed(&self, why: &io::Error) -> JournalFailed {
        JournalFailed { path: self.path.clone(), why: why.to_string() }
    }
}

/// Lines that may wait for the disk.
const QUEUE: usize = 4096;
/// Lines of one sync, at most.
const BATCH: usize = 2048;
/// Until another look at a full queue.
const FULL_WAIT: std::time::Duration = std::time::Duration::from_millis(1);
