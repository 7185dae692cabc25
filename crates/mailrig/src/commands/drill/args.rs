//! Arguments of `mailrig drill`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    Runbook(RunbookArgs),
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
  mailrig drill analyze drill                                   judge it again";
