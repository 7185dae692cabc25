//! `cargo xtask ci`: everything CI checks, in the order in which it fails fastest. The tests come
//! last, so that their count is the last line.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::churn;
use crate::deny;
use crate::process::Run;
use crate::test;
use crate::tidy;
use crate::workspace;

/// Enough for everything to be compiled from nothing on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const DEMO_LIMIT: Duration = Duration::from_secs(5 * 60);

pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    step("format", || cargo("fmt --all --check").ok())?;
    step("tidy", tidy::run)?;
    step("deny", deny::run)?;
    step("clippy", || cargo("clippy --workspace --all-targets -- -D warnings").ok())?;
    step("documentation", || {
        cargo("doc --workspace --no-deps --quiet").env("RUSTDOCFLAGS", "-D warnings").ok()
    })?;
    step("release build", || cargo("build --release").ok())?;
    step("demo", || cargo("run --release --quiet -- demo").limit(DEMO_LIMIT).ok())?;
    // Two minutes, the naive walk and the making of the mailboxes included.
    step("churn", || churn::run(&churn::parse(&["--minutes", "2"])?))?;
    // No time after this one: the count of the tests is the last line.
    eprintln!("== test, after {:.0} s", started.elapsed().as_secs_f64());
    test::run(&test::How::default(), &[])
}

fn cargo(args: &str) -> Run {
    workspace::cargo().args(args.split(' ')).limit(BUILD_LIMIT)
}

fn step(name: &'static str, what: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("== {name}");
    let started = Instant::now();
    what().with_context(|| format!("ci stopped at `{name}`"))?;
    eprintln!("-- {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
