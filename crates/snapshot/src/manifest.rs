//! Snapshot manifests: one run over a store, its mailboxes' catalogs and what the run counted. A
//! manifest holds ids and numbers, no address; it is written last and read first.

use std::collections::BTreeMap;
use std::io::Read;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::{SNAPSHOTS, is_id, snapshot_id, snapshot_key};
use crate::object::ObjectRef;
use crate::store::{Body, Store};
use crate::tag::Tag;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version.
    pub snapshot: u32,
    /// Id, which sorts by time.
    pub id: String,
    /// When the run began.
    pub time: Timestamp,
    /// The host's name.
    pub host: String,
    /// The store's path on that host.
    pub store: String,
    /// Name and version of the program.
    pub tool: String,
    /// Catalog of each mailbox, by mailbox id.
    pub mailboxes: BTreeMap<String, CatalogRef>,
    /// What the snapshot holds.
    pub totals: Totals,
    /// What happened during the run.
    pub ledger: LedgerCounts,
    /// What happened outside the mailboxes that got a catalog, by name: JSON lines, compressed,
    /// sealed to the recovery recipients, in base64. See [`crate::incidents`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incidents: Option<String>,
}

/// A catalog as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRef {
    /// The catalog's id.
    pub catalog: String,
    /// Size and hash.
    #[serde(flatten)]
    pub reference: ObjectRef,
    /// Whether it is no mailbox but a plain tree.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tree: bool,
    /// Whether the catalog was taken over from an earlier snapshot without looking at the mailbox:
    /// it was not selected, or could not be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carried: bool,
    /// How many lines of this run's ledger the catalog holds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incidents: u64,
    /// A hint at the mailbox's name, for who looks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

impl CatalogRef {
    /// To the catalog of a mailbox whose name is filled in later.
    pub(crate) fn new(catalog: String, reference: ObjectRef) -> Self {
        Self { catalog, reference, tree: false, carried: false, incidents: 0, tag: None }
    }

    /// Whether it is the same catalog.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.catalog == other.catalog && self.reference == other.reference
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Mailboxes.
    pub mailboxes: u64,
    /// Plain trees, which are no mailboxes.
    #[serde(default)]
    pub trees: u64,
    /// Messages.
    pub messages: u64,
    /// Bytes of messages, uncompressed.
    pub bytes: u64,
}

/// How many of each kind a run's ledger names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerCounts {
    /// Came while their mailbox was scanned.
    pub delivered_during_run: u64,
    /// Gone before the scan of their mailbox ended.
    pub expunged_during_run: u64,
    /// Went to another folder meanwhile.
    pub moved_during_run: u64,
    /// Listed, and not to be found under any name, though nothing shows that they are gone.
    pub unresolved: u64,
    /// Could not be read.
    pub unreadable: u64,
    /// Left out, because no mail server shows them: folders, FIFOs, sockets, dot files, links to
    /// nothing in `new` or `cur`.
    pub not_messages: u64,
    /// Folders that never stood still long enough for a whole listing.
    pub unstable_folders: u64,
    /// Base names that two messages of a folder share.
    pub duplicate_names: u64,
    /// Links to what may be mail.
    pub not_followed: u64,
    /// Mailboxes that are gone from the store together with most others: a disk not mounted?
    pub mailboxes_missing: u64,
    /// Mailboxes that are no Maildirs.
    pub foreign_formats: u64,
    /// Mailboxes that lost more of their messages than a normal night takes.
    pub expunge_alarms: u64,
}

impl LedgerCounts {
    /// Whether something that may be mail is not in the snapshot.
    pub fn is_incomplete(&self) -> bool {
        self.unreadable + self.unstable_folders + self.unresolved > 0
            || self.not_followed + self.mailboxes_missing + self.foreign_formats > 0
    }

    /// Adds the counts of another ledger.
    pub fn add(&mut self, other: &Self) {
        let Self {
            delivered_during_run,
            expunged_during_run,
            moved_during_run,
            unresolved,
            unreadable,
            not_messages,
            unstable_folders,
            duplicate_names,
            not_followed,
            mailboxes_missing,
            foreign_formats,
            expunge_alarms,
        } = *other;
        self.delivered_during_run += delivered_during_run;
        self.expunged_during_run += expunged_during_run;
        self.moved_during_run += moved_during_run;
        self.unresolved += unresolved;
        self.unreadable += unreadable;
        self.not_messages += not_messages;
        self.unstable_folders += unstable_folders;
        self.duplicate_names += duplicate_names;
        self.not_followed += not_followed;
        self.mailboxes_missing += mailboxes_missing;
        self.foreign_formats += foreign_formats;
        self.expunge_alarms += expunge_alarms;
    }
}

impl Manifest {
    /// Serialises.
    pub fn encode(&self) -> std::io::Result<Body> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        Ok(Body::from_bytes(compressor.compress(&serde_json::to_vec(self)?)?))
    }

    /// Reads the snapshot `id`.
    pub fn read(store: &dyn Store, id: &str) -> Result<Self> {
        let key = snapshot_key(id);
        Self::decode(&key, &store.get(&key, MANIFEST_BYTES)?)
    }

    /// Decodes what [`Manifest::encode`] wrote.
    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self> {
        let mut json = Vec::new();
        let limit = (bytes.len() as u64).saturating_mul(EXPANSION_MAX).max(EXPANDED_MIN);
        zstd::Decoder::new(bytes)
            .and_then(|decoder| decoder.take(limit).read_to_end(&mut json))
            .map_err(|e| Error::damaged(key, format!("does not decode: {e}")))?;
        let damaged = |e: serde_json::Error| Error::damaged(key, format!("is no manifest: {e}"));
        let version: Version = serde_json::from_slice(&json).map_err(damaged)?;
        if version.snapshot > VERSION {
            let (found, known) = (version.snapshot, VERSION);
            return Err(Error::TooNew { object: key.into(), found, known });
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(damaged)?;
        if snapshot_key(&manifest.id) != key {
            return Err(Error::damaged(key, "is the manifest of another snapshot"));
        }
        let ids = manifest.mailboxes.iter().flat_map(|(id, catalog)| [id, &catalog.catalog]);
        if let Some(id) = ids.into_iter().find(|id| !is_id(id)) {
            return Err(Error::damaged(key, format!("has `{id}` where an id should be")));
        }
        Ok(manifest)
    }
}

/// The ids of all snapshots, oldest first.
pub fn ids(store: &dyn Store) -> Result<Vec<String>> {
    ids_from(store, "")
}

/// The ids that are `first` or sort after it, oldest first.
pub(crate) fn ids_from(store: &dyn Store, first: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    // An id sorts before its key.
    store.list_after(SNAPSHOTS, &format!("{SNAPSHOTS}{first}"), &mut |object| {
        ids.extend(snapshot_id(&object.key).map(str::to_owned));
    })?;
    ids.sort_unstable();
    Ok(ids)
}

#[derive(Deserialize)]
struct Version {
    snapshot: u32,
}

/// The version of manifests that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The largest compressed manifest that is read: some millions of mailboxes.
const MANIFEST_BYTES: u64 = 256 << 20;

/// How many times its size a manifest may become: real ones, most of them hashes, stay below 3.
const EXPANSION_MAX: u64 = 8;
const EXPANDED_MIN: u64 = 16 << 20;

const LEVEL: i32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    /// White space before the JSON is the cheapest bomb; as little of it as memory may hold is none.
    #[test]
    fn a_bomb_stops_at_the_limit() {
        let json = r#"{"snapshot":9}"#;
        let decode = |spaces: u64| {
            let text = [" ".repeat(spaces as usize), json.to_owned()].concat();
            let bytes = zstd::bulk::compress(text.as_bytes(), 1).unwrap();
            assert!((bytes.len() as u64) < EXPANDED_MIN / EXPANSION_MAX);
            Manifest::decode("x", &bytes).unwrap_err()
        };
        let fits = EXPANDED_MIN - json.len() as u64;
        assert!(matches!(decode(fits), Error::TooNew { .. }));
        assert!(matches!(decode(fits + 1), Error::Damaged { .. }));
    }
}
