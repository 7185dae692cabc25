//! The account of a run: what a backup tells, `snapshots --show` tells again, by name to those who
//! have the identity; and the alarm for mailboxes that lost much mail.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::env::{Env, text};
use crate::nights::furnish;

const ALICE: &str = "example.org/alice/Maildir";

/// Kinds and paths of a document's incidents.
fn incidents(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let incidents = document["incidents"].as_array().unwrap().iter();
    incidents.map(|entry| (text(&entry["incident"]), text(&entry["path"]))).collect()
}

#[test]
fn the_ledger_of_a_run_is_kept_by_name_and_sealed() {
    for env in [Env::encrypted(), Env::plain()] {
        furnish(&env);
        env.backup(&[]).expect(0);
        let link = env.path("store").join(ALICE).join("cur/1.läuft.host:2,");
        symlink("/etc/passwd", &link).unwrap();
        symlink(env.path("home"), env.path("store/example.org/bob/Maildir/cur/2.b:2,")).unwrap();
        fs::create_dir_all(env.path("elsewhere/dave/cur")).unwrap();
        symlink(env.path("elsewhere/dave"), env.path("store/example.org/dave")).unwrap();
        let told = env.backup(&["--json"]).expect(3).json();
        assert_eq!(incidents(&told).len(), 3);
        let show = ["snapshots", env.repo(), "--show", "latest", "--json"];
        let kept = env.run(&show).expect(0).json();
        let sorted = |document| {
            let mut incidents = incidents(document);
            incidents.sort();
            incidents
        };
        assert_eq!(sorted(&kept), sorted(&told));
        assert_eq!(kept["ledger"], told["ledger"]);
        let shown = env.run(&show[..4]).expect(0).stdout;
        assert!(shown.contains("1.läuft.host:2,: may be mail, and is not followed"), "{shown}");
        // The snapshot before has none of them, and a second run tells its own again.
        let first = env.keys("snapshots/").remove(0);
        let first = first.trim_start_matches("snapshots/").trim_end_matches(".json.zst");
        let before = env.run(&["snapshots", env.repo(), "--show", first, "--json"]);
        assert_eq!(incidents(&before.expect(0).json()), []);
    }
}

#[test]
fn without_an_identity_there_are_counts_and_no_names() {
    let env = Env::encrypted();
    furnish(&env);
    symlink("/etc/passwd", env.path("store").join(ALICE).join("cur/1.x:2,")).unwrap();
    env.backup(&[]).expect(3);
    fs::remove_file(env.identity()).unwrap();
    let env = env.without_variable("MAILRIG_IDENTITY");
    let shown = env.run(&["snapshots", env.repo(), "--show", "latest"]).expect(0).stdout;
    assert!(shown.contains("give --identity") && !shown.contains("1.x"), "{shown}");
    let shown = env.run(&["snapshots", env.repo(), "--show", "latest", "--json"]).expect(0).json();
    assert_eq!((&shown["incidents"], &shown["ledger"]["not_followed"]), (&json!(null), &json!(1)));
}

#[test]
fn a_night_that_takes_much_of_a_mailbox_sounds_the_alarm() {
    let env = Env::encrypted();
    let store = env.store();
    store.mailbox(ALICE).fill("", 10, 1);
    store.mailbox("example.org/bob/Maildir").fill("", 10, 2);
    env.backup(&[]).expect(0);
    // Bob files all his mail; nothing is lost.
    let bob = env.path("store/example.org/bob/Maildir");
    fs::create_dir_all(bob.join(".Filed/new")).unwrap();
    fs::rename(bob.join("cur"), bob.join(".Filed/cur")).unwrap();
    fs::create_dir(bob.join("cur")).unwrap();
    env.backup(&[]).expect(0);
    let cur = env.path("store").join(ALICE).join("cur");
    let mut names: Vec<_> = fs::read_dir(&cur).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names[1..].iter().for_each(|name| fs::remove_file(name).unwrap());
    let report = env.backup(&["--json"]).expect(3).json();
    let alarm = json!([{"mailbox": ALICE, "before": 10, "expunged": 4, "percent": 40.0}]);
    assert_eq!((&report["expunge_alarms"], &report["is_incomplete"]), (&alarm, &json!(false)));
    let list = env.run(&["snapshots", env.repo()]).expect(0).stdout;
    assert_eq!(list.matches("alarm").count(), 1, "{list}");
    // It is told once: the next night is a normal one.
    env.backup(&[]).expect(0);
    fs::remove_dir_all(env.path("store").join(ALICE).join("new")).unwrap();
    env.backup(&["--alarm-expunged", "100"]).expect(0);
    fs::remove_dir_all(env.path("store/example.org/bob")).unwrap();
    env.backup(&["--dry-run"]).expect(3);
    env.backup(&["--alarm-min-messages", "11"]).expect(0);
}

#[test]
fn the_last_sentence_names_all_that_is_wrong() {
    let env = Env::encrypted();
    env.store().mailbox(ALICE).fill("", 10, 1);
    let bob = env.store().mailbox("example.org/bob/Maildir");
    bob.fill("", 2, 2);
    let output = env.backup(&[]).expect(0);
    assert!(!output.stdout.contains("problem") && !output.stdout.contains(';'), "{output}");
    symlink("/etc/passwd", bob.path("cur/1.link:2,S")).unwrap();
    fs::remove_dir_all(env.path("store/example.org/alice")).unwrap();
    for (more, verb) in [(&["--dry-run"][..], "would be"), (&[], "is")] {
        let output = env.backup(more).expect(3);
        let lines: Vec<_> = output.stdout.lines().collect();
        let problems = lines.iter().filter(|line| line.starts_with("problem    ")).count();
        assert_eq!(problems, 2, "{output}");
        let ending =
            format!("; the snapshot {verb} incomplete and 1 mailbox lost much mail, see above.");
        assert!(lines.last().unwrap().ends_with(&ending), "{output}");
    }
}

#[test]
fn a_quiet_night_speaks_up_on_stderr_when_something_is_wrong() {
    let env = Env::encrypted();
    let env = {
        let repo = env.repo().to_owned();
        env.with("MAILRIG_REPO", &repo)
    };
    let mailbox = env.store().mailbox(ALICE);
    mailbox.fill("", 3, 1);
    let store = env.path("store");
    // What cron runs; it mails what comes on stderr.
    let night = ["--quiet", "backup", text(&store)];
    assert_eq!(env.run(&night).expect(0).stderr, "");
    for n in 0..12 {
        symlink("/etc/passwd", mailbox.path(&format!("cur/{n}.link:2,S"))).unwrap();
    }
    let output = env.run(&night).expect(3);
    let lines: Vec<_> = output.stderr.lines().collect();
    let problems = lines.iter().filter(|line| line.starts_with("problem    example.org/alice"));
    assert_eq!((problems.count(), lines.len()), (10, 12), "{output}");
    assert_eq!(lines[10], "problem    and 2 more");
    assert!(lines[11].starts_with("warning: Backed up 1 mailbox"), "{output}");
    assert!(lines[11].ends_with("; the snapshot is incomplete, see above."), "{output}");
    // With --json the document names them all.
    let output = env.run(&[&night[..], &["--json"]].concat()).expect(3);
    assert_eq!(output.json()["incidents"].as_array().unwrap().len(), 12);
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    assert!(output.stderr.ends_with("; the snapshot is incomplete.\n"), "{output}");
}

#[test]
fn a_snapshot_that_is_incomplete_and_alarming_is_called_both() {
    let env = Env::plain();
    furnish(&env);
    env.backup(&[]).expect(0);
    for folder in ["cur", ".Sent", ".Archive.2025"] {
        fs::remove_dir_all(env.path("store").join(ALICE).join(folder)).unwrap();
    }
    fs::create_dir_all(env.path("elsewhere/dave/cur")).unwrap();
    symlink(env.path("elsewhere/dave"), env.path("store/example.org/dave")).unwrap();
    env.backup(&[]).expect(3);
    let show = env.run(&["snapshots", env.repo(), "--show", "latest"]).expect(0).stdout;
    assert!(show.ends_with("\nThe snapshot is incomplete; 1 mailbox lost much mail.\n"), "{show}");
    let list = env.run(&["snapshots", env.repo()]).expect(0).stdout;
    assert!(list.contains("  incomplete, alarm  "), "{list}");
}
