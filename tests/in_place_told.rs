//! Restores into live mailboxes that must say more than they do: a store that is none, folders and
//! lists of UIDs that stay as they are.

use std::fs;

use maildir::Uidlist;

use crate::env::{Env, is_raised, text};
use crate::in_place::{furnish, in_place};
use crate::store::letter;
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
fn folders_in_use_get_a_new_validity_and_uids_that_none_had() {
    let env = Env::plain();
    let alice = furnish(&env);
    alice.folder(".Courier").message(".Courier/cur/1600000007.M7P1.host:2,S", &letter(7));
    alice.message(".Courier/courierimapuiddb", b"1 1500000002 2\n1 1600000007.M7P1.host\n");
    env.backup(&[]).expect(0);
    let courier = fs::read(alice.path(".Courier/courierimapuiddb")).unwrap();
    alice
        .remove("cur/1600000002.M2P1.host:2,FSab")
        .message("dovecot-uidvalidity", b"f0000001")
        .message("dovecot-uidvalidity.f0000001", b"")
        .message(".Sent/dovecot.index.log", b"x");
    let before = Tree::read(&env.path("store"));
    let dry = in_place(&env, &["--uids", "new", "--dry-run"]).expect(0).json();
    assert_eq!(Tree::read(&env.path("store")).differences(&before), [""; 0]);
    let report = in_place(&env, &["--uids", "new"]).expect(0).json();
    assert!(dry["notes"].to_string().contains("2 folders in use would get a new UIDVALIDITY"));
    let notes = report["notes"].to_string();
    assert!(notes.contains("INBOX has the new UIDVALIDITY 4026531842: "), "{report}");
    assert!(notes.contains("1 folder in use kept its UIDVALIDITY: "), "{report}");
    assert_eq!(fs::read(alice.path(".Courier/courierimapuiddb")).unwrap(), courier);
    let list =
        |folder: &str| fs::read_to_string(alice.path(folder).join("dovecot-uidlist")).unwrap();
    // The one that is back has no UID yet; its server gives it one that is higher still.
    let inbox = "3 V4026531842 N12 G3085f01b7f11094c501100008c4a11c1\n\
         9 W101 :1600000001.M1P1.host,S=99,W=101\n10 :1600000003.M3P1.host\n\
         11 :1600000004.M4P1.host\n";
    assert_eq!(list(""), inbox);
    assert!(list(".Sent").starts_with("3 V4026531843 N5 G"), "each its own: {}", list(".Sent"));
    assert!(!alice.path(".Sent/dovecot.index.log").exists());
    assert!(!alice.path("dovecot-uidlist.lock").exists());
    assert_eq!(fs::read_to_string(alice.path("dovecot-uidvalidity")).unwrap(), "f0000003");
    assert!(alice.path("dovecot-uidvalidity.f0000003").exists());
    assert!(!alice.path("dovecot-uidvalidity.f0000001").exists());
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
    let head = Uidlist::parse(merged.as_bytes()).unwrap();
    assert!(head.uid_validity == 1_500_000_000 && is_raised(9, head.next_uid), "{merged}");
    assert_ne!(merged, before);
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

/// A name proves that it is the message, and not that nobody wrote over it.
#[test]
fn messages_of_another_size_are_told() {
    let env = Env::plain();
    let alice = furnish(&env);
    let name = "cur/1600000007.M7P1.host:2,S";
    alice.message(name, b"Subject: as it came\n\n");
    env.backup(&[]).expect(0);
    let note = "1 message that is there has another size than in the snapshot; `--as-folder` brings the snapshot's";
    let report = in_place(&env, &[]).expect(0).json();
    assert!(!report["notes"].to_string().contains("another size"), "{report}");
    alice.message(name, b"Subject: overwritten since\n\n");
    for more in [&["--dry-run"][..], &[]] {
        let report = in_place(&env, more).expect(0).json();
        assert_eq!(report["messages"], 0, "{report}");
        assert!(report["notes"].as_array().unwrap().contains(&note.into()), "{report}");
    }
}
