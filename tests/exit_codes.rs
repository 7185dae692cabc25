//! Each exit code once: scripts and timers rely on them.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::env::{Env, text, wait_until};
use crate::nights::furnish;
use crate::store::noise;
use crate::tree::Tree;

#[test]
fn done_is_0_and_failed_is_1() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let sentence = "no snapshot begins with `nonsense`";
    env.restore("nonsense", "to").expect_error(1, sentence, "`mailrig snapshots` lists them");
}

#[test]
fn usage_is_2() {
    let env = Env::new();
    let outputs = [
        env.run(&[]),
        env.run(&["backup"]),
        env.run(&["backup", "--no-such-option"]),
        env.run(&[
            "restore",
            env.repo(),
            "20261121T031500Z-1f2e3d4c",
            "--to",
            "x",
            "--at",
            "2026-11-21",
        ]),
        env.run(&["init", env.repo(), "--encryption", "none", "--recipient", "age1x"]),
        env.run(&["verify", env.repo(), "--sample", "0"]),
    ];
    for output in outputs {
        let output = output.expect(2);
        assert_eq!(output.stdout, "", "{output}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn incomplete_is_3_and_damage_is_4() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let pack = env.keys(".tar.").remove(0);
    fs::remove_file(Path::new(env.repo()).join(pack)).unwrap();
    env.restore("latest", "to").expect(3);
    env.run(&["verify", env.repo()]).expect(4);
}

/// The run is stopped (SIGSTOP) in the middle, so that it has not ended when the signal comes.
#[test]
fn interrupted_is_130_and_a_later_run_completes() {
    let env = Env::encrypted();
    for number in 0..40 {
        let mailbox = env.store().mailbox(&format!("example.org/user{number}/Maildir"));
        mailbox.message("cur/1600000000.M1.host:2,S", &noise(number, 300_000));
    }
    for signal in [Signal::INT, Signal::TERM] {
        let run = env.start(&["backup", env.repo(), text(&env.path("store"))]);
        let packs = env.keys(".tar.").len();
        wait_until("a pack is stored", || env.keys(".tar.").len() > packs);
        run.signal(Signal::STOP);
        run.signal(signal);
        run.signal(Signal::CONT);
        run.wait().expect_error(130, "interrupted", "");
        assert_eq!(env.keys("snapshots/"), [""; 0]);
    }
    let packs = env.keys(".tar.");
    let report = env.backup(&["--json"]).expect(0).json();
    assert_eq!(report["totals"]["messages"], 40);
    let all = env.keys(".tar.");
    assert!(packs.iter().all(|pack| all.contains(pack)));
    assert_eq!(all.len(), 40, "what the interrupted runs stored was stored again");
    env.restore("latest", "to").expect(0);
    Tree::read(&env.path("store")).assert_restored(&env.path("to"));
}
