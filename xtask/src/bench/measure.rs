//! One measured run: wall time by our own clock, CPU time and peak memory by GNU time.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, Run};

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) wall_s: f64,
    /// User and system time of the program and its children.
    pub(super) cpu_s: f64,
    /// Of the largest process.
    pub(super) peak_mb: f64,
}

/// A program to run, and where.
pub(super) struct Measured {
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(&'static str, OsString)>,
    pub(super) dir: PathBuf,
}

/// Runs and measures; stdout is left in the file that is returned. Whatever earlier steps wrote is
/// on disk before the clock starts.
pub(super) fn run(what: Measured, logs: &Path, limit: Duration) -> Result<(Cost, PathBuf)> {
    run_to(what, logs, limit, &[0])
}

/// As [`run`], where other exit codes than 0 are well, too.
pub(super) fn run_to(
    what: Measured,
    logs: &Path,
    limit: Duration,
    codes: &[i32],
) -> Result<(Cost, PathBuf)> {
    Run::new("sync").ok()?;
    let (stdout, stderr) = (logs.join("stdout"), logs.join("stderr"));
    let usage = logs.join("usage");
    let mut run = Run::new("/usr/bin/time")
        .args(["--quiet", "--format", "%U %S %M", "--output"])
        .args([&usage])
        .args(&what.args)
        .dir(&what.dir)
        .limit(limit)
        .into_files(&stdout, &stderr)?;
    for (key, value) in &what.env {
        run = run.env(key, value);
    }
    let ended = run.end()?;
    if !ended.status.code().is_some_and(|code| codes.contains(&code)) {
        let said = fs::read_to_string(&stderr).unwrap_or_default();
        bail!("{:?} failed: {}\n{}", what.args, ended.status, process::tail(&said, 20));
    }
    let text = fs::read_to_string(&usage).context("reading what /usr/bin/time wrote")?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [user, system, peak_kb] = numbers[..] else {
        bail!("/usr/bin/time wrote {text:?}, not three numbers; is it GNU time?");
    };
    let cost =
        Cost { wall_s: ended.wall.as_secs_f64(), cpu_s: user + system, peak_mb: peak_kb / 1024.0 };
    Ok((cost, stdout))
}

/// The bytes of all files below a folder, or of one file.
pub(super) fn bytes_below(path: &Path) -> Result<u64> {
    let context = || format!("measuring `{}`", path.display());
    let metadata = fs::symlink_metadata(path).with_context(context)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path).with_context(context)? {
        bytes += bytes_below(&entry?.path())?;
    }
    Ok(bytes)
}
