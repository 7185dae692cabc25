//! Indexes: what is in packs. JSON lines in sections, one a pack: its frames first, then a line a
//! member in order. A member's place in the tar follows from the sizes before it, so it is not
//! written down. A section is a zstd frame of its own, so that it can be read without the others.

use std::io::{BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::hash::{Sum, parse_sum};
use crate::headers::Headers;

/// First line of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionHead {
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

/// A member's content, all that most readers want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) sum: Sum,
    pub(crate) size: u64,
}

/// Reads the sections of an index one after the other.
pub(crate) struct Sections<'a> {
    object: String,
    lines: Lines<'a>,
    line: Vec<u8>,
    /// Members of the present section that were not read yet.
    left: u32,
}

impl<'a> Sections<'a> {
    /// Of a sealed index, `object` in messages.
    pub(crate) fn open(object: &str, sealed: &'a [u8], unseal: &Unseal) -> Result<Self> {
        let lines = json_lines(object, sealed, unseal)?;
        Ok(Self { object: object.to_owned(), lines, line: Vec::new(), left: 0 })
    }

    /// Of a part of an index that was unsealed and has `size_bytes`.
    pub(crate) fn part(object: &str, part: impl Read + 'a, size_bytes: u64) -> Result<Self> {
        let lines = Lines::new(object, part, size_bytes)?;
        Ok(Self { object: object.to_owned(), lines, line: Vec::new(), left: 0 })
    }

    /// Goes on to the next section; `None` after the last.
    pub(crate) fn next_section(&mut self) -> Result<Option<SectionHead>> {
        while self.next_line()?.is_some() {}
        if !self.lines.next_into(&mut self.line)? {
            return Ok(None);
        }
        let head: SectionHead = parse(&self.object, &self.line)?;
        self.left = head.members;
        Ok(Some(head))
    }

    /// The section's next member, as it is written; `None` after the last.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if !self.lines.next_into(&mut self.line)? {
            return Err(Error::damaged(&self.object, "lacks members of a pack"));
        }
        Ok(Some(&self.line))
    }

    /// The section's next member without its header fields.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>> {
        let object = self.object.clone();
        let Some(line) = self.next_line()? else { return Ok(None) };
        let slim: Slim<'_> = parse(&object, line)?;
        let sum = parse_sum(slim.sha256)
            .ok_or_else(|| Error::damaged(&object, "has a hash that is none"))?;
        Ok(Some(Member { sum, size: slim.size }))
    }

    /// What is left of the section.
    pub(crate) fn members(&mut self) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        while let Some(member) = self.next_member()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[derive(Deserialize)]
struct Slim<'l> {
    sha256: &'l str,
    size: u64,
}

/// The lines of a sealed, compressed JSON-lines object, one at a time and of bounded length.
pub(crate) fn json_lines<'a>(object: &str, sealed: &'a [u8], unseal: &Unseal) -> Result<Lines<'a>> {
    let plain = unseal.reader(sealed).map_err(|e| Error::open(object, e))?;
    Lines::new(object, plain, sealed.len() as u64)
}

pub(crate) fn parse<'l, T: Deserialize<'l>>(object: &str, line: &'l [u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|e| Error::damaged(object, format!("has a line that is not as it should be: {e}")))
}

pub(crate) struct Lines<'a> {
    object: String,
    input: Box<dyn BufRead + 'a>,
}

impl<'a> Lines<'a> {
    /// Of `size_bytes` compressed bytes.
    fn new(object: &str, compressed: impl Read + 'a, size_bytes: u64) -> Result<Self> {
        let decoder = zstd::Decoder::new(compressed).map_err(|e| Error::damaged(object, e))?;
        let limit = size_bytes.saturating_mul(EXPANSION_MAX).max(EXPANDED_MIN);
        let input = Box::new(BufReader::with_capacity(1 << 16, decoder.take(limit)));
        Ok(Self { object: object.to_owned(), input })
    }

    /// Reads the next line, without its end, into `line`; false at the end.
    pub(crate) fn next_into(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES);
        limited.read_until(b'\n', line).map_err(|e| Error::decode(&self.object, e))?;
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

/// The largest index that is read.
pub(crate) const INDEX_BYTES: u64 = 1 << 30;
