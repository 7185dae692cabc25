//! `mailrig load` against servers, ours and others: that its numbers are true, and every message is accounted for.

mod apart;
mod bad_input;
mod bad_target;
mod bounds;
mod common;
mod documents;
mod faults;
mod first;
mod hlog;
mod limit;
mod page;
mod peer;
pub(crate) mod real;
mod safety;
mod shards;
mod stall;
mod stored;
mod truth;
