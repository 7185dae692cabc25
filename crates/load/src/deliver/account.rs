//! Accounts for every message: what was said of it, and which copies were seen, in whatever order both come. Pure.
//! A message has an entry (33 bytes and what a table wastes) only while copies of it are missing, or too many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::said::{Said, Word};
use super::tally::Delivery;
use super::{Judged, Seen, What};

/// What is known of a run's messages so far.
#[derive(Debug, Default)]
pub struct Account {
    open: HashMap<u64, Open>,
    /// Copies that were accepted later than those that are still missing, as after a try for the other recipients.
    later: HashMap<u64, Vec<(Instant, u32)>>,
    /// Copies that nobody was told to expect, yet: the server may be faster to deliver than to say so.
    unclaimed: HashMap<u64, u32>,
    said: Said,
    tally: Delivery,
}

/// Copies of a message that are missing.
#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    sure: u32,
    maybe: u32,
}

impl Account {
    /// So many copies are to be seen. Gives how many were seen before that was said: their delivery took no time.
    /// May be told in parts; what is sure before what is [`Account::unknown`].
    pub fn accepted(&mut self, index: u64, copies: u32, at: Instant) -> u32 {
        self.said.set(index, Word::Taken);
        self.tally.expected += u64::from(copies);
        let there = self.claim(index, copies);
        self.tally.delivered += u64::from(there);
        let missing = copies - there;
        if missing > 0 {
            let open = self.open.entry(index).or_insert(Open { since: at, sure: 0, maybe: 0 });
            if open.sure == 0 {
                (open.since, open.sure) = (at, missing);
            } else {
                self.later.entry(index).or_default().push((at, missing));
            }
        }
        there
    }

    /// So many copies may be seen, or fewer: the connection broke before the last reply.
    pub fn unknown(&mut self, index: u64, copies: u32, at: Instant) {
        self.said.set(index, Word::Taken);
        self.tally.unknown += u64::from(copies);
        let there = self.claim(index, copies);
        self.tally.unknown_delivered += u64::from(there);
        if there < copies {
            let open = self.open.entry(index).or_insert(Open { since: at, sure: 0, maybe: 0 });
            open.maybe = open.maybe.saturating_add(copies - there);
        }
    }

    /// No copy may be seen, beyond those that are accepted or unknown.
    pub fn refused(&mut self, index: u64) {
        self.said.set(index, Word::Refused);
    }

    /// A copy was seen. Gives the delivery time, if this copy is known to be accepted.
    pub fn seen(&mut self, index: u64, sum_ok: bool, at: Instant) -> Option<Duration> {
        if !sum_ok {
            self.tally.corrupted += 1;
            self.tally.samples.corrupted.put(index);
        }
        let Some(open) = self.open.get_mut(&index) else {
            self.unclaimed(index);
            return None;
        };
        let took = if open.sure > 0 {
            open.sure -= 1;
            self.tally.delivered += 1;
            Some(at.saturating_duration_since(open.since))
        } else {
            open.maybe = open.maybe.saturating_sub(1);
            self.tally.unknown_delivered += 1;
            None
        };
        if open.sure == 0 {
            if let Some(later) = self.later.get_mut(&index) {
                (open.since, open.sure) = later.remove(0);
                if later.is_empty() {
                    self.later.remove(&index);
                }
            } else if open.maybe == 0 {
                self.open.remove(&index);
            }
        }
        took
    }

    /// Something was seen. Gives the delivery time, if it is a copy that is known to be accepted.
    pub fn take(&mut self, seen: &Seen) -> Option<Duration> {
        match seen.what {
            What::Message(Judged::Ours { index, sum_ok }) => {
                return self.seen(index, sum_ok, seen.at);
            }
            What::Message(Judged::Foreign) => self.tally.foreign += 1,
            What::Message(Judged::Other) => self.tally.other += 1,
            What::Unreadable(_) => self.tally.unreadable += 1,
        }
        None
    }

    /// How many accepted copies are missing.
    pub fn missing(&self) -> u64 {
        self.tally.expected - self.tally.delivered
    }

    /// How many accepted copies were seen.
    pub fn delivered(&self) -> u64 {
        self.tally.delivered
    }

    /// What became of all: nothing more is seen or said.
    pub fn finish(mut self) -> Delivery {
        self.tally.lost = self.missing();
        for (index, _) in self.open.iter().filter(|(_, open)| open.sure > 0) {
            self.tally.samples.lost.put(*index);
        }
        for (index, copies) in std::mem::take(&mut self.unclaimed) {
            self.settle_surplus(index, copies);
        }
        self.tally
    }

    /// Takes copies that were seen before.
    fn claim(&mut self, index: u64, copies: u32) -> u32 {
        let Some(there) = self.unclaimed.get_mut(&index) else { return 0 };
        let claimed = copies.min(*there);
        *there -= claimed;
        if *there == 0 {
            self.unclaimed.remove(&index);
        }
        claimed
    }

    fn unclaimed(&mut self, index: u64) {
        if self.unclaimed.len() < UNCLAIMED_MAX || self.unclaimed.contains_key(&index) {
            let copies = self.unclaimed.entry(index).or_default();
            *copies = copies.saturating_add(1);
        } else {
            // So many are not a matter of order any more.
            self.settle_surplus(index, 1);
        }
    }

    fn settle_surplus(&mut self, index: u64, copies: u32) {
        let tally = &mut self.tally;
        let samples = &mut tally.samples;
        let (count, sample) = match self.said.get(index) {
            Word::Taken => (&mut tally.doubled, &mut samples.doubled),
            Word::Refused => (&mut tally.unexpected, &mut samples.unexpected),
            Word::Nothing => (&mut tally.untold, &mut samples.untold),
        };
        *count += u64::from(copies);
        sample.put(index);
    }
}

/// More than a server that delivers before it says so can have at a time. Beyond, memory would be in the hands
/// of whoever doubles all.
const UNCLAIMED_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Accepted(u32),
        Unknown(u32),
        Refused,
        Seen(bool),
    }

    fn play(ops: &[(u64, Op)]) -> Account {
        let (mut account, now) = (Account::default(), Instant::now());
        for (index, op) in ops {
            match *op {
                Op::Accepted(copies) => drop(account.accepted(*index, copies, now)),
                Op::Unknown(copies) => account.unknown(*index, copies, now),
                Op::Refused => account.refused(*index),
                Op::Seen(sum_ok) => drop(account.seen(*index, sum_ok, now)),
            }
        }
        account
    }

    /// Counts all first, and judges then.
    fn judged_at_the_end(ops: &[(u64, Op)]) -> Delivery {
        #[derive(Default)]
        struct Told {
            sure: u64,
            maybe: u64,
            is_taken: bool,
            is_refused: bool,
            seen: u64,
        }
        let (mut messages, mut delivery) = (BTreeMap::<u64, Told>::new(), Delivery::default());
        for (index, op) in ops {
            let told = messages.entry(*index).or_default();
            match *op {
                Op::Accepted(copies) => {
                    (told.sure, told.is_taken) = (told.sure + u64::from(copies), true);
                }
                Op::Unknown(copies) => {
                    (told.maybe, told.is_taken) = (told.maybe + u64::from(copies), true);
                }
                Op::Refused => told.is_refused = true,
                Op::Seen(sum_ok) => {
                    told.seen += 1;
                    if !sum_ok {
                        delivery.corrupted += 1;
                        delivery.samples.corrupted.put(*index);
                    }
                }
            }
        }
        for (index, told) in messages {
            let (sure, maybe) =
                (told.seen.min(told.sure), told.seen.saturating_sub(told.sure).min(told.maybe));
            let surplus = told.seen - sure - maybe;
            delivery.expected += told.sure;
            delivery.delivered += sure;
            delivery.lost += told.sure - sure;
            delivery.unknown += told.maybe;
            delivery.unknown_delivered += maybe;
            if sure < told.sure {
                delivery.samples.lost.put(index);
            }
            let samples = &mut delivery.samples;
            let (count, sample) = match (told.is_taken, told.is_refused) {
                (true, _) => (&mut delivery.doubled, &mut samples.doubled),
                (false, true) => (&mut delivery.unexpected, &mut samples.unexpected),
                (false, false) => (&mut delivery.untold, &mut samples.untold),
            };
            if surplus > 0 {
                *count += surplus;
                sample.put(index);
            }
        }
        delivery
    }

    /// What may be told of one message, in the order in which it may be told.
    fn told() -> impl Strategy<Value = Vec<Op>> {
        let accepted = prop::collection::vec((0..4u32).prop_map(Op::Accepted), 0..3);
        let unknown = prop::option::of((0..4u32).prop_map(Op::Unknown));
        (accepted, unknown, any::<bool>()).prop_map(|(mut ops, unknown, is_refused)| {
            ops.extend(unknown);
            ops.extend(is_refused.then_some(Op::Refused));
            ops
        })
    }

    /// Messages, each with what is told of it and how often it is seen, all of it mixed.
    fn history() -> impl Strategy<Value = Vec<(u64, Op)>> {
        let seen = prop::collection::vec(prop::bool::weighted(0.9).prop_map(Op::Seen), 0..6);
        let message = (told(), seen);
        prop::collection::vec(message, 1..40).prop_flat_map(|messages| {
            // Those of one lane stay in order: a lane for what is told of a message, one for its copies.
            let lanes: Vec<(u64, Vec<Op>)> = (0u64..)
                .zip(messages)
                .flat_map(|(index, (told, seen))| [(index * 1000, told), (index * 1000, seen)])
                .collect();
            let turns: Vec<usize> = lanes
                .iter()
                .enumerate()
                .flat_map(|(lane, (_, ops))| vec![lane; ops.len()])
                .collect();
            Just(turns).prop_shuffle().prop_map(move |turns| {
                let mut lanes: Vec<_> =
                    lanes.iter().map(|(index, ops)| (*index, ops.clone().into_iter())).collect();
                let mut next = |lane: usize| lanes[lane].1.next().map(|op| (lanes[lane].0, op));
                turns.into_iter().filter_map(&mut next).collect()
            })
        })
    }

    proptest! {
        #[test]
        fn the_order_in_which_it_is_heard_of_changes_nothing(ops in history()) {
            let account = play(&ops);
            let expected = judged_at_the_end(&ops);
            prop_assert_eq!(account.missing(), expected.lost);
            prop_assert_eq!(account.finish(), expected);
        }

        #[test]
        fn a_message_that_is_taken_away_is_lost(ops in history(), lost in any::<prop::sample::Index>()) {
            let whole = play(&ops).finish();
            // Only one that is there as often as it was accepted can be missed.
            let counts = |index: u64| ops.iter().filter(|(of, _)| *of == index).fold((0, 0), |(sure, seen), (_, op)| match op {
                Op::Accepted(copies) => (sure + copies, seen),
                Op::Seen(_) => (sure, seen + 1),
                Op::Unknown(_) | Op::Refused => (sure, seen),
            });
            let exact: Vec<usize> = (0..ops.len())
                .filter(|at| matches!(ops[*at].1, Op::Seen(true)))
                .filter(|at| { let (sure, seen) = counts(ops[*at].0); seen <= sure })
                .collect();
            prop_assume!(!exact.is_empty());
            let at = exact[lost.index(exact.len())];
            let mut fewer = ops.clone();
            let (index, _) = fewer.remove(at);
            let delivery = play(&fewer).finish();
            prop_assert_eq!(delivery.lost, whole.lost + 1);
            prop_assert_eq!(delivery.expected, whole.expected);
            let sampled: Vec<u64> = delivery.samples.lost.indices().collect();
            prop_assert!(sampled.contains(&index) || sampled.len() == 20);
        }
    }

    #[test]
    fn nothing_stays_open_that_is_settled() {
        let (mut account, now) = (Account::default(), Instant::now());
        for index in 0..10_000 {
            account.accepted(index, 2, now);
            account.seen(index, true, now);
            account.accepted(index, 1, now);
            account.seen(index, true, now);
            account.seen(index, true, now);
            account.refused(index + 1_000_000);
        }
        let sizes = (account.open.len(), account.later.len(), account.unclaimed.len());
        assert_eq!(sizes, (0, 0, 0));
        assert_eq!((account.missing(), account.finish().delivered), (0, 30_000));
    }

    #[test]
    fn a_server_that_doubles_all_is_counted_and_takes_no_more_memory() {
        let (mut account, now) = (Account::default(), Instant::now());
        let count = UNCLAIMED_MAX as u64 + 1000;
        for index in 0..count {
            account.accepted(index, 1, now);
            account.seen(index, true, now);
            account.seen(index, true, now);
        }
        assert_eq!(account.unclaimed.len(), UNCLAIMED_MAX);
        let delivery = account.finish();
        assert_eq!((delivery.delivered, delivery.doubled), (count, count));
        assert!(delivery.samples.doubled.indices().eq(0..20));
    }

    #[test]
    fn delivery_runs_from_the_acceptance_of_that_copy() {
        let (mut account, start) = (Account::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(account.seen(1, true, at(5)), None);
        assert_eq!(account.accepted(1, 3, at(10)), 1);
        // One recipient was put off, and taken later.
        assert_eq!(account.accepted(1, 1, at(100)), 0);
        let took: Vec<_> = [20, 110, 130].map(|ms| account.seen(1, true, at(ms))).into();
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        assert_eq!(took, [ms(10), ms(100), ms(30)]);
        assert_eq!(account.seen(1, true, at(140)), None);
        // Clocks of several threads: what was accepted after it was seen took no time.
        account.accepted(2, 1, at(50));
        assert_eq!(account.seen(2, true, at(40)), ms(0));
        account.unknown(3, 1, at(50));
        assert_eq!(account.seen(3, true, at(60)), None);
        let delivery = account.finish();
        assert_eq!((delivery.delivered, delivery.doubled, delivery.unknown_delivered), (5, 1, 1));
    }

    #[test]
    fn what_is_not_of_this_run_is_counted_apart() {
        let (mut account, at) = (Account::default(), Instant::now());
        account.accepted(4, 1, at);
        for what in [
            What::Message(Judged::Ours { index: 4, sum_ok: false }),
            What::Message(Judged::Foreign),
            What::Message(Judged::Other),
            What::Unreadable("gone".into()),
        ] {
            account.take(&Seen { what, at });
        }
        let delivery = account.finish();
        let counts = (delivery.delivered, delivery.corrupted, delivery.foreign, delivery.other);
        assert_eq!(counts, (1, 1, 1, 1));
        assert_eq!((delivery.unreadable, delivery.lost), (1, 0));
    }
}
