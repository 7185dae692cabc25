//! How the rate of a stage runs over its time. Every shape falls into pieces, a line or a sine each, whose count of
//! arrivals since their start is known as a formula and can be turned round: when is it so many?

use std::f64::consts::TAU;
use std::time::Duration;

/// The rate of a stage over its time. Rates are arrivals per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// The same all the time; long, this is a soak.
    Constant {
        /// The rate.
        per_s: f64,
    },
    /// From one rate to another in a straight line.
    Ramp {
        /// At the start.
        from_per_s: f64,
        /// At the end.
        to_per_s: f64,
    },
    /// From one rate to another in equal steps of equal length.
    Steps {
        /// On the first step.
        from_per_s: f64,
        /// On the last step.
        to_per_s: f64,
        /// How many steps; with one it stays at `from_per_s`.
        count: u32,
    },
    /// One rate, and for a while another.
    Spike {
        /// Before and after.
        base_per_s: f64,
        /// During the spike.
        peak_per_s: f64,
        /// When it begins, from the start of the stage.
        start: Duration,
        /// How long it lasts.
        length: Duration,
    },
    /// Up and down as over a day.
    Sine {
        /// At the bottom.
        low_per_s: f64,
        /// At the peak.
        high_per_s: f64,
        /// From one peak to the next.
        period: Duration,
        /// When a peak is, from the start of the stage.
        peak: Duration,
    },
    /// Not a shape but what a mail log says; only [`super::Plan::of_trace`] makes it.
    Trace {
        /// How many arrivals.
        count: u64,
        /// How much faster than in the log.
        speed: f64,
    },
}

/// Part of a stage with a formula of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    /// From the start of the stage.
    pub(super) start: Duration,
    pub(super) length: Duration,
    curve: Curve,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Curve {
    Line { from: f64, to: f64 },
    Sine { middle: f64, swing: f64, period_s: f64, peak_s: f64 },
}

impl Shape {
    /// What is wrong with it in a stage of this length, if anything.
    pub fn fault(&self, duration: Duration) -> Option<&'static str> {
        if self.rates().iter().any(|rate| !(0.0..=FASTEST_PER_S).contains(rate)) {
            return Some("a rate is not from 0 to 10000000/s");
        }
        match *self {
            Shape::Steps { count, .. } if count == 0 || count > MOST_STEPS => {
                Some("steps are 1 to 1000")
            }
            Shape::Spike { length, .. } if length.is_zero() => Some("the spike has no length"),
            Shape::Spike { start, length, .. }
                if start.checked_add(length).is_none_or(|end| end > duration) =>
            {
                Some("the spike ends after the phase does")
            }
            Shape::Sine { low_per_s, high_per_s, .. } if low_per_s > high_per_s => {
                Some("low is above high")
            }
            Shape::Sine { period, .. } if period < SHORTEST_PERIOD => {
                Some("the period of a sine is 1ms or more")
            }
            Shape::Trace { .. } => Some("a trace is no phase: it is a plan of its own"),
            _ => None,
        }
    }

    /// The rate at a time from the start of a stage of this length.
    pub fn per_s_at(&self, at: Duration, duration: Duration) -> f64 {
        let pieces = self.pieces(duration);
        let piece = pieces.iter().rev().find(|piece| piece.start <= at);
        piece.map_or(0.0, |piece| piece.per_s_at(at - piece.start))
    }

    pub(super) fn rates(&self) -> [f64; 2] {
        match *self {
            Shape::Constant { per_s } => [per_s, per_s],
            Shape::Ramp { from_per_s, to_per_s } | Shape::Steps { from_per_s, to_per_s, .. } => {
                [from_per_s, to_per_s]
            }
            Shape::Spike { base_per_s, peak_per_s, .. } => [base_per_s, peak_per_s],
            Shape::Sine { low_per_s, high_per_s, .. } => [low_per_s, high_per_s],
            Shape::Trace { .. } => [0.0, 0.0],
        }
    }

    /// In order, without gaps; those without length are left out.
    pub(super) fn pieces(&self, duration: Duration) -> Vec<Piece> {
        let line =
            |start, length, from, to| Piece { start, length, curve: Curve::Line { from, to } };
        let mut pieces = match *self {
            Shape::Constant { per_s } => vec![line(Duration::ZERO, duration, per_s, per_s)],
            Shape::Ramp { from_per_s, to_per_s } => {
                vec![line(Duration::ZERO, duration, from_per_s, to_per_s)]
            }
            Shape::Steps { from_per_s, to_per_s, count } => {
                let count = count.clamp(1, MOST_STEPS);
                let step = |k: u32| {
                    let (start, end) = (part(duration, k, count), part(duration, k + 1, count));
                    let share = f64::from(k) / f64::from(count.max(2) - 1);
                    let rate = from_per_s + (to_per_s - from_per_s) * share;
                    line(start, end.saturating_sub(start), rate, rate)
                };
                (0..count).map(step).collect()
            }
            Shape::Spike { base_per_s, peak_per_s, start, length } => {
                let start = start.min(duration);
                let end = start.saturating_add(length).min(duration);
                vec![
                    line(Duration::ZERO, start, base_per_s, base_per_s),
                    line(start, end - start, peak_per_s, peak_per_s),
                    line(end, duration - end, base_per_s, base_per_s),
                ]
            }
            Shape::Sine { low_per_s, high_per_s, period, peak } => {
                let curve = Curve::Sine {
                    middle: low_per_s.midpoint(high_per_s),
                    swing: (high_per_s - low_per_s) / 2.0,
                    period_s: period.max(SHORTEST_PERIOD).as_secs_f64(),
                    peak_s: peak.as_secs_f64(),
                };
                vec![Piece { start: Duration::ZERO, length: duration, curve }]
            }
            Shape::Trace { .. } => Vec::new(),
        };
        pieces.retain(|piece| !piece.length.is_zero());
        pieces
    }
}

impl Piece {
    /// The rate at a time from its start.
    pub(super) fn per_s_at(&self, at: Duration) -> f64 {
        let at_s = at.as_secs_f64();
        match self.curve {
            _ if at >= self.length => 0.0,
            Curve::Line { from, to } => from + (to - from) * at_s / self.length.as_secs_f64(),
            Curve::Sine { middle, swing, period_s, peak_s } => {
                (middle + swing * (TAU * ((at_s - peak_s) / period_s)).cos()).max(0.0)
            }
        }
    }

    /// How many arrivals are expected in all of it.
    pub(super) fn expected(&self) -> f64 {
        self.expected_until(self.length.as_secs_f64())
    }

    /// The integral of the rate.
    fn expected_until(&self, at_s: f64) -> f64 {
        match self.curve {
            Curve::Line { from, to } => {
                let slope = (to - from) / self.length.as_secs_f64();
                (from + slope / 2.0 * at_s) * at_s
            }
            Curve::Sine { middle, swing, period_s, peak_s } => {
                let turn = |at_s: f64| (TAU * (at_s / period_s)).sin();
                let waves = turn(at_s - peak_s) + turn(peak_s);
                (middle * at_s + swing * period_s / TAU * waves).max(0.0)
            }
        }
    }

    /// When so many arrivals are expected since its start. Always within it.
    pub(super) fn time_of(&self, count: f64) -> Duration {
        let length_s = self.length.as_secs_f64();
        let at_s = match self.curve {
            // From a rate of zero the formula is 0 / 0.
            _ if count <= 0.0 => 0.0,
            Curve::Line { from, to } => {
                let slope = (to - from) / length_s;
                // This form of the root has no difference of almost equal numbers.
                let root = (from * from + 2.0 * slope * count).max(0.0).sqrt();
                2.0 * count / (from + root)
            }
            Curve::Sine { .. } => self.search(count, length_s),
        };
        // Where there is no rate it is never so many.
        let at_s = if at_s.is_finite() { at_s.clamp(0.0, length_s) } else { length_s };
        let last = self.length.saturating_sub(Duration::from_nanos(1));
        Duration::try_from_secs_f64(at_s).map_or(last, |at| at.min(last))
    }

    /// A sine cannot be turned round by a formula. Newton's steps come near fast, and may go anywhere where the
    /// rate is almost zero; the integral never falls, so halving is slow and safe.
    fn search(&self, count: f64, length_s: f64) -> f64 {
        let (mut early, mut late) = (0.0, length_s);
        let mut at_s = f64::midpoint(early, late);
        for turn in 0..NEWTON_STEPS + HALVINGS {
            let too_many = self.expected_until(at_s) - count;
            let rate = self.per_s_at(Duration::try_from_secs_f64(at_s).unwrap_or_default());
            let step = too_many / rate;
            if step.abs() < CLOSE_S || late - early < CLOSE_S {
                break;
            }
            if too_many < 0.0 {
                early = at_s;
            } else {
                late = at_s;
            }
            let next = at_s - step;
            let is_between = turn < NEWTON_STEPS && early < next && next < late;
            at_s = if is_between { next } else { f64::midpoint(early, late) };
        }
        at_s
    }
}

/// `k` of `count` equal parts, to the nanosecond.
fn part(duration: Duration, k: u32, count: u32) -> Duration {
    let nanos = duration.as_nanos() * u128::from(k) / u128::from(count);
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, (nanos % 1_000_000_000) as u32)
}

/// Faster than any mail server and any of our machines.
pub(super) const FASTEST_PER_S: f64 = 1e7;
const MOST_STEPS: u32 = 1000;
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);
/// Less than the clock can tell.
const CLOSE_S: f64 = 0.2e-9;
const NEWTON_STEPS: usize = 20;
/// A year, halved so often, is less than that.
const HALVINGS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(100);

    fn shapes() -> Vec<(Shape, f64)> {
        let second = Duration::from_secs;
        vec![
            (Shape::Constant { per_s: 3.0 }, 300.0),
            (Shape::Ramp { from_per_s: 0.0, to_per_s: 10.0 }, 500.0),
            (Shape::Ramp { from_per_s: 10.0, to_per_s: 0.0 }, 500.0),
            (Shape::Steps { from_per_s: 1.0, to_per_s: 4.0, count: 4 }, 250.0),
            (Shape::Steps { from_per_s: 7.0, to_per_s: 9.0, count: 1 }, 700.0),
            (
                Shape::Spike {
                    base_per_s: 1.0,
                    peak_per_s: 9.0,
                    start: second(40),
                    length: second(10),
                },
                180.0,
            ),
            (
                Shape::Sine {
                    low_per_s: 0.0,
                    high_per_s: 10.0,
                    period: second(100),
                    peak: second(30),
                },
                500.0,
            ),
            // A quarter of a wave around its peak: the middle, and 5 × 400 / 2π × 2 sin 45° more.
            (
                Shape::Sine {
                    low_per_s: 0.0,
                    high_per_s: 10.0,
                    period: second(400),
                    peak: second(50),
                },
                500.0 + 5.0 * 400.0 / TAU * std::f64::consts::SQRT_2,
            ),
        ]
    }

    #[test]
    fn the_integral_is_the_sum_of_the_rate() {
        for (shape, expected) in shapes() {
            let formula: f64 = shape.pieces(LENGTH).iter().map(Piece::expected).sum();
            assert!((formula - expected).abs() < 1e-6, "{shape:?}: {formula} and not {expected}");
            let slices = 20_000;
            let middle = |k: u32| part(LENGTH, 2 * k + 1, 2 * slices);
            let rates = (0..slices).map(|k| shape.per_s_at(middle(k), LENGTH));
            let summed = rates.sum::<f64>() * LENGTH.as_secs_f64() / f64::from(slices);
            assert!((summed - expected).abs() < 0.01, "{shape:?}: {summed} and not {expected}");
        }
    }

    #[test]
    fn the_time_of_a_count_has_that_count() {
        for (shape, _) in shapes() {
            for piece in shape.pieces(LENGTH) {
                for share in [0.0, 1e-6, 0.1, 0.5, 0.9, 0.999] {
                    let count = piece.expected() * share;
                    let again = piece.expected_until(piece.time_of(count).as_secs_f64());
                    assert!((again - count).abs() < 1e-6, "{shape:?}: {again} and not {count}");
                }
            }
        }
    }

    #[test]
    fn pieces_follow_one_another() {
        for (shape, _) in shapes() {
            let end = shape.pieces(LENGTH).iter().fold(Duration::ZERO, |end, piece| {
                assert_eq!(piece.start, end, "{shape:?}");
                end + piece.length
            });
            assert_eq!(end, LENGTH, "{shape:?}");
        }
    }

    #[test]
    fn a_peak_is_where_it_was_put() {
        let (period, peak) = (Duration::from_secs(60), Duration::from_secs(20));
        let sine = Shape::Sine { low_per_s: 2.0, high_per_s: 8.0, period, peak };
        for (at_s, rate) in [(20, 8.0), (50, 2.0), (80, 8.0), (35, 5.0)] {
            let found = sine.per_s_at(Duration::from_secs(at_s), LENGTH);
            assert!((found - rate).abs() < 1e-9, "{at_s}: {found}");
        }
    }
}
