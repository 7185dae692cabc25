//! Undoes a run whose process is gone, or is there longer than it may be. It runs in a process of its own, so that
//! neither a kill nor a terminal that closes keeps a fault in place.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::owned::Owned;
use crate::recover::{Recovered, is_clean, recover};
use crate::run::RunFailed;

/// Watches the run in `dir`, whose process is `pid`, for at most `after`. Gives what was undone; `None`: it ended by
/// itself, and left nothing.
pub async fn watch(dir: &Path, pid: i32, after: Duration) -> Result<Option<Recovered>, RunFailed> {
    let run = Owned::of(pid).ok();
    let is_there = || run.as_ref().is_some_and(Owned::is_there);
    let begun = Instant::now();
    while is_there() && begun.elapsed() < after {
        tokio::time::sleep(LOOK_ROUND).await;
    }
    // It may undo by itself when it is asked to; when it does not, that is done for it.
    for (signal, patience) in [(Signal::TERM, LAST_WORDS), (Signal::KILL, AT_ONCE)] {
        let asked = Instant::now();
        if let Some(run) = run.as_ref().filter(|run| run.is_there()) {
            // It may end just now.
            let _ = run.signal(signal);
        }
        while is_there() && asked.elapsed() < patience {
            tokio::time::sleep(LOOK_ROUND).await;
        }
    }
    for _ in 0..ATTEMPTS {
        if is_clean(dir) {
            return Ok(None);
        }
        if let Ok(recovered) = recover(dir).await {
            return Ok(Some(recovered));
        }
        // Somebody else may be at it, or the disk was full.
        tokio::time::sleep(AT_ONCE).await;
    }
    recover(dir).await.map(Some)
}

const LOOK_ROUND: Duration = Duration::from_millis(100);
/// To undo what it has done.
const LAST_WORDS: Duration = Duration::from_secs(120);
/// Before it gives up, which nobody else would notice.
const ATTEMPTS: u32 = 60;
const AT_ONCE: Duration = Duration::from_secs(5);
