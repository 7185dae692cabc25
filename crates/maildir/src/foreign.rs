//! Mailboxes that are no Maildirs: recognised so that they are refused by name instead of being left
//! out in silence. Looks at few files and reads five bytes of each.

use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::nofollow;
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
    if nofollow::is_dir(&mailboxes) {
        let is_storage =
            |name: &[u8]| name.starts_with(b"m.") || name.starts_with(b"dovecot.map.index");
        if files(&dir.join("storage")).any(|path| is_storage(name_of(&path))) {
            return Some(Format::Mdbox);
        }
        let mut left = SEARCH_MAX;
        if has_dbox(&mailboxes, SEARCH_DEPTH, &mut left) {
            return Some(Format::Sdbox);
        }
    }
    let is_called_mail = matches!(name_of(dir), b"mail" | b"Mail");
    let may_be = is_called_mail || nofollow::is_dir(&dir.join(".imap"));
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
    let entries = nofollow::entries(dir).map_or_else(|_| Vec::new(), |(entries, _)| entries);
    let files = entries.into_iter().filter(|(_, kind)| kind.is_file());
    files.map(|(name, _)| dir.join(name)).take(FILES_MAX)
}

/// Whether a folder of messages lies below a directory; so many entries are looked at.
fn has_dbox(dir: &Path, depth: usize, left: &mut usize) -> bool {
    let entries = nofollow::entries(dir).map_or_else(|_| Vec::new(), |(entries, _)| entries);
    for (name, kind) in entries {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        let mut is_below =
            || depth > 1 && kind.is_dir() && has_dbox(&dir.join(&name), depth - 1, left);
        if name == "dbox-Mails" || is_below() {
            return true;
        }
    }
    false
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().map_or(b"", OsStrExt::as_bytes)
}

/// Folders of a dbox lie in folders a few levels deep; INBOX does not.
const SEARCH_DEPTH: usize = 5;
const SEARCH_MAX: usize = 1000;

/// How many files of a directory are looked at.
const FILES_MAX: usize = 64;
