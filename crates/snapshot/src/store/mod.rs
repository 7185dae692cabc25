//! Object stores: where a repository's objects live. One small blocking trait, four
//! implementations (`local`, `s3`, `memory`, and `faulty`, which fails on demand). Calls block on
//! purpose: a caller that wants concurrency brings threads, and S3 keeps its async runtime to itself.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub mod error;
pub mod faulty;
pub mod local;
pub mod location;
pub mod memory;
pub mod s3;

pub use error::{Error, Result};
pub use location::Location;

/// A flat space of immutable objects under `/`-separated keys.
///
/// Keys are relative, made of `[A-Za-z0-9._-]` segments, without empty, `.` or `..` segments. An
/// object is written once and never changed, so a ranged read needs no version check.
pub trait Store: Send + Sync {
    /// Stores `body` under `key` unless an object is there already, which stays as it is.
    ///
    /// The object appears whole or not at all. It survives a power cut only after [`Store::sync`].
    /// On a server without conditional writes an existing object may be replaced: keys are
    /// therefore random wherever two writers could meet.
    fn put(&self, key: &str, body: Body) -> Result<Put>;

    /// As [`Store::put`] and [`Store::sync`] together, for the one object that makes others count:
    /// after a power cut it is there whole, or not at all.
    fn put_durably(&self, key: &str, body: Body) -> Result<Put> {
        let put = self.put(key, body)?;
        self.sync()?;
        Ok(put)
    }

    /// The whole object, or [`Error::TooLarge`] if it has more than `limit_bytes`.
    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>>;

    /// Exactly the bytes of `range`, or [`Error::Truncated`] if the object ends before it does.
    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>>;

    /// The object's size in bytes.
    fn size(&self, key: &str) -> Result<u64>;

    /// Calls `each` for every object whose key starts with `prefix`, in no order.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()>;

    /// The same, without keys that do not sort after `after`.
    fn list_after(&self, prefix: &str, after: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        self.list(prefix, &mut |object| {
            if object.key.as_str() > after {
                each(object);
            }
        })
    }

    /// Removes an object; one that is not there is no error.
    fn delete(&self, key: &str) -> Result<()>;

    /// Returns when everything put so far would survive a power cut.
    fn sync(&self) -> Result<()>;

    /// What was asked of the store so far: for S3 every HTTP request, retries included.
    fn requests(&self) -> Requests;

    /// Whether a power cut before [`Store::sync`] may leave an object with other bytes than were
    /// put, so that one found after an interrupted run must be hashed before it is relied on.
    fn can_tear(&self) -> bool {
        false
    }

    /// Whether the store itself refuses to replace an object. Where it does not (some S3 servers),
    /// two writers of one key could overwrite each other; mailrig's keys are random, an attacker's
    /// are not.
    fn probe_conditional_create(&self) -> Result<bool> {
        Ok(true)
    }

    /// Removes what uploads left behind that were begun more than `older_than` ago and never
    /// finished; tells how many.
    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize> {
        let _ = older_than;
        Ok(0)
    }

    /// The location as people write it: `s3://bucket/prefix` or a path. Never holds a secret.
    fn display(&self) -> String;
}

/// An object's bytes with the SHA-256 that the store (S3) or a later reader checks.
#[derive(Debug)]
pub struct Body {
    /// Where the bytes are.
    pub data: Data,
    /// Length of the data in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the data.
    pub sha256: [u8; 32],
}

impl Body {
    /// A body from memory; hashes it.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let sha256 = crate::hash::sha256(&bytes);
        Self { size_bytes: bytes.len() as u64, sha256, data: Data::Memory(bytes) }
    }
}

/// The bytes of a [`Body`].
#[derive(Debug)]
pub enum Data {
    /// Read from its start; large packs are spooled to an unlinked temporary file.
    File(File),
    /// Held in memory.
    Memory(Vec<u8>),
}

/// What [`Store::put`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is new.
    Created,
    /// An object with this key was there and was left alone.
    Exists,
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The full key, prefix included.
    pub key: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// Requests by kind, as object stores bill them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Requests {
    /// PUT, POST, multipart calls.
    pub put: u64,
    /// GET.
    pub get: u64,
    /// HEAD.
    pub head: u64,
    /// LIST pages.
    pub list: u64,
    /// DELETE.
    pub delete: u64,
}

impl Requests {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.put + self.get + self.head + self.list + self.delete
    }
}

/// Counters behind [`Store::requests`], shared by the implementations.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) put: AtomicU64,
    pub(crate) get: AtomicU64,
    pub(crate) head: AtomicU64,
    pub(crate) list: AtomicU64,
    pub(crate) delete: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Requests {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            put: load(&self.put),
            get: load(&self.get),
            head: load(&self.head),
            list: load(&self.list),
            delete: load(&self.delete),
        }
    }
}

/// A shared store is a store, so that decorators and threads can hold one.
impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        (**self).put(key, body)
    }

    fn put_durably(&self, key: &str, body: Body) -> Result<Put> {
        (**self).put_durably(key, body)
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        (**self).get(key, limit_bytes)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        (**self).get_range(key, range)
    }

    fn size(&self, key: &str) -> Result<u64> {
        (**self).size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        (**self).list(prefix, each)
    }

    fn list_after(&self, prefix: &str, after: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        (**self).list_after(prefix, after, each)
    }

    fn delete(&self, key: &str) -> Result<()> {
        (**self).delete(key)
    }

    fn sync(&self) -> Result<()> {
        (**self).sync()
    }

    fn requests(&self) -> Requests {
        (**self).requests()
    }

    fn can_tear(&self) -> bool {
        (**self).can_tear()
    }

    fn probe_conditional_create(&self) -> Result<bool> {
        (**self).probe_conditional_create()
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize> {
        (**self).abort_stale_uploads(older_than)
    }

    fn display(&self) -> String {
        (**self).display()
    }
}
