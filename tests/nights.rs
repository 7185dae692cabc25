//! The main job: two nights of a store, looked at, restored and verified.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::env::{Env, text};
use crate::store::{letter, set_mode};
use crate::tree::Tree;

const ALICE: &str = "example.org/alice/Maildir";

/// A store with two mailboxes, folders in both layouts, and the files beside messages.
pub(crate) fn furnish(env: &Env) {
    let store = env.store();
    store
        .mailbox(ALICE)
        .fill("", 30, 1)
        .fill(".Sent", 20, 2)
        .fill(".Archive.2025", 10, 3)
        .message("cur/1700000000.M1P1.host,S=5:2,", b"")
        .message("dovecot-uidlist", b"3 V1500000000 N7 G0123\n1 :1600000000.M1P0.host\n")
        .message("dovecot-keywords", b"0 $Label1\n")
        .message("subscriptions", b"V\t2\n\nSent\n");
    store.mailbox("example.org/bob/Maildir").fill("", 15, 4).fill("Work/2026", 5, 5);
}

/// What happens in a night: new mail, flags, `new` to `cur`, a move, deletions, a new folder.
pub(crate) fn pass_a_night(env: &Env) {
    let alice = env.store().mailbox(ALICE);
    alice
        .message("new/1700000001.M9P9.host", &letter(900))
        .rename("cur/1600000000.M1P0.host:2,S", "cur/1600000000.M1P0.host:2,FRS")
        .rename("new/1600000001.M1P1.host", "cur/1600000001.M1P1.host:2,S")
        .rename("cur/1600000002.M1P2.host:2,S", ".Sent/cur/1600000002.M1P2.host:2,S")
        .remove("cur/1600000004.M1P4.host:2,S")
        .fill(".Travel", 3, 6);
    env.store().mailbox("example.org/carol/Maildir").fill("", 2, 7);
}

#[test]
fn both_nights_come_back_byte_for_byte() {
    let env = Env::encrypted();
    furnish(&env);
    let first_night = Tree::read(&env.path("store"));
    let first = env.backup(&["--json"]).expect(0).json();
    pass_a_night(&env);
    let second_night = Tree::read(&env.path("store"));
    let second = env.backup(&["--json"]).expect(0).json();
    assert_ne!(first_night, second_night);
    // Six are new, and the moved one is read once to know it by its content.
    assert_eq!(second["messages"]["read"], 7, "renamed messages are read, too");

    let [first, second] =
        [first, second].map(|report| report["snapshot"].as_str().unwrap().to_owned());
    env.restore(&first, "first").expect(0);
    env.restore("latest", "second").expect(0);
    first_night.assert_restored(&env.path("first"));
    second_night.assert_restored(&env.path("second"));

    let list = env.run(&["snapshots", env.repo(), "--json"]).expect(0).json();
    let ids: Vec<_> = list["snapshots"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [&first, &second]);
}

fn set_mtime(path: &Path) {
    File::options().append(true).open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
}

#[test]
fn the_comparison_of_trees_notices_every_kind_of_difference() {
    let env = Env::new();
    let mailbox = env.store().mailbox("alice");
    let path = |name: &str| mailbox.path(name);
    let changes: [&dyn Fn(); 5] = [
        &|| _ = mailbox.message("cur/1.a:2,S", b"c"),
        &|| _ = mailbox.rename("cur/1.a:2,S", "cur/1.a:2,ST"),
        &|| _ = mailbox.remove("cur/1.a:2,S"),
        &|| set_mtime(&path("cur/1.a:2,S")),
        &|| set_mode(&path("cur/1.a:2,S"), 0o640),
    ];
    for change in changes {
        for entry in std::fs::read_dir(path("cur")).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        mailbox.message("cur/1.a:2,S", b"b");
        let before = Tree::read(&env.path("store"));
        change();
        assert!(!before.differences(&Tree::read(&env.path("store"))).is_empty());
    }
}

#[test]
fn a_snapshot_can_be_looked_into() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let ls = |more: &[&str]| {
        let arguments = [&["ls", env.repo(), "latest", "--json"][..], more].concat();
        env.run(&arguments).expect(0).json()
    };
    let mailboxes = ls(&[]);
    let names: Vec<_> =
        mailboxes["mailboxes"].as_array().unwrap().iter().map(|m| &m["name"]).collect();
    assert_eq!(names, ["alice@example.org", "bob@example.org"]);
    assert_eq!(mailboxes["mailboxes"][0]["messages"], 61);
    let folders = ls(&["--mailbox", "alice@example.org"]);
    let names: Vec<_> =
        folders["folders"].as_array().unwrap().iter().map(|f| &f["folder"]).collect();
    assert_eq!(names, ["INBOX", ".Archive.2025", ".Sent"]);
    assert_eq!(folders["folders"][0]["new"], 15);
    for name in ["Sent", ".Sent"] {
        let messages = ls(&["--mailbox", "alice@example.org", "--folder", name]);
        let messages = messages["messages"].as_array().unwrap().clone();
        assert_eq!(messages.len(), 20);
        assert_eq!(messages[0]["name"], "cur/1600000000.M2P0.host:2,S");
        assert_eq!(messages[0]["flags"], "S");
    }
}

#[test]
fn one_mailbox_and_one_folder_come_back_alone() {
    let env = Env::encrypted();
    furnish(&env);
    let store = Tree::read(&env.path("store"));
    env.backup(&[]).expect(0);
    let to = env.path("alice");
    let restore =
        ["restore", env.repo(), "latest", "--mailbox", "alice@example.org", "--to", text(&to)];
    let restore = [&restore[..], &["--uids", "exact"]].concat();
    env.run(&restore).expect(0);
    store.clone().without("example.org/bob").assert_restored(&to);

    let to = env.path("sent");
    let restore = [
        "restore",
        env.repo(),
        "latest",
        "--mailbox",
        "alice@example.org",
        "--folder",
        "Sent",
        "--to",
        text(&to),
    ];
    env.run(&restore).expect(0);
    let restored = Tree::read(&to);
    assert_eq!(restored.files(), 20);
    assert!(restored.0.iter().all(|(path, entry)| store.0.get(path) == Some(entry)));
}

#[test]
fn a_dry_run_writes_nothing() {
    let env = Env::encrypted();
    furnish(&env);
    let before = env.objects();
    let output = env.backup(&["--dry-run"]).expect(0);
    assert!(output.stdout.contains("Would back up 81 new messages of 2 mailboxes"), "{output}");
    assert_eq!(env.objects(), before);
    env.backup(&[]).expect(0);
    let to = env.path("to");
    let arguments = ["restore", env.repo(), "latest", "--to", text(&to), "--dry-run"];
    let output = env.run(&arguments).expect(0);
    assert!(output.stdout.contains("Would restore 2 mailboxes with 81 messages"), "{output}");
    assert!(!to.exists());
}

#[test]
fn a_sound_repository_is_verified_at_every_level() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    for level in ["listed", "stored", "content"] {
        let arguments = ["verify", env.repo(), "--level", level, "--json"];
        let report = env.run(&arguments).expect(0).json();
        assert_eq!(report["is_sound"], true);
        assert_eq!(report["mailboxes"], 2);
        let packs: u64 = env
            .objects()
            .iter()
            .filter(|(key, _)| key.contains(".tar."))
            .map(|(_, size)| size)
            .sum();
        assert_eq!(report["bytes_read"].as_u64().unwrap() < packs, level == "listed", "{report}");
        assert_eq!(report["messages"].as_u64().unwrap() > 81, level == "content", "{report}");
    }
}

/// A folder that changed less than two seconds before it was listed is listed once more, so the
/// runs go on until the folders are older than that.
#[test]
fn an_unchanged_store_is_not_listed_and_stores_no_pack() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let packs = env.keys("/packs/");
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let report = env.backup(&["--json"]).expect(0).json();
        assert_eq!(report["messages"]["read"], 0);
        if report["messages"]["folders_listed"] == 0 {
            assert_eq!(report["messages"]["folders"], 6);
            break;
        }
        assert!(Instant::now() < deadline, "{report}");
    }
    assert_eq!(env.keys("/packs/"), packs);

    env.store().mailbox(ALICE).message("new/1800000000.x", b"one more");
    let report = env.backup(&["--json"]).expect(0).json();
    assert_eq!(report["messages"]["folders_listed"], 1);
    assert_eq!(report["messages"]["read"], 1);
    assert!(env.keys("/packs/").len() > packs.len());
}

#[test]
fn a_second_store_in_a_repository_is_noticed_every_night() {
    let env = Env::encrypted();
    env.store().mailbox("alice").fill("", 2, 1);
    let said = |output: crate::process::Output| output.expect(0).json()["notices"].to_string();
    assert_eq!(said(env.backup(&["--json"])), "[]");
    assert_eq!(said(env.backup(&["--json"])), "[]");
    let other = env.path("other");
    crate::store::Store::at(&other).mailbox("bob").fill("", 2, 2);
    let back_up_other = || said(env.run(&["backup", env.repo(), text(&other), "--json"]));
    let tells = |notices: &str, own: &Path| {
        notices.contains("of another store: `latest` is whichever was made last")
            && notices.contains(&format!(":{}` the newest of this one", own.display()))
    };
    for _ in 0..2 {
        let notices = back_up_other();
        assert!(tells(&notices, &other), "{notices}");
        let notices = said(env.backup(&["--json"]));
        assert!(tells(&notices, &env.path("store")), "{notices}");
        // Who reads only the last mail of a night knows it, too.
        let notices = said(env.backup(&["--json"]));
        assert!(tells(&notices, &env.path("store")), "{notices}");
    }
    // Another state of the same store is another matter.
    let state = env.path("other-state");
    env.backup(&["--state", text(&state)]).expect(0);
    let notices = said(env.backup(&["--json"]));
    assert!(notices.contains("was made with another state"), "{notices}");
    let notices = said(env.backup(&["--json"]));
    assert!(!notices.contains("another state") && tells(&notices, &env.path("store")), "{notices}");
}
