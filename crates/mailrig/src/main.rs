//! The `mailrig` binary: arguments in, exit code out. The only crate that reads arguments and the
//! environment, or prints.

mod cli;
mod commands;
mod demo;
mod doveconf;
mod exit;
mod interrupt;
mod kept;
mod repository;
mod time;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    start_log(cli.global.verbose);
    let ui = Ui::new(&cli.global);
    let exit = commands::run(cli, &ui).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        ui.error(&error, exit);
        exit
    });
    exit.into()
}

/// Help, or what is wrong with the arguments: with --json among them as a document.
fn refuse(error: &clap::Error) -> ! {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let sentence = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        ui::say_failure(Exit::Usage, sentence.to_owned(), None);
        std::process::exit(Exit::Usage as i32);
    }
    error.exit()
}

/// `MAILRIG_LOG=debug` or `-v` shows what the libraries log, on stderr.
fn start_log(verbose: bool) {
    let default = if verbose { "info,aws=warn" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAILRIG_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Which would panic where stderr is closed.
        .log_internal_errors(false)
        .init();
}
