//! A mailbox's directories and the small files beside the messages: which are folders, which files
//! are kept with a snapshot and which are left out because the server makes them anew.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use crate::nofollow::{self, Entry};
use crate::print::{nanoseconds, now_ns};
use crate::{DirPrint, Error, Result};

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

/// A directory that is no `new`, `cur` or `tmp` of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Path inside the mailbox; empty for the mailbox itself (INBOX).
    pub path: PathBuf,
    /// Whether it has `new` and `cur`, that is, can hold messages.
    pub is_maildir: bool,
    /// Mode and owner.
    pub attributes: Attributes,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// A file that is no message and belongs into a snapshot: uidlist, keywords, subscriptions, ….
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
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

impl KeptFile {
    /// Looks at a file or link.
    pub fn read(path: &Path) -> Result<Self> {
        let (stat, target) = nofollow::stat_link(path).map_err(|e| Error::new("stat", path, e))?;
        let kind = match target {
            Some(target) => KeptKind::Symlink { target },
            None => KeptKind::File { size_bytes: stat.st_size.unsigned_abs() },
        };
        Ok(Self {
            kind,
            ino: stat.st_ino,
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
            attributes: Attributes::of(&stat),
        })
    }
}

/// Everything in a mailbox but its messages, or everything in a plain folder.
#[derive(Debug, Default)]
pub struct Tree {
    /// Directories, parents before children.
    pub folders: Vec<Folder>,
    /// Files and links that are kept. They are looked at when it is their turn: see [`KeptFile`].
    pub files: Vec<PathBuf>,
    /// Entries that are neither file, directory nor link.
    pub skipped: Vec<PathBuf>,
    /// Directories that could not be read, or lie too deep. What vanished meanwhile is not among them.
    pub unreadable: Vec<Error>,
    /// Whether folders may be missing because they were renamed meanwhile.
    pub is_shaky: bool,
}

/// Which of a folder's entries belong to a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A mailbox: no messages, and nothing that the server makes anew.
    Mailbox,
    /// A mailbox's control, index or Sieve files in a place of their own.
    Outside,
    /// Everything, whatever it is called.
    Plain,
}

/// Reads the directories at and below `root`; in a mailbox except `new`, `cur` and `tmp`, which may
/// be huge.
pub fn read_tree(root: &Path, scope: Scope) -> Result<Tree> {
    let mut tree = Tree::default();
    visit(&mut tree, root, scope, Path::new(""), 0)?;
    Ok(tree)
}

/// The files and links of one directory that a tree of this scope has.
pub fn read_files(dir: &Path, scope: Scope) -> Result<Vec<OsString>> {
    let is_kept = |(name, kind): &Entry| {
        (kind.is_file() || kind.is_symlink()) && !scope.leaves_out(name.as_bytes())
    };
    Ok(nofollow::entries(dir)?.0.into_iter().filter(is_kept).map(|(name, _)| name).collect())
}

/// Adds the folder `inside` and all below it. Not walkdir: that opens every directory before it can
/// be told to pass over it.
fn visit(tree: &mut Tree, root: &Path, scope: Scope, inside: &Path, depth: usize) -> Result<()> {
    let has_messages = |entries: &[Entry]| {
        let is_theirs = |(name, kind): &Entry| (name == "new" || name == "cur") && kind.is_dir();
        // Either will do: tools that prune empty folders take the other away, not the mail.
        scope == Scope::Mailbox && entries.iter().any(is_theirs)
    };
    let may_have_folders = |entries: &[Entry]| {
        let is_folder = |(name, kind): &Entry| kind.is_dir() && !scope.passes_over(name, depth);
        scope == Scope::Mailbox
            && (depth == 0 || !has_messages(entries) || entries.iter().any(is_folder))
    };
    let (entries, stat, is_proved) = proved_entries(&root.join(inside), may_have_folders)?;
    tree.is_shaky |= !is_proved;
    tree.folders.push(Folder {
        path: inside.to_owned(),
        is_maildir: has_messages(&entries),
        attributes: Attributes::of(&stat),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
    });
    for (name, kind) in &entries {
        let path = inside.join(name);
        if kind.is_file() || kind.is_symlink() {
            if !scope.leaves_out(name.as_bytes()) {
                tree.files.push(path);
            }
        } else if !kind.is_dir() {
            if !scope.leaves_out(name.as_bytes()) {
                tree.skipped.push(path);
            }
        } else if scope.passes_over(name, depth) {
            continue;
        } else if depth == MAX_DEPTH {
            let too_deep = std::io::Error::other("it lies too deep inside other folders");
            tree.unreadable.push(Error::new("list", &root.join(path), too_deep));
        } else {
            match visit(tree, root, scope, &path, depth + 1) {
                Ok(()) => {}
                Err(e) if e.is_vanished() => tree.is_shaky = true,
                Err(e) => tree.unreadable.push(e),
            }
        }
    }
    Ok(())
}

/// A directory's entries, what it is itself, and whether the entries are all that it had, if that matters: readdir may not show what
/// is renamed under it. Where a server keeps its files beside the folders the directory seldom stands still,
/// so two readings that show the same folders will do as well.
fn proved_entries(
    dir: &Path,
    matters: impl Fn(&[Entry]) -> bool,
) -> Result<(Vec<Entry>, Stat, bool)> {
    let is_folder = |(_, kind): &&Entry| kind.is_dir();
    let mut earlier = None;
    let mut attempts = 0;
    loop {
        let began_ns = now_ns();
        let (entries, [before, stat]) = nofollow::entries(dir)?;
        let (before, after) = (DirPrint::of(&before), DirPrint::of(&stat));
        let is_old = !before.is_young(began_ns);
        let is_same = |shown: &Vec<Entry>| {
            let folders = entries.iter().filter(is_folder).map(|(name, _)| name);
            shown.iter().filter(is_folder).map(|(name, _)| name).eq(folders)
        };
        let is_proved = (is_old && before == after)
            || earlier.as_ref().is_some_and(is_same)
            || !matters(&entries);
        attempts += 1;
        if is_proved || attempts == ATTEMPTS {
            return Ok((entries, stat, is_proved));
        }
        if attempts > 1 {
            std::thread::sleep(after.tick());
        }
        earlier = Some(entries);
    }
}

impl Scope {
    /// Files that the server makes anew, or that are meaningless in a copy: indexes, locks,
    /// half-written files, quota sums. Everything else is kept, known or not.
    fn leaves_out(self, name: &[u8]) -> bool {
        self != Self::Plain
            && (name.starts_with(b"dovecot.index")
                || name.starts_with(b"dovecot.list.index")
                || name.starts_with(b"dovecot.mailbox.log")
                || name == b"maildirsize"
                || name.ends_with(b".lock")
                || name.starts_with(b".temp.")
                || name.starts_with(b".nfs")
                || name == b"dovecot-uidlist.tmp")
    }

    /// Directories that are no folders: of messages, of half-written files, of full-text indexes.
    fn passes_over(self, name: &OsStr, depth: usize) -> bool {
        let name = name.as_bytes();
        match self {
            Self::Plain => false,
            Self::Outside => name == b"tmp" || is_rebuilt_dir(name),
            Self::Mailbox => {
                matches!(name, b"new" | b"cur" | b"tmp")
                    || is_rebuilt_dir(name)
                    || (depth == 0 && name == OUTSIDE.as_bytes())
            }
        }
    }
}

fn is_rebuilt_dir(name: &[u8]) -> bool {
    matches!(name, b"fts-flatcurve" | b"xapian-indexes" | b"lucene-indexes")
}

/// The folder in which a snapshot has what a mailbox keeps elsewhere. A restore makes a real one;
/// what lies in it is an old copy, and none of the mailbox's.
pub const OUTSIDE: &str = "mailrig.outside";

/// Whether a directory is a Maildir: at least two of `cur`, `new` and `tmp` are directories, no links;
/// or one of the first two with messages in it, where a pruner of empty folders took the others.
pub(crate) fn is_maildir(path: &Path) -> bool {
    let Ok(dir) = nofollow::Dir::open(path) else { return false };
    let has = |name: &&str| dir.has_dir(name);
    let there: Vec<&str> = ["cur", "new", "tmp"].into_iter().filter(has).collect();
    match there.as_slice() {
        [] | ["tmp"] => false,
        [lone] => has_message(&path.join(lone)),
        _ => true,
    }
}

/// Whether a file in a directory has a name as messages have.
fn has_message(dir: &Path) -> bool {
    let is_message = |(name, kind): &Entry| {
        let base = crate::base_name(name.as_bytes());
        kind.is_file() && (crate::is_unique_name(base) || base.len() < name.len())
    };
    nofollow::entries(dir).is_ok_and(|(entries, _)| entries.iter().any(is_message))
}

/// How often a directory of folders is read until it has stood still.
const ATTEMPTS: u32 = 4;

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
        let tree = read_tree(root, Scope::Mailbox).unwrap();
        let folders: Vec<_> =
            tree.folders.iter().map(|f| (f.path.to_str().unwrap(), f.is_maildir)).collect();
        let expected = [("", true), (".Sent", true), ("Work", false), ("Work/2024", true)];
        assert_eq!(folders, expected);
        let files: Vec<_> = tree.files.iter().map(|f| f.to_str().unwrap()).collect();
        let expected = [".Sent/maildirfolder", ".dovecot.sieve", "dovecot-uidlist", "unknown"];
        assert_eq!(files, expected);
        let link = KeptFile::read(&root.join(&tree.files[1])).unwrap();
        assert_eq!(link.kind, KeptKind::Symlink { target: b"sieve/a.sieve".to_vec() });
        assert!(tree.unreadable.is_empty() && tree.skipped.is_empty());
    }

    /// What a mail server has beside the messages, by family, and whether it belongs into a snapshot.
    #[test]
    fn every_family_of_files_is_kept_or_left_out_as_it_should() {
        let kept = [
            // Dovecot's: without them new UIDs, lost keywords, or with mail_crypt unreadable mail.
            "dovecot-uidlist",
            "dovecot-keywords",
            "dovecot-uidvalidity",
            "dovecot-uidvalidity.5f3a9c01",
            "dovecot-attributes",
            "dovecot-acl",
            "dovecot-acl-list",
            "dovecot-shared",
            ".Sent/dovecot-uidlist",
            ".Sent/maildirfolder",
            // Subscriptions have the name that the administrator gave them.
            "subscriptions",
            ".subscriptions",
            "subscriptions-imap",
            // Courier's.
            "courierimapuiddb",
            "courierimapsubscribed",
            "courierimapacl",
            "courierimaphieracl/acl",
            "courierimapkeywords/:list",
            "courierimapkeywords/1700000000.M1P1.host",
            "courierpop3dsizelist",
            ".Sent/courierimapuiddb",
            // Sieve, compiled or not, and what nobody knows.
            "sieve/rules.sieve",
            "sieve/rules.svbin",
            ".dovecot.svbin",
            "unknown",
        ];
        let left_out = [
            "dovecot.index",
            "dovecot.index.log",
            "dovecot.index.log.2",
            "dovecot.index.cache",
            "dovecot.index.pvt",
            "dovecot.list.index",
            "dovecot.list.index.log",
            "dovecot.mailbox.log",
            "dovecot.mailbox.log.2",
            "maildirsize",
            "dovecot-uidlist.lock",
            "dovecot-uidlist.tmp",
            "subscriptions.lock",
            ".temp.host.1.abc",
            ".nfs000001",
            "tmp/1700000000.M1P1.host",
            "fts-flatcurve/index.1/docdata.glass",
            "xapian-indexes/db",
            "lucene-indexes/segments",
            "mailrig.outside/control/dovecot-uidlist",
        ];
        let root = tempfile::tempdir().unwrap();
        for file in kept.iter().chain(&left_out) {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let tree = read_tree(root.path(), Scope::Mailbox).unwrap();
        let found: std::collections::BTreeSet<_> =
            tree.files.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(found, kept.into_iter().collect());
        // Of a configuration all is kept, whatever it is called.
        let tree = read_tree(root.path(), Scope::Plain).unwrap();
        assert_eq!(tree.files.len(), kept.len() + left_out.len());
        let names = read_files(root.path(), Scope::Mailbox).unwrap();
        assert!(names.iter().any(|name| name == "dovecot-uidlist"));
        assert!(!names.iter().any(|name| name == "maildirsize"));
    }
}
