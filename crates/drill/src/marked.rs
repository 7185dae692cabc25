//! Processes that carry the drill's mark in the environment with which they were started, and all that they have started:
//! what a server has become is found so, also after the drill was killed, and also where it has wiped its environment.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::owned::{self, Owned};

/// Called just before the first process is touched: looking for them takes its time.
pub(crate) type Begins<'a> = &'a (dyn Fn() + Sync);

/// The name of the variable that marks processes.
pub(crate) const MARK: &str = "MAILRIG_DRILL";

/// A process, and whose it is.
struct Listed {
    owned: Owned,
    parent: i32,
    has_mark: bool,
}

/// Processes with a mark, and all below them.
pub(crate) fn marked(mark: &str) -> Vec<Owned> {
    let wanted = format!("{MARK}={mark}");
    let has_mark = |pid: i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
    };
    tree(list(&has_mark), |one| one.has_mark)
}

/// Processes that another one has started, with all that they have started.
pub(crate) fn below(pid: i32) -> Vec<Owned> {
    tree(list(&|_| false), |one| one.parent == pid)
}

fn list(has_mark: &dyn Fn(i32) -> bool) -> Vec<Listed> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let listed = |pid: i32| {
        let (owned, parent) = (Owned::of(pid).ok()?, owned::parent(pid)?);
        owned.is_there().then(|| Listed { owned, parent, has_mark: has_mark(pid) })
    };
    processes.flatten().filter_map(number).filter_map(listed).collect()
}

/// Those that are meant, and all below them.
fn tree(all: Vec<Listed>, is_meant: impl Fn(&Listed) -> bool) -> Vec<Owned> {
    let mut found: BTreeSet<i32> =
        all.iter().filter(|one| is_meant(one)).map(|one| one.owned.pid).collect();
    loop {
        let is_new = |one: &&Listed| found.contains(&one.parent) && !found.contains(&one.owned.pid);
        let new: Vec<i32> = all.iter().filter(is_new).map(|one| one.owned.pid).collect();
        if new.is_empty() {
            break;
        }
        found.extend(new);
    }
    all.into_iter().map(|one| one.owned).filter(|one| found.contains(&one.pid)).collect()
}

/// All but those who stand above others: without them nobody could be found again. They end by themselves.
fn all_but_holders(all: &[Owned]) -> Vec<&Owned> {
    let parents: Vec<Option<i32>> = all.iter().map(|one| owned::parent(one.pid)).collect();
    let has_child = |one: &Owned| parents.contains(&Some(one.pid));
    let is_below = |parent: &Option<i32>| all.iter().any(|other| Some(other.pid) == *parent);
    let chosen = all.iter().zip(&parents);
    chosen.filter(|(one, parent)| is_below(parent) || !has_child(one)).map(|(one, _)| one).collect()
}

/// Kills what a process holds, at once and whatever it starts meanwhile; it ends by itself then.
pub(crate) async fn kill_below(holder: &Owned, begins: Begins<'_>) -> Result<(), String> {
    let begun = Instant::now();
    let mut begins = Some(begins);
    while holder.is_there() {
        let below = below(holder.pid);
        begins.take().into_iter().for_each(|begins| begins());
        for one in below {
            let _ = one.signal(Signal::KILL);
        }
        if begun.elapsed() > GENTLY {
            return Err(format!("what process {} holds does not end", holder.pid));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Freezes what a process holds, and what that starts meanwhile.
pub(crate) async fn freeze_below(holder: &Owned, begins: Begins<'_>) -> Result<(), String> {
    let below = || below(holder.pid);
    until_none(&below, Signal::STOP, begins, &|one| !one.is_stopped(), "do not stop").await
}

/// Lets what a process holds go on.
pub(crate) async fn resume_below(holder: &Owned) -> Result<(), String> {
    let below = || if holder.is_there() { below(holder.pid) } else { Vec::new() };
    until_none(&below, Signal::CONT, &|| {}, &Owned::is_stopped, "are still stopped").await
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
            }
            let is_last = signal == Signal::KILL;
            let asked = if is_last { all_but_holders(&left) } else { left.iter().collect() };
            if begun.elapsed() < PAUSE || is_last {
                for owned in asked {
                    let _ = owned.signal(signal);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    still(&marked(mark), "do not end")
}

/// Ends commands that a kill of the drill has cut off from it, at once, as the drill itself would have: what they still do
/// would be done after it was undone. What a command has left in the background, as a server's start does, is no part
/// of it any more, and stays.
pub(crate) async fn end_commands(mark: &str) -> Result<(), String> {
    let leads = |one: &Owned| {
        owned::group_and_session(one.pid)
            .is_some_and(|(group, session)| group == one.pid && session != one.pid)
    };
    let begun = Instant::now();
    loop {
        let left: Vec<Owned> = marked(mark).into_iter().filter(leads).collect();
        if left.is_empty() || begun.elapsed() > AT_ONCE {
            return still(&left, "do not end");
        }
        for group in left.iter().filter_map(|one| Pid::from_raw(one.pid)) {
            // It may be gone.
            let _ = kill_process_group(group, Signal::KILL);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn until_none(
    list: &(dyn Fn() -> Vec<Owned> + Sync),
    signal: Signal,
    begins: Begins<'_>,
    is_left: &(dyn Fn(&Owned) -> bool + Sync),
    what: &str,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut begins = Some(begins);
    loop {
        let left: Vec<Owned> = list().into_iter().filter(is_left).collect();
        begins.take().into_iter().for_each(|begins| begins());
        if left.is_empty() || begun.elapsed() > GENTLY {
            return still(&left, what);
        }
        for one in &left {
            one.signal(signal).map_err(|e| format!("cannot signal process {}: {e}", one.pid))?;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn still(left: &[Owned], what: &str) -> Result<(), String> {
    let left: Vec<String> = left.iter().map(|owned| owned.pid.to_string()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("processes {} {what}", left.join(", "))) }
}

const GENTLY: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
