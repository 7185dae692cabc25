//! `cargo xtask fuzz TARGET`: builds one target of `fuzz/` with LLVM's coverage counters, which a stable
//! compiler has too, and runs it on the seeds and on what earlier runs found. No sanitizer: the
//! project has no unsafe code, so what can go wrong is a panic, a hang or memory without end.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::options::{Options, unknown};
use crate::process::Run;
use crate::workspace;

const TARGETS: [&str; 14] = [
    "uidlist",
    "base-name",
    "catalog",
    "manifest",
    "reply",
    "command",
    "unstuff",
    "mail-log",
    "histogram-log",
    "profile",
    "scenario",
    "drill-journal",
    "queue-file",
    "proxy-dialogue",
];

/// As cargo-fuzz has them: counters at every edge, and the operands of comparisons.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

pub(crate) struct Plan {
    target: String,
    seconds: u64,
}

pub(crate) fn parse(args: &[&str]) -> Result<Plan> {
    let mut options = Options::new(args);
    let mut plan = Plan { target: options.value("fuzz")?, seconds: 60 };
    if !TARGETS.contains(&plan.target.as_str()) {
        bail!("fuzz takes {}, not `{}`", TARGETS.join(", "), plan.target);
    }
    while let Some(name) = options.next_name() {
        match name {
            "--seconds" => plan.seconds = options.value(name)?,
            _ => return Err(unknown(name)),
        }
    }
    Ok(plan)
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let Plan { target, seconds } = plan;
    let program = build(target)?;
    let found = workspace::target_dir().join("fuzz-found").join(target);
    let corpus = found.join("corpus");
    fs::create_dir_all(&corpus).with_context(|| format!("creating `{}`", corpus.display()))?;
    // What it dies of goes below `found`, and its message names the file.
    Run::new(&program)
        .args([&corpus, &workspace::root().join("fuzz/seeds").join(target)])
        .args([
            format!("-max_total_time={seconds}"),
            format!("-artifact_prefix={}/", found.display()),
        ])
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"])
        .limit(Duration::from_secs(seconds + 120))
        .ok()
        .with_context(|| {
            format!(
                "`{target}` failed; give `{}` the file named above to see it again",
                program.display()
            )
        })
}

/// The target's program. Only it and what it is made of have counters: build scripts run without,
/// because a target is given by name.
fn build(target: &str) -> Result<PathBuf> {
    let version = Run::new("rustc").args(["-vV"]).stdout()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    let folder = workspace::target_dir().join("fuzz");
    eprintln!("building {target}");
    workspace::cargo()
        .args(["build", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", host, "--bin", target])
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_TARGET_DIR", &folder)
        .limit(BUILD_LIMIT)
        .ok()?;
    Ok(folder.join(host).join("debug").join(target))
}
