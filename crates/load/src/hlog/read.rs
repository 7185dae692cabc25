//! Reads a log: entry by entry, or to the sums of its tags. Whoever wrote it is not trusted; what a run that was killed
//! left is read as far as it goes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::payload::{BadPayload, Decoder};
use super::{Facts, WARMUP_PREFIX};
use crate::measure::{Kind, Measures, empty};

/// A log, summed up.
#[derive(Debug, Default, Clone)]
pub struct Log {
    /// Where it comes from, if it is one of ours.
    pub facts: Option<Facts>,
    /// When the run started, since 1970.
    pub started: Option<Duration>,
    /// What its intervals add up to, by tag; those of the warm-up have [`WARMUP_PREFIX`].
    pub tags: BTreeMap<String, Tagged>,
    /// Whether the last line is not complete, and was passed over.
    pub is_cut: bool,
}

/// The sum of the intervals of a tag.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// Of microseconds.
    pub histogram: Histogram<u64>,
    /// How many intervals.
    pub intervals: u64,
    /// When the first began, from the run's start.
    pub start: Duration,
    /// When the last ended, from the run's start.
    pub end: Duration,
}

/// One line with a histogram.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Empty if there is none.
    pub tag: String,
    /// From the run's start.
    pub start: Duration,
    /// Of the interval.
    pub length: Duration,
    /// Of microseconds.
    pub histogram: Histogram<u64>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadLog {
    /// From the system.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// One of ours has 300 kB at most.
    #[error("line {0} is longer than {LINE_BYTES} bytes: is this a log of histograms?")]
    LongLine(u64),
    /// Neither a comment nor an interval.
    #[error(
        "line {0} is no interval of a histogram log, such as `Tag=response,0.000,1.000,9.5,HIST…`"
    )]
    Line(u64),
    /// The histogram of an interval.
    #[error("line {line}: the histogram of `{tag}` cannot be used: {why}")]
    Payload {
        /// From 1.
        line: u64,
        /// Of the interval.
        tag: String,
        /// What is wrong with it.
        #[source]
        why: BadPayload,
    },
    /// More than any run of ours has.
    #[error(
        "line {0} is one too many: a log has {MOST_TAGS} tags and {MOST_ENTRIES} intervals at most"
    )]
    TooMuch(u64),
}

/// Reads a log and adds up what it holds.
pub fn read(input: impl BufRead) -> Result<Log, BadLog> {
    let mut reader = Reader::new(input);
    let mut log = Log::default();
    while let Some(entry) = reader.next_entry()? {
        if !log.tags.contains_key(&entry.tag) && log.tags.len() == MOST_TAGS {
            return Err(BadLog::TooMuch(reader.line));
        }
        log.add_entry(entry);
    }
    let Reader { facts, started, is_cut, .. } = reader;
    Ok(Log { facts, started, is_cut, ..log })
}

impl Log {
    /// Adds another log's histograms, tag by tag. Whether the two belong together is for [`Log::facts`] to tell.
    pub fn add(&mut self, other: &Log) {
        self.is_cut |= other.is_cut;
        for (tag, theirs) in &other.tags {
            self.tags.entry(tag.clone()).or_insert_with(Tagged::none).add(theirs);
        }
    }

    /// What counts: all but the warm-up, and but tags that this version does not know.
    pub fn measures(&self) -> Measures {
        self.with_prefix("")
    }

    /// What the warm-up measured.
    pub fn warmup(&self) -> Measures {
        self.with_prefix(WARMUP_PREFIX)
    }

    fn with_prefix(&self, prefix: &str) -> Measures {
        let mut measures = Measures::default();
        for (tag, tagged) in &self.tags {
            if let Some(kind) = tag.strip_prefix(prefix).and_then(Kind::named) {
                let added = measures.add_histogram(kind, &tagged.histogram);
                debug_assert!(added.is_ok(), "the bounds were checked");
            }
        }
        measures
    }

    fn add_entry(&mut self, entry: Entry) {
        let Entry { tag, start, length, histogram } = entry;
        let end = start.saturating_add(length);
        let sum = self.tags.entry(tag).or_insert_with(Tagged::none);
        sum.add(&Tagged { histogram, intervals: 1, start, end });
    }
}

impl Tagged {
    fn none() -> Self {
        Self { histogram: empty(), intervals: 0, start: Duration::MAX, end: Duration::ZERO }
    }

    fn add(&mut self, other: &Tagged) {
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok(), "the bounds were checked");
        self.intervals = self.intervals.saturating_add(other.intervals);
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
    }
}

/// Reads entry by entry, in bounded memory.
pub struct Reader<R> {
    /// Where the log comes from, as far as it was read.
    pub facts: Option<Facts>,
    /// When the run started, since 1970, as far as the log was read.
    pub started: Option<Duration>,
    /// Whether the last line is not complete, and was passed over.
    pub is_cut: bool,
    input: R,
    buffer: Vec<u8>,
    decoder: Decoder,
    line: u64,
    entries: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads from the beginning of a log.
    pub fn new(input: R) -> Self {
        let (facts, started, is_cut) = (None, None, false);
        let (buffer, decoder) = (Vec::new(), Decoder::default());
        Self { facts, started, is_cut, input, buffer, decoder, line: 0, entries: 0 }
    }

    /// The next histogram, or `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BadLog> {
        while self.next_line()? {
            let is_ended = self.buffer.ends_with(b"\n");
            let line = self.buffer.trim_ascii_end();
            if let [] | [b'#' | b'"', ..] = line {
                let comment = String::from_utf8_lossy(line).into_owned();
                self.note(&comment);
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(BadLog::TooMuch(self.line));
            }
            match entry(line, self.line, &mut self.decoder) {
                Err(_) if !is_ended => self.is_cut = true,
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<bool, BadLog> {
        self.buffer.clear();
        self.line = self.line.saturating_add(1);
        let mut bounded = self.input.by_ref().take(LINE_BYTES);
        bounded.read_until(b'\n', &mut self.buffer)?;
        if self.buffer.len() as u64 == LINE_BYTES && !self.buffer.ends_with(b"\n") {
            return Err(BadLog::LongLine(self.line));
        }
        Ok(!self.buffer.is_empty())
    }

    /// Takes what a comment says; the first says it, as a log that was appended to is none of ours.
    fn note(&mut self, comment: &str) {
        let started = || {
            let rest = comment.strip_prefix("#[StartTime: ")?;
            seconds(rest.split(' ').next()?)
        };
        self.facts = self.facts.take().or_else(|| Facts::parse(comment));
        self.started = self.started.or_else(started);
    }
}

fn entry(bytes: &[u8], line: u64, decoder: &mut Decoder) -> Result<Entry, BadLog> {
    let parts = || {
        let text = str::from_utf8(bytes).ok()?;
        let (tag, rest) = match text.strip_prefix("Tag=") {
            Some(tagged) => tagged.split_once(',')?,
            None => ("", text),
        };
        let mut parts = rest.splitn(4, ',');
        let (start, length) = (seconds(parts.next()?)?, seconds(parts.next()?)?);
        let (_max, payload) = (parts.next()?, parts.next()?);
        let is_tag = tag.len() <= TAG_BYTES && tag.bytes().all(|byte| byte.is_ascii_graphic());
        is_tag.then_some((tag, start, length, payload))
    };
    let (tag, start, length, payload) = parts().ok_or(BadLog::Line(line))?;
    match decoder.decode(payload.as_bytes()) {
        Ok(histogram) => Ok(Entry { tag: tag.to_owned(), start, length, histogram }),
        Err(why) => Err(BadLog::Payload { line, tag: tag.to_owned(), why }),
    }
}

/// Seconds with a fraction, neither negative nor endless, to the millisecond that logs have.
fn seconds(text: &str) -> Option<Duration> {
    let ms = text.parse::<f64>().ok()? * 1000.0;
    (0.0..MOST_MS).contains(&ms).then(|| Duration::from_millis(ms.round() as u64))
}

const LINE_BYTES: u64 = 512 * 1024;

const TAG_BYTES: usize = 64;

const MOST_TAGS: usize = 64;

/// A day of seconds with all kinds of waits has less than two million.
const MOST_ENTRIES: u64 = 1 << 22;

/// Where numbers with a fraction stop being exact.
const MOST_MS: f64 = 9e15;

#[cfg(test)]
mod tests {
    use super::super::tests::log;
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_log_that_was_cut_off_is_read_as_far_as_it_goes() {
        let (bytes, _) = log(7, 4);
        let whole = read(&bytes[..]).unwrap();
        let end = bytes.trim_ascii_end();
        assert!(!read(end).unwrap().is_cut, "only the line's end is missing");
        for missing in [1, 9, 40] {
            let cut = read(&end[..end.len() - missing]).unwrap();
            assert!(cut.is_cut);
            assert_eq!(cut.tags["queue_wait"].intervals, whole.tags["queue_wait"].intervals - 1);
            assert_eq!(cut.tags["response"].histogram, whole.tags["response"].histogram);
        }
    }

    #[test]
    fn errors_name_the_line_and_the_tag() {
        let long = "x".repeat(LINE_BYTES as usize + 1);
        let many = "Tag=x,0.0,1.0,0,".repeat(2);
        let mut table = vec![
            (long.as_str(), "line 1 is longer than"),
            ("# a comment\nhello\n", "line 2 is no interval"),
            ("Tag=a b,0.0,1.0,0.0,HIST\n", "line 1 is no interval"),
            ("Tag=x,-1.0,1.0,0.0,HIST\n", "line 1 is no interval"),
            ("Tag=x,0.0,NaN,0.0,HIST\n", "line 1 is no interval"),
            ("Tag=x,0.0,1e300,0.0,HIST\n", "line 1 is no interval"),
            ("\n\"legend\"\n0.0,1.0,0.0,HIST\n", "line 3: the histogram of ``"),
            (
                "Tag=x,0.0,1.0,0.0,!\n",
                "line 1: the histogram of `x` cannot be used: it is not Base64",
            ),
        ];
        table.push((many.as_str(), ""));
        for (text, expected) in table {
            if expected.is_empty() {
                assert!(read(text.as_bytes()).unwrap().is_cut);
            } else {
                assert!(refusal(text).starts_with(expected), "{}", refusal(text));
            }
        }
    }

    #[test]
    fn there_are_not_endless_tags() {
        let (bytes, _) = log(1, 2);
        let text = String::from_utf8(bytes).unwrap();
        let line = text.lines().find(|line| line.starts_with("Tag=response")).unwrap();
        let rest = line.strip_prefix("Tag=response").unwrap();
        let lines = |n: usize| (0..n).map(|n| format!("Tag=t{n}{rest}\n")).collect::<String>();
        assert_eq!(read(lines(MOST_TAGS).as_bytes()).unwrap().tags.len(), MOST_TAGS);
        assert!(refusal(&lines(MOST_TAGS + 1)).starts_with("line 65 is one too many"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read(&bytes[..]);
        }

        #[test]
        fn no_change_of_a_log_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, _) = log(1, 3);
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes.truncate(cut.index(bytes.len() * 2));
            if let Ok(log) = read(&bytes[..]) {
                let mut sum = log.clone();
                sum.add(&log);
                for kind in Kind::ALL {
                    let _ = sum.measures().summary(kind);
                }
            }
        }
    }
}
