//! Installs what the real-server tests need, and keeps account of what could not be installed: a
//! test that is not run must be named, with the reason.

pub(crate) mod debian;
mod garage;
mod mail_servers;
mod namespaces;
mod python;
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
    note("moto", python::moto());
    note("hdrhistogram", python::hdrhistogram());
    note("garage", garage::install());
    note("tmpfs", tmpfs::try_mount());
    note("exim", mail_servers::exim());
    note("opensmtpd", mail_servers::opensmtpd());
    if let Err(error) = namespaces::try_networks() {
        note_all(&mut skipped, &["namespaces"], &format!("{error:#}"));
    }
    if let Err(error) = namespaces::try_them() {
        let why = format!("{error:#}");
        note_all(&mut skipped, &["postfix", "exim", "opensmtpd"], &why);
    }
    skipped
}

fn note_all(skipped: &mut Vec<Skipped>, tools: &[&'static str], why: &str) {
    for &tool in tools {
        if !skipped.iter().any(|known| known.tool == tool) {
            skipped.push(Skipped { tool, why: why.to_owned() });
        }
    }
}

/// What a quick run leaves out: everything that needs a real server or a download.
pub(crate) fn none() -> Vec<Skipped> {
    let others =
        ["corpus", "moto", "hdrhistogram", "garage", "tmpfs", "exim", "opensmtpd", "namespaces"];
    let tools: Vec<_> = debian::TOOLS.iter().map(|(_, tool)| *tool).chain(others).collect();
    let mut skipped = Vec::new();
    note_all(&mut skipped, &tools, "--quick leaves it out");
    skipped
}
