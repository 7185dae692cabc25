//! Exim and OpenSMTPD, from Debian's packages into the cache folder: installed, each would take Postfix away.

use std::path::PathBuf;

use anyhow::Result;

use super::debian;
use crate::cache;

pub(super) fn exim() -> Result<PathBuf> {
    let libraries = ["libgnutls-dane0", "libidn12", "libidn2-0", "libnsl2", "libpcre2-8-0"];
    server("exim", "exim4-daemon-light", "usr/sbin/exim4", &libraries)
}

pub(super) fn opensmtpd() -> Result<PathBuf> {
    server("opensmtpd", "opensmtpd", "usr/sbin/smtpd", &["libevent-2.1-7"])
}

/// Those of the libraries are named that are not on every system.
fn server(name: &str, package: &str, program: &str, libraries: &[&str]) -> Result<PathBuf> {
    debian::install(libraries)?;
    cache::install(name, program, |folder, _| {
        eprintln!("unpacking the package {package} into the cache folder");
        debian::unpack(package, folder)
    })
}
