//! End-to-end tests of the binary: each runs `mailrig` as a process, as an administrator would, and
//! looks at exit code, output and files. Nothing outside a test's own folder is touched.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod lost_state;
mod recover;
