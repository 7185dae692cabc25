//! Looking into a snapshot: its mailboxes, their folders, their messages.

use serde::Serialize;

use crate::catalog::{self, Contents};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::manifest::Manifest;
use crate::repository::Repository;

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

/// All mailboxes, by name.
pub fn mailboxes(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
) -> Result<Vec<MailboxRow>> {
    let mut rows = Vec::new();
    for (id, catalog) in &manifest.mailboxes {
        let (name, contents) = read(repository, manifest, identity, id)?;
        rows.push(MailboxRow {
            id: id.clone(),
            name,
            path: readable(&contents.path),
            folders: contents.folders.values().filter(|folder| folder.maildir).count() as u64,
            messages: contents.messages,
            bytes: contents.bytes,
            carried: catalog.carried,
        });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name).then(a.path.cmp(&b.path)));
    Ok(rows)
}

/// What the mailbox called `name` held.
pub fn mailbox(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    name: &str,
) -> Result<Contents> {
    for id in manifest.mailboxes.keys() {
        let mailbox = repository.open_mailbox(id, unseal(repository, identity)?)?;
        if mailbox.display_name() == name {
            return Ok(read(repository, manifest, identity, id)?.1);
        }
    }
    Err(Error::Selection(format!("snapshot {} has no mailbox `{name}`", manifest.id)))
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

fn read(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    id: &str,
) -> Result<(String, Contents)> {
    let mailbox = repository.open_mailbox(id, unseal(repository, identity)?)?;
    let catalog = &manifest.mailboxes[id];
    let (_, contents) = catalog::read(
        repository.store(),
        id,
        &catalog.catalog,
        &catalog.reference,
        &mailbox.unseal,
    )?;
    Ok((mailbox.display_name(), contents))
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
