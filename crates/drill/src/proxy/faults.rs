//! The rules that hold now, and what they remember: how many transactions there were, how often each rule acted. With
//! the same seed and the same order of events the same things go wrong. New rules begin to count anew.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rule::{Act, At, Rule};

/// Rules and what they remember. All sessions share them.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rules: Vec<Remembering>,
    /// How often the rules were replaced: what was counted before says nothing to those that hold now.
    generation: u64,
    sessions: u64,
    transactions: u64,
}

#[derive(Debug)]
struct Remembering {
    rule: Rule,
    random: u64,
    acted: u64,
}

/// Which session or transaction this is, from 1 since the rules were set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Number {
    generation: u64,
    number: u64,
}

impl Faults {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let faults = Self::default();
        faults.set(rules);
        faults
    }

    pub(super) fn set(&self, rules: Vec<Rule>) {
        let mut state = self.state();
        let generation = state.generation + 1;
        let rules = rules.into_iter().map(|rule| Remembering {
            // Never zero, at which the generator stands still.
            random: rule.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            rule,
            acted: 0,
        });
        *state = State { rules: rules.collect(), generation, sessions: 0, transactions: 0 };
    }

    pub(super) fn session(&self) -> Number {
        let mut state = self.state();
        state.sessions += 1;
        Number { generation: state.generation, number: state.sessions }
    }

    pub(super) fn transaction(&self) -> Number {
        let mut state = self.state();
        state.transactions += 1;
        Number { generation: state.generation, number: state.transactions }
    }

    /// What goes wrong now, if anything: the first rule that matches acts.
    pub(super) fn due(&self, at: At, session: Number, transaction: Number) -> Option<Act> {
        let mut state = self.state();
        let is_early = matches!(at, At::Connect | At::Ehlo | At::StartTls | At::Auth);
        let number = if is_early { session } else { transaction };
        // Zero, which nothing matches, if it began under other rules.
        let number = if number.generation == state.generation { number.number } else { 0 };
        state.rules.iter_mut().find_map(|rule| rule.due(at, number))
    }

    /// How often each rule acted, in their order.
    pub(super) fn acted(&self) -> Vec<u64> {
        self.state().rules.iter().map(|rule| rule.acted).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembering {
    fn due(&mut self, at: At, number: u64) -> Option<Act> {
        let rule = &self.rule;
        let is_it = rule.at == at
            && rule.times.is_none_or(|times| self.acted < times)
            && rule.nth.is_none_or(|nth| nth == number)
            && rule.every.is_none_or(|every| number > 0 && number.is_multiple_of(every));
        if !is_it || self.rule.probability.is_some_and(|probability| self.roll() >= probability) {
            return None;
        }
        self.acted += 1;
        Some(self.rule.act.clone())
    }

    /// 0 to 1, by xorshift64*.
    fn roll(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which of ten transactions a rule acts at the end.
    fn acts_in(rule: Rule) -> Vec<u64> {
        let faults = Faults::new(vec![rule]);
        let session = faults.session();
        let is_due = |_: &u64| faults.due(At::End, session, faults.transaction()).is_some();
        (1..=10).filter(is_due).collect()
    }

    #[test]
    fn rules_count_transactions_and_themselves() {
        let rule = || Rule::new(At::End, Act::Cut);
        let all: Vec<u64> = (1..=10).collect();
        assert_eq!(acts_in(rule()), all);
        assert_eq!(acts_in(Rule { nth: Some(3), ..rule() }), [3]);
        assert_eq!(acts_in(Rule { every: Some(4), ..rule() }), [4, 8]);
        assert_eq!(acts_in(Rule { times: Some(2), ..rule() }), [1, 2]);
        assert_eq!(acts_in(Rule { every: Some(2), times: Some(3), ..rule() }), [2, 4, 6]);
        assert!(acts_in(Rule::new(At::Mail, Act::Cut)).is_empty());
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let run = |seed, probability| {
            let rule =
                Rule { probability: Some(probability), seed, ..Rule::new(At::End, Act::Cut) };
            let faults = Faults::new(vec![rule]);
            let none = Number::default();
            (0..1000).filter(|_| faults.due(At::End, none, none).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(1, 0.3), run(1, 0.3));
        assert_ne!(run(1, 0.3), run(2, 0.3));
        assert!((200..400).contains(&run(1, 0.3).len()));
        assert_eq!((run(1, 0.0).len(), run(1, 1.0).len()), (0, 1000));
    }

    #[test]
    fn new_rules_begin_to_count_anew_and_the_first_that_matches_acts() {
        let nth = |nth, act| Rule { nth: Some(nth), ..Rule::new(At::Mail, act) };
        let faults = Faults::new(vec![nth(1, Act::Cut), nth(1, Act::Reset)]);
        let (session, first) = (faults.session(), faults.transaction());
        assert_eq!(faults.due(At::Mail, session, first), Some(Act::Cut));
        assert_eq!(faults.acted(), [1, 0]);
        faults.set(vec![nth(1, Act::Cut)]);
        assert_eq!(faults.due(At::Mail, session, first), None);
        assert_eq!(faults.due(At::Mail, session, faults.transaction()), Some(Act::Cut));
        assert_eq!(faults.acted(), [1]);
    }
}
