//! Which mailboxes a run looks at, which it takes over from the last one, and which are gone. A
//! mailbox leaves the snapshots only when it is not in the store, and never together with most
//! others: that is a disk that was not mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use maildir::{Discovery, MailboxDir};
use wildmatch::WildMatch;

use super::Options;
use super::commit::Committed;
use super::ledger::Incident;
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::manifest::CatalogRef;
use crate::state::{KnownMailbox, Mailboxes, State, mailbox_path_key};

pub(crate) struct Selection<'f> {
    /// Looked at.
    pub(crate) jobs: Vec<&'f MailboxDir>,
    /// Taken over: their keys in the list of known mailboxes.
    carried: BTreeSet<String>,
    /// No longer in the store.
    pub(crate) gone: BTreeMap<String, KnownMailbox>,
    /// Not in the store, with too many others to believe it; also among the carried.
    missing: BTreeSet<String>,
    /// Not selected, and in no snapshot to take them over from.
    left_out: usize,
}

impl<'f> Selection<'f> {
    pub(crate) fn new(
        state: &State,
        known: &Mailboxes,
        found: &'f Discovery,
        root: &Path,
        options: &Options,
    ) -> Result<Self> {
        let globs: Vec<WildMatch> = options.mailboxes.iter().map(|g| WildMatch::new(g)).collect();
        let (mut jobs, unselected): (Vec<_>, Vec<_>) =
            found.mailboxes.iter().partition(|mailbox| {
                let name = String::from_utf8_lossy(&mailbox.name);
                globs.is_empty() || globs.iter().any(|glob| glob.matches(&name))
            });
        if jobs.is_empty() {
            let globs = options.mailboxes.join(", ");
            return Err(Error::Selection(format!("no mailbox is called {globs}")));
        }
        let mut carried = BTreeSet::new();
        let mut left_out = 0;
        for mailbox in unselected {
            let key = mailbox_path_key(&mailbox.path);
            match known.get(&key) {
                None => left_out += 1,
                Some(known) if has_catalog(state, known) => {
                    carried.insert(key);
                }
                // It was in the last snapshot and this host has forgotten how: look at it.
                Some(_) => jobs.push(mailbox),
            }
        }
        let present: BTreeSet<String> =
            found.mailboxes.iter().map(|mailbox| mailbox_path_key(&mailbox.path)).collect();
        let absent = known.iter().filter(|(path, _)| !present.contains(*path));
        let (unreadable, absent): (BTreeMap<_, _>, BTreeMap<_, _>) = absent
            .map(|(path, mailbox)| (path.clone(), mailbox.clone()))
            .partition(|(path, _)| is_unreadable(path, found, root));
        carried.extend(unreadable.into_keys());
        let (gone, missing) = if absent.len() > 1 && absent.len() * 2 > known.len() {
            carried.extend(absent.keys().cloned());
            (BTreeMap::new(), absent.into_keys().collect())
        } else {
            (absent, BTreeSet::new())
        };
        Ok(Self { jobs, carried, gone, missing, left_out })
    }

    /// What a person should know of it.
    pub(crate) fn notices(&self, notices: &mut Vec<String>) {
        for path in self.gone.keys().take(NAMED) {
            notices
                .push(format!("{path} was in the last snapshot and is not in the store any more"));
        }
        if self.gone.len() > NAMED {
            notices.push(format!("and {} more mailboxes", self.gone.len() - NAMED));
        }
        if self.left_out > 0 {
            notices.push(format!(
                "{} mailboxes were not selected and are in no snapshot yet",
                self.left_out
            ));
        }
    }

    /// Takes mailboxes over as the state knows them; tells how many.
    pub(crate) fn carry(&self, state: &State, known: &Mailboxes, done: &mut Committed) -> u64 {
        for path in &self.missing {
            let reason = "gone with most other mailboxes: is a disk not mounted?".to_owned();
            done.ledger.note(Incident::MailboxMissing, path.clone(), Some(reason));
        }
        for mailbox in self.carried.iter().filter_map(|path| known.get(path)) {
            let Some(state) = state.mailbox(&mailbox.id) else { continue };
            let Some(link) = state.catalog else { continue };
            let carried = CatalogRef { carried: true, ..CatalogRef::new(link.id, link.reference) };
            if done.catalogs.insert(mailbox.id.clone(), carried).is_none() {
                done.totals.mailboxes += 1;
                done.totals.messages += state.folders.values().map(|f| f.messages).sum::<u64>();
                done.totals.bytes += state.folders.values().map(|f| f.bytes).sum::<u64>();
            }
        }
        done.catalogs.values().filter(|catalog| catalog.carried).count() as u64
    }

    /// Mailboxes that are gone have lost all that they held.
    pub(crate) fn check_alarm(&self, state: &State, options: &Options, done: &mut Committed) {
        for (path, mailbox) in &self.gone {
            let Some(old) = state.mailbox(&mailbox.id) else { continue };
            let before = old.folders.values().map(|folder| folder.messages).sum();
            let Some(alarm) = options.alarm.judge(path, before, before) else { continue };
            done.ledger.note(Incident::ManyExpunged, path.clone(), Some(alarm.reason()));
            done.sound(Some(alarm));
        }
    }

    /// Forgets the mailboxes that are gone, when the snapshot without them is there.
    pub(crate) fn forget_gone(&self, state: &State, known: &mut Mailboxes) -> Result<()> {
        if self.gone.is_empty() {
            return Ok(());
        }
        known.retain(|path, _| !self.gone.contains_key(path));
        state.set_mailboxes(known)?;
        self.gone.values().for_each(|mailbox| state.forget_mailbox(&mailbox.id));
        Ok(())
    }
}

fn has_catalog(state: &State, known: &KnownMailbox) -> bool {
    state.mailbox(&known.id).is_some_and(|state| state.catalog.is_some())
}

/// Whether a known mailbox lies in a part of the store that could not be read.
fn is_unreadable(path: &str, found: &Discovery, root: &Path) -> bool {
    let Some(path) = decode_name(path) else { return false };
    let path = root.join(OsStr::from_bytes(&path));
    // A mailbox that cannot be entered is not recognised, and then walked into in vain.
    let is_behind =
        |error: &maildir::Error| path.starts_with(&error.path) || error.path.starts_with(&path);
    found.unreadable.iter().any(is_behind)
}

/// How many mailboxes that are gone are named.
const NAMED: usize = 20;
