//! Messages that wait for another server. Each is two files: the message as it goes over the wire, and
//! its envelope, which is written last and removed first. So whatever a kill leaves is a message that
//! waits, or a file that nobody needs: a message is never there in part, and never gone before somebody has it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::body::Body;
use super::keep::make_folder;
use super::relay::Attempt;

/// A message that waits, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its name in the queue.
    pub id: String,
    /// The reverse path; empty for the null path.
    pub from: String,
    /// Who is still to get it.
    pub to: Vec<String>,
    /// Whether its header may need SMTPUTF8.
    pub is_utf8: bool,
    /// When it came, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, in milliseconds since 1970.
    pub next_ms: u64,
    /// What became of the last attempt.
    pub reason: String,
}

impl Waiting {
    /// One that has just come.
    pub(super) fn new(id: &str, from: &str, to: Vec<String>, is_utf8: bool) -> Self {
        let (id, from, since_ms) = (id.to_owned(), from.to_owned(), now_ms());
        Self {
            id,
            from,
            to,
            is_utf8,
            since_ms,
            attempts: 0,
            next_ms: since_ms,
            reason: String::new(),
        }
    }
}

/// A queue in a folder of its own.
#[derive(Debug)]
pub struct Queue {
    dir: PathBuf,
    is_syncing: bool,
    /// Held as long as this is.
    _lock: File,
    waiting: Mutex<HashMap<String, Entry>>,
    /// Something came, or is due earlier than it was.
    pub(super) changed: Notify,
}

/// What is known of a message that nobody will get.
#[derive(Serialize)]
struct Grave<'a> {
    from: &'a str,
    since_ms: u64,
    failed: &'a [(String, String)],
}

#[derive(Debug)]
struct Entry {
    waiting: Waiting,
    is_claimed: bool,
}

impl Queue {
    /// Opens a queue that nobody else has open; what a kill left half done is removed, and everything that waited
    /// waits.
    pub fn open(dir: &Path, is_syncing: bool) -> io::Result<Self> {
        make_folder(dir, Path::new(""), is_syncing)?;
        let lock = lock(&dir.join(LOCK))?;
        let (mut messages, mut waiting) = (HashSet::new(), HashMap::new());
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(ENVELOPE_NEW) {
                fs::remove_file(dir.join(&name))?;
            } else if let Some(id) = name.strip_suffix(MESSAGE) {
                messages.insert(id.to_owned());
            } else if let Some(id) = name.strip_suffix(ENVELOPE) {
                let read = read_envelope(&dir.join(&name)).map_err(|e| {
                    let path = dir.join(&name);
                    let text = format!("reading `{}`: {e}; {MEND}", path.display());
                    io::Error::new(e.kind(), text)
                })?;
                waiting.insert(id.to_owned(), Entry { waiting: read, is_claimed: false });
            }
        }
        for id in messages.iter().filter(|id| !waiting.contains_key(*id)) {
            // Nobody was told that it is kept.
            fs::remove_file(dir.join(format!("{id}{MESSAGE}")))?;
        }
        if let Some(id) = waiting.keys().find(|id| !messages.contains(*id)) {
            let text = format!("message `{id}` in `{}` has lost its bytes; {MEND}", dir.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let (dir, waiting) = (dir.to_owned(), Mutex::new(waiting));
        Ok(Self { dir, is_syncing, _lock: lock, waiting, changed: Notify::new() })
    }

    /// Puts a message in; blocks. It is there, whatever happens next, when this returns.
    pub(super) fn put(&self, waiting: Waiting, head: &str, body: &Body) -> io::Result<()> {
        let id = waiting.id.clone();
        let path = self.dir.join(format!("{id}{MESSAGE}"));
        let mut file = private().write(true).create_new(true).open(&path)?;
        let written = file
            .write_all(head.as_bytes())
            .and_then(|()| body.copy(&mut file))
            .and_then(|()| if self.is_syncing { file.sync_all() } else { Ok(()) })
            .and_then(|()| self.write_envelope(&waiting));
        if let Err(e) = written {
            // Refused it will be, so it must not be found by the next start.
            for name in [ENVELOPE, ENVELOPE_NEW, MESSAGE] {
                let _ = fs::remove_file(self.dir.join(format!("{id}{name}")));
            }
            return Err(e);
        }
        self.lock().insert(id, Entry { waiting, is_claimed: false });
        self.changed.notify_one();
        Ok(())
    }

    /// The bytes of a message.
    pub(super) fn read(&self, id: &str) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(format!("{id}{MESSAGE}")))
    }

    /// A message that is due, for this caller alone; or when the next one will be. What would wait longer than the
    /// longest wait is due, too: the clock was set back since it was put off.
    pub(super) fn claim(&self, now_ms: u64, longest_ms: u64) -> Result<Waiting, Option<u64>> {
        let last_ms = now_ms.saturating_add(longest_ms);
        let due_ms = |next_ms: u64| if next_ms > last_ms { now_ms } else { next_ms };
        let mut waiting = self.lock();
        let free = waiting.values_mut().filter(|entry| !entry.is_claimed);
        let next = free.min_by_key(|entry| due_ms(entry.waiting.next_ms));
        let Some(next) = next else { return Err(None) };
        let next_ms = due_ms(next.waiting.next_ms);
        if next_ms > now_ms {
            return Err(Some(next_ms));
        }
        next.is_claimed = true;
        Ok(next.waiting.clone())
    }

    /// Gives a claimed message back as it is now; one that nobody is to get any more is removed. Blocks.
    pub(super) fn give_back(&self, waiting: Waiting) -> io::Result<()> {
        let id = waiting.id.clone();
        let written =
            if waiting.to.is_empty() { self.remove(&id) } else { self.write_envelope(&waiting) };
        let mut all = self.lock();
        if waiting.to.is_empty() && written.is_ok() {
            all.remove(&id);
        } else {
            // If it could not be written it is tried again from what is on disk: a copy too many at worst.
            all.insert(id, Entry { waiting, is_claimed: false });
        }
        drop(all);
        self.changed.notify_one();
        written
    }

    /// Keeps the message of an attempt, with what became of it, for people to look at. Blocks.
    pub(super) fn bury(&self, attempt: &Attempt) -> io::Result<()> {
        let dead = self.dir.join(DEAD);
        let Attempt { id, failed, waiting, .. } = attempt;
        let name = format!("{id}-{}", waiting.attempts);
        let grave = Grave { from: &waiting.from, since_ms: waiting.since_ms, failed };
        make_folder(&dead, &self.dir, self.is_syncing)?;
        let (message, why) =
            (dead.join(format!("{name}{MESSAGE}")), dead.join(format!("{name}.json")));
        let buried = fs::copy(self.dir.join(format!("{id}{MESSAGE}")), &message)
            .and_then(|_| self.write(&why, &serde_json::to_vec_pretty(&grave)?))
            .and_then(|()| {
                if self.is_syncing {
                    File::open(&message)?.sync_all()?;
                    File::open(&dead)?.sync_all()?;
                }
                self.sync()
            });
        if buried.is_err() {
            // It is tried again, and buried under another name.
            let _ = fs::remove_file(message);
            let _ = fs::remove_file(why);
        }
        buried
    }

    /// Everything that waits, the oldest first.
    pub fn list(&self) -> Vec<Waiting> {
        let mut list: Vec<Waiting> = self.lock().values().map(|e| e.waiting.clone()).collect();
        list.sort_by(|a, b| (a.since_ms, &a.id).cmp(&(b.since_ms, &b.id)));
        list
    }

    /// Makes everything due now.
    pub fn flush(&self) {
        self.lock().values_mut().for_each(|entry| entry.waiting.next_ms = 0);
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_envelope(&self, waiting: &Waiting) -> io::Result<()> {
        let path = self.dir.join(format!("{}{ENVELOPE}", waiting.id));
        let new = self.dir.join(format!("{}{ENVELOPE_NEW}", waiting.id));
        self.write(&new, &serde_json::to_vec(waiting)?)?;
        fs::rename(&new, &path)?;
        self.sync()
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        remove_if_there(&self.dir.join(format!("{id}{ENVELOPE}")))?;
        self.sync()?;
        remove_if_there(&self.dir.join(format!("{id}{MESSAGE}")))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = private().write(true).create(true).truncate(true).open(path)?;
        file.write_all(bytes)?;
        if self.is_syncing { file.sync_all() } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_syncing { File::open(&self.dir)?.sync_all() } else { Ok(()) }
    }
}

/// Two servers would each take what the other is writing for what a kill left.
fn lock(path: &Path) -> io::Result<File> {
    let lock = private().write(true).create(true).truncate(false).open(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let text = "another server has it open; stop that one, or name another --queue";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Mail is nobody's but its owner's.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn read_envelope(path: &Path) -> io::Result<Waiting> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

const MESSAGE: &str = ".message";
const ENVELOPE: &str = ".envelope.json";
const ENVELOPE_NEW: &str = ".envelope.json.new";
const LOCK: &str = "lock";
const MEND: &str = "move its two files elsewhere, and see what can be saved of them";
const DEAD: &str = "dead";

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: &str, next_ms: u64) -> Waiting {
        let to = vec!["a@x.test".into(), "b@x.test".into()];
        Waiting { next_ms, ..Waiting::new(id, "s@c.test", to, false) }
    }

    fn put(queue: &Queue, id: &str, next_ms: u64) {
        let body = Body::whole(Vec::new());
        queue.put(waiting(id, next_ms), "Subject: x\r\n\r\n", &body).unwrap();
    }

    #[test]
    fn what_was_put_in_is_there_after_a_kill_until_somebody_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(dir.path(), true).unwrap();
        put(&queue, "1", 5);
        put(&queue, "2", 3);
        assert_eq!(queue.claim(2, 100).unwrap_err(), Some(3));
        assert_eq!(queue.claim(9, 100).unwrap().id, "2");
        // Claimed, and never given back.
        drop(queue);
        let queue = Queue::open(dir.path(), true).unwrap();
        let ids: Vec<String> = queue.list().into_iter().map(|w| w.id).collect();
        assert_eq!(ids, ["1", "2"]);
        let mut two = queue.claim(9, 100).unwrap();
        assert_eq!(two.to.remove(0), "a@x.test");
        queue.give_back(two.clone()).unwrap();
        drop(queue);
        let queue = Queue::open(dir.path(), true).unwrap();
        assert_eq!(queue.list()[1].to, ["b@x.test"]);
        let mut two = queue.claim(9, 100).unwrap();
        two.to.clear();
        queue.give_back(two).unwrap();
        assert_eq!(queue.list().len(), 1);
        assert_eq!(queue.claim(9, 100).unwrap().id, "1");
        assert_eq!(queue.claim(9, 100), Err(None));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(queue.read("1").unwrap(), b"Subject: x\r\n\r\n");
    }

    #[test]
    fn what_a_kill_left_half_done_is_removed_and_what_is_damaged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        put(&Queue::open(dir.path(), true).unwrap(), "1", 5);
        fs::write(dir.path().join("2.message"), "no envelope").unwrap();
        fs::write(dir.path().join("1.envelope.json.new"), "{").unwrap();
        fs::write(dir.path().join("letter.new"), "whose is this?").unwrap();
        assert_eq!(Queue::open(dir.path(), true).unwrap().list().len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        fs::rename(dir.path().join("1.message"), dir.path().join("away")).unwrap();
        let error = Queue::open(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("message `1` in") && error.contains("lost its bytes"), "{error}");
        fs::write(dir.path().join("1.envelope.json"), "{").unwrap();
        let error = Queue::open(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("1.envelope.json`: "), "{error}");
    }

    #[test]
    fn nobody_opens_a_queue_that_another_has() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(&dir.path().join("a/b"), true).unwrap();
        let error = Queue::open(&dir.path().join("a/b"), true).unwrap_err().to_string();
        assert!(error.contains("another server has it open"), "{error}");
        drop(queue);
        Queue::open(&dir.path().join("a/b"), true).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(dir.path(), true).unwrap();
        put(&queue, "1", 1_000_100);
        assert_eq!(queue.claim(1_000_000, 100).unwrap_err(), Some(1_000_100));
        put(&queue, "2", 2_000_000);
        assert_eq!(queue.claim(1_000_000, 100).unwrap().id, "2");
        assert_eq!(queue.claim(900_000, 100).unwrap().id, "1");
    }

    #[test]
    fn what_was_removed_in_part_is_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(dir.path(), true).unwrap();
        put(&queue, "1", 0);
        let mut one = queue.claim(9, 100).unwrap();
        one.to.clear();
        fs::remove_file(dir.path().join("1.envelope.json")).unwrap();
        queue.give_back(one).unwrap();
        assert!(queue.list().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
