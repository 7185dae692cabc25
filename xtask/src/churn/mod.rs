//! `cargo xtask churn`: processes change mailboxes as fast as they can while backups run; afterwards
//! every message that was there throughout must be in the backup, once, byte for byte. The same
//! churn must catch a naive walk, or the harness shows nothing.

mod account;
mod crew;
mod judge;
mod letter;
mod mailbox;
mod naive;
mod report;
mod style;

mod tools;
mod worker;
mod workplace;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::AlreadyTold;
use crate::options::{Options, unknown};
use crate::workspace;
use crew::Crew;
use judge::Found;
use letter::Letters;
use report::Tally;

use tools::{Site, Tool};
use worker::Share;
use workplace::Workplace;

/// Rounds of the naive walk and of each peer; enough for each to show what it misses.
const ROUNDS_OF_OTHERS: u64 = 3;
/// Rounds that broke the guarantee and are described.
const TOLD_ROUNDS: u64 = 10;
/// How often a run tells what it has so far: who ends it with Ctrl-C has lost nothing.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// How long, how much, and of what.
pub(crate) struct Plan {
    time: Duration,
    seed: u64,
    messages: usize,
    workers: usize,
    mailboxes: usize,
    /// How many of 100 windows are storms.
    storms: usize,
    tools: Vec<Tool>,
    dir: PathBuf,
    program: Option<PathBuf>,
    is_json: bool,
    is_written: bool,
    /// The options as they were given, for the report.
    command_line: String,
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let mut plan = Plan {
        time: Duration::from_secs(120),
        seed: 20_251_121,
        messages: 6_000,
        workers: 4,
        mailboxes: 3,
        storms: 50,
        tools: vec![Tool::Naive, Tool::Mailrig],
        dir: std::env::temp_dir(),
        program: None,
        is_json: false,
        is_written: false,
        command_line: ["cargo xtask churn", &args.join(" ")].join(" ").trim_end().to_owned(),
    };
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--minutes" => {
                let minutes: f64 = options.value(name)?;
                plan.time = Duration::try_from_secs_f64(minutes * 60.0)
                    .with_context(|| format!("{name} does not take `{minutes}`"))?;
            }
            "--seed" => plan.seed = options.value(name)?,
            "--messages" => plan.messages = options.value(name)?,
            "--workers" => plan.workers = options.value(name)?,
            "--mailboxes" => plan.mailboxes = options.value(name)?,
            "--storms" => plan.storms = options.value(name)?,
            "--peers" => plan.tools = Tool::ALL.to_vec(),
            "--naive-only" => plan.tools = vec![Tool::Naive],
            "--json" => plan.is_json = true,
            "--write" => plan.is_written = true,
            "--dir" => plan.dir = options.value(name)?,
            "--program" => plan.program = Some(options.value(name)?),
            _ => return Err(unknown(name)),
        }
    }
    ensure!((1..=64).contains(&plan.workers), "--workers takes 1 to 64");
    ensure!((1..=plan.workers).contains(&plan.mailboxes), "--mailboxes takes 1 to --workers");
    ensure!(plan.storms <= 100, "--storms takes 0 to 100");
    ensure!(plan.messages / plan.workers >= 100, "--messages takes 100 or more for each worker");
    Ok(plan)
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let end = Instant::now() + plan.time;
    let program = match &plan.program {
        _ if !plan.tools.contains(&Tool::Mailrig) => PathBuf::new(),
        Some(program) => std::path::absolute(program)?,
        None => build()?,
    };
    let workplace = Workplace::create(&plan.dir)?;
    let mut harness = Harness::start(plan, &workplace)?;
    let mut tallies = Vec::new();
    for &tool in &plan.tools {
        if !tool.is_installed() {
            eprintln!("{} is not installed, and left out", tool.name());
            continue;
        }
        tallies.push(harness.rounds(tool, &program, |tally, last| match tool {
            // Not one round more than there is time for, as far as the last one tells.
            Tool::Mailrig => Instant::now() + last > end,
            _ => tally.rounds >= ROUNDS_OF_OTHERS,
        })?);
    }
    if plan.is_json {
        println!("{}", report::json(plan.seed, &tallies));
    } else {
        println!("{}", report::text(&tallies));
    }
    if plan.is_written {
        report::write(&plan.command_line, workplace.disk(), &tallies)?;
    }
    decide(&tallies)
}

/// The subcommands that the harness starts itself with; not for people.
pub(crate) fn helper(args: &[&str]) -> Option<Result<()>> {
    match args {
        ["churn-worker", share @ ..] => Some(worker::run(share)),
        ["churn-clean", folders @ ..] => Some(workplace::clean(folders)),
        _ => None,
    }
}

fn decide(tallies: &[Tally]) -> Result<()> {
    let mut complaints = Vec::new();
    for Tally { tool, verdict, exits, .. } in tallies {
        if verdict.judged == 0 {
            complaints.push(format!("nothing was judged of {}", tool.name()));
        }
        let is_naive = *tool == Tool::Naive;
        if is_naive && verdict.missed == 0 {
            complaints.push("the naive walk missed nothing: this churn shows nothing".to_owned());
        }
        if *tool != Tool::Mailrig {
            continue;
        }
        if !verdict.is_clean() {
            complaints.push("mailrig broke its guarantee, see above".to_owned());
        }
        if let Some(code) = exits.keys().find(|code| ![0, 3].contains(*code)) {
            complaints.push(format!("mailrig ended with exit code {code}"));
        }
    }
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    if complaints.is_empty() { Ok(()) } else { Err(AlreadyTold.into()) }
}

fn build() -> Result<PathBuf> {
    eprintln!("building mailrig");
    workspace::cargo()
        .args(["build", "--release", "--quiet", "--package", "mailrig"])
        .limit(Duration::from_secs(30 * 60))
        .ok()?;
    Ok(workspace::target_dir().join("release/mailrig"))
}

/// The store, those who change it, and those who judge.
struct Harness<'a> {
    workplace: &'a Workplace,
    crew: Crew,
    letters: Letters,
}

impl<'a> Harness<'a> {
    fn start(plan: &Plan, workplace: &'a Workplace) -> Result<Harness<'a>> {
        eprintln!(
            "making {} messages in {}, seed {}",
            plan.messages,
            workplace.disk().display(),
            plan.seed
        );
        let store = store(workplace);
        std::fs::create_dir(&store)
            .with_context(|| format!("creating the store `{}`", store.display()))?;
        let share = |worker: usize| Share {
            store: store.clone(),
            mailbox: format!("user{}@example.org", worker % plan.mailboxes),
            worker: worker as u64 + 1,
            seed: plan.seed,
            messages: plan.messages / plan.workers,
            account: workplace.memory().join(format!("account-{worker}")),
        };
        let shares: Vec<Share> = (0..plan.workers).map(share).collect();
        let crew = Crew::start(&shares, plan.seed, plan.storms)?;
        Ok(Harness { workplace, crew, letters: Letters::new() })
    }

    /// Rounds of one tool, until `is_over` says so of the tally and the last round's length.
    fn rounds(
        &mut self,
        tool: Tool,
        program: &Path,
        is_over: impl Fn(&Tally, Duration) -> bool,
    ) -> Result<Tally> {
        let folder = self.workplace.memory().join("site");
        let mut site = Site::new(tool, program, store(self.workplace), folder);
        let mut tally = Tally::new(tool);
        let mut told = Instant::now();
        loop {
            let started = Instant::now();
            self.round(&mut site, &mut tally)
                .with_context(|| format!("round {} of {}", tally.rounds + 1, tool.name()))?;
            if is_over(&tally, started.elapsed()) {
                return Ok(tally);
            }
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                eprintln!("so far {}", tally.sentence());
            }
        }
    }

    fn round(&mut self, site: &mut Site<'_>, tally: &mut Tally) -> Result<()> {
        site.prepare()?;
        self.crew.open_window()?;
        let started = Instant::now();
        let backup = site.back_up()?;
        tally.slowest = tally.slowest.max(started.elapsed());
        let window = self.crew.close_window()?;
        let files = site.restore(&self.workplace.memory().join("restored"))?;
        let found = Found::read(&files, &self.letters)?;
        let (verdict, words) = judge::judge(&window.expected, &found);
        tally.rounds += 1;
        tally.verdict += verdict;
        tally.done.renames += window.done.renames;
        tally.done.others += window.done.others;
        *tally.exits.entry(backup.exit).or_default() += 1;
        for (name, count) in backup.ledger.as_object().into_iter().flatten() {
            *tally.ledger.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        if site.tool == Tool::Mailrig && !verdict.is_clean() && tally.bad_rounds < TOLD_ROUNDS {
            tally.bad_rounds += 1;
            let styles: Vec<&str> = window.styles.iter().map(|style| style.name()).collect();
            eprintln!("round {}, {}: {verdict:?}", tally.rounds, styles.join(" "));
            eprintln!("  exit code {}, ledger {}", backup.exit, backup.ledger);
            words.iter().for_each(|word| eprintln!("  {word}"));
        }
        Ok(())
    }
}

fn store(workplace: &Workplace) -> PathBuf {
    workplace.disk().join("store")
}
