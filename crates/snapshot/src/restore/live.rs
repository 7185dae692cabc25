//! Writes into a live mailbox: everything is first a file in a folder of `tmp`, whole and durable,
//! and is then moved to its name without replacing anything. Lists of UIDs change under the
//! server's lock, together with the messages that they list.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use maildir::{Dotlock, FolderPrint, Keywords, Listing, base_name, move_new};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::beside::Layout;
use super::files::{Owners, has, open_beneath, remove_all};
use super::inplace::{How, LiveFolder, Reflag, keywords};
use super::names::Translation;
use super::options::LOCK_WAIT;
use super::outside::{self, Places};
use super::plan::{Kind, MailboxPlan, Target};
use super::survey::{self, KEYWORDS, read_file};
use crate::dotlock;
use crate::progress::Progress;

/// A mailbox that is there.
pub(crate) struct Live {
    pub(crate) path: PathBuf,
    pub(crate) root: OwnedFd,
    pub(super) stage: Option<Stage>,
    pub(crate) folders: BTreeMap<PathBuf, Mutex<LiveFolder>>,
    pub(crate) reflags: Vec<Reflag>,
    /// Names to subscribe to, of folders that are new to the user, and their layout.
    pub(crate) subscribe: Option<(Vec<Vec<u8>>, Layout)>,
    /// Where the server keeps what does not lie in the mailbox.
    pub(crate) places: Places,
    pub(crate) lock_wait: Duration,
    /// Written, and put into place when all is there.
    pub(super) waiting: Mutex<Vec<Staged>>,
    /// Messages that came to be there while others were written.
    pub(super) met: AtomicU64,
    /// Messages that have their names, and their bytes.
    pub(super) placed: Mutex<(u64, u64)>,
}

/// A folder in `tmp` that nobody else looks into.
pub(super) struct Stage {
    tmp: OwnedFd,
    pub(super) dir: OwnedFd,
    pub(super) next: AtomicU64,
}

/// A file in the stage.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub(crate) name: OsString,
    pub(crate) target: Target,
}

impl Live {
    /// Opens the mailbox `path` below `store`; `None` if there is none.
    pub(crate) fn open(store: &Path, path: &Path) -> io::Result<Option<Self>> {
        let base = std::fs::File::open(store)?;
        let root = match open_beneath(&base, path) {
            Ok(root) => root,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(Some(Self {
            // Paths are opened without following links, and the store's own are the administrator's.
            path: store.canonicalize()?.join(path),
            root,
            stage: None,
            folders: BTreeMap::new(),
            reflags: Vec::new(),
            subscribe: None,
            places: Places::default(),
            lock_wait: LOCK_WAIT,
            waiting: Mutex::default(),
            met: AtomicU64::new(0),
            placed: Mutex::default(),
        }))
    }

    /// Makes the mailbox ready to be written to, with the directories that hold no messages.
    pub(crate) fn begin(&mut self, plan: &MailboxPlan, owners: &Owners) -> io::Result<()> {
        survey::lock(&self.root)?;
        let owner = plan.dirs.first().map(|dir| &dir.owner);
        let tmp = owners.make_dirs(&self.root, Path::new("tmp"), owner)?;
        // What a restore that was killed left there.
        match remove_all(&tmp, OsStr::new(STAGE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        rustix::fs::mkdirat(&tmp, STAGE, Mode::RWXU)?;
        let dir = open_beneath(&tmp, Path::new(STAGE))?;
        self.stage = Some(Stage { tmp, dir, next: AtomicU64::new(0) });
        for dir in &plan.dirs {
            if self.how(&dir.path).is_some_and(|how| how != How::New) {
                // A folder that is there; it may lack one of the three.
                for subdir in ["cur", "new", "tmp"] {
                    owners.make_dirs(&self.root, &dir.path.join(subdir), Some(&dir.owner))?;
                }
            } else if !self.is_new(&dir.path) && open_beneath(&self.root, &dir.path).is_err() {
                owners.make_dirs(&self.root, &dir.path, Some(&dir.owner))?;
                owners.finish_dirs(&self.root, std::iter::once(dir))?;
            }
        }
        Ok(())
    }

    pub(super) fn how(&self, folder: &Path) -> Option<How> {
        self.folders.get(folder).map(|folder| folder.lock().expect("no holder panics").how)
    }

    /// Whether `path` is, or lies in, a folder that comes into being as a whole.
    fn is_new(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.how(above) == Some(How::New))
    }

    pub(super) fn stage(&self) -> io::Result<&Stage> {
        self.stage.as_ref().ok_or_else(|| io::Error::other("nothing was begun"))
    }

    /// Where the next file is written.
    pub(crate) fn place(&self) -> io::Result<(OwnedFd, OsString)> {
        Ok((self.stage()?.dir.try_clone()?, self.name()?))
    }

    /// The next name there.
    pub(crate) fn name(&self) -> io::Result<OsString> {
        Ok(self.stage()?.next.fetch_add(1, Ordering::Relaxed).to_string().into())
    }

    pub(crate) fn discard(&self, name: &OsStr) {
        if let Some(stage) = &self.stage {
            let _ = rustix::fs::unlinkat(&stage.dir, name, AtFlags::empty());
        }
    }

    /// Puts what a pack brought into place, as far as it need not wait; gives those messages that
    /// were not put there, and why.
    pub(crate) fn settle_pack(&self, files: Vec<Staged>) -> io::Result<Vec<(Staged, io::Error)>> {
        let mut now: BTreeMap<PathBuf, Vec<Staged>> = BTreeMap::new();
        for file in files {
            let folder = file.target.folder();
            if file.target.kind == Kind::Message && self.how(folder) == Some(How::Add) {
                now.entry(folder.to_owned()).or_default().push(file);
            } else {
                self.waiting.lock().expect("no holder panics").push(file);
            }
        }
        let mut failed = Vec::new();
        if now.is_empty() {
            return Ok(failed);
        }
        // One sync for all of them, before any can be seen: an fsync each would take hours.
        rustix::fs::syncfs(&self.stage()?.dir)?;
        for (folder, files) in now {
            let Some(known) = self.folders.get(&folder) else { continue };
            let mut known = known.lock().expect("no holder panics");
            let path = self.path.join(&folder);
            let print = |e: maildir::Error| e.source;
            if FolderPrint::read(&path).map_err(print)? != known.listing.print {
                known.listing = survey::list(&path)?;
            }
            failed.extend(self.move_messages(&folder, files, Some(&known.listing)));
            known.listing.print = FolderPrint::read(&path).map_err(print)?;
        }
        Ok(failed)
    }

    /// Moves messages into a folder, except those whose base names `there` has.
    pub(super) fn move_messages(
        &self,
        folder: &Path,
        files: Vec<Staged>,
        there: Option<&Listing>,
    ) -> Vec<(Staged, io::Error)> {
        let mut failed = Vec::new();
        let mut dirs: BTreeMap<PathBuf, OwnedFd> = BTreeMap::new();
        for file in files {
            let base = base_name(file.target.name.as_bytes());
            let is_there = there.is_some_and(|listing| !listing.find(base).is_empty());
            let done = if is_there {
                Err(io::ErrorKind::AlreadyExists.into())
            } else {
                self.move_file(&file, &folder.join(file.target.subdir().name()), &mut dirs)
            };
            match done {
                Ok(()) => self.add_placed(1, file.target.size),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    self.discard(&file.name);
                    self.met.fetch_add(1, Ordering::Relaxed);
                    failed.push((file, e));
                }
                Err(e) => failed.push((file, e)),
            }
        }
        failed
    }

    pub(super) fn add_placed(&self, messages: u64, bytes: u64) {
        let mut placed = self.placed.lock().expect("no holder panics");
        placed.0 += messages;
        placed.1 += bytes;
    }

    /// Messages that were placed or came to be there.
    pub(super) fn settled(&self) -> u64 {
        self.placed.lock().expect("no holder panics").0 + self.met.load(Ordering::Relaxed)
    }

    pub(super) fn move_file(
        &self,
        file: &Staged,
        dir: &Path,
        dirs: &mut BTreeMap<PathBuf, OwnedFd>,
    ) -> io::Result<()> {
        let to = match dirs.get(dir) {
            Some(to) => to,
            None => dirs.entry(dir.to_owned()).or_insert(open_beneath(&self.root, dir)?),
        };
        move_new(&self.stage()?.dir, &file.name, to, &file.target.name)
    }

    /// Removes what a server keeps in a directory under names that begin so, and makes anew.
    pub(crate) fn remove_stale(&self, folder: &Path, prefix: &str) -> io::Result<()> {
        remove_stale_in(&open_beneath(&self.root, folder)?, prefix)
    }

    /// Removes sums and lists that are no longer true: servers make them anew. Tells whether there
    /// was a sum.
    pub(crate) fn remove_stale_sums(&self, messages: u64, plan: &MailboxPlan) -> io::Result<bool> {
        let had_sum = messages > 0 && has(&self.root, OsStr::new("maildirsize"))?;
        if had_sum {
            self.remove_stale(Path::new(""), "maildirsize")?;
        }
        if plan.maildirs.iter().any(|folder| self.how(folder) == Some(How::New)) {
            self.remove_stale(Path::new(""), "dovecot.list.index")?;
            if let Some(index) = self.places.index_root() {
                remove_stale_at(index, "dovecot.list.index")?;
            }
        }
        Ok(had_sum)
    }

    /// Takes the server's lock of a file. A wait for it is told, and ends with the run, as
    /// [`io::ErrorKind::Interrupted`].
    pub(super) fn lock(&self, file: &Path, progress: &Progress) -> io::Result<Dotlock> {
        let lock = dotlock::acquire(file, self.lock_wait, progress);
        lock.map_err(|e| io::Error::new(e.source.kind(), e.to_string()))
    }

    /// Translates letters with the folder's keywords, and adds to its file what it lacks; without
    /// `progress` nothing is written.
    pub(crate) fn with_keywords(
        &self,
        folder: &Path,
        from: Keywords,
        progress: Option<&Progress>,
        take: &mut dyn FnMut(&mut Translation),
    ) -> io::Result<()> {
        let dir = self.places.open_control(&self.root, folder)?;
        let name = OsStr::from_bytes(KEYWORDS);
        let path = self.places.control(folder).unwrap_or_else(|| self.path.join(folder)).join(name);
        let lock = progress.map(|progress| self.lock(&path, progress)).transpose()?;
        let before = keywords(read_file(&dir, KEYWORDS)?);
        let mut translation = Translation { from, to: before.clone(), dropped: 0 };
        take(&mut translation);
        if translation.to != before && lock.is_some() {
            replace(&dir, &dir, name, &translation.to.encode())?;
        }
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(stage) = &self.stage {
            let _ = remove_all(&stage.tmp, OsStr::new(STAGE));
        }
    }
}

/// As [`Live::remove_stale`], in a folder that lies elsewhere, if there is one.
pub(super) fn remove_stale_at(path: &Path, prefix: &str) -> io::Result<()> {
    match outside::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        dir => remove_stale_in(&dir?, prefix),
    }
}

fn remove_stale_in(dir: &OwnedFd, prefix: &str) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name().to_bytes().starts_with(prefix.as_bytes()) {
            match rustix::fs::unlinkat(dir, entry.file_name(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Replaces a file, by way of one beside it.
pub(super) fn replace(
    stage: impl AsFd,
    dir: impl AsFd,
    name: &OsStr,
    bytes: &[u8],
) -> io::Result<()> {
    let (stage, dir) = (stage.as_fd(), dir.as_fd());
    let temporary = format!(".temp.mailrig.{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let _ = rustix::fs::unlinkat(stage, temporary.as_str(), AtFlags::empty());
    let mut file = std::fs::File::from(rustix::fs::openat(stage, temporary.as_str(), flags, mode)?);
    file.write_all(bytes)?;
    let like = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let like = like.or_else(|_| {
        rustix::fs::fstat(dir).map(|mut stat| {
            stat.st_mode &= 0o666;
            stat
        })
    })?;
    let (uid, gid) =
        (rustix::fs::Uid::from_raw(like.st_uid), rustix::fs::Gid::from_raw(like.st_gid));
    match rustix::fs::fchown(&file, Some(uid), Some(gid)) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(like.st_mode & 0o777))?;
    file.sync_all()?;
    Ok(rustix::fs::renameat(stage, temporary.as_str(), dir, name)?)
}

/// The folder in `tmp`.
pub(super) const STAGE: &str = "mailrig-restore";
