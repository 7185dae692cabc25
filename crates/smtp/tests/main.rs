//! Client and server on the wire: against peers that follow a script, against each other, and against mail
//! servers and programs that others wrote.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod commands;
mod controlled;
mod kept;
#[path = "../../../tests/servers/mail/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod mail;
mod peer;
#[path = "../../../tests/servers/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
mod real;
mod relayed;
mod replies;
mod scripted;
mod secured;
mod served;
mod tapped;
mod told;
mod world;
