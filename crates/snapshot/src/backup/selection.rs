//! Which mailboxes a run looks at, which it takes over from the last one, and which are gone. A
//! mailbox leaves the snapshots only when it is not in the store, and never together with most
//! others: that is a disk that was not mounted. Plain trees are looked at if the run was told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::{Discovery, MailboxDir};
use wildmatch::WildMatch;

use super::Options;
use super::commit::Committed;
use super::ledger::Incident;
use super::links::{Behind, Links};
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::manifest::CatalogRef;
use crate::state::{KnownMailbox, Mailboxes, State, is_tree_key, mailbox_path_key};

pub(crate) struct Selection<'f> {
    /// Looked at.
    pub(crate) jobs: Vec<&'f MailboxDir>,
    /// Taken over: their keys in the list of known mailboxes.
    carried: BTreeSet<String>,
    /// No longer in the store.
    pub(crate) gone: BTreeMap<String, KnownMailbox>,
    /// Plain trees of the last snapshot that this run was not told of.
    trees_gone: BTreeMap<String, KnownMailbox>,
    /// Not in the store, with too many others to believe it; also among the carried.
    missing: BTreeSet<String>,
    /// Behind a link, with that link; also among the carried.
    behind: BTreeMap<PathBuf, PathBuf>,
    /// Among the gone: what the link in its place leads to in the store.
    aliased: BTreeMap<String, PathBuf>,
    /// Not selected, and in no snapshot to take them over from.
    left_out: usize,
}

impl<'f> Selection<'f> {
    pub(crate) fn new(
        state: &State,
        known: &Mailboxes,
        found: &'f Discovery,
        links: &Links<'_>,
        trees: &'f [MailboxDir],
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
        let mailboxes = known.iter().filter(|(path, _)| !is_tree_key(path));
        let known_count = mailboxes.clone().count();
        let absent = mailboxes.filter(|(path, _)| !present.contains(*path));
        let (unreadable, absent): (BTreeMap<_, _>, BTreeMap<_, _>) = absent
            .map(|(path, mailbox)| (path.clone(), mailbox.clone()))
            .partition(|(path, _)| is_unreadable(path, found, root));
        carried.extend(unreadable.into_keys());
        let (mut behind, mut aliased) = (BTreeMap::new(), BTreeMap::new());
        let mut absent = absent;
        absent.retain(|key, _| {
            let Some(path) = path_of(key) else { return true };
            match links.behind(&path) {
                None => return true,
                Some(Behind::Alias(to)) => {
                    aliased.insert(key.clone(), to);
                    return true;
                }
                Some(Behind::Link(link)) => {
                    behind.insert(path, link);
                    carried.insert(key.clone());
                }
            }
            false
        });
        let (gone, missing) = if absent.len() > 1 && absent.len() * 2 > known_count {
            carried.extend(absent.keys().cloned());
            (BTreeMap::new(), absent.into_keys().collect())
        } else {
            (absent, BTreeSet::new())
        };
        jobs.extend(trees);
        let is_given = |path: &str| trees.iter().any(|tree| mailbox_path_key(&tree.path) == path);
        let mut trees_gone = BTreeMap::new();
        for (path, tree) in known.iter().filter(|(path, _)| is_tree_key(path) && !is_given(path)) {
            // A run that was told which mailboxes to look at says nothing of the rest.
            if !globs.is_empty() && has_catalog(state, tree) {
                carried.insert(path.clone());
            } else {
                trees_gone.insert(path.clone(), tree.clone());
            }
        }
        Ok(Self { jobs, carried, gone, trees_gone, missing, behind, aliased, left_out })
    }

    /// What a person should know of it.
    pub(crate) fn notices(&self, notices: &mut Vec<String>) {
        for path in self.gone.keys().take(NAMED) {
            let now = match self.aliased.get(path) {
                Some(to) => format!("is a link to {} now, where its mail is kept", to.display()),
                None => "is not in the store any more".to_owned(),
            };
            notices.push(format!("{path} was in the last snapshot and {now}"));
        }
        if self.gone.len() > NAMED {
            notices.push(format!("and {} more mailboxes", self.gone.len() - NAMED));
        }
        for path in self.trees_gone.keys() {
            notices.push(format!("{path} is not in the snapshots any more: no --with names it"));
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
        for (path, mailbox) in self.carried.iter().filter_map(|path| known.get_key_value(path)) {
            let Some(state) = state.mailbox(&mailbox.id) else { continue };
            let Some(link) = state.catalog else { continue };
            let tree = is_tree_key(path);
            let carried =
                CatalogRef { tree, carried: true, ..CatalogRef::new(link.id, link.reference) };
            if done.catalogs.insert(mailbox.id.clone(), carried).is_none() {
                done.totals.trees += u64::from(tree);
                done.totals.mailboxes += u64::from(!tree);
                done.totals.messages += state.folders.values().map(|f| f.messages).sum::<u64>();
                done.totals.bytes += state.folders.values().map(|f| f.bytes).sum::<u64>();
            }
        }
        done.catalogs.values().filter(|catalog| catalog.carried && !catalog.tree).count() as u64
    }

    /// The mailboxes that lie behind links, each with its link.
    pub(crate) fn behind_links(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.behind.iter().map(|(mailbox, link)| (mailbox.as_path(), link.as_path()))
    }

    /// Mailboxes that are gone have lost all that they held, unless another path still leads to them.
    pub(crate) fn count_gone(&self, state: &State, options: &Options, done: &mut Committed) {
        for (path, mailbox) in &self.gone {
            let Some(old) = state.mailbox(&mailbox.id) else { continue };
            let before = old.folders.values().map(|folder| folder.messages).sum();
            done.work.messages.gone += before;
            if self.aliased.contains_key(path) {
                continue;
            }
            let Some(alarm) = options.alarm.judge(path, before, before) else { continue };
            done.ledger.note(Incident::ManyExpunged, path.clone(), Some(alarm.reason()));
            done.sound(Some(alarm));
        }
    }

    /// Forgets the mailboxes that are gone, when the snapshot without them is there.
    pub(crate) fn forget_gone(&self, state: &State, known: &mut Mailboxes) -> Result<()> {
        let gone = || self.gone.iter().chain(&self.trees_gone);
        if gone().next().is_none() {
            return Ok(());
        }
        gone().for_each(|(path, _)| drop(known.remove(path)));
        state.set_mailboxes(known)?;
        gone().map(|(_, mailbox)| mailbox).for_each(|mailbox| state.forget_mailbox(&mailbox.id));
        Ok(())
    }
}

fn has_catalog(state: &State, known: &KnownMailbox) -> bool {
    state.mailbox(&known.id).is_some_and(|state| state.catalog.is_some())
}

/// Whether a known mailbox lies in a part of the store that could not be read.
fn is_unreadable(path: &str, found: &Discovery, root: &Path) -> bool {
    let Some(path) = path_of(path) else { return false };
    let path = root.join(path);
    // A mailbox that cannot be entered is not recognised, and then walked into in vain.
    let is_behind =
        |error: &maildir::Error| path.starts_with(&error.path) || error.path.starts_with(&path);
    found.unreadable.iter().any(is_behind)
}

/// The path inside the store that a key stands for.
fn path_of(key: &str) -> Option<PathBuf> {
    decode_name(key).map(|path| PathBuf::from(OsStr::from_bytes(&path)))
}

/// How many mailboxes that are gone are named.
const NAMED: usize = 20;
