//! Finds mailboxes, and reads each message once, whatever it is renamed to. It remembers 8 bytes (and what a table
//! wastes) for each message in the store, which looking through everything after lost events needs.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::fs::inotify::{WatchFlags, add_watch};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::noting::Noted;
use crate::deliver::{Judge, Seen, Sight, WatchError, What};

/// Why reading is over.
#[derive(Debug)]
pub(super) enum Over {
    /// Nobody wants to know.
    Unwanted,
    Failed(WatchError),
}

pub(super) struct Reading<'a> {
    root: PathBuf,
    inotify: &'a OwnedFd,
    judge: Judge,
    seen: mpsc::Sender<Seen>,
    /// By their watches.
    folders: HashMap<i32, Folder>,
    /// Messages that were seen, or there before.
    known: HashSet<u64>,
    hasher: RandomState,
    /// Of those, messages that were gone when they were to be read, and when they came. Most were moved to `cur`, and
    /// are told of once more.
    vanished: HashMap<u64, Instant>,
    buffer: Vec<u8>,
    pub(super) sight: Sight,
}

#[derive(Debug, Clone)]
struct Folder {
    path: PathBuf,
    /// How far below the root.
    depth: usize,
    /// Whose messages lie in it, if any do: a mailbox by device and inode, so that it may be renamed.
    mailbox: Option<(u64, u64)>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        root: PathBuf,
        inotify: &'a OwnedFd,
        judge: Judge,
        seen: mpsc::Sender<Seen>,
    ) -> Self {
        Self {
            root,
            inotify,
            judge,
            seen,
            folders: HashMap::new(),
            known: HashSet::new(),
            hasher: RandomState::new(),
            vanished: HashMap::new(),
            buffer: Vec::new(),
            sight: Sight::default(),
        }
    }

    /// Watches what is there, and takes note of its messages without a word.
    pub(super) fn start(&mut self) -> Result<(), Over> {
        self.look_through(None)
    }

    pub(super) fn take(&mut self, noted: Noted) -> Result<(), Over> {
        match noted {
            Noted::Came { watch, name, is_folder, at } => {
                let Some(folder) = self.folders.get(&watch) else { return Ok(()) };
                let (path, mailbox) = (folder.path.join(&name), folder.mailbox);
                if is_folder {
                    let found = folder.child(&name);
                    return found.map_or(Ok(()), |found| self.enter(found, Some(at)));
                }
                mailbox.map_or(Ok(()), |mailbox| self.message(mailbox, &name, &path, Some(at)))
            }
            Noted::Gone(watch) => {
                self.folders.remove(&watch);
                Ok(())
            }
            Noted::Lost(at) => {
                self.sight.overflows += 1;
                self.look_through(Some(at))
            }
        }
    }

    /// Nothing is noted any more.
    pub(super) fn finish(&mut self) -> Result<(), Over> {
        if !self.vanished.is_empty() {
            self.look_through(Some(Instant::now()))?;
        }
        for (_, at) in std::mem::take(&mut self.vanished) {
            self.tell(What::Unreadable(GONE.into()), at)?;
        }
        Ok(())
    }

    /// Looks at all that is there, as if it had come just now; without a time, as if it had not.
    fn look_through(&mut self, at: Option<Instant>) -> Result<(), Over> {
        let root = Folder { path: self.root.clone(), depth: 0, mailbox: None };
        self.enter(root, at)
    }

    /// Watches a folder and those in it, and looks at what had come before they were watched.
    fn enter(&mut self, folder: Folder, at: Option<Instant>) -> Result<(), Over> {
        let mut waiting = vec![folder];
        while let Some(mut folder) = waiting.pop() {
            let is_root = folder.depth == 0;
            let listing = match self.watch(&mut folder) {
                Ok(listing) => listing,
                // It came and went.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !is_root => continue,
                Err(e) => return Err(Over::Failed(self.trouble(&folder.path, e))),
            };
            for entry in listing {
                let entry = entry.map_err(|e| failed(&folder.path, e))?;
                let kind = match entry.file_type() {
                    Ok(kind) => kind,
                    Err(e) if e.kind() == ErrorKind::NotFound => continue,
                    Err(e) => return Err(failed(&folder.path, e)),
                };
                if kind.is_dir() {
                    waiting.extend(folder.child(&entry.file_name()));
                } else if let Some(mailbox) = folder.mailbox {
                    self.message(mailbox, &entry.file_name(), &entry.path(), at)?;
                }
            }
        }
        Ok(())
    }

    /// Watches a folder, and opens it then, so that nothing comes between.
    fn watch(&mut self, folder: &mut Folder) -> Result<fs::ReadDir, Errno> {
        let mut flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        if folder.depth > 0 {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        let errno = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        if let (Some(mailbox), Some(path)) = (&mut folder.mailbox, folder.path.parent()) {
            let found = fs::metadata(path).map_err(errno)?;
            *mailbox = (found.dev(), found.ino());
        }
        let watch = add_watch(self.inotify, &folder.path, flags)?;
        self.folders.insert(watch, folder.clone());
        fs::read_dir(&folder.path).map_err(errno)
    }

    fn message(
        &mut self,
        mailbox: (u64, u64),
        name: &OsStr,
        path: &Path,
        at: Option<Instant>,
    ) -> Result<(), Over> {
        let name = name.as_bytes();
        if name.starts_with(b".") {
            return Ok(());
        }
        // Flags follow a colon, and change.
        let base = name.split(|byte| *byte == b':').next().unwrap_or_default();
        let key = self.hasher.hash_one((mailbox, base));
        let vanished = self.vanished.remove(&key);
        if !self.known.insert(key) && vanished.is_none() {
            return Ok(());
        }
        let Some(at) = vanished.or(at) else { return Ok(()) };
        let what = match self.read(path) {
            Ok(()) => What::Message((self.judge)(&self.buffer)),
            Err(e) if e.kind() == ErrorKind::NotFound && self.vanished.len() < VANISHED_MAX => {
                self.vanished.insert(key, at);
                return Ok(());
            }
            Err(e) => What::Unreadable(format!("{}: {e}", path.display())),
        };
        self.tell(what, at)
    }

    /// Reads a file into the buffer.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        if self.buffer.capacity() > BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        // Whoever may write here may put a pipe or a link in place of a message.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("no file"));
        }
        file.take(MESSAGE_BYTES + 1).read_to_end(&mut self.buffer)?;
        if self.buffer.len() as u64 > MESSAGE_BYTES {
            return Err(io::Error::other("larger than 64 MiB"));
        }
        Ok(())
    }

    fn tell(&self, what: What, at: Instant) -> Result<(), Over> {
        self.seen.blocking_send(Seen { what, at }).map_err(|_| Over::Unwanted)
    }

    fn trouble(&self, path: &Path, error: Errno) -> WatchError {
        let path = path.display().to_string();
        match error {
            Errno::NOSPC => WatchError::Watches(path, self.folders.len()),
            e => WatchError::Place(path, e.into()),
        }
    }
}

impl Folder {
    /// A folder in this one, if it is to be watched. In `tmp` lies what is not delivered yet.
    fn child(&self, name: &OsStr) -> Option<Folder> {
        let depth = self.depth + 1;
        let is_of_messages = name == "new" || name == "cur";
        let is_near = depth <= MAILBOX_DEPTH || is_of_messages && depth <= MAILBOX_DEPTH + 1;
        // Which one the mailbox is will be looked up.
        let mailbox = is_of_messages.then_some((0, 0));
        let is_wanted = is_near && name != "tmp";
        is_wanted.then(|| Folder { path: self.path.join(name), depth, mailbox })
    }
}

fn failed(path: &Path, error: io::Error) -> Over {
    Over::Failed(WatchError::Place(path.display().to_string(), error))
}

/// The deepest folder that may be a mailbox, from the root.
const MAILBOX_DEPTH: usize = 4;
const MESSAGE_BYTES: u64 = 64 << 20;
/// What is kept from message to message.
const BUFFER_BYTES: usize = 1 << 20;
const VANISHED_MAX: usize = 100_000;
const GONE: &str = "gone before it could be read";
