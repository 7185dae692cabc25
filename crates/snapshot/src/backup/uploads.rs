//! Puts objects while the mailboxes' threads go on: a few threads, a queue bounded in bytes, and a
//! ticket for each job that tells how it ended.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Scope;

use crate::error::{Error, Result};
use crate::progress::Progress;

/// A queue of jobs and the threads that do them.
pub(crate) struct Uploads<'env> {
    progress: &'env Progress,
    failure: Mutex<Option<Error>>,
    state: Mutex<State<'env>>,
    changed: Condvar,
}

#[derive(Default)]
struct State<'env> {
    jobs: VecDeque<Job<'env>>,
    bytes_in_flight: u64,
    is_closed: bool,
}

struct Job<'env> {
    bytes: u64,
    work: Box<dyn FnOnce() -> Result<()> + Send + 'env>,
    done: SyncSender<Result<()>>,
}

/// The end of a job that was submitted.
pub(crate) struct Ticket(Receiver<Result<()>>);

impl Ticket {
    /// Waits for the job.
    pub(crate) fn wait(self) -> Result<()> {
        // A lost sender means that the threads were told to stop first.
        self.0.recv().unwrap_or(Err(Error::Cancelled))
    }
}

impl<'env> Uploads<'env> {
    pub(crate) fn new(progress: &'env Progress) -> Self {
        let state = Mutex::new(State::default());
        Self { progress, failure: Mutex::new(None), state, changed: Condvar::new() }
    }

    /// The first failure of a job, which is why all others were cancelled.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().expect("no holder panics").take()
    }

    /// Starts the threads. They end after [`Uploads::close`].
    pub(crate) fn start<'scope>(self: &Arc<Self>, scope: &'scope Scope<'scope, '_>, threads: usize)
    where
        'env: 'scope,
    {
        for _ in 0..threads {
            let uploads = Arc::clone(self);
            scope.spawn(move || uploads.run());
        }
    }

    /// Queues a job that holds `bytes` of memory; waits while too much is in flight.
    pub(crate) fn submit(
        &self,
        bytes: u64,
        work: impl FnOnce() -> Result<()> + Send + 'env,
    ) -> Ticket {
        let (done, ticket) = sync_channel(1);
        let mut state = self.state.lock().expect("no holder panics");
        while state.bytes_in_flight > IN_FLIGHT_BYTES && !state.is_closed {
            state = self.changed.wait(state).expect("no holder panics");
        }
        if state.is_closed {
            // The run has failed; the ticket says so, because nobody holds `done` any more.
            return Ticket(ticket);
        }
        state.bytes_in_flight += bytes;
        state.jobs.push_back(Job { bytes, work: Box::new(work), done });
        self.changed.notify_all();
        Ticket(ticket)
    }

    /// Lets the threads end when the queue is empty.
    pub(crate) fn close(&self) {
        self.state.lock().expect("no holder panics").is_closed = true;
        self.changed.notify_all();
    }

    /// Stops the run at once: reading a whole store for a repository that is full helps nobody.
    fn fail(&self, error: Error) -> Error {
        self.failure.lock().expect("no holder panics").get_or_insert(error);
        self.progress.stop();
        Error::Cancelled
    }

    fn run(&self) {
        loop {
            let mut state = self.state.lock().expect("no holder panics");
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.is_closed {
                    return;
                }
                state = self.changed.wait(state).expect("no holder panics");
            };
            drop(state);
            // Nobody may be waiting any more: then another failure is on its way up already.
            let _ = job.done.send((job.work)().map_err(|e| self.fail(e)));
            self.state.lock().expect("no holder panics").bytes_in_flight -= job.bytes;
            self.changed.notify_all();
        }
    }
}

/// Bytes of objects that may wait for the repository before the readers wait too.
const IN_FLIGHT_BYTES: u64 = 48 << 20;
