//! A mailbox whose state was torn starts a new chain, whose pack numbers begin again: every
//! snapshot, before and after, must verify and restore.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn snapshots_before_and_after_a_lost_mailbox_state_verify() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    for subdir in ["new", "cur", "tmp"] {
        fs::create_dir_all(place.join("store/alice/Maildir").join(subdir)).unwrap();
    }
    let message = |name: &str, content: &str| {
        fs::write(place.join("store/alice/Maildir/cur").join(name), content).unwrap();
    };
    message("1.first:2,S", "one of two");
    message("2.second:2,S", "the other");
    run(place, &["init", "repo", "--encryption", "none"]);
    run(place, &["backup", "repo", "store"]);
    let states = files_below(&place.join("state"), "mailboxes");
    assert_eq!(states.len(), 1, "{states:?}");
    fs::write(&states[0], "torn").unwrap();
    fs::remove_file(place.join("store/alice/Maildir/cur/1.first:2,S")).unwrap();
    message("2.second:2,S", "has other bytes now");
    run(place, &["backup", "repo", "store"]);
    run(place, &["verify", "repo", "--level", "content"]);
}

fn run(place: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_mailrig"))
        .args(args)
        .current_dir(place)
        .env_remove("MAILRIG_REPO")
        .env("MAILRIG_STATE", place.join("state"))
        .output()
        .unwrap();
    assert!(output.status.success(), "mailrig {args:?}: {output:?}");
    output
}

/// All files below `root` whose folder is called `parent`.
fn files_below(root: &Path, parent: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_below(&path, parent));
        } else if root.ends_with(parent) {
            found.push(path);
        }
    }
    found
}
