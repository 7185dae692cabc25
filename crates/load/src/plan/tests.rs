//! What holds for every plan: counts are those of the integral, order, chance that passes tests of fit (and tests of
//! fit that what is not Poisson fails), shards that make up the whole.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn stage(name: &str, seconds: u64, shape: Shape) -> Stage {
    Stage { name: name.into(), duration: Duration::from_secs(seconds), shape, is_warmup: false }
}

fn constant(seconds: u64, per_s: f64) -> Stage {
    stage("constant", seconds, Shape::Constant { per_s })
}

/// Every shape, with a pause, after a warm-up.
fn stages() -> Vec<Stage> {
    let second = Duration::from_secs;
    let spike =
        Shape::Spike { base_per_s: 10.0, peak_per_s: 90.0, start: second(20), length: second(10) };
    let sine =
        Shape::Sine { low_per_s: 5.0, high_per_s: 35.0, period: second(60), peak: second(15) };
    vec![
        Stage { is_warmup: true, ..constant(10, 20.0) },
        stage("ramp", 60, Shape::Ramp { from_per_s: 0.0, to_per_s: 50.0 }),
        stage("steps", 60, Shape::Steps { from_per_s: 40.0, to_per_s: 10.0, count: 3 }),
        constant(30, 0.0),
        stage("spike", 60, spike),
        stage("sine", 120, sine),
    ]
}

/// Expected arrivals of each of them, reckoned by hand.
const EXPECTED: [u64; 6] = [200, 1500, 1500, 0, 1400, 2400];

fn even(stages: Vec<Stage>) -> Plan {
    Plan::new(stages, Spacing::Even, 1).unwrap()
}

fn poisson(stages: Vec<Stage>, seed: u64) -> Plan {
    Plan::new(stages, Spacing::Poisson, seed).unwrap()
}

fn trace_plan(ms: &[u64], speed: f64) -> Result<Plan, BadPlan> {
    let at = |ms: &u64| TraceArrival {
        at: Duration::from_millis(*ms),
        size_bytes: Some(*ms),
        recipients: 1,
    };
    let trace = Trace { arrivals: ms.iter().map(at).collect(), ..Trace::default() };
    Plan::of_trace(Arc::new(trace), speed)
}

fn counts(plan: &Plan) -> Vec<u64> {
    let mut counts = vec![0; plan.stages().len()];
    plan.arrivals().for_each(|arrival| counts[usize::from(arrival.stage)] += 1);
    counts
}

#[test]
fn even_arrivals_are_counted_exactly() {
    assert_eq!(counts(&even(stages())), EXPECTED);
    // Rates whose sum is no whole number of a float.
    for (seconds, per_s, count) in [(30, 0.1, 3), (120, 200.0, 24_000), (7, 1.0 / 7.0, 1)] {
        assert_eq!(counts(&even(vec![constant(seconds, per_s)])), [count]);
    }
    let parts: Vec<Stage> = (0..300).map(|_| constant(1, 0.7)).collect();
    assert_eq!(even(parts).arrivals().count(), 210);
}

#[test]
fn even_arrivals_stand_where_the_rate_says() {
    let times: Vec<_> = even(vec![constant(2, 2.0)]).arrivals().map(|a| a.at.as_millis()).collect();
    assert_eq!(times, [250, 750, 1250, 1750]);
    let arrivals: Vec<Arrival> = even(stages()).arrivals().collect();
    let gaps = arrivals.windows(2).map(|pair| pair[1].at - pair[0].at);
    let pause = gaps.clone().position(|gap| gap > Duration::from_secs(30)).unwrap();
    assert_eq!(pause as u64 + 1, EXPECTED[..3].iter().sum::<u64>());
    // Without the pause the widest is the one at the start of the ramp.
    let widest = gaps.take(pause).max().unwrap();
    assert!(widest > Duration::from_millis(500) && widest < Duration::from_millis(1500));
}

#[test]
fn poisson_counts_are_near_the_integral_and_not_all_the_same() {
    let mut sums = [0_u64; 6];
    for seed in 0..20 {
        for ((sum, count), expected) in
            sums.iter_mut().zip(counts(&poisson(stages(), seed))).zip(EXPECTED)
        {
            let away = count.abs_diff(expected) as f64;
            assert!(away <= 5.0 * (expected as f64).sqrt(), "{count} and not {expected}");
            *sum += count;
        }
    }
    for (sum, expected) in sums.iter().zip(EXPECTED) {
        let (sum, expected) = (*sum as f64, 20.0 * expected as f64);
        assert!((sum - expected).abs() <= 4.0 * expected.sqrt(), "{sum} and not {expected}");
    }
    let distinct: BTreeSet<_> = (0..20).map(|seed| counts(&poisson(stages(), seed))).collect();
    assert_eq!(distinct.len(), 20);
}

/// Of a plan whose rate is that of `stages()`, made independently of the formulas: by adding up the rate.
struct Fit {
    /// Chi-square of counts in bins of equal expectation, over its degrees of freedom.
    chi_square: f64,
    /// Kolmogorov and Smirnov's distance of the gaps from Exp(1), times the root of their number.
    distance: f64,
}

/// Arrivals that `stages()` expects up to each of its milliseconds.
fn integral() -> Vec<f64> {
    let slice = Duration::from_millis(1);
    let reference = even(stages());
    let per_slice = |k: u32| reference.per_s_at(slice * k + slice / 2) * slice.as_secs_f64();
    let sums = (0..340_000).scan(0.0, |sum, k| {
        *sum += per_slice(k);
        Some(*sum)
    });
    [0.0].into_iter().chain(sums).collect()
}

fn fit(integral: &[f64], arrivals: impl Iterator<Item = Arrival>) -> Fit {
    let (bins, sum) = (100, integral[integral.len() - 1]);
    let expected_at = |at: Duration| {
        let place = at.as_secs_f64() * 1000.0;
        let (k, part) = (place.floor() as usize, place.fract());
        let next = integral[(k + 1).min(integral.len() - 1)];
        integral[k] + (next - integral[k]) * part
    };
    let scaled: Vec<f64> = arrivals.map(|arrival| expected_at(arrival.at)).collect();
    let mut found = vec![0_u32; bins];
    for place in &scaled {
        found[((place / sum * bins as f64) as usize).min(bins - 1)] += 1;
    }
    let each = sum / bins as f64;
    let chi_square = found.iter().map(|n| (f64::from(*n) - each).powi(2) / each).sum::<f64>();
    let mut gaps: Vec<f64> = scaled.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    let distance = gaps.iter().zip(0..).fold(0.0, |most: f64, (gap, k)| {
        let share = 1.0 - (-gap).exp();
        most.max((share - f64::from(k) / n).abs()).max((share - f64::from(k + 1) / n).abs())
    });
    Fit { chi_square: chi_square / bins as f64, distance: distance * n.sqrt() }
}

/// Of 100 degrees of freedom 1.6 is exceeded once in 8000; a distance of 2.0 once in 1500; all is from seeds.
fn is_poisson(fit: &Fit) -> bool {
    (0.5..1.6).contains(&fit.chi_square) && fit.distance < 2.0
}

fn faster(shape: Shape) -> Shape {
    let [one, other] = shape.rates().map(|rate| rate * 1.1);
    match shape {
        Shape::Ramp { .. } => Shape::Ramp { from_per_s: one, to_per_s: other },
        Shape::Steps { count, .. } => Shape::Steps { from_per_s: one, to_per_s: other, count },
        Shape::Spike { start, length, .. } => {
            Shape::Spike { base_per_s: one, peak_per_s: other, start, length }
        }
        Shape::Sine { period, peak, .. } => {
            Shape::Sine { low_per_s: one, high_per_s: other, period, peak }
        }
        Shape::Constant { .. } | Shape::Trace { .. } => Shape::Constant { per_s: one },
    }
}

#[test]
fn poisson_arrivals_fit_and_what_is_not_poisson_does_not() {
    let integral = integral();
    let fit = |plan: Plan| fit(&integral, plan.arrivals());
    for seed in 0..10 {
        let fit = fit(poisson(stages(), seed));
        assert!(is_poisson(&fit), "{seed}: {} {}", fit.chi_square, fit.distance);
    }
    let even = fit(even(stages()));
    assert!(even.chi_square < 0.5 && even.distance > 10.0, "even arrivals pass");
    // A tenth too many, all the time: the gaps show it.
    let faster = stages().into_iter().map(|stage| Stage { shape: faster(stage.shape), ..stage });
    let faster = fit(poisson(faster.collect(), 1));
    assert!(!is_poisson(&faster) && faster.distance > 2.0, "a wrong rate passes");
    // The right number in all, at the wrong time.
    let flat = poisson(vec![constant(340, 7000.0 / 340.0)], 1);
    assert!(fit(flat).chi_square > 10.0, "a wrong shape passes");
}

#[test]
fn a_seed_is_a_plan() {
    let times = |seed: u64| poisson(stages(), seed).arrivals().collect::<Vec<_>>();
    assert_eq!(times(1), times(1));
    assert_ne!(times(1), times(2));
    let digest = |seed: u64| poisson(stages(), seed).digest();
    assert_eq!(digest(1), digest(1));
    let plan = poisson(stages(), 1);
    let digests = [
        digest(1),
        digest(2),
        even(stages()).digest(),
        plan.limited(5).digest(),
        poisson(stages()[..3].to_vec(), 1).digest(),
        trace_plan(&[0, 5], 1.0).unwrap().digest(),
        trace_plan(&[0, 5], 2.0).unwrap().digest(),
        trace_plan(&[0, 6], 1.0).unwrap().digest(),
    ];
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len());
    assert!(plan.digest().len() == 64 && plan.digest().bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(plan.shard(2, 3).digest(), plan.digest());
}

#[test]
fn shards_make_up_the_plan() {
    let trace = trace_plan(&[0, 1, 1, 5, 9, 20, 21, 22], 1.5).unwrap();
    for plan in [even(stages()), poisson(stages(), 3), poisson(stages(), 3).limited(1001), trace] {
        let whole: Vec<Arrival> = plan.arrivals().collect();
        for n in 1..7 {
            let shards = (0..n).map(|i| plan.shard(i, n).arrivals().collect::<Vec<_>>());
            let mut all: Vec<Arrival> = shards.flatten().collect();
            // Equal lengths and equal contents: they are disjoint.
            all.sort_by_key(|arrival| arrival.index);
            assert_eq!(all, whole, "{n} shards");
        }
        let indices = plan.shard(1, 3).arrivals().map(|arrival| arrival.index);
        assert!(indices.zip(0..).all(|(index, k)| index == 3 * k + 1));
        assert_eq!(plan.shard(3, 3).arrivals().count() + plan.shard(1, 0).arrivals().count(), 0);
    }
}

#[test]
fn a_limit_counts_what_is_not_warm_up() {
    for plan in [even(stages()), poisson(stages(), 4)] {
        let limited: Vec<Arrival> = plan.limited(100).arrivals().collect();
        let is_warmup = |arrival: &&Arrival| plan.is_warmup(arrival.stage);
        assert_eq!(limited.len() - limited.iter().filter(is_warmup).count(), 100);
        assert!(plan.arrivals().zip(&limited).all(|(whole, limited)| whole == *limited));
        assert!(plan.limited(100).duration() < plan.duration());
        assert_eq!(plan.limited(100).limited(7).digest(), plan.limited(7).digest());
        assert_eq!(plan.limited(u64::MAX).duration(), plan.duration());
        assert_eq!(plan.limited(u64::MAX).arrivals().count(), plan.arrivals().count());
        assert_eq!(plan.limited(0).arrivals().filter(|a| !plan.is_warmup(a.stage)).count(), 0);
    }
    let plan = even(vec![constant(100, 10.0)]);
    assert_eq!(plan.limited(25).duration(), Duration::from_millis(2500));
    assert_eq!(plan.duration(), Duration::from_secs(100));
}

#[test]
fn a_plan_tells_of_its_times() {
    let plan = even(stages());
    let second = Duration::from_secs;
    assert_eq!((plan.duration(), plan.warmup()), (second(340), second(10)));
    assert!(plan.is_warmup(0) && !plan.is_warmup(1) && !plan.is_warmup(9));
    for (at_s, per_s) in
        [(0, 20.0), (10, 0.0), (40, 25.0), (70, 40.0), (90, 25.0), (131, 0.0), (180, 90.0)]
    {
        let found = plan.per_s_at(second(at_s));
        assert!((found - per_s).abs() < 1e-9, "{at_s}: {found}");
    }
    assert_eq!((plan.per_s_at(second(340)), plan.per_s_at(Duration::MAX)), (0.0, 0.0));
    let warmup = Stage::warmup(&stages()[2], second(5));
    assert_eq!((warmup.shape, warmup.is_warmup), (Shape::Constant { per_s: 40.0 }, true));
}

#[test]
fn a_trace_is_replayed_at_its_speed() {
    let plan = trace_plan(&[0, 1000, 1500, 61_000], 2.0).unwrap();
    let times: Vec<_> = plan.arrivals().map(|a| (a.index, a.at.as_millis(), a.stage)).collect();
    assert_eq!(times, [(0, 0, 0), (1, 500, 0), (2, 750, 0), (3, 30_500, 0)]);
    assert_eq!((plan.duration(), plan.warmup()), (Duration::from_secs(31), Duration::ZERO));
    assert_eq!(plan.stages()[0].shape, Shape::Trace { count: 4, speed: 2.0 });
    assert!((plan.per_s_at(Duration::from_secs(1)) - 3.0 / 6.0).abs() < 1e-9);
    assert_eq!(plan.per_s_at(Duration::from_secs(15)), 0.0);
    assert_eq!(plan.limited(2).arrivals().count(), 2);
    assert_eq!(plan.limited(2).duration(), Duration::from_millis(750));
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
        assert!(matches!(trace_plan(&[0], speed), Err(BadPlan::Speed(_))), "{speed}");
    }
    assert_eq!(trace_plan(&[], 1.0).unwrap_err(), BadPlan::NoArrivals);
    assert_eq!(trace_plan(&[5, 1], 1.0).unwrap_err(), BadPlan::Disorder);
    assert_eq!(trace_plan(&[0, u64::MAX], 1.0).unwrap_err(), BadPlan::TooLong);
    assert_eq!(trace_plan(&[0, 1 << 40], 1e-300).unwrap_err(), BadPlan::TooLong);
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let warm = |stage: Stage| Stage { is_warmup: true, ..stage };
    for (stages, part) in [
        (vec![], "at least one phase"),
        (vec![warm(constant(5, 1.0))], "at least one phase"),
        (vec![constant(5, 1.0), warm(constant(5, 1.0))], "`constant`: warm-up comes before"),
        (vec![constant(1, 1.0); 1001], "1001 phases are too many"),
        (vec![constant(0, 1.0)], "has no duration"),
        (vec![constant(u64::MAX, 1.0)], "longer than 366 days"),
        (vec![constant(200 * 86_400, 1.0); 2], "longer than 366 days"),
        (vec![constant(5, 0.0)], "no arrivals"),
        (vec![constant(1, 0.4)], "no arrivals"),
        (vec![warm(constant(5, 100.0)), constant(5, 0.0)], "no arrivals"),
        (vec![constant(5, -1.0)], "a rate is not from 0"),
        (vec![constant(5, f64::NAN)], "a rate is not from 0"),
        (vec![constant(5, f64::INFINITY)], "a rate is not from 0"),
        (vec![constant(5, 1e7 + 1.0)], "a rate is not from 0"),
        (vec![stage("t", 5, Shape::Trace { count: 1, speed: 1.0 })], "a trace is no phase"),
    ] {
        let error = Plan::new(stages, Spacing::Even, 1).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let empty = vec![warm(constant(5, 100.0)), constant(5, 0.0)];
    assert_eq!(Plan::new(empty, Spacing::Poisson, 1).unwrap_err(), BadPlan::NoArrivals);
}

#[test]
fn the_longest_and_fastest_plan_begins_at_once() {
    let year = 366 * 86_400;
    for spacing in [Spacing::Even, Spacing::Poisson] {
        let warmup = Stage { is_warmup: true, ..constant(year / 2, 1e7) };
        let plan = Plan::new(vec![warmup, constant(year / 2, 1e7)], spacing, 1).unwrap();
        let thousandth = plan.arrivals().nth(1000).unwrap();
        assert!(thousandth.at < Duration::from_millis(1), "{:?}", thousandth.at);
        assert!(plan.limited(u64::MAX).duration() == plan.duration());
    }
}

fn any_stage() -> impl Strategy<Value = Stage> {
    let rate = || prop_oneof![Just(0.0), 0.0..50.0, 0.0..1e-3];
    let ms = || 1..20_000_u64;
    let shape = (0..5, rate(), rate(), ms(), ms(), ms(), 1..40_u32);
    shape.prop_map(|(kind, one, other, length, start, more, count)| {
        let ms = Duration::from_millis;
        let duration = ms(start) + ms(length) + ms(more);
        let (length, start) = (ms(length), ms(start));
        let shape = match kind {
            0 => Shape::Constant { per_s: one },
            1 => Shape::Ramp { from_per_s: one, to_per_s: other },
            2 => Shape::Steps { from_per_s: one, to_per_s: other, count },
            3 => Shape::Spike { base_per_s: one, peak_per_s: other, start, length },
            _ => Shape::Sine {
                low_per_s: one.min(other),
                high_per_s: one.max(other),
                period: length,
                peak: start,
            },
        };
        Stage { name: format!("{kind}"), duration, shape, is_warmup: false }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_plan_is_in_order_and_within_its_stages(
        stages in prop::collection::vec(any_stage(), 1..6),
        is_even: bool,
        seed: u64,
    ) {
        let spacing = if is_even { Spacing::Even } else { Spacing::Poisson };
        let ends = stages.iter().scan(Duration::ZERO, |end, stage| {
            let start = *end;
            *end += stage.duration;
            Some((start, *end))
        });
        let ends: Vec<(Duration, Duration)> = ends.collect();
        let expected = |stage: &Stage| {
            stage.shape.pieces(stage.duration).iter().map(Piece::expected).sum::<f64>()
        };
        let all: f64 = stages.iter().map(expected).sum();
        let Ok(plan) = Plan::new(stages.clone(), spacing, seed) else {
            prop_assert!(all < 20.0, "{all} arrivals are expected, and none come");
            return Ok(());
        };
        let mut last = Duration::ZERO;
        for (arrival, index) in plan.arrivals().zip(0..) {
            let (start, end) = ends[usize::from(arrival.stage)];
            prop_assert!(arrival.at >= last && arrival.index == index);
            prop_assert!(start <= arrival.at && arrival.at < end, "{arrival:?}");
            last = arrival.at;
        }
        if is_even {
            for (count, stage) in counts(&plan).iter().zip(&stages) {
                prop_assert!((*count as f64 - expected(stage)).abs() <= 1.0 + 1e-9);
            }
            prop_assert!((plan.arrivals().count() as f64 - all).abs() <= 0.5 + 1e-9);
        }
    }
}
