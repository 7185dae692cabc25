//! The search for the highest rate that holds, as a state machine without clock or network: doubling until a rate breaks,
//! then narrowing. A rate that did not hold is tried once again, and the second try is believed: one bad moment of a
//! shared machine would cost half of the result, while what breaks twice in a row is no noise.

use super::{At, Ended, Limit, Outcome, Step};

/// A search: ask [`Search::next`] for a rate, try it, tell [`Search::observe`], until there is no next. The caller lets
/// the server come to rest between steps; a queue left by one step would count against the next.
#[derive(Debug, Clone)]
pub struct Search {
    start_per_s: f64,
    max_per_s: f64,
    resolution: f64,
    /// The highest rate that held. Below `broken`, always: only rates between the two are tried.
    held_per_s: Option<f64>,
    broken: Option<At>,
    generator: Option<At>,
    /// The rate whose first try did not hold.
    doubted_per_s: Option<f64>,
    curve: Vec<Step>,
}

/// Why there can be no search.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadSearch {
    /// Not within what can be searched.
    #[error("a search starts between 0.001/s and 1000000000/s, not at {0}/s")]
    Start(f64),
    /// Below the start, or no number.
    #[error("the highest rate of a search, {0}/s, is below its start or above 1000000000/s")]
    Max(f64),
    /// Too fine or too coarse.
    #[error("a search narrows to between 0.1 % and 100 %, not to {} %", .0 * 100.0)]
    Resolution(f64),
}

impl Search {
    /// Starts at a rate and goes no higher than another; `resolution` is how far what held may be below what broke
    /// (0.05 is 5 %).
    pub fn new(start_per_s: f64, max_per_s: f64, resolution: f64) -> Result<Self, BadSearch> {
        if !(LEAST_PER_S..=MOST_PER_S).contains(&start_per_s) {
            return Err(BadSearch::Start(start_per_s));
        }
        if !(start_per_s..=MOST_PER_S).contains(&max_per_s) {
            return Err(BadSearch::Max(max_per_s));
        }
        if !(0.001..=1.0).contains(&resolution) {
            return Err(BadSearch::Resolution(resolution));
        }
        Ok(Self {
            start_per_s,
            max_per_s,
            resolution,
            held_per_s: None,
            broken: None,
            generator: None,
            doubted_per_s: None,
            curve: Vec::new(),
        })
    }

    /// The rate to try, arrivals per second; the same until it was observed. `None` is the end.
    pub fn next(&self) -> Option<f64> {
        match self.state() {
            State::Try(per_s) => Some(per_s),
            State::Ended(_) => None,
        }
    }

    /// What came of a try. One of another rate than was asked for is kept in the curve and decides nothing.
    pub fn observe(&mut self, step: Step) {
        let outcome = step.outcome.clone();
        let asked_per_s = step.asked_per_s;
        let expected_per_s = self.next();
        if self.curve.len() < self.most_steps() {
            self.curve.push(step);
        }
        let Some(per_s) = expected_per_s.filter(|expected| *expected == asked_per_s) else {
            return;
        };
        let is_second = self.doubted_per_s.take().is_some();
        match outcome {
            Outcome::Held => self.held_per_s = Some(per_s),
            _ if !is_second => self.doubted_per_s = Some(per_s),
            Outcome::Broke { reason } => self.broken = Some(At { per_s, reason }),
            Outcome::Invalid { reason } => self.generator = Some(At { per_s, reason }),
        }
    }

    /// More steps than these are never asked for.
    pub fn most_steps(&self) -> usize {
        let doublings = (self.max_per_s / self.start_per_s).log2().ceil() + 1.0;
        let bisections = (2f64.ln() / self.resolution.ln_1p()).log2().ceil().max(0.0) + 1.0;
        // Each rate twice, at most.
        2 * (doublings + bisections) as usize + 2 * HALVINGS as usize
    }

    /// What is known.
    pub fn limit(&self) -> Limit {
        let mut curve = self.curve.clone();
        curve.sort_by(|a, b| a.asked_per_s.total_cmp(&b.asked_per_s));
        Limit {
            highest_held_per_s: self.held_per_s,
            first_broken: self.broken.clone(),
            limited_by_generator: self.generator.clone(),
            ended: match self.state() {
                State::Try(_) => Ended::Unfinished,
                State::Ended(ended) => ended,
            },
            curve,
        }
    }

    fn state(&self) -> State {
        if self.generator.is_some() {
            return State::Ended(Ended::LimitedByGenerator);
        }
        let state = self.next_rate();
        match (state, self.doubted_per_s) {
            (State::Try(_), _) if self.curve.len() >= self.most_steps() => {
                State::Ended(Ended::TooManySteps)
            }
            (State::Try(_), Some(again)) => State::Try(again),
            _ => state,
        }
    }

    fn next_rate(&self) -> State {
        match (self.held_per_s, self.broken.as_ref().map(|broken| broken.per_s)) {
            (None, None) => State::Try(self.start_per_s),
            (Some(held), None) if held >= self.max_per_s => State::Ended(Ended::ReachedMax),
            (Some(held), None) => State::Try((held * 2.0).min(self.max_per_s)),
            (None, Some(broken)) => {
                let floor = self.start_per_s / f64::from(1u32 << HALVINGS);
                match broken / 2.0 {
                    half if half < floor => State::Ended(Ended::ReachedFloor),
                    half => State::Try(half),
                }
            }
            (Some(held), Some(broken)) if broken / held <= 1.0 + self.resolution => {
                State::Ended(Ended::Narrowed)
            }
            (Some(held), Some(broken)) => State::Try((held * broken).sqrt()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Try(f64),
    Ended(Ended),
}

const LEAST_PER_S: f64 = 0.001;
const MOST_PER_S: f64 = 1e9;

/// Where nothing holds, the last try is 1/1024 of the first.
const HALVINGS: u32 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Random;

    fn step(asked_per_s: f64, outcome: Outcome) -> Step {
        Step {
            asked_per_s,
            achieved_per_s: asked_per_s,
            outcome,
            p50_us: None,
            p99_us: None,
            errors_percent: 0.0,
            queue_per_s: None,
        }
    }

    fn broke() -> Outcome {
        Outcome::Broke { reason: "p99 was 900 ms".to_owned() }
    }

    fn invalid() -> Outcome {
        Outcome::Invalid { reason: "ports".to_owned() }
    }

    fn run(mut search: Search, mut oracle: impl FnMut(f64) -> Outcome) -> Limit {
        while let Some(per_s) = search.next() {
            let outcome = oracle(per_s);
            search.observe(step(per_s, outcome));
            assert!(search.curve.len() <= search.most_steps());
        }
        search.limit()
    }

    fn below(threshold: f64) -> impl FnMut(f64) -> Outcome {
        move |per_s| if per_s <= threshold { Outcome::Held } else { broke() }
    }

    fn tried(limit: &Limit) -> Vec<f64> {
        limit.curve.iter().map(|step| step.asked_per_s).collect()
    }

    #[test]
    fn it_ends_for_the_reason_there_is() {
        for (threshold, ended, held, broken) in [
            (300.0, Ended::Narrowed, true, true),
            (5.0, Ended::Narrowed, true, true),
            (1e6, Ended::ReachedMax, true, false),
            (0.0, Ended::ReachedFloor, false, true),
        ] {
            let limit = run(Search::new(50.0, 1000.0, 0.05).unwrap(), below(threshold));
            assert_eq!(limit.ended, ended, "{threshold}");
            assert_eq!(limit.highest_held_per_s.is_some(), held, "{threshold}");
            assert_eq!(limit.first_broken.is_some(), broken, "{threshold}");
        }
    }

    #[test]
    fn it_doubles_then_narrows_and_tries_a_break_again() {
        let limit = run(Search::new(100.0, 1e6, 0.5).unwrap(), below(300.0));
        let narrow = (200.0f64 * 400.0).sqrt();
        assert_eq!(tried(&limit), [100.0, 200.0, narrow, 400.0, 400.0]);
        assert_eq!(limit.highest_held_per_s, Some(narrow));
        let at = At { per_s: 400.0, reason: "p99 was 900 ms".to_owned() };
        assert_eq!(limit.first_broken, Some(at));
    }

    #[test]
    fn the_highest_rate_allowed_is_tried_and_not_passed() {
        let limit = run(Search::new(100.0, 250.0, 0.05).unwrap(), below(1e6));
        assert_eq!(tried(&limit), [100.0, 200.0, 250.0]);
        assert_eq!(limit.highest_held_per_s, Some(250.0));
    }

    #[test]
    fn one_bad_moment_does_not_count() {
        let mut first = true;
        let limit = run(Search::new(100.0, 400.0, 0.05).unwrap(), |per_s| {
            let is_noise = per_s == 200.0 && std::mem::take(&mut first);
            if is_noise { broke() } else { Outcome::Held }
        });
        assert_eq!(tried(&limit), [100.0, 200.0, 200.0, 400.0]);
        assert_eq!((limit.ended, limit.first_broken), (Ended::ReachedMax, None));
        assert_eq!(limit.curve[1].outcome, broke());
    }

    #[test]
    fn a_generator_at_its_end_is_not_the_limit_of_the_server() {
        let limit = run(Search::new(100.0, 1e6, 0.05).unwrap(), |per_s| {
            if per_s > 500.0 { invalid() } else { Outcome::Held }
        });
        assert_eq!(limit.ended, Ended::LimitedByGenerator);
        assert_eq!(limit.highest_held_per_s, Some(400.0));
        assert_eq!(limit.first_broken, None);
        assert_eq!(limit.limited_by_generator.unwrap().per_s, 800.0);

        let mut results = [invalid(), Outcome::Held, Outcome::Held].into_iter();
        let limit = run(Search::new(100.0, 200.0, 0.05).unwrap(), |_| results.next().unwrap());
        assert_eq!(limit.ended, Ended::ReachedMax);
    }

    #[test]
    fn what_was_not_asked_for_decides_nothing_and_does_not_go_on_for_ever() {
        let mut search = Search::new(100.0, 1000.0, 0.05).unwrap();
        search.observe(step(7.0, broke()));
        assert_eq!(search.next(), Some(100.0));
        assert_eq!(search.limit().ended, Ended::Unfinished);
        for _ in 0..10_000 {
            search.observe(step(f64::NAN, Outcome::Held));
        }
        assert_eq!(search.next(), None);
        assert_eq!(search.limit().ended, Ended::TooManySteps);
        assert!(search.limit().curve.len() <= search.most_steps());
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        for (start, max, resolution) in [
            (0.0, 10.0, 0.05),
            (-1.0, 10.0, 0.05),
            (f64::NAN, 10.0, 0.05),
            (1.0, f64::INFINITY, 0.05),
            (1.0, f64::NAN, 0.05),
            (10.0, 9.0, 0.05),
            (1.0, 10.0, 0.0),
            (1.0, 10.0, f64::NAN),
        ] {
            assert!(Search::new(start, max, resolution).is_err(), "{start} {max} {resolution}");
        }
    }

    #[test]
    fn json_names_the_outcome_once() {
        let json = serde_json::to_value(run(Search::new(100.0, 150.0, 0.5).unwrap(), below(120.0)))
            .unwrap();
        assert_eq!(json["ended"], "narrowed");
        assert_eq!(json["curve"][0]["outcome"]["word"], "held");
        assert_eq!(json["first_broken"]["reason"], "p99 was 900 ms");
    }

    proptest! {
        #[test]
        fn the_bracket_holds_the_threshold(
            start in 0.01f64..1e5,
            growth in 1f64..1e5,
            threshold in 1e-3f64..1e9,
            resolution in 0.001f64..1.0,
        ) {
            let max = (start * growth).min(MOST_PER_S);
            let limit = run(Search::new(start, max, resolution).unwrap(), below(threshold));
            let held = limit.highest_held_per_s.unwrap_or(0.0);
            let broken = limit.first_broken.map_or(f64::INFINITY, |at| at.per_s);
            prop_assert!(held <= threshold && threshold < broken);
            match limit.ended {
                Ended::Narrowed => prop_assert!(broken / held <= 1.0 + resolution),
                Ended::ReachedMax => prop_assert_eq!(held, max),
                Ended::ReachedFloor => prop_assert!(broken <= start / 512.0),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn noise_ends_too(
            seed in any::<u64>(),
            start in 0.01f64..1e5,
            growth in 1f64..1e5,
            resolution in 0.001f64..1.0,
            chance in 0f64..1.0,
        ) {
            let mut random = Random::new(seed, 0);
            let max = (start * growth).min(MOST_PER_S);
            let search = Search::new(start, max, resolution).unwrap();
            let limit = run(search, |_| match random.unit() {
                draw if draw < chance => Outcome::Held,
                draw if draw < 0.98 => broke(),
                _ => invalid(),
            });
            prop_assert!(!matches!(limit.ended, Ended::TooManySteps | Ended::Unfinished));
            let broken = limit.first_broken.map_or(f64::INFINITY, |at| at.per_s);
            prop_assert!(limit.highest_held_per_s.unwrap_or(0.0) < broken);
            prop_assert!(limit.curve.is_sorted_by(|a, b| a.asked_per_s <= b.asked_per_s));
        }
    }
}
