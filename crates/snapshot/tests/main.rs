//! Tests of the repository through its public face, in one binary.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod conformance;
mod repository;
mod s3;
#[path = "../../../tests/servers/s3s.rs"]
mod s3s_server;
#[path = "../../../tests/servers/mod.rs"]
mod servers;
