//! A drill whose lab has a network or disks of its own lives among them from its first moment: before anything else it
//! becomes `unshare`, and that becomes it again. What it makes there is seen by nobody else, and is gone with it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};
use drill::scenario::Lab;

use crate::exit::UsageError;

/// Returns where the lab may be made.
pub(super) fn be_apart(lab: &Lab) -> Result<()> {
    let pid = std::process::id().to_string();
    // It keeps its number; a drill that a step starts has another one.
    if !lab.is_apart() || std::env::var(APART).is_ok_and(|of| of == pid) {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        let why = "its lab has a network or disks of its own (`network`, `nodes`, `disks`), which only root can make";
        return Err(
            UsageError(format!("{why}; run it as root, or take a scenario without them")).into()
        );
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new("unshare");
    command.args(lab.network.as_ref().map(|_| "--net"));
    if !lab.disks.is_empty() {
        command.args(["--mount", "--propagation", "private"]);
    }
    command.arg("--").arg(program).args(std::env::args_os().skip(1)).env(APART, pid);
    // It returns only if it could not be done.
    Err(command.exec()).context("cannot run unshare(1), which makes a network and disks apart")
}

const APART: &str = "MAILRIG_DRILL_APART";
