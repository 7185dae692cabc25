//! Scales: where a value stands between the two ends of an axis, and which values have a tick. The
//! ends are round and outside of the data, and never closer than a log scale can bear.

/// How values are laid along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// From nothing, in even steps.
    Linear {
        /// Between two ticks.
        step: f64,
        /// The other end, a multiple of the step.
        high: f64,
    },
    /// Each decade as long as the other.
    Log {
        /// One end: 1, 2 or 5 times a power of ten.
        low: f64,
        /// The other.
        high: f64,
    },
    /// Quantiles as 1/(1 − q): 90 %, 99 % and 99.9 % are equally far from each other.
    Percentile {
        /// How many nines there is room for.
        nines: f64,
    },
    /// Seconds, with the steps that clocks have.
    Time {
        /// Between two ticks.
        step: f64,
        /// The last second, as it is: a run needs no room after its end.
        high: f64,
    },
}

impl Scale {
    /// From nothing to a little above the highest value.
    pub(crate) fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let highest = highest(values).unwrap_or(1.0);
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let step = round_up(highest / 5.0);
        Self::Linear { step, high: (highest / step - 1e-9).ceil().max(1.0) * step }
    }

    /// Around all values; those below one stand at one.
    pub(crate) fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value.max(1.0)), high.max(value.max(1.0)));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let (low, mut high) = (round_down(low), round_up(high));
        if high < low * 10.0 {
            high = low * 10.0;
        }
        Self::Log { low, high }
    }

    /// Up to the last quantile that is less than one.
    pub(crate) fn percentile(quantiles: impl IntoIterator<Item = f64>) -> Self {
        let below_one = quantiles.into_iter().filter(|q| (0.0..1.0).contains(q));
        let nines = highest(below_one.map(nines_of)).unwrap_or(2.0);
        Self::Percentile { nines: (nines - 1e-6).ceil().clamp(2.0, 9.0) }
    }

    /// From the start of a run to its end.
    pub(crate) fn time(end_s: f64) -> Self {
        let high = if end_s.is_finite() && end_s > 0.0 { end_s } else { 1.0 };
        let is_wide_enough = |step: &f64| high / step <= 9.0;
        // Beyond the steps of clocks, whole days.
        let days = || (high / 86_400.0 / 8.0).ceil() * 86_400.0;
        Self::Time { step: TIME_STEPS.into_iter().find(is_wide_enough).unwrap_or_else(days), high }
    }

    /// Where a value stands, 0 to 1; what is outside stands at the end, what is no number nowhere.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let at = match *self {
            Self::Linear { high, .. } | Self::Time { high, .. } => value / high,
            Self::Log { low, high } => (value.max(1.0) / low).ln() / (high / low).ln(),
            Self::Percentile { .. } if value >= 1.0 => 1.0,
            Self::Percentile { nines } => nines_of(value.max(0.0)) / nines,
        };
        (!value.is_nan() && at.is_finite()).then(|| at.clamp(0.0, 1.0))
    }

    /// The values with a tick, in order.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { step, high } | Self::Time { step, high } => {
                let steps = (high / step + 1e-9).floor().min(MOST_TICKS) as u32;
                (0..=steps).map(|index| f64::from(index) * step).collect()
            }
            Self::Log { low, high } => {
                let decades = (high / low).log10();
                let is_wanted = |tick: &f64| (low..=high * 1.001).contains(tick);
                let factors: &[f64] = if decades <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
                let of = |power: i32| factors.iter().map(move |f| f * 10f64.powi(power));
                powers.flat_map(of).filter(is_wanted).take(MOST_TICKS as usize * 2).collect()
            }
            Self::Percentile { nines } => {
                let of_nines = (1..=nines as i32).map(|n| 1.0 - 10f64.powi(-n));
                [0.0, 0.5].into_iter().chain(of_nines).collect()
            }
        }
    }
}

/// How many nines a quantile has: 1 for 90 %, 2 for 99 %.
fn nines_of(q: f64) -> f64 {
    -(1.0 - q).log10()
}

fn highest(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    values.into_iter().filter(|value| value.is_finite()).reduce(f64::max)
}

/// The next of 1, 2, 5, 10 ... that is not less.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let is_enough = |factor: &&f64| **factor * power >= value * (1.0 - 1e-9);
    [1.0, 2.0, 5.0].iter().find(is_enough).unwrap_or(&10.0) * power
}

/// The last of 1, 2, 5, 10 ... that is not more.
fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let is_enough = |factor: &&f64| **factor * power <= value * (1.0 + 1e-9);
    [5.0, 2.0, 1.0].iter().find(is_enough).unwrap_or(&1.0) * power
}

const TIME_STEPS: [f64; 20] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0,
    3_600.0, 7_200.0, 14_400.0, 21_600.0, 43_200.0,
];

/// A bound, should a step ever be wrong.
const MOST_TICKS: f64 = 12.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ends_are_round_and_outside() {
        for (highest, ticks) in [
            (200.0, &[0.0, 50.0, 100.0, 150.0, 200.0][..]),
            (201.0, &[0.0, 50.0, 100.0, 150.0, 200.0, 250.0]),
            (7.0, &[0.0, 2.0, 4.0, 6.0, 8.0]),
            (21.0, &[0.0, 5.0, 10.0, 15.0, 20.0, 25.0]),
        ] {
            assert_eq!(Scale::linear([highest]).ticks(), ticks, "{highest}");
        }
    }

    #[test]
    fn log_ticks_are_decades_or_parts_of_them() {
        let ticks = |values: [f64; 2]| Scale::log(values).ticks();
        assert_eq!(ticks([300.0, 90_000.0]), [200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5][..]);
        assert_eq!(ticks([12.0, 3_000_000.0]), [10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(ticks([0.0, 0.0]), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn nines_are_equally_far_apart() {
        let scale = Scale::percentile([0.0, 0.9999, 1.0]);
        assert_eq!(scale, Scale::Percentile { nines: 4.0 });
        for (q, at) in [(0.0, 0.0), (0.9, 0.25), (0.99, 0.5), (0.999, 0.75), (1.0, 1.0)] {
            assert!((scale.at(q).unwrap() - at).abs() < 1e-9, "{q}");
        }
    }

    #[test]
    fn time_has_the_steps_of_clocks() {
        for (end_s, step, last) in [
            (60.0, 10.0, 60.0),
            (130.0, 15.0, 120.0),
            (3_600.0, 600.0, 3_600.0),
            (86_400.0 * 40.0, 86_400.0 * 5.0, 86_400.0 * 40.0),
        ] {
            let scale = Scale::time(end_s);
            assert_eq!(scale, Scale::Time { step, high: end_s });
            assert_eq!(scale.ticks().last(), Some(&last), "{end_s}");
        }
    }

    #[test]
    fn no_value_is_outside_and_no_number_is_nowhere() {
        let wild = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 1e300];
        let scales = |values: &[f64]| {
            let of = || values.iter().copied();
            let end_s = values.first().copied().unwrap_or(f64::NAN);
            [Scale::linear(of()), Scale::log(of()), Scale::percentile(of()), Scale::time(end_s)]
        };
        for values in [&[][..], &[f64::NAN], &[1e300], &[-5.0], &[1e-300], &wild, &[3.0, 4.0]] {
            for scale in scales(values) {
                let ticks = scale.ticks();
                assert!((1..=24).contains(&ticks.len()), "{scale:?}");
                assert!(ticks.is_sorted(), "{scale:?}");
                for tick in ticks.iter().chain(&wild).chain(values) {
                    let at = scale.at(*tick);
                    assert!(at.is_none_or(|at| (0.0..=1.0).contains(&at)), "{scale:?} {tick}");
                }
                assert_eq!(scale.at(f64::NAN), None, "{scale:?}");
            }
        }
    }
}
