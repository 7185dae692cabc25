//! Folders that were renamed, known again by the GUID that Dovecot gives each in its uidlist. Their
//! messages are taken over under the new path, and none is opened.

use std::io::Read;
use std::path::{Path, PathBuf};

use maildir::{Folder, Layout, Opened, Tree, Uidlist, control_dir};

use super::outside::CONTROL;
use super::scan::{Scan, key};
use crate::state::{FolderState, MailboxState};

impl<'run> Scan<'_, 'run, '_> {
    /// What the last run knew of a folder that had another path then, which is no folder any more.
    pub(super) fn known_elsewhere(
        &self,
        folder: &Folder,
        tree: &Tree,
    ) -> Option<&'run FolderState> {
        let is_there = |path: &[u8]| tree.folders.iter().any(|folder| key(folder) == path);
        let old: &'run MailboxState = self.run.old;
        let old = old.folders.iter().filter(|(path, _)| !is_there(path));
        let mut left = old.filter(|(_, state)| state.guid.is_some()).peekable();
        left.peek()?;
        let guid = guid(&self.uidlist(folder))?;
        left.find(|(_, state)| state.guid.as_ref() == Some(&guid)).map(|(_, state)| state)
    }

    /// Where Dovecot has a folder's uidlist: in it, or where the control files are.
    pub(super) fn uidlist(&self, folder: &Folder) -> PathBuf {
        let dir = match self.run.job.outside.get(CONTROL) {
            Some(control) => control_dir(control, &folder.path, Layout::of_control(control)),
            None => self.root().join(&folder.path),
        };
        dir.join(UIDLIST)
    }

    /// Which of the folders that are `gone` this one was when the run saw it.
    pub(super) fn same_folder(&self, folder: &Folder, gone: &[Vec<u8>]) -> Option<Vec<u8>> {
        let known = |path: &&Vec<u8>| {
            self.run.next.folders.get(*path).and_then(|state| state.guid.as_ref())
        };
        gone.iter().find(|path| known(path).is_some())?;
        let guid = guid(&self.uidlist(folder))?;
        gone.iter().find(|path| known(path) == Some(&guid)).cloned()
    }
}

/// The mailbox GUID in the head of a uidlist.
pub(super) fn guid(uidlist: &Path) -> Option<String> {
    let Opened::Message(uidlist) = maildir::open_file(uidlist).ok()? else { return None };
    let mut head = Vec::new();
    uidlist.file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    head.truncate(memchr::memchr(b'\n', &head)?);
    Some(String::from_utf8_lossy(Uidlist::parse(&head)?.guid?).into_owned())
}

const UIDLIST: &str = "dovecot-uidlist";

const HEAD_BYTES: u64 = 1024;
