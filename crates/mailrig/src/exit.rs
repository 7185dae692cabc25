//! Exit codes, the same for every command: scripts and timers rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The arguments do not make sense; clap uses the same number.
    Usage = 2,
    /// Finished, but something that may be mail is missing: the ledger names it.
    Incomplete = 3,
    /// Finished, and the verdict is negative: damage was found.
    Negative = 4,
    /// Something could not be undone: the system is not as it was found.
    NotUndone = 5,
    /// Finished, and there is no verdict: what was to be judged was not seen.
    Inconclusive = 6,
    /// Interrupted by the user; running again goes on.
    Interrupted = 130,
}

impl Exit {
    /// The code for an error that ended a command.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<UsageError>().is_some() {
            return Self::Usage;
        }
        if error.downcast_ref::<NotUndone>().is_some() {
            return Self::NotUndone;
        }
        if error.downcast_ref::<Interrupted>().is_some() {
            return Self::Interrupted;
        }
        match error.downcast_ref::<snapshot::Error>() {
            Some(snapshot::Error::Cancelled) => Self::Interrupted,
            Some(snapshot::Error::SharedPlace { .. }) => Self::Usage,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The user stopped it before there was a result.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted before anything was done")
    }
}

impl std::error::Error for Interrupted {}

/// Arguments that parse one by one and make no sense together.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// What could not be undone, where no report may be there that says it.
#[derive(Debug)]
pub(crate) struct NotUndone(pub(crate) String);

impl std::fmt::Display for NotUndone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotUndone {}
