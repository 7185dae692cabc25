//! The cache folder for tools and data that cost minutes to fetch or build. What stands there under
//! its own name is whole: it was made under a temporary name and renamed, while a lock was held.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longer than any one install may take.
const LONGEST_WAIT: Duration = Duration::from_secs(40 * 60);

/// `$MAILRIG_CACHE`, else the user's cache folder. Tests look in the same place.
pub(crate) fn dir() -> Result<PathBuf> {
    let from = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty());
    if let Some(dir) = from("MAILRIG_CACHE") {
        return std::path::absolute(dir).context("MAILRIG_CACHE is not a path");
    }
    if let Some(dir) = from("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(dir).join("mailrig"));
    }
    match from("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".cache/mailrig")),
        None => bail!("no cache folder: set MAILRIG_CACHE to a folder that may hold 1 GB"),
    }
}

/// The folder `name` in the cache if it holds `proof`.
pub(crate) fn find(name: &str, proof: &str) -> Option<PathBuf> {
    let place = dir().ok()?.join(name);
    place.join(proof).exists().then_some(place)
}

/// The folder `name` in the cache. If it does not hold `proof` yet, `make` is given an empty folder
/// to fill and the path that the folder will have in the end.
pub(crate) fn install(
    name: &str,
    proof: &str,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    if let Some(place) = find(name, proof) {
        return Ok(place);
    }
    let cache = dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("creating `{}`", cache.display()))?;
    let _lock = lock(&cache)?;
    if let Some(place) = find(name, proof) {
        return Ok(place);
    }
    let place = cache.join(name);
    let unfinished = cache.join(format!(".unfinished-{name}"));
    remove(&unfinished)?;
    fs::create_dir(&unfinished).with_context(|| format!("creating `{}`", unfinished.display()))?;
    let made = make(&unfinished, &place);
    if made.is_ok() && !place.join(proof).exists() {
        remove(&place)?;
        fs::rename(&unfinished, &place)
            .with_context(|| format!("renaming to `{}`", place.display()))?;
    }
    remove(&unfinished)?;
    made?;
    match find(name, proof) {
        Some(place) => Ok(place),
        None => bail!("`{}` was installed but holds no `{proof}`", place.display()),
    }
}

fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("creating `{}`", path.display()))?;
    let started = Instant::now();
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking `{}`", path.display()));
            }
            Err(TryLockError::WouldBlock) if started.elapsed() > LONGEST_WAIT => {
                bail!("another run has held `{}` for too long; end it", path.display())
            }
            Err(TryLockError::WouldBlock) => {
                if !is_told {
                    eprintln!("waiting for another run that installs into {}", cache.display());
                    is_told = true;
                }
                thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
