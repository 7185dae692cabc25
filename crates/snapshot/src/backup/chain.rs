//! The next catalog of a mailbox: a delta on the chain that there is, or a full one that begins a new
//! chain, when the old one has become old or its deltas heavy. Names all objects that are needed.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::ledger::Ledger;
use super::lines::Lines;
use crate::catalog::{self, CatalogHead, Need, Section};
use crate::crypt::Seal;
use crate::error::{Error, Result};
use crate::layout::{catalog_name, index_name, pack_name, timed_id};
use crate::object::ObjectRef;
use crate::state::{ChainLink, MailboxState, PackState};
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
    pub(crate) incidents: &'n Ledger,
    pub(crate) encrypted: bool,
    /// Whether it must be a full one.
    pub(crate) is_full: bool,
    pub(crate) time: Timestamp,
}

impl Next<'_> {
    /// Encodes the catalog and links it into `state`, the mailbox's next state.
    pub(crate) fn write(&self, state: &mut MailboxState, seal: &Seal) -> Result<Body> {
        let failed = |e| Error::io("write the catalog of", self.path, e);
        let mut lines = Lines::default();
        lines.mailbox(self.path, state);
        let mut link = ChainLink { id: timed_id(self.time), ..ChainLink::default() };
        let parents = match self.delta().map_err(failed)? {
            Some(delta) => {
                lines.bytes.extend_from_slice(&delta.lines);
                link.runs = delta.runs;
                link.lines = zstd::bulk::compress(&delta.lines, LEVEL).map_err(failed)?;
                delta.parents
            }
            None => {
                lines.full(state);
                Vec::new()
            }
        };
        lines.incidents(self.incidents.entries());
        let head = CatalogHead {
            catalog: catalog::VERSION,
            mailbox: self.mailbox.to_owned(),
            parent: parents.last().map(|link| link.id.clone()),
            needs: self.needs(state, &parents),
        };
        let body = catalog::encode(&head, &lines.bytes, LEVEL, seal).map_err(failed)?;
        link.reference = ObjectRef::of(&body);
        state.catalog = Some(link);
        state.parents = parents;
        Ok(body)
    }

    /// The change since a catalog of the chain; `None` if a full one is due. As a binary counter
    /// carries, so two deltas of as many runs become one: a chain is read with few requests, and
    /// a line is written again a logarithmic number of times.
    fn delta(&self) -> io::Result<Option<Delta>> {
        let Some(newest) = self.old.catalog.clone().filter(|_| !self.is_full) else {
            return Ok(None);
        };
        let mut parents = self.old.parents.clone();
        parents.push(newest);
        let deltas = &parents[1..];
        let bytes: u64 = deltas.iter().map(|link| link.reference.size).sum();
        let runs: u32 = deltas.iter().map(|link| link.runs).sum();
        if runs + 1 >= RUNS_MAX || bytes > parents[0].reference.size / 2 {
            return Ok(None);
        }
        let mut delta = Delta { lines: self.changes.bytes.clone(), runs: 1, parents };
        while let Some(last) = delta.parents.pop_if(|last| last.can_be_merged(delta.runs)) {
            let mut lines = zstd::decode_all(&last.lines[..])?;
            lines.extend_from_slice(&delta.lines);
            (delta.lines, delta.runs) = (lines, delta.runs + last.runs);
        }
        Ok(Some(delta))
    }

    fn needs(&self, state: &MailboxState, parents: &[ChainLink]) -> Vec<Need> {
        let mut needs = Vec::new();
        for (number, pack) in &state.packs {
            let need = Need::of(pack_name(&pack.id, self.encrypted), &pack.pack);
            needs.push(Need { pack: Some(*number), raw: Some(pack.raw), ..need });
        }
        for (id, reference) in &state.indexes {
            let packs = state.packs.iter().filter(|(_, pack)| pack.index == *id);
            let section = |(number, pack): (&u32, &PackState)| {
                Section(*number, pack.section.0, pack.section.1)
            };
            let need = Need::of(index_name(id, self.encrypted), reference);
            needs.push(Need { sections: packs.map(section).collect(), ..need });
        }
        needs.extend(parents.iter().map(|link| Need::of(catalog_name(&link.id), &link.reference)));
        needs
    }
}

/// The change since the last of `parents`.
struct Delta {
    lines: Vec<u8>,
    runs: u32,
    /// The catalogs to build on, oldest first.
    parents: Vec<ChainLink>,
}

impl ChainLink {
    fn can_be_merged(&self, runs: u32) -> bool {
        self.runs == runs && !self.lines.is_empty()
    }
}

/// A full catalog is written when so many runs have changed a mailbox since the last one. Up to then
/// a mailbox takes 5 catalogs to read: the full one, and deltas of 8, 4, 2 and 1 runs.
const RUNS_MAX: u32 = 16;

const LEVEL: i32 = 6;
