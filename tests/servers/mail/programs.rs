//! Programs that run to their end while a server of ours serves them.

use std::process::Command;

/// How a program ended.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    /// What it said, on stdout and on stderr.
    pub(crate) said: String,
}

/// Runs a program for two minutes at most.
pub(crate) async fn run(words: &[&str]) -> Ran {
    let mut command = Command::new("timeout");
    command.arg("120").args(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() }
}

/// Runs it, and insists on success.
pub(crate) async fn must(words: &[&str]) {
    let ran = run(words).await;
    assert_eq!(ran.code, Some(0), "{words:?}\n{}", ran.said);
}

/// Insists on a program of Debian's.
pub(crate) fn installed(part: &str, path: &str) {
    assert!(
        std::path::Path::new(path).exists(),
        "{path} is missing: run `cargo xtask test`, which installs it, \
         or leave it out with MAILRIG_TEST_SKIP={part}"
    );
}
