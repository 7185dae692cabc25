//! Processes that carry the drill's mark in the environment with which they were started, whoever started them: all that a
//! server has become is found by it, also after the drill was killed.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::owned::Owned;

/// The name of the variable that marks processes.
pub(crate) const MARK: &str = "MAILRIG_DRILL";

/// Processes with a mark.
pub(crate) fn marked(mark: &str) -> Vec<Owned> {
    let wanted = format!("{MARK}={mark}");
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let numbers = processes.flatten().filter_map(number);
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
    };
    numbers.filter(has_mark).filter_map(|pid| Owned::of(pid).ok()).filter(Owned::is_there).collect()
}

/// Ends them: first as their administrator would, then at once. What they start meanwhile has the mark, too.
pub(crate) async fn end(mark: &str) -> Result<(), String> {
    for (signal, limit) in [(Signal::TERM, GENTLY), (Signal::KILL, AT_ONCE)] {
        let begun = Instant::now();
        loop {
            let left = marked(mark);
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > limit {
                break;
            }
            for owned in &left {
                // One that is frozen takes no other signal.
                let _ = owned.signal(Signal::CONT);
                if begun.elapsed() < PAUSE || signal == Signal::KILL {
                    let _ = owned.signal(signal);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    still(&marked(mark), "do not end")
}

/// Freezes all of them, and those that they start meanwhile.
pub(crate) async fn freeze(mark: &str) -> Result<(), String> {
    let goes = |all: Vec<Owned>| all.into_iter().filter(|one| !one.is_stopped()).collect();
    until_none(mark, Signal::STOP, &goes, "do not stop").await
}

/// Lets all of them go on.
pub(crate) async fn resume(mark: &str) -> Result<(), String> {
    let stopped = |all: Vec<Owned>| all.into_iter().filter(Owned::is_stopped).collect();
    until_none(mark, Signal::CONT, &stopped, "are still stopped").await
}

async fn until_none(
    mark: &str,
    signal: Signal,
    left: &(dyn Fn(Vec<Owned>) -> Vec<Owned> + Sync),
    what: &str,
) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let some = left(marked(mark));
        if some.is_empty() || begun.elapsed() > GENTLY {
            return still(&some, what);
        }
        for one in &some {
            one.signal(signal).map_err(|e| format!("cannot signal process {}: {e}", one.pid))?;
        }
        tokio::time::sleep(PAUSE / 10).await;
    }
}

fn still(left: &[Owned], what: &str) -> Result<(), String> {
    let left: Vec<String> = left.iter().map(|owned| owned.pid.to_string()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("processes {} {what}", left.join(", "))) }
}

const GENTLY: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
