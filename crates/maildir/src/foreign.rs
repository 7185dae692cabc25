//! Mailboxes that are no Maildirs: recognised so that they are refused by name instead of being left
//! out in silence. Looks at few files and reads five bytes of each.

use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::open::{Opened, open_file};

/// A format in which mail lies that is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// All messages of a folder in one file.
    Mbox,
    /// Dovecot's single-dbox: a file a message, flags in index files.
    Sdbox,
    /// Dovecot's multi-dbox: many messages a file, places and flags in index files.
    Mdbox,
}

impl Format {
    /// Why a copy of its files is no backup.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Mbox => "one file holds all messages and changes under its reader",
            Self::Sdbox | Self::Mdbox => "its index files hold data that is nowhere else",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mbox => "mbox",
            Self::Sdbox => "sdbox",
            Self::Mdbox => "mdbox",
        })
    }
}

/// A mailbox in another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its format.
    pub format: Format,
    /// Path inside the store: a folder, or a file (mbox).
    pub path: PathBuf,
}

/// The format of the mailboxes in a directory that is no Maildir. Of a store, each mbox is another
/// user's: they are looked at one by one.
pub(crate) fn format_of_dir(dir: &Path, is_store: bool) -> Option<Format> {
    let mailboxes = dir.join("mailboxes");
    if mailboxes.is_dir() {
        let is_storage =
            |name: &[u8]| name.starts_with(b"m.") || name.starts_with(b"dovecot.map.index");
        if files(&dir.join("storage")).any(|path| is_storage(name_of(&path))) {
            return Some(Format::Mdbox);
        }
        let mut below =
            WalkDir::new(mailboxes).max_depth(SEARCH_DEPTH).into_iter().take(SEARCH_MAX);
        if below.any(|entry| entry.is_ok_and(|entry| entry.file_name() == "dbox-Mails")) {
            return Some(Format::Sdbox);
        }
    }
    let is_called_mail = matches!(name_of(dir), b"mail" | b"Mail");
    let may_be = is_called_mail || dir.join(".imap").is_dir();
    (may_be && !is_store && files(dir).any(|file| is_mbox(&file))).then_some(Format::Mbox)
}

/// Whether a file of this name is one in which people have their mail.
pub(crate) fn is_called_mbox(file: &Path) -> bool {
    matches!(name_of(file).to_ascii_lowercase().as_slice(), b"mbox" | b"inbox")
}

/// Whether a file is an mbox: it begins with the line that separates messages.
pub(crate) fn is_mbox(file: &Path) -> bool {
    let Ok(Opened::Message(mut open)) = open_file(file) else { return false };
    let mut start = [0; 5];
    open.file.read_exact(&mut start).is_ok() && start == *b"From "
}

/// Some of the files of a directory.
fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_file = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    entries.filter(is_file).map(|entry| entry.path()).take(FILES_MAX)
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().map_or(b"", OsStrExt::as_bytes)
}

/// Folders of a dbox lie in folders a few levels deep; INBOX does not.
const SEARCH_DEPTH: usize = 5;
const SEARCH_MAX: usize = 1000;

/// How many files of a directory are looked at.
const FILES_MAX: usize = 64;
