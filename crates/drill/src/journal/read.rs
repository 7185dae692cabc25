//! Reads a journal, and does not believe it: each line must have the hash of the one before. Half a line at the end is
//! what a crash leaves, and ends the journal before it.

use std::io::{self, BufRead};

use super::{Event, Line, hash};

/// Reads line by line.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    prev: String,
    line: u64,
    length: u64,
    is_cut: bool,
}

/// No journal, or one that somebody changed.
#[derive(Debug, thiserror::Error)]
pub enum BadJournal {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// Not in the form of this version.
    #[error("line {line} is none of a journal: {why}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// The chain is broken.
    #[error(
        "line {0} does not follow the one before it: something was changed, added or taken away"
    )]
    Chain(u64),
    /// Longer than any.
    #[error("line {0} is longer than {LINE_BYTES} bytes")]
    LongLine(u64),
}

impl<R: BufRead> Reader<R> {
    /// From the beginning.
    pub fn new(input: R) -> Self {
        let prev = hash(b"");
        Self { input, buffer: Vec::new(), prev, line: 0, length: 0, is_cut: false }
    }

    /// The next event and its time in microseconds; `None` at the end.
    pub fn next_event(&mut self) -> Result<Option<(u64, Event)>, BadJournal> {
        self.buffer.clear();
        let mut bounded = io::Read::take(&mut self.input, LINE_BYTES);
        bounded.read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        let Some(text) = self.buffer.strip_suffix(b"\n") else {
            if self.buffer.len() as u64 == LINE_BYTES {
                return Err(BadJournal::LongLine(self.line));
            }
            self.is_cut = true;
            return Ok(None);
        };
        let bad = |e: serde_json::Error| BadJournal::Line { line: self.line, why: e.to_string() };
        let Line { prev, t, e } = serde_json::from_slice(text).map_err(bad)?;
        if prev != self.prev {
            return Err(BadJournal::Chain(self.line));
        }
        self.prev = hash(text);
        self.length += self.buffer.len() as u64;
        Ok(Some((t, e)))
    }

    /// Whether half a line was at the end.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The length of all whole lines, and the hash of the last.
    pub fn position(&self) -> (u64, &str) {
        (self.length, &self.prev)
    }
}

/// What a step says is shortened to far less.
const LINE_BYTES: u64 = 1 << 20;
