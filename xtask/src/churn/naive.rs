//! The walk that mailrig must not be: every name is listed first, then every file is opened, and
//! what is not there any more is left out. The harness must catch it, or it shows nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

/// Copies all files below `from`; 3 if a listed one was not there any more, else 0.
pub(super) fn copy(from: &Path, to: &Path) -> Result<i32> {
    let mut files = Vec::new();
    let mut dirs = vec![from.to_owned()];
    while let Some(dir) = dirs.pop() {
        fs::create_dir_all(to.join(dir.strip_prefix(from)?))?;
        for entry in fs::read_dir(&dir).with_context(|| format!("listing `{}`", dir.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { &mut dirs } else { &mut files }.push(entry.path());
        }
    }
    let mut exit = 0;
    for file in files {
        match fs::copy(&file, to.join(file.strip_prefix(from)?)) {
            Err(error) if error.kind() == ErrorKind::NotFound => exit = 3,
            copied => drop(copied.with_context(|| format!("copying `{}`", file.display()))?),
        }
    }
    Ok(exit)
}
