//! Writes a log, interval by interval: what was measured is on disk when the run ends, however it ends. The crate's own
//! writer has no format line and no legend, which Java's reader wants, and borrows for as long as the run.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use jiff::Timestamp;

use super::{Facts, WARMUP_PREFIX};
use crate::measure::{Kind, Measures};

/// A log that grows.
pub struct Writer<W: Write> {
    out: W,
    serializer: V2DeflateSerializer,
    payload: Vec<u8>,
    text: String,
}

impl<W: Write> Writer<W> {
    /// Begins a log of a run that began at `start`.
    pub fn new(mut out: W, facts: &Facts, start: SystemTime) -> io::Result<Self> {
        let start_s = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start_s = start_s.as_secs_f64();
        let date = Timestamp::try_from(start).map_err(io::Error::other)?;
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(out, "{facts}")?;
        writeln!(out, "#[StartTime: {start_s:.3} (seconds since epoch), {date}]")?;
        // With it the times of intervals run from the start; without it readers have to guess.
        writeln!(out, "#[BaseTime: {start_s:.3} (seconds since epoch)]")?;
        writeln!(out, "#[MaxValueDivisor: {US_PER_MS:.3}]")?;
        writeln!(out, "{LEGEND}")?;
        let serializer = V2DeflateSerializer::new();
        Ok(Self { out, serializer, payload: Vec::new(), text: String::new() })
    }

    /// Writes a line for each kind that occurred in an interval. Times run from the run's start.
    pub fn interval(
        &mut self,
        start: Duration,
        length: Duration,
        is_warmup: bool,
        measures: &Measures,
    ) -> io::Result<()> {
        for kind in Kind::ALL {
            if let Some(histogram) = measures.get(kind) {
                let prefix = if is_warmup { WARMUP_PREFIX } else { "" };
                write!(self.out, "Tag={prefix}{},", kind.name())?;
                self.histogram(start, length, histogram)?;
            }
        }
        self.out.flush()
    }

    /// What the log was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn histogram(
        &mut self,
        start: Duration,
        length: Duration,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        self.payload.clear();
        self.serializer.serialize(histogram, &mut self.payload).map_err(io::Error::other)?;
        self.text.clear();
        STANDARD.encode_string(&self.payload, &mut self.text);
        let [start_s, length_s] = [start, length].map(|time| time.as_secs_f64());
        // For people, who think of milliseconds; programs take the payload, in microseconds.
        let max_ms = histogram.max() as f64 / US_PER_MS;
        writeln!(self.out, "{start_s:.3},{length_s:.3},{max_ms:.3},{}", self.text)
    }
}

const US_PER_MS: f64 = 1000.0;

const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                      \"Interval_Compressed_Histogram\"";
