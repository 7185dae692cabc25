//! Looking into a snapshot: its mailboxes, their folders, their messages.

use serde::Serialize;

use crate::catalog::{self, Contents};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::manifest::Manifest;
use crate::repository::{OpenMailbox, Repository};

/// A mailbox of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailboxRow {
    /// Its id in the repository.
    pub id: String,
    /// Name.
    pub name: String,
    /// Path inside the store.
    pub path: String,
    /// Number of folders.
    pub folders: u64,
    /// Number of messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it was taken over from an earlier snapshot.
    pub carried: bool,
}

/// A folder of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderRow {
    /// Path inside the mailbox; `INBOX` for the mailbox itself.
    pub folder: String,
    /// Number of messages.
    pub messages: u64,
    /// Messages in `new`.
    pub new: u64,
    /// Bytes of all.
    pub bytes: u64,
}

/// A message of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageRow {
    /// `new/` or `cur/`, and the file name with flags; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Flags.
    pub flags: String,
    /// Modification time (INTERNALDATE), seconds since 1970 with decimals.
    pub mtime: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A mailbox that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its id in the repository.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// All mailboxes, by name, and those that could not be read.
pub fn mailboxes(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
) -> Result<(Vec<MailboxRow>, Vec<Unreadable>)> {
    let identity = unseal(repository, identity)?;
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for (id, catalog) in &manifest.mailboxes {
        let read = repository.open_mailbox(id, identity).and_then(|mailbox| {
            let contents = read(repository, manifest, &mailbox)?;
            Ok((mailbox, contents))
        });
        match read {
            Ok((mailbox, contents)) => rows.push(MailboxRow {
                id: id.clone(),
                name: mailbox.display_name(),
                path: readable(&contents.path),
                folders: contents.folders.values().filter(|folder| folder.maildir).count() as u64,
                messages: contents.messages,
                bytes: contents.bytes,
                carried: catalog.carried,
            }),
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => {
                unreadable.push(Unreadable { id: id.clone(), reason: e.to_string() });
            }
            Err(e) => return Err(e),
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name).then(a.path.cmp(&b.path)));
    Ok((rows, unreadable))
}

/// What the mailbox called `name` held.
pub fn mailbox(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    name: &str,
) -> Result<Contents> {
    let mailbox = find(repository, manifest, unseal(repository, identity)?, name)?;
    read(repository, manifest, &mailbox)
}

/// The mailbox of a snapshot with this name or id. Two of one name are told apart by their ids.
pub(crate) fn find(
    repository: &Repository,
    manifest: &Manifest,
    identity: &Unseal,
    wanted: &str,
) -> Result<OpenMailbox> {
    let mut found: Vec<OpenMailbox> = Vec::new();
    for id in manifest.mailboxes.keys() {
        match repository.open_mailbox(id, identity) {
            Ok(mailbox) if mailbox.id == wanted => return Ok(mailbox),
            Ok(mailbox) if mailbox.display_name() == wanted => found.push(mailbox),
            Ok(_) => {}
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => {}
            Err(e) => return Err(e),
        }
    }
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|mailbox| mailbox.id.as_str()).collect();
        let ids = ids.join(", ");
        return Err(Error::Selection(format!(
            "several mailboxes are called `{wanted}`; name one by its id (see `ls --json`): {ids}"
        )));
    }
    found.pop().ok_or_else(|| {
        Error::Selection(format!("snapshot {} has no mailbox `{wanted}`", manifest.id))
    })
}

/// The folders of a mailbox.
pub fn folders(contents: &Contents) -> Vec<FolderRow> {
    let row = |(path, folder): (&String, &catalog::FolderContents)| FolderRow {
        folder: if path.is_empty() { "INBOX".into() } else { readable(path) },
        messages: folder.messages.len() as u64,
        new: folder.messages.values().filter(|m| m.name.starts_with("new/")).count() as u64,
        bytes: folder.messages.values().map(|m| m.content.size).sum(),
    };
    contents.folders.iter().filter(|(_, folder)| folder.maildir).map(row).collect()
}

/// The messages of a folder, by base name.
pub fn messages(contents: &Contents, folder: &str) -> Result<Vec<MessageRow>> {
    let path = crate::restore::folder_path(contents, folder)
        .ok_or_else(|| Error::Selection(format!("the mailbox has no folder `{folder}`")))?;
    let row = |message: &catalog::MessageEntry| {
        let name = decode_name(&message.name).unwrap_or_default();
        MessageRow {
            name: String::from_utf8_lossy(&name).into_owned(),
            flags: String::from_utf8_lossy(maildir::flags(&name)).into_owned(),
            mtime: message.content.mtime.clone(),
            bytes: message.content.size,
        }
    };
    Ok(contents.folders[path].messages.values().map(row).collect())
}

fn read(repository: &Repository, manifest: &Manifest, mailbox: &OpenMailbox) -> Result<Contents> {
    let catalog = manifest.mailboxes.get(&mailbox.id).ok_or_else(|| {
        Error::Selection(format!("snapshot {} has no mailbox {}", manifest.id, mailbox.id))
    })?;
    let (_, contents) = catalog::read(
        repository.store(),
        &mailbox.id,
        &catalog.catalog,
        &catalog.reference,
        &mailbox.unseal,
    )?;
    Ok(contents)
}

fn unseal<'i>(repository: &Repository, identity: Option<&'i Unseal>) -> Result<&'i Unseal> {
    match identity {
        _ if !repository.is_encrypted() => Ok(&Unseal::Plain),
        Some(identity) => Ok(identity),
        None => Err(Error::NoIdentity),
    }
}

fn readable(encoded: &str) -> String {
    let name = decode_name(encoded).unwrap_or_default();
    String::from_utf8_lossy(&name).into_owned()
}
