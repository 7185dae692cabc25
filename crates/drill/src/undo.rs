//! How things become again what they were. An undo is plain data in the journal, written there before what it undoes;
//! doing it twice, or without need, does no harm, and each looks afterwards whether it worked.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::owned::{self, Owned};

/// How one thing is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Undo {
    /// Ends all processes that were started with this mark in their environment.
    EndMarked {
        /// The value of `MAILRIG_DRILL`.
        mark: String,
        /// The boot in which they were started: they do not outlive it.
        boot_id: String,
    },
    /// Lets a frozen process go on.
    Resume(Owned),
    /// Removes a folder that the drill made, and which says so.
    RemoveDir {
        /// The folder.
        dir: PathBuf,
        /// What stands in its marker.
        run: String,
    },
    /// Runs a command, and another one that shows that it worked.
    Run {
        /// The command.
        undo: Command,
        /// Which must end with the code 0.
        undone: Option<Command>,
    },
}

impl Undo {
    /// What a person would do.
    pub(crate) fn by_hand(&self) -> String {
        match self {
            Undo::EndMarked { mark, .. } => format!(
                "grep -lz '^MAILRIG_DRILL={mark}$' /proc/[0-9]*/environ | cut -d/ -f3 | xargs -r kill -9"
            ),
            Undo::Resume(owned) => format!("kill -CONT {}", owned.pid),
            Undo::RemoveDir { dir, .. } => {
                format!("rm -r {}", crate::command::quoted(&dir.to_string_lossy()))
            }
            Undo::Run { undo, .. } => undo.by_hand(),
        }
    }

    /// Does it, and looks.
    pub(crate) async fn apply(&self) -> Result<(), String> {
        match self {
            Undo::EndMarked { mark, boot_id } => {
                let is_this_boot = owned::boot_id().is_ok_and(|boot| boot == *boot_id);
                if is_this_boot { end_marked(mark).await } else { Ok(()) }
            }
            Undo::Resume(owned) => {
                owned
                    .signal(Signal::CONT)
                    .map_err(|e| format!("cannot resume process {}: {e}", owned.pid))?;
                until(|| !owned.is_stopped())
                    .await
                    .ok_or_else(|| format!("process {} is still stopped", owned.pid))
            }
            Undo::RemoveDir { dir, run } => remove_dir(dir, run),
            Undo::Run { undo, undone } => {
                for command in [Some(undo), undone.as_ref()].into_iter().flatten() {
                    let ran = command
                        .run(COMMAND, std::future::pending())
                        .await
                        .map_err(|e| e.to_string())?;
                    if ran.code != Some(0) {
                        let code = ran.code.map_or("no code".into(), |code| format!("code {code}"));
                        return Err(format!(
                            "`{}` ended with {code}: {}",
                            command.by_hand(),
                            ran.last_words()
                        ));
                    }
                }
                Ok(())
            }
        }
    }
}

/// The name of the variable that marks processes.
pub(crate) const MARK: &str = "MAILRIG_DRILL";
/// The file that says whose a folder is.
const MARKER: &str = ".mailrig-drill";

/// Processes with a mark in the environment that they were started with.
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

/// First as their administrator would, then at once. What they start meanwhile has the mark, too.
async fn end_marked(mark: &str) -> Result<(), String> {
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
    let left: Vec<String> = marked(mark).iter().map(|owned| owned.pid.to_string()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("processes {} do not end", left.join(", "))) }
}

/// Makes a folder that says whose it is. It has its name only when it does: what a kill leaves is known for what it is.
pub(crate) fn make_dir(dir: &Path, run: &str) -> std::io::Result<()> {
    let new = unfinished(dir);
    fs::create_dir(&new)?;
    fs::write(new.join(MARKER), format!("{run}\n"))?;
    fs::rename(&new, dir)
}

/// What a folder is called before it says whose it is.
fn unfinished(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn remove_dir(dir: &Path, run: &str) -> Result<(), String> {
    let new = unfinished(dir);
    if new.exists() {
        // It has nothing but its marker yet; with anything else in it, it is not ours, and stays.
        let _ = fs::remove_file(new.join(MARKER));
        fs::remove_dir(&new).map_err(|e| format!("cannot remove {}: {e}", new.display()))?;
    }
    match fs::read_to_string(dir.join(MARKER)) {
        Ok(text) if text.trim() == run => {}
        Ok(_) => return Err(format!("{} is of another drill", dir.display())),
        Err(e) if e.kind() == ErrorKind::NotFound && !dir.exists() => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(format!("{} does not say that it is ours", dir.display()));
        }
        Err(e) => return Err(format!("cannot read {}: {e}", dir.join(MARKER).display())),
    }
    // The marker goes last, together with the name: what is interrupted can be done again.
    let failed = |e: std::io::Error| format!("cannot remove {}: {e}", dir.display());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() == MARKER {
            continue;
        }
        let is_dir = entry.file_type().map_err(failed)?.is_dir();
        let removed =
            if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.map_err(failed)?;
    }
    fs::rename(dir, &new).map_err(failed)?;
    fs::remove_file(new.join(MARKER)).map_err(failed)?;
    fs::remove_dir(&new).map_err(failed)
}

/// `None`: it did not become true.
async fn until(is_true: impl Fn() -> bool) -> Option<()> {
    let begun = Instant::now();
    while !is_true() {
        if begun.elapsed() > GENTLY {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Some(())
}

const GENTLY: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// Of one command.
const COMMAND: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_removed_as_far_as_it_is_ours_and_as_often_as_is_wanted() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("lab");
        let undo = Undo::RemoveDir { dir: dir.clone(), run: "7".into() };
        let other = Undo::RemoveDir { dir: dir.clone(), run: "8".into() };
        undo.apply().await.unwrap();
        make_dir(&dir, "7").unwrap();
        fs::create_dir(dir.join("mail")).unwrap();
        fs::write(dir.join("mail/1"), "x").unwrap();
        assert!(other.apply().await.unwrap_err().contains("is of another drill"));
        undo.apply().await.unwrap();
        undo.apply().await.unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        // One that somebody else made.
        fs::create_dir(&dir).unwrap();
        assert!(undo.apply().await.unwrap_err().contains("does not say that it is ours"));
    }

    #[tokio::test]
    async fn what_a_kill_leaves_at_any_moment_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("lab");
        let undo = Undo::RemoveDir { dir: dir.clone(), run: "7".into() };
        let new = unfinished(&dir);
        fs::create_dir(&new).unwrap();
        undo.apply().await.unwrap();
        fs::create_dir(&new).unwrap();
        fs::write(new.join(MARKER), "").unwrap();
        undo.apply().await.unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        fs::create_dir(&new).unwrap();
        fs::write(new.join("mail"), "not ours").unwrap();
        assert!(undo.apply().await.is_err());
    }
}
