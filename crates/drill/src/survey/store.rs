//! Reads a store of Maildirs: every message of every folder, once, whoever renames it meanwhile.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use maildir::{Opened, Opener, Proof, Scope, find_mailboxes, read_tree};

use super::LONGEST;

/// Gives each message with the recipient whose mailbox it lies in, if it is one's.
pub(super) fn read(
    root: &Path,
    mailboxes: &HashMap<PathBuf, u32>,
    tell: &mut dyn FnMut(Option<u32>, &[u8]),
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
            let folder = path.join(&folder.path);
            read_folder(&folder, &mut buffer, &mut |message| tell(owner, message))?;
        }
    }
    Ok(())
}

fn read_folder(
    folder: &Path,
    buffer: &mut Vec<u8>,
    tell: &mut dyn FnMut(&[u8]),
) -> Result<(), String> {
    let mut opener = Opener::new(Proof::default());
    let listing = opener.list(folder).map_err(|e| e.to_string())?;
    if listing.is_unstable {
        return Err(format!("{} kept changing while it was listed", folder.display()));
    }
    let mut before: Option<&[u8]> = None;
    for entry in listing.entries() {
        // One that is moved to `cur` while it is listed is in both.
        let base = listing.base(entry);
        if before.replace(base) == Some(base) {
            continue;
        }
        let opened =
            opener.open(folder, entry.subdir, listing.name(entry)).map_err(|e| e.to_string())?;
        // What is gone was removed by its reader; who asks for an account of it is told that it is gone.
        let Opened::Message(message) = opened else { continue };
        buffer.clear();
        let read = message.file.take(LONGEST).read_to_end(buffer);
        read.map_err(|e| format!("cannot read a message in {}: {e}", folder.display()))?;
        tell(buffer);
    }
    Ok(())
}
