//! Folders that were renamed, known again by the GUID that Dovecot gives each in its uidlist. Their
//! messages are taken over under the new path, and none is opened.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use maildir::{Folder, Layout, Opened, Uidlist, control_dir};

use super::outside::CONTROL;
use super::scan::{Scan, key};
use crate::state::{FolderState, MailboxState};

/// Folders of the last run by their GUIDs.
pub(super) type ByGuid<'run> = HashMap<&'run str, &'run FolderState>;

impl<'run> Scan<'_, 'run, '_> {
    /// The folders of the last run whose paths are no folders any more.
    pub(super) fn left(&self, there: &HashSet<&[u8]>) -> ByGuid<'run> {
        let old: &'run MailboxState = self.run.old;
        let left = old.folders.iter().filter(|(path, _)| !there.contains(&path[..]));
        left.filter_map(|(_, state)| Some((state.guid.as_deref()?, state))).collect()
    }

    /// What the last run knew of a folder that had another path then: one of those `left`.
    pub(super) fn known_elsewhere(
        &self,
        folder: &Folder,
        left: &ByGuid<'run>,
    ) -> Option<&'run FolderState> {
        if left.is_empty() {
            return None;
        }
        left.get(&*guid(&self.uidlist(folder))?).copied()
    }

    /// Where Dovecot has a folder's uidlist: in it, or where the control files are.
    pub(super) fn uidlist(&self, folder: &Folder) -> PathBuf {
        let dir = match self.run.job.outside.get(CONTROL) {
            Some(control) => control_dir(control, &folder.path, Layout::of_control(control)),
            None => self.root().join(&folder.path),
        };
        dir.join(UIDLIST)
    }

    /// Where each of `folders` was when the run saw it, if that path is among the `gone`: from, to.
    pub(super) fn renamed<'t>(
        &self,
        gone: &BTreeSet<Vec<u8>>,
        folders: impl Iterator<Item = &'t Folder>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let guid_of = |path: &'_ Vec<u8>| self.run.next.folders.get(path)?.guid.clone();
        let by_guid: HashMap<String, &Vec<u8>> =
            gone.iter().filter_map(|path| Some((guid_of(path)?, path))).collect();
        if by_guid.is_empty() {
            return Vec::new();
        }
        let from = |folder: &Folder| by_guid.get(&guid(&self.uidlist(folder))?).copied();
        folders.filter_map(|to| Some((from(to)?.clone(), key(to).to_vec()))).collect()
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
