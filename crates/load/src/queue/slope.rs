//! Whether a queue grows: the median of the slopes between all pairs of samples (Theil and Sen), which a few odd samples
//! do not move, believed only where the growth stands out of the noise, over the whole and over the second half: a queue
//! that fills when load begins and then stays is not growing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a queue changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// Messages per second.
    pub per_s: f64,
    /// Whether it stands out of the noise, and upwards.
    pub is_growing: bool,
}

/// Depths over time, of bounded number: when there are too many, every other one goes, and from then on every other one
/// is not kept.
#[derive(Debug, Clone)]
pub struct Samples {
    kept: Vec<(Duration, u64)>,
    stride: u64,
    seen: u64,
    most: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { kept: Vec::new(), stride: 1, seen: 0, most: 0 }
    }
}

impl Samples {
    /// A depth (messages), `at` after the start of the plan.
    pub fn push(&mut self, at: Duration, messages: u64) {
        self.most = self.most.max(messages);
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == MOST_SAMPLES {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride = self.stride.saturating_mul(2);
            }
            self.kept.push((at, messages));
        }
        self.seen = self.seen.saturating_add(1);
    }

    /// What was kept, in order of time, at even distances of those that were pushed.
    pub fn kept(&self) -> &[(Duration, u64)] {
        &self.kept
    }

    /// The deepest of all, kept or not; `None` without any.
    pub fn max(&self) -> Option<u64> {
        (self.seen > 0).then_some(self.most)
    }

    /// The slope of what was kept from a time on; `None` where that is too little to say.
    pub fn slope_since(&self, start: Duration) -> Option<Slope> {
        let first = self.kept.partition_point(|(at, _)| *at < start);
        slope(&self.kept[first..])
    }
}

/// The slope of samples in order of time; `None` of fewer than 8 or of no time at all. The queue is growing where, over
/// the whole and over its second half, the line rises by 2 messages or more and by 3 times the spread of the samples
/// around it, and more pairs rise than chance makes (Mann and Kendall, at 3 standard deviations).
pub fn slope(samples: &[(Duration, u64)]) -> Option<Slope> {
    let points = condensed(samples);
    if samples.len() < LEAST_SAMPLES || points.len() < LEAST_SAMPLES {
        return None;
    }
    let whole = Trend::of(&points)?;
    let half = Trend::of(&points[points.len() / 2..])?;
    let is_growing = whole.stands_out() && whole.is_no_chance && half.stands_out();
    Some(Slope { per_s: whole.per_s, is_growing })
}

/// At most [`MOST_POINTS`], each the mean of as many neighbours: pairs are many.
fn condensed(samples: &[(Duration, u64)]) -> Vec<(f64, f64)> {
    let point = |samples: &[(Duration, u64)]| {
        let count = samples.len() as f64;
        let sum = samples.iter().fold((0.0, 0.0), |(time, depth), (at, messages)| {
            (time + at.as_secs_f64(), depth + *messages as f64)
        });
        (sum.0 / count, sum.1 / count)
    };
    samples.chunks(samples.len().div_ceil(MOST_POINTS).max(1)).map(point).collect()
}

struct Trend {
    per_s: f64,
    /// From the first to the last point, along the line.
    growth: f64,
    /// Standard deviation around the line, from the median of the distances.
    spread: f64,
    is_no_chance: bool,
}

impl Trend {
    fn of(points: &[(f64, f64)]) -> Option<Self> {
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        let mut rising = 0.0;
        for (index, (from, low)) in points.iter().enumerate() {
            for (to, high) in &points[index + 1..] {
                if to > from {
                    slopes.push((high - low) / (to - from));
                    rising += if high == low { 0.0 } else { (high - low).signum() };
                }
            }
        }
        let per_s = median(&mut slopes)?;
        let offset_of = |(at, depth): &(f64, f64)| depth - per_s * at;
        let mut offsets: Vec<f64> = points.iter().map(offset_of).collect();
        let offset = median(&mut offsets)?;
        let mut distances: Vec<f64> = offsets.iter().map(|o| (o - offset).abs()).collect();
        let n = points.len() as f64;
        let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        Some(Self {
            per_s,
            growth: per_s * (points.last()?.0 - points.first()?.0),
            spread: median(&mut distances)? * DEVIATIONS_PER_MEDIAN,
            is_no_chance: rising > DEVIATIONS * deviation,
        })
    }

    fn stands_out(&self) -> bool {
        self.growth >= LEAST_GROWTH && self.growth > DEVIATIONS * self.spread
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, value, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let value = *value;
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| is_even);
    Some(lower.map_or(value, |lower| f64::midpoint(lower, value)))
}

const MOST_SAMPLES: usize = 10_000;
const MOST_POINTS: usize = 200;
const LEAST_SAMPLES: usize = 8;
/// Messages.
const LEAST_GROWTH: f64 = 2.0;
const DEVIATIONS: f64 = 3.0;
/// Of a normal distribution.
const DEVIATIONS_PER_MEDIAN: f64 = 1.4826;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Random;

    /// Samples of a second's distance.
    fn every_second(count: u64, depth: impl FnMut(f64) -> f64) -> Vec<(Duration, u64)> {
        let mut depth = depth;
        (0..count)
            .map(|s| (Duration::from_secs(s), depth(s as f64).round().max(0.0) as u64))
            .collect()
    }

    fn is_growing(samples: &[(Duration, u64)]) -> bool {
        slope(samples).unwrap().is_growing
    }

    #[test]
    fn flat_and_growing_are_told_apart() {
        let mut noise = Random::new(1, 1);
        for (what, growing, samples) in [
            ("empty", false, every_second(60, |_| 0.0)),
            ("growing by 1/s", true, every_second(60, |s| s)),
            ("the same, going down", false, every_second(60, |s| 60.0 - s)),
            ("flat and noisy", false, every_second(60, |_| 500.0 + 100.0 * noise.normal())),
            ("noisy and growing", true, every_second(60, |s| 40.0 * s + 100.0 * noise.normal())),
            (
                "slowly, in a long run",
                true,
                every_second(3600, |s| 0.05 * s + 5.0 * noise.normal()),
            ),
            ("fills, then stays", false, every_second(60, |s| (50.0 * s).min(500.0))),
            ("fills for long, then stays", false, every_second(60, |s| (50.0 * s).min(1450.0))),
            ("fills, then goes on", true, every_second(60, |s| (50.0 * s).min(500.0) + 9.0 * s)),
            ("saw teeth", false, every_second(60, |s| 30.0 * (s % 10.0))),
            ("saw teeth that rise", true, every_second(60, |s| 30.0 * (s % 10.0) + 30.0 * s)),
            ("two outliers", false, every_second(60, |s| if s > 57.0 { 9999.0 } else { 5.0 })),
            ("one message more", false, every_second(60, |s| if s > 30.0 { 1.0 } else { 0.0 })),
            ("doubling", true, every_second(30, |s| (s / 3.0).exp2())),
            ("the fewest", true, every_second(8, |s| 10.0 * s)),
        ] {
            assert_eq!(is_growing(&samples), growing, "{what}: {:?}", slope(&samples));
        }
    }

    #[test]
    fn the_slope_is_in_messages_per_second() {
        let samples: Vec<_> =
            (0..100u64).map(|n| (Duration::from_millis(500 * n), 1000 + 19 * n)).collect();
        assert!((slope(&samples).unwrap().per_s - 38.0).abs() < 1e-9);
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&every_second(7, |s| s)), None);
        assert_eq!(slope(&[(Duration::ZERO, 5); 50]), None);
    }

    #[test]
    fn noise_alone_is_hardly_ever_growth_and_growth_hardly_ever_missed() {
        let runs = 500;
        let count = |samples: &dyn Fn(&mut Random) -> Vec<(Duration, u64)>| {
            (0..runs).filter(|run| is_growing(&samples(&mut Random::new(3, *run)))).count()
        };
        for seconds in [8, 30, 120] {
            let flat = count(&|random| every_second(seconds, |_| 100.0 + 20.0 * random.normal()));
            assert!(flat <= 5, "{flat} of {runs} over {seconds} s");
        }
        let grown = count(&|random| every_second(120, |s| 2.0 * s + 20.0 * random.normal()));
        assert!(grown >= 495, "{grown} of {runs}");
    }

    #[test]
    fn samples_stay_few_and_even() {
        let mut samples = Samples::default();
        assert_eq!(samples.max(), None);
        for n in 0..1_000_000u64 {
            samples.push(Duration::from_secs(n), if n == 777_777 { 9 } else { 1 });
        }
        let kept = samples.kept();
        assert!((MOST_SAMPLES / 2..=MOST_SAMPLES).contains(&kept.len()), "{}", kept.len());
        let distance = kept[1].0 - kept[0].0;
        let is_even = kept.windows(2).all(|pair| pair[1].0 - pair[0].0 == distance);
        assert!(is_even && kept[0].0.is_zero());
        assert_eq!(samples.max(), Some(9));
        let late = samples.slope_since(Duration::from_secs(999_999));
        assert_eq!(late, None);
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd(points in prop::collection::vec((any::<u32>(), any::<u64>()), 0..600)) {
            let at = |(s, depth): &(u32, u64)| (Duration::from_secs(u64::from(*s)), *depth);
            let mut samples: Vec<_> = points.iter().map(at).collect();
            if let Some(slope) = slope(&samples) {
                prop_assert!(slope.per_s.is_finite());
            }
            samples.sort();
            if let Some(slope) = slope(&samples) {
                prop_assert!(slope.per_s.is_finite());
                prop_assert!(!slope.is_growing || slope.per_s > 0.0);
            }
        }
    }
}
