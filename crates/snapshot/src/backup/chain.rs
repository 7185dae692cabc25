//! The next catalog of a mailbox: a delta on the chain that there is, or a full one that begins a new
//! chain, when the old one has become long or its deltas heavy. Names all objects that are needed.

use std::path::Path;

use jiff::Timestamp;

use super::ledger::LedgerEntry;
use super::lines::Lines;
use crate::catalog::{self, CatalogHead, Need};
use crate::crypt::Seal;
use crate::error::{Error, Result};
use crate::layout::{catalog_name, index_name, pack_name, timed_id};
use crate::object::ObjectRef;
use crate::state::{ChainLink, MailboxState};
use crate::store::Body;

/// What a catalog is made from.
pub(crate) struct Next<'n> {
    pub(crate) mailbox: &'n str,
    /// The mailbox's path inside the store.
    pub(crate) path: &'n Path,
    pub(crate) old: &'n MailboxState,
    /// The lines that lead from the old state to the next.
    pub(crate) changes: &'n Lines,
    /// What happened meanwhile.
    pub(crate) incidents: &'n [LedgerEntry],
    pub(crate) encrypted: bool,
    /// Whether it must be a full one.
    pub(crate) is_full: bool,
    pub(crate) time: Timestamp,
}

impl Next<'_> {
    /// Encodes the catalog and links it into `state`, the mailbox's next state.
    pub(crate) fn write(&self, state: &mut MailboxState, seal: &Seal) -> Result<Body> {
        let parents = self.parents();
        let mut lines = Lines::default();
        lines.mailbox(self.path, state);
        if parents.is_empty() {
            lines.full(state);
        } else {
            lines.bytes.extend_from_slice(&self.changes.bytes);
        }
        lines.incidents(self.incidents);
        let head = CatalogHead {
            catalog: catalog::VERSION,
            mailbox: self.mailbox.to_owned(),
            parent: parents.last().map(|link| link.id.clone()),
            needs: self.needs(state, &parents),
        };
        let body = catalog::encode(&head, &lines.bytes, LEVEL, seal)
            .map_err(|e| Error::io("write the catalog of", self.path, e))?;
        state.catalog =
            Some(ChainLink { id: timed_id(self.time), reference: ObjectRef::of(&body) });
        state.parents = parents;
        Ok(body)
    }

    /// The catalogs to build on, oldest first; none for a full catalog.
    fn parents(&self) -> Vec<ChainLink> {
        let Some(newest) = self.old.catalog.clone().filter(|_| !self.is_full) else {
            return Vec::new();
        };
        let mut parents = self.old.parents.clone();
        parents.push(newest);
        let deltas: u64 = parents[1..].iter().map(|link| link.reference.size).sum();
        if parents.len() >= CHAIN_MAX || deltas > parents[0].reference.size / 2 {
            parents.clear();
        }
        parents
    }

    fn needs(&self, state: &MailboxState, parents: &[ChainLink]) -> Vec<Need> {
        let need = |object, reference: &ObjectRef| Need {
            object,
            reference: reference.clone(),
            pack: None,
            raw: None,
        };
        let mut needs = Vec::new();
        for (number, pack) in &state.packs {
            let object = pack_name(&pack.id, self.encrypted);
            let (number, raw) = (Some(*number), Some(pack.raw));
            needs.push(Need { pack: number, raw, ..need(object, &pack.pack) });
            needs.push(need(index_name(&pack.id, self.encrypted), &pack.index));
        }
        needs.extend(parents.iter().map(|link| need(catalog_name(&link.id), &link.reference)));
        needs
    }
}

/// A restore reads at most this many catalogs of a mailbox.
const CHAIN_MAX: usize = 16;

const LEVEL: i32 = 6;
