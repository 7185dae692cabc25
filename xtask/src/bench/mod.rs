//! `cargo xtask bench`. `backup`: mailrig, restic and `tar | zstd` on the same store, in one run.
//! Every tool sees the same state of the store in turn; the order of the tools rotates by round.

pub(crate) mod drill;
pub(crate) mod find;
mod letters;
pub(crate) mod load;
mod loopback;
pub(crate) mod machine;
mod measure;
mod night;
mod rounds;
mod store;
mod table;
mod tools;
mod verify;
pub(crate) mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clock;
use crate::corpus;
use crate::installs::debian;
use crate::options::{Options, unknown};
use crate::process::Run;
use crate::workspace;
use letters::Letters;
use rounds::Results;
use tools::Tool;

/// What to measure, and where.
pub(crate) struct Plan {
    messages: usize,
    rounds: usize,
    tools: Vec<Tool>,
    seed: u64,
    dir: PathBuf,
    is_kept: bool,
    /// The options as they were given, for the report.
    command_line: String,
}

impl Plan {
    /// The limit of any one measured run, generous for the slowest tool.
    fn run_limit(&self) -> Duration {
        Duration::from_secs(300 + self.messages as u64 / 500)
    }
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let mut plan = Plan {
        messages: 100_000,
        rounds: 3,
        tools: Tool::ALL.to_vec(),
        seed: 20_251_121,
        dir: std::env::temp_dir(),
        is_kept: false,
        command_line: ["cargo xtask bench backup", &args.join(" ")].join(" ").trim_end().to_owned(),
    };
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--messages" => plan.messages = options.value(name)?,
            "--rounds" => plan.rounds = options.value(name)?,
            "--only" => plan.tools = Tool::parse_list(&options.value::<String>(name)?)?,
            "--seed" => plan.seed = options.value(name)?,
            "--dir" => plan.dir = options.value(name)?,
            "--keep" => plan.is_kept = true,
            _ => return Err(unknown(name)),
        }
    }
    ensure!(plan.messages >= 1000, "--messages takes 1000 or more: fewer measure nothing");
    ensure!(plan.rounds >= 1, "--rounds takes 1 or more");
    Ok(plan)
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    debian::install(&["restic", "tar", "time", "zstd"])?;
    if plan.tools.contains(&Tool::Mailrig) {
        build()?;
    }
    let corpus = corpus::install()?;
    let work = WorkDir::create(&plan.dir, plan.is_kept)?;
    let letters = Letters::read(&corpus)?;

    eprintln!("making a store of {} messages", plan.messages);
    let started = Instant::now();
    let store = store::generate(&work.own("store").join("vmail"), &letters, plan)?;
    eprintln!("made in {:.0} s", started.elapsed().as_secs_f64());

    let mut results = Results { store_bytes: store.bytes_on_disk()?, ..Results::default() };
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        rounds::run(plan, &work.path, &store, &letters, round, &mut results)?;
    }
    eprintln!("storing the real messages");
    let real = store::from_corpus(&work.own("real").join("vmail"), &corpus)?;
    rounds::store_real_messages(plan, &work.path, &real, &mut results)?;

    let machine = [machine::describe(&work.path)?, machine::versions(&plan.tools)].concat();
    let report = table::render(plan, &results, &machine);
    println!("{report}");
    let place = write(&format!("backup-{}", plan.messages), &report)?;
    eprintln!("written to {}", place.display());
    Ok(())
}

/// The release build, unless another program is to be measured.
fn build() -> Result<()> {
    if tools::is_given() {
        return Ok(());
    }
    eprintln!("building mailrig");
    workspace::cargo()
        .args(["build", "--release", "--quiet", "--package", "mailrig"])
        .limit(Duration::from_secs(30 * 60))
        .ok()
}

fn write(name: &str, report: &str) -> Result<PathBuf> {
    let folder = workspace::root().join("bench/results");
    fs::create_dir_all(&folder)?;
    let day = clock::day(clock::now());
    let place = folder.join(format!("{name}-{day}.md"));
    fs::write(&place, report).with_context(|| format!("writing `{}`", place.display()))?;
    Ok(place)
}

/// A folder of our own, removed at the end unless it is to be kept.
struct WorkDir {
    path: PathBuf,
    is_kept: bool,
}

impl WorkDir {
    /// A folder in it, named so that a later run does not get the same place on the disk.
    fn own(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}-{}", std::process::id()))
    }

    fn create(dir: &Path, is_kept: bool) -> Result<WorkDir> {
        let name = format!("mailrig-bench-{}", std::process::id());
        let path = std::path::absolute(dir.join(name))?;
        fs::create_dir_all(&path)
            .with_context(|| format!("creating the work folder `{}`", path.display()))?;
        eprintln!("working in {}", path.display());
        // ext4 keeps the inodes of removed files back for minutes, and each new file in the same
        // part of the disk searches past all of them: a restore can take ten times as long because
        // something else was removed. This spreads the folders here over the disk. A filesystem
        // without that trouble, or the flag, says no, and that is well.
        let _ = Run::new("chattr").args(["+T"]).args([&path]).stdout();
        Ok(WorkDir { path, is_kept })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.is_kept {
            eprintln!("kept: {}", self.path.display());
        } else if let Err(error) = remove_tree(&self.path) {
            eprintln!("warning: {error:#}; remove it by hand");
        }
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
