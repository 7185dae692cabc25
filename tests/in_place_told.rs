//! Restores into live mailboxes that must say more than they do: a store that is none, folders and
//! lists of UIDs that stay as they are.

use std::fs;

use crate::env::{Env, text};
use crate::in_place::{furnish, in_place};
use crate::tree::Tree;

#[test]
fn a_mailbox_is_no_store_and_a_store_without_the_mailboxes_is_told() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let before = Tree::read(&env.path("store"));
    let inside = alice.path("").display().to_string();
    let other = env.path("other");
    let run = |store: &str| env.run(&["restore", env.repo(), "latest", "--in-place", store]);
    let refused = run(inside.trim_end_matches('/')).expect(1);
    let store = env.path("store").display().to_string();
    let sentence = format!("is a mailbox itself, no store; the store is probably {store}");
    assert!(refused.stderr.contains(&sentence), "{}", refused.stderr);
    assert_eq!(Tree::read(&env.path("store")).differences(&before), [""; 0]);

    let missing = run(text(&other)).expect(1);
    assert!(missing.stderr.contains("does not exist"), "{}", missing.stderr);
    fs::create_dir_all(other.join("example.net")).unwrap();
    let told = run(text(&other)).expect(0);
    let note = "no mailbox of the snapshot was there; 1 made new";
    assert!(told.stdout.contains(note), "{}", told.stdout);
    let again = run(text(&other)).expect(0);
    assert!(!again.stdout.contains(note), "{}", again.stdout);

    // Of a store that was a mailbox itself, the mailbox is the store.
    let single = Env::plain();
    let mailbox = single.store().mailbox("");
    mailbox.fill("", 3, 1);
    single.backup(&[]).expect(0);
    in_place(&single, &[]).expect(0);
}

#[test]
fn folders_in_use_keep_their_validity_and_are_counted() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    alice.remove("cur/1600000002.M2P1.host:2,FSab");
    let before = fs::read(alice.path("dovecot-uidlist")).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let report = in_place(&env, &[&["--uids", "new"], more].concat()).expect(0).json();
        let notes = report["notes"].to_string();
        assert!(notes.contains("2 folders in use kept their UIDVALIDITY: "), "{report}");
    }
    assert_eq!(fs::read(alice.path("dovecot-uidlist")).unwrap(), before);
    let silent = in_place(&env, &[]).expect(0).json();
    assert!(!silent["notes"].to_string().contains("UIDVALIDITY"), "{silent}");
}

#[test]
fn lists_stay_as_they_are_when_nothing_is_merged() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let list = || fs::read_to_string(alice.path("dovecot-uidlist")).unwrap();
    let before = list();
    alice.remove("cur/1600000002.M2P1.host:2,FSab");
    alice.message("dovecot-uidlist", b"3 V1500000000 N9\n1 :1600000001.M1P1.host,S=99,W=101\n");
    in_place(&env, &["--uids", "keep"]).expect(0);
    let merged = list();
    assert!(merged.starts_with("3 V1500000000 N1000009 ") && merged != before, "{merged}");
    let whole = Tree::read(&env.path("store"));
    let again = in_place(&env, &["--uids", "keep"]).expect(0).json();
    assert_eq!(again["messages"], 0, "{again}");
    assert_eq!(Tree::read(&env.path("store")).differences(&whole), [""; 0]);
    assert!(!again["notes"].to_string().contains("force-resync"), "{again}");
}

#[test]
fn messages_that_the_next_expunge_removes_are_told() {
    let env = Env::plain();
    let alice = furnish(&env);
    alice.message("cur/1600000007.M7P1.host:2,ST", b"Subject: deleted, not expunged\n\n");
    env.backup(&[]).expect(0);
    let told = |more: &[&str]| in_place(&env, more).expect(0).json()["notes"].to_string();
    assert!(!told(&[]).contains("flag T"));
    alice.remove("cur/1600000007.M7P1.host:2,ST");
    let note = "1 message has the flag T (\\\\Deleted), as in the snapshot";
    for more in [&["--dry-run"][..], &[]] {
        let told = told(more);
        assert!(told.contains(note), "{told}");
    }
    assert!(!told(&[]).contains("flag T"));
}
