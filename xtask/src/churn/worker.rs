//! A churn worker, a process of its own: changes its share of a mailbox as fast as its style says and
//! keeps its account. Commands come by stdin, whose end ends it, so that it never outlives the
//! harness; what it says goes to stdout.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::mailbox::Mailbox;
use super::style::{Pace, Style};
use crate::options::Options;
use crate::random::Random;

/// What the harness says.
enum Command {
    Open(Style),
    Close,
}

/// What a worker is told at its start; the harness makes the arguments with [`Share::args`].
pub(super) struct Share {
    pub(super) store: PathBuf,
    /// The mailbox's path in the store.
    pub(super) mailbox: String,
    pub(super) worker: u64,
    pub(super) seed: u64,
    pub(super) messages: usize,
    /// Where the account of a window goes.
    pub(super) account: PathBuf,
}

impl Share {
    pub(super) fn args(&self) -> Vec<String> {
        let Share { store, mailbox, worker, seed, messages, account } = self;
        let (store, account) = (store.display().to_string(), account.display().to_string());
        [&store, mailbox, &worker.to_string(), &seed.to_string(), &messages.to_string(), &account]
            .map(|word| word.replace('\n', " "))
            .to_vec()
    }

    fn parse(args: &[&str]) -> Result<Share> {
        let mut words = Options::new(args);
        Ok(Share {
            store: words.value("the store")?,
            mailbox: words.value("the mailbox")?,
            worker: words.value("the worker's number")?,
            seed: words.value("the seed")?,
            messages: words.value("the number of messages")?,
            account: words.value("the place of the account")?,
        })
    }
}

pub(super) fn run(args: &[&str]) -> Result<()> {
    let share = Share::parse(args)?;
    let commands = commands();
    let mut mailbox = Mailbox::fill(&share)?;
    println!("ready");
    let mut random = Random::new(share.seed, 1000 + share.worker);
    loop {
        let Ok(Command::Open(style)) = commands.recv() else {
            bail!("told to close a window that is not open");
        };
        mailbox.open_window();
        println!("open");
        churn(&mut mailbox, style.pace(&mut random), &mut random, &commands)?;
        std::fs::write(&share.account, mailbox.close_window())
            .with_context(|| format!("writing the account `{}`", share.account.display()))?;
        println!("closed {}", mailbox.done);
    }
}

/// Acts until told to close the window.
fn churn(
    mailbox: &mut Mailbox,
    mut pace: Pace,
    random: &mut Random,
    commands: &Receiver<Command>,
) -> Result<()> {
    loop {
        let pause = pace.next(random);
        let said = if pause == Duration::ZERO {
            commands.try_recv().ok()
        } else {
            commands.recv_timeout(pause).ok()
        };
        match said {
            Some(Command::Close) => return Ok(()),
            Some(Command::Open(_)) => bail!("told to open a window that is open"),
            None => mailbox.act(pace.style(), random)?,
        }
    }
}

fn commands() -> Receiver<Command> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let command = match line.split_once(' ') {
                Some(("open", style)) => Style::parse(style).map(Command::Open),
                _ => (line == "close").then_some(Command::Close),
            };
            let Some(command) = command else { break };
            if sender.send(command).is_err() {
                break;
            }
        }
        // At once, in the middle of whatever it does: the harness is gone, and so is the account.
        std::process::exit(1);
    });
    receiver
}
