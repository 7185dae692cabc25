//! What merging must keep and must refuse, without a file or a server.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::deliver::Delivery;
use crate::measure::{Counts, Kind};
use crate::own::Used;
use crate::replies::Replies;
use crate::result::{PlanFacts, QueueFacts, Totals};

/// A shard, I of N as people count, in which so much happened.
fn part(index: u64, count: u64, amount: u64) -> Part {
    let mut measures = Measures::default();
    for number in 0..amount {
        measures.record(Kind::Response, Duration::from_micros(100 * index + number));
    }
    let counts = Counts { accepted: amount, bytes: 10 * amount, ..Counts::default() };
    let record = Record {
        version: 1,
        mode: Mode::Open,
        target: vec!["mx.test".into()],
        run: "7".into(),
        seed: 1,
        plan: PlanFacts {
            digest: "plan".into(),
            shard: Some(Shard { index: index - 1, count }),
            stages: Vec::new(),
        },
        left_out: Vec::new(),
        expect: "p99<1s".into(),
        started_at: Timestamp::from_second(1000 + index as i64).unwrap(),
        warmup_us: 0,
        duration_us: 5_000_000,
        elapsed_us: 5_000_000 + amount,
        is_interrupted: false,
        totals: Totals { offered: amount + 3, not_started: 2, not_retried: 1, counts },
        warmup: Counts { accepted: 1, ..Counts::default() },
        replies: Replies::default(),
        delivery: None,
        queue: None,
        generator: Generator { cpu_shares: vec![0.1], made_late: index, ..Generator::default() },
    };
    Part { name: format!("dir{index}"), record, measures }
}

fn all(count: u64) -> Vec<Part> {
    (1..=count).map(|index| part(index, count, 10 * index)).collect()
}

fn shards(texts: &[&str]) -> Vec<Shard> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn refusal(parts: Vec<Part>, without: &[&str]) -> BadMerge {
    merge(parts, &shards(without)).unwrap_err()
}

/// Three shards of which the last was changed.
fn changed(change: impl FnOnce(&mut Record)) -> Vec<Part> {
    let mut parts = all(3);
    change(&mut parts[2].record);
    parts
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (dir1, dir2, dir3) = ("dir1".to_owned(), "dir2".to_owned(), "dir3".to_owned());
    let plans = changed(|record| record.plan.digest = "another".into());
    let runs = changed(|record| record.run = "8".into());
    let parts = changed(|record| record.plan.shard = Some(Shard { index: 2, count: 4 }));
    let twice = changed(|record| record.plan.shard = Some(Shard { index: 1, count: 3 }));
    let whole = changed(|record| record.plan.shard = None);
    let closed = changed(|record| record.mode = Mode::Closed);
    for (parts, without, expected) in [
        (Vec::new(), &[][..], BadMerge::Nothing),
        (all(1), &["1/1"], BadMerge::Nothing),
        (plans, &[], BadMerge::Plans(dir1.clone(), dir3.clone())),
        (runs, &[], BadMerge::Runs(dir1.clone(), dir3.clone())),
        (parts, &[], BadMerge::Parts(dir1, 3, dir3.clone(), 4)),
        (twice, &[], BadMerge::Twice(dir2, dir3.clone(), "2/3".into())),
        (whole, &[], BadMerge::NoShard(dir3.clone())),
        (closed, &[], BadMerge::NoShard(dir3)),
        (all(3), &["1/4"], BadMerge::Without("1/4".into(), 3)),
    ] {
        assert_eq!(refusal(parts, without), expected);
    }
}

#[test]
fn shards_that_are_missing_are_named() {
    let missing = |kept: &[usize], without: &[&str]| {
        let parts = all(4).into_iter().enumerate().filter(|(at, _)| kept.contains(at));
        merge(parts.map(|(_, part)| part).collect(), &shards(without)).map(|_| ()).err()
    };
    assert_eq!(missing(&[0, 2], &[]), Some(BadMerge::Missing("2/4, 4/4".into())));
    assert_eq!(missing(&[0, 2], &["2/4"]), Some(BadMerge::Missing("4/4".into())));
    assert_eq!(missing(&[0, 2], &["4/4", "2/4"]), None);
    let one = vec![part(1, 1000, 1)];
    let BadMerge::Missing(named) = refusal(one, &[]) else { panic!("none is missing") };
    assert!(named.starts_with("2/1000, ") && named.split(", ").count() == NAMED, "{named}");
}

#[test]
fn counts_add_up_and_limits_are_those_of_whoever_is_nearest() {
    let mut parts = all(3);
    let delivery = Delivery { expected: 5, delivered: 4, lost: 1, ..Delivery::default() };
    let queue = |samples| QueueFacts { samples, first: 0, last: 9, max: 9, slope: None };
    let used = |most, limit, again| Used {
        cpu_us: 7,
        descriptors_most: most,
        descriptors_limit: limit,
        retransmitted: again,
    };
    for (at, used) in
        [used(50, 1000, None), used(40, 50, Some(2)), used(900, 20_000, Some(3))].iter().enumerate()
    {
        let record = &mut parts[at].record;
        record.generator.used = *used;
        record.delivery = (at > 0).then(|| delivery.clone());
        record.queue = Some(queue([1, 30, 2][at]));
        record.is_interrupted = at == 1;
    }
    parts.reverse();
    let (sum, measures) = merge(parts, &[]).unwrap();
    let totals = sum.totals;
    assert_eq!((totals.offered, totals.not_started, totals.not_retried), (69, 6, 3));
    assert_eq!((totals.counts.accepted, totals.counts.bytes, sum.warmup.accepted), (60, 600, 3));
    assert_eq!(measures.summary(Kind::Response).unwrap().count, 60);
    assert_eq!(sum.delivery.map(|all| (all.expected, all.delivered, all.lost)), Some((10, 8, 2)));
    assert_eq!(sum.queue.unwrap().samples, 30);
    assert_eq!((sum.started_at.as_second(), sum.elapsed_us), (1001, 5_000_030));
    assert!(sum.is_interrupted && sum.plan.shard.is_none() && sum.left_out.is_empty());
    let used = sum.generator.used;
    assert_eq!((used.descriptors_most, used.descriptors_limit), (40, 50));
    assert_eq!((used.cpu_us, used.retransmitted), (21, Some(5)));
    assert_eq!((sum.generator.cpu_shares.len(), sum.generator.made_late), (3, 6));
}

#[test]
fn what_is_left_out_counts_nowhere_whether_it_is_there_or_not() {
    for is_there in [true, false] {
        let mut parts = all(3);
        if !is_there {
            parts.remove(1);
        }
        let (sum, measures) = merge(parts, &shards(&["2/3"])).unwrap();
        assert_eq!((sum.totals.counts.accepted, sum.warmup.accepted), (40, 2));
        assert_eq!(measures.summary(Kind::Response).unwrap().count, 40);
        assert_eq!(sum.left_out, shards(&["2/3"]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_run_in_parts_is_the_run(
        waits in prop::collection::vec((0..3usize, 0..4_000_000_000u64), 0..200),
        count in 1..6u64,
    ) {
        let mut whole = Measures::default();
        let mut parts: Vec<Part> = (1..=count).map(|index| part(index, count, 0)).collect();
        for (at, (kind, us)) in waits.iter().enumerate() {
            let took = Duration::from_micros(*us);
            whole.record(Kind::ALL[*kind], took);
            let part = &mut parts[at % count as usize];
            part.measures.record(Kind::ALL[*kind], took);
            part.record.totals.counts.accepted += 1;
        }
        let (record, merged) = merge(parts, &[]).unwrap();
        prop_assert_eq!(record.totals.counts.accepted, waits.len() as u64);
        for kind in Kind::ALL {
            prop_assert_eq!(merged.get(kind), whole.get(kind));
            prop_assert_eq!(merged.clipped(kind), whole.clipped(kind));
        }
    }
}
