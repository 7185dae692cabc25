//! Mailboxes that change while they are restored: they are told and left, and all others get what
//! they lack. A second run completes.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::env::{Env, text, wait_until};
use crate::in_place::{furnish, in_place, messages};
use crate::process::Running;
use crate::store::{Mailbox, letter, noise, set_mode};

const BOB: &str = "example.org/bob/Maildir";
const LOST: &str = "cur/1600000002.M2P1.host:2,FSab";

/// Bob has lost his message.
fn bob(env: &Env) -> Mailbox {
    let bob = env.store().mailbox(BOB);
    bob.message("cur/1600000011.M1P1.host:2,S", &letter(11)).message(".Sent/cur/1:2,S", b"\n");
    bob
}

/// A restore that waits for the lock of alice's INBOX, after it has seen what she has. Her `.Sent` is
/// next.
fn waiting(env: &Env, alice: &Mailbox) -> Running {
    alice.remove(LOST).message("dovecot-uidlist.lock", b"4711:elsewhere");
    let store = env.path("store");
    let run = env.start(&[
        "restore",
        env.repo(),
        "latest",
        "--in-place",
        text(&store),
        "--uids",
        "keep",
        "--json",
    ]);
    let stage = alice.path("tmp/mailrig-restore");
    let has_files = || fs::read_dir(&stage).is_ok_and(|mut files| files.next().is_some());
    wait_until("what alice lacks is written", has_files);
    run
}

#[test]
fn a_folder_that_is_made_or_removed_meanwhile_is_told_and_the_rest_is_restored() {
    for is_made in [true, false] {
        let env = Env::plain();
        let alice = furnish(&env);
        let bob = bob(&env);
        env.backup(&[]).expect(0);
        bob.remove("cur/1600000011.M1P1.host:2,S");
        if is_made {
            fs::remove_dir_all(alice.path(".Sent")).unwrap();
        } else {
            alice.remove(".Sent/cur/1600000005.M5P1.host:2,RS");
        }
        let run = waiting(&env, &alice);
        if is_made {
            alice.folder(".Sent").message(".Sent/new/1700000000.M9P1.host", &letter(9));
        } else {
            fs::rename(alice.path(".Sent"), env.path("away")).unwrap();
        }
        alice.remove("dovecot-uidlist.lock");
        let report = run.wait().expect(3).json();
        let problems = report["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{report}");
        let lost = if is_made { 2 } else { 1 };
        assert_eq!((&problems[0]["messages"], &report["messages"]), (&lost.into(), &2.into()));
        let reason = problems[0]["reason"].as_str().unwrap();
        assert!(reason.contains("Maildir/.Sent: "), "{reason}");
        assert!(reason.ends_with("; run the restore again: it completes"), "{reason}");
        assert!(alice.path(LOST).exists() && messages(&bob.path("")).len() == 1);
        let again = in_place(&env, &[]).expect(0).json();
        assert_eq!(again["messages"], 2, "{again}");
        assert!(!alice.path("tmp/mailrig-restore").exists());
    }
}

#[test]
fn messages_that_came_to_be_there_meanwhile_are_counted_once() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let run = waiting(&env, &alice);
    alice.message(LOST, &letter(2)).remove("dovecot-uidlist.lock");
    let report = run.wait().expect(0).json();
    assert_eq!((&report["messages"], &report["there"]), (&0.into(), &6.into()), "{report}");
}

#[test]
fn keywords_that_the_server_made_meanwhile_are_told_where_letters_mean_others() {
    for (made, code) in [("0 other\n", 3), ("0 todo\n1 more\n", 0)] {
        let env = Env::plain();
        let alice = furnish(&env);
        alice.rename(".Sent/cur/1600000006.M6P1.host:2,S", ".Sent/cur/1600000006.M6P1.host:2,Sa");
        alice.message(".Sent/dovecot-keywords", b"0 todo\n");
        env.backup(&[]).expect(0);
        fs::remove_dir_all(alice.path(".Sent")).unwrap();
        alice.folder(".Sent");
        let run = waiting(&env, &alice);
        alice.message(".Sent/dovecot-keywords", made.as_bytes()).remove("dovecot-uidlist.lock");
        let report = run.wait().expect(code).json();
        assert_eq!(report["messages"], 3, "{report}");
        let is_told = report["problems"].to_string().contains("run again with `--flags snapshot`");
        assert_eq!(is_told, code == 3, "{report}");
        in_place(&env, &["--flags", "snapshot"]).expect(0);
        let flags = &messages(&alice.path(".Sent"))["1600000006.M6P1.host"].1;
        assert_eq!(flags, if code == 3 { "Sb" } else { "Sa" });
    }
}

/// The mailbox is made whole beside its name, which is not free any more in the end.
#[test]
fn a_mailbox_that_gets_mail_before_it_is_there_is_told_and_completed_by_the_next_run() {
    let env = Env::plain();
    let big = env.store().mailbox("example.org/big/Maildir");
    for number in 0..200 {
        big.message(format!("cur/{number}.M1P1.host:2,S"), &noise(number, 300_000));
    }
    let bob = bob(&env);
    env.backup(&[]).expect(0);
    bob.remove("cur/1600000011.M1P1.host:2,S");
    fs::remove_dir_all(env.path("store/example.org/big")).unwrap();
    let store = env.path("store");
    let run = env.start(&["restore", env.repo(), "latest", "--in-place", text(&store), "--json"]);
    let home = env.path("store/example.org/big");
    let is_partial = |path: &Path| fs::read_dir(path).is_ok_and(|mut all| all.next().is_some());
    wait_until("the mailbox is begun", || is_partial(&home));
    run.signal(Signal::STOP);
    assert!(!big.path("").exists(), "it was too fast to be stopped in the middle");
    big.message("new/1700000000.M9P1.host", &letter(9));
    run.signal(Signal::CONT);
    let report = run.wait().expect(3).json();
    assert_eq!((&report["messages"], &report["problems"][0]["messages"]), (&1.into(), &200.into()));
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    assert!(reason.ends_with(" is not empty; run the restore again: it completes"), "{reason}");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "what was written is gone");
    in_place(&env, &[]).expect(0);
    assert_eq!(messages(&big.path("")).len(), 201);
}

#[test]
fn a_control_folder_that_is_a_file_is_a_problem_of_its_mailbox() {
    let env = Env::plain();
    let alice = furnish(&env);
    let bob = bob(&env);
    env.backup(&[]).expect(0);
    alice.remove(LOST);
    bob.remove("cur/1600000011.M1P1.host:2,S");
    let control = env.path("control");
    fs::create_dir_all(control.join("example.org/bob")).unwrap();
    fs::write(control.join("example.org/alice"), "").unwrap();
    let control = format!("{}/%d/%n", control.display());
    let report = in_place(&env, &["--control", &control]).expect(3).json();
    let problems = report["problems"].as_array().unwrap();
    assert!(problems.iter().all(|p| p["mailbox"] == "alice@example.org"), "{report}");
    assert!(bob.path("cur/1600000011.M1P1.host:2,S").exists());
    let to = env.path("to");
    let new = ["restore", env.repo(), "latest", "--to", text(&to), "--control", &control, "--json"];
    let report = env.run(&new).expect(3).json();
    assert_eq!(report["mailboxes"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn of_several_mailboxes_one_that_is_gone_keeps_no_other_from_its_folder() {
    let env = Env::plain();
    let alice = furnish(&env);
    let bob = bob(&env);
    env.backup(&[]).expect(0);
    fs::remove_dir_all(bob.path("")).unwrap();
    let beside = ["--as-folder", "Back", "--mailbox"];
    let only = in_place(&env, &[&beside[..], &["bob@example.org"]].concat()).expect(1);
    assert!(only.stderr.contains("find the live mailbox "), "{only}");
    let find = ["find", env.repo(), "--from", "@", "--json"];
    let found = env.run(&find).expect(0).json();
    fs::write(env.path("ids"), found.to_string()).unwrap();
    let (ids, store) = (env.path("ids"), env.path("store"));
    let place = ["--in-place", text(&store), "--as-folder", "Back", "--json"];
    let run = [&["restore", env.repo(), "--messages", text(&ids)], &place[..]].concat();
    let report = env.run(&run).expect(3).json();
    assert_eq!(report["problems"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["problems"][0]["mailbox"], "bob@example.org");
    assert_eq!(messages(&alice.path(".Back")).len(), 4);
}

/// As one that another user owns, or that was closed by hand.
#[test]
fn a_mailbox_that_cannot_be_opened_costs_no_other() {
    let env = Env::plain();
    let alice = furnish(&env);
    let bob = bob(&env);
    env.backup(&[]).expect(0);
    alice.remove(LOST);
    set_mode(&bob.path(""), 0);
    let store = env.path("store");
    let restore = ["restore", env.repo(), "latest", "--in-place", text(&store), "--json"];
    let report = env.start_unprivileged(&restore).wait().expect(3).json();
    let [problem] = &report["problems"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&problem["mailbox"], &problem["messages"]), (&"bob@example.org".into(), &2.into()));
    let reason = problem["reason"].as_str().unwrap();
    assert!(reason.contains(BOB) && reason.contains("denied"), "{reason}");
    assert_eq!(report["messages"], 1, "{report}");
}
