//! The workers as the harness sees them: started, told what to do, listened to, and always ended,
//! because each is killed by its id when the crew goes, and ends by itself with its stdin.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::account::{self, Expected};
use super::mailbox::Done;
use super::style::Style;
use super::worker::Share;
use crate::random::Random;

/// Longer than filling a large mailbox takes.
const LONGEST_ANSWER: Duration = Duration::from_secs(300);

struct Worker {
    child: Child,
    said: Receiver<String>,
    account: PathBuf,
    style: Style,
}

pub(super) struct Crew {
    workers: Vec<Worker>,
    random: Random,
    /// How many of 100 windows are storms.
    storms: usize,
}

/// What happened while a window was open.
pub(super) struct Window {
    pub(super) expected: HashMap<u64, Expected>,
    pub(super) done: Done,
    /// A style for each worker.
    pub(super) styles: Vec<Style>,
}

impl Crew {
    /// Starts a worker for each share and waits until its messages are there.
    pub(super) fn start(shares: &[Share], seed: u64, storms: usize) -> Result<Crew> {
        let mut crew = Crew { workers: Vec::new(), random: Random::new(seed, 2000), storms };
        for share in shares {
            crew.workers.push(Worker::start(share)?);
        }
        for worker in &crew.workers {
            worker.expect("ready")?;
        }
        Ok(crew)
    }

    /// From now on what is there is accounted for, and the workers act.
    pub(super) fn open_window(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            worker.style = Style::choose(&mut self.random, self.storms);
            worker.tell(&format!("open {}", worker.style.name()))?;
        }
        self.workers.iter().try_for_each(|worker| worker.expect("open").map(drop))
    }

    /// Nothing changes any more until the next window.
    pub(super) fn close_window(&mut self) -> Result<Window> {
        for worker in &mut self.workers {
            worker.tell("close")?;
        }
        let (mut expected, mut done) = (HashMap::new(), Done::default());
        for worker in &self.workers {
            let said = worker.expect("closed")?;
            let more = Done::parse(&said).with_context(|| format!("a worker said `{said}`"))?;
            done.renames += more.renames;
            done.others += more.others;
            let text = fs::read_to_string(&worker.account)
                .with_context(|| format!("reading the account `{}`", worker.account.display()))?;
            account::read(&text, &mut expected)?;
        }
        let styles = self.workers.iter().map(|worker| worker.style).collect();
        Ok(Window { expected, done, styles })
    }
}

impl Worker {
    fn start(share: &Share) -> Result<Worker> {
        let program = std::env::current_exe().context("looking for this program")?;
        let mut child = Command::new(program)
            .arg("churn-worker")
            .args(share.args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the harness: a worker that it ends would look like one that failed.
            .process_group(0)
            .spawn()
            .context("starting a churn worker")?;
        let (sender, said) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Worker { child, said, account: share.account.clone(), style: Style::Still })
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("a worker has no stdin")?;
        writeln!(stdin, "{command}").context("a churn worker ended; see above")
    }

    /// Waits for an answer that begins with `word`, and returns the rest of it.
    fn expect(&self, word: &str) -> Result<String> {
        let Ok(line) = self.said.recv_timeout(LONGEST_ANSWER) else {
            bail!("a churn worker did not say `{word}`; what it printed stands above");
        };
        let Some(rest) = line.strip_prefix(word) else {
            bail!("a churn worker said `{line}`, not `{word}`");
        };
        Ok(rest.trim_start().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
