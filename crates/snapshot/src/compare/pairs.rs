//! Which mailbox of one snapshot is which of the other: by id, and for those that are in one only, by
//! what they hold.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::mailbox::Comparison;
use crate::catalog;
use crate::error::{Error, Result};
use crate::manifest::{CatalogRef, Manifest};
use crate::named::Known;
use crate::parallel;

/// A mailbox in the first snapshot, the second, or both: its id and catalog.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) old: Option<(String, CatalogRef)>,
    pub(super) new: Option<(String, CatalogRef)>,
}

/// The mailboxes of both, paired by id; trees hold no mail.
pub(super) fn of(from: &Manifest, to: &Manifest) -> Vec<Pair> {
    let mut pairs: BTreeMap<&String, Pair> = BTreeMap::new();
    for (id, catalog) in from.mailboxes.iter().filter(|(_, catalog)| !catalog.tree) {
        pairs.insert(id, Pair { old: Some((id.clone(), catalog.clone())), new: None });
    }
    for (id, catalog) in to.mailboxes.iter().filter(|(_, catalog)| !catalog.tree) {
        let pair = pairs.entry(id).or_insert(Pair { old: None, new: None });
        pair.new = Some((id.clone(), catalog.clone()));
    }
    pairs.into_values().collect()
}

impl Pair {
    fn newest(&self) -> Option<&(String, CatalogRef)> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// The id in the second snapshot, or the first.
    pub(super) fn id(&self) -> &str {
        self.newest().map_or("", |(id, _)| id)
    }

    /// By which it is looked up.
    pub(super) fn known(&self) -> Option<Known<'_>> {
        self.newest().map(|(id, catalog)| (id.as_str(), catalog))
    }

    pub(super) fn is_unchanged(&self) -> bool {
        match (&self.old, &self.new) {
            (Some((_, old)), Some((_, new))) => old.is_same(new),
            _ => false,
        }
    }
}

impl Comparison<'_> {
    /// Joins a mailbox that is gone with the new one that has most of its messages.
    pub(super) fn find_renamed(&self, pairs: Vec<Pair>, threads: usize) -> Result<Vec<Pair>> {
        let is_gone = |pair: &Pair| pair.new.is_none();
        let is_new = |pair: &Pair| pair.old.is_none();
        if !pairs.iter().any(is_gone) || !pairs.iter().any(is_new) {
            return Ok(pairs);
        }
        let (alone, mut paired): (Vec<Pair>, Vec<Pair>) =
            pairs.into_iter().partition(|pair| is_gone(pair) || is_new(pair));
        let mut looks = Vec::new();
        for look in parallel::map(threads, &alone, |pair| self.look(pair)) {
            looks.push(match look {
                Ok(look) => look,
                Err(e @ Error::WrongIdentity { .. }) => return Err(e),
                // It is reported when it is compared.
                Err(e) if e.is_local_to_object() => Vec::new(),
                Err(e) => return Err(e),
            });
        }
        let mut homes: HashMap<u64, usize> = HashMap::new();
        for (at, look) in looks.iter().enumerate().filter(|(at, _)| is_gone(&alone[*at])) {
            homes.extend(look.iter().map(|message| (*message, at)));
        }
        let mut joined = vec![false; alone.len()];
        for (at, look) in looks.iter().enumerate().filter(|(at, _)| is_new(&alone[*at])) {
            let mut votes: HashMap<usize, usize> = HashMap::new();
            look.iter().filter_map(|message| homes.get(message)).for_each(|home| {
                *votes.entry(*home).or_default() += 1;
            });
            let best = votes.into_iter().max_by_key(|(home, votes)| (*votes, *home));
            let Some((home, votes)) = best else { continue };
            if votes * 2 > looks[home].len() && !joined[home] {
                (joined[home], joined[at]) = (true, true);
                paired.push(Pair { old: alone[home].old.clone(), new: alone[at].new.clone() });
            }
        }
        let rest = alone.into_iter().zip(joined).filter(|(_, joined)| !joined);
        paired.extend(rest.map(|(pair, _)| pair));
        Ok(paired)
    }

    /// A number for each message of a mailbox, from key, size and time.
    fn look(&self, pair: &Pair) -> Result<Vec<u64>> {
        let Some((id, catalog)) = pair.newest() else { return Ok(Vec::new()) };
        let mailbox = self.repository.open_mailbox(id, self.identity)?;
        let (store, unseal) = (self.repository.store(), &mailbox.unseal);
        let (_, contents) = catalog::read(store, id, &catalog.catalog, &catalog.reference, unseal)?;
        let messages = contents.folders.values().flat_map(|folder| &folder.messages);
        let look = |(key, entry): (&String, &catalog::MessageEntry)| {
            let mut hasher = DefaultHasher::new();
            (key, entry.content.size, &entry.content.mtime).hash(&mut hasher);
            hasher.finish()
        };
        Ok(messages.map(look).collect())
    }
}
