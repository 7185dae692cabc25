//! Builds stores: Maildirs with messages whose content, time and mode are given by a seed.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// A folder of mailboxes.
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The mailbox at this path; made if it is not there.
    pub(crate) fn mailbox(&self, path: &str) -> Mailbox {
        let mailbox = Mailbox { root: self.root.join(path) };
        // As a restore makes the folders above a mailbox.
        let parent = mailbox.root.parent().unwrap();
        if parent != self.root {
            DirBuilder::new().recursive(true).mode(0o755).create(parent).unwrap();
        }
        mailbox.folder("");
        mailbox
    }
}

/// A Maildir. All its methods panic where they fail.
pub(crate) struct Mailbox {
    root: PathBuf,
}

impl Mailbox {
    /// A path in the mailbox.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// Makes a folder with `cur`, `new` and `tmp`.
    pub(crate) fn folder(&self, inside: impl AsRef<Path>) -> &Self {
        for dir in ["cur", "new", "tmp"] {
            make_dir(&self.root.join(&inside).join(dir));
        }
        self
    }

    /// Writes a message, or another file, at `inside`: `cur/1.a:2,S`, `.Sent/new/2.b`.
    pub(crate) fn message(&self, inside: impl AsRef<OsStr>, content: &[u8]) -> &Self {
        let path = self.root.join(inside.as_ref());
        let dir = path.parent().unwrap();
        if dir.ends_with("cur") || dir.ends_with("new") {
            self.folder(dir.parent().unwrap());
        }
        let mut options = File::options();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        file.write_all(content).unwrap();
        // Some time that depends on the name, with nanoseconds.
        let hash = path.as_os_str().as_bytes().iter();
        let hash =
            hash.fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        let time = Duration::new(1_400_000_000 + u64::from(hash % 99_999_999), hash % 999_999_999);
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + time)).unwrap();
        self
    }

    /// Writes `count` messages into a folder (empty for INBOX), half of them in `new`; `seed`
    /// makes them differ from those of other calls.
    pub(crate) fn fill(&self, folder: &str, count: u32, seed: u32) -> &Self {
        self.folder(folder);
        for number in 0..count {
            let name = format!("{}.M{seed}P{number}.host", 1_600_000_000 + number);
            let place =
                if number % 2 == 0 { format!("cur/{name}:2,S") } else { format!("new/{name}") };
            let inside = Path::new(folder).join(place);
            self.message(inside, &letter(u64::from(seed) << 32 | u64::from(number)));
        }
        self
    }

    /// Renames, as flag changes and moves do.
    pub(crate) fn rename(&self, from: &str, to: &str) -> &Self {
        fs::rename(self.path(from), self.path(to)).unwrap();
        self
    }

    /// Removes a message.
    pub(crate) fn remove(&self, inside: &str) -> &Self {
        fs::remove_file(self.path(inside)).unwrap();
        self
    }
}

/// A message of some hundred bytes to some kilobytes.
pub(crate) fn letter(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut text = format!(
        "From: sender{seed}@example.net\r\nTo: alice@example.org\r\nSubject: letter {seed}\r\n\
         Message-ID: <{seed}@example.net>\r\nDate: Sat, 21 Nov 2026 03:15:00 +0000\r\n\r\n"
    );
    for _ in 0..random.below(40) {
        for _ in 0..8 {
            text.push_str(WORDS[random.below(WORDS.len() as u64) as usize]);
            text.push(' ');
        }
        text.push_str("\r\n");
    }
    text.into_bytes()
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut noise: Vec<u8> =
        (0..bytes.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
    noise.truncate(bytes);
    noise
}

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn make_dir(path: &Path) {
    DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
}

const WORDS: [&str; 12] = [
    "the",
    "mailbox",
    "quarterly",
    "report",
    "please",
    "find",
    "attached",
    "invoice",
    "meeting",
    "tomorrow",
    "regards",
    "backup",
];
