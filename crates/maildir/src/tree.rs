//! A mailbox's directories and the small files beside the messages: which are folders, which files
//! are kept with a snapshot and which are left out because the server makes them anew.

use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat};

use crate::print::nanoseconds;
use crate::{Error, Result};

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

/// Reads the directories of the mailbox at `root`, except `new`, `cur` and `tmp`, which may be huge.
pub fn read_tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let attributes = Attributes::of(&lstat(root)?);
    visit(&mut tree, root, Path::new(""), attributes, 0)?;
    Ok(tree)
}

/// Adds the folder `inside` and all below it. Not walkdir: that opens every directory before it can
/// be told to pass over it.
fn visit(
    tree: &mut Tree,
    root: &Path,
    inside: &Path,
    attributes: Attributes,
    depth: usize,
) -> Result<()> {
    let dir = root.join(inside);
    let failed = |e| Error::new("list", &dir, e);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.file_name(), entry.file_type().map_err(failed)?));
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let has = |name: &str| entries.iter().any(|(n, file_type)| n == name && file_type.is_dir());
    // Either will do: tools that prune empty folders take the other away, not the mail.
    let is_maildir = has("new") || has("cur");
    tree.folders.push(Folder { path: inside.to_owned(), is_maildir, attributes });
    for (name, file_type) in &entries {
        let path = inside.join(name);
        let added = if !file_type.is_dir() {
            if is_left_out(name.as_bytes()) {
                continue;
            }
            add_file(tree, root, &path, *file_type)
        } else if matches!(name.as_bytes(), b"new" | b"cur" | b"tmp") || is_rebuilt_dir(name) {
            continue;
        } else if depth == MAX_DEPTH {
            tree.skipped.push((path, "a folder too deep inside others"));
            continue;
        } else {
            lstat(&root.join(&path))
                .and_then(|stat| visit(tree, root, &path, Attributes::of(&stat), depth + 1))
        };
        match added {
            Err(e) if !e.is_vanished() => tree.unreadable.push(e),
            _ => {}
        }
    }
    Ok(())
}

fn add_file(tree: &mut Tree, root: &Path, inside: &Path, file_type: FileType) -> Result<()> {
    let path = root.join(inside);
    let stat = lstat(&path)?;
    let kind = if file_type.is_file() {
        KeptKind::File { size_bytes: stat.st_size.unsigned_abs() }
    } else if file_type.is_symlink() {
        let target = rustix::fs::readlinkat(CWD, &path, Vec::with_capacity(64))
            .map_err(|e| Error::new("read link", &path, e))?
            .into_bytes();
        KeptKind::Symlink { target }
    } else {
        tree.skipped.push((inside.to_owned(), "neither a file, a folder nor a link"));
        return Ok(());
    };
    tree.files.push(KeptFile {
        path: inside.to_owned(),
        kind,
        ino: stat.st_ino,
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        attributes: Attributes::of(&stat),
    });
    Ok(())
}

/// Whether a directory is a Maildir: at least two of `cur`, `new` and `tmp` are directories, no links.
pub(crate) fn is_maildir(path: &Path) -> bool {
    let has = |name: &str| lstat(&path.join(name)).is_ok_and(|stat| is_dir(&stat));
    ["cur", "new", "tmp"].into_iter().filter(|name| has(name)).count() >= 2
}

/// Whether a link leads to mail that is therefore not where it is looked for: it is called `new` or
/// `cur`, or its target has one of them.
pub fn leads_to_mail(link: &Path) -> bool {
    let is_subdir = link.file_name().is_some_and(|name| name == "cur" || name == "new");
    link.is_dir() && (is_subdir || link.join("cur").is_dir() || link.join("new").is_dir())
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
fn is_rebuilt_dir(name: &OsStr) -> bool {
    matches!(name.as_bytes(), b"fts-flatcurve" | b"xapian-indexes" | b"lucene-indexes")
}

/// Folders lie in folders a few levels deep.
const MAX_DEPTH: usize = 40;

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
