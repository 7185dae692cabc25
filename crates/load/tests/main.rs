//! What can only be shown with a server or a program of others: truth of the measures, the account of every message.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod delivered;
mod hlog;
#[path = "../../../tests/servers/mail/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod mail;
#[path = "../../../tests/servers/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
