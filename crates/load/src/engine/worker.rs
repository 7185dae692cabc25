//! A thread that holds sessions, all on one runtime of its own: what its sessions share needs no lock.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::dispatch::{Dispatch, Job};
use super::gather::Part;
use super::record::Recorder;
use super::session;
use super::wire::Connections;
use super::{Deliveries, Settings, Stop};
use crate::letters::Letters;

pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) start: Instant,
    pub(super) settings: Arc<Settings>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) letters: Arc<Letters>,
    pub(super) deliveries: Option<Arc<Mutex<Deliveries>>>,
    pub(super) stop: Stop,
    pub(super) parts: SyncSender<Part>,
}

/// What the sessions of a worker share.
pub(super) struct Shared {
    pub(super) worker: Worker,
    pub(super) recorder: RefCell<Recorder>,
    pub(super) connections: RefCell<Connections>,
    idle: RefCell<Vec<Rc<Slot>>>,
    pub(super) open: Cell<u64>,
    /// Connections that were open at most since the interval began.
    most: Cell<u64>,
}

/// A session that waits for a message.
pub(super) struct Slot {
    since: Instant,
    job: RefCell<Option<Job>>,
    told: Notify,
}

impl Slot {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { since: Instant::now(), job: RefCell::new(None), told: Notify::new() })
    }

    /// The next message; `None`: there is none, and the session should end.
    pub(super) async fn wait(&self) -> Option<Job> {
        self.told.notified().await;
        self.job.take()
    }

    fn tell(&self, job: Option<Job>) {
        *self.job.borrow_mut() = job;
        self.told.notify_one();
    }
}

impl Worker {
    pub(super) fn run(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = Connections::new(&self.settings.wire, self.settings.seed, self.number);
        let recorder = Recorder::new(self.number, self.start, self.settings.interval);
        let shared = Rc::new(Shared {
            worker: self,
            recorder: RefCell::new(recorder),
            connections: RefCell::new(connections),
            idle: RefCell::default(),
            open: Cell::new(0),
            most: Cell::new(0),
        });
        LocalSet::new().block_on(&runtime, Rc::clone(&shared).work());
        shared.recorder.borrow_mut().finish(&shared.worker.parts, shared.most.get());
        Ok(())
    }
}

impl Shared {
    async fn work(self: Rc<Self>) {
        let inbox = self.worker.dispatch.inbox(self.worker.number);
        let mut sessions = JoinSet::new();
        let interval = self.worker.settings.interval;
        let mut tick = interval_at((self.worker.start + interval).into(), interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.worker.dispatch.is_closed() {
            tokio::select! {
                biased;
                () = inbox.told.notified() => {
                    while let Some(job) = inbox.take() {
                        self.begin(job, &mut sessions);
                    }
                }
                _ = tick.tick() => self.tick(),
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            }
        }
        self.end_idle(Duration::ZERO);
        let ended = async { while sessions.join_next().await.is_some() {} };
        let limit = if self.worker.stop.is_stopped() { AT_ONCE } else { LAST_QUITS };
        // What does not end is cut off: its guard says what that means.
        let _ = timeout(limit, ended).await;
    }

    fn begin(self: &Rc<Self>, job: Job, sessions: &mut JoinSet<()>) {
        match self.idle.borrow_mut().pop() {
            Some(slot) => slot.tell(Some(job)),
            None => {
                sessions.spawn_local(session::run(Rc::clone(self), job));
            }
        }
    }

    pub(super) fn opened(&self) {
        self.open.update(|open| open + 1);
        self.most.update(|most| most.max(self.open.get()));
    }

    fn tick(&self) {
        let (open, most) = (self.open.get(), self.most.replace(self.open.get()));
        self.recorder.borrow_mut().ship(&self.worker.parts, open, most);
        self.end_idle(self.worker.settings.idle);
    }

    /// Ends sessions that had nothing to do for so long.
    fn end_idle(&self, limit: Duration) {
        self.idle.borrow_mut().retain(|slot| {
            let is_kept = slot.since.elapsed() < limit;
            if !is_kept {
                slot.tell(None);
            }
            is_kept
        });
    }

    pub(super) fn rest(&self, slot: &Rc<Slot>) {
        self.idle.borrow_mut().push(Rc::clone(slot));
    }
}

/// For sessions to say goodbye when all is over.
const LAST_QUITS: Duration = Duration::from_secs(5);

/// The same, where somebody waits for the end.
const AT_ONCE: Duration = Duration::from_millis(500);
