//! Looking into a snapshot: its mailboxes, their folders, their messages.

use std::io;

use serde::Serialize;

use crate::catalog::{self, CatalogHead, Contents};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::manifest::{CatalogRef, Manifest};
use crate::message;
use crate::message_id::MessageId;
use crate::parallel;
use crate::repository::{OpenMailbox, Repository};
use crate::tag::Tag;

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

/// All mailboxes, by name, and those that could not be read; `threads` at the same time.
pub fn mailboxes(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    threads: usize,
) -> Result<(Vec<MailboxRow>, Vec<Unreadable>)> {
    let identity = unseal(repository, identity)?;
    let catalogs: Vec<(&String, &CatalogRef)> = manifest.mailboxes.iter().collect();
    let read = |(id, catalog): &(&String, &CatalogRef)| {
        let mailbox = repository.open_mailbox(id, identity)?;
        let (_, contents) = read(repository, manifest, &mailbox)?;
        Ok(MailboxRow {
            id: (*id).clone(),
            name: mailbox.display_name(),
            path: readable(&contents.path),
            folders: contents.folders.values().filter(|folder| folder.maildir).count() as u64,
            messages: contents.messages,
            bytes: contents.bytes,
            carried: catalog.carried,
        })
    };
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for ((id, _), row) in catalogs.iter().zip(parallel::map(threads, &catalogs, read)) {
        match row {
            Ok(row) => rows.push(row),
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => {
                unreadable.push(Unreadable { id: (*id).clone(), reason: e.to_string() });
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
    Ok(read(repository, manifest, &mailbox)?.1)
}

/// Writes the source of a message to `out`; the inner error is that of writing. See
/// [`message::copy`].
pub fn message(
    repository: &Repository,
    identity: Option<&Unseal>,
    wanted: &MessageId,
    out: &mut dyn io::Write,
) -> Result<io::Result<()>> {
    let identity = unseal(repository, identity)?;
    let manifest = Manifest::read(repository.store(), &wanted.snapshot)?;
    let ids = manifest.mailboxes.keys().filter(|id| id.starts_with(&wanted.mailbox));
    for id in ids {
        let mailbox = repository.open_mailbox(id, identity)?;
        let (head, contents) = read(repository, &manifest, &mailbox)?;
        if let Some(entry) = contents.message(&wanted.hash) {
            return message::copy(repository, &mailbox, &head, &entry.content, out);
        }
    }
    Err(Error::Selection(format!("the snapshot has no message {wanted}")))
}

/// The mailbox of a snapshot with this name or id. Two of one name are told apart by their ids.
pub(crate) fn find(
    repository: &Repository,
    manifest: &Manifest,
    identity: &Unseal,
    wanted: &str,
) -> Result<OpenMailbox> {
    let tags: Vec<_> =
        manifest.mailboxes.iter().map(|(id, catalog)| (id.as_str(), catalog.tag)).collect();
    let mut found = named(repository, identity, &tags, wanted)?;
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

/// Those of the mailboxes `ids` that have this name or id. A tag that fits another name saves the
/// request for a key, if the name is found elsewhere.
pub(crate) fn named(
    repository: &Repository,
    identity: &Unseal,
    ids: &[(&str, Option<Tag>)],
    wanted: &str,
) -> Result<Vec<OpenMailbox>> {
    if ids.iter().any(|(id, _)| *id == wanted) {
        return Ok(vec![repository.open_mailbox(wanted, identity)?]);
    }
    let (likely, unlikely): (Vec<_>, Vec<_>) =
        ids.iter().partition(|(id, tag)| tag.is_none_or(|tag| tag.fits(id, wanted)));
    let mut found: Vec<OpenMailbox> = Vec::new();
    for ids in [likely, unlikely] {
        let open = |(id, _): &(&str, Option<Tag>)| repository.open_mailbox(id, identity);
        for mailbox in parallel::map(parallel::WAITING, &ids, open) {
            match mailbox {
                Ok(mailbox) if mailbox.display_name() == wanted => found.push(mailbox),
                Ok(_) => {}
                Err(Error::WrongIdentity { object }) => {
                    return Err(Error::WrongIdentity { object });
                }
                Err(e) if e.is_local_to_object() => {}
                Err(e) => return Err(e),
            }
        }
        // Tags are no proof: a mailbox is called what its key says.
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
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

/// What the catalog of an open mailbox says.
pub(crate) fn read(
    repository: &Repository,
    manifest: &Manifest,
    mailbox: &OpenMailbox,
) -> Result<(CatalogHead, Contents)> {
    let catalog = manifest.mailboxes.get(&mailbox.id).ok_or_else(|| {
        Error::Selection(format!("snapshot {} has no mailbox {}", manifest.id, mailbox.id))
    })?;
    catalog::read(
        repository.store(),
        &mailbox.id,
        &catalog.catalog,
        &catalog.reference,
        &mailbox.unseal,
    )
}

/// What opens the keys of a repository, if it takes anything.
pub(crate) fn unseal<'i>(
    repository: &Repository,
    identity: Option<&'i Unseal>,
) -> Result<&'i Unseal> {
    match identity {
        _ if !repository.is_encrypted() => Ok(&Unseal::Plain),
        Some(identity) => Ok(identity),
        None => Err(Error::NoIdentity),
    }
}

pub(crate) fn readable(encoded: &str) -> String {
    let name = decode_name(encoded).unwrap_or_default();
    String::from_utf8_lossy(&name).into_owned()
}
