//! Child processes. Every one has a time limit, reads nothing from stdin, and is named in its error.
//! A child stays in our process group, so that Ctrl-C ends it too; past its limit it is killed with
//! all its descendants.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long output may still come after a child has ended, from descendants that hold its pipe.
const DRAIN: Duration = Duration::from_secs(2);

/// A command to run, with its time limit.
pub(crate) struct Run {
    command: Command,
    shown: String,
    limit: Duration,
}

/// How a child ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) wall: Duration,
}

impl Run {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Run {
        let shown = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Run { command, shown, limit: Duration::from_secs(600) }
    }

    pub(crate) fn args<I, S>(mut self, args: I) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(key, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Run {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Run {
        self.limit = limit;
        self
    }

    /// Sends stdout and stderr to files.
    pub(crate) fn into_files(mut self, stdout: &Path, stderr: &Path) -> Result<Run> {
        for (path, is_stdout) in [(stdout, true), (stderr, false)] {
            let file = std::fs::File::create(path)
                .with_context(|| format!("cannot create `{}`", path.display()))?;
            if is_stdout {
                self.command.stdout(file)
            } else {
                self.command.stderr(file)
            };
        }
        Ok(self)
    }

    /// Runs to the end with our own stdout and stderr.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let started = Instant::now();
        let mut child = self.spawn()?;
        let status = self.wait(&mut child)?;
        Ok(Ended { status, wall: started.elapsed() })
    }

    /// Runs to the end with our own stdout and stderr; anything but success is an error.
    pub(crate) fn ok(self) -> Result<()> {
        let shown = self.shown.clone();
        let ended = self.end()?;
        if !ended.status.success() {
            bail!("`{shown}` failed: {}", ended.status);
        }
        Ok(())
    }

    /// Runs silently and returns stdout; on failure the error holds the last lines of stderr.
    pub(crate) fn stdout(mut self) -> Result<String> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = self.wait(&mut child)?;
        let stdout = stdout.recv_timeout(DRAIN).unwrap_or_default();
        if !status.success() {
            let stderr = stderr.recv_timeout(DRAIN).unwrap_or_default();
            bail!("`{}` failed: {status}\n{}", self.shown, tail(&stderr, 20));
        }
        Ok(stdout)
    }

    /// Runs and passes stdout and stderr on line by line, and also returns the lines.
    pub(crate) fn tee(mut self) -> Result<(ExitStatus, Vec<String>)> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        let (lines, received) = mpsc::channel();
        pass_on(child.stdout.take(), std::io::stdout(), lines.clone());
        pass_on(child.stderr.take(), std::io::stderr(), lines);
        let status = self.wait(&mut child)?;
        let mut seen = Vec::new();
        while let Ok(line) = received.recv_timeout(DRAIN) {
            seen.push(line);
        }
        Ok((status, seen))
    }

    fn spawn(&mut self) -> Result<Child> {
        self.command.spawn().with_context(|| format!("cannot start `{}`", self.shown))
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let (done, waiting) = mpsc::channel::<()>();
        let (pid, limit) = (child.id(), self.limit);
        let watchdog = thread::spawn(move || match waiting.recv_timeout(limit) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                kill_tree(pid);
                true
            }
            _ => false,
        });
        let status = child.wait().with_context(|| format!("cannot wait for `{}`", self.shown));
        drop(done);
        if watchdog.join().unwrap_or(false) {
            bail!("`{}` was ended: it ran longer than {} s", self.shown, limit.as_secs());
        }
        status
    }
}

/// The program's path if it can be started by name.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The last `n` lines of a text.
pub(crate) fn tail(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error still helps.
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn pass_on(
    pipe: Option<impl Read + Send + 'static>,
    mut to: impl Write + Send + 'static,
    lines: mpsc::Sender<String>,
) {
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            // A closed terminal must not end the run: the exit code still counts.
            let _ = to.write_all(&line);
            let _ = to.flush();
            let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
}

fn kill_tree(root: u32) {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The second field is the program's name in parentheses and may hold spaces.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = after_name.split_whitespace().nth(1).and_then(|f| f.parse().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut doomed = vec![root];
    let mut next = 0;
    while let Some(&pid) = doomed.get(next) {
        doomed.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child));
        next += 1;
    }
    // `kill` is built into every shell; a program of that name need not be installed.
    let pids = doomed.iter().map(|pid| OsString::from(pid.to_string()));
    let _ = Command::new("sh")
        .args(["-c", "kill -KILL \"$@\" 2>/dev/null", "sh"])
        .args(pids)
        .stdin(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_past_its_limit_is_ended_with_its_children() {
        let started = Instant::now();
        let run = Run::new("sh").args(["-c", "sleep 60 & sleep 60"]);
        let error = run.limit(Duration::from_millis(200)).stdout().expect_err("it cannot end");
        assert!(error.to_string().contains("ran longer"), "{error:#}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_failure_shows_the_end_of_stderr() {
        let error = Run::new("sh").args(["-c", "echo why >&2; exit 3"]).stdout();
        assert!(format!("{:#}", error.expect_err("exit 3")).contains("why"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Run::new("no-such-program-here").ok().expect_err("missing");
        assert!(error.to_string().contains("no-such-program-here"));
    }
}
