//! The `mailrig` binary: arguments in, exit code out. The only crate that reads arguments and the
//! environment, or prints.

mod cli;
mod commands;
mod demo;
mod exit;
mod interrupt;
mod repository;
mod time;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.global.verbose);
    let ui = Ui::new(&cli.global);
    let exit = commands::run(cli, &ui).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        ui.error(&error, exit);
        exit
    });
    exit.into()
}

/// `MAILRIG_LOG=debug` or `-v` shows what the libraries log, on stderr.
fn start_log(verbose: bool) {
    let default = if verbose { "info,aws=warn" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAILRIG_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
