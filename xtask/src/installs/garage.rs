//! Garage, a real distributed S3 server, built from crates.io once into the cache folder.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cache;
use crate::workspace;

const VERSION: &str = "2.5.0";

pub(super) fn install() -> Result<PathBuf> {
    let name = format!("garage-{VERSION}");
    cache::install(&name, "bin/garage", |root, _| {
        eprintln!("building garage {VERSION} into the cache folder, once; about 6 to 12 minutes");
        let target = root.join("target");
        // It only has to be correct here: an optimised build takes twice as long.
        workspace::cargo()
            .args(["install", "garage", "--quiet", "--version", VERSION, "--locked"])
            .args(["--no-default-features", "--features", "bundled-libs,lmdb", "--root"])
            .args([root])
            .dir(root)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_TARGET_DIR", &target)
            .limit(Duration::from_secs(35 * 60))
            .ok()?;
        std::fs::remove_dir_all(&target)?;
        Ok(())
    })
}
