//! The store that an in-place restore is given. A wrong one is not told from a right one by its files
//! alone: a mailbox that is not there is made new, also where nobody will ever look for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::is_free;
use super::options::{Options, Place};
use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// A store as it was when the restore began, and which mailboxes it had.
#[derive(Default)]
pub(super) struct LiveStore {
    is_mailbox: bool,
    is_empty: bool,
    pub(super) found: AtomicUsize,
    pub(super) made: AtomicUsize,
}

impl LiveStore {
    /// Looks at the store of an in-place restore.
    pub(super) fn read(options: &Options) -> Result<Self> {
        let Place::Live { store, .. } = &options.place else { return Ok(Self::default()) };
        let is_empty = match std::fs::read_dir(store) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let store = store.display();
                return Err(Error::Selection(format!(
                    "the store {store} does not exist: name the folder that holds the mailboxes, or restore with --to"
                )));
            }
            Err(e) => return Err(Error::io("open", store, e)),
            Ok(_) => is_free(store).map_err(|e| Error::io("look at", store, e))?,
        };
        let is_mailbox = ["cur", "new"].iter().all(|subdir| store.join(subdir).is_dir());
        Ok(Self { is_mailbox, is_empty, ..Self::default() })
    }

    /// Refuses a store that is a mailbox itself for a mailbox that lies below its store.
    pub(super) fn check(&self, store: &Path, path: &Path, manifests: &[Manifest]) -> Result<()> {
        if !self.is_mailbox || path.as_os_str().is_empty() {
            return Ok(());
        }
        let meant = match probable(store, path, manifests) {
            Some(probable) => format!("; the store is probably {}", probable.display()),
            None => "; name the store that holds it".into(),
        };
        Err(Error::Selection(format!("{} is a mailbox itself, no store{meant}", store.display())))
    }

    /// What to say if every mailbox is new to a store that holds something.
    pub(super) fn note(&self, dry_run: bool) -> Option<String> {
        let made = self.made.load(Ordering::Relaxed);
        let is_odd = made > 0 && !self.is_empty && self.found.load(Ordering::Relaxed) == 0;
        let verb = if dry_run { "would be made" } else { "made" };
        is_odd.then(|| {
            format!(
                "no mailbox of the snapshot was there; {made} {verb} new: is it the right store?"
            )
        })
    }
}

/// The store of which `mailbox` is one: without the path that it has there, or where the backup was.
fn probable(mailbox: &Path, path: &Path, manifests: &[Manifest]) -> Option<PathBuf> {
    if mailbox.ends_with(path) {
        return mailbox.ancestors().nth(path.components().count()).map(Path::to_owned);
    }
    let mut stores = manifests.iter().map(|manifest| Path::new(&manifest.store));
    stores.find(|store| mailbox.starts_with(store) && mailbox != *store).map(Path::to_owned)
}
