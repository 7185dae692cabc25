//! Pack indexes: JSON lines, the pack's frames first, then one line a member in order. A member's
//! place in the tar follows from the sizes before it, so it is not written down.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::headers::Headers;

/// First line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexHead {
    /// The pack's id.
    pub pack: String,
    /// Number of members.
    pub members: u32,
    /// Length of the tar in bytes, before compression.
    pub raw: u64,
    /// Where each zstd frame ends: in the compressed stream, and in the tar.
    pub frames: Vec<(u64, u64)>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexMember {
    /// SHA-256 of the content, lower-case hex.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    /// What `find` searches.
    #[serde(flatten)]
    pub headers: Headers,
}

/// A whole index.
#[derive(Debug)]
pub struct Index {
    /// The first line.
    pub head: IndexHead,
    /// The members.
    pub members: Vec<IndexMember>,
}

impl Index {
    /// Decodes a sealed index, `object` in messages.
    pub fn decode(object: &str, sealed: &[u8], unseal: &Unseal) -> Result<Self> {
        let damaged = |reason: String| Error::damaged(object, reason);
        let mut lines = json_lines(object, sealed, unseal)?;
        let mut line = Vec::new();
        lines.next_into(&mut line)?;
        let head: IndexHead = parse(object, &line)?;
        let mut members = Vec::new();
        while lines.next_into(&mut line)? {
            members.push(parse(object, &line)?);
            if members.len() > head.members as usize {
                break;
            }
        }
        if members.len() != head.members as usize {
            return Err(damaged(format!("does not have its {} members", head.members)));
        }
        Ok(Self { head, members })
    }
}

/// The lines of a sealed, compressed JSON-lines object, one at a time and of bounded length.
pub(crate) fn json_lines<'a>(object: &str, sealed: &'a [u8], unseal: &Unseal) -> Result<Lines<'a>> {
    let plain = unseal.reader(sealed).map_err(|e| Error::open(object, e))?;
    let decoder = zstd::Decoder::new(plain).map_err(|e| Error::damaged(object, e))?;
    let limit = (sealed.len() as u64).saturating_mul(EXPANSION_MAX).max(EXPANDED_MIN);
    let input = BufReader::with_capacity(1 << 16, decoder.take(limit));
    Ok(Lines { object: object.to_owned(), input })
}

pub(crate) fn parse<'l, T: Deserialize<'l>>(object: &str, line: &'l [u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|e| Error::damaged(object, format!("has a line that is not as it should be: {e}")))
}

/// Unsealing, then decompressing.
type Decoder<'a> = zstd::Decoder<'static, BufReader<Box<dyn Read + 'a>>>;

pub(crate) struct Lines<'a> {
    object: String,
    input: BufReader<io::Take<Decoder<'a>>>,
}

impl Lines<'_> {
    /// Reads the next line, without its end, into `line`; false at the end.
    pub(crate) fn next_into(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES);
        limited
            .read_until(b'\n', line)
            .map_err(|e| Error::damaged(&self.object, format!("does not decode: {e}")))?;
        if line.is_empty() {
            return Ok(false);
        }
        if line.pop() != Some(b'\n') {
            return Err(Error::damaged(&self.object, "has an overlong or unfinished line"));
        }
        Ok(true)
    }
}

/// The longest line: a path of 4 KiB with every byte encoded, many times over.
const LINE_BYTES: u64 = 4 << 20;

/// How many times its size an object of lines may become: real ones stay below 20. What goes on
/// beyond is cut, and found as an unfinished line or a missing member.
const EXPANSION_MAX: u64 = 200;
const EXPANDED_MIN: u64 = 16 << 20;
