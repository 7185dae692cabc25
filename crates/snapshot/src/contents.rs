//! Looking into a snapshot: its mailboxes, their folders, their messages; its plain trees, their files.

use std::io;

use serde::Serialize;

use crate::catalog::{self, CatalogHead, Contents, Line};
use crate::choose;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::manifest::{CatalogRef, Manifest};
use crate::message;
use crate::message_id::MessageId;
use crate::named;
use crate::nearest::{hint, nearest};
use crate::parallel;
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

/// A plain tree of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeRow {
    /// Its id in the repository.
    pub id: String,
    /// Name: its absolute path.
    pub name: String,
    /// Number of folders, itself among them.
    pub folders: u64,
    /// Number of files and links.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Whether it was taken over from an earlier snapshot.
    pub carried: bool,
}

/// An entry of a plain tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// Path inside the tree; `.` for the tree itself.
    pub path: String,
    /// `file`, `folder` or `link`.
    pub kind: &'static str,
    /// Mode, in octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time of a file or folder, seconds since 1970 with decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<String>,
    /// Size of a file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where a link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a snapshot holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Mailboxes, by name.
    pub mailboxes: Vec<MailboxRow>,
    /// Plain trees, by name.
    pub trees: Vec<TreeRow>,
    /// Those of both that could not be read.
    pub unreadable: Vec<Unreadable>,
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

/// All mailboxes and trees; `threads` at the same time.
pub fn list(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    threads: usize,
) -> Result<Listing> {
    let identity = unseal(repository, identity)?;
    let catalogs: Vec<(&String, &CatalogRef)> = manifest.mailboxes.iter().collect();
    let read = |(id, catalog): &(&String, &CatalogRef)| {
        let mailbox = repository.open_mailbox(id, identity)?;
        let (_, contents) = read(repository, manifest, &mailbox)?;
        let (id, name) = ((*id).clone(), mailbox.display_name());
        Ok(if contents.tree {
            Row::Tree(tree_row(id, name, &contents, catalog.carried))
        } else {
            Row::Mailbox(mailbox_row(id, name, &contents, catalog.carried))
        })
    };
    let mut list = Listing::default();
    for ((id, _), row) in catalogs.iter().zip(parallel::map(threads, &catalogs, read)) {
        match row {
            Ok(Row::Mailbox(row)) => list.mailboxes.push(row),
            Ok(Row::Tree(row)) => list.trees.push(row),
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => {
                list.unreadable.push(Unreadable { id: (*id).clone(), reason: e.to_string() });
            }
            Err(e) => return Err(e),
        }
    }
    list.mailboxes.sort_by(|a, b| a.name.cmp(&b.name).then(a.path.cmp(&b.path)));
    list.trees.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

enum Row {
    Mailbox(MailboxRow),
    Tree(TreeRow),
}

fn mailbox_row(id: String, name: String, contents: &Contents, carried: bool) -> MailboxRow {
    MailboxRow {
        id,
        name,
        path: readable(&contents.path),
        folders: contents.folders.values().filter(|folder| folder.maildir).count() as u64,
        messages: contents.messages,
        bytes: contents.bytes,
        carried,
    }
}

fn tree_row(id: String, name: String, contents: &Contents, carried: bool) -> TreeRow {
    TreeRow {
        id,
        name,
        folders: contents.folders.len() as u64,
        files: contents.files.len() as u64,
        bytes: contents.files.values().filter_map(file_size).sum(),
        carried,
    }
}

/// What the mailbox that `name` names held.
pub fn mailbox(
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    name: &str,
) -> Result<Contents> {
    let mailbox = named::find(repository, manifest, unseal(repository, identity)?, name)?;
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
    let manifest = match Manifest::read(repository.store(), &wanted.snapshot) {
        Err(Error::Store(e)) if e.is_not_found() => {
            let what = format!("there is no snapshot {} (of message {wanted})", wanted.snapshot);
            return Err(Error::choice(what, choose::HINT));
        }
        read => read?,
    };
    let ids = manifest.mailboxes.keys().filter(|id| id.starts_with(&wanted.mailbox));
    let mut is_known = false;
    for id in ids {
        is_known = true;
        let mailbox = repository.open_mailbox(id, identity)?;
        let (head, contents) = read(repository, &manifest, &mailbox)?;
        if let Some(entry) = contents.message(&wanted.hash) {
            return message::copy(repository, &mailbox, &head, &entry.content, out);
        }
    }
    let MessageId { snapshot, mailbox, .. } = wanted;
    let what = if is_known {
        format!("the mailbox {mailbox} has no message {wanted} in snapshot {snapshot}")
    } else {
        format!("snapshot {snapshot} has no mailbox {mailbox} (of message {wanted})")
    };
    Err(Error::choice(what, "give a whole id, as `mailrig find` prints it"))
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

/// The folders, files and links of a plain tree, by path.
pub fn files(contents: &Contents) -> Vec<FileRow> {
    let row = |path: &str, kind, owner: &catalog::Owner| FileRow {
        path: if path.is_empty() { ".".into() } else { readable(path) },
        kind,
        mode: owner.mode.clone(),
        uid: owner.uid,
        gid: owner.gid,
        mtime: None,
        bytes: None,
        target: None,
    };
    let folders = contents.folders.iter().map(|(path, folder)| FileRow {
        mtime: folder.mtime.clone(),
        ..row(path, "folder", &folder.owner)
    });
    let files = contents.files.iter().filter_map(|(path, line)| match line {
        Line::File { owner, content, .. } => Some(FileRow {
            mtime: Some(content.mtime.clone()),
            bytes: Some(content.size),
            ..row(path, "file", owner)
        }),
        Line::Link { owner, target, .. } => {
            Some(FileRow { target: Some(readable(target)), ..row(path, "link", owner) })
        }
        _ => None,
    });
    let mut rows: Vec<FileRow> = folders.chain(files).collect();
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows
}

/// The messages of a folder, by base name.
pub fn messages(contents: &Contents, folder: &str) -> Result<Vec<MessageRow>> {
    let path = crate::restore::folder_path(contents, folder)
        .ok_or_else(|| no_folder("the mailbox", contents, folder))?;
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

/// The error for a folder that the mailbox called `whose` has not.
pub(crate) fn no_folder(whose: &str, contents: &Contents, folder: &str) -> Error {
    // As people write it; the dot of Maildir++ is no part of the name.
    let names =
        folders(contents).into_iter().map(|row| row.folder.trim_start_matches('.').to_owned());
    let near = nearest(folder, names);
    let otherwise = "`mailrig ls REPO SNAPSHOT --mailbox NAME` lists its folders";
    let what = format!("{whose} has no folder `{folder}` in this snapshot");
    Error::choice(what, hint(&near, otherwise))
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

fn file_size(line: &Line) -> Option<u64> {
    match line {
        Line::File { content, .. } => Some(content.size),
        _ => None,
    }
}

pub(crate) fn readable(encoded: &str) -> String {
    let name = decode_name(encoded).unwrap_or_default();
    String::from_utf8_lossy(&name).into_owned()
}
