//! What became of a run's messages after they were accepted, in numbers, with a few messages of each kind by index
//! for whoever wants to look them up.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Counts of copies: a message that was accepted for three recipients is expected three times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Copies that were accepted.
    pub expected: u64,
    /// Of those, copies that were seen, whole or not.
    pub delivered: u64,
    /// Of those, copies that were not seen until the watch ended: `expected` less `delivered`.
    pub lost: u64,
    /// Copies of accepted messages beyond those expected.
    pub doubled: u64,
    /// Copies, of whatever message, with another body than was sent.
    pub corrupted: u64,
    /// Copies of messages that were refused.
    pub unexpected: u64,
    /// Copies whose acceptance is unknown: each may be seen or not.
    pub unknown: u64,
    /// Of those, copies that were seen.
    pub unknown_delivered: u64,
    /// Copies of messages of this run whose outcome nobody told.
    pub untold: u64,
    /// Messages of another run.
    pub foreign: u64,
    /// Messages of no run, as reports that others could not be delivered.
    pub other: u64,
    /// Messages that could not be read: gone at once, too large, or not ours to read.
    pub unreadable: u64,
    /// Some messages of each kind.
    pub samples: Samples,
}

/// Messages by index, a few of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// See [`Delivery::lost`].
    pub lost: Sample,
    /// See [`Delivery::doubled`].
    pub doubled: Sample,
    /// See [`Delivery::corrupted`].
    pub corrupted: Sample,
    /// See [`Delivery::unexpected`].
    pub unexpected: Sample,
    /// See [`Delivery::untold`].
    pub untold: Sample,
}

/// The lowest of the indices that were put into it; which ones does not depend on their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample(BTreeSet<u64>);

impl Sample {
    /// Keeps it if it is among the lowest.
    pub fn put(&mut self, index: u64) {
        self.0.insert(index);
        if self.0.len() > SAMPLE_MAX {
            self.0.pop_last();
        }
    }

    /// From the lowest to the highest.
    pub fn indices(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }
}

impl Delivery {
    /// Adds what another part of the run found.
    pub fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.expected, other.expected),
            (&mut self.delivered, other.delivered),
            (&mut self.lost, other.lost),
            (&mut self.doubled, other.doubled),
            (&mut self.corrupted, other.corrupted),
            (&mut self.unexpected, other.unexpected),
            (&mut self.unknown, other.unknown),
            (&mut self.unknown_delivered, other.unknown_delivered),
            (&mut self.untold, other.untold),
            (&mut self.foreign, other.foreign),
            (&mut self.other, other.other),
            (&mut self.unreadable, other.unreadable),
        ];
        for (count, more) in counts {
            *count = count.saturating_add(more);
        }
        let (to, from) = (&mut self.samples, &other.samples);
        for (to, from) in [
            (&mut to.lost, &from.lost),
            (&mut to.doubled, &from.doubled),
            (&mut to.corrupted, &from.corrupted),
            (&mut to.unexpected, &from.unexpected),
            (&mut to.untold, &from.untold),
        ] {
            from.indices().for_each(|index| to.put(index));
        }
    }
}

const SAMPLE_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_samples_are_the_lowest_whatever_came_first() {
        let part = |lost: std::ops::Range<u64>| {
            let mut part = Delivery { expected: 100, foreign: 1, ..Delivery::default() };
            part.lost = lost.end - lost.start;
            lost.rev().for_each(|index| part.samples.lost.put(index));
            part
        };
        let (low, high) = (part(0..15), part(15..45));
        let (mut one, mut other) = (low.clone(), high.clone());
        one.add(&high);
        other.add(&low);
        assert_eq!(one, other);
        assert_eq!((one.expected, one.lost, one.foreign), (200, 45, 2));
        assert!(one.samples.lost.indices().eq(0..20));
    }

    #[test]
    fn samples_are_lists_in_json() {
        let mut delivery = Delivery::default();
        delivery.samples.doubled.put(7);
        let json = serde_json::to_value(&delivery).unwrap();
        assert_eq!(json["samples"]["doubled"], serde_json::json!([7]));
        assert_eq!(serde_json::from_value::<Delivery>(json).unwrap(), delivery);
    }
}
