//! How many messages wait in the server's queue, asked of its own programs while it is under load. These are slow when
//! the queue is long, so each has a limit of time, and what it started goes with it.

mod command;
mod postfix;
mod slope;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;

use command::{Head, Tail};
use postfix::{ByQueues, of_summary};
pub use slope::{Samples, Slope, slope};

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `postqueue -j`, or `postqueue -p` of Postfix before 3.1.
    Postfix,
    /// `exim -bpc`.
    Exim,
    /// A command for `sh -c`; the first number it prints is the depth.
    Command(String),
}

/// Messages in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// All of them.
    pub messages: u64,
    /// By Postfix's queues, where it says so.
    pub by_queue: Option<ByQueue>,
}

/// Messages by Postfix's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ByQueue {
    /// Came in, not yet looked at.
    pub incoming: u64,
    /// Being delivered.
    pub active: u64,
    /// Tried before, waiting for another try.
    pub deferred: u64,
    /// On hold, or not yet picked up.
    pub other: u64,
}

/// Why the depth is not known.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// No such program, or not for us.
    #[error(
        "{command} cannot be run ({source}); run where the server runs, or give --queue a command"
    )]
    Start {
        /// As run.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// Its output ended in the middle.
    #[error("what {command} prints cannot be read: {source}")]
    Read {
        /// As run.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// Killed.
    #[error("{command} took longer than {limit:?} and was stopped; ask less often, or another way")]
    Slow {
        /// As run.
        command: String,
        /// What it had.
        limit: Duration,
    },
    /// It says that it failed.
    #[error("{command} failed ({status}): {stderr}")]
    Failed {
        /// As run.
        command: String,
        /// Its end.
        status: ExitStatus,
        /// The first line it said about that.
        stderr: String,
    },
    /// No number in it.
    #[error("{command} printed no number of messages but {output:?}")]
    Unreadable {
        /// As run.
        command: String,
        /// The first of it.
        output: String,
    },
}

/// Asks for the depth, one question at a time.
#[derive(Debug)]
pub struct Sampler {
    source: Source,
    limit: Duration,
    /// Held while a program runs: a slow queue is not asked again before it answered.
    turn: Mutex<()>,
}

impl Source {
    /// As `--queue` takes it: `postfix`, `exim`, or a command.
    pub fn parse(text: &str) -> Self {
        match text {
            "postfix" => Self::Postfix,
            "exim" => Self::Exim,
            command => Self::Command(command.to_owned()),
        }
    }
}

impl Sampler {
    /// Programs are stopped after `limit`.
    pub fn new(source: Source, limit: Duration) -> Self {
        Self { source, limit, turn: Mutex::new(()) }
    }

    /// The depth now. Waits for an earlier question; what is dropped before it is answered is stopped.
    pub async fn sample(&self) -> Result<Depth, QueueError> {
        let _turn = self.turn.lock().await;
        match &self.source {
            Source::Postfix => any_of(&POSTQUEUE, |program| self.postfix(vec![program])).await,
            Source::Exim => any_of(&EXIM, |program| self.number(vec![program, "-bpc"], None)).await,
            Source::Command(command) => self.number(vec!["sh", "-c", command], Some(command)).await,
        }
    }

    /// `postqueue` may be more than one word: tests have an interpreter before it.
    async fn postfix(&self, postqueue: Vec<&str>) -> Result<Depth, QueueError> {
        let ask = |how| [postqueue.as_slice(), &[how]].concat();
        match command::run(&ask("-j"), None, self.limit, ByQueues::default()).await {
            Ok(queues) => Ok(queues.depth()),
            Err(QueueError::Failed { .. }) => self.old_postfix(&ask("-p")).await,
            Err(error) => Err(error),
        }
    }

    async fn old_postfix(&self, argv: &[&str]) -> Result<Depth, QueueError> {
        let tail = command::run(argv, None, self.limit, Tail::default()).await?;
        match of_summary(tail.last_line()) {
            Some(messages) => Ok(Depth { messages, by_queue: None }),
            None => Err(QueueError::Unreadable {
                command: argv.join(" "),
                output: tail.last_line().to_owned(),
            }),
        }
    }

    async fn number(&self, argv: Vec<&str>, name: Option<&str>) -> Result<Depth, QueueError> {
        let head = command::run(&argv, name, self.limit, Head::default()).await?;
        match first_number(head.text()) {
            Some(messages) => Ok(Depth { messages, by_queue: None }),
            None => Err(QueueError::Unreadable {
                command: name.map_or_else(|| argv.join(" "), str::to_owned),
                output: head.text().chars().take(SHOWN_CHARS).collect(),
            }),
        }
    }
}

/// Asks the first of the programs that is there.
async fn any_of<'a, F>(
    programs: &[&'a str],
    ask: impl Fn(&'a str) -> F,
) -> Result<Depth, QueueError>
where
    F: Future<Output = Result<Depth, QueueError>>,
{
    let (last, others) = programs.split_last().expect("there is a list of them");
    for program in others {
        match ask(program).await {
            Err(QueueError::Start { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            answer => return answer,
        }
    }
    ask(last).await
}

fn first_number(text: &str) -> Option<u64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let is_negative = text[..start].ends_with('-');
    let digits = text[start..].split(|c: char| !c.is_ascii_digit()).next()?;
    (!is_negative).then(|| digits.parse().ok())?
}

/// Neither is on the path of everybody.
const POSTQUEUE: [&str; 2] = ["postqueue", "/usr/sbin/postqueue"];
const EXIM: [&str; 4] = ["exim", "exim4", "/usr/sbin/exim", "/usr/sbin/exim4"];

const SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(command: &str) -> Sampler {
        Sampler::new(Source::Command(command.to_owned()), Duration::from_secs(30))
    }

    #[tokio::test]
    async fn a_command_prints_a_number() {
        for (command, depth) in [
            ("echo 17", Some(17)),
            ("printf 'queue: 3 of 9\\n'", Some(3)),
            ("echo none", None),
            ("true", None),
            ("echo -5", None),
            ("echo 99999999999999999999", None),
            ("echo 5; exit 3", None),
            ("printf '\\377\\0 7'", Some(7)),
            ("echo 4; yes", None),
        ] {
            let sampler = Sampler::new(
                Source::parse(command),
                if command.ends_with("yes") {
                    Duration::from_millis(100)
                } else {
                    Duration::from_secs(30)
                },
            );
            let found = sampler.sample().await.ok().map(|depth| depth.messages);
            assert_eq!(found, depth, "{command}");
        }
    }

    #[tokio::test]
    async fn an_error_names_the_command_and_what_it_said() {
        let error = sampler("echo no such queue >&2; echo more >&2; exit 69").sample().await;
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("failed (exit status: 69): no such queue"), "{text}");
        assert!(text.starts_with("echo no such"), "{text}");
        let text = sampler("echo what").sample().await.unwrap_err().to_string();
        assert!(text.contains("\"what"), "{text}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_stopped_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("alive");
        let path = fifo.display();
        // The open pipe of the grandchild ends when it does: the reader below is the proof.
        let command = format!("mkfifo {path}; sleep 60 >{path} & cat {path}");
        let sampler = Sampler::new(Source::Command(command), Duration::from_millis(300));
        assert!(matches!(sampler.sample().await, Err(QueueError::Slow { .. })));
        let read = tokio::process::Command::new("sh")
            .arg("-c")
            .arg(format!("exec 3<>{path}; exec cat <{path} 3<&-"))
            .kill_on_drop(true)
            .stdout(std::process::Stdio::null())
            .status();
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(read.expect("the child still runs").unwrap().success());
    }

    #[tokio::test]
    async fn one_question_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        // Making a directory fails for the second that is inside.
        let command = format!("mkdir {0} && echo 1 && rmdir {0}", lock.display());
        let sampler = sampler(&command);
        let ask = || sampler.sample();
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        for answer in [a, b, c, d] {
            assert_eq!(answer.unwrap().messages, 1);
        }
    }

    #[tokio::test]
    async fn postfix_old_and_new() {
        let dir = tempfile::tempdir().unwrap();
        let usage = "echo usage >&2; exit 1";
        let json =
            |queue: &str| format!(r#"{{"queue_name": "{queue}", "queue_id": "A", "size": 3}}"#);
        let long = format!("{}{}", json("hold"), " ".repeat(100_000));
        let new = [json("active"), json("deferred"), json("deferred"), long].join("\n");
        std::fs::write(dir.path().join("json"), format!("{new}\n")).unwrap();
        let print = format!("cat {}/json", dir.path().display());
        let by_queue = ByQueue { incoming: 0, active: 1, deferred: 2, other: 1 };
        for (json, plain, depth) in [
            (print.as_str(), usage, Some((4, Some(by_queue)))),
            ("true", usage, Some((0, Some(ByQueue::default())))),
            (usage, "echo 'A 1 b'; echo; echo '-- 3 Kbytes in 2 Requests.'", Some((2, None))),
            (usage, "echo '-- 0 Kbytes in 1 Request.'", Some((1, None))),
            (usage, "echo 'Mail queue is empty'", Some((0, None))),
            (usage, "echo 12 messages", None),
            (usage, usage, None),
        ] {
            let script = dir.path().join("postqueue");
            let text = format!("if [ $1 = -j ]; then\n{json}\nelse\n{plain}\nfi\n");
            std::fs::write(&script, text).unwrap();
            let sampler = sampler("");
            let answer = sampler.postfix(vec!["sh", script.to_str().unwrap()]).await;
            let found = answer.as_ref().ok().map(|depth| (depth.messages, depth.by_queue));
            assert_eq!(found, depth, "{json} {plain}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said() {
        let sampler = sampler("");
        let ask = |program| sampler.number(vec![program, "-bpc"], None);
        let error = any_of(&["/nowhere/exim", "/nowhere/exim4"], ask).await.unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/exim4 -bpc cannot be run"), "{error}");
        let depth =
            any_of(&["/nowhere/exim", "echo"], |p| sampler.number(vec![p, "8"], None)).await;
        assert_eq!(depth.unwrap().messages, 8);
    }
}
