//! Proof that a restore is the store: every message's name, and the bytes and time of a sample.
//! Without it the times would mean nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One message in so many is compared byte by byte.
const SAMPLE: usize = 29;

/// Compares the messages below `restored` with those of `store`. Unless the restore `is_latest`,
/// names may differ where the store has changed since, and only the count and the sample hold.
pub(super) fn same_messages(
    store: &Path,
    restored: &Path,
    expected: usize,
    is_latest: bool,
) -> Result<()> {
    let restored = find_domain(restored, 0)
        .context("the restored folder holds no `example.org`, where all mailboxes are")?;
    let store = store.join("example.org");
    let found = messages_below(&restored)?;
    if found.len() != expected {
        bail!("{} messages were restored, not {expected}", found.len());
    }
    if is_latest {
        let wanted = messages_below(&store)?;
        if let Some(missing) = wanted.difference(&found).next() {
            bail!("`{}` was not restored", missing.display());
        }
    }
    for message in found.iter().step_by(SAMPLE) {
        let (original, copy) = (store.join(message), restored.join(message));
        if !is_latest && !original.exists() {
            continue;
        }
        if fs::read(&original)? != fs::read(&copy)? {
            bail!("`{}` was restored with other bytes", message.display());
        }
        // A filesystem may keep fewer digits of a time than another; mail needs seconds.
        let seconds = |path: &Path| -> Result<u64> {
            Ok(fs::metadata(path)?.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_secs())
        };
        if seconds(&original)? != seconds(&copy)? {
            bail!("`{}` was restored with another time", message.display());
        }
    }
    Ok(())
}

/// A tool may put the store's own path above it.
fn find_domain(folder: &Path, depth: usize) -> Option<PathBuf> {
    let candidate = folder.join("example.org");
    if candidate.is_dir() {
        return Some(candidate);
    }
    if depth > 12 {
        return None;
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .find_map(|path| find_domain(&path, depth + 1))
}

/// The paths of all files in `cur` and `new` folders, relative to `root`.
fn messages_below(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let holds_messages = folder.ends_with("cur") || folder.ends_with("new");
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("reading the folder `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if holds_messages {
                found.insert(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dirs(PathBuf);

    impl Drop for Dirs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A store and a copy of it, each with one message, in a folder named after the test.
    fn store_and_copy(name: &str) -> (Dirs, PathBuf, PathBuf) {
        let root = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let (store, copy) = (root.join("store"), root.join("copy/a/path"));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        for place in [&store, &copy] {
            let cur = place.join("example.org/a/Maildir/cur");
            fs::create_dir_all(&cur).unwrap();
            fs::write(cur.join("1.M1P1.mx1:2,S"), "mail").unwrap();
            fs::File::open(cur.join("1.M1P1.mx1:2,S")).unwrap().set_modified(time).unwrap();
        }
        (Dirs(root.clone()), store, root.join("copy"))
    }

    #[test]
    fn a_true_copy_passes_wherever_it_lies() {
        let (_dirs, store, copy) = store_and_copy("true-copy");
        same_messages(&store, &copy, 1, true).unwrap();
    }

    #[test]
    fn a_restore_that_differs_is_told() {
        let (_dirs, store, copy) = store_and_copy("false-copy");
        let message = copy.join("a/path/example.org/a/Maildir/cur/1.M1P1.mx1:2,S");
        let told = |what: &str| {
            let error = same_messages(&store, &copy, 1, true).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        fs::write(&message, "mail").unwrap();
        told("another time");
        fs::write(&message, "other").unwrap();
        told("other bytes");
        fs::rename(&message, message.with_file_name("1.M1P1.mx1:2,")).unwrap();
        told("was not restored");
        fs::remove_file(message.with_file_name("1.M1P1.mx1:2,")).unwrap();
        told("0 messages");
    }
}
