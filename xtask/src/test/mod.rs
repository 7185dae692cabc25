//! `cargo xtask test`: installs what the tests need, runs all of them, says what was skipped, and
//! closes with one line that counts them.

mod count;

use std::time::Duration;

use anyhow::Result;

use crate::AlreadyTold;
use crate::cache;
use crate::installs::{self, Skipped};
use crate::options::{Options, unknown};
use crate::process::{Run, find_program};
use crate::workspace;
use count::Count;

const LIMIT: Duration = Duration::from_secs(45 * 60);

/// How to run the tests.
#[derive(Default)]
pub(crate) struct How {
    is_quick: bool,
    without_nextest: bool,
}

pub(crate) fn parse(args: &[&str]) -> Result<How> {
    let mut how = How::default();
    let mut options = Options::new(args);
    while let Some(name) = options.next_name() {
        match name {
            "--quick" => how.is_quick = true,
            "--without-nextest" => how.without_nextest = true,
            _ => return Err(unknown(name)),
        }
    }
    Ok(how)
}

pub(crate) fn run(how: &How, passed_on: &[&str]) -> Result<()> {
    let skipped = if how.is_quick { installs::none() } else { installs::all() };
    let outcome = run_tests(how, passed_on, &skipped);
    let (count, mut complaints) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => (Count::default(), vec![format!("{error:#}")]),
    };
    for Skipped { tool, why } in &skipped {
        eprintln!("skipped: tests that need {tool}, because {why}");
    }
    if !skipped.is_empty() && is_set("CI", "true") && !is_set("MAILRIG_ALLOW_SKIP", "1") {
        complaints.push("CI skips no test; MAILRIG_ALLOW_SKIP=1 lets it".to_owned());
    }
    if count.passed + count.failed == 0 {
        complaints.push("no test ran".to_owned());
    }
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    // The last line of all, whatever happened: scripts read it.
    println!("{count}");
    if count.failed > 0 || !complaints.is_empty() {
        return Err(AlreadyTold.into());
    }
    Ok(())
}

/// Runs every test whose name does not say that it needs what is skipped: the counts, and what else went wrong.
fn run_tests(how: &How, passed_on: &[&str], skipped: &[Skipped]) -> Result<(Count, Vec<String>)> {
    let has_nextest = !how.without_nextest && find_program("cargo-nextest").is_some();
    let mut runs: Vec<Vec<&str>> = Vec::new();
    if has_nextest {
        runs.push(vec!["nextest", "run", "--no-fail-fast"]);
    } else {
        runs.push(vec!["test", "--no-fail-fast"]);
    }
    if passed_on.is_empty() {
        runs[0].push("--workspace");
        if has_nextest {
            // nextest runs everything but examples in documentation.
            runs.push(vec!["test", "--workspace", "--doc"]);
        }
    }
    runs[0].extend(passed_on);
    let skip: Vec<&str> = skipped.iter().map(|skipped| skipped.tool).collect();
    let left_out: Vec<String> = skip.iter().map(|tool| format!("needs_{tool}")).collect();
    if !left_out.is_empty() && !passed_on.contains(&"--") {
        runs[0].push("--");
    }
    runs[0].extend(left_out.iter().flat_map(|name| ["--skip", name]));

    let cache = cache::dir()?;
    let (mut count, mut complaints) = (Count::default(), Vec::new());
    for args in runs {
        let run: Run = workspace::cargo()
            .args(&args)
            .env("MAILRIG_CACHE", &cache)
            .env("MAILRIG_TEST_SKIP", skip.join(","))
            .limit(LIMIT);
        let (status, lines) = run.tee()?;
        let counted = count::read(&lines);
        if !status.success() && counted.failed == 0 {
            complaints.push(format!("`cargo {}` failed: {status}", args.join(" ")));
        }
        count.add(counted);
    }
    Ok((count, complaints))
}

fn is_set(key: &str, value: &str) -> bool {
    std::env::var(key).is_ok_and(|set| set == value)
}
