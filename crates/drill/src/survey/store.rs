//! Reads a store of Maildirs: every message of every folder, once, whoever renames it meanwhile, with what its uidlist
//! says that IMAP clients see. What no uidlist knows yet has no UID that a client could have seen.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use maildir::{
    Keywords, OpenMessage, Opened, Opener, Proof, Scope, Tree, Uidlist, find_mailboxes, flags,
    leads_to_mail, read_tree,
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
    // Of people to whom nothing is sent, nobody asks.
    let is_of_somebody = |path: &Path| {
        mailboxes.keys().any(|mailbox| mailbox.starts_with(path) || path.starts_with(mailbox))
    };
    for link in found.links.iter().map(|link| root.join(link)) {
        if is_of_somebody(&link) && leads_to_mail(&link) {
            return Err(format!("{} leads out of the store, and is not followed", link.display()));
        }
    }
    for foreign in &found.foreign {
        let path = root.join(&foreign.path);
        if is_of_somebody(&path) {
            return Err(format!("{} is {}, which is not read", path.display(), foreign.format));
        }
    }
    let mut buffer = Vec::new();
    for mailbox in found.mailboxes {
        let path = root.join(&mailbox.path);
        let owner = mailboxes.get(&path).copied();
        let tree = read_folders(&path)?;
        for folder in tree.folders.iter().filter(|folder| folder.is_maildir) {
            let name = folder.path.to_string_lossy();
            let name = if name.is_empty() { "INBOX".to_owned() } else { name.into_owned() };
            read_folder(&path.join(&folder.path), &name, owner, &mut buffer, taker)?;
        }
    }
    Ok(())
}

/// The folders of a mailbox, all of them: one that was renamed on the way may have been missed.
fn read_folders(mailbox: &Path) -> Result<Tree, String> {
    for _ in 0..ROUNDS {
        let tree = read_tree(mailbox, Scope::Mailbox).map_err(|e| e.to_string())?;
        if let Some(first) = tree.unreadable.first() {
            return Err(first.to_string());
        }
        let mut kept = tree.files.iter().map(|file| mailbox.join(file));
        if let Some(link) = kept.find(|path| path.is_symlink() && leads_to_mail(path)) {
            return Err(format!("{} is a link, and is not followed", link.display()));
        }
        if !tree.is_shaky {
            return Ok(tree);
        }
    }
    Err(format!("folders of {} kept being renamed", mailbox.display()))
}

/// A file of Dovecot's; empty: there is none.
fn read_beside(path: &Path) -> Result<Vec<u8>, String> {
    match std::fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|e| format!("cannot read {}: {e}", path.display())),
    }
}

/// How many messages each mailbox has, in all its folders.
pub(crate) fn count(root: &Path) -> Result<BTreeMap<String, u64>, String> {
    let found = find_mailboxes(root).map_err(|e| e.to_string())?;
    if let Some(first) = found.unreadable.first() {
        return Err(first.to_string());
    }
    let mut counts = BTreeMap::new();
    let mut opener = Opener::new(Proof::default());
    for mailbox in found.mailboxes {
        let path = root.join(&mailbox.path);
        let mut count = 0;
        for folder in read_folders(&path)?.folders.iter().filter(|folder| folder.is_maildir) {
            let listing = opener.list(&path.join(&folder.path)).map_err(|e| e.to_string())?;
            count += listing.entries().len() as u64;
        }
        counts.insert(mailbox.path.to_string_lossy().into_owned(), count);
    }
    Ok(counts)
}

fn read_folder(
    folder: &Path,
    name: &str,
    owner: Option<u32>,
    buffer: &mut Vec<u8>,
    taker: &mut impl Taker,
) -> Result<(), String> {
    let mut opener = Opener::new(Proof::default());
    let mut listing = opener.list(folder).map_err(|e| e.to_string())?;
    for _ in 0..ROUNDS {
        if !listing.is_unstable {
            break;
        }
        // What waited for a server comes all at once when it is back.
        std::thread::sleep(PAUSE);
        listing = opener.list(folder).map_err(|e| e.to_string())?;
    }
    if listing.is_unstable {
        return Err(format!("{} kept changing while it was listed", folder.display()));
    }
    // After the listing: what it does not know came later.
    let bytes = read_beside(&folder.join("dovecot-uidlist"))?;
    let uidlist = Uidlist::parse(&bytes);
    if uidlist.is_none() && !bytes.is_empty() {
        return Err(format!("{}: its dovecot-uidlist is none", folder.display()));
    }
    let uids: HashMap<&[u8], u32> = uidlist
        .iter()
        .flat_map(|list| &list.records)
        .map(|record| (record.base(), record.uid))
        .collect();
    let keywords = Keywords::parse(&read_beside(&folder.join("dovecot-keywords"))?);
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

/// Looks at one mailbox, or folder, while it does not stand still.
const ROUNDS: u32 = 20;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[derive(Default)]
    struct Heard {
        messages: Vec<(Option<u32>, Option<u32>)>,
    }

    impl Taker for Heard {
        fn folder(&mut self, _: Option<u32>, _: &FolderFacts) {}

        fn message(&mut self, owner: Option<u32>, _: &[u8], imap: Option<Imap>) {
            self.messages.push((owner, imap.map(|imap| imap.uid)));
        }
    }

    /// What is read of a store with one message of one person, once something was done to his mailbox.
    fn read_after(spoil: impl FnOnce(&Path)) -> Result<Heard, String> {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("store");
        for mailbox in ["store/x.test/u1", "store/x.test/other", "elsewhere"] {
            for subdir in ["cur", "new", "tmp"] {
                fs::create_dir_all(home.path().join(mailbox).join(subdir)).unwrap();
            }
        }
        let mine = root.join("x.test/u1");
        fs::write(mine.join("cur/1.M1.host:2,S"), "Subject: x\n\nx\n").unwrap();
        fs::write(mine.join("dovecot-uidlist"), "3 V7 N9 Gx\n8 :1.M1.host\n").unwrap();
        fs::write(home.path().join("elsewhere/cur/2.M2.host:2,"), "x").unwrap();
        spoil(home.path());
        let mut heard = Heard::default();
        let mailboxes = HashMap::from([(mine, 0)]);
        read(&root, &mailboxes, &mut heard).map(|()| heard)
    }

    #[test]
    fn what_cannot_be_read_is_told_and_is_not_nothing() {
        assert_eq!(read_after(|_| {}).unwrap().messages, [(Some(0), Some(8))]);
        let mine = "store/x.test/u1";
        let gone = |home: &Path| fs::remove_file(home.join(mine).join("dovecot-uidlist")).unwrap();
        assert_eq!(read_after(gone).unwrap().messages, [(Some(0), None)]);
        let told = |spoil: &dyn Fn(&Path)| read_after(spoil).err().unwrap_or_default();
        let why = told(&|home| {
            fs::write(home.join(mine).join("dovecot-uidlist"), "garbage").unwrap();
        });
        assert!(why.ends_with("its dovecot-uidlist is none"), "{why}");
        let why = told(&|home| {
            fs::create_dir(home.join(mine).join("dovecot-keywords")).unwrap();
        });
        assert!(why.contains("cannot read") && why.contains("dovecot-keywords"), "{why}");
        let why =
            told(&|home| symlink("../../../elsewhere", home.join(mine).join(".Far")).unwrap());
        assert!(why.contains(".Far"), "{why}");
        let why = told(&|home| {
            fs::rename(home.join(mine), home.join("moved")).unwrap();
            symlink("../../moved", home.join(mine)).unwrap();
        });
        assert!(why.ends_with("leads out of the store, and is not followed"), "{why}");
        // What is another one's is no part of it.
        let other = |home: &Path| {
            fs::remove_dir_all(home.join("store/x.test/other")).unwrap();
            symlink("../../elsewhere", home.join("store/x.test/other")).unwrap();
        };
        assert_eq!(read_after(other).unwrap().messages.len(), 1);
    }
}
