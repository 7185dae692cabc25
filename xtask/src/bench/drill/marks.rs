//! The marks of a recovery time (RTO), drill against observer. Both have the wall clock of this machine, and nothing else
//! in common.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::observer::{Observer, Seen};
use super::{measured, result};
use crate::bench::tools;

const SCENARIO: &str = include_str!("marks.toml");
const DAY_US: i64 = 86_400_000_000;

/// What is compared.
const MARKS: [&str; 5] = ["fault", "noticed", "first success", "stable", "recovery time"];

pub(super) fn measure(rounds: usize, work: &Path, text: &mut String) -> Result<()> {
    let scenario = work.join("marks.toml");
    fs::write(&scenario, SCENARIO)?;
    let mut off_ms: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds {
        let out = work.join(format!("marks-{round}"));
        // All at one time: a port that was let go is the next one's, and a relay that is its own target never ends.
        let (relay, held) = (listener()?, [listener()?, listener()?]);
        let [primary, standby] = [held[0].local_addr()?, held[1].local_addr()?];
        drop(held);
        let observer = Observer::start(relay, primary, standby)?;
        let mut args = vec![tools::program().into(), "drill".into(), "run".into()];
        args.extend([scenario.clone().into(), "--out".into(), out.clone().into()]);
        let relay = observer.relay;
        for (name, address) in [("primary", primary), ("standby", standby), ("relay", relay)] {
            args.extend(["--set".into(), format!("{name}={address}").into()]);
        }
        let ran = measured(args, work, &[0, 4]);
        let seen = observer.end();
        ran?;
        for (at, off) in differences(&out, &seen)?.into_iter().enumerate() {
            off_ms[at].push(off as f64 / 1000.0);
        }
        let last: Vec<String> = off_ms.iter().map(|off| format!("{:.1}", off[round])).collect();
        eprintln!("  off by {} ms", last.join(", "));
        fs::remove_dir_all(&out)?;
    }
    let _ = write!(
        text,
        "\n## Marks\n\nA primary is killed and a standby starts half a second later, {rounds} times; 200 messages a second. An \
         observer in another process asks the primary every millisecond whether it listens, and is the way to the standby. \
         Drill minus observer, in milliseconds.\n\n| mark | median | least | most |\n|---|---:|---:|---:|\n"
    );
    for (name, mut off) in MARKS.into_iter().zip(off_ms) {
        off.sort_by(f64::total_cmp);
        let middle = super::median(&off);
        let (least, most) = (off[0], off[off.len() - 1]);
        let _ = writeln!(text, "| {name} | {middle:.1} | {least:.1} | {most:.1} |");
    }
    Ok(())
}

fn listener() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// In microseconds.
fn differences(out: &Path, seen: &Seen) -> Result<[i64; 5]> {
    let result = result(out)?;
    let outages = result["rto"].as_array().context("no recovery times")?;
    let mail = outages.iter().find(|outage| outage["service"] == "mail").context("no `mail`")?;
    let started = started_us(out)?;
    let mark = |name: &str| -> Result<i64> {
        let us = mail[name].as_i64().with_context(|| format!("no `{name}`: {mail}"))?;
        Ok(started + us)
    };
    let drill = [mark("fault_us")?, mark("detected_us")?, mark("first_ok_us")?, mark("stable_us")?];
    let gone = seen.gone_us.context("the primary was there all the time")?;
    let noticed = *seen.refused_us.iter().find(|us| **us > gone).context("nobody was refused")?;
    let first = *seen.accepted_us.first().context("nothing was accepted at the standby")?;
    let last_refused = *seen.refused_us.last().unwrap_or(&0);
    let stable = seen.accepted_us.iter().find(|us| **us > last_refused);
    let stable = *stable.context("it was never stable")?;
    let mut off = [0; 5];
    for (at, us) in [gone, noticed, first, stable].into_iter().enumerate() {
        // Times of day are enough, and a day may end in between.
        off[at] = (drill[at] - us as i64 + DAY_US / 2).rem_euclid(DAY_US) - DAY_US / 2;
    }
    off[4] = mail["rto_us"].as_i64().context("no rto_us")? - (stable - gone) as i64;
    Ok(off)
}

/// What the wall clock showed at the microsecond 0 of the run, as microseconds of its day.
fn started_us(out: &Path) -> Result<i64> {
    let journal = fs::read_to_string(out.join("journal.jsonl"))?;
    let line: Value = serde_json::from_str(journal.lines().next().context("an empty journal")?)?;
    let at = line["e"]["begin"]["at"].as_str().context("no time in the journal")?;
    // 2026-11-23T07:35:07.437515293Z
    let (_, time) = at.split_once('T').context("no time of day")?;
    let parts: Vec<&str> = time.trim_end_matches('Z').split(':').collect();
    ensure!(parts.len() == 3, "`{at}` is no time");
    let (hours, minutes): (i64, i64) = (parts[0].parse()?, parts[1].parse()?);
    let seconds: f64 = parts[2].parse()?;
    Ok((hours * 3600 + minutes * 60) * 1_000_000 + (seconds * 1e6).round() as i64)
}
