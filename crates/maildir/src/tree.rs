//! A mailbox's directories and the small files beside the messages: which are folders, which files
//! are kept with a snapshot and which are left out because the server makes them anew.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat};
use walkdir::{DirEntry, WalkDir};

use crate::listing::nanoseconds;
use crate::{Error, MAX_SYMLINK_BYTES, Result};

/// Mode and owner of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permission bits, without the file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attributes {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
    }
}

/// A directory of a mailbox that is not `new`, `cur` or `tmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Path inside the mailbox; empty for the mailbox itself (INBOX).
    pub path: PathBuf,
    /// Whether it has `new` and `cur`, that is, can hold messages.
    pub is_maildir: bool,
    /// Mode and owner.
    pub attributes: Attributes,
}

/// A file beside the messages that belongs into a snapshot: uidlist, keywords, subscriptions, ….
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// Path inside the mailbox.
    pub path: PathBuf,
    /// What it is.
    pub kind: KeptKind,
    /// Inode number.
    pub ino: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Mode and owner.
    pub attributes: Attributes,
}

/// What a kept file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptKind {
    /// A regular file and its size in bytes.
    File {
        /// Size in bytes.
        size_bytes: u64,
    },
    /// A symbolic link, kept as one and never followed.
    Symlink {
        /// Where it points, byte for byte.
        target: Vec<u8>,
    },
}

/// Everything in a mailbox but its messages.
#[derive(Debug, Default)]
pub struct Tree {
    /// Directories, parents before children.
    pub folders: Vec<Folder>,
    /// Files that are kept.
    pub files: Vec<KeptFile>,
    /// Entries that are neither file, directory nor link, with what they are.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// Directories and files that could not be read. What vanished meanwhile is not among them.
    pub unreadable: Vec<Error>,
}

/// Reads the directories of the mailbox at `root`. Does not look into `new`, `cur` and `tmp`.
pub fn read_tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let stat = lstat(root)?;
    push_folder(&mut tree, root, PathBuf::new(), &stat);
    let mut walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                let path = e.path().unwrap_or(root).to_owned();
                let source = e.into_io_error().unwrap_or_else(|| std::io::Error::other("loop"));
                let error = Error { action: "list", path, source };
                let is_known = tree.unreadable.iter().any(|known| known.path == error.path);
                if !error.is_vanished() && !is_known {
                    tree.unreadable.push(error);
                }
                continue;
            }
        };
        let name = entry.file_name().as_bytes();
        if entry.file_type().is_dir() {
            if matches!(name, b"new" | b"cur" | b"tmp") || is_rebuilt_dir(name) {
                walk.skip_current_dir();
                continue;
            }
        } else if is_left_out(name) {
            continue;
        }
        match add(&mut tree, root, &entry) {
            Ok(()) => {}
            Err(e) if e.is_vanished() => {}
            Err(e) => tree.unreadable.push(e),
        }
    }
    Ok(tree)
}

fn add(tree: &mut Tree, root: &Path, entry: &DirEntry) -> Result<()> {
    let path = entry.path();
    let inside = path.strip_prefix(root).expect("walkdir yields paths below its root").to_owned();
    let file_type = entry.file_type();
    let stat = lstat(path)?;
    if file_type.is_dir() {
        push_folder(tree, path, inside, &stat);
        return Ok(());
    }
    let kind = if file_type.is_file() {
        KeptKind::File { size_bytes: stat.st_size.unsigned_abs() }
    } else if file_type.is_symlink() {
        let target = rustix::fs::readlinkat(CWD, path, Vec::with_capacity(64))
            .map_err(|e| Error::new("read link", path, e))?
            .into_bytes();
        if target.len() > MAX_SYMLINK_BYTES {
            tree.skipped.push((inside, "a link with an overlong target"));
            return Ok(());
        }
        KeptKind::Symlink { target }
    } else {
        tree.skipped.push((inside, "neither a file, a folder nor a link"));
        return Ok(());
    };
    tree.files.push(KeptFile {
        path: inside,
        kind,
        ino: stat.st_ino,
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        attributes: Attributes::of(&stat),
    });
    Ok(())
}

/// A directory that cannot be entered may hold messages: it is among the unreadable ones.
fn push_folder(tree: &mut Tree, path: &Path, inside: PathBuf, stat: &Stat) {
    let is_maildir = look_for_maildir(path).unwrap_or_else(|e| {
        tree.unreadable.push(Error { path: path.to_owned(), ..e });
        false
    });
    tree.folders.push(Folder { path: inside, is_maildir, attributes: Attributes::of(stat) });
}

/// Whether a directory holds messages: it has `new` and `cur`, both directories and no links.
pub(crate) fn is_maildir(path: &Path) -> bool {
    look_for_maildir(path).unwrap_or(false)
}

fn look_for_maildir(path: &Path) -> Result<bool> {
    for name in ["cur", "new"] {
        match lstat(&path.join(name)) {
            Ok(stat) if is_dir(&stat) => {}
            Ok(_) => return Ok(false),
            Err(e) if e.is_vanished() => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

fn is_dir(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
}

fn lstat(path: &Path) -> Result<Stat> {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| Error::new("stat", path, e))
}

/// Files that the server makes anew, or that are meaningless in a copy: indexes, locks,
/// half-written files, quota sums. Everything else is kept, known or not.
fn is_left_out(name: &[u8]) -> bool {
    name.starts_with(b"dovecot.index")
        || name.starts_with(b"dovecot.list.index")
        || name.starts_with(b"dovecot.mailbox.log")
        || name == b"maildirsize"
        || name.ends_with(b".lock")
        || name.starts_with(b".temp.")
        || name.starts_with(b".nfs")
        || name == b"dovecot-uidlist.tmp"
}

/// Directories of full-text indexes.
fn is_rebuilt_dir(name: &[u8]) -> bool {
    matches!(name, b"fts-flatcurve" | b"xapian-indexes" | b"lucene-indexes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tree_has_folders_of_both_layouts_and_the_files_that_matter() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for dir in ["cur", "new", "tmp", ".Sent/cur", ".Sent/new", "Work/2024/cur", "Work/2024/new"]
        {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in [
            "dovecot-uidlist",
            "dovecot.index.cache",
            "maildirsize",
            "dovecot-uidlist.lock",
            ".Sent/maildirfolder",
            "cur/1.a:2,S",
            "unknown",
        ] {
            fs::write(root.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("sieve/a.sieve", root.join(".dovecot.sieve")).unwrap();
        let tree = read_tree(root).unwrap();
        let folders: Vec<_> =
            tree.folders.iter().map(|f| (f.path.to_str().unwrap(), f.is_maildir)).collect();
        let expected = [("", true), (".Sent", true), ("Work", false), ("Work/2024", true)];
        assert_eq!(folders, expected);
        let files: Vec<_> = tree.files.iter().map(|f| f.path.to_str().unwrap()).collect();
        let expected = [".Sent/maildirfolder", ".dovecot.sieve", "dovecot-uidlist", "unknown"];
        assert_eq!(files, expected);
        assert_eq!(tree.files[1].kind, KeptKind::Symlink { target: b"sieve/a.sieve".to_vec() });
        assert!(tree.unreadable.is_empty() && tree.skipped.is_empty());
    }
}
