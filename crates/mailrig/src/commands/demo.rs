//! `demo`: placeholder while the thin path grows.

use anyhow::Result;

use crate::exit::Exit;
use crate::ui::Ui;

/// See all of it on made-up mail
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {}

pub(crate) fn run(_args: &DemoArgs, _ui: &Ui) -> Result<Exit> {
    anyhow::bail!("not there yet")
}
