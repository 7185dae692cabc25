//! The mailbox that people mean: by its name, by its path in the store (as the ledger prints it), or
//! by its id. Names are in sealed keys; those of a snapshot's hints that fit are opened first.

use std::path::Path;

use crate::catalog;
use crate::contents::readable;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::manifest::{CatalogRef, Manifest};
use crate::nearest::{hint, nearest};
use crate::parallel;
use crate::repository::{OpenMailbox, Repository};

/// A mailbox's id, and its catalog in a snapshot.
pub(crate) type Known<'k> = (&'k str, &'k CatalogRef);

/// The mailbox of a snapshot that `wanted` names. Two of one name are told apart by path or id.
pub(crate) fn find(
    repository: &Repository,
    manifest: &Manifest,
    identity: &Unseal,
    wanted: &str,
) -> Result<OpenMailbox> {
    let known = manifest.mailboxes.iter().map(|(id, catalog)| (id.as_str(), catalog));
    let known: Vec<Known<'_>> = known.collect();
    let whose = format!("snapshot {} has no", manifest.id);
    let mut found = named(repository, identity, &known, wanted, &whose)?;
    match found.pop() {
        Some(mailbox) if found.is_empty() => Ok(mailbox),
        last => {
            found.extend(last);
            let path = |mailbox: &OpenMailbox| path(repository, mailbox, &known);
            let show = |mailbox| match path(mailbox) {
                Ok(path) => format!("\n  {path} (id {})", mailbox.id),
                Err(_) => format!("\n  id {}", mailbox.id),
            };
            let all: String = found.iter().map(show).collect();
            let what = format!("several mailboxes are called `{wanted}`:{all}");
            Err(Error::choice(what, "name one by its path or its id"))
        }
    }
}

/// All of the `known` mailboxes that `wanted` names; an error if there is none. `whose` begins its
/// sentence: "the snapshot has no".
pub(crate) fn named(
    repository: &Repository,
    identity: &Unseal,
    known: &[Known<'_>],
    wanted: &str,
    whose: &str,
) -> Result<Vec<OpenMailbox>> {
    if known.iter().any(|(id, _)| *id == wanted) {
        return Ok(vec![repository.open_mailbox(wanted, identity)?]);
    }
    let wanted_path = wanted.trim_end_matches('/');
    let of_path = maildir::mailbox_name(Path::new("/"), Path::new(wanted_path));
    let of_path = String::from_utf8_lossy(&of_path).into_owned();
    let mut search = Search { repository, identity, names: Vec::new(), unreadable: 0 };
    let names = [wanted, wanted_path, &of_path];
    let is_likely = |(id, catalog): &&Known<'_>| {
        catalog.tag.is_none_or(|tag| names.iter().any(|name| tag.fits(id, name)))
    };
    let (likely, unlikely): (Vec<Known<'_>>, Vec<Known<'_>>) = known.iter().partition(is_likely);
    // Tags are no proof: a mailbox is called what its key says.
    for known in [likely, unlikely] {
        let mut found = search.open(&known, &names)?;
        let is_called = |mailbox: &OpenMailbox| {
            let name = mailbox.display_name();
            name == wanted || name == wanted_path
        };
        if found.iter().any(is_called) {
            found.retain(is_called);
            return Ok(found);
        }
        let has_path = |mailbox: &OpenMailbox| {
            let path = path(repository, mailbox, &known).unwrap_or_default();
            // What names leave out, such as `/Maildir`, may be left out.
            path.strip_prefix(wanted_path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        found.retain(has_path);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let unreadable = match search.unreadable {
        0 => String::new(),
        1 => "; the name of one could not be read".into(),
        many => format!("; the names of {many} could not be read"),
    };
    let kind = if wanted.starts_with('/') { "mailbox or tree" } else { "mailbox" };
    let what = format!("{whose} {kind} `{wanted}`{unreadable}");
    let near = match nearest(wanted, search.names.iter().cloned()) {
        near if near.is_empty() => nearest(&of_path, search.names),
        near => near,
    };
    Err(Error::choice(what, hint(&near, "`mailrig ls REPO SNAPSHOT` lists them")))
}

/// Where the mailbox lies in its store.
fn path(repository: &Repository, mailbox: &OpenMailbox, known: &[Known<'_>]) -> Result<String> {
    let found = known.iter().find(|(id, _)| *id == mailbox.id);
    let (id, CatalogRef { catalog, reference, .. }) =
        found.ok_or_else(|| Error::damaged(&mailbox.id, "is in no catalog"))?;
    let (_, contents) = catalog::read(repository.store(), id, catalog, reference, &mailbox.unseal)?;
    Ok(readable(&contents.path))
}

struct Search<'s> {
    repository: &'s Repository,
    identity: &'s Unseal,
    /// Of the mailboxes that were opened and not asked for.
    names: Vec<String>,
    /// Mailboxes whose keys are damaged.
    unreadable: u64,
}

impl Search<'_> {
    /// Opens mailboxes; gives those that have one of these names.
    fn open(&mut self, known: &[Known<'_>], names: &[&str]) -> Result<Vec<OpenMailbox>> {
        let mut found = Vec::new();
        let open = |(id, _): &Known<'_>| self.repository.open_mailbox(id, self.identity);
        for mailbox in parallel::map(parallel::WAITING, known, open) {
            match mailbox {
                Ok(mailbox) => {
                    let name = mailbox.display_name();
                    if names.contains(&name.as_str()) {
                        found.push(mailbox);
                    }
                    self.names.push(name);
                }
                Err(e @ Error::WrongIdentity { .. }) => return Err(e),
                Err(e) if e.is_local_to_object() => self.unreadable += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }
}
