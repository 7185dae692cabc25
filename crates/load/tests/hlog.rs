//! Our logs of histograms in the hands of a reader that nobody here wrote.

mod needs_hdrhistogram {
    use std::fs;
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    use load::hlog::{Facts, WARMUP_PREFIX, Writer, read};
    use load::measure::{Kind, Measures};
    use load::random::Random;
    use serde_json::{Map, Value, json};

    use crate::process::program;

    /// So that all percentiles fall on a whole number of values: between two of them readers choose differently.
    const VALUES: u64 = 10_000;

    const SECOND: Duration = Duration::from_secs(1);

    /// Of 2023, with a fraction.
    const START_MS: u64 = 1_700_000_000_250;

    /// What was recorded for a tag.
    #[derive(Default, Clone)]
    struct Told {
        measures: Measures,
        intervals: u64,
        first_s: u64,
    }

    /// Three kinds and a warm-up with values across seven magnitudes, some of them zero, one clipped.
    fn write(seed: u64) -> (Vec<u8>, Vec<(String, Kind, Told)>) {
        let mut random = Random::new(seed, 0);
        let mut told: Vec<(String, Kind, Told)> = Vec::new();
        let facts = Facts { plan: "d1ge57".into(), shard: 0, shards: 2, run: "00ff".into() };
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(START_MS);
        let mut writer = Writer::new(Vec::new(), &facts, start).unwrap();
        let mut second = 0;
        for (is_warmup, kinds) in [
            (true, &[Kind::Response][..]),
            (false, &[Kind::Response, Kind::Delivery, Kind::TlsResumed]),
        ] {
            let mut left: Vec<u64> = kinds.iter().map(|_| VALUES).collect();
            let first = told.len();
            told.extend(kinds.iter().map(|kind| {
                let prefix = if is_warmup { WARMUP_PREFIX } else { "" };
                (format!("{prefix}{}", kind.name()), *kind, Told::default())
            }));
            while left.iter().any(|left| *left > 0) {
                let mut interval = Measures::default();
                for (at, kind) in kinds.iter().enumerate() {
                    let count = random.below(700).min(left[at]);
                    left[at] -= count;
                    for _ in 0..count {
                        let us = (random.normal() * 2.5 + 8.0 + at as f64).exp()
                            * f64::from(!random.chance(0.05));
                        let far = if random.chance(0.0003) { 1e10 } else { 0.0 };
                        interval.record(*kind, Duration::from_micros((us + far) as u64));
                    }
                    let told = &mut told[first + at].2;
                    if count > 0 {
                        told.first_s = if told.intervals == 0 { second } else { told.first_s };
                        told.intervals += 1;
                    }
                }
                for (_, kind, told) in &mut told[first..] {
                    let mut only = Measures::default();
                    if let Some(histogram) = interval.get(*kind) {
                        only.add_histogram(*kind, histogram).unwrap();
                    }
                    told.measures.add(&only);
                }
                writer.interval(SECOND * second as u32, SECOND, is_warmup, &interval).unwrap();
                second += 1;
            }
        }
        (writer.into_inner(), told)
    }

    fn described(told: &[(String, Kind, Told)]) -> Value {
        let rows = told.iter().map(|(tag, kind, told)| {
            let found = told.measures.summary(*kind).unwrap();
            let row = json!({
                "p50": found.p50,
                "p90": found.p90,
                "p99": found.p99,
                "p999": found.p999,
                "max": found.max,
                "count": found.count,
                "intervals": told.intervals,
                "first_ms": START_MS + told.first_s * 1000,
            });
            (tag.clone(), row)
        });
        Value::Object(rows.collect::<Map<_, _>>())
    }

    #[test]
    fn another_reader_finds_what_was_recorded_and_merges_to_what_we_do() {
        let Some(python) = program("hdrhistogram", "hdrhistogram-0.10.8/bin/python") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hlog.py");
        let logs = [write(1), write(2)];
        let mut command = Command::new(python);
        command.arg("-B").arg(script);
        for (at, (bytes, _)) in logs.iter().enumerate() {
            let path = dir.path().join(format!("{at}.hlog"));
            fs::write(&path, bytes).unwrap();
            command.arg(path);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();

        for (at, (_, told)) in logs.iter().enumerate() {
            assert_eq!(found["each"][at], described(told), "log {at}");
        }
        let mut merged = read(&logs[0].0[..]).unwrap();
        merged.add(&read(&logs[1].0[..]).unwrap());
        let mut told = logs[0].1.clone();
        for (tag, kind, told) in &mut told {
            let tagged = &merged.tags[tag];
            told.measures = Measures::default();
            told.measures.add_histogram(*kind, &tagged.histogram).unwrap();
            told.intervals = tagged.intervals;
        }
        assert_eq!(found["merged"], described(&told));
        assert_eq!(merged.tags.len(), 4);
        let values = told.iter().map(|(_, kind, told)| told.measures.get(*kind).unwrap().len());
        assert!(values.into_iter().all(|count| count == 2 * VALUES));
    }
}
