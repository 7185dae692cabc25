//! Runs a command, on this machine or on a role's, with an end: a limit of time, and of what is kept of its output. It has
//! a process group of its own, so that nothing of it is left when it is ended.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command as Process};

use crate::scenario::Where;

/// A command that is ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// The program and its arguments, on this machine.
    pub(crate) argv: Vec<String>,
    /// Its environment besides.
    pub(crate) env: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Its exit code; none: a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed, shortened to its beginning and its end.
    pub(crate) stdout: String,
    /// The same of what it complained of.
    pub(crate) stderr: String,
}

/// The same, of a command whose output went elsewhere.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none: a signal ended it.
    pub(crate) code: Option<i32>,
    /// Whether all that it printed was read.
    pub(crate) is_whole: bool,
    /// What it complained of, shortened.
    pub(crate) stderr: String,
}

/// A command that did not come to an end of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandFailed {
    /// It could not be started.
    #[error("cannot run {program}: {error}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// It took too long.
    #[error("{program} was ended after {}", crate::human(*limit))]
    Timeout {
        /// Which.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// The run was stopped.
    #[error("{0} was ended because the drill stops")]
    Stopped(String),
}

impl Command {
    /// `argv` where it is to run. On other machines nothing of this one's environment is there.
    pub(crate) fn new(argv: &[String], env: &BTreeMap<String, String>, on: &Where) -> Self {
        let words: Vec<String> = match on {
            Where::Local => argv.to_vec(),
            Where::Namespace(name) => {
                [&["ip", "netns", "exec", name].map(str::to_owned)[..], argv].concat()
            }
            // How a node is entered is known only when it is there.
            Where::Node(name) => [&["node".to_owned(), name.clone()], argv].concat(),
            Where::Container(prefix) => {
                // Its processes are nobody's children here.
                let sets = env.iter().map(|(name, value)| format!("{name}={value}"));
                let sets: Vec<String> = match env.is_empty() {
                    true => Vec::new(),
                    false => ["env".to_owned()].into_iter().chain(sets).collect(),
                };
                [prefix, &sets[..], argv].concat()
            }
            Where::Ssh(target) => {
                // ssh gives one text to a shell there.
                let sets = env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
                let words = sets.chain(argv.iter().map(|word| quoted(word)));
                let typed = words.collect::<Vec<_>>().join(" ");
                let ssh = [
                    "ssh",
                    "-T",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "ConnectTimeout=10",
                    "--",
                    target,
                    &typed,
                ];
                ssh.map(str::to_owned).to_vec()
            }
        };
        let env = if on.is_here() { env.clone() } else { BTreeMap::new() };
        Self { argv: words, env }
    }

    /// The same below a process of ours that keeps its mark ([`crate::hold`]).
    pub(crate) fn held(self, program: &str) -> Self {
        self.below(&[program, "drill", "hold", "--"])
    }

    /// The same, run by another program.
    pub(crate) fn below(&self, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned());
        let argv = words.chain(self.argv.iter().cloned()).collect();
        Self { argv, env: self.env.clone() }
    }

    /// As a person would type it.
    pub(crate) fn by_hand(&self) -> String {
        line(&self.argv)
    }

    fn program(&self) -> String {
        self.argv.first().cloned().unwrap_or_default()
    }

    pub(crate) fn process(&self) -> Process {
        let mut process = Process::new(self.program());
        process.args(self.argv.iter().skip(1)).envs(&self.env).stdin(Stdio::null());
        process.process_group(0).kill_on_drop(true);
        process
    }

    /// Runs it to its end, or to `limit`, or until `stopped` is done.
    pub(crate) async fn run(
        &self,
        limit: Duration,
        stopped: impl Future<Output = ()>,
    ) -> Result<Ran, CommandFailed> {
        let mut out = Kept::default();
        let Ended { code, stderr, .. } =
            self.run_with(limit, stopped, |bytes| out.add(bytes)).await?;
        Ok(Ran { code, stdout: out.text(), stderr })
    }

    /// The same; what it prints is given to `take`, piece by piece.
    pub(crate) async fn run_with(
        &self,
        limit: Duration,
        stopped: impl Future<Output = ()>,
        take: impl FnMut(&[u8]),
    ) -> Result<Ended, CommandFailed> {
        let program = self.program();
        let mut process = self.process();
        process.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process
            .spawn()
            .map_err(|error| CommandFailed::Start { program: program.clone(), error })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Also when nobody waits for it any more, as when the time of a step is over.
        let mut group = Group::of(&child);
        let ended = async {
            // Who has ended may have left somebody behind who keeps the pipes open.
            let mut err = Kept::default();
            let (status, is_whole) = {
                let complaints = keep(stderr, |bytes| err.add(bytes));
                let read = async { tokio::join!(keep(stdout, take), complaints) };
                tokio::pin!(read);
                tokio::select! {
                    (is_whole, _) = &mut read => (child.wait().await, is_whole),
                    status = child.wait() => {
                        let read = tokio::time::timeout(LAST_WORDS, &mut read).await;
                        (status, read.is_ok_and(|(is_whole, _)| is_whole))
                    }
                }
            };
            (status, is_whole, err.text())
        };
        let result = tokio::select! {
            (status, is_whole, stderr) = ended => match status {
                Ok(status) => Ok(Ended { code: code(status), is_whole, stderr }),
                Err(error) => Err(CommandFailed::Start { program, error }),
            },
            () = tokio::time::sleep(limit) => Err(CommandFailed::Timeout { program, limit }),
            () = stopped => Err(CommandFailed::Stopped(program)),
        };
        if result.is_ok() {
            // What it left behind on purpose stays.
            group.0 = None;
        }
        result
    }
}

/// Ends all of a process group when it is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may be gone.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Ran {
    /// The last thing that it said, on one line.
    pub(crate) fn last_words(&self) -> String {
        last_line(if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr })
    }
}

impl Ended {
    /// The last thing that it complained of, on one line.
    pub(crate) fn last_words(&self) -> String {
        last_line(&self.stderr)
    }
}

/// With `--json`, mailrig complains in documents, too.
fn last_line(said: &str) -> String {
    let line = said.trim().lines().last().unwrap_or_default();
    let document = serde_json::from_str::<serde_json::Value>(line).ok();
    let message = document.as_ref().and_then(|it| it.get("message")?.as_str());
    message.unwrap_or(line).chars().take(300).collect()
}

fn code(status: ExitStatus) -> Option<i32> {
    // A shell tells of a signal in this way, too.
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// The beginning and the end of what a program prints.
#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    left_out: u64,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(&bytes[room..]);
        if self.tail.len() > 2 * KEPT {
            let most = self.tail.len() - KEPT;
            self.tail.drain(..most);
            self.left_out += most as u64;
        }
    }

    fn text(&self) -> String {
        let head = String::from_utf8_lossy(&self.head);
        let tail = String::from_utf8_lossy(&self.tail);
        match self.left_out {
            0 => format!("{head}{tail}"),
            count => format!("{head}\n[{count} bytes left out]\n{tail}"),
        }
    }
}

/// To its end; whether that was reached.
async fn keep(from: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) -> bool {
    let Some(mut from) = from else { return true };
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return true,
            Ok(count) => take(&buffer[..count]),
            Err(_) => return false,
        }
    }
}

/// A command as a person would type it.
pub(crate) fn line(argv: &[String]) -> String {
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// For a shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Of each stream, twice: its beginning and its end.
const KEPT: usize = 16 << 10;
/// For what a program that has ended left in its pipes.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str, limit_ms: u64) -> Result<Ran, CommandFailed> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let command = Command::new(&argv, &BTreeMap::new(), &Where::Local);
        command.run(Duration::from_millis(limit_ms), std::future::pending()).await
    }

    #[tokio::test]
    async fn a_command_ends_with_its_code_and_its_words() {
        let ran = run("echo out; echo wrong >&2; exit 3", 60_000).await.unwrap();
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.last_words().as_str()),
            (Some(3), "out\n", "wrong")
        );
        assert_eq!(run("kill -TERM $$", 60_000).await.unwrap().code, Some(143));
    }

    #[tokio::test]
    async fn who_prints_without_end_is_shortened() {
        let ran = run("head -c 300000000 /dev/zero; echo end", 120_000).await.unwrap();
        assert!(
            ran.stdout.len() < 5 * KEPT && ran.stdout.ends_with("end\n"),
            "{}",
            ran.stdout.len()
        );
        assert!(ran.stdout.contains("bytes left out"));
    }

    #[tokio::test]
    async fn who_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let failed = run(&script, 1500).await.unwrap_err().to_string();
        assert_eq!(failed, "sh was ended after 1.5 s");
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let is_there = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_there() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn commands_of_other_places_are_wrapped() {
        let argv = ["echo", "it's"].map(str::to_owned);
        let env = BTreeMap::from([("KEY".to_owned(), "a b".to_owned())]);
        let ssh = Command::new(&argv, &env, &Where::Ssh("root@mx1".into()));
        assert_eq!(ssh.argv.last().unwrap(), r"KEY='a b' echo 'it'\''s'");
        assert!(ssh.env.is_empty() && ssh.argv.contains(&"BatchMode=yes".to_owned()));
        let netns = Command::new(&argv, &env, &Where::Namespace("p".into()));
        assert_eq!(netns.by_hand(), r"ip netns exec p echo 'it'\''s'");
        assert_eq!(netns.env, env);
        // What stands in a container is no child of podman's here.
        let on = Where::Container(["podman", "exec", "mx1"].map(str::to_owned).to_vec());
        let container = Command::new(&argv, &env, &on);
        assert_eq!(container.argv, ["podman", "exec", "mx1", "env", "KEY=a b", "echo", "it's"]);
        assert_eq!(container.env, BTreeMap::new());
        let container = Command::new(&argv, &BTreeMap::new(), &on);
        assert_eq!(container.argv, ["podman", "exec", "mx1", "echo", "it's"]);
    }
}
