//! Installs what the real-server tests need, and keeps account of what could not be installed: a
//! test that is not run must be named, with the reason.

pub(crate) mod debian;
mod garage;
mod moto;
mod tmpfs;

use anyhow::Result;

use crate::corpus;

/// Something that tests need and that is not here.
pub(crate) struct Skipped {
    /// The name that tests look for in `MAILRIG_TEST_SKIP`.
    pub(crate) tool: &'static str,
    pub(crate) why: String,
}

/// Installs everything; what failed is returned, not raised, so that the other tests still run.
pub(crate) fn all() -> Vec<Skipped> {
    let mut skipped = debian::install_test_packages();
    let mut note = |tool, installed: Result<std::path::PathBuf>| {
        if let Err(error) = installed {
            skipped.push(Skipped { tool, why: format!("{error:#}") });
        }
    };
    note("corpus", corpus::install());
    note("moto", moto::install());
    note("garage", garage::install());
    note("tmpfs", tmpfs::try_mount());
    skipped
}

/// What a quick run leaves out: everything that needs a real server or a download.
pub(crate) fn none() -> Vec<Skipped> {
    let tools = debian::TOOLS.iter().map(|(_, tool)| *tool).chain(["corpus", "moto", "garage", "tmpfs"]);
    let mut skipped: Vec<Skipped> = Vec::new();
    for tool in tools {
        if !skipped.iter().any(|known| known.tool == tool) {
            skipped.push(Skipped { tool, why: "--quick leaves it out".to_owned() });
        }
    }
    skipped
}
