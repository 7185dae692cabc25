//! How each tool is called. A repository is fresh each round; making it is not measured.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::measure::Measured;
use crate::process::Run;
use crate::workspace;

/// A tool that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Mailrig,
    Restic,
    Tar,
}

impl Tool {
    pub(super) const ALL: [Tool; 3] = [Tool::Mailrig, Tool::Restic, Tool::Tar];

    pub(super) fn parse_list(list: &str) -> Result<Vec<Tool>> {
        let mut tools = Vec::new();
        for name in list.split(',') {
            match Tool::ALL.into_iter().find(|tool| tool.name() == name) {
                Some(tool) if !tools.contains(&tool) => tools.push(tool),
                Some(_) => {}
                None => bail!("--only takes mailrig, restic and tar, not `{name}`"),
            }
        }
        tools.sort();
        Ok(tools)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Mailrig => "mailrig",
            Tool::Restic => "restic",
            Tool::Tar => "tar",
        }
    }

    /// Whether a second backup stores only the change.
    pub(super) fn is_incremental(self) -> bool {
        self != Tool::Tar
    }
}

/// One tool's repository, and the store it is for.
pub(super) struct Repository<'a> {
    pub(super) tool: Tool,
    folder: PathBuf,
    store: &'a Path,
}

impl<'a> Repository<'a> {
    /// Makes an empty repository in a new folder.
    pub(super) fn create(tool: Tool, folder: PathBuf, store: &'a Path) -> Result<Repository<'a>> {
        fs::create_dir_all(folder.join("state"))?;
        fs::create_dir_all(folder.join("logs"))?;
        let repository = Repository { tool, folder, store };
        match tool {
            Tool::Mailrig => {
                let mut init = vec![program().into(), "init".into(), repository.repo().into()];
                init.extend(["--identity-out".into(), repository.identity().into()]);
                init.push("--quiet".into());
                repository.run_unmeasured(init)?;
            }
            Tool::Restic => repository.run_unmeasured(words("restic init --quiet"))?,
            Tool::Tar => fs::create_dir_all(repository.repo())?,
        }
        Ok(repository)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Where the tool keeps what it stores.
    pub(super) fn repo(&self) -> PathBuf {
        self.folder.join("repo")
    }

    pub(super) fn backup(&self) -> Measured {
        match self.tool {
            Tool::Mailrig => {
                let mut args: Vec<OsString> = vec![program().into(), "backup".into()];
                args.extend([self.repo().into(), self.store.into()]);
                args.extend(["--state".into(), self.folder.join("state").into()]);
                args.extend(words("--quiet --json"));
                self.measured(args, self.store)
            }
            Tool::Restic => self.measured(words("restic backup --quiet ."), self.store),
            Tool::Tar => {
                self.shell("tar -cf - . | zstd -3 -T0 -q -o \"$1\"", &[self.archive()], self.store)
            }
        }
    }

    /// A command of mailrig that reads the repository; `log` is what it writes to stderr.
    pub(super) fn look(&self, command: &[&str], log: &str) -> Measured {
        let mut args: Vec<OsString> = vec![program().into()];
        args.extend(command.iter().map(OsString::from));
        args.insert(2, self.repo().into());
        args.extend(["--identity".into(), self.identity().into(), "--quiet".into()]);
        let mut measured = self.measured(args, &self.folder);
        measured.env.extend([("MAILRIG_LOG", log.into()), ("NO_COLOR", "1".into())]);
        measured
    }

    /// Restores the latest backup into an empty folder.
    pub(super) fn restore(&self, to: &Path) -> Measured {
        match self.tool {
            Tool::Mailrig => {
                let mut args: Vec<OsString> = vec![program().into(), "restore".into()];
                args.extend([self.repo().into(), "latest".into(), "--to".into(), to.into()]);
                args.extend(["--identity".into(), self.identity().into(), "--quiet".into()]);
                self.measured(args, to)
            }
            Tool::Restic => {
                let mut args = words("restic restore latest --quiet --target");
                args.push(to.into());
                self.measured(args, to)
            }
            Tool::Tar => self.shell("zstd -d -q -c \"$1\" | tar -xf -", &[self.archive()], to),
        }
    }

    fn archive(&self) -> PathBuf {
        self.repo().join("store.tar.zst")
    }

    fn identity(&self) -> PathBuf {
        self.folder.join("identity.txt")
    }

    fn shell(&self, script: &str, args: &[PathBuf], dir: &Path) -> Measured {
        let mut command = words("bash -o pipefail -c");
        command.extend([script.into(), "bash".into()]);
        command.extend(args.iter().map(OsString::from));
        self.measured(command, dir)
    }

    fn measured(&self, args: Vec<OsString>, dir: &Path) -> Measured {
        let env = vec![
            ("RESTIC_PASSWORD", "bench".into()),
            ("RESTIC_REPOSITORY", self.repo().into()),
            ("RESTIC_CACHE_DIR", self.folder.join("state").into()),
        ];
        Measured { args, env, dir: dir.to_owned() }
    }

    fn run_unmeasured(&self, args: Vec<OsString>) -> Result<()> {
        let what = self.measured(args, &self.folder);
        let mut run = Run::new(&what.args[0]).args(&what.args[1..]).dir(&what.dir);
        for (key, value) in &what.env {
            run = run.env(key, value);
        }
        run.stdout().map(drop)
    }
}

/// The release build of mailrig, or the program that the environment names instead.
pub(super) fn program() -> PathBuf {
    let given = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    given.unwrap_or_else(|| workspace::target_dir().join("release/mailrig"))
}

/// Whether the environment names the program.
pub(super) fn is_given() -> bool {
    std::env::var_os(PROGRAM_VARIABLE).is_some()
}

const PROGRAM_VARIABLE: &str = "MAILRIG_BENCH_PROGRAM";

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}
