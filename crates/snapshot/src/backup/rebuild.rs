//! Rebuilds a lost state from the repository: the newest snapshot's catalogs tell what was stored,
//! the pack indexes tell the hashes. Needs an identity; without one everything is read again.

use std::collections::HashMap;
use std::path::Path;

use super::Options;
use super::folder::sort;
use super::parent;
use crate::catalog::{self, CatalogHead, Contents, Line, Owner, Section, parse_time};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::index::{INDEX_BYTES, Sections};
use crate::layout::{decode_name, id_in_name, mailbox_prefix};
use crate::manifest::CatalogRef;
use crate::object::ObjectRef;
use crate::repository::{OpenMailbox, Repository};
use crate::state::{
    ChainLink, FileState, FolderState, KnownMailbox, MailboxState, Mailboxes, MessageState,
    PackState, State,
};
use crate::xattrs::{self, XattrSets};

/// The mailboxes of the newest snapshot of this store, their states written to `state`.
pub(crate) fn run(
    repository: &Repository,
    state: &State,
    root: &Path,
    identity: Option<&Unseal>,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<Mailboxes> {
    let mut mailboxes = Mailboxes::new();
    let Some(manifest) = parent::newest_of(repository, root, options, notices)? else {
        return Ok(mailboxes);
    };
    let plain = Unseal::Plain;
    let identity = match identity {
        _ if !repository.is_encrypted() => &plain,
        Some(identity) => identity,
        None => {
            notices.push(
                "this host's state is lost and no identity was given: every message is read and \
                 stored again (give --identity once to avoid that)"
                    .into(),
            );
            return Ok(mailboxes);
        }
    };
    for (id, catalog) in &manifest.mailboxes {
        match rebuild(repository, id, catalog, identity) {
            Ok((path, mailbox, rebuilt)) => {
                if !options.dry_run {
                    state.prepare_mailbox(id, &rebuilt)?;
                    state.commit_mailbox(id)?;
                }
                let OpenMailbox { recipient, name, .. } = mailbox;
                mailboxes.insert(path, KnownMailbox { id: id.clone(), recipient, name });
            }
            // Whatever cannot be read is stored again.
            Err(e) if e.is_local_to_object() && !matches!(e, Error::WrongIdentity { .. }) => {
                notices.push(format!("a mailbox is stored again, because {e}"));
            }
            Err(e) => return Err(e),
        }
    }
    if !options.dry_run {
        state.set_mailboxes(&mailboxes)?;
    }
    notices.push(format!(
        "this host's state was lost and has been rebuilt from snapshot {}",
        manifest.id
    ));
    Ok(mailboxes)
}

fn rebuild(
    repository: &Repository,
    id: &str,
    catalog: &CatalogRef,
    identity: &Unseal,
) -> Result<(String, OpenMailbox, MailboxState)> {
    let mailbox = repository.open_mailbox(id, identity)?;
    let store = repository.store();
    let (head, contents) =
        catalog::read(store, id, &catalog.catalog, &catalog.reference, &mailbox.unseal)?;
    let link = link(&catalog.catalog, &catalog.reference);
    let mut state =
        MailboxState { catalog: Some(link), parents: parents(&head), ..MailboxState::default() };
    let sums = read_packs(repository, &mailbox, &head, &mut state)?;
    state.next_pack = state.packs.keys().last().map_or(0, |number| number + 1);
    let damaged = || Error::damaged(&catalog.catalog, "has an entry that is not as it should be");
    for (path, folder) in &contents.folders {
        let mut messages = Vec::with_capacity(folder.messages.len());
        let names: Option<Vec<_>> =
            folder.messages.values().map(|message| decode_name(&message.name)).collect();
        let names = names.ok_or_else(damaged)?;
        for ((key, entry), name) in folder.messages.iter().zip(&names) {
            let (is_new, name) = match name.split_at_checked(4) {
                Some((b"new/", name)) => (true, name),
                Some((b"cur/", name)) => (false, name),
                _ => return Err(damaged()),
            };
            let place = (entry.content.pack, entry.content.member);
            messages.push(MessageState {
                name,
                is_new,
                is_duplicate: *key != catalog::message_key(&entry.name),
                ino: 0,
                size: entry.content.size,
                mtime_ns: parse_time(&entry.content.mtime).ok_or_else(damaged)?,
                mode: entry.owner.mode_bits(),
                uid: entry.owner.uid,
                gid: entry.owner.gid,
                pack: place.0,
                member: place.1,
                xattrs: number(&mut state.xattrs, &entry.owner),
                sum: *sums.get(&place).ok_or_else(damaged)?,
            });
        }
        sort(&mut messages);
        let mut folder_state = FolderState {
            attributes: tuple(&folder.owner),
            mtime_ns: folder.mtime.as_deref().and_then(parse_time),
            xattrs: number(&mut state.xattrs, &folder.owner),
            is_maildir: folder.maildir,
            ..FolderState::default()
        };
        folder_state.set_messages(&messages);
        let path = decode_name(path).ok_or_else(damaged)?.into_owned();
        state.folders.insert(path, folder_state);
    }
    for (name, place) in &contents.outside {
        let place = decode_name(place).ok_or_else(damaged)?.into_owned();
        state.outside.insert(name.clone(), place);
    }
    state.files = files(&contents, &sums, &mut state.xattrs).ok_or_else(damaged)?;
    let key = if contents.tree { format!("/{}", contents.path) } else { contents.path };
    Ok((key, mailbox, state))
}

type Places = HashMap<(u32, u32), Sum>;

/// What the catalog's packs and indexes are, and the hash of every member.
fn read_packs(
    repository: &Repository,
    mailbox: &OpenMailbox,
    head: &CatalogHead,
    state: &mut MailboxState,
) -> Result<Places> {
    let mut sums = Places::new();
    for need in &head.needs {
        let (Some(number), Some(raw)) = (need.pack, need.raw) else { continue };
        let (id, pack) = (id_in_name(&need.object).to_owned(), need.reference.clone());
        let (members, index, section) = (0, String::new(), (0, 0));
        let pack = PackState { id, pack, raw, members, index, section };
        state.packs.insert(number, pack);
    }
    for need in head.needs.iter().filter(|need| !need.sections.is_empty()) {
        let index = id_in_name(&need.object);
        let object = format!("{}{}", mailbox_prefix(&mailbox.id), need.object);
        for Section(number, start, end) in &need.sections {
            if let Some(pack) = state.packs.get_mut(number) {
                (pack.index, pack.section) = (index.to_owned(), (*start, *end));
            }
        }
        state.indexes.insert(index.to_owned(), need.reference.clone());
        let numbers: HashMap<String, u32> =
            state.packs.iter().map(|(number, pack)| (pack.id.clone(), *number)).collect();
        let sealed = need.reference.read(repository.store(), &object, INDEX_BYTES)?;
        let mut sections = Sections::open(&object, &sealed, &mailbox.unseal)?;
        while let Some(section) = sections.next_section()? {
            let Some(number) = numbers.get(&section.pack) else { continue };
            if let Some(pack) = state.packs.get_mut(number) {
                pack.members = section.members;
            }
            let members = (0..).zip(sections.members()?);
            sums.extend(members.map(|(member, line)| ((*number, member), line.sum)));
        }
    }
    match state.packs.values().find(|pack| pack.index.is_empty()) {
        Some(pack) => Err(Error::damaged(&pack.id, "is in no index")),
        None => Ok(sums),
    }
}

fn parents(head: &CatalogHead) -> Vec<ChainLink> {
    let parent =
        |need: &catalog::Need| Some(link(need.object.strip_prefix("catalogs/")?, &need.reference));
    head.needs.iter().filter_map(parent).collect()
}

/// A catalog whose lines are not kept: it stays in the chain until the next full one.
fn link(id: &str, reference: &ObjectRef) -> ChainLink {
    let (id, reference) = (id.to_owned(), reference.clone());
    ChainLink { id, reference, runs: 1, lines: Vec::new() }
}

fn files(
    contents: &Contents,
    sums: &Places,
    xattrs: &mut XattrSets,
) -> Option<std::collections::BTreeMap<Vec<u8>, FileState>> {
    let mut files = std::collections::BTreeMap::new();
    for (path, line) in &contents.files {
        let mut file = FileState::default();
        match line {
            Line::File { owner, content, .. } => {
                file.xattrs = number(xattrs, owner);
                file.attributes = tuple(owner);
                file.mtime_ns = parse_time(&content.mtime)?;
                file.size = content.size;
                (file.pack, file.member) = (content.pack, content.member);
                file.sum = *sums.get(&(content.pack, content.member))?;
            }
            Line::Link { owner, target, .. } => {
                file.attributes = tuple(owner);
                file.target = Some(decode_name(target)?.into_owned());
            }
            _ => return None,
        }
        files.insert(decode_name(path)?.into_owned(), file);
    }
    Some(files)
}

fn tuple(owner: &Owner) -> (u32, u32, u32) {
    (owner.mode_bits(), owner.uid, owner.gid)
}

fn number(sets: &mut XattrSets, owner: &Owner) -> u32 {
    sets.number(xattrs::decode(&owner.xattrs).unwrap_or_default())
}
