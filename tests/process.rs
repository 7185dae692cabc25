//! A run of `mailrig`: started, perhaps signalled, ended after a limit, and what came of it: exit
//! code, output, and documents that are as their schemas say.

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::documents::violations;

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
        let mut texts = std::mem::take(&mut self.readers).into_iter().map(|reader| {
            let bytes = reader.join().unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let (stdout, stderr) = (texts.next().unwrap(), texts.next().unwrap());
        let code = status.code();
        let output = Output { line: std::mem::take(&mut self.line), code, stdout, stderr };
        assert!(is_over, "still running after {LIMIT:?}: {output}");
        output
    }
}

/// No process outlives the test that started it.
impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
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

const LIMIT: Duration = Duration::from_secs(120);
