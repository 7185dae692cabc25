//! Reads a part of a sealed object without the rest: the head of the seal, then the part, each in
//! one request where it is not too long.

use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::object::ObjectRef;
use crate::store::Store;

/// A reader of the bytes `range` of what was sealed into an object. Whoever reads checks what comes
/// out: the object's own SHA-256 says nothing of a part.
pub(crate) fn read<'s>(
    store: &'s dyn Store,
    key: &str,
    object: &ObjectRef,
    unseal: &Unseal,
    range: Range<u64>,
) -> Result<impl Read + use<'s>> {
    if range.start > range.end || range.end > object.size {
        return Err(Error::damaged(key, "is shorter than it should be"));
    }
    let window = Window::open(store, key, object.size, &range)?;
    let opened = unseal.reader_at(window, range.start).map_err(|e| Error::open(key, e))?;
    Ok(opened.map_err(|e| Error::decode(key, e))?.take(range.end - range.start))
}

/// A seekable object of which one window is in memory.
struct Window<'s> {
    store: &'s dyn Store,
    key: String,
    size: u64,
    /// Nothing beyond this is worth asking for.
    until: u64,
    /// Where the window begins in the object.
    start: u64,
    bytes: Vec<u8>,
    /// Where the reader is in the object.
    at: u64,
}

impl<'s> Window<'s> {
    /// With the window on the object's start. `range` is of what was sealed.
    fn open(store: &'s dyn Store, key: &str, size: u64, range: &Range<u64>) -> Result<Self> {
        let until = (HEAD_BYTES + range.end.div_ceil(CHUNK) * SEALED_CHUNK).min(size);
        let first = if range.start < NEAR_BYTES { until.min(WINDOW_BYTES) } else { HEAD_BYTES };
        let bytes = store.get_range(key, 0..first.min(size))?;
        Ok(Self { store, key: key.to_owned(), size, until, start: 0, bytes, at: 0 })
    }

    fn position(&self) -> Option<usize> {
        let inside = usize::try_from(self.at.checked_sub(self.start)?).ok()?;
        (inside < self.bytes.len()).then_some(inside)
    }
}

impl BufRead for Window<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position().is_none() && self.at < self.size {
            // Beyond the part, age looks at the last chunk to know where the whole ends.
            let end = if self.at < self.until { self.until } else { self.at + SEALED_CHUNK };
            let range = self.at..end.min(self.at + WINDOW_BYTES).min(self.size);
            self.bytes = self.store.get_range(&self.key, range).map_err(io::Error::other)?;
            self.start = self.at;
        }
        Ok(self.position().map_or(&[], |position| &self.bytes[position..]))
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount as u64;
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        crate::object::read_buffered(self, buffer)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// age seals in chunks, each with a tag.
const CHUNK: u64 = 64 << 10;
const SEALED_CHUNK: u64 = CHUNK + 16;

/// More than the head of an age file with one recipient.
const HEAD_BYTES: u64 = 4 << 10;

/// A part that begins this near to the start is asked for together with the head.
const NEAR_BYTES: u64 = 256 << 10;

/// The most that is asked for, and held, at once.
const WINDOW_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypt::{Seal, generate};
    use crate::store::memory::Memory;
    use crate::store::{Body, Store};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Sizes and places around the ends of age's chunks.
        #[test]
        fn any_part_is_as_it_was_sealed(
            chunks in 0..20_u64,
            more in 0..40_u64,
            start in 0..21 * CHUNK,
            align in any::<bool>(),
            length in 0..3 * CHUNK,
            is_sealed: bool,
        ) {
            let size = chunks * CHUNK + more;
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let start = (if align { start / CHUNK * CHUNK } else { start }).min(size);
            let end = (start + length).min(size);
            let (recipient, identity) = generate();
            let (seal, unseal) = if is_sealed {
                (Seal::Age(vec![recipient]), Unseal::parse(&identity).unwrap())
            } else {
                (Seal::Plain, Unseal::Plain)
            };
            let store = Memory::default();
            let body = Body::from_bytes(seal.seal(&bytes));
            let object = ObjectRef::of(&body);
            store.put("x", body).unwrap();
            let mut part = Vec::new();
            let mut reader = read(&store, "x", &object, &unseal, start..end).unwrap();
            reader.read_to_end(&mut part).unwrap();
            prop_assert_eq!(&part, &bytes[start as usize..end as usize]);
            // One more where age must know whether a chunk is the last.
            prop_assert!(store.requests().get <= 3, "{} requests", store.requests().get);
        }
    }
}
