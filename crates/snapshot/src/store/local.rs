//! A repository in a directory. An object is written to a temporary file and linked to its name,
//! so it appears whole or not at all; durability comes in groups, with [`Store::sync`]. What a
//! power cut tears between the two is found by size and hash, and never trusted.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::{Body, Counters, Data, Error, Object, Put, Requests, Result, Store};

/// Objects as files below a directory.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
    unsynced: Mutex<Unsynced>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Unsynced {
    files: Vec<PathBuf>,
    dirs: BTreeSet<PathBuf>,
}

impl Local {
    /// Opens the directory, which need not exist until the first object is put.
    pub fn open(root: &Path) -> Self {
        Self {
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
            unsynced: Mutex::new(Unsynced::default()),
            counters: Counters::default(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        debug_assert!(is_safe_key(key), "keys are made by this crate: {key}");
        self.root.join(key)
    }

    /// Makes the directories above an object and notes those whose entries must be synced.
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !at.is_dir() {
            missing.push(at.to_owned());
            at = at.parent().ok_or(io::ErrorKind::NotFound)?;
        }
        let mut fresh = Vec::new();
        for dir in missing.into_iter().rev() {
            match fs::create_dir(&dir) {
                Ok(()) => fresh.extend(dir.parent().map(Path::to_owned)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        self.unsynced.lock().expect("no holder panics").dirs.extend(fresh);
        Ok(())
    }

    fn write(&self, key: &str, data: Data, durably: bool) -> io::Result<Put> {
        let path = self.path(key);
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        if !dir.is_dir() {
            self.make_dirs(&dir)?;
        }
        let temporary = self.temporary()?;
        let written = write_file(&temporary, data)
            .and_then(|()| if durably { File::open(&temporary)?.sync_all() } else { Ok(()) })
            .and_then(|()| publish(&temporary, &path));
        // Removed also when writing failed: on a full disk the half-written file is what fills it.
        let removed = fs::remove_file(&temporary);
        match written {
            // Gone already if it was renamed.
            Ok(()) => removed.or_else(|e| match e.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            })?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(Put::Exists),
            Err(e) => return Err(e),
        }
        let mut unsynced = self.unsynced.lock().expect("no holder panics");
        unsynced.files.push(path);
        unsynced.dirs.insert(dir);
        Ok(Put::Created)
    }

    /// A fresh name in the one folder for half-written files, where a killed run's are found again.
    fn temporary(&self) -> io::Result<PathBuf> {
        let dir = self.root.join(TEMPORARY);
        if !dir.is_dir() {
            self.make_dirs(&dir)?;
        }
        Ok(dir.join(crate::layout::random_hex(8)))
    }

    fn list_dir(&self, dir: &Path, prefix: &str, each: &mut dyn FnMut(Object)) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let inside = path.strip_prefix(&self.root).expect("a listing stays below its root");
            let Some(key) = inside.to_str().filter(|key| is_safe_key(key)) else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() && (key.starts_with(prefix) || prefix.starts_with(key)) {
                self.list_dir(&path, prefix, each)?;
            } else if kind.is_file() && key.starts_with(prefix) {
                match entry.metadata() {
                    Ok(meta) => each(Object { key: key.to_owned(), size_bytes: meta.len() }),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    /// The failure of a call; of the file system it names the path, as the object's name says nothing
    /// of where the repository is.
    fn failed(&self, action: &'static str, name: &str, source: io::Error) -> Error {
        match Error::io(action, name, source) {
            Error::Io { action, source, .. } => {
                Error::Io { action, key: self.path(name).display().to_string(), source }
            }
            Error::Denied { action, reason, hint, .. } => {
                Error::Denied { action, key: self.path(name).display().to_string(), reason, hint }
            }
            other => other,
        }
    }

    fn open_object(&self, key: &str) -> Result<(File, u64)> {
        let file = File::open(self.path(key)).map_err(|e| self.failed("read", key, e))?;
        let meta = file.metadata().map_err(|e| self.failed("read", key, e))?;
        if !meta.is_file() {
            return Err(Error::NotFound { key: key.to_owned() });
        }
        Ok((file, meta.len()))
    }
}

impl Store for Local {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        Counters::add(&self.counters.put);
        self.write(key, body.data, false).map_err(|e| self.failed("write", key, e))
    }

    /// The content is on the disk before the name is.
    fn put_durably(&self, key: &str, body: Body) -> Result<Put> {
        Counters::add(&self.counters.put);
        let put = self.write(key, body.data, true).map_err(|e| self.failed("write", key, e))?;
        self.sync()?;
        Ok(put)
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        Counters::add(&self.counters.get);
        let (mut file, size_bytes) = self.open_object(key)?;
        if size_bytes > limit_bytes {
            return Err(Error::TooLarge { key: key.to_owned(), size_bytes, limit_bytes });
        }
        let mut bytes = Vec::with_capacity(size_bytes as usize);
        file.read_to_end(&mut bytes).map_err(|e| self.failed("read", key, e))?;
        tracing::debug!(key, bytes = bytes.len(), "read");
        Ok(bytes)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        Counters::add(&self.counters.get);
        let (file, size_bytes) = self.open_object(key)?;
        if range.end > size_bytes {
            return Err(Error::Truncated { key: key.to_owned() });
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated { key: key.to_owned() },
            _ => self.failed("read", key, e),
        })?;
        tracing::debug!(key, bytes = bytes.len(), from = range.start, "read");
        Ok(bytes)
    }

    fn size(&self, key: &str) -> Result<u64> {
        Counters::add(&self.counters.head);
        match fs::metadata(self.path(key)) {
            Ok(meta) if meta.is_file() => Ok(meta.len()),
            Ok(_) => Err(Error::NotFound { key: key.to_owned() }),
            Err(e) => Err(self.failed("read", key, e)),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        Counters::add(&self.counters.list);
        tracing::debug!(prefix, "list");
        let dir = prefix.rsplit_once('/').map_or("", |(dir, _)| dir);
        self.list_dir(&self.root.join(dir), prefix, each)
            .map_err(|e| self.failed("list", prefix, e))
    }

    fn delete(&self, key: &str) -> Result<()> {
        Counters::add(&self.counters.delete);
        match fs::remove_file(self.path(key)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.failed("delete", key, e)),
            _ => Ok(()),
        }
    }

    /// Files first, then the directories that name them. Several threads at once: a journalling
    /// file system commits what waits together in one go.
    fn sync(&self) -> Result<()> {
        let Unsynced { files, dirs } =
            std::mem::take(&mut *self.unsynced.lock().expect("no holder panics"));
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        for paths in [files, dirs] {
            let chunk = paths.len().div_ceil(SYNC_THREADS).max(1);
            thread::scope(|scope| {
                let threads: Vec<_> =
                    paths.chunks(chunk).map(|part| scope.spawn(move || sync_all(part))).collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().expect("syncing does not panic"))
            })
            .map_err(|e| Error::io("write", &self.display(), e))?;
        }
        Ok(())
    }

    /// A link never replaces. What is asked is whether anything can be written here.
    fn probe_conditional_create(&self) -> Result<bool> {
        let probed = self.temporary().and_then(|probe| {
            File::create_new(&probe)?;
            fs::remove_file(&probe)
        });
        probed.map(|()| true).map_err(|e| Error::io("write", &self.display(), e))
    }

    fn requests(&self) -> Requests {
        self.counters.read()
    }

    fn can_tear(&self) -> bool {
        true
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize> {
        let dir = self.root.join(TEMPORARY);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(Error::io("list", TEMPORARY, e)),
        };
        let is_stale = |entry: &fs::DirEntry| {
            let age = entry.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
            matches!(age, Ok(Ok(age)) if age > older_than)
        };
        let stale = entries.flatten().filter(is_stale);
        Ok(stale.filter(|entry| fs::remove_file(entry.path()).is_ok()).count())
    }

    fn display(&self) -> String {
        self.root.display().to_string()
    }
}

fn write_file(path: &Path, data: Data) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    match data {
        Data::Memory(bytes) => file.write_all(&bytes),
        Data::File(mut from) => {
            from.rewind()?;
            io::copy(&mut from, &mut file).map(drop)
        }
    }
}

/// Gives a file its name unless something has it: by a link, or where the file system has none (FAT,
/// some network mounts) by a rename that refuses to replace.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match fs::hard_link(temporary, path) {
        Err(e)
            if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            Ok(renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?)
        }
        other => other,
    }
}

fn sync_all(paths: &[&Path]) -> io::Result<()> {
    paths.iter().try_for_each(|path| File::open(path)?.sync_all())
}

fn is_safe_key(key: &str) -> bool {
    key.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// The folder for half-written files. No key has a part that begins with a dot.
const TEMPORARY: &str = ".unfinished";

const SYNC_THREADS: usize = 8;
