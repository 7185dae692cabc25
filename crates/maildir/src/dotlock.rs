//! Dovecot's dotlock: `FILE.lock` beside the file, made with O_EXCL, holding `pid:host`. A holder
//! that is dead, or silent for two minutes, is overridden, as Dovecot does with ours. It binds
//! Dovecot only: delivery into `new` takes no lock, and other programs know nothing of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW};
use rustix::process::Pid;

use crate::nofollow::Dir;
use crate::{Error, Result};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Dotlock {
    place: Place,
    file: File,
    dev: u64,
    ino: u64,
}

impl Dotlock {
    /// Locks `file`, which need not exist: only its folder must. Waits for another holder until
    /// `timeout` has passed; see [`Error::is_timeout`].
    pub fn acquire(file: &Path, timeout: Duration) -> Result<Self> {
        Self::acquire_while(file, timeout, &mut |_| true)
    }

    /// As [`Dotlock::acquire`]. Before each pause `go_on` is told who holds the lock, as far as that is
    /// known; when it says no, that ends the wait: see [`Error::is_interrupted`].
    pub fn acquire_while(
        file: &Path,
        timeout: Duration,
        go_on: &mut dyn FnMut(Option<&str>) -> bool,
    ) -> Result<Self> {
        let place = Place::of(file)?;
        let deadline = Instant::now() + timeout;
        let mut holder: Option<Seen> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let is_late = Instant::now() >= deadline;
            if let Some(lock) = Self::create(&place)? {
                return Ok(lock);
            }
            holder = match (holder, Seen::read(&place)?) {
                (Some(known), Some(seen)) if known.is_same(&seen) => Some(known),
                (_, seen) => seen,
            };
            match &holder {
                Some(stale) if stale.is_stale() => stale.remove(&place)?,
                _ if is_late => {
                    let by = match &holder {
                        Some(holder) => holder.text(),
                        None => Some("others in turn".into()),
                    };
                    let by = by.unwrap_or_else(|| "somebody who does not say".into());
                    let source = io::Error::new(io::ErrorKind::TimedOut, format!("held by {by}"));
                    return Err(Error::new("lock", &place.path, source));
                }
                _ if !go_on(holder.as_ref().and_then(Seen::text).as_deref()) => {
                    let source = io::Error::from(io::ErrorKind::Interrupted);
                    return Err(Error::new("lock", &place.path, source));
                }
                _ => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Tells that the holder is alive: for work that takes longer than some seconds. Fails when
    /// another process has taken the lock away.
    pub fn touch(&self) -> Result<()> {
        let failed = |e: io::Error| Error::new("touch", &self.place.path, e);
        if !self.is_ours().map_err(failed)? {
            return Err(failed(io::Error::other("the lock was overridden")));
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        rustix::fs::futimens(&self.file, &times).map_err(|e| failed(e.into()))
    }

    /// Makes the lock file, unless there is one.
    fn create(place: &Place) -> Result<Option<Self>> {
        let failed = |e: io::Error| Error::new("lock", &place.path, e);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        // Dovecot runs as another user and must be able to read whose lock it is.
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = match place.open(flags, mode) {
            Ok(file) => file,
            Err(rustix::io::Errno::EXIST) => return Ok(None),
            Err(e) => return Err(failed(e.into())),
        };
        let stat = file.metadata().map_err(failed)?;
        let (dev, ino) = (stat.dev(), stat.ino());
        let mut lock = Self { place: place.clone(), file, dev, ino };
        // From here on the guard removes what cannot be finished.
        let pid = rustix::process::getpid().as_raw_pid();
        let text = [format!("{pid}:").as_bytes(), &host()].concat();
        lock.file.write_all(&text).map_err(failed)?;
        Ok(Some(lock))
    }

    fn is_ours(&self) -> io::Result<bool> {
        match self.place.stat() {
            Ok(stat) => Ok((stat.st_dev, stat.st_ino) == (self.dev, self.ino)),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Dotlock {
    fn drop(&mut self) {
        // A lock that stays behind is stale as soon as this process ends.
        if self.is_ours().unwrap_or(false) {
            let _ = self.place.remove();
        }
    }
}

/// Where a lock lies: a name in an open folder, which stays the one that it was when the wait began.
#[derive(Debug, Clone)]
struct Place {
    dir: Arc<Dir>,
    name: OsString,
    path: PathBuf,
}

impl Place {
    fn of(file: &Path) -> Result<Self> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let dir = Arc::new(Dir::open(file.parent().unwrap_or(file))?);
        Ok(Self { dir, path: file.with_file_name(&name), name })
    }

    fn open(&self, flags: OFlags, mode: Mode) -> rustix::io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&*self.dir, &*self.name, flags, mode).map(File::from)
    }

    fn stat(&self) -> rustix::io::Result<Stat> {
        self.dir.stat(&self.name)
    }

    fn remove(&self) -> rustix::io::Result<()> {
        rustix::fs::unlinkat(&*self.dir, &*self.name, AtFlags::empty())
    }
}

/// Another one's lock, and since when it has looked like this.
struct Seen {
    since: Instant,
    stat: Stat,
    content: Vec<u8>,
}

impl Seen {
    /// `None` if there is no lock any more.
    fn read(place: &Place) -> Result<Option<Self>> {
        let stat = match place.stat() {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::new("lock", &place.path, e)),
        };
        // Whoever may not read it goes by its age, and so does one that is half-written.
        let mut content = Vec::new();
        if let Ok(file) = place.open(OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
            let _ = file.take(CONTENT_BYTES).read_to_end(&mut content);
        }
        Ok(Some(Self { since: Instant::now(), stat, content }))
    }

    fn is_same(&self, other: &Self) -> bool {
        identity(&self.stat) == identity(&other.stat) && self.content == other.content
    }

    fn is_stale(&self) -> bool {
        match self.local_pid() {
            // Dovecot never overrides a process that lives, however long it takes.
            Some(pid) => rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH),
            None => self.since.elapsed() >= STALE || self.age() >= STALE,
        }
    }

    /// Its process, if that is one of this host.
    fn local_pid(&self) -> Option<Pid> {
        let at = memchr::memchr(b':', &self.content)?;
        let pid = std::str::from_utf8(&self.content[..at]).ok()?.parse().ok()?;
        (self.content[at + 1..] == host()).then(|| Pid::from_raw(pid)).flatten()
    }

    /// By this host's clock; a time to come says nothing.
    fn age(&self) -> Duration {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let changed = self.stat.st_mtime.max(self.stat.st_ctime);
        let changed = Duration::from_secs(u64::try_from(changed).unwrap_or(0));
        now.unwrap_or_default().saturating_sub(changed)
    }

    /// Removes it if it is still the one that was looked at.
    fn remove(&self, place: &Place) -> Result<()> {
        if place.stat().is_ok_and(|stat| identity(&stat) == identity(&self.stat)) {
            match place.remove() {
                Err(e) if e != rustix::io::Errno::NOENT => {
                    return Err(Error::new("remove stale lock", &place.path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What it says of its holder, if it says anything.
    fn text(&self) -> Option<String> {
        let content = String::from_utf8_lossy(&self.content);
        let text: String = content.chars().filter(|c| !c.is_control()).take(100).collect();
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

/// What changes when the holder touches its lock, or another one takes its place.
fn identity(stat: &Stat) -> (u64, u64, i64, u64, i64, u64) {
    (stat.st_dev, stat.st_ino, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

/// The host's name, escaped as Dovecot does, which uses it in Maildir names as well.
fn host() -> Vec<u8> {
    let uname = rustix::system::uname();
    let mut host = Vec::new();
    for byte in uname.nodename().to_bytes() {
        match byte {
            b'/' => host.extend_from_slice(b"\\057"),
            b':' => host.extend_from_slice(b"\\072"),
            byte => host.push(*byte),
        }
    }
    host
}

/// A lock of another host, or without a pid, that has not changed for so long is overridden.
const STALE: Duration = Duration::from_secs(120);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const CONTENT_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const NOW: Duration = Duration::ZERO;

    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dovecot-uidlist");
        let lock = folder.path().join("dovecot-uidlist.lock");
        (folder, file, lock)
    }

    /// A process of this host that has ended.
    fn dead_pid() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    fn set_age(path: &Path, age: Duration) {
        let time = std::time::SystemTime::now() - age;
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn it_holds_pid_and_host_and_excludes_until_it_is_dropped() {
        let (_folder, file, path) = folder();
        let lock = Dotlock::acquire(&file, NOW).unwrap();
        let host = String::from_utf8(host()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}:{host}", std::process::id()));
        let error = Dotlock::acquire(&file, Duration::from_millis(20)).unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains(&host), "{error}");
        lock.touch().unwrap();
        drop(lock);
        assert!(!path.exists());
        Dotlock::acquire(&file, NOW).unwrap();
    }

    #[test]
    fn one_that_waits_gets_it_when_it_is_released() {
        let (_folder, file, _path) = folder();
        let first = Dotlock::acquire(&file, NOW).unwrap();
        let second = std::thread::spawn({
            let file = file.clone();
            move || Dotlock::acquire(&file, Duration::from_secs(60)).map(drop)
        });
        drop(first);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_of_a_dead_process_is_overridden_at_once() {
        let (_folder, file, path) = folder();
        let host = String::from_utf8(host()).unwrap();
        fs::write(&path, format!("{}:{host}", dead_pid())).unwrap();
        Dotlock::acquire(&file, NOW).unwrap();
    }

    #[test]
    fn a_living_holder_and_a_fresh_foreign_one_are_not_overridden() {
        let (_folder, file, path) = folder();
        let host = String::from_utf8(host()).unwrap();
        for holder in [format!("{}:{host}", std::process::id()), "1:elsewhere".into(), "".into()] {
            fs::write(&path, &holder).unwrap();
            assert!(Dotlock::acquire(&file, NOW).unwrap_err().is_timeout(), "{holder}");
        }
        // However old: its process lives.
        fs::write(&path, format!("{}:{host}", std::process::id())).unwrap();
        set_age(&path, 10 * STALE);
        assert!(Dotlock::acquire(&file, NOW).unwrap_err().is_timeout());
    }

    /// The change time cannot be set back, so what the wait watches is what a test can show.
    #[test]
    fn a_holder_that_touches_its_lock_is_not_the_one_seen_before() {
        let (_folder, file, path) = folder();
        let place = Place::of(&file).unwrap();
        fs::write(&path, "1:elsewhere").unwrap();
        let first = Seen::read(&place).unwrap().unwrap();
        assert!(first.is_same(&Seen::read(&place).unwrap().unwrap()) && !first.is_stale());
        let silent = Seen { since: Instant::now().checked_sub(STALE).unwrap(), ..first };
        assert!(silent.is_stale());
        set_age(&path, Duration::from_secs(1));
        let touched = Seen::read(&place).unwrap().unwrap();
        assert!(!silent.is_same(&touched));
        silent.remove(&place).unwrap();
        assert!(path.exists(), "not the one that was stale");
    }

    #[test]
    fn a_wait_names_the_holder_where_it_is_known_and_ends_when_told_to() {
        let (_folder, file, path) = folder();
        for (content, known) in [("1:elsewhere", Some("1:elsewhere")), ("", None), ("\n", None)] {
            fs::write(&path, content).unwrap();
            let mut heard = Vec::new();
            let mut go_on = |holder: Option<&str>| {
                heard.push(holder.map(str::to_owned));
                heard.len() < 3
            };
            let error = Dotlock::acquire_while(&file, STALE, &mut go_on).unwrap_err();
            assert!(error.is_interrupted(), "{error}");
            assert_eq!(heard, vec![known.map(str::to_owned); 3]);
            let error = Dotlock::acquire(&file, NOW).unwrap_err().to_string();
            let by = known.unwrap_or("somebody who does not say");
            assert!(error.ends_with(&format!("held by {by}")), "{error}");
        }
    }

    #[test]
    fn only_an_own_lock_is_removed() {
        let (_folder, file, path) = folder();
        let lock = Dotlock::acquire(&file, NOW).unwrap();
        let stolen = path.with_file_name("x");
        fs::write(&stolen, "1:elsewhere").unwrap();
        fs::rename(&stolen, &path).unwrap();
        assert!(lock.touch().is_err());
        drop(lock);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1:elsewhere");
    }

    /// Its owner may do so while root holds the lock.
    #[test]
    fn a_lock_elsewhere_that_a_link_leads_to_is_neither_made_nor_removed() {
        let (folder, _, _) = folder();
        let base = folder.path().canonicalize().unwrap();
        let (theirs, other) = (base.join("theirs"), base.join("other"));
        fs::create_dir(&theirs).unwrap();
        fs::create_dir(&other).unwrap();
        let lock = Dotlock::acquire(&theirs.join("dovecot-uidlist"), NOW).unwrap();
        fs::rename(&theirs, base.join("away")).unwrap();
        std::os::unix::fs::symlink(&other, &theirs).unwrap();
        fs::hard_link(base.join("away/dovecot-uidlist.lock"), other.join("dovecot-uidlist.lock"))
            .unwrap();
        drop(lock);
        assert!(other.join("dovecot-uidlist.lock").exists());
        assert!(!base.join("away/dovecot-uidlist.lock").exists());
        fs::remove_file(other.join("dovecot-uidlist.lock")).unwrap();
        let error = Dotlock::acquire(&theirs.join("dovecot-uidlist"), NOW).unwrap_err();
        assert!(error.to_string().contains("links are not followed"), "{error}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_as_such() {
        let (folder, _, _) = folder();
        let error = Dotlock::acquire(&folder.path().join("no/dovecot-uidlist"), NOW).unwrap_err();
        assert!(error.is_vanished(), "{error}");
    }
}
