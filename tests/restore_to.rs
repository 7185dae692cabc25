//! Restores below a folder that is not empty: links in it are not followed, and one that was killed is
//! completed by the next, which leaves what stands.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::env::{Env, text, wait_until};
use crate::process::Running;
use crate::store::noise;
use crate::tree::Tree;

fn reasons(report: &Value) -> Vec<&str> {
    let problems = report["problems"].as_array().unwrap().iter();
    problems.map(|problem| problem["reason"].as_str().unwrap()).collect()
}

#[test]
fn a_link_below_the_target_is_not_followed() {
    let env = Env::plain();
    env.store().mailbox("example.org/alice/Maildir").fill("", 3, 1);
    env.store().mailbox("example.net/bob").fill("", 2, 2);
    env.backup(&[]).expect(0);
    let (to, elsewhere) = (env.path("to"), env.path("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(&to).unwrap();
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--uids", "exact", "--json"];
    for link in ["example.org", "example.org/alice", "example.org/alice/Maildir"] {
        let link = to.join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&elsewhere, &link).unwrap();
        let report = env.run(&restore).expect(3).json();
        let reasons = reasons(&report);
        assert!(reasons[0].contains(text(&link)), "the link is named: {reasons:?}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert!(to.join("example.net/bob/cur").exists(), "the rest is restored");
        fs::remove_dir_all(&to).unwrap();
        fs::create_dir(&to).unwrap();
    }
    // The target itself is the administrator's word.
    symlink(&elsewhere, env.path("link")).unwrap();
    env.restore("latest", "link").expect(0);
    Tree::read(&env.path("store")).assert_restored(&elsewhere);
}

/// Files below a folder; what is moved meanwhile may be missed.
fn files(root: &Path) -> usize {
    let (mut count, mut dirs) = (0, vec![PathBuf::from(root)]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                _ => count += 1,
            }
        }
    }
    count
}

#[test]
fn a_restore_that_is_killed_and_run_again_completes() {
    let env = Env::plain();
    for mailbox in 0..6 {
        let path = format!("example.org/user{mailbox}/Maildir");
        env.store().mailbox(&path).fill("", 150, mailbox).fill(".Sent", 50, mailbox + 10);
    }
    env.backup(&[]).expect(0);
    let whole = Tree::read(&env.path("store"));
    let to = env.path("to");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--uids", "exact", "--json"];
    let mut kills = 0;
    let last = loop {
        let mut run = env.start(&restore);
        let before = files(&to);
        wait_until("the moment has come", || {
            run.child.try_wait().unwrap().is_some() || files(&to) >= before + 150
        });
        if kills < 6 {
            run.child.kill().unwrap();
        }
        let output = run.wait();
        if output.code.is_some() {
            break output;
        }
        kills += 1;
    };
    assert!(kills > 3, "{kills} kills show nothing");
    let report = last.expect(3).json();
    let reasons = reasons(&report);
    assert!(reasons.iter().all(|reason| reason.ends_with("left as it is")), "{reasons:?}");
    whole.assert_restored(&to);
}

/// A restore that is stopped (SIGSTOP) in the middle of alice's mailbox, before bob's.
fn start_and_stop(env: &Env, more: &[&str]) -> Running {
    let to = env.path("to");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--uids", "exact"];
    let run = env.start(&[&restore[..], more].concat());
    wait_until("alice's mailbox is begun", || files(&to) > 0);
    run.signal(Signal::STOP);
    assert!(!to.join("alice").exists(), "it was too fast to be stopped in the middle");
    run
}

fn furnish(env: &Env) -> Tree {
    for (name, count) in [("alice", 40), ("bob", 2)] {
        let mailbox = env.store().mailbox(name);
        for number in 0..count {
            mailbox
                .message(format!("cur/16000000{number:02}.M1.host:2,S"), &noise(number, 300_000));
        }
    }
    env.backup(&[]).expect(0);
    Tree::read(&env.path("store"))
}

#[test]
fn of_two_restores_to_one_place_the_second_is_refused_and_the_first_completes() {
    let env = Env::plain();
    let whole = furnish(&env);
    let first = start_and_stop(&env, &[]);
    let to = env.path("to");
    let sentence = format!("another restore is at work in {}", to.display());
    let hint = "wait for it to end; a lock of a dead process frees itself";
    let second = ["restore", env.repo(), "latest", "--to", text(&to)];
    env.run(&second).expect_error(1, &sentence, hint);
    let bob = [&second[..], &["--mailbox", "bob"]].concat();
    env.run(&bob).expect_error(1, &sentence, hint);
    first.signal(Signal::CONT);
    first.wait().expect(0);
    whole.assert_restored(&to);
}

/// As from a script that restores one mailbox after another, several at a time.
#[test]
fn restores_of_single_mailboxes_go_along_with_each_other_but_not_in_one_mailbox() {
    let env = Env::plain();
    let whole = furnish(&env);
    let first = start_and_stop(&env, &["--mailbox", "alice"]);
    let to = env.path("to");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--uids", "exact", "--json"];
    let report = env.run(&[&restore[..], &["--mailbox", "alice"]].concat()).expect(3).json();
    assert!(reasons(&report)[0].ends_with("another restore is at work in it"), "{report}");
    env.run(&[&restore[..], &["--mailbox", "bob"]].concat()).expect(0);
    env.run(&restore).expect(1);
    // What is killed is locked no longer, and what it left is in nobody's way.
    let mut first = first;
    first.child.kill().unwrap();
    first.wait();
    assert!(!to.join("alice").exists());
    env.run(&[&restore[..], &["--mailbox", "alice"]].concat()).expect(0);
    whole.assert_restored(&to);
}
