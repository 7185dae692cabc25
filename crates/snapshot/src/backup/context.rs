//! What all threads of a run share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use maildir::Reach;

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
    /// Where the store has mail.
    pub(crate) reach: &'env Reach,
    pub(crate) levels: Levels,
}

/// zstd's levels. A night is small and compressed hard; a first backup is large, and people wait.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    hard_bytes: AtomicU64,
}

impl Levels {
    /// The level for a frame of `bytes`.
    pub(crate) fn next(&self, bytes: usize) -> i32 {
        if bytes < SMALL_BYTES {
            return SMALL_LEVEL;
        }
        let before = self.hard_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before < HARD_BYTES { HARD_LEVEL } else { FAST_LEVEL }
    }
}

/// Frames below this, a night's, are always compressed well; harder would gain them nothing.
const SMALL_BYTES: usize = 1 << 20;
const SMALL_LEVEL: i32 = 6;

/// How much of larger frames a run compresses hard before it turns to speed.
const HARD_BYTES: u64 = 32 << 20;

const HARD_LEVEL: i32 = 9;
const FAST_LEVEL: i32 = 3;
