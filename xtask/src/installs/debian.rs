//! Debian packages. They are installed only where that is ours to do: as root, with apt-get.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Skipped;
use crate::process::{Run, find_program};

/// Package, and the name by which tests skip what needs it.
pub(super) const TOOLS: &[(&str, &str)] = &[
    ("age", "age"),
    ("chromium", "chromium"),
    ("dovecot-core", "dovecot"),
    ("dovecot-imapd", "dovecot"),
    ("dovecot-lmtpd", "dovecot"),
    ("dovecot-submissiond", "dovecot"),
    ("haproxy", "haproxy"),
    ("iproute2", "namespaces"),
    ("iputils-arping", "namespaces"),
    ("jq", "jq"),
    ("libfaketime", "faketime"),
    ("libnet-ssleay-perl", "swaks"),
    ("nftables", "namespaces"),
    ("postfix", "postfix"),
    ("restic", "restic"),
    ("swaks", "swaks"),
    ("tar", "tar"),
    ("time", "time"),
    ("zstd", "zstd"),
];

pub(super) fn install_test_packages() -> Vec<Skipped> {
    let packages: Vec<&str> = TOOLS.iter().map(|(package, _)| *package).collect();
    let Err(error) = install(&packages) else { return Vec::new() };
    let still_missing = missing(&packages);
    let mut skipped: Vec<Skipped> = Vec::new();
    for (package, tool) in TOOLS {
        if still_missing.contains(package) && !skipped.iter().any(|known| known.tool == *tool) {
            skipped.push(Skipped { tool, why: format!("{error:#}") });
        }
    }
    skipped
}

/// Installs those of the packages that are missing.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if find_program("apt-get").is_none() {
        bail!("there is no apt-get here; install by hand: {names}");
    }
    if Run::new("id").args(["-u"]).stdout()?.trim() != "0" {
        bail!("only root may install Debian packages; run `apt-get install {names}` as root");
    }
    eprintln!("installing Debian packages: {names}");
    apt_get(&["update"], 300)?;
    if missing.contains(&"postfix") {
        leave_unconfigured()?;
    }
    if add(&missing).is_ok() {
        return Ok(());
    }
    // One that cannot be had must not cost the others.
    let alone: Vec<Result<()>> = missing.iter().map(|package| add(&[package])).collect();
    let failed = alone.into_iter().find_map(Result::err);
    failed.map_or(Ok(()), |error| Err(error.context(format!("installing {names}"))))
}

/// Installs, and takes nothing away: a mail server that is here already stays.
fn add(packages: &[&str]) -> Result<()> {
    let install = ["install", "-y", "--no-install-recommends", "--no-remove"];
    apt_get(&[&install[..], packages].concat(), 900)
}

/// Without a configuration Postfix does not start with the machine: tests bring their own.
fn leave_unconfigured() -> Result<()> {
    let answer = "postfix postfix/main_mailer_type select No configuration";
    Run::new("sh").args(["-c", "echo \"$1\" | debconf-set-selections", "sh", answer]).stdout()?;
    Ok(())
}

/// Puts the files of a package below a folder, without installing it: mail servers exclude each other.
pub(super) fn unpack(package: &str, to: &Path) -> Result<()> {
    if find_program("apt-get").is_none() {
        bail!("there is no apt-get here to fetch the package {package}");
    }
    let folder = to.join("package");
    std::fs::create_dir(&folder).with_context(|| format!("creating `{}`", folder.display()))?;
    let download = || {
        let run = Run::new("apt-get").args(["-qq", "download", package]).dir(&folder);
        run.limit(Duration::from_secs(300)).stdout()
    };
    if download().is_err() {
        apt_get(&["update"], 300)?;
        download()?;
    }
    let unpack = "dpkg -x \"$1\"/*.deb \"$2\" && rm -r \"$1\"";
    Run::new("sh").args(["-c", unpack, "sh"]).args([&folder, to]).stdout()?;
    Ok(())
}

/// The packages that are not installed. Where there is no dpkg, a package counts as installed if a
/// program of its name is.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let has_dpkg = find_program("dpkg-query").is_some();
    let is_installed = |package: &str| {
        if !has_dpkg {
            let program = package.split('-').next().unwrap_or(package);
            return find_program(program).is_some()
                || Path::new("/usr/sbin").join(program).is_file();
        }
        Run::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", package])
            .stdout()
            .is_ok_and(|status| status == "installed")
    };
    packages.iter().copied().filter(|package| !is_installed(package)).collect()
}

fn apt_get(args: &[&str], limit_s: u64) -> Result<()> {
    // Only one apt-get at a time may hold dpkg's lock; another's is waited for.
    Run::new("apt-get")
        .args(["-qq", "-o", "DPkg::Lock::Timeout=120"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .limit(Duration::from_secs(limit_s))
        .stdout()?;
    Ok(())
}
