//! What a folder holds: names, contents, times to the nanosecond, modes and owners; and a
//! comparison that names what differs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All entries of a folder by their paths in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Entry>);

/// A file, folder or link.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    content: Content,
    mode: u32,
    owner: (u32, u32),
    /// Of files only.
    mtime: Option<(i64, i64)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
    Other,
}

impl Tree {
    /// Reads a folder and all below it.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = BTreeMap::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                let kind = meta.file_type();
                let content = if kind.is_dir() {
                    dirs.push(path.clone());
                    Content::Folder
                } else if kind.is_file() {
                    Content::File(fs::read(&path).unwrap())
                } else if kind.is_symlink() {
                    Content::Link(fs::read_link(&path).unwrap())
                } else {
                    Content::Other
                };
                let entry = Entry {
                    mtime: kind.is_file().then_some((meta.mtime(), meta.mtime_nsec())),
                    mode: meta.mode(),
                    owner: (meta.uid(), meta.gid()),
                    content,
                };
                tree.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
            }
        }
        Self(tree)
    }

    /// The number of files.
    pub(crate) fn files(&self) -> usize {
        self.0.values().filter(|entry| matches!(entry.content, Content::File(_))).count()
    }

    /// Without the entries whose paths contain `part`.
    pub(crate) fn without(mut self, part: &str) -> Self {
        self.0.retain(|path, _| !path.to_string_lossy().contains(part));
        self
    }

    /// What differs from `other`, a line each.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, entry) in &self.0 {
            match other.0.get(path) {
                None => lines.push(format!("{} is missing", path.display())),
                Some(found) if found != entry => {
                    lines.push(format!("{} is {found:?}, not {entry:?}", path.display()));
                }
                Some(_) => {}
            }
        }
        let extra = other.0.keys().filter(|path| !self.0.contains_key(*path));
        lines.extend(extra.map(|path| format!("{} is too much", path.display())));
        lines
    }

    /// Insists that `root` holds exactly this.
    #[track_caller]
    pub(crate) fn assert_restored(&self, root: &Path) {
        let differences = self.differences(&Self::read(root));
        let shown = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>();
        assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), shown.join("\n"));
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content = match &self.content {
            Content::Folder => "a folder".to_owned(),
            Content::File(bytes) => format!("a file of {} bytes", bytes.len()),
            Content::Link(target) => format!("a link to {}", target.display()),
            Content::Other => "something else".to_owned(),
        };
        let Self { mode, owner, mtime, .. } = self;
        write!(f, "{content} with mode {mode:o}, owner {owner:?}, time {mtime:?}")
    }
}
