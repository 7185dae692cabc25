//! Namespaces, in which tests start mail servers with users and folders of their own, and machines with a network of
//! their own. Only root has them.

use anyhow::{Context, Result};

use crate::process::Run;

/// Makes a network with two ends in it.
pub(super) fn try_networks() -> Result<()> {
    Run::new("unshare")
        .args([
            "--mount", "--net", "ip", "link", "add", "one", "type", "veth", "peer", "name", "two",
        ])
        .stdout()
        .context("starting machines with a network of their own takes root's rights")?;
    Ok(())
}

/// Makes some, and changes a file in them.
pub(super) fn try_them() -> Result<()> {
    Run::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["mount", "--bind", "/etc/passwd", "/etc/group"])
        .stdout()
        .context("starting a mail server apart from the system takes root's rights")?;
    Ok(())
}
