//! How things become again what they were. An undo is plain data in the journal, written there before what it undoes;
//! doing it twice, or without need, does no harm, and each looks afterwards whether it worked.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::{Command, quoted};
use crate::disks;
use crate::haproxy::{self, NotTold};
use crate::marked::{self, MARK};
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
    /// Lets what a process holds, and what is frozen, go on.
    Resume(Owned),
    /// Removes a folder that the drill made, and which says so.
    RemoveDir {
        /// The folder.
        dir: PathBuf,
        /// What stands in its marker.
        run: String,
    },
    /// Unmounts a disk of the lab. It is gone by itself where the drill's processes are.
    Unmount {
        /// Where it is mounted.
        dir: PathBuf,
    },
    /// Removes what fills a disk.
    RemoveFiller {
        /// The folder with it, which has the run in its name.
        dir: PathBuf,
    },
    /// Sets a clock right that only processes of the lab see.
    SetClock {
        /// The file from which they read how wrong it is.
        file: PathBuf,
    },
    /// Gives a server of haproxy the state again that it had.
    Haproxy {
        /// The admin socket.
        socket: String,
        /// `BACKEND/SERVER`.
        server: String,
        /// `ready`, `drain` or `maint`.
        state: String,
    },
    /// Runs a command in a node of the lab, as long as that is there: with it all has gone that was done in it.
    InNode {
        /// The process that holds the node.
        node: Owned,
        /// The command, on this machine.
        undo: Command,
        /// Which must end with the code 0.
        undone: Option<Command>,
    },
    /// Runs a command, and another one that shows that it worked.
    Run {
        /// The command.
        undo: Command,
        /// Which must end with the code 0.
        undone: Option<Command>,
        /// Who holds the network of a drill that has one of its own. Whoever undoes it later is not in that, and what is
        /// meant for it must not reach this machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<Owned>,
    },
}

impl Undo {
    /// What a person would do.
    pub(crate) fn by_hand(&self) -> String {
        match self {
            Undo::EndMarked { mark, .. } => format!(
                "grep -lz '^{MARK}={mark}$' /proc/[0-9]*/environ | cut -d/ -f3 | xargs -r kill -9"
            ),
            Undo::Resume(holder) => {
                format!("for each process below {0}, see `pstree -p {0}`: kill -CONT", holder.pid)
            }
            Undo::RemoveDir { dir, .. } => {
                format!("rm -r {}", quoted(&dir.to_string_lossy()))
            }
            Undo::Unmount { dir } => format!("umount {}", quoted(&dir.to_string_lossy())),
            Undo::RemoveFiller { dir } => format!("rm -r {}", quoted(&dir.to_string_lossy())),
            Undo::SetClock { file } => format!("echo +0 > {}", quoted(&file.to_string_lossy())),
            Undo::Haproxy { socket, server, state } => {
                let line = format!("set server {server} state {state}");
                format!("echo {} | socat stdio {}", quoted(&line), quoted(socket))
            }
            Undo::Run { undo, network: Some(holder), .. } => within(holder, undo).by_hand(),
            Undo::InNode { undo, .. } | Undo::Run { undo, .. } => undo.by_hand(),
        }
    }

    /// Does it, and looks.
    pub(crate) async fn apply(&self) -> Result<(), String> {
        match self {
            Undo::EndMarked { mark, boot_id } => {
                if is_this_boot(boot_id) {
                    marked::end(mark).await
                } else {
                    Ok(())
                }
            }
            Undo::Unmount { dir } => match disks::is_mounted(dir) {
                true => rustix::mount::unmount(dir, rustix::mount::UnmountFlags::empty())
                    .map_err(|e| format!("cannot unmount {}: {e}", dir.display())),
                false => Ok(()),
            },
            Undo::RemoveFiller { dir } => match fs::remove_dir_all(dir) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    Err(format!("cannot remove {}: {e}", dir.display()))
                }
                _ => Ok(()),
            },
            Undo::SetClock { file } => match file.exists() {
                true => crate::faults::write_clock(file, "+0"),
                false => Ok(()),
            },
            Undo::Haproxy { socket, server, state } => {
                match haproxy::set(socket, server, state).await {
                    // One that has ended knows nothing of it any more.
                    Ok(()) | Err(NotTold::Gone(_)) => Ok(()),
                    Err(NotTold::Refused(why)) => Err(why),
                }
            }
            Undo::InNode { node, undo, undone } => match node.is_there() {
                true => run(undo, undone.as_ref()).await,
                false => Ok(()),
            },
            Undo::Run { undo, undone, network: None } => run(undo, undone.as_ref()).await,
            Undo::Run { undo, undone, network: Some(holder) } => {
                let undone = undone.as_ref().map(|undone| within(holder, undone));
                run(&within(holder, undo), undone.as_ref()).await
            }
            Undo::Resume(holder) => marked::resume_below(holder).await,
            Undo::RemoveDir { dir, run } => remove_dir(dir, run),
        }
    }
}

/// Whether what was started then can still be there.
pub(crate) fn is_this_boot(boot_id: &str) -> bool {
    owned::boot_id().is_ok_and(|boot| boot == boot_id)
}

/// A command in the network that a process holds; in an empty one when that is gone, with all that was done in it.
fn within(holder: &Owned, command: &Command) -> Command {
    let pid = holder.pid.to_string();
    match holder.is_there() {
        true => command.below(&["nsenter", "--target", &pid, "--net", "--"]),
        false => command.below(&["unshare", "--net", "--"]),
    }
}

async fn run(undo: &Command, undone: Option<&Command>) -> Result<(), String> {
    for command in [Some(undo), undone].into_iter().flatten() {
        let ran = command.run(COMMAND, std::future::pending()).await.map_err(|e| e.to_string())?;
        if ran.code != Some(0) {
            let code = ran.code.map_or("no code".into(), |code| format!("code {code}"));
            let (command, said) = (command.by_hand(), ran.last_words());
            return Err(format!("`{command}` ended with {code}: {said}"));
        }
    }
    Ok(())
}

/// The file that says whose a folder is.
const MARKER: &str = ".mailrig-drill";

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
