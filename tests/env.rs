//! A test's own world: a folder with home, state, identity, repository and store, a command that
//! sees nothing else of the environment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Output, Running};
use crate::store::Store;

/// A folder for one test, gone at its end.
pub(crate) struct Env {
    folder: tempfile::TempDir,
    repo: String,
    variables: Vec<(String, Option<String>)>,
}

impl Env {
    /// No repository yet, and an empty folder as store.
    pub(crate) fn new() -> Self {
        Self::inside(&std::env::temp_dir())
    }

    /// As [`Env::new`], in memory where there is room for `bytes`: making and removing some
    /// hundred thousand files takes minutes on a disk.
    pub(crate) fn in_memory(bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let free = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        let folder = if free > bytes { memory.to_owned() } else { std::env::temp_dir() };
        Self::inside(&folder)
    }

    fn inside(folder: &Path) -> Self {
        let folder = tempfile::tempdir_in(folder).unwrap();
        for dir in ["home", "tmp", "store"] {
            fs::create_dir(folder.path().join(dir)).unwrap();
        }
        let repo = folder.path().join("repo").display().to_string();
        Self { folder, repo, variables: Vec::new() }
    }

    /// With an encrypted repository.
    pub(crate) fn encrypted() -> Self {
        let env = Self::new();
        env.init(&[]).expect(0);
        env
    }

    /// With a repository that is not encrypted.
    pub(crate) fn plain() -> Self {
        let env = Self::new();
        env.run(&["init", env.repo(), "--encryption", "none"]).expect(0);
        env
    }

    /// Makes an encrypted repository; its identity goes to [`Env::identity`].
    pub(crate) fn init(&self, more: &[&str]) -> Output {
        let identity = self.identity().display().to_string();
        let arguments = [&["init", self.repo(), "--identity-out", &identity][..], more].concat();
        self.run(&arguments)
    }

    /// Uses another location as repository.
    pub(crate) fn at(mut self, repo: impl Into<String>) -> Self {
        self.repo = repo.into();
        self
    }

    /// Sets an environment variable of every command.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), Some(value.into())));
        self
    }

    /// Takes an environment variable from every command.
    pub(crate) fn without_variable(mut self, name: &str) -> Self {
        self.variables.push((name.into(), None));
        self
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the repository is.
    pub(crate) fn repo(&self) -> &str {
        &self.repo
    }

    /// The recovery identity.
    pub(crate) fn identity(&self) -> PathBuf {
        self.path("identity")
    }

    /// The store to back up.
    pub(crate) fn store(&self) -> Store {
        Store::at(&self.path("store"))
    }

    /// The objects of a local repository, with their sizes.
    pub(crate) fn objects(&self) -> BTreeMap<String, u64> {
        let mut objects = BTreeMap::new();
        let mut dirs = vec![PathBuf::from(&self.repo)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                // A run that goes on beside this removes its temporary files.
                let Ok(meta) = path.metadata() else { continue };
                if meta.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let key = path.strip_prefix(&self.repo).unwrap().to_str().unwrap().to_owned();
                objects.insert(key, meta.len());
            }
        }
        objects
    }

    /// The keys of objects that contain `part`, in order.
    pub(crate) fn keys(&self, part: &str) -> Vec<String> {
        self.objects().into_keys().filter(|key| key.contains(part)).collect()
    }

    /// `backup REPO STORE` with more arguments.
    pub(crate) fn backup(&self, more: &[&str]) -> Output {
        let store = self.path("store").display().to_string();
        self.run(&[&["backup", self.repo(), &store][..], more].concat())
    }

    /// `restore REPO SNAPSHOT --to` a folder of this name, byte for byte.
    pub(crate) fn restore(&self, snapshot: &str, to: &str) -> Output {
        let to = self.path(to).display().to_string();
        self.run(&["restore", self.repo(), snapshot, "--to", &to, "--uids", "exact"])
    }

    /// Runs `mailrig` to its end, or for two minutes.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.start(arguments).wait()
    }

    /// Starts `mailrig`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command();
        command.args(arguments);
        Running::start(command)
    }

    /// `mailrig`, that sees this test's folder only.
    pub(crate) fn command(&self) -> Command {
        self.isolated(Command::new(MAILRIG))
    }

    /// `mailrig` as the user `nobody`, to whom the test's folder then belongs: file modes do not
    /// bind root. Without root it runs as the present user, whom modes bind.
    pub(crate) fn start_unprivileged(&self, arguments: &[&str]) -> Running {
        let mut command = self.command();
        if rustix::process::geteuid().is_root() {
            let folder = self.folder.path();
            let owned = Command::new("chown").args(["-R", NOBODY]).arg(folder).status().unwrap();
            assert!(owned.success());
            command = self.isolated(Command::new("setpriv"));
            // As an open file: `nobody` may not reach the folder that the binary lies in.
            command.stdin(File::open(MAILRIG).unwrap());
            let program = "/proc/self/fd/0";
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
        }
        command.args(arguments);
        Running::start(command)
    }

    /// A command that sees nothing else of the environment than this test's folder.
    pub(crate) fn isolated(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("TZ", "UTC")
            .env("MAILRIG_STATE", self.path("state"))
            .env("MAILRIG_IDENTITY", self.identity())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

/// Polls until `ready` says so; fails after a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "waited a minute in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The path as text.
/// Whether a next UID was raised as far as a restore soon after its backup raises it.
pub(crate) fn is_raised(from: u32, to: u32) -> bool {
    (from + 1_000_000..from + 1_010_000).contains(&to)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const MAILRIG: &str = env!("CARGO_BIN_EXE_mailrig");
const NOBODY: &str = "65534:65534";
