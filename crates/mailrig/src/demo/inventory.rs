//! Every file of a tree with what a restore must bring back: name, bytes, time and mode. Two of
//! them are equal or tell the first file in which they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use snapshot::hash::{Sum, sha256};
use snapshot::progress::Progress;
use walkdir::WalkDir;

/// What is below a folder.
pub(crate) struct Inventory {
    entries: BTreeMap<PathBuf, Entry>,
}

enum Entry {
    Dir { mode: u32 },
    File { sum: Sum, size_bytes: u64, mtime: (i64, i64), mode: u32 },
    Link { target: PathBuf },
}

/// A file in which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// Path below both trees.
    pub(crate) path: String,
    /// What is wrong with the second.
    pub(crate) reason: String,
}

impl Inventory {
    /// Reads all that is below `root`.
    pub(crate) fn take(root: &Path, progress: &Progress) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for entry in WalkDir::new(root).min_depth(1) {
            progress.check()?;
            let entry = entry.context("listing what there is")?;
            let path = entry.path();
            let read = || format!("reading {}", path.display());
            let inside = path.strip_prefix(root).unwrap_or(path).to_owned();
            let metadata = entry.metadata().with_context(read)?;
            let taken = if metadata.is_dir() {
                // Folders above the mailboxes are no part of a snapshot.
                if !has_maildir_parent(path, root) {
                    continue;
                }
                Entry::Dir { mode: mode(&metadata) }
            } else if metadata.is_symlink() {
                Entry::Link { target: fs::read_link(path).with_context(read)? }
            } else {
                let bytes = fs::read(path).with_context(read)?;
                Entry::File {
                    sum: sha256(&bytes),
                    size_bytes: bytes.len() as u64,
                    mtime: (metadata.mtime(), metadata.mtime_nsec()),
                    mode: mode(&metadata),
                }
            };
            entries.insert(inside, taken);
        }
        Ok(Self { entries })
    }

    /// Files and links; folders are compared, not counted.
    pub(crate) fn files(&self) -> u64 {
        self.entries.values().filter(|entry| !matches!(entry, Entry::Dir { .. })).count() as u64
    }

    /// How `other` differs from this one, by path.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Difference> {
        let paths: BTreeSet<&PathBuf> = self.entries.keys().chain(other.entries.keys()).collect();
        let differ = |path: &PathBuf| {
            let reason = match (self.entries.get(path), other.entries.get(path)) {
                (Some(wanted), Some(found)) => wanted.difference(found)?,
                (Some(_), None) => "is missing".into(),
                (None, _) => "should not be there".into(),
            };
            Some(Difference { path: path.to_string_lossy().escape_debug().to_string(), reason })
        };
        paths.into_iter().filter_map(differ).collect()
    }
}

/// Whether `path` is, or lies in, a mailbox: a folder with `cur`.
fn has_maildir_parent(path: &Path, root: &Path) -> bool {
    path.ancestors()
        .take_while(|above| above.starts_with(root))
        .any(|above| above.join("cur").is_dir())
}

impl Entry {
    fn difference(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Dir { mode }, Self::Dir { mode: found }) => mode_difference(*mode, *found),
            (Self::Link { target }, Self::Link { target: found }) => (target != found)
                .then(|| format!("points to {} instead of {}", found.display(), target.display())),
            (
                Self::File { sum, size_bytes, mtime, mode },
                Self::File { sum: sum_2, size_bytes: size_2, mtime: mtime_2, mode: mode_2 },
            ) => {
                if size_bytes != size_2 {
                    Some(format!("has {size_2} bytes instead of {size_bytes}"))
                } else if sum != sum_2 {
                    Some("has other bytes".into())
                } else if mtime != mtime_2 {
                    let ((s, ns), (s_2, ns_2)) = (mtime, mtime_2);
                    Some(format!("has the time {s_2}.{ns_2:09} instead of {s}.{ns:09}"))
                } else {
                    mode_difference(*mode, *mode_2)
                }
            }
            _ => Some("is another kind of file".into()),
        }
    }
}

fn mode_difference(mode: u32, found: u32) -> Option<String> {
    (mode != found).then(|| format!("has the mode {found:04o} instead of {mode:04o}"))
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}
