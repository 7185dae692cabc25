//! What happened to messages while their mailbox was scanned: delivered, expunged or moved. A file
//! is known by its inode and content, which survive every rename. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder::os;
use crate::hash::Sum;
use crate::state::MessageState;

/// What came and went between two passes.
#[derive(Default)]
pub(super) struct Account {
    came: BTreeMap<File, PathBuf>,
    gone: BTreeMap<File, Gone>,
    /// Listed and never read: of these only the inode is known.
    lost: BTreeMap<u64, PathBuf>,
}

/// Inode and content. A freed inode is soon another file's, and the time of a file may be set at any time.
pub(super) type File = (u64, Sum);

/// A message that is not where it was.
pub(super) struct Gone {
    pub(super) folder: PathBuf,
    name: Vec<u8>,
    message: MessageState<'static>,
}

impl Gone {
    /// As it was.
    pub(super) fn message(&self) -> MessageState<'_> {
        MessageState { name: &self.name, ..self.message }
    }

    fn place(&self) -> PathBuf {
        place(&self.folder, &self.message())
    }
}

/// The account when all is over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) delivered: Vec<PathBuf>,
    pub(super) expunged: Vec<PathBuf>,
    /// From where to where.
    pub(super) moved: Vec<(PathBuf, PathBuf)>,
}

impl Account {
    /// A message is in a folder that did not have it before.
    pub(super) fn came(&mut self, message: &MessageState<'_>, folder: &Path) {
        self.came.insert(file(message), place(folder, message));
    }

    /// A message is not in a folder any more.
    pub(super) fn gone(&mut self, message: &MessageState<'_>, folder: &Path) {
        let gone = Gone {
            folder: folder.to_owned(),
            name: message.name.to_vec(),
            message: MessageState { name: b"", ..*message },
        };
        self.gone.insert(file(message), gone);
    }

    /// A file was listed, could not be found to be read, and is not there any more.
    pub(super) fn lost(&mut self, ino: u64, place: PathBuf) {
        self.lost.entry(ino).or_insert(place);
    }

    /// The messages that are not where they were, and not among `places` either. They are taken out.
    pub(super) fn take_gone(&mut self, places: &BTreeMap<File, PathBuf>) -> Vec<Gone> {
        self.gone
            .extract_if(.., |file, _| !places.contains_key(file))
            .map(|(_, gone)| gone)
            .collect()
    }

    /// The messages that are not where they were.
    pub(super) fn gone_messages(&self) -> impl Iterator<Item = MessageState<'_>> {
        self.gone.values().map(Gone::message)
    }

    /// The inodes of files that were listed and never read.
    pub(super) fn lost_inodes(&self) -> impl Iterator<Item = u64> {
        self.lost.keys().copied()
    }

    /// The same for files of which only the inode is known.
    pub(super) fn take_lost(&mut self, places: &BTreeMap<File, PathBuf>) -> Vec<PathBuf> {
        let is_anywhere = |ino: &u64| with_inode(places, *ino).is_some();
        self.lost.extract_if(.., |ino, _| !is_anywhere(ino)).map(|(_, place)| place).collect()
    }

    /// The inodes of which it must be known whether the mailbox still has them.
    pub(super) fn inodes(&self) -> BTreeSet<u64> {
        let files = self.came.keys().chain(self.gone.keys());
        files.map(|(ino, _)| *ino).chain(self.lost.keys().copied()).collect()
    }

    /// Closes the account. `places` has the files with these inodes that the mailbox has now.
    pub(super) fn balance(self, places: &BTreeMap<File, PathBuf>) -> Balance {
        let mut balance = Balance::default();
        let mut explained = BTreeSet::new();
        for (file, gone) in self.gone {
            match places.get(&file) {
                Some(to) => {
                    explained.insert(file);
                    balance.moved.push((gone.place(), to.clone()));
                }
                None => balance.expunged.push(gone.place()),
            }
        }
        for (ino, from) in self.lost {
            match with_inode(places, ino) {
                // It may have been listed in several places, and read in one.
                Some((file, to)) if explained.insert(*file) => {
                    balance.moved.push((from, to.clone()));
                }
                Some(_) => {}
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
    (message.ino, message.sum)
}

fn with_inode(places: &BTreeMap<File, PathBuf>, ino: u64) -> Option<(&File, &PathBuf)> {
    places.range((ino, [0; 32])..=(ino, [u8::MAX; 32])).next()
}

/// Where a message is in its mailbox.
pub(super) fn place(folder: &Path, message: &MessageState<'_>) -> PathBuf {
    folder.join(message.subdir().name()).join(os(message.name))
}
