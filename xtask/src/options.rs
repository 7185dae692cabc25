//! The few command-line options that chores take: flags, `--name VALUE`, and `--` before what is
//! passed on to another program.

use std::str::FromStr;

use anyhow::{Result, bail};

/// Splits at the first `--`.
pub(crate) fn split_passed_on<'a>(args: &'a [&'a str]) -> Result<(&'a [&'a str], &'a [&'a str])> {
    Ok(match args.iter().position(|arg| *arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[]),
    })
}

/// The options of one chore, read one after the other.
pub(crate) struct Options<'a> {
    rest: &'a [&'a str],
}

impl<'a> Options<'a> {
    pub(crate) fn new(args: &'a [&'a str]) -> Options<'a> {
        Options { rest: args }
    }

    /// The next option's name.
    pub(crate) fn next_name(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The value after an option.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Result<T> {
        let Some(text) = self.next_name() else { bail!("{name} needs a value") };
        text.parse().or_else(|_| bail!("{name} does not take `{text}`"))
    }
}

/// The error for an option that a chore does not know.
pub(crate) fn unknown(name: &str) -> anyhow::Error {
    anyhow::anyhow!("unknown option `{name}`; `cargo xtask help` lists what there is")
}
