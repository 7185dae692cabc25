//! The chores from outside: each test runs the `xtask` binary as a process.

mod churn;
