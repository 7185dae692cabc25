//! Two backups into one repository at the same time. The first is stopped (SIGSTOP) in the middle,
//! so that the second certainly meets it.

use rustix::process::Signal;

use crate::env::{Env, Running, text, wait_until};
use crate::store::noise;
use crate::tree::Tree;

fn start_and_stop(env: &Env) -> Running {
    for number in 0..40 {
        let mailbox = env.store().mailbox(&format!("example.org/user{number}/Maildir"));
        mailbox.message("cur/1600000000.M1.host:2,S", &noise(number, 300_000));
    }
    let run = env.start(&["backup", env.repo(), text(&env.path("store"))]);
    wait_until("a pack is stored", || !env.keys(".tar.").is_empty());
    run.signal(Signal::STOP);
    assert_eq!(env.keys("snapshots/"), [""; 0], "it was too fast to be stopped in the middle");
    run
}

#[test]
fn with_one_state_the_second_is_refused() {
    let env = Env::encrypted();
    let first = start_and_stop(&env);
    let output = env.backup(&[]).expect(1);
    let start = "error: another backup is running with the state in ";
    assert!(output.stderr.starts_with(start), "{output}");
    let end = "\nhint: wait for it to end; a lock of a dead process frees itself\n";
    assert!(output.stderr.ends_with(end), "{output}");
    first.signal(Signal::CONT);
    first.wait().expect(0);
    env.backup(&[]).expect(0);
}

#[test]
fn with_states_of_their_own_both_succeed_and_both_restore() {
    let env = Env::encrypted();
    let first = start_and_stop(&env);
    let state = env.path("other-state");
    let second = env.backup(&["--state", text(&state), "--json"]).expect(0).json();
    first.signal(Signal::CONT);
    first.wait().expect(0);
    let store = Tree::read(&env.path("store"));
    let list = env.run(&["snapshots", env.repo(), "--json"]).expect(0).json();
    let ids = list["snapshots"].as_array().unwrap();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().any(|row| row["id"] == second["snapshot"]));
    for row in ids {
        let id = row["id"].as_str().unwrap();
        env.restore(id, id).expect(0);
        store.assert_restored(&env.path(id));
    }
    env.run(&["verify", env.repo(), "--level", "content"]).expect(0);
    for more in [&[][..], &["--state", text(&state)]] {
        env.backup(more).expect(0);
    }
    env.restore("latest", "to").expect(0);
    store.assert_restored(&env.path("to"));
}
