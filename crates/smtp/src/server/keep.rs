//! Delivery into Maildirs. A message is written and synced in `tmp`, and moved into `new` when it is there for
//! all of its recipients: so a failure is nearly always one before anything can be seen.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::body::Body;
use crate::address::Address;

/// Mailboxes that mail is delivered to.
#[derive(Debug, Clone)]
pub struct Store {
    /// The folder that they are below.
    pub root: PathBuf,
    /// Where a mailbox lies in it: `%d/%n`, say.
    pub layout: maildir::Pattern,
    /// Whether mailboxes are made for whoever gets mail.
    pub is_creating: bool,
    /// Whether a message is on disk before it is accepted.
    pub is_syncing: bool,
    /// This host, for names of messages.
    pub host: String,
}

/// Why a recipient gets no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMailbox {
    /// There is none, and none is made.
    Unknown,
    /// Its name would lead elsewhere.
    Name,
    /// Whether there is one cannot be told.
    Unsure,
}

impl Store {
    /// Where a recipient's mailbox is, or would be.
    pub(super) fn mailbox(&self, to: &Address) -> Result<PathBuf, NoMailbox> {
        let (local, domain) = (to.local_part(), to.domain());
        // Where the local part ends the layout tells by the first `@`.
        if !is_plain(&local) || local.contains('@') || !(domain.is_empty() || is_plain(domain)) {
            return Err(NoMailbox::Name);
        }
        let user = if domain.is_empty() { local } else { format!("{local}@{domain}") };
        let path = self.layout.expand(user.as_bytes(), Path::new(""));
        // A layout may take two dots out of the middle of a name.
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(NoMailbox::Name);
        }
        Ok(self.root.join(path.strip_prefix("/").unwrap_or(&path)))
    }

    /// Writes a message into `tmp`; blocks. `head` goes before the body.
    pub(super) fn write(&self, mailbox: &Path, head: &str, body: &Body) -> io::Result<Written> {
        if self.is_creating {
            self.make(mailbox)?;
        }
        let base = unique(&self.host);
        let tmp = mailbox.join("tmp").join(&base);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&tmp)?;
        let mut message = Written { mailbox: mailbox.to_owned(), tmp, base, is_shown: false };
        let mut out = Counting { out: BufWriter::new(file), lines: 0, bytes: 0, was_cr: false };
        out.write_all(head.as_bytes())?;
        body.copy(&mut out)?;
        let (lines, bytes) = (out.lines, out.bytes);
        let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        if self.is_syncing {
            file.sync_all()?;
        }
        message.base = format!("{},S={bytes},W={}", message.base, bytes + lines);
        Ok(message)
    }

    /// Makes what is missing of a mailbox.
    fn make(&self, mailbox: &Path) -> io::Result<()> {
        // A folder that is there may be one that another delivery is still syncing.
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = ["tmp", "new", "cur"].map(|subdir| mailbox.join(subdir));
        folders.iter().try_for_each(|folder| make_folder(folder, &self.root, self.is_syncing))
    }
}

/// Held while folders are made.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes a folder and, below `root`, what is missing above it. A folder that is not on disk takes what is in it along.
/// Mail is nobody's but its owner's.
pub(super) fn make_folder(path: &Path, root: &Path, is_syncing: bool) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let create = || fs::DirBuilder::new().mode(0o700).create(path);
    let mut made = create();
    if let (Err(e), Some(above)) = (&made, above)
        && e.kind() == io::ErrorKind::NotFound
        && path != root
        && path.starts_with(root)
    {
        make_folder(above, root, is_syncing)?;
        made = create();
    }
    match made {
        Ok(()) if is_syncing => File::open(above.unwrap_or(Path::new(".")))?.sync_all(),
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A message in `tmp`. It is removed again unless it is shown.
pub(super) struct Written {
    mailbox: PathBuf,
    tmp: PathBuf,
    base: String,
    is_shown: bool,
}

impl Written {
    pub(super) fn show(&mut self) -> io::Result<()> {
        let new = File::open(self.mailbox.join("new"))?;
        let tmp = File::open(self.mailbox.join("tmp"))?;
        let name = self.tmp.file_name().unwrap_or_default();
        maildir::move_new(&tmp, name, &new, self.base.as_str())?;
        self.is_shown = true;
        Ok(())
    }

    pub(super) fn sync_folder(&self) -> io::Result<()> {
        File::open(self.mailbox.join("new"))?.sync_all()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.is_shown {
            let _ = fs::remove_file(&self.tmp);
        }
    }
}

/// Writes lines as they are in Maildirs, with LF alone, and counts them.
struct Counting<W> {
    out: W,
    lines: u64,
    bytes: u64,
    was_cr: bool,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        // Whether the CR before is part of a line end only the next byte tells.
        if self.was_cr && !rest.is_empty() {
            self.was_cr = false;
            if rest[0] != b'\n' {
                self.put(b"\r")?;
            }
        }
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            self.put(line.strip_suffix(b"\r").unwrap_or(line))?;
            self.put(b"\n")?;
            self.lines += 1;
            rest = &rest[end + 1..];
        }
        if let Some(head) = rest.strip_suffix(b"\r") {
            self.was_cr = true;
            rest = head;
        }
        self.put(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Counting<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// Whether a name is one part of a path, and no hidden one.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && !name.chars().any(char::is_control)
}

/// A name that no other delivery has (Maildir's page: seconds, microseconds, process, count, host).
fn unique(host: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    name(now, COUNT.fetch_add(1, Ordering::Relaxed), host)
}

/// Names sort as time goes, in listings that people read.
fn name(now: Duration, count: u64, host: &str) -> String {
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    // Slash and colon mean something in names of messages.
    let host = host.replace('/', "\\057").replace(':', "\\072");
    format!("{seconds}.M{micros:06}P{}Q{count}.{host}", std::process::id())
}

const NAME_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_store_whatever_the_layout() {
        let store = |layout: &str| Store {
            root: "/srv".into(),
            layout: layout.parse().unwrap(),
            is_creating: true,
            is_syncing: true,
            host: "mx.test".into(),
        };
        for (layout, to, mailbox) in [
            ("/%Ld/%Ln", "A.b@X.test", Ok("/srv/x.test/a.b".into())),
            ("/%Ld/%Ln", "\"a@b\"@x.test", Err(NoMailbox::Name)),
            ("/%Ld/%Ln", "a/b@x.test", Err(NoMailbox::Name)),
            ("/%1.2n/%n", "abc@x.test", Ok("/srv/bc/abc".into())),
            ("/%1.2n/%n", "\"a..b\"@x.test", Err(NoMailbox::Name)),
        ] {
            let to = Address::parse(to).unwrap();
            assert_eq!(store(layout).mailbox(&to), mailbox, "{layout} {to}");
        }
    }

    #[test]
    fn names_sort_as_time_goes() {
        let micros = [1_700_000_000_000_009, 1_700_000_000_099_999, 1_700_000_000_100_000];
        let names = micros.map(|micros| name(Duration::from_micros(micros), 7, "a/b:c"));
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| name.ends_with("Q7.a\\057b\\072c")), "{names:?}");
    }
}
