//! What a running operation has done so far, for a display to read from another thread, and the
//! wish to stop, for the operation to read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Counters that only grow; each is exact at the end and roughly right before.
#[derive(Debug, Default)]
pub struct Progress {
    /// Units of work that are known so far (mailboxes, or objects to verify).
    pub units: AtomicU64,
    /// Units that are done.
    pub units_done: AtomicU64,
    /// Messages read, written or checked.
    pub messages: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Bytes given to, or taken from, the repository.
    pub stored_bytes: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Asks the operation to stop at the next safe place.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Fails when somebody asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}
