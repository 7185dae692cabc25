//! Backups, restores and what happens between them, on stores in memory that fail, lose power, or
//! are damaged on purpose.

mod crash;
mod hook;
mod incidents;
mod live;
mod newest;
mod nights;
mod power;
mod property;
mod roundtrip;
mod search;
mod world;
mod xattrs;
