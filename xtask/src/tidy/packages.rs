//! A cap on the number of packages in `Cargo.lock`: each is code to trust and seconds to compile.

use super::Finding;

/// Raise it in the commit that needs it and say what it buys; lower it when packages go.
/// 335 when it was set; the in-process S3 server of the tests brings its own,
/// and so does the validator that holds `--json` against its schemas. TLS, SASL, certificates and TOML of
/// the mail server took 25. Histograms that other tools read, and our own crates for load and its page, took 9.
/// A parser of what IMAP servers say, to see mail delivered there, took 1.
/// The schema of scenarios, made from the types that read them, took 4.
const MOST_PACKAGES: usize = 471;

pub(super) fn cap(lock: &str) -> Option<Finding> {
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    (packages > MOST_PACKAGES).then(|| {
        Finding::new("Cargo.lock", format!("{packages} packages, more than {MOST_PACKAGES}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_package_too_many_is_found() {
        assert_eq!(cap(&"[[package]]\n".repeat(MOST_PACKAGES)), None);
        assert!(cap(&"[[package]]\n".repeat(MOST_PACKAGES + 1)).is_some());
    }
}
