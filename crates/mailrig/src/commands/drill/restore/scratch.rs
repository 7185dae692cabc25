//! The scratch folder, and the processes of a restore drill that fill it. The folder goes at the end however that comes,
//! unless it is to stay.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use snapshot::progress::Progress;

use crate::cli::{IdentityArgs, S3Args};
use crate::exit::UsageError;

/// A folder that was new or empty.
pub(super) struct Scratch {
    path: PathBuf,
    was_there: bool,
    keep: bool,
}

impl Scratch {
    /// Takes `given`, or a new one among the temporary files. Others do not look into it.
    pub(super) fn new(given: Option<&Path>, keep: bool, number: u64) -> Result<Self> {
        let default = || std::env::temp_dir().join(format!("mailrig-drill-{number:016x}"));
        let path = given.map_or_else(default, Path::to_owned);
        let path = std::path::absolute(&path)?;
        let made = DirBuilder::new().mode(0o700).create(&path);
        let was_there = match made {
            Ok(()) => false,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && given.is_some() => true,
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
        };
        if was_there {
            let mut entries =
                fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if entries.next().is_some() {
                let why = format!("{} is not empty: name a new folder", path.display());
                return Err(UsageError(why).into());
            }
        }
        Ok(Self { path, was_there, keep })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where mailboxes are restored to.
    pub(super) fn mail(&self) -> PathBuf {
        self.path.join("mail")
    }

    /// As root: lets other users through to what is theirs in it.
    pub(super) fn open_way(&self) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o711))
    }

    /// Removes all that is in it, and it if it is ours; what is left of it if that fails.
    pub(super) fn remove(&self) -> io::Result<()> {
        if self.keep {
            return Ok(());
        }
        if !self.was_there {
            return match fs::remove_dir_all(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// What `mailrig restore --json` says.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Restored {
    #[serde(default)]
    pub(super) messages: u64,
    #[serde(default)]
    pub(super) bytes: u64,
    #[serde(default)]
    pub(super) problems: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
struct Failure {
    message: String,
}

/// The command that an administrator would type.
pub(super) struct Restore<'a> {
    pub(super) location: &'a str,
    pub(super) snapshot: &'a str,
    pub(super) identity: &'a IdentityArgs,
    pub(super) s3: &'a S3Args,
}

impl Restore<'_> {
    /// Restores a mailbox, or all. The inner error is what it said.
    pub(super) fn run(
        &self,
        mailbox: Option<&str>,
        scratch: &Scratch,
        progress: &Progress,
    ) -> Result<(Duration, Result<Restored, String>)> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command = Command::new(program);
        command.args(["restore", self.location, self.snapshot, "--json", "--quiet", "--to"]);
        command.arg(scratch.mail());
        if let Some(mailbox) = mailbox {
            command.args(["--mailbox", mailbox]);
        }
        if let Some(identity) = &self.identity.identity {
            command.arg("--identity").arg(identity);
        }
        let S3Args { s3_endpoint, s3_region, s3_profile, s3_path_style } = self.s3;
        let of_s3 = [
            ("--s3-endpoint", s3_endpoint),
            ("--s3-region", s3_region),
            ("--s3-profile", s3_profile),
        ];
        for (option, value) in of_s3 {
            command.args(value.iter().flat_map(|value| [option, value.as_str()]));
        }
        if let Some(is_path) = s3_path_style {
            command.arg(format!("--s3-path-style={is_path}"));
        }
        let [said, complained] = ["restore.json", "restore.err"].map(|n| scratch.path().join(n));
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(File::create(&said)?).stderr(File::create(&complained)?);
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start `mailrig restore`")?;
        let status = wait(&mut child, progress)?;
        let elapsed = started.elapsed();
        progress.check()?;
        if matches!(status.code(), Some(0 | 3)) {
            let restored = serde_json::from_slice(&fs::read(&said)?);
            return Ok((elapsed, restored.map_err(|e| format!("its result is none: {e}"))));
        }
        let complaint = fs::read(&complained)?;
        let failure = serde_json::from_slice::<Failure>(&complaint);
        let text = || String::from_utf8_lossy(&complaint).into_owned();
        Ok((elapsed, Err(failure.map_or_else(|_| text(), |failure| failure.message))))
    }
}

/// Waits for a process; one that somebody stops the drill over is told to end, and then made to.
fn wait(child: &mut Child, progress: &Progress) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if progress.check().is_err() {
            return end(child);
        }
        thread::sleep(LOOK);
    }
}

/// Ends a process: SIGTERM, and SIGKILL when it takes too long.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()
}

/// Between two looks at a process.
pub(super) const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(10);
