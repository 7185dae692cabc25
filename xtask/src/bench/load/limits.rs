//! What a generator must hold to be believed: its plan, flat memory, and many open connections.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::loopback::{Sink, peak_mb, serve};
use super::super::table::spread;
use super::throttle::{REUSED, SIZE_BYTES};
use super::{Plan, ensure_accepted, load, number};

/// How late messages begin after their planned time, where a connection was free.
pub(super) fn lateness(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "## Lateness at 5,000 a second for 10 s, against mailrig serve --sink: milliseconds\n\n\
         | connections | p50 | p99 | most | accepted |\n|---|---:|---:|---:|---:|\n",
    );
    for (a_connection, what) in [(1000, "reused for 1,000 messages"), (1, "fresh")] {
        let mut columns: [Vec<f64>; 4] = Default::default();
        for _ in 0..plan.rounds {
            let server = serve(Sink::Ours, &[], work)?;
            let options = format!(
                "--rate 5000/s --for 10s --messages-per-connection {a_connection} --plain --size {SIZE_BYTES}"
            );
            let (_, document) = load(&server, &options, Duration::from_secs(120), work)?;
            for (at, name) in ["p50", "p99", "max"].into_iter().enumerate() {
                let late_us = number(&document, &format!("/lateness_us/{name}"))?;
                columns[at].push(late_us / 1000.0);
            }
            columns[3].push(number(&document, "/accepted")?);
            eprintln!("  {what}: late by {:.2} ms at p99", columns[1].last().unwrap_or(&f64::NAN));
        }
        let cells = columns.map(|column| spread(&column)).join(" | ");
        let _ = writeln!(text, "| {what} | {cells} |");
    }
    text.push('\n');
    Ok(())
}

/// Connections that say hello and are held. Both processes have a descriptor for each, and neither may have more of them
/// than its hard limit.
pub(super) fn idle(plan: &Plan, work: &Path, text: &mut String) -> Result<()> {
    let most = hard_limit()?.saturating_sub(DESCRIPTORS_BESIDE);
    let count = plan.idle.min(most);
    let server = serve(Sink::Ours, &["--max-connections", &(count + 100).to_string()], work)?;
    // They are opened in the warm-up. One address has 28,000 ports by default, and the kernel searches long for one of
    // the last: several addresses spare it that.
    let options = format!(
        "--rate 10/s --warmup 20s --for 5s --connections 10 --idle-connections {count} \
         --source 127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5"
    );
    let (cost, document) = load(&server, &options, Duration::from_secs(180), work)?;
    let held = number(&document, "/generator/idle_held")?;
    eprintln!("  {held} of {count} held, peak {:.0} MB", cost.peak_mb);
    let _ = write!(
        text,
        "## Idle connections\n\n| asked for | held to the end | mailrig load, peak MB | mailrig serve --sink, peak MB |\n\
         |---:|---:|---:|---:|\n| {count} | {held} | {:.0} | {:.0} |\n\n",
        cost.peak_mb,
        peak_mb(&server)?,
    );
    if count < plan.idle {
        let _ = write!(
            text,
            "{} were wanted; a process may have {} open files here.\n\n",
            plan.idle,
            most + DESCRIPTORS_BESIDE
        );
    }
    Ok(())
}

/// The most memory of a short run and of a long one.
pub(super) fn memory(messages: u64, work: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "## Memory, 10 sessions, reused, pipelined, against mailrig serve --sink\n\n\
         | messages | peak MB | messages a second |\n|---:|---:|---:|\n",
    );
    let mut peaks_mb = Vec::new();
    for messages in [SHORT_RUN, messages] {
        let server = serve(Sink::Ours, &[], work)?;
        let options = format!(
            "--closed 10 --messages {messages} --messages-per-connection {REUSED} --plain --size {SIZE_BYTES}"
        );
        // At the slowest that would still be worth a look.
        let limit = Duration::from_secs(60 + messages / 2000);
        let (cost, document) = load(&server, &options, limit, work)?;
        ensure_accepted(&document, messages)?;
        eprintln!("  {messages} messages: peak {:.1} MB", cost.peak_mb);
        let per_s = messages as f64 / cost.wall_s;
        let _ = writeln!(text, "| {messages} | {:.1} | {per_s:.0} |", cost.peak_mb);
        peaks_mb.push(cost.peak_mb);
    }
    let _ = write!(text, "\nThe long run took {:.1} MB more.\n", peaks_mb[1] - peaks_mb[0]);
    Ok(())
}

/// How many descriptors a process may have at most: the second number of its line.
fn hard_limit() -> Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    match hard.context("no limit of open files")? {
        "unlimited" => Ok(u64::MAX),
        number => Ok(number.parse()?),
    }
}

/// Messages of the short run.
pub(super) const SHORT_RUN: u64 = 50_000;

/// Of either process, for what are no idle connections.
const DESCRIPTORS_BESIDE: u64 = 100;
