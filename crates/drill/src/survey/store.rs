//! Reads a store of Maildirs: every message of every folder, once, whoever renames it meanwhile, with what its uidlist
//! says that IMAP clients see. What no uidlist knows yet has no UID that a client could have seen.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use maildir::{
    Keywords, OpenMessage, Opened, Opener, Proof, Scope, Uidlist, find_mailboxes, flags, read_tree,
};

use super::LONGEST;
use super::imap::join;
use crate::journal::Imap;

/// What a folder says of itself: its name, UIDVALIDITY and the next UID.
pub(super) struct FolderFacts {
    pub(super) name: String,
    pub(super) validity: u32,
    pub(super) next: u32,
}

/// Takes what is found.
pub(super) trait Taker {
    /// A folder with UIDs, and whose mailbox it is in.
    fn folder(&mut self, owner: Option<u32>, folder: &FolderFacts);
    /// A message, and whose mailbox it is in.
    fn message(&mut self, owner: Option<u32>, message: &[u8], imap: Option<Imap>);
}

/// Reads all mailboxes.
pub(super) fn read(
    root: &Path,
    mailboxes: &HashMap<PathBuf, u32>,
    taker: &mut impl Taker,
) -> Result<(), String> {
    let found = find_mailboxes(root).map_err(|e| e.to_string())?;
    if let Some(first) = found.unreadable.first() {
        return Err(first.to_string());
    }
    let mut buffer = Vec::new();
    for mailbox in found.mailboxes {
        let path = root.join(&mailbox.path);
        let owner = mailboxes.get(&path).copied();
        let tree = read_tree(&path, Scope::Mailbox).map_err(|e| e.to_string())?;
        if let Some(first) = tree.unreadable.first() {
            return Err(first.to_string());
        }
        for folder in tree.folders.iter().filter(|folder| folder.is_maildir) {
            let name = folder.path.to_string_lossy();
            let name = if name.is_empty() { "INBOX".to_owned() } else { name.into_owned() };
            read_folder(&path.join(&folder.path), &name, owner, &mut buffer, taker)?;
        }
    }
    Ok(())
}

fn read_folder(
    folder: &Path,
    name: &str,
    owner: Option<u32>,
    buffer: &mut Vec<u8>,
    taker: &mut impl Taker,
) -> Result<(), String> {
    let mut opener = Opener::new(Proof::default());
    let listing = opener.list(folder).map_err(|e| e.to_string())?;
    if listing.is_unstable {
        return Err(format!("{} kept changing while it was listed", folder.display()));
    }
    // After the listing: what it does not know came later.
    let bytes = std::fs::read(folder.join("dovecot-uidlist")).unwrap_or_default();
    let uidlist = Uidlist::parse(&bytes);
    let uids: HashMap<&[u8], u32> = uidlist
        .iter()
        .flat_map(|list| &list.records)
        .map(|record| (record.base(), record.uid))
        .collect();
    let keywords =
        Keywords::parse(&std::fs::read(folder.join("dovecot-keywords")).unwrap_or_default());
    let validity = uidlist.as_ref().map_or(0, |list| list.uid_validity);
    if let Some(list) = &uidlist {
        let facts = FolderFacts { name: name.to_owned(), validity, next: list.next_uid };
        taker.folder(owner, &facts);
    }
    let mut before: Option<&[u8]> = None;
    for entry in listing.entries() {
        // One that is moved to `cur` while it is listed is in both.
        let base = listing.base(entry);
        if before.replace(base) == Some(base) {
            continue;
        }
        let file_name = listing.name(entry);
        let opened = opener.open(folder, entry.subdir, file_name).map_err(|e| e.to_string())?;
        // What is gone was removed by its reader: who asks for it is told that it is gone.
        let Opened::Message(message) = opened else { continue };
        let imap = uids
            .get(base)
            .map(|uid| imap(name, validity, *uid, told(file_name, &keywords), &message));
        buffer.clear();
        let read = message.file.take(LONGEST).read_to_end(buffer);
        read.map_err(|e| format!("cannot read a message in {}: {e}", folder.display()))?;
        taker.message(owner, buffer, imap);
    }
    Ok(())
}

fn imap(folder: &str, validity: u32, uid: u32, flags: String, message: &OpenMessage) -> Imap {
    let date = Some(message.mtime_ns.div_euclid(1_000_000_000));
    Imap { folder: folder.to_owned(), validity, uid, flags: Some(flags), date }
}

/// Flags of a file name with the names of keywords in place of their letters, which mean something in one folder only.
fn told(file_name: &[u8], keywords: &Keywords) -> String {
    let (mut letters, mut names) = (String::new(), Vec::new());
    for letter in flags(file_name) {
        match keywords.name(*letter) {
            Some(name) => names.push(String::from_utf8_lossy(name)),
            None => letters.push(char::from(*letter)),
        }
    }
    names.sort_unstable();
    join(letters, &names.iter().map(|name| &**name).collect::<Vec<_>>())
}
