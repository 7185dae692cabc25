//! Objects that are named with size and SHA-256 by whoever refers to them: writing them once, and
//! reading them back so that what was torn, cut or exchanged is found before it is used.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::hash::{hex, parse_sum};
use crate::store::{self, Body, Store};

/// A reference to an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

impl ObjectRef {
    /// The reference to `body`.
    pub fn of(body: &Body) -> Self {
        Self { size: body.size_bytes, sha256: hex(&body.sha256) }
    }

    /// The whole object, checked. For objects that are small by kind: at most `limit_bytes`.
    pub fn read(&self, store: &dyn Store, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        if self.size > limit_bytes {
            let size_bytes = self.size;
            return Err(store::Error::TooLarge { key: key.into(), size_bytes, limit_bytes }.into());
        }
        let bytes = store.get(key, self.size)?;
        if bytes.len() as u64 != self.size {
            return Err(Error::damaged(
                key,
                format!("has {} bytes, not {}", bytes.len(), self.size),
            ));
        }
        if parse_sum(&self.sha256) != Some(crate::hash::sha256(&bytes)) {
            return Err(Error::damaged(key, OTHER_SUM));
        }
        Ok(bytes)
    }

    /// A reader of the object in windows of bounded size; see [`CheckedReader`].
    pub fn stream<'s>(&self, store: &'s dyn Store, key: &str) -> CheckedReader<'s> {
        CheckedReader {
            store,
            key: key.to_owned(),
            expected: self.clone(),
            window: Vec::new(),
            consumed: 0,
            fetched: 0,
            hasher: Sha256::new(),
            failure: None,
        }
    }
}

/// Reads an object window by window, hashing it on the way. [`CheckedReader::finish`] must be
/// called when all was read: only then is the hash compared.
pub struct CheckedReader<'s> {
    store: &'s dyn Store,
    key: String,
    expected: ObjectRef,
    window: Vec<u8>,
    consumed: usize,
    fetched: u64,
    hasher: Sha256,
    failure: Option<store::Error>,
}

impl CheckedReader<'_> {
    /// The object's size in bytes.
    pub fn size(&self) -> u64 {
        self.expected.size
    }

    /// The store's failure that ended the reading, if one did. Decoders between here and the caller
    /// wrap it in errors of their own, so that a store out of reach would look like damage.
    pub fn failure(&mut self) -> Option<Error> {
        self.failure.take().map(Error::Store)
    }

    /// Reads what is left and compares the hash.
    pub fn finish(&mut self) -> Result<()> {
        loop {
            let got = self.fill_buf().map(<[u8]>::len);
            match got {
                Ok(0) => break,
                Ok(got) => self.consume(got),
                Err(e) => {
                    return Err(self.failure().unwrap_or_else(|| Error::damaged(&self.key, e)));
                }
            }
        }
        let sum: [u8; 32] = self.hasher.finalize_reset().into();
        if parse_sum(&self.expected.sha256) != Some(sum) {
            return Err(Error::damaged(&self.key, OTHER_SUM));
        }
        Ok(())
    }
}

impl BufRead for CheckedReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.consumed == self.window.len() && self.fetched < self.expected.size {
            let end = self.expected.size.min(self.fetched + WINDOW_BYTES);
            self.window = self.store.get_range(&self.key, self.fetched..end).map_err(|e| {
                let text = e.to_string();
                self.failure = Some(e);
                io::Error::other(text)
            })?;
            self.hasher.update(&self.window);
            self.fetched = end;
            self.consumed = 0;
        }
        Ok(&self.window[self.consumed..])
    }

    fn consume(&mut self, amount: usize) {
        self.consumed += amount;
    }
}

impl Read for CheckedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// What `Read::read` is for a reader that has a buffer of its own.
pub(crate) fn read_buffered(reader: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let available = reader.fill_buf()?;
    let count = available.len().min(buffer.len());
    buffer[..count].copy_from_slice(&available[..count]);
    reader.consume(count);
    Ok(count)
}

/// How much of an object is asked for at once.
const WINDOW_BYTES: u64 = 16 * 1024 * 1024;

const OTHER_SUM: &str = "has another SHA-256 than when it was written";
