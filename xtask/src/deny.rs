//! cargo-deny, built into the cache folder in about a minute and a half: which licences, crates and
//! sources are let in, as `deny.toml` says. Advisories need a database that CI may not reach.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cache;
use crate::process::Run;
use crate::workspace;

const VERSION: &str = "0.20.2";

pub(crate) fn run() -> Result<()> {
    let program = install()?.join("bin/cargo-deny");
    Run::new(program)
        .args(["--workspace", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"])
        .dir(&workspace::root())
        .ok()
}

fn install() -> Result<PathBuf> {
    cache::install(&format!("cargo-deny-{VERSION}"), "bin/cargo-deny", |root, _| {
        eprintln!("building cargo-deny {VERSION} into the cache folder, once");
        let target = root.join("target");
        workspace::cargo()
            .args(["install", "cargo-deny", "--quiet", "--version", VERSION, "--locked", "--root"])
            .args([root])
            .dir(root)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_TARGET_DIR", &target)
            .limit(Duration::from_secs(15 * 60))
            .ok()?;
        std::fs::remove_dir_all(&target)?;
        Ok(())
    })
}
