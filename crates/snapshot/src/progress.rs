//! What a running operation has done so far, for a display to read from another thread, and the
//! wish to stop, for the operation to read.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    /// What is waited for, and since when.
    waits: Mutex<BTreeMap<String, Instant>>,
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

    /// Runs `wait`, which may take long; it is given what tells for what it waits.
    pub(crate) fn while_waiting<T>(&self, wait: impl FnOnce(&mut dyn FnMut(String)) -> T) -> T {
        let since = Instant::now();
        let mut told: Option<String> = None;
        let waits = || self.waits.lock().expect("no holder panics");
        let done = wait(&mut |what| {
            if told.as_ref() != Some(&what) {
                let before = told.replace(what.clone());
                before.and_then(|before| waits().remove(&before));
                waits().insert(what, since);
            }
        });
        told.and_then(|told| waits().remove(&told));
        done
    }

    /// What is waited for longest, and how long already.
    pub fn wait(&self) -> Option<(String, Duration)> {
        let waits = self.waits.lock().expect("no holder panics");
        let (what, since) = waits.iter().min_by_key(|(_, since)| **since)?;
        Some((what.clone(), since.elapsed()))
    }

    /// Fails when somebody asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_told_as_long_as_it_lasts() {
        let progress = Progress::default();
        let told = || progress.wait().map(|(what, _)| what);
        progress.while_waiting(|tell| {
            assert_eq!(told(), None, "nobody had to wait yet");
            tell("a lock".into());
            progress.while_waiting(|tell| {
                tell("another".into());
                assert_eq!(told(), Some("a lock".into()));
            });
            tell("a lock of 1:host".into());
            assert_eq!(told(), Some("a lock of 1:host".into()));
        });
        assert_eq!(told(), None);
    }
}
