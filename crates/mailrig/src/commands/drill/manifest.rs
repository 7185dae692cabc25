//! What a run's folder holds, file by file, with size and SHA-256: evidence that nobody has to take on trust. Written
//! last; the file itself is not in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::commands::load::write_whole;

#[derive(Serialize)]
struct Manifest {
    version: u32,
    files: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    path: String,
    size_bytes: u64,
    sha256: String,
}

pub(super) const MANIFEST: &str = "manifest.json";

/// Writes the manifest of a folder.
pub(super) fn write(dir: &Path) -> Result<()> {
    let mut files = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(inside) = left.pop() {
        let path = dir.join(&inside);
        let entries =
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let inside = inside.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(inside);
            } else if kind.is_file() && inside != Path::new(MANIFEST) {
                files.push(self::entry(dir, &inside)?);
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let manifest = Manifest { version: 1, files };
    write_whole(&dir.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)
}

fn entry(dir: &Path, inside: &Path) -> Result<Entry> {
    let path = dir.join(inside);
    let mut file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hasher = Sha256::new();
    let (mut size_bytes, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        let read =
            file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        size_bytes += read as u64;
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry { path: inside.to_string_lossy().into_owned(), size_bytes, sha256 })
}
