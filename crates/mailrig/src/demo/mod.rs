//! The demo's made-up mail: a store as Dovecot keeps it, a night in its life, and an inventory that
//! tells whether a restored tree is the same to the byte. `commands/demo.rs` plays them.

pub(crate) mod content;
pub(crate) mod host;
pub(crate) mod inventory;
mod languages;
mod mailbox;
pub(crate) mod message;
pub(crate) mod night;
mod page;
pub(crate) mod report;
pub(crate) mod rng;
pub(crate) mod stage;
pub(crate) mod store;
pub(crate) mod workplace;

#[cfg(test)]
mod tests;
