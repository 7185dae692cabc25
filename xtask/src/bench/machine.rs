//! What a reader needs to know about the machine: no names, only what changes the numbers.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::Result;

use super::tools::{self, Tool};
use crate::process::Run;

/// Lines about processors, memory, kernel, and the file system of the work folder.
pub(crate) fn describe(work: &Path) -> Result<Vec<String>> {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory_kb = field("/proc/meminfo", "MemTotal")
        .and_then(|total| total.split(' ').next().and_then(|kb| kb.parse::<u64>().ok()))
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let filesystem = Run::new("stat").args(["-f", "-c", "%T"]).args([work]).stdout()?;
    Ok(vec![
        format!("{cores} cores ({cpu}), {:.0} GB of memory", memory_kb as f64 / 1e6),
        format!("Linux {}, {}", kernel.trim(), filesystem.trim()),
    ])
}

/// Lines about the versions of the tools.
pub(super) fn versions(tools: &[Tool]) -> Vec<String> {
    let mut lines = Vec::new();
    for tool in tools {
        match tool {
            Tool::Mailrig => lines.push(first_line(Run::new(tools::program()).args(["--version"]))),
            Tool::Restic => lines.push(first_line(Run::new("restic").args(["version"]))),
            Tool::Tar => {
                lines.push(first_line(Run::new("tar").args(["--version"])));
                lines.push(first_line(Run::new("zstd").args(["--version"])));
            }
        }
    }
    lines
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn first_line(run: Run) -> String {
    let printed = run.stdout().unwrap_or_else(|error| format!("{error:#}"));
    printed.lines().next().unwrap_or_default().trim_matches(['*', ' ']).to_owned()
}
