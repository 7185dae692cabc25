//! `cargo xtask bench find`: how long it takes to find messages by sender in one large mailbox after
//! some nights, and to print one; how many requests that makes and how many bytes it reads.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::letters::Letters;
use super::measure::{self, Cost};
use super::store::{self, Store};
use super::table::spread;
use super::tools::{Repository, Tool};
use super::{WorkDir, build, machine, night, write};
use crate::clock;
use crate::corpus;
use crate::installs::debian;
use crate::options::{Options, unknown};

/// What to measure, and where.
pub(crate) struct Plan {
    messages: usize,
    nights: usize,
    rounds: usize,
    seed: u64,
    dir: PathBuf,
    is_kept: bool,
    command_line: String,
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let mut plan = Plan {
        messages: 100_000,
        nights: 12,
        rounds: 5,
        seed: 20_251_121,
        dir: std::env::temp_dir(),
        is_kept: false,
        command_line: ["cargo xtask bench find", &args.join(" ")].join(" ").trim_end().to_owned(),
    };
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--messages" => plan.messages = options.value(name)?,
            "--nights" => plan.nights = options.value(name)?,
            "--rounds" => plan.rounds = options.value(name)?,
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

/// One measured look into the repository.
struct Look {
    title: String,
    wall_s: Vec<f64>,
    peak_mb: Vec<f64>,
    found: usize,
    requests: usize,
    /// Bytes read of packs, and of everything.
    pack_bytes: u64,
    bytes: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    debian::install(&["time"])?;
    build()?;
    let letters = Letters::read(&corpus::install()?)?;
    let work = WorkDir::create(&plan.dir, plan.is_kept)?;
    eprintln!("making a mailbox of {} messages", plan.messages);
    let mut store =
        store::generate_one(&work.own("store").join("vmail"), &letters, plan.seed, plan.messages)?;
    let root = store.root.clone();
    let repository = Repository::create(Tool::Mailrig, work.own("backup"), &root)?;
    let limit = Duration::from_secs(300 + plan.messages as u64 / 500);
    for round in 0..=plan.nights {
        eprintln!("night {round} of {}", plan.nights);
        if round > 0 {
            night::apply(&store, &letters, plan.seed, round)?.keep(&mut store);
        }
        // See `rounds`: else every folder would look as if it might still be changing.
        thread::sleep(Duration::from_millis(1500));
        measure::run(repository.backup(), &repository.logs(), limit)?;
    }
    let mailbox = format!("{}@example.org", store.mailboxes[0].user);
    let expected = senders(&store, SENDER)?;
    let find = look(
        plan,
        &repository,
        "find --from",
        &["find", "--mailbox", &mailbox, "--from", SENDER, "--json"],
    )?;
    ensure!(find.0.found == expected, "{} messages were found, not {expected}", find.0.found);
    let all = look(
        plan,
        &repository,
        "find --deleted",
        &["find", "--mailbox", &mailbox, "--deleted", "--json"],
    )?;
    let ids: Vec<&str> = find.1.lines().collect();
    let id = ids.get(ids.len() / 2).context("no message was found")?;
    let one = look(plan, &repository, "ls --message", &["ls", "--message", id])?;
    let packs = packs(&repository.repo())?;
    let report = render(
        plan,
        &[find.0, all.0, one.0],
        packs,
        &[machine::describe(&work.path)?, machine::versions(&[Tool::Mailrig])].concat(),
    );
    println!("{report}");
    let place = write(&format!("find-{}", plan.messages), &report)?;
    eprintln!("written to {}", place.display());
    Ok(())
}

/// Runs a command some times; also gives the ids of what it found, a line each.
fn look(
    plan: &Plan,
    repository: &Repository<'_>,
    title: &str,
    args: &[&str],
) -> Result<(Look, String)> {
    let mut costs: Vec<Cost> = Vec::new();
    let mut printed = PathBuf::new();
    for _ in 0..plan.rounds {
        let what = repository.look(args, "error");
        let (cost, stdout) = measure::run(what, &repository.logs(), Duration::from_secs(300))?;
        eprintln!("  {title}: {:.3} s, peak {:.0} MB", cost.wall_s, cost.peak_mb);
        costs.push(cost);
        printed = stdout;
    }
    let document: Value = serde_json::from_slice(&fs::read(&printed)?).unwrap_or_default();
    let messages = document["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids = messages.iter().filter_map(|message| message["id"].as_str());
    let ids = ids.collect::<Vec<_>>().join("\n");
    // Once more, not measured: the log tells what was read.
    measure::run(
        repository.look(args, "snapshot::store=debug"),
        &repository.logs(),
        Duration::from_secs(300),
    )?;
    let log = fs::read_to_string(repository.logs().join("stderr"))?;
    let read = |line: &str| line.split("bytes=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    let requests = log.lines().filter(|line| line.contains("snapshot::store"));
    let bytes = |part: &str| log.lines().filter(|line| line.contains(part)).filter_map(read).sum();
    let look = Look {
        title: title.to_owned(),
        wall_s: costs.iter().map(|cost| cost.wall_s).collect(),
        peak_mb: costs.iter().map(|cost| cost.peak_mb).collect(),
        found: messages.len(),
        requests: requests.count(),
        pack_bytes: bytes(".tar."),
        bytes: bytes(""),
    };
    Ok((look, ids))
}

/// How many messages of the store are from somebody, by reading them all.
fn senders(store: &Store, sender: &str) -> Result<usize> {
    let wanted = format!("\nFrom: {sender}");
    let mut count = 0;
    let mut folders = vec![store.root.clone()];
    while let Some(folder) = folders.pop() {
        let holds_messages = folder.ends_with("cur") || folder.ends_with("new");
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if holds_messages {
                let bytes = fs::read(entry.path())?;
                let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
                count +=
                    usize::from(head.split("\n\n").next().unwrap_or_default().contains(&wanted));
            }
        }
    }
    Ok(count)
}

/// The packs that the newest catalog of the only mailbox needs.
fn packs(repo: &Path) -> Result<usize> {
    let mailbox = fs::read_dir(repo.join("mailboxes"))?.next().context("no mailbox")??.path();
    let mut catalogs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(mailbox.join("catalogs"))? {
        catalogs.push(entry?.path());
    }
    catalogs.sort();
    let bytes = fs::read(catalogs.last().context("no catalog")?)?;
    let head = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let head: Value = serde_json::from_slice(head)?;
    let needs = head["needs"].as_array().context("a catalog without needs")?;
    Ok(needs.iter().filter(|need| need["pack"].is_u64()).count())
}

fn render(plan: &Plan, looks: &[Look], packs: usize, machine: &[String]) -> String {
    let mut text = format!("# Finding in a mailbox of {} messages\n\n", plan.messages);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "`{}`, {}\n\n- {}\n- one mailbox, {} nights after the first backup, {packs} packs; {} rounds on a \
         local disk, warm cache; the median, and the least and the most\n- at most {} requests are \
         allowed for `find --from`, 4 MiB of packs and their indexes for one message\n\n\
         | | s | peak MB | found | requests | MB read | of these packs |\n|---|---:|---:|---:|---:|---:|---:|\n",
        plan.command_line,
        clock::day(clock::now()),
        machine.join("\n- "),
        plan.nights,
        plan.rounds,
        packs + 3,
    );
    for look in looks {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.2} | {:.2} |",
            look.title,
            spread(&look.wall_s),
            spread(&look.peak_mb),
            look.found,
            look.requests,
            look.bytes as f64 / 1e6,
            look.pack_bytes as f64 / 1e6,
        );
    }
    text
}

/// One of the senders of `letters`.
const SENDER: &str = "mallory@";
