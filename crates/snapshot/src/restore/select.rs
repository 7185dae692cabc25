//! What is restored of which mailbox: all of a snapshot, one mailbox, one folder, or messages by
//! their ids, which may be of several snapshots; those become one catalog, so that the rest of a
//! restore knows of one only.

use std::collections::{BTreeMap, HashSet};

use maildir::encode_utf7;

use super::Run;
use super::outside::folder_of_control;
use super::report::Missing;
use crate::catalog::{self, CatalogHead, Content, Contents, Line};
use crate::contents::readable;
use crate::error::{Error, Result};
use crate::layout::encode_name;
use crate::manifest::{CatalogRef, Manifest};
use crate::message_id::MessageId;
use crate::named;
use crate::repository::OpenMailbox;

/// A mailbox to restore.
pub(super) struct Selected<'r> {
    pub(super) id: &'r str,
    /// Its catalog, and the messages wanted of it; all without any. The newest snapshot is first.
    pub(super) sources: Vec<(&'r CatalogRef, Option<HashSet<&'r str>>)>,
    /// Whether it was asked for alone.
    pub(super) is_only: bool,
}

/// The path of the folder that people call `name`: `INBOX`, `Sent`, `Müll` or `Archive/2025` in
/// either layout, or the path itself.
pub fn folder_path<'c>(contents: &'c Contents, name: &str) -> Option<&'c str> {
    let as_on_disk = encode_name(name.as_bytes()).into_owned();
    if name.eq_ignore_ascii_case("INBOX") && !contents.folders.contains_key(&as_on_disk) {
        return contents.folders.get_key_value("").map(|(path, _)| path.as_str());
    }
    let candidates = [as_on_disk, encode_name(encode_utf7(name).as_bytes()).into_owned()];
    let candidates = candidates.into_iter().flat_map(|encoded| {
        let dotted = format!(".{}", encoded.replace('/', "."));
        let nested = encoded.replace('.', "/");
        [encoded, dotted, nested]
    });
    let mut found = candidates.filter_map(|path| contents.folders.get_key_value(&path));
    found.next().map(|(path, _)| path.as_str()).or_else(|| as_shown(contents, name))
}

/// The one folder that is shown so: bytes that are not UTF-8 are replaced where names are printed.
fn as_shown<'c>(contents: &'c Contents, name: &str) -> Option<&'c str> {
    let is_shown = |path: &&String| {
        let shown = readable(path);
        shown == name || shown.strip_prefix('.') == Some(name)
    };
    let mut found = contents.folders.keys().filter(is_shown);
    found.next().filter(|_| found.next().is_none()).map(String::as_str)
}

impl<'r> Run<'r> {
    /// The mailboxes to restore. A name is looked up by opening keys.
    pub(super) fn select(&self, manifests: &'r [Manifest]) -> Result<Vec<Selected<'r>>> {
        let mut selected = match &self.options.messages {
            Some(messages) => self.of_messages(manifests, messages),
            None => manifests.iter().take(1).flat_map(whole).collect(),
        };
        if let Some(wanted) = &self.options.mailbox {
            let Some(manifest) = manifests.first() else { return Ok(Vec::new()) };
            let found = named::find(self.repository, manifest, self.identity, wanted)?;
            selected.retain(|mailbox| mailbox.id == found.id);
        }
        let is_only = selected.len() == 1;
        selected.iter_mut().for_each(|mailbox| mailbox.is_only = is_only);
        Ok(selected)
    }

    fn of_messages(&self, manifests: &'r [Manifest], ids: &'r [MessageId]) -> Vec<Selected<'r>> {
        let mut mailboxes: BTreeMap<&str, BTreeMap<&str, (&CatalogRef, HashSet<&str>)>> =
            BTreeMap::new();
        for id in ids {
            let found = manifests.iter().find(|m| m.id == id.snapshot).and_then(|manifest| {
                let mut found =
                    manifest.mailboxes.iter().filter(|(m, _)| m.starts_with(&id.mailbox));
                found.next().filter(|_| found.next().is_none()).map(|found| (manifest, found))
            });
            let Some((manifest, (mailbox, catalog))) = found else {
                self.report.problem(
                    &id.mailbox,
                    Missing::messages(1),
                    format!("{id}: no snapshot has this message"),
                );
                continue;
            };
            let of_mailbox = mailboxes.entry(mailbox).or_default();
            let source =
                of_mailbox.entry(manifest.id.as_str()).or_insert((catalog, HashSet::new()));
            source.1.insert(&id.hash);
        }
        let selected = mailboxes.into_iter().map(|(id, sources)| Selected {
            id,
            sources: sources.into_values().rev().map(|(c, wanted)| (c, Some(wanted))).collect(),
            is_only: false,
        });
        selected.collect()
    }

    /// Opens a mailbox and reads what is wanted of it.
    pub(super) fn read(
        &self,
        selected: &Selected<'_>,
    ) -> Result<(OpenMailbox, CatalogHead, Contents)> {
        let mailbox = self.repository.open_mailbox(selected.id, self.identity)?;
        let mut all: Option<(CatalogHead, Contents)> = None;
        for (catalog, wanted) in &selected.sources {
            let (mut head, mut contents) = catalog::read(
                self.repository.store(),
                selected.id,
                &catalog.catalog,
                &catalog.reference,
                &mailbox.unseal,
            )?;
            if let Some(wanted) = wanted {
                let is_led = self.options.outside.control.is_some();
                for hash in pick(&mut contents, wanted, is_led) {
                    let name = mailbox.display_name();
                    self.report.problem(
                        &name,
                        Missing::messages(1),
                        format!("the snapshot has no message {hash}"),
                    );
                }
            }
            if let Some((first_head, first)) = &mut all {
                renumber(&mut head, &mut contents, first_head);
                self.merge(&mailbox, (first_head, first), (head, contents))?;
            } else {
                all = Some((head, contents));
            }
        }
        let (head, contents) = all.ok_or_else(|| {
            Error::Selection(format!("nothing is selected of mailbox {}", selected.id))
        })?;
        Ok((mailbox, head, contents))
    }
}

fn whole(manifest: &Manifest) -> impl Iterator<Item = Selected<'_>> {
    manifest.mailboxes.iter().map(|(id, catalog)| Selected {
        id,
        sources: vec![(catalog, None)],
        is_only: false,
    })
}

/// Leaves only the messages with these hashes, their folders and what a server needs to make sense
/// of their names and UIDs, which `is_led` to its place where it lay outside; gives the hashes that no
/// message has.
fn pick<'h>(contents: &mut Contents, wanted: &HashSet<&'h str>, is_led: bool) -> Vec<&'h str> {
    let mut missing: HashSet<&str> = wanted.clone();
    for (path, folder) in &mut contents.folders {
        folder.messages.retain(|key, _| {
            let hash = MessageId::hash(path, key);
            missing.remove(hash.as_str());
            wanted.contains(hash.as_str())
        });
    }
    let picked = contents.folders.iter().filter(|(_, folder)| !folder.messages.is_empty());
    let picked: HashSet<String> = picked.map(|(path, _)| path.clone()).collect();
    let is_needed = |dir: &str| {
        let outside = folder_of_control(dir).filter(|_| is_led);
        outside.is_some_and(|folder| picked.contains(folder)) || picked.contains(dir)
    };
    contents.folders.retain(|path, _| is_needed(path));
    contents.files.retain(|path, _| {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        is_needed(dir) && CONTROL.iter().any(|control| name.starts_with(control))
    });
    let mut missing: Vec<&str> = missing.into_iter().collect();
    missing.sort_unstable();
    missing
}

/// Gives the packs of `head` numbers that `other` does not use.
fn renumber(head: &mut CatalogHead, contents: &mut Contents, other: &CatalogHead) {
    let used = other.needs.iter().filter_map(|need| need.pack).max();
    let offset = used.map_or(0, |highest| highest.saturating_add(1));
    for need in &mut head.needs {
        need.pack = need.pack.map(|number| number.saturating_add(offset));
        need.sections.iter_mut().for_each(|section| section.0 = section.0.saturating_add(offset));
    }
    let renumber = |content: &mut Content| content.pack = content.pack.saturating_add(offset);
    for folder in contents.folders.values_mut() {
        folder.messages.values_mut().for_each(|message| renumber(&mut message.content));
    }
    for line in contents.files.values_mut() {
        if let Line::File { content, .. } = line {
            renumber(content);
        }
    }
}

/// How the names of files begin that go with messages.
const CONTROL: [&str; 4] = ["dovecot-uid", "dovecot-keywords", "maildirfolder", "courierimapuiddb"];
