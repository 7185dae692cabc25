//! The churn harness in short: what it finds, and that nothing of it is left however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

fn churn(dir: &Path, args: &str) -> Command {
    let mut command = Command::new(XTASK);
    command.args(["churn", "--dir"]).arg(dir).args(args.split(' ')).stdin(Stdio::null());
    command
}

#[test]
fn a_naive_walk_misses_messages() {
    let dir = tempfile::tempdir().unwrap();
    let output = churn(dir.path(), "--naive-only --messages 4000 --json").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let walk = &document["tools"][0];
    let count = |name: &str| walk[name].as_u64().unwrap();
    assert_eq!(walk["tool"], "list, then open", "{document}");
    assert!(output.status.success(), "{output:?}");
    assert!(count("judged") > 5_000, "{document}");
    assert!(count("missed") > 0 && count("missed") < count("judged"), "{document}");
    assert_eq!(count("corrupt"), 0, "{document}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_killed_harness_leaves_no_process_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = churn(dir.path(), "--naive-only --messages 4000");
    let mut harness = command.stderr(Stdio::piped()).spawn().unwrap();
    let first_line = BufReader::new(harness.stderr.take().unwrap()).lines().next();
    assert!(first_line.unwrap().unwrap().starts_with("making"));
    wait_until("the workers are there", || !children(&harness).is_empty());
    let children = children(&harness);
    let memory = format!("/dev/shm/mailrig-churn-{}", harness.id());
    harness.kill().unwrap();
    harness.wait().unwrap();
    for child in children {
        wait_until("a child has ended", || has_ended(&child));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(!Path::new(&memory).exists());
}

/// A container need not have anybody who asks for its orphans: they stay as zombies.
fn has_ended(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

fn children(parent: &Child) -> Vec<String> {
    let id = parent.id();
    let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    list.split_whitespace().map(str::to_owned).collect()
}

fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "waited a minute in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
