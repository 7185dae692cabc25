//! The account of accepted messages, and what their delivery took since the last interval: one lock for those who send
//! and those who see them arrive.

use std::time::{Duration, Instant};

use super::Side;
use crate::deliver::{Account, Delivery, Judged, Seen, What};
use crate::measure::Kind;

/// What was accepted, and what was seen of it.
#[derive(Debug, Default)]
pub struct Deliveries {
    account: Account,
    side: Side,
}

impl Deliveries {
    /// Something was seen where mail arrives.
    pub fn take_seen(&mut self, seen: &Seen) {
        if matches!(seen.what, What::Message(Judged::Ours { .. })) {
            self.side.counts.delivered += 1;
        }
        if let Some(took) = self.account.take(seen) {
            self.side.measures.record(Kind::Delivery, took);
        }
    }

    pub(super) fn accepted(&mut self, index: u64, copies: u32, at: Instant) {
        for _ in 0..self.account.accepted(index, copies, at) {
            // A server may deliver before it says so.
            self.side.measures.record(Kind::Delivery, Duration::ZERO);
        }
    }

    pub(super) fn unknown(&mut self, index: u64, copies: u32, at: Instant) {
        self.account.unknown(index, copies, at);
    }

    pub(super) fn refused(&mut self, index: u64) {
        self.account.refused(index);
    }

    /// Accepted copies that were not seen yet.
    pub(super) fn missing(&self) -> u64 {
        self.account.missing()
    }

    /// What was seen since the last call.
    pub(super) fn take(&mut self) -> Side {
        std::mem::take(&mut self.side)
    }

    /// The account, when nothing more is expected.
    pub fn finish(self) -> Delivery {
        self.account.finish()
    }
}
