//! Whether the phases that are measured are those that happened: a server that takes a known time for each of them, and
//! what the generator says of it. The server's timer is a millisecond coarse, so the delays are long.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::loopback::{Sink, serve};
use super::{load, number};

/// Where the rule acts, the phase that it is for the generator, and how long it takes.
const DELAYS_MS: [(&str, &str, u32); 6] = [
    ("connect", "banner", 300),
    ("ehlo", "ehlo", 200),
    ("mail", "mail", 250),
    ("rcpt", "rcpt", 350),
    ("data", "data", 200),
    ("end", "body", 400),
];

pub(super) fn measure(work: &Path, text: &mut String) -> Result<()> {
    let rule = |(at, _, delay_ms): &(&str, &str, u32)| {
        format!("[[rule]]\nat = \"{at}\"\ndelay_ms = {delay_ms}\n")
    };
    let rules = work.join("truth.toml");
    fs::write(&rules, DELAYS_MS.iter().map(rule).collect::<String>())?;
    let path = rules.to_str().context("the folder's name is no text")?;
    let server = serve(Sink::Ours, &["--rules", path], work)?;
    let options = "--rate 40/s --for 60s --no-pipelining --plain --connections 200";
    let (_, document) = load(&server, options, Duration::from_secs(180), work)?;
    text.push_str(
        "## Truth: phases of `mailrig serve --sink` with a known delay each, 40 a second for 60 s\n\n\
         | phase | delay ms | p50 | p90 | p99 | p99.9 | farthest off |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (_, phase, delay_ms) in DELAYS_MS {
        let mut cells = String::new();
        let mut farthest = 0.0_f64;
        for quantile in ["p50", "p90", "p99", "p999"] {
            let measured_ms = number(&document, &format!("/phases/{phase}/{quantile}"))? / 1000.0;
            farthest = farthest.max((measured_ms / f64::from(delay_ms) - 1.0).abs());
            let _ = write!(cells, " {measured_ms:.2} |");
        }
        let _ = writeln!(text, "| {phase} | {delay_ms} |{cells} {:.2} % |", farthest * 100.0);
        eprintln!("  {phase}: at most {:.2} % off", farthest * 100.0);
    }
    text.push('\n');
    Ok(())
}
