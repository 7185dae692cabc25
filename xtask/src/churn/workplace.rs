//! The folders that a run fills: the store on a disk, what is restored from it in memory where there is
//! room. A helper process removes both when the harness ends, however it ends: it waits for
//! the end of its stdin.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::Run;

/// What a run of the default size needs at most.
const MEMORY_BYTES: u64 = 4 << 30;
/// Workers that are ending may still make a file or two.
const REMOVAL_ATTEMPTS: u32 = 50;

pub(super) struct Workplace {
    disk: PathBuf,
    memory: PathBuf,
    cleaner: Child,
}

impl Workplace {
    pub(super) fn create(dir: &Path) -> Result<Workplace> {
        let name = format!("mailrig-churn-{}", std::process::id());
        let disk = std::path::absolute(dir.join(&name))?;
        let shared = Path::new("/dev/shm");
        let memory = if free_bytes(shared) > MEMORY_BYTES {
            shared.join(&name)
        } else {
            disk.join("memory")
        };
        let program = std::env::current_exe().context("looking for this program")?;
        let cleaner = Command::new(program)
            .arg("churn-clean")
            .args([&disk, &memory])
            .stdin(Stdio::piped())
            // Ctrl-C must not end it.
            .process_group(0)
            .spawn()
            .context("starting the process that cleans up")?;
        for folder in [&disk, &memory] {
            fs::create_dir_all(folder)
                .with_context(|| format!("creating the work folder `{}`", folder.display()))?;
        }
        Ok(Workplace { disk, memory, cleaner })
    }

    pub(super) fn disk(&self) -> &Path {
        &self.disk
    }

    pub(super) fn memory(&self) -> &Path {
        &self.memory
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait();
    }
}

/// The process that cleans up: removes the folders once stdin ends.
pub(super) fn clean(folders: &[&str]) -> Result<()> {
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    for folder in folders {
        remove(Path::new(folder))?;
    }
    Ok(())
}

/// Removes a folder that others may still write to for a moment.
pub(super) fn remove(folder: &Path) -> Result<()> {
    let mut attempt = 1;
    loop {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt == REMOVAL_ATTEMPTS => {
                bail!("cannot remove `{}`: {error}; remove it by hand", folder.display());
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
            Ok(()) => return Ok(()),
        }
        attempt += 1;
    }
}

fn free_bytes(folder: &Path) -> u64 {
    let stat = Run::new("stat").args(["-f", "-c", "%a %S"]).args([folder]).stdout();
    let numbers: Vec<u64> = stat
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    numbers.iter().product::<u64>() * u64::from(numbers.len() == 2)
}
