//! The log of histograms that other tools read (HdrHistogram log 1.3, payloads V2 deflated): written interval by
//! interval, read with suspicion. A tag is the name of a kind; intervals of the warm-up have tags of their own.

mod facts;
mod payload;
mod read;
mod write;

pub use facts::Facts;
pub use payload::BadPayload;
pub use read::{BadLog, Entry, Log, Reader, Tagged, read};
pub use write::Writer;

/// Stands before the tags of intervals that do not count.
pub const WARMUP_PREFIX: &str = "warmup_";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Kind, Measures};
    use crate::random::Random;
    use std::time::{Duration, SystemTime};

    pub(super) fn facts() -> Facts {
        Facts { plan: "6f0c".into(), shard: 1, shards: 3, run: "0123456789abcdef".into() }
    }

    /// A log of so many intervals of a second, the first of them warm-up, and the sum of the others.
    pub(super) fn log(seed: u64, intervals: u64) -> (Vec<u8>, Measures) {
        let mut random = Random::new(seed, 0);
        let mut sum = Measures::default();
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let mut writer = Writer::new(Vec::new(), &facts(), start).unwrap();
        for index in 0..intervals {
            let mut measures = Measures::default();
            for kind in [Kind::Response, Kind::QueueWait] {
                for _ in 0..=random.below(50) {
                    measures.record(kind, Duration::from_micros(random.below(5_000_000)));
                }
            }
            let at = Duration::from_secs(index);
            writer.interval(at, Duration::from_secs(1), index == 0, &measures).unwrap();
            if index > 0 {
                sum.add(&measures);
            }
        }
        (writer.into_inner(), sum)
    }

    #[test]
    fn what_was_written_is_read_again_count_for_count() {
        let (bytes, sum) = log(3, 20);
        let log = read(&bytes[..]).unwrap();
        assert_eq!((log.facts.as_ref(), log.is_cut), (Some(&facts()), false));
        assert_eq!(log.started, Some(Duration::from_millis(1_700_000_000_123)));
        for kind in Kind::ALL {
            assert_eq!(log.measures().get(kind), sum.get(kind), "{}", kind.name());
        }
        let warmup = log.warmup();
        assert!(warmup.get(Kind::Response).is_some() && warmup.get(Kind::Mail).is_none());
        let tags: Vec<_> = log.tags.keys().map(String::as_str).collect();
        assert_eq!(tags, ["queue_wait", "response", "warmup_queue_wait", "warmup_response"]);
        let response = &log.tags["response"];
        assert_eq!(response.intervals, 19);
        assert_eq!(response.start..response.end, Duration::from_secs(1)..Duration::from_secs(20));
    }

    #[test]
    fn logs_add_up() {
        let ((a, sum), (b, more)) = (log(1, 9), log(2, 12));
        let (mut added, b) = (read(&a[..]).unwrap(), read(&b[..]).unwrap());
        added.add(&b);
        let mut expected = sum;
        expected.add(&more);
        for kind in Kind::ALL {
            assert_eq!(added.measures().get(kind), expected.get(kind));
        }
        assert_eq!(added.tags["response"].intervals, 8 + 11);
    }

    #[test]
    fn a_log_looks_as_other_tools_know_it() {
        let mut measures = Measures::default();
        measures.record(Kind::TlsFull, Duration::from_millis(1500));
        let mut writer = Writer::new(Vec::new(), &facts(), SystemTime::UNIX_EPOCH).unwrap();
        let second = Duration::from_secs(1);
        writer.interval(second, second, false, &measures).unwrap();
        measures = Measures::default();
        writer.interval(second * 2, second, false, &measures).unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "#[Histogram log format version 1.3]",
                "#[mailrig plan=6f0c shard=1/3 run=0123456789abcdef]",
                "#[StartTime: 0.000 (seconds since epoch), 1970-01-01T00:00:00Z]",
                "#[BaseTime: 0.000 (seconds since epoch)]",
                "#[MaxValueDivisor: 1000.000]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
             \"Interval_Compressed_Histogram\"",
            ]
        );
        // The longest in milliseconds, as exact as its bucket; an empty interval has no line.
        assert!(lines[6].starts_with("Tag=tls_full,1.000,1.000,1500.159,HISTFAAA"), "{}", lines[6]);
        assert_eq!(lines.len(), 7);
    }
}
