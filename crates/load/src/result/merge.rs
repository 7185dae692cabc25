//! The results of shards become one. Histograms add bucket by bucket and counts add up, so nothing is lost; what does
//! not belong together is refused.

use super::{Generator, Mode, Record, Shard};
use crate::measure::Measures;

/// Why results do not become one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadMerge {
    /// There is none.
    #[error("there is nothing to merge")]
    Nothing,
    /// A result of a whole plan, or without one.
    #[error("{0} is no shard: it was run without --shard")]
    NoShard(String),
    /// Not of one plan.
    #[error(
        "{0} and {1} are of different plans; seed, rate, length and profile must be the same for all \
         shards"
    )]
    Plans(String, String),
    /// Not of one run: what they sent was not sent together.
    #[error(
        "{0} and {1} are of different runs of one plan; --start-at must be the same for all shards"
    )]
    Runs(String, String),
    /// One plan in different parts.
    #[error("{0} is one of {1} shards, and {2} one of {3}")]
    Parts(String, u64, String, u64),
    /// Twice the same.
    #[error("{0} and {1} are both shard {2}")]
    Twice(String, String, String),
    /// Some are not there.
    #[error("shards are missing: {0}; leave them out with --without, or bring their results")]
    Missing(String),
    /// One to leave out that is there or cannot be.
    #[error("there is no shard {0} to leave out of {1}")]
    Without(String, u64),
}

/// A shard's result.
#[derive(Debug)]
pub struct Part {
    /// How it is called in errors: its folder.
    pub name: String,
    /// What was counted.
    pub record: Record,
    /// What things took.
    pub measures: Measures,
}

/// Makes one of many. Shards in `without` are left out, whether they are there or not.
pub fn merge(parts: Vec<Part>, without: &[Shard]) -> Result<(Record, Measures), BadMerge> {
    check(&parts, without)?;
    let is_kept =
        |part: &Part| part.record.plan.shard.is_some_and(|shard| !without.contains(&shard));
    let mut kept = parts.into_iter().filter(is_kept);
    let Part { mut record, mut measures, .. } = kept.next().ok_or(BadMerge::Nothing)?;
    for part in kept {
        add(&mut record, part.record);
        measures.add(&part.measures);
    }
    record.plan.shard = None;
    record.left_out = without.to_vec();
    Ok((record, measures))
}

fn check(parts: &[Part], without: &[Shard]) -> Result<(), BadMerge> {
    let first = parts.first().ok_or(BadMerge::Nothing)?;
    let shard_of = |part: &Part| {
        let shard = part.record.plan.shard.filter(|_| part.record.mode == Mode::Open);
        shard.ok_or_else(|| BadMerge::NoShard(part.name.clone()))
    };
    let count = shard_of(first)?.count;
    for (at, part) in parts.iter().enumerate() {
        let shard = shard_of(part)?;
        if part.record.plan.digest != first.record.plan.digest {
            return Err(BadMerge::Plans(first.name.clone(), part.name.clone()));
        }
        if shard.count != count {
            let (one, other) = (first.name.clone(), part.name.clone());
            return Err(BadMerge::Parts(one, count, other, shard.count));
        }
        if let Some(twin) = parts[..at].iter().find(|twin| twin.record.plan.shard == Some(shard)) {
            let (one, other) = (twin.name.clone(), part.name.clone());
            return Err(BadMerge::Twice(one, other, shard.to_string()));
        }
        if part.record.run != first.record.run {
            return Err(BadMerge::Runs(first.name.clone(), part.name.clone()));
        }
    }
    if let Some(bad) = without.iter().find(|shard| shard.count != count || shard.index >= count) {
        return Err(BadMerge::Without(bad.to_string(), count));
    }
    let is_there = |shard: &Shard| {
        without.contains(shard) || parts.iter().any(|part| part.record.plan.shard == Some(*shard))
    };
    let all = (0..count).map(|index| Shard { index, count });
    let missing: Vec<String> =
        all.filter(|shard| !is_there(shard)).take(NAMED).map(|shard| shard.to_string()).collect();
    if missing.is_empty() { Ok(()) } else { Err(BadMerge::Missing(missing.join(", "))) }
}

fn add(sum: &mut Record, other: Record) {
    sum.totals.offered += other.totals.offered;
    sum.totals.not_started += other.totals.not_started;
    sum.totals.not_retried += other.totals.not_retried;
    sum.totals.counts.add(&other.totals.counts);
    sum.warmup.add(&other.warmup);
    sum.replies.add(&other.replies);
    sum.started_at = sum.started_at.min(other.started_at);
    sum.duration_us = sum.duration_us.max(other.duration_us);
    sum.elapsed_us = sum.elapsed_us.max(other.elapsed_us);
    sum.is_interrupted |= other.is_interrupted;
    match (&mut sum.delivery, other.delivery) {
        (Some(sum), Some(other)) => sum.add(&other),
        (sum @ None, other) => *sum = other,
        (Some(_), None) => {}
    }
    // One server has one queue: whoever looked at it most often knows best.
    let samples = |queue: &Option<super::QueueFacts>| queue.map_or(0, |queue| queue.samples);
    if samples(&other.queue) > samples(&sum.queue) {
        sum.queue = other.queue;
    }
    add_generator(&mut sum.generator, other.generator);
}

/// Of several machines: what is used adds up, what is a limit is that of the one nearest to it.
fn add_generator(sum: &mut Generator, other: Generator) {
    sum.cpu_shares.extend(other.cpu_shares);
    sum.used.cpu_us += other.used.cpu_us;
    let share = |most: u64, limit: u64| most as f64 / limit.max(1) as f64;
    let (mine, theirs) = (&sum.used, &other.used);
    if share(theirs.descriptors_most, theirs.descriptors_limit)
        > share(mine.descriptors_most, mine.descriptors_limit)
    {
        sum.used.descriptors_most = other.used.descriptors_most;
        sum.used.descriptors_limit = other.used.descriptors_limit;
    }
    sum.used.retransmitted = match (sum.used.retransmitted, other.used.retransmitted) {
        (Some(sum), Some(other)) => Some(sum + other),
        (sum, other) => sum.or(other),
    };
    sum.connections_most += other.connections_most;
    sum.connections_limit += other.connections_limit;
    sum.idle_held += other.idle_held;
    sum.made_late += other.made_late;
    sum.clipped += other.clipped;
}

/// How many missing shards an error names.
const NAMED: usize = 10;

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
