//! A test's own world: a folder with home, state, identity, repository and store, a command that
//! sees nothing else of the environment, and runs that are ended after a limit.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::documents::violations;
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

    /// `restore REPO SNAPSHOT --to` a folder of this name.
    pub(crate) fn restore(&self, snapshot: &str, to: &str) -> Output {
        let to = self.path(to).display().to_string();
        self.run(&["restore", self.repo(), snapshot, "--to", &to])
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

    fn isolated(&self, mut command: Command) -> Command {
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

/// A process whose output is being read.
pub(crate) struct Running {
    pub(crate) child: Child,
    line: String,
    started: Instant,
    ends: Receiver<()>,
    readers: Vec<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let line = words.collect::<Vec<_>>().join(" ");
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (end, ends) = channel();
        let read = |mut pipe: Box<dyn Read + Send>| {
            let end = end.clone();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.read_to_end(&mut bytes);
                let _ = end.send(());
                bytes
            })
        };
        let stdout = read(Box::new(child.stdout.take().unwrap()));
        let stderr = read(Box::new(child.stderr.take().unwrap()));
        Self { child, line, started, ends, readers: vec![stdout, stderr] }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it takes more than two minutes: nothing may hang.
    pub(crate) fn wait(mut self) -> Output {
        let is_over = (0..2).all(|_| {
            let left = LIMIT.saturating_sub(self.started.elapsed());
            self.ends.recv_timeout(left).is_ok()
        });
        if !is_over {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        let mut texts = self.readers.into_iter().map(|reader| {
            let bytes = reader.join().unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let (stdout, stderr) = (texts.next().unwrap(), texts.next().unwrap());
        let code = status.code();
        let output = Output { line: self.line, code, stdout, stderr };
        assert!(is_over, "still running after {LIMIT:?}: {output}");
        output
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    line: String,
    /// `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Insists on an error: its exit code, its sentence and its hint, and no result.
    #[track_caller]
    pub(crate) fn expect_error(self, code: i32, sentence: &str, hint: &str) -> Self {
        let expected = match hint {
            "" => format!("error: {sentence}\n"),
            hint => format!("error: {sentence}\nhint: {hint}\n"),
        };
        assert_eq!((self.stderr.as_str(), self.code), (expected.as_str(), Some(code)), "{self}");
        assert_eq!(self.stdout, "", "{self}");
        self
    }

    /// The document that `--json` printed, which must be as its schema says.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.document(&self.stdout)
    }

    /// The document that `--json` printed for an error.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        self.document(&self.stderr)
    }

    #[track_caller]
    fn document(&self, text: &str) -> Value {
        let document = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {self}"));
        let violations = violations(&document);
        assert!(violations.is_empty(), "{violations:#?}{self}");
        document
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "\n$ mailrig {line}\nexit code: {code:?}\n{stdout}--- stderr\n{stderr}---")
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
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const MAILRIG: &str = env!("CARGO_BIN_EXE_mailrig");
const NOBODY: &str = "65534:65534";
const LIMIT: Duration = Duration::from_secs(120);
