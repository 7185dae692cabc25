//! Arguments of `mailrig drill`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::restore::RestoreArgs;

/// Fail over on purpose, and account for every message
///
/// A scenario says which servers take part, what happens to them, and what is asked of them; mail is sent
/// all the while. The verdict is about messages: each that was answered with 250 must be found, once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    pub(crate) command: DrillCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    Plan(ScenarioArgs),
    Rehearse(RehearseArgs),
    Run(RunArgs),
    Analyze(ResultArgs),
    Recover(RecoverArgs),
    Restore(Box<RestoreArgs>),
    Runbook(RunbookArgs),
    /// Print the JSON schema of scenarios, for editors
    Schema,
    #[command(hide = true)]
    Watch(WatchArgs),
    #[command(hide = true)]
    Hold(HoldArgs),
}

/// Show what a scenario would do, and do none of it
#[derive(Debug, Args)]
pub(crate) struct ScenarioArgs {
    /// The scenario, a TOML file
    #[arg(value_name = "SCENARIO.toml")]
    pub(crate) scenario: PathBuf,
    /// A value for a variable of the scenario; several times for several
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// Run a scenario, and judge it
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
    /// Allow it to touch the hosts that it names: the scenario's name, typed once more
    #[arg(long, value_name = "NAME")]
    pub(crate) yes_affect: Option<String>,
    /// Undo everything after so long, whatever has become of this process; a process of its own sees to that
    #[arg(long, value_name = "DURATION", value_parser = length)]
    pub(crate) dead_man: Option<Duration>,
    /// Folder for the journal and all else, which must not be there yet [default: drill-NAME-TIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Ask what a run would ask first, and change nothing
#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
}

/// Print a scenario as instructions for people, in Markdown
#[derive(Debug, Args)]
pub(crate) struct RunbookArgs {
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
}

/// Watch a run from beside it, and undo it when it is gone or over its time
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The folder of the run
    pub(crate) dir: PathBuf,
    /// Its process
    #[arg(long)]
    pub(crate) pid: i32,
    /// How long it may be there
    #[arg(long, value_parser = length)]
    pub(crate) after: Duration,
}

/// Stand above a server of a lab, so that all that it starts is found
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// The server and its arguments
    #[arg(last = true, required = true)]
    pub(crate) argv: Vec<String>,
}

/// Undo what a run left that was killed; nothing is done twice
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The folder of the run
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Judge a run again, from its journal alone
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// The folder of the run
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Write its result, reports and manifest again, too, as after a kill
    #[arg(long)]
    pub(crate) reports: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    load::plan::parse_duration(text).map_err(|e| e.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

const EXAMPLES: &str = "\
Examples:
  mailrig drill plan scenarios/primary-killed.toml              what it would do
  mailrig drill run scenarios/primary-killed.toml --out drill   do it
  mailrig drill runbook scenarios/primary-killed.toml           the same for people
  mailrig drill recover drill                                   undo what a killed run left
  mailrig drill analyze drill                                   judge it again
  mailrig drill restore /srv/backup --rto 4h --rpo 24h          would last night's snapshot do?
  mailrig drill schema > scenario.schema.json                   for editors";
