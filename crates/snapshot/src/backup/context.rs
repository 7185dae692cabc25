//! What all threads of a run share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Options;
use super::uploads::Uploads;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::state::State;

pub(crate) struct Context<'env> {
    pub(crate) repository: &'env Repository,
    pub(crate) state: &'env State,
    pub(crate) options: &'env Options,
    pub(crate) progress: &'env Progress,
    pub(crate) uploads: Arc<Uploads<'env>>,
    /// The store directory.
    pub(crate) root: &'env Path,
    pub(crate) packed_bytes: AtomicU64,
}

impl Context<'_> {
    pub(crate) fn count_packed(&self, bytes: u64) {
        self.packed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// zstd's level for the next pack. A night is small and compressed hard; a first backup is
    /// large, and its users wait for it.
    pub(crate) fn level(&self) -> i32 {
        if self.packed_bytes.load(Ordering::Relaxed) < HARD_BYTES { HARD_LEVEL } else { FAST_LEVEL }
    }
}

/// Bytes of messages that a run compresses hard before it turns to speed.
const HARD_BYTES: u64 = 32 << 20;
const HARD_LEVEL: i32 = 9;
const FAST_LEVEL: i32 = 3;
