//! `--with`: plain folders that go along, listed, restored and counted apart from the mailboxes.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::json;

use crate::env::{Env, text};
use crate::store::set_mode;
use crate::tree::Tree;

/// A configuration with everything that a plain folder can hold; its path.
fn configuration(env: &Env) -> PathBuf {
    let tree = env.path("etc/postfix");
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::create_dir_all(tree.join("sub/cur")).unwrap();
    // In a mailbox these would be left out, or be messages.
    for name in ["main.cf", "dovecot.index.log", "x.lock", "maildirsize", "sub/cur/1.a:2,S"] {
        fs::write(tree.join(name), name).unwrap();
    }
    symlink("main.cf", tree.join("link")).unwrap();
    symlink("/nowhere", tree.join("sub/dangling")).unwrap();
    set_mode(&tree.join("main.cf"), 0o640);
    set_mode(&tree.join("empty"), 0o710);
    for (days, name) in (1..).zip(["main.cf", "empty", "sub/cur", "sub", ""]) {
        let time = UNIX_EPOCH + Duration::new(days * 86_400, 250_000_000);
        File::open(tree.join(name)).unwrap().set_modified(time).unwrap();
    }
    tree.canonicalize().unwrap()
}

fn alice(env: &Env) {
    env.store().mailbox("example.org/alice/Maildir").fill("", 3, 1);
}

#[test]
fn a_tree_is_kept_listed_and_restored_beside_the_mailboxes() {
    let env = Env::encrypted();
    alice(&env);
    let tree = configuration(&env);
    let before = Tree::read(&tree);
    let report = env.backup(&["--json", "--with", text(&tree)]).expect(0).json();
    let expected = json!({"mailboxes": 1, "trees": 1, "messages": 3});
    for (key, count) in expected.as_object().unwrap() {
        assert_eq!(&report["totals"][key], count, "{key}");
    }
    assert_eq!(report["mailboxes"]["new"], 1);
    // A second night reads nothing again.
    let report = env.backup(&["--json", "--with", text(&tree)]).expect(0).json();
    assert_eq!(
        (&report["mailboxes"]["changed"], &report["totals"]["trees"]),
        (&json!(0), &json!(1))
    );

    let list = env.run(&["ls", env.repo(), "latest", "--json"]).expect(0).json();
    assert_eq!(list["mailboxes"].as_array().unwrap().len(), 1);
    assert_eq!(list["trees"][0]["name"], text(&tree));
    assert_eq!(list["trees"][0]["files"], 7);
    let files = env.run(&["ls", env.repo(), "latest", text(&tree), "--json"]).expect(0).json();
    let rows = files["files"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["path"] == "sub/dangling" && row["target"] == "/nowhere"));
    let verified =
        env.run(&["verify", env.repo(), "--level", "content", "--json"]).expect(0).json();
    assert_eq!((&verified["mailboxes"], &verified["trees"]), (&json!(1), &json!(1)));

    let all = env.path("all");
    let restore = ["restore", env.repo(), "latest", "--to", text(&all), "--json"];
    let report = env.run(&restore).expect(0).json();
    assert_eq!((&report["messages"], &report["mailboxes"][1]), (&json!(3), &json!(null)));
    let bytes: u64 = ["main.cf", "dovecot.index.log", "x.lock", "maildirsize", "sub/cur/1.a:2,S"]
        .map(|name| name.len() as u64)
        .iter()
        .sum();
    let inside = tree.strip_prefix("/").unwrap();
    let expected = json!({"name": text(&tree), "path": text(inside), "files": 7, "bytes": bytes});
    assert_eq!(report["trees"], json!([expected]));
    before.assert_restored(&all.join(inside));
    for folder in ["", "empty", "sub", "sub/cur"] {
        let time = |root: &Path| root.join(folder).metadata().unwrap().modified().unwrap();
        assert_eq!(time(&all.join(inside)), time(&tree), "{folder}");
    }
    let to = env.path("alone");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--mailbox", text(&tree)];
    env.run(&restore).expect(0);
    before.assert_restored(&to.join(inside));
    assert!(!to.join("example.org").exists());
}

/// A store has no place for a tree, and a list of UIDs in one is a file like others.
#[test]
fn a_tree_is_passed_over_in_place_and_its_files_are_not_touched() {
    let env = Env::encrypted();
    alice(&env);
    let tree = configuration(&env);
    fs::write(tree.join("dovecot-uidlist"), "3 V1 N5 G1\n").unwrap();
    env.backup(&["--with", text(&tree)]).expect(0);
    let store = env.path("store");
    let before = Tree::read(&store);
    let restore = ["restore", env.repo(), "latest", "--in-place", text(&store), "--json"];
    let report = env.run(&restore).expect(0).json();
    let note = format!("{} is a plain tree, which is restored with --to only", text(&tree));
    assert_eq!((&report["notes"], &report["trees"]), (&json!([note]), &json!([])));
    before.assert_restored(&store);
    let named = [&restore[..5], &["--mailbox", text(&tree)]].concat();
    let error =
        format!("{} is a plain tree, which no store has: restore it with --to", text(&tree));
    env.run(&named).expect_error(1, &error, "");
    env.restore("latest", "to").expect(0);
    let to = env.path("to").join(tree.strip_prefix("/").unwrap());
    Tree::read(&tree).assert_restored(&to);
}

#[test]
fn a_tree_that_is_left_out_or_unreadable_is_told() {
    let env = Env::encrypted();
    alice(&env);
    let tree = configuration(&env);
    rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let report = env.backup(&["--json", "--with", text(&tree)]).expect(0).json();
    let fifo = tree.join("fifo").display().to_string();
    let notice = format!("1 socket, FIFO or device is not kept: {fifo}");
    assert_eq!(report["notices"], json!([notice]));
    // Who looks at one mailbox says nothing of the rest.
    let report = env.backup(&["--json", "--mailbox", "alice*"]).expect(0).json();
    assert_eq!((&report["totals"]["trees"], &report["notices"]), (&json!(1), &json!([])));
    let gone = env.path("etc/gone");
    let report = env.backup(&["--json", "--with", text(&gone)]).expect(3).json();
    assert_eq!(report["totals"]["trees"], 0);
    assert_eq!(report["ledger"]["unreadable"], 1);
    let notice = format!("{} is not in the snapshots any more: no --with names it", text(&tree));
    assert_eq!(report["notices"], json!([notice]));

    set_mode(&tree.join("main.cf"), 0);
    fs::remove_file(tree.join("fifo")).unwrap();
    let store = env.path("store");
    let backup = ["backup", env.repo(), text(&store), "--json", "--with", text(&tree)];
    let report = env.start_unprivileged(&backup).wait().expect(3).json();
    assert_eq!(report["incidents"][0]["path"], text(&tree.join("main.cf")));
}

#[test]
fn a_tree_that_overlaps_with_what_it_must_not_is_refused() {
    let env = Env::encrypted();
    alice(&env);
    let tree = configuration(&env);
    let folder = tree.parent().unwrap().parent().unwrap();
    let store = folder.join("store");
    let (postfix, store_path) = (tree.display(), store.display());
    let refuse = |given: &PathBuf, reason: String| {
        let with = ["--with", text(&tree), "--with", text(given)];
        let sentence = format!("--with {}: {reason}", given.display());
        env.backup(&with).expect_error(2, &sentence, "");
    };
    refuse(
        &store.join("example.org"),
        format!("lies in the store {store_path}: --with is for other folders"),
    );
    refuse(
        &folder.to_owned(),
        format!("holds the store, {store_path}: name the folders beside it"),
    );
    let repository = folder.join("repo");
    let reason =
        format!("holds the repository, {}: name the folders beside it", repository.display());
    refuse(&repository, reason);
    refuse(&tree.join("main.cf"), "is no folder: name the one that it lies in".into());
    refuse(&tree.join("sub"), format!("overlaps with {postfix}: name the outer one only"));
}
