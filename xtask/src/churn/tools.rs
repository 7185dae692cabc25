//! The tools that are judged, and how each is called: a backup of the store while it changes, and the
//! way back to files.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::naive;
use crate::process::{self, Run, find_program};

/// Far longer than any backup of such a store takes.
const LIMIT: Duration = Duration::from_secs(180);
/// A repository is given up after so many backups, so that the first of one is judged as well as the
/// later ones, and the space stays bounded.
const BACKUPS_A_REPOSITORY: u64 = 25;
/// Every so often mailrig is told to list everything, or to read everything.
const FULL_EVERY: u64 = 8;
const REHASH_EVERY: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Mailrig,
    /// A walk that lists and then opens, as all the others do.
    Naive,
    Restic,
    Rsync,
    Tar,
}

impl Tool {
    /// mailrig last, because it takes the time that is left.
    pub(super) const ALL: [Tool; 5] =
        [Tool::Naive, Tool::Restic, Tool::Rsync, Tool::Tar, Tool::Mailrig];

    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Mailrig => "mailrig",
            Tool::Naive => "list, then open",
            Tool::Restic => "restic",
            Tool::Rsync => "rsync",
            Tool::Tar => "tar",
        }
    }

    pub(super) fn is_installed(self) -> bool {
        matches!(self, Tool::Mailrig | Tool::Naive) || find_program(self.name()).is_some()
    }
}

/// What became of one backup.
pub(super) struct Backup {
    pub(super) exit: i32,
    /// mailrig's account of the run.
    pub(super) ledger: Value,
}

/// A tool with its repository, for one store.
pub(super) struct Site<'a> {
    pub(super) tool: Tool,
    /// The mailrig binary.
    program: &'a Path,
    store: PathBuf,
    folder: PathBuf,
    backups: u64,
}

impl<'a> Site<'a> {
    pub(super) fn new(tool: Tool, program: &'a Path, store: PathBuf, folder: PathBuf) -> Site<'a> {
        Site { tool, program, store, folder, backups: 0 }
    }

    /// Makes a new repository when it is time to; before the store begins to change.
    pub(super) fn prepare(&mut self) -> Result<()> {
        if self.backups.is_multiple_of(BACKUPS_A_REPOSITORY) || self.is_plain_copy() {
            super::workplace::remove(&self.folder)?;
            fs::create_dir_all(&self.folder)?;
            let repo = self.repo();
            match self.tool {
                Tool::Mailrig => {
                    let mut args = vec!["init".into(), repo.into(), "--identity-out".into()];
                    args.extend([self.identity().into(), "--quiet".into()]);
                    self.succeed(self.program, &args)?;
                }
                Tool::Restic => self.succeed("restic".as_ref(), &words("init --quiet"))?,
                _ => fs::create_dir(repo)?,
            }
        }
        Ok(())
    }

    pub(super) fn back_up(&mut self) -> Result<Backup> {
        let number = self.backups;
        self.backups += 1;
        let repo = self.repo();
        let exit = match self.tool {
            Tool::Mailrig => return self.back_up_with_mailrig(number),
            Tool::Naive => naive::copy(&self.store, &repo)?,
            Tool::Restic => self.run("restic".as_ref(), &words("backup --quiet ."))?.0,
            Tool::Rsync => self.run("rsync".as_ref(), &["-a".into(), "./".into(), repo.into()])?.0,
            Tool::Tar => {
                let archive = self.archive();
                self.run("tar".as_ref(), &["-cf".into(), archive.into(), ".".into()])?.0
            }
        };
        Ok(Backup { exit, ledger: Value::Null })
    }

    fn back_up_with_mailrig(&self, number: u64) -> Result<Backup> {
        let mut args = vec!["backup".into(), self.repo().into(), self.store.clone().into()];
        args.extend(["--state".into(), self.folder.join("state").into()]);
        args.extend(words("--quiet --json"));
        if number % REHASH_EVERY == REHASH_EVERY - 1 {
            args.push("--rehash".into());
        } else if number % FULL_EVERY == FULL_EVERY - 1 {
            args.push("--full".into());
        }
        let (exit, stdout, stderr) = self.run(self.program, &args)?;
        let report: Value = serde_json::from_str(&stdout).with_context(|| {
            format!("mailrig backup ended with {exit}:\n{}", process::tail(&stderr, 20))
        })?;
        Ok(Backup { exit, ledger: report["ledger"].clone() })
    }

    /// Where the last backup's files are: restored into `to`, if they are not files already.
    pub(super) fn restore(&self, to: &Path) -> Result<PathBuf> {
        super::workplace::remove(to)?;
        if self.is_plain_copy() && self.tool != Tool::Tar {
            return Ok(self.repo());
        }
        fs::create_dir_all(to)?;
        match self.tool {
            Tool::Mailrig => {
                let mut args = vec!["restore".into(), self.repo().into(), "latest".into()];
                args.extend(["--to".into(), to.into(), "--identity".into()]);
                args.extend([self.identity().into(), "--quiet".into()]);
                self.succeed(self.program, &args)?;
            }
            Tool::Restic => {
                let mut args = words("restore latest --quiet --target");
                args.push(to.into());
                self.succeed("restic".as_ref(), &args)?;
            }
            _ => {
                let archive = self.archive();
                let args = ["-xf".into(), archive.into(), "-C".into(), to.into()];
                self.succeed("tar".as_ref(), &args)?;
            }
        }
        Ok(to.to_owned())
    }

    fn is_plain_copy(&self) -> bool {
        matches!(self.tool, Tool::Naive | Tool::Rsync | Tool::Tar)
    }

    fn repo(&self) -> PathBuf {
        self.folder.join("repo")
    }

    fn archive(&self) -> PathBuf {
        self.repo().join("store.tar")
    }

    fn identity(&self) -> PathBuf {
        self.folder.join("identity.txt")
    }

    /// Runs in the store: exit code, stdout and stderr.
    fn run(&self, program: &Path, args: &[OsString]) -> Result<(i32, String, String)> {
        let (stdout, stderr) = (self.folder.join("stdout"), self.folder.join("stderr"));
        let ended = Run::new(program)
            .args(args)
            .env("RESTIC_PASSWORD", "churn")
            .env("RESTIC_REPOSITORY", self.repo())
            .env("RESTIC_CACHE_DIR", self.folder.join("cache"))
            .dir(&self.store)
            .limit(LIMIT)
            .into_files(&stdout, &stderr)?
            .end()?;
        let Some(exit) = ended.status.code() else {
            bail!("{} was ended: {}", self.tool.name(), ended.status);
        };
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((exit, read(stdout)?, read(stderr)?))
    }

    fn succeed(&self, program: &Path, args: &[OsString]) -> Result<()> {
        let (exit, _, stderr) = self.run(program, args)?;
        if exit != 0 {
            bail!("{} {args:?} ended with {exit}:\n{stderr}", self.tool.name());
        }
        Ok(())
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}
