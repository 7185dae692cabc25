//! The time series of a run: its lines as plain data, which are written, read again, and added up for shards that ran
//! together. Percentiles do not add up: those of several shards come from their logs of histograms.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use load::engine::{Row, Slice};
use load::hlog::{Entry, Reader, WARMUP_PREFIX};
use load::measure::{Counts, Kind, Measures};

use super::output::{HLOG, SERIES};

/// An interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    /// From the start of the plan.
    pub(super) start: Duration,
    pub(super) length: Duration,
    pub(super) asked_per_s: Option<f64>,
    warmup_accepted: u64,
    /// Without the warm-up.
    counts: Counts,
    open: u64,
    pub(super) queue: Option<u64>,
    undelivered: u64,
}

impl Line {
    pub(super) fn new(row: &Row<'_>, asked_per_s: Option<f64>, queue: Option<u64>) -> Self {
        Self {
            start: row.start,
            length: row.length,
            asked_per_s,
            warmup_accepted: row.slice.warmup.counts.accepted,
            counts: row.slice.main.counts,
            open: row.open,
            queue,
            undelivered: row.undelivered,
        }
    }

    /// What is counted, in the order of the columns.
    fn counted(&mut self) -> [&mut u64; 10] {
        let counts = &mut self.counts;
        [
            &mut self.warmup_accepted,
            &mut counts.started,
            &mut counts.accepted,
            &mut counts.refused,
            &mut counts.deferred,
            &mut counts.failed,
            &mut counts.unknown,
            &mut counts.retried,
            &mut counts.delivered,
            &mut counts.bytes,
        ]
    }

    /// `main` is what was measured of messages that count.
    pub(super) fn write(&self, main: &Measures, out: &mut impl Write) -> io::Result<()> {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let asked = self.asked_per_s.map(|rate| format!("{rate:.3}")).unwrap_or_default();
        write!(out, "{:.3},{:.3},{asked}", self.start.as_secs_f64(), self.length.as_secs_f64())?;
        for count in self.clone().counted() {
            write!(out, ",{count}")?;
        }
        for quantile in QUANTILES {
            write!(out, ",{}", number(main.value_at(Kind::Response, quantile)))?;
        }
        writeln!(out, ",{},{},{}", self.open, number(self.queue), self.undelivered)
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        if fields.len() != COLUMNS.split(',').count() {
            return None;
        }
        let seconds = |text: &str| {
            let seconds = text.parse().ok()?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        // `None` where the field is empty, which some may be.
        let optional = |text: &str| match text {
            "" => Some(None),
            _ => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Some),
        };
        let mut line =
            Line { start: seconds(fields[0])?, length: seconds(fields[1])?, ..Line::default() };
        line.asked_per_s = optional(fields[2])?;
        for (count, text) in line.counted().into_iter().zip(&fields[3..]) {
            *count = text.parse().ok()?;
        }
        let [open, queue, undelivered] = fields.last_chunk()?;
        line.queue = optional(queue)?.map(|depth| depth as u64);
        (line.open, line.undelivered) = (open.parse().ok()?, undelivered.parse().ok()?);
        Some(line)
    }

    /// The same interval of another shard. All of them may ask one server for its queue.
    fn add(&mut self, mut other: Line) {
        self.length = self.length.max(other.length);
        self.asked_per_s = match (self.asked_per_s, other.asked_per_s) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        for (mine, theirs) in self.counted().into_iter().zip(other.counted()) {
            *mine = mine.saturating_add(*theirs);
        }
        self.open = self.open.saturating_add(other.open);
        self.queue = self.queue.max(other.queue);
        self.undelivered = self.undelivered.saturating_add(other.undelivered);
    }

    /// For the page. `is_watched`: whether somebody looked for what was delivered.
    pub(super) fn for_page(&self, slice: &Slice, is_watched: bool) -> report::load::Interval {
        let seconds = self.length.as_secs_f64().max(1e-3);
        let is_warmup =
            self.counts.started == 0 && slice.warmup.measures.get(Kind::QueueWait).is_some();
        let side = if is_warmup { &slice.warmup } else { &slice.main };
        let [p50_us, p99_us, max_us] =
            QUANTILES.map(|quantile| side.measures.value_at(Kind::Response, quantile));
        report::load::Interval {
            at_s: self.start.as_secs_f64(),
            is_warmup,
            asked_per_s: self.asked_per_s,
            accepted_per_s: self.counts.accepted.saturating_add(self.warmup_accepted) as f64
                / seconds,
            delivered_per_s: is_watched.then(|| self.counts.delivered as f64 / seconds),
            p50_us,
            p99_us,
            max_us,
            queue: self.queue,
            open: Some(self.open),
        }
    }
}

/// Kinds that this version does not know are passed over, as in the sum of all.
fn add_entry(slice: &mut Slice, entry: &Entry) {
    let (side, name) = match entry.tag.strip_prefix(WARMUP_PREFIX) {
        Some(name) => (&mut slice.warmup, name),
        None => (&mut slice.main, entry.tag.as_str()),
    };
    if let Some(kind) = Kind::named(name) {
        let added = side.measures.add_histogram(kind, &entry.histogram);
        debug_assert!(added.is_ok(), "the bounds were checked");
    }
}

/// The intervals of shards that ran together, by their start.
pub(super) fn add_up(dirs: &[PathBuf]) -> Result<BTreeMap<Duration, Line>> {
    let mut sums: BTreeMap<Duration, Line> = BTreeMap::new();
    for dir in dirs {
        for line in read(&dir.join(SERIES))? {
            match sums.get_mut(&line.start) {
                Some(sum) => sum.add(line),
                None => drop(sums.insert(line.start, line)),
            }
        }
    }
    Ok(sums)
}

/// Hands over each interval with what all shards measured in it. Nothing is held of their histograms but one interval.
pub(super) fn measured(
    lines: BTreeMap<Duration, Line>,
    dirs: &[PathBuf],
    mut take: impl FnMut(&Line, &Slice),
) -> Result<()> {
    let mut logs = Vec::new();
    for dir in dirs {
        let path = dir.join(HLOG);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        logs.push((path, Reader::new(BufReader::new(file)), None));
    }
    let mut rest = lines.into_values().peekable();
    while let Some(line) = rest.next() {
        // What stands between two lines belongs to the first; what was measured before the start, to the first of all.
        let until = rest.peek().map_or(Duration::MAX, |next| next.start);
        let mut slice = Slice::default();
        for (path, log, ahead) in &mut logs {
            while let Some(entry) = next(log, ahead, path)? {
                if entry.start >= until {
                    *ahead = Some(entry);
                    break;
                }
                add_entry(&mut slice, &entry);
            }
        }
        take(&line, &slice);
    }
    Ok(())
}

fn next(
    log: &mut Reader<impl BufRead>,
    ahead: &mut Option<Entry>,
    path: &Path,
) -> Result<Option<Entry>> {
    match ahead.take() {
        Some(entry) => Ok(Some(entry)),
        None => log.next_entry().with_context(|| format!("in {}", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let failed = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(failed)?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MOST_BYTES), &mut text)
        .with_context(failed)?;
    let mut rows = text.lines();
    if rows.next() != Some(COLUMNS) {
        bail!("{} is no series of this version: its columns are others", path.display());
    }
    let parse = |(at, row): (usize, &str)| {
        let bad = || format!("{}, line {}: this is no interval of a run", path.display(), at + 2);
        Line::parse(row).with_context(bad)
    };
    rows.enumerate().map(parse).collect()
}

/// The first line.
pub(super) const COLUMNS: &str = "start_s,length_s,asked_per_s,warmup_accepted,started,accepted,refused,deferred,\
    failed,unknown,retried,delivered,bytes,response_p50_us,response_p99_us,response_max_us,open,queue,undelivered";

/// Of the response time, as the columns say.
const QUANTILES: [f64; 3] = [0.5, 0.99, 1.0];

/// Some thousand lines are less.
const MOST_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(start_s: u64, started: u64) -> Line {
        let mut line = Line { start: Duration::from_secs(start_s), ..Line::default() };
        line.length = Duration::from_secs(1);
        line.counted().into_iter().enumerate().for_each(|(at, count)| *count = at as u64);
        (line.counts.started, line.asked_per_s) = (started, Some(2.5));
        (line.open, line.undelivered) = (7, 9);
        line
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for queue in [None, Some(3)] {
            let line = Line { queue, ..line(4, 5) };
            let mut text = Vec::new();
            let mut measures = Measures::default();
            measures.record(Kind::Response, Duration::from_millis(3));
            line.write(&measures, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(
                text.starts_with("4.000,1.000,2.500,0,5,2,") && text.contains(",3001,"),
                "{text}"
            );
            assert_eq!(Line::parse(text.trim_end()), Some(line));
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let good = "0.000,1.000,,0,0,0,0,0,0,0,0,0,0,,,,0,,0";
        assert!(Line::parse(good).is_some());
        for bad in [
            "",
            &good.replacen("0.000", "x", 1),
            &good[..good.len() - 2],
            &format!("{good},1"),
            &good.replacen('0', "-1", 1),
            &good.replacen("0.000", "1e400", 1),
            &good.replacen(",,0", ",inf,0", 1),
        ] {
            assert_eq!(Line::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_of_shards_add_up() {
        let mut sum = Line { queue: Some(4), ..line(0, 10) };
        sum.add(Line { queue: Some(6), length: Duration::from_millis(400), ..line(0, 20) });
        sum.add(line(0, 1));
        assert_eq!((sum.counts.started, sum.counts.bytes), (31, 27));
        assert_eq!((sum.asked_per_s, sum.open, sum.queue), (Some(7.5), 21, Some(6)));
        assert_eq!(sum.length, Duration::from_secs(1));
    }
}
