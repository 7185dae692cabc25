//! One file a command: its arguments, whose comments are the help, and what it does with them.

pub(crate) mod backup;
pub(crate) mod control;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod drill;
pub(crate) mod find;
pub(crate) mod init;
mod ledger;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod snapshots;
pub(crate) mod verify;

use std::thread;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::ui::Ui;

/// Runs the command.
pub(crate) fn run(cli: Cli, ui: &Ui) -> Result<Exit> {
    match cli.command {
        Command::Init(args) => init::run(&args, ui),
        Command::Backup(args) => backup::run(args, ui),
        Command::Snapshots(args) => snapshots::run(&args, ui),
        Command::Ls(args) => ls::run(&args, ui),
        Command::Find(args) => find::run(&args, ui),
        Command::Diff(args) => diff::run(&args, ui),
        Command::Restore(args) => restore::run(args, ui),
        Command::Verify(args) => verify::run(&args, ui),
        Command::Demo(args) => demo::run(&args, ui),
        Command::Serve(args) => serve::run(&args, ui),
        Command::Control(args) => control::run(&args, ui),
        Command::Load(args) => load::run(*args, ui),
        Command::Drill(args) => drill::run(&args, ui),
    }
}

/// Threads for work that is bound to processors.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(2, |n| n.get().min(16))
}
