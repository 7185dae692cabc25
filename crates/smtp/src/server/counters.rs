//! What has happened so far, for people who ask while the server serves.

use std::sync::atomic::{AtomicU64, Ordering};

use super::dialogue::Answer;
use super::relay::Attempt;

#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    turned_away: AtomicU64,
    transactions: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    in_doubt: AtomicU64,
    bytes: AtomicU64,
    relayed: AtomicU64,
    deferred: AtomicU64,
    bounced: AtomicU64,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Connections, with those that were turned away.
    pub connections: u64,
    /// Connections beyond a limit.
    pub turned_away: u64,
    /// MAIL commands.
    pub transactions: u64,
    /// Messages, by recipient in LMTP, that were kept; the client may not have heard of it.
    pub accepted: u64,
    /// Messages that were refused at their end.
    pub refused: u64,
    /// Messages that were left without an answer because some of their recipients have them.
    pub in_doubt: u64,
    /// Bytes of the messages that were accepted.
    pub bytes: u64,
    /// Recipients that the next server took a message for.
    pub relayed: u64,
    /// Attempts that ended with another to come, by recipient.
    pub deferred: u64,
    /// Recipients that the next server will not have; their sender was told, or the message is among the dead.
    pub bounced: u64,
}

impl Counters {
    pub(super) fn connection(&self) {
        add(&self.connections, 1);
    }

    pub(super) fn turned_away(&self) {
        add(&self.turned_away, 1);
    }

    /// The number of the transaction that begins.
    pub(super) fn transaction(&self) -> u64 {
        self.transactions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What became of a message.
    pub(super) fn message(&self, answers: &[Answer], bytes: u64) {
        let accepted = answers.iter().filter(|answer| answer.is_positive()).count();
        add(&self.accepted, accepted);
        add(&self.refused, answers.len() - accepted);
        self.bytes.fetch_add(bytes * accepted as u64, Ordering::Relaxed);
    }

    /// A message that some have, and nobody was told.
    pub(super) fn in_doubt(&self) {
        add(&self.in_doubt, 1);
    }

    pub(super) fn attempt(&self, attempt: &Attempt) {
        add(&self.relayed, attempt.delivered.len());
        add(&self.deferred, attempt.deferred.len());
        add(&self.bounced, attempt.failed.len());
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: of(&self.connections),
            turned_away: of(&self.turned_away),
            transactions: of(&self.transactions),
            accepted: of(&self.accepted),
            refused: of(&self.refused),
            in_doubt: of(&self.in_doubt),
            bytes: of(&self.bytes),
            relayed: of(&self.relayed),
            deferred: of(&self.deferred),
            bounced: of(&self.bounced),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
