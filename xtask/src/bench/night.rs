//! What a night does to a store: new mail and changed flags, spread evenly at random over all
//! folders. An undo log brings the state before the night back.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::letters::Letters;
use super::store::{self, FLAGS, FOLDERS, LAST_SECS, Store};
use crate::random::Random;

/// What a night did, and how to take it back.
pub(super) struct Night {
    added: Vec<PathBuf>,
    /// From, to.
    renamed: Vec<(PathBuf, PathBuf)>,
    pub(super) changed_mailboxes: usize,
}

impl Night {
    pub(super) fn new_messages(&self) -> usize {
        self.added.len()
    }

    /// Lets the night stand, so that another can follow: the model learns the new flags.
    pub(super) fn keep(self, store: &mut Store) {
        let name =
            |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut renamed: HashMap<String, String> =
            self.renamed.into_iter().map(|(from, to)| (name(from), name(to))).collect();
        for message in store.mailboxes.iter_mut().flat_map(|mailbox| &mut mailbox.messages) {
            if let Some(new) = renamed.remove(&message.name) {
                message.name = new;
            }
        }
    }

    /// Takes the night back, whatever part of it was done.
    pub(super) fn undo(self) -> Result<()> {
        for path in &self.added {
            fs::remove_file(path).with_context(|| format!("removing `{}`", path.display()))?;
        }
        for (from, to) in &self.renamed {
            fs::rename(to, from).with_context(|| format!("renaming `{}`", to.display()))?;
        }
        Ok(())
    }
}

/// The parts of a store of `messages` that a night adds and re-flags.
pub(super) fn shares(messages: usize) -> (usize, usize) {
    if messages >= 1_000_000 {
        (messages / 200, messages / 100)
    } else {
        (messages / 100, messages / 50)
    }
}

pub(super) fn apply(store: &Store, letters: &Letters, seed: u64, round: usize) -> Result<Night> {
    let mut random = Random::new(seed, u64::MAX - round as u64);
    let (new_count, flag_count) = shares(store.message_count());
    let mut night = Night { added: Vec::new(), renamed: Vec::new(), changed_mailboxes: 0 };
    let mut changed: HashSet<usize> = HashSet::new();

    let mut buffer = Vec::new();
    for nth in 0..new_count {
        let at = random.below(store.mailboxes.len());
        let mailbox = &store.mailboxes[at];
        let (folder, _) = random.pick(&FOLDERS);
        let secs = LAST_SECS + 1 + nth as u64;
        let made = letters.make(&mailbox.user, secs, &mut random, &mut buffer);
        let name = store::base_name(secs, made.bytes.len(), made.wire_size, &mut random);
        let path = store.maildir(mailbox).join(folder).join("new").join(name);
        store::deliver(&path, secs, made.bytes)?;
        night.added.push(path);
        changed.insert(at);
    }

    let mut seen = HashSet::new();
    while night.renamed.len() < flag_count {
        let at = random.below(store.mailboxes.len());
        let mailbox = &store.mailboxes[at];
        let nth = random.below(mailbox.messages.len());
        let message = &mailbox.messages[nth];
        let Some((base, flags)) = message.name.split_once(":2,") else { continue };
        let new_flags = *random.pick(&FLAGS);
        if new_flags == flags || !seen.insert((at, nth)) {
            continue;
        }
        let from = store.path(mailbox, message);
        let to = from.with_file_name(format!("{base}:2,{new_flags}"));
        fs::rename(&from, &to).with_context(|| format!("renaming `{}`", from.display()))?;
        night.renamed.push((from, to));
        changed.insert(at);
    }
    night.changed_mailboxes = changed.len();
    Ok(night)
}
