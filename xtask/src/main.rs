//! The project's chores, one subcommand each: `cargo xtask NAME`. This file is the table of contents.

mod bench;
mod cache;
mod churn;
mod ci;
mod clock;
mod corpus;
mod deny;
mod fuzz;
mod installs;
mod options;
mod process;
mod random;
mod test;
mod tidy;
mod workspace;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                        everything CI checks, in its order
  test [--quick] [-- ARGS]  install what the real-server tests need, then run every test;
                            --quick installs nothing and skips the real-server tests;
                            ARGS go to the test runner
  tidy                      the project's own rules: heads, edges, sizes, leftovers
  corpus                    fetch the real messages that tests and benchmarks use
  bench backup              measure mailrig beside restic and tar; options:
      [--messages N] [--rounds N] [--only mailrig,restic,tar] [--dir DIR] [--seed N] [--keep]
  bench find                measure finding and printing messages; options:
      [--messages N] [--nights N] [--rounds N] [--dir DIR] [--seed N] [--keep]
  bench wire                measure the SMTP client and the sink beside Postfix's; options:
      [--messages N] [--rounds N]
  bench load                measure load beside smtp-source, its lateness, memory and idle connections; options:
      [--messages N] [--rounds N] [--idle N] [--memory] [--memory-messages N]
  bench drill               measure a drill at 1,000 messages a second, its marks and its judge; options:
      [--rounds N] [--marks N] [--messages N]
                            MAILRIG_BENCH_PROGRAM names another program than the release build
  churn                     back up mailboxes while processes change them; miss nothing; options:
      [--minutes M] [--seed S] [--messages N] [--workers N] [--mailboxes N] [--storms PERCENT]
      [--dir DIR] [--peers | --naive-only] [--program MAILRIG] [--json] [--write]
  fuzz TARGET [--seconds N] feed a parser what libFuzzer invents: uidlist, base-name, catalog, manifest,
                             reply, command, unstuff, mail-log, histogram-log, profile, scenario,
                             drill-journal, queue-file, proxy-dialogue
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some(result) = churn::helper(&args) {
        return report(result);
    }
    let result = match args.as_slice() {
        ["ci"] => ci::run(),
        ["test", options @ ..] => options::split_passed_on(options)
            .and_then(|(options, passed_on)| test::run(&test::parse(options)?, passed_on)),
        ["tidy"] => tidy::run(),
        ["corpus"] => corpus::run(),
        ["churn", options @ ..] => churn::parse(options).and_then(|plan| churn::run(&plan)),
        ["fuzz", options @ ..] => fuzz::parse(options).and_then(|plan| fuzz::run(&plan)),
        ["bench", "backup", options @ ..] => bench::parse(options).and_then(|o| bench::run(&o)),
        ["bench", "find", options @ ..] => {
            bench::find::parse(options).and_then(|o| bench::find::run(&o))
        }
        ["bench", "wire", options @ ..] => {
            bench::wire::parse(options).and_then(|o| bench::wire::run(&o))
        }
        ["bench", "load", options @ ..] => {
            bench::load::parse(options).and_then(|o| bench::load::run(&o))
        }
        ["bench", "drill", options @ ..] => {
            bench::drill::parse(options).and_then(|o| bench::drill::run(&o))
        }
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    report(result)
}

/// A failure that needs no more words: what was wrong has been printed.
#[derive(Debug)]
struct AlreadyTold;

impl fmt::Display for AlreadyTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed as told above")
    }
}

impl std::error::Error for AlreadyTold {}

fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<AlreadyTold>() {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
