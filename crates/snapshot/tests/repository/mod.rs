//! Backups, restores and what happens between them, on stores in memory that fail, lose power, or
//! are damaged on purpose.

mod copies;
mod counts;
mod crash;
mod dice;
mod hook;
mod incidents;
mod links;
mod live;
mod locked;
mod newest;
mod nights;
mod power;
mod property;
mod roundtrip;
mod salvage;
mod search;
mod swapped;
mod world;
mod xattrs;
