//! Where the checkout is, and which of its files are the project's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Run;

/// The folder with the root `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo, as this run of it was started.
pub(crate) fn cargo() -> Run {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Run::new(cargo).dir(&root())
}

/// Every file that is committed or would be: paths relative to the root, sorted.
pub(crate) fn files() -> Result<Vec<String>> {
    let listed = Run::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .dir(&root())
        .stdout()
        .context("cannot list the project's files; a checkout made with git is needed")?;
    let mut files: Vec<String> = listed
        .split_terminator('\0')
        // A file that was deleted but not yet committed is still listed.
        .filter(|path| root().join(path).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
