//! Locks of files. What a process that was killed was about to start holds its files for a moment still, so a lock that
//! is taken is tried for a while.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Takes the lock; false: somebody else has it.
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) if begun.elapsed() > WAIT => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(WAIT / 20),
        }
    }
}

const WAIT: Duration = Duration::from_secs(1);
