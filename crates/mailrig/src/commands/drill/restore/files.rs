//! The restored files against what the snapshot says. Each file is read again from the scratch folder: nothing that the
//! restore said of itself counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use maildir::{Keywords, Uidlist, base_name, flags};
use sha2::{Digest, Sha256};
use snapshot::expected::{Expected, Folder, Message};
use snapshot::hash::{Sum, hex};
use snapshot::progress::Progress;

use super::tally::{At, Tally, What};

/// A folder, as a server that serves the restored files is to show it.
#[derive(Debug)]
pub(super) struct Shown {
    /// `INBOX`, or its path.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// `None` where the snapshot has no list of UIDs.
    pub(super) uid_validity: Option<u32>,
    pub(super) messages: Vec<ShownMessage>,
    /// Whether these are all: none was told of as a difference.
    pub(super) is_whole: bool,
}

/// A message, as a server is to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownMessage {
    pub(super) file_name: Vec<u8>,
    pub(super) uid: Option<u32>,
    /// As IMAP writes them.
    pub(super) flags: BTreeSet<String>,
    /// INTERNALDATE in seconds since 1970.
    pub(super) date_seconds: i64,
    /// Hash and size with CRLF at the end of every line.
    pub(super) wire: (Sum, u64),
}

/// A restored file.
struct Back {
    name: Vec<u8>,
    mtime_seconds: i64,
    sum: Sum,
    wire: (Sum, u64),
}

/// Compares a mailbox below `root`; gives what a server is to show of it, without what was told as a difference here.
pub(super) fn compare(
    expected: &Expected,
    root: &Path,
    tally: &mut Tally,
    progress: &Progress,
) -> snapshot::Result<Vec<Shown>> {
    let mailbox = root.join(&expected.path);
    for problem in &expected.problems {
        let at = At { mailbox: &expected.name, folder: "" };
        tally.differs(at, b"", What::Mailbox, ("a snapshot that can be read", problem));
    }
    let mut shown = Vec::new();
    for folder in &expected.folders {
        let name = name_of(folder);
        let at = At { mailbox: &expected.name, folder: &name };
        tally.folders += 1;
        tally.messages += folder.messages.len() as u64;
        let back = match read(&mailbox.join(&folder.path), progress)? {
            Ok(back) => back,
            Err(e) => {
                tally.differs(at, b"", What::Folder, ("the folder", e.to_string()));
                continue;
            }
        };
        let uids = uids(folder, &mailbox, at, tally);
        let uid_validity = uids.as_ref().map(|uids| uids.0);
        let by_base = uids.map(|uids| uids.1).unwrap_or_default();
        let before = tally.all();
        let messages = messages(folder, back, &by_base, at, tally);
        let (path, is_whole) = (folder.path.clone(), before == tally.all());
        shown.push(Shown { path, uid_validity, messages, is_whole, name });
    }
    Ok(shown)
}

fn name_of(folder: &Folder) -> String {
    match folder.path.to_string_lossy() {
        path if path.is_empty() => "INBOX".to_owned(),
        path => path.into_owned(),
    }
}

/// All files of `new` and `cur`; the inner error is that of the folder.
fn read(folder: &Path, progress: &Progress) -> snapshot::Result<io::Result<Vec<Back>>> {
    let mut all = Vec::new();
    for subdir in ["new", "cur"] {
        let entries = match std::fs::read_dir(folder.join(subdir)) {
            Ok(entries) => entries,
            Err(e) => return Ok(Err(e)),
        };
        for entry in entries {
            progress.check()?;
            let file = entry.and_then(|entry| {
                let name = [subdir.as_bytes(), b"/", entry.file_name().as_bytes()].concat();
                // A link may lead to what never ends.
                if !entry.file_type()?.is_file() {
                    return Err(io::Error::other(format!("{:?} is no file", entry.file_name())));
                }
                read_message(&entry.path(), name)
            });
            match file {
                Ok(file) => all.push(file),
                Err(e) => return Ok(Err(e)),
            }
        }
    }
    Ok(Ok(all))
}

fn read_message(path: &Path, name: Vec<u8>) -> io::Result<Back> {
    let mut file = File::open(path)?;
    let mtime_seconds = file.metadata()?.mtime();
    let (mut raw, mut wire, mut wire_bytes) = (Sha256::new(), Sha256::new(), 0);
    let (mut chunk, mut out) = (vec![0; 1 << 16], Vec::with_capacity(1 << 17));
    let mut last = 0;
    loop {
        let got = file.read(&mut chunk)?;
        if got == 0 {
            break;
        }
        raw.update(&chunk[..got]);
        out.clear();
        for byte in &chunk[..got] {
            if *byte == b'\n' && last != b'\r' {
                out.push(b'\r');
            }
            out.push(*byte);
            last = *byte;
        }
        wire.update(&out);
        wire_bytes += out.len() as u64;
    }
    let wire = (wire.finalize().into(), wire_bytes);
    Ok(Back { name, mtime_seconds, sum: raw.finalize().into(), wire })
}

/// Pairs messages with files: by the whole name, and what is left by the base name.
fn messages(
    folder: &Folder,
    back: Vec<Back>,
    uids: &HashMap<&[u8], u32>,
    at: At<'_>,
    tally: &mut Tally,
) -> Vec<ShownMessage> {
    let keywords = folder.keywords.as_ref().map(|kept| Keywords::parse(&kept.bytes));
    let mut by_name: BTreeMap<Vec<u8>, Back> =
        back.into_iter().map(|file| (file.name.clone(), file)).collect();
    let (mut pairs, mut left) = (Vec::new(), Vec::new());
    for message in &folder.messages {
        match by_name.remove(&message.name) {
            Some(file) => pairs.push((message, file)),
            None => left.push(message),
        }
    }
    for message in left {
        let base = base_of(&message.name);
        let found = by_name.keys().find(|name| base_of(name) == base).cloned();
        match found.and_then(|name| by_name.remove(&name)) {
            Some(file) => pairs.push((message, file)),
            None => {
                tally.differs(at, &message.name, What::Missing, ("the message", "nothing"));
            }
        }
    }
    for name in by_name.keys() {
        tally.differs(at, name, What::Extra, ("nothing", "a message"));
    }
    let mut shown = Vec::with_capacity(pairs.len());
    for (message, file) in pairs {
        if is_same(message, &file, at, tally) {
            shown.push(ShownMessage {
                uid: uids.get(base_of(&message.name)).copied(),
                flags: imap_flags(&message.name, keywords.as_ref()),
                date_seconds: file.mtime_seconds,
                wire: file.wire,
                file_name: message.name.clone(),
            });
        }
    }
    shown
}

fn is_same(message: &Message, file: &Back, at: At<'_>, tally: &mut Tally) -> bool {
    let before = tally.all();
    match message.sum {
        Some(sum) if sum != file.sum => {
            tally.differs(at, &message.name, What::Content, (hex(&sum), hex(&file.sum)));
        }
        Some(_) => {}
        None => tally.unhashed += 1,
    }
    if message.name != file.name {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let names = (text(&message.name), text(&file.name));
        tally.differs(at, &message.name, What::Flags, names);
    }
    let seconds = message.mtime_ns.div_euclid(1_000_000_000);
    if seconds != file.mtime_seconds {
        let times = (seconds.to_string(), file.mtime_seconds.to_string());
        tally.differs(at, &message.name, What::Date, times);
    }
    tally.all() == before
}

/// UIDVALIDITY and the UID of each base name as the snapshot has them, compared with those of the restored list; `None`
/// where the snapshot has none.
fn uids<'e>(
    folder: &'e Folder,
    mailbox: &Path,
    at: At<'_>,
    tally: &mut Tally,
) -> Option<(u32, HashMap<&'e [u8], u32>)> {
    let kept = folder.uidlist.as_ref();
    let Some((kept, list)) = kept.and_then(|kept| Some((kept, Uidlist::parse(&kept.bytes)?)))
    else {
        tally.folders_without_uids += 1;
        return None;
    };
    let path = mailbox.join(&kept.path);
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let bytes = if is_file { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let Some(back) = Uidlist::parse(&bytes) else {
        tally.differs(at, b"", What::UidValidity, (list.uid_validity.to_string(), "no list"));
        return None;
    };
    if list.uid_validity != back.uid_validity {
        let numbers = (list.uid_validity.to_string(), back.uid_validity.to_string());
        tally.differs(at, b"", What::UidValidity, numbers);
    }
    if back.next_uid < list.next_uid {
        let next = |uid: u32| format!("next UID {uid}");
        tally.differs(at, b"", What::UidValidity, (next(list.next_uid), next(back.next_uid)));
    }
    let restored: HashMap<&[u8], u32> = back.records.iter().map(|r| (r.base(), r.uid)).collect();
    let there: BTreeSet<&[u8]> = folder.messages.iter().map(|m| base_of(&m.name)).collect();
    let mut uids = HashMap::new();
    for record in list.records.iter().filter(|record| there.contains(record.base())) {
        tally.uids += 1;
        let uid = restored.get(record.base()).copied();
        if uid == Some(record.uid) {
            uids.insert(record.base(), record.uid);
        } else {
            let actual = uid.map_or_else(|| "none".to_owned(), |uid| uid.to_string());
            tally.differs(at, record.base(), What::Uid, (record.uid.to_string(), actual));
        }
    }
    Some((list.uid_validity, uids))
}

/// Of `new/…` or `cur/…`.
fn base_of(name: &[u8]) -> &[u8] {
    base_name(name.get(4..).unwrap_or_default())
}

/// A name's flags as Dovecot shows them. `P` means nothing to it.
fn imap_flags(name: &[u8], keywords: Option<&Keywords>) -> BTreeSet<String> {
    let flag = |letter: &u8| match letter {
        b'D' => Some("\\Draft".to_owned()),
        b'F' => Some("\\Flagged".to_owned()),
        b'R' => Some("\\Answered".to_owned()),
        b'S' => Some("\\Seen".to_owned()),
        b'T' => Some("\\Deleted".to_owned()),
        letter => {
            let keyword = keywords?.name(*letter)?;
            Some(String::from_utf8_lossy(keyword).into_owned())
        }
    };
    if name.starts_with(b"new/") {
        return BTreeSet::new();
    }
    let letters = flags(name).split(|byte| *byte == b',').next().unwrap_or_default();
    letters.iter().filter_map(flag).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, UNIX_EPOCH};

    use snapshot::expected::Kept;
    use snapshot::hash::sha256;

    use super::*;

    type Change = &'static dyn Fn(&Path);

    const TEXT: &[u8] = b"Subject: x\n\r\nhello\n";
    const LIST: &[u8] = b"3 V7 N9 G3085f01b7f11094c501100008c4a11c1\n4 :1.a\n";

    fn expected() -> Expected {
        let message = Message {
            name: b"cur/1.a:2,FSb".to_vec(),
            mtime_ns: 5_500_000_000,
            size: TEXT.len() as u64,
            sum: Some(sha256(TEXT)),
        };
        let kept = |name: &str, bytes: &[u8]| Some(Kept { path: name.into(), bytes: bytes.into() });
        let folder = Folder {
            path: PathBuf::new(),
            messages: vec![message],
            uidlist: kept("dovecot-uidlist", LIST),
            keywords: kept("dovecot-keywords", b"1 todo\n"),
        };
        let (name, path) = ("ann".to_owned(), "ann".into());
        Expected { name, path, folders: vec![folder], problems: Vec::new() }
    }

    /// What differs after `change` was made to a mailbox that is as it should be, and what a server is to show of it.
    fn after(change: impl FnOnce(&Path)) -> (Vec<What>, Vec<Shown>) {
        let root = tempfile::tempdir().unwrap();
        let ann = root.path().join("ann");
        for dir in ["cur", "new"] {
            fs::create_dir_all(ann.join(dir)).unwrap();
        }
        fs::write(ann.join("dovecot-uidlist"), LIST).unwrap();
        let message = ann.join("cur/1.a:2,FSb");
        fs::write(&message, TEXT).unwrap();
        set_time(&message, 5);
        change(&ann);
        let mut tally = Tally::default();
        let shown = compare(&expected(), root.path(), &mut tally, &Progress::default()).unwrap();
        (tally.by_kind.into_keys().collect(), shown)
    }

    fn at(ann: &Path) -> PathBuf {
        ann.join("cur/1.a:2,FSb")
    }

    fn list(ann: &Path, text: &str) {
        fs::write(ann.join("dovecot-uidlist"), text).unwrap();
    }

    fn set_time(path: &Path, seconds: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_came_back_as_it_was_differs_in_nothing() {
        let (differences, shown) = after(|_| {});
        assert_eq!(differences, []);
        let wire = b"Subject: x\r\n\r\nhello\r\n";
        let message = ShownMessage {
            file_name: b"cur/1.a:2,FSb".to_vec(),
            uid: Some(4),
            flags: ["\\Flagged", "\\Seen", "todo"].map(str::to_owned).into(),
            date_seconds: 5,
            wire: (sha256(wire), wire.len() as u64),
        };
        assert_eq!((&shown[0].messages, shown[0].uid_validity), (&vec![message], Some(7)));
        assert!(shown[0].is_whole);
    }

    /// The twin.
    #[test]
    fn whatever_was_changed_is_a_difference() {
        let changes: [(&[What], Change); 12] = [
            (&[What::Content], &|ann| {
                fs::write(at(ann), "altered").unwrap();
                set_time(&at(ann), 5);
            }),
            (&[What::Date], &|ann| set_time(&at(ann), 6)),
            (&[What::Missing], &|ann| fs::remove_file(at(ann)).unwrap()),
            (&[What::Flags], &|ann| fs::rename(at(ann), ann.join("cur/1.a:2,S")).unwrap()),
            (&[What::Flags], &|ann| fs::rename(at(ann), ann.join("new/1.a")).unwrap()),
            (&[What::Extra], &|ann| fs::write(ann.join("new/2.b"), "more").unwrap()),
            (&[What::Folder], &|ann| fs::remove_dir(ann.join("new")).unwrap()),
            (&[What::Folder], &|ann| {
                std::os::unix::fs::symlink("/dev/zero", ann.join("new/2.b")).unwrap();
            }),
            (&[What::UidValidity], &|ann| list(ann, "3 V8 N9\n4 :1.a\n")),
            (&[What::UidValidity], &|ann| list(ann, "3 V7 N5\n4 :1.a\n")),
            (&[What::UidValidity], &|ann| fs::remove_file(ann.join("dovecot-uidlist")).unwrap()),
            (&[What::Uid], &|ann| list(ann, "3 V7 N9\n5 :1.a\n")),
        ];
        for (number, (expected, change)) in changes.iter().enumerate() {
            assert_eq!(after(change).0, *expected, "change {number}");
        }
    }
}
