//! How long things took: one histogram for each kind of wait, made when the first such wait ends. All have the same
//! bounds, so recorders add up bucket by bucket, and nothing is lost however often they are merged.

mod counts;
mod kind;

pub use counts::Counts;
pub use kind::Kind;

use std::time::Duration;

use hdrhistogram::{AdditionError, Histogram};
use serde::{Deserialize, Serialize};

/// The longest wait that is told from longer ones, in microseconds: one hour.
pub const LONGEST_US: u64 = 3_600_000_000;

/// Histograms by kind of wait. A kind that never occurred takes no memory, one that did 190 kB.
#[derive(Debug, Default, Clone)]
pub struct Measures {
    slots: [Option<Box<Slot>>; Kind::ALL.len()],
}

/// What a histogram comes to. Values are microseconds, and as exact as 3 significant digits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many there were.
    pub count: u64,
    /// The shortest, in microseconds.
    #[serde(rename = "min")]
    pub min_us: u64,
    /// The mean, in microseconds.
    #[serde(rename = "mean")]
    pub mean_us: f64,
    /// The median, in microseconds.
    pub p50: u64,
    /// What 90 % did not exceed, in microseconds.
    pub p90: u64,
    /// What 99 % did not exceed, in microseconds.
    pub p99: u64,
    /// What 99.9 % did not exceed, in microseconds.
    pub p999: u64,
    /// The longest, in microseconds.
    pub max: u64,
}

#[derive(Debug, Clone)]
struct Slot {
    histogram: Histogram<u64>,
    clipped: u64,
}

impl Measures {
    /// Records one wait, rounded to the nearest microsecond; less than half of one is zero. What took longer than
    /// [`LONGEST_US`] counts as that, and as clipped.
    pub fn record(&mut self, kind: Kind, took: Duration) {
        let slot = self.slot(kind);
        let us = nearest_us(took);
        // The histogram's last bucket reaches beyond its bound.
        slot.clipped += u64::from(us > LONGEST_US);
        slot.histogram.saturating_record(us.min(LONGEST_US));
    }

    /// Adds what another recorder has.
    pub fn add(&mut self, other: &Measures) {
        for kind in Kind::ALL {
            let Some(theirs) = &other.slots[kind as usize] else { continue };
            if theirs.histogram.is_empty() {
                continue;
            }
            let slot = self.slot(kind);
            slot.clipped = slot.clipped.saturating_add(theirs.clipped);
            slot.histogram.add(&theirs.histogram).expect("all have the same bounds");
        }
    }

    /// Adds a histogram that was read from a log.
    pub fn add_histogram(
        &mut self,
        kind: Kind,
        histogram: &Histogram<u64>,
    ) -> Result<(), AdditionError> {
        self.slot(kind).histogram.add(histogram)
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().flatten().all(|slot| slot.histogram.is_empty())
    }

    /// The histogram of a kind that occurred, in microseconds.
    pub fn get(&self, kind: Kind) -> Option<&Histogram<u64>> {
        let slot = self.slots[kind as usize].as_ref()?;
        (!slot.histogram.is_empty()).then_some(&slot.histogram)
    }

    /// How many waits of a kind were longer than a histogram can tell.
    pub fn clipped(&self, kind: Kind) -> u64 {
        self.slots[kind as usize].as_ref().map_or(0, |slot| slot.clipped)
    }

    /// What a share (0 to 1) of the waits of a kind did not exceed, in microseconds.
    pub fn value_at(&self, kind: Kind, quantile: f64) -> Option<u64> {
        Some(self.get(kind)?.value_at_quantile(quantile))
    }

    /// What a kind comes to, if it occurred.
    pub fn summary(&self, kind: Kind) -> Option<Summary> {
        self.get(kind).map(Summary::of)
    }

    #[inline]
    fn slot(&mut self, kind: Kind) -> &mut Slot {
        self.slots[kind as usize].get_or_insert_with(Slot::boxed)
    }
}

impl Summary {
    /// Of a histogram of microseconds; all zero if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            min_us: histogram.min(),
            mean_us: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

impl Slot {
    #[cold]
    fn boxed() -> Box<Self> {
        Box::new(Self { histogram: empty(), clipped: 0 })
    }
}

/// A histogram with the bounds that all have.
pub(crate) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(SHORTEST_US, LONGEST_US, DIGITS).expect("the bounds are constants")
}

fn nearest_us(took: Duration) -> u64 {
    let us = u64::from(took.subsec_nanos().saturating_add(500) / 1000);
    took.as_secs().saturating_mul(1_000_000).saturating_add(us)
}

/// Zero is told from one all the same.
pub(crate) const SHORTEST_US: u64 = 1;

/// Significant ones, of a value.
pub(crate) const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use proptest::prelude::*;

    fn of(values_us: &[u64]) -> Measures {
        let mut measures = Measures::default();
        for us in values_us {
            measures.record(Kind::Response, Duration::from_micros(*us));
        }
        measures
    }

    #[test]
    fn waits_are_rounded_to_the_nearest_microsecond() {
        for (nanos, us) in [(0, 0), (499, 0), (500, 1), (1499, 1), (999_999_999, 1_000_000)] {
            let mut measures = Measures::default();
            measures.record(Kind::Mail, Duration::from_nanos(nanos));
            let found = measures.get(Kind::Mail).unwrap().count_at(us);
            assert_eq!(found, 1, "{nanos} ns are not {us} us");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values_within_a_thousandth() {
        let mut random = Random::new(5, 0);
        let mut values: Vec<u64> =
            (0..50_000).map(|_| (random.normal().mul_add(1.5, 8.0).exp()) as u64).collect();
        let measures = of(&values);
        values.sort_unstable();
        let summary = measures.summary(Kind::Response).unwrap();
        let oracle = |share: f64| values[(share * values.len() as f64).ceil() as usize - 1];
        for (found, expected) in [
            (summary.p50, oracle(0.5)),
            (summary.p90, oracle(0.9)),
            (summary.p99, oracle(0.99)),
            (summary.p999, oracle(0.999)),
            (summary.max, values[values.len() - 1]),
            (measures.value_at(Kind::Response, 0.25).unwrap(), oracle(0.25)),
        ] {
            let error = (found as f64 - expected as f64).abs() / expected as f64;
            assert!(error <= 0.001, "{found} for {expected}");
        }
        let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
        assert!((summary.mean_us / mean - 1.0).abs() < 0.001, "{}", summary.mean_us);
        assert_eq!((summary.count, summary.min_us), (50_000, values[0]));
    }

    #[test]
    fn longer_than_an_hour_is_an_hour_and_counted() {
        let hour = Duration::from_secs(3600);
        let mut measures = Measures::default();
        measures.record(Kind::Dns, hour);
        assert_eq!(measures.clipped(Kind::Dns), 0);
        for longer in [hour + Duration::from_micros(1), hour * 2, Duration::MAX] {
            measures.record(Kind::Dns, longer);
        }
        let mut sum = measures.clone();
        sum.add(&measures);
        assert_eq!((measures.clipped(Kind::Dns), sum.clipped(Kind::Dns)), (3, 6));
        assert_eq!(sum.get(Kind::Dns).unwrap().count_at(LONGEST_US), 8);
        assert!(sum.summary(Kind::Dns).unwrap().max <= LONGEST_US / 1000 * 1001);
    }

    #[test]
    fn what_never_occurred_is_absent() {
        let mut measures = of(&[1, 2]);
        assert_eq!((measures.get(Kind::Quit), measures.summary(Kind::Quit)), (None, None));
        assert!(!measures.is_empty());
        assert!(Measures::default().is_empty());
        measures.add(&Measures::default());
        assert!(measures.slots[Kind::Quit as usize].is_none(), "made for nothing");
    }

    #[test]
    fn a_summary_has_short_names_in_json() {
        let json = serde_json::to_value(of(&[7]).summary(Kind::Response)).unwrap();
        let expected = serde_json::json!({
            "count": 1, "min": 7, "mean": 7.0, "p50": 7, "p90": 7, "p99": 7, "p999": 7, "max": 7
        });
        assert_eq!(json, expected);
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole_count_for_count(
            values in prop::collection::vec((0_u64..8_000_000_000, 0..3_usize), 0..300),
            parts in 1_usize..6,
        ) {
            let kinds = [Kind::Response, Kind::Rcpt, Kind::Quit];
            let mut whole = Measures::default();
            let mut part = vec![Measures::default(); parts];
            for (at, (us, kind)) in values.iter().enumerate() {
                whole.record(kinds[*kind], Duration::from_micros(*us));
                part[at % parts].record(kinds[*kind], Duration::from_micros(*us));
            }
            let mut sum = Measures::default();
            for part in &part {
                sum.add(part);
            }
            for kind in Kind::ALL {
                prop_assert_eq!(sum.get(kind), whole.get(kind));
                prop_assert_eq!(sum.summary(kind), whole.summary(kind));
                prop_assert_eq!(sum.clipped(kind), whole.clipped(kind));
            }
        }
    }
}
