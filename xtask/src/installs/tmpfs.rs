//! Small file systems in memory, which tests fill up. Only who may mount has them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::Run;

/// Mounts one and takes it away again.
pub(super) fn try_mount() -> Result<PathBuf> {
    let folder = Run::new("mktemp").args(["-d"]).stdout()?;
    let folder = PathBuf::from(folder.trim());
    let mounted = Run::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "mailrig-test"])
        .args([&folder])
        .ok()
        .context("mounting a tmpfs takes root's rights");
    if mounted.is_ok() {
        Run::new("umount").args([&folder]).ok()?;
    }
    std::fs::remove_dir(&folder)?;
    mounted.map(|()| folder)
}
