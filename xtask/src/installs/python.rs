//! Packages from PyPI, each with a virtual environment of its own in the cache folder: moto, an S3 server, and
//! hdrhistogram, which reads our logs of histograms.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::cache;
use crate::process::{Run, find_program};

pub(super) fn moto() -> Result<PathBuf> {
    install("moto-5.2.5", "moto[server]==5.2.5", "bin/moto_server")
}

pub(super) fn hdrhistogram() -> Result<PathBuf> {
    install("hdrhistogram-0.10.8", "hdrhistogram==0.10.8", "bin/python")
}

fn install(name: &str, requirement: &str, proof: &str) -> Result<PathBuf> {
    cache::install(name, proof, |venv, place| {
        eprintln!("installing {name} into the cache folder");
        create_venv(venv)?;
        Run::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement])
            .limit(Duration::from_secs(600))
            .stdout()?;
        name_final_place(&venv.join("bin"), venv, place)
    })
}

fn create_venv(venv: &Path) -> Result<()> {
    let create =
        || Run::new("python3").args(["-m", "venv", "--clear"]).args([venv]).stdout().map(drop);
    if find_program("python3").is_some() && create().is_ok() {
        return Ok(());
    }
    debian::install(&["python3", "python3-venv"])?;
    if let Err(error) = create() {
        // A python3 that is not Debian's may come first in PATH.
        let debians = Run::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).args([venv]);
        if debians.stdout().is_err() {
            bail!("python3 cannot make a virtual environment: {error:#}");
        }
    }
    Ok(())
}

/// pip writes the environment's absolute path into the first line of every script, and the
/// environment is about to be renamed.
fn name_final_place(bin: &Path, from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    for entry in fs::read_dir(bin)? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        let Ok(script) = fs::read_to_string(&path) else { continue };
        if script.contains(&from) {
            // Written in place, so that the file stays executable.
            fs::write(&path, script.replace(&from, &to))
                .with_context(|| format!("writing `{}`", path.display()))?;
        }
    }
    Ok(())
}
