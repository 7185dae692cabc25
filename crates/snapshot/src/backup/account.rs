//! What happened to messages while their mailbox was scanned: delivered, expunged or moved. A file
//! is known by its inode and modification time, which survive every rename. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder::os;
use crate::state::MessageState;

/// What came and went between two passes.
#[derive(Default)]
pub(super) struct Account {
    came: BTreeMap<File, PathBuf>,
    gone: BTreeMap<File, PathBuf>,
    /// Listed and never read: of these only the inode is known.
    lost: Vec<(u64, PathBuf)>,
}

/// Inode and modification time. A freed inode is soon another file's, its time is not.
pub(super) type File = (u64, i64);

/// The account when all is over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) delivered: Vec<PathBuf>,
    pub(super) expunged: Vec<PathBuf>,
    /// From where to where.
    pub(super) moved: Vec<(PathBuf, PathBuf)>,
}

impl Account {
    /// A message is in a directory that did not have it before.
    pub(super) fn came(&mut self, message: &MessageState<'_>, dir: &Path) {
        self.came.insert(file(message), dir.join(os(message.name)));
    }

    /// A message is not in a directory any more.
    pub(super) fn gone(&mut self, message: &MessageState<'_>, dir: &Path) {
        self.gone.entry(file(message)).or_insert_with(|| dir.join(os(message.name)));
    }

    /// A file was listed, could not be found to be read, and is not there any more.
    pub(super) fn lost(&mut self, ino: u64, place: PathBuf) {
        self.lost.push((ino, place));
    }

    /// The inodes of which it must be known whether the mailbox still has them.
    pub(super) fn inodes(&self) -> BTreeSet<u64> {
        let files = self.came.keys().chain(self.gone.keys());
        files.map(|(ino, _)| *ino).chain(self.lost.iter().map(|(ino, _)| *ino)).collect()
    }

    /// Closes the account. `places` has the files with these inodes that the mailbox has now.
    pub(super) fn balance(self, places: &BTreeMap<File, PathBuf>) -> Balance {
        let mut balance = Balance::default();
        let mut explained = BTreeSet::new();
        for (file, from) in self.gone {
            match places.get(&file) {
                Some(to) => {
                    explained.insert(file);
                    balance.moved.push((from, to.clone()));
                }
                None => balance.expunged.push(from),
            }
        }
        for (ino, from) in self.lost {
            match with_inode(places, ino) {
                Some((file, to)) => {
                    explained.insert(*file);
                    balance.moved.push((from, to.clone()));
                }
                None => balance.expunged.push(from),
            }
        }
        let is_delivered = |file: &File| places.contains_key(file) && !explained.contains(file);
        let came = self.came.into_iter().filter(|(file, _)| is_delivered(file));
        balance.delivered = came.map(|(_, place)| place).collect();
        balance
    }
}

pub(super) fn file(message: &MessageState<'_>) -> File {
    (message.ino, message.mtime_ns)
}

fn with_inode(places: &BTreeMap<File, PathBuf>, ino: u64) -> Option<(&File, &PathBuf)> {
    places.range((ino, i64::MIN)..=(ino, i64::MAX)).next()
}

/// Whether the mailbox has a file with this inode.
pub(super) fn has_inode(places: &BTreeMap<File, PathBuf>, ino: u64) -> bool {
    with_inode(places, ino).is_some()
}
