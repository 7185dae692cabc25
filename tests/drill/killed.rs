//! mailrig is killed in the middle of a drill: `recover` leaves nothing behind, as often as it is called, and the journal
//! still gives an account, which is no pass.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{processes_of, scenario};
use crate::env::{Env, text, wait_until};

#[test]
fn what_a_killed_drill_leaves_is_undone_and_its_journal_is_no_pass() {
    for (moment, marker) in
        [("early", "\"begin\""), ("midst", "\"incident\""), ("late", "\"drain\"")]
    {
        let env = Env::new();
        let out = env.path("drill");
        let journal = out.join("journal.jsonl");
        let path = scenario("primary-killed");
        let mut running = env.start(&["drill", "run", text(&path), "--out", text(&out)]);
        let read = || fs::read_to_string(&journal).unwrap_or_default();
        wait_until("the drill has come so far", || {
            read().contains(marker) || running.child.try_wait().unwrap().is_some()
        });
        let begun = Instant::now();
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, None, "{moment}");
        let text_of = read();
        let run = text_of.split("\"run\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let recover = || env.run(&["drill", "recover", text(&out), "--json"]).expect(0).json();
        let undone = recover()["undone"].as_u64().unwrap();
        assert!(undone > 0 || moment == "early", "{moment}");
        assert_eq!(recover()["undone"], 0, "{moment}");
        assert_eq!(processes_of(&run), Vec::<String>::new(), "{moment}");
        assert!(!out.join("lab").exists(), "{moment}");
        let document = env.run(&["drill", "analyze", text(&out), "--json"]).expect(6).json();
        assert_eq!(document["verdict"], "unknown", "{moment}: {document}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{moment}");
    }
}

#[test]
fn a_dead_man_undoes_what_nobody_comes_back_for() {
    let env = Env::new();
    let out = env.path("drill");
    let journal = out.join("journal.jsonl");
    let path = scenario("primary-killed");
    let dead_man = ["drill", "run", text(&path), "--out", text(&out), "--dead-man", "10m"];
    let running = env.start(&dead_man);
    let read = || fs::read_to_string(&journal).unwrap_or_default();
    wait_until("mail is sent", || read().contains("\"intent\""));
    running.signal(Signal::KILL);
    running.wait();
    wait_until("the lab is gone", || !out.join("lab").exists() && !out.join("lab.new").exists());
    let run = read().split("\"run\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    wait_until("nothing of it runs", || processes_of(&run).is_empty());
}

#[test]
fn a_drill_that_goes_on_is_not_undone_by_somebody_else() {
    let env = Env::new();
    let out = env.path("drill");
    let journal = out.join("journal.jsonl");
    let path = scenario("primary-killed");
    let running = env.start(&["drill", "run", text(&path), "--out", text(&out)]);
    let has = |what: &str| fs::read_to_string(&journal).is_ok_and(|text| text.contains(what));
    wait_until("mail is sent", || has("\"intent\""));
    let refused = env.run(&["drill", "recover", text(&out)]).expect(1);
    assert!(refused.stderr.contains("the drill still runs"), "{refused}");
    running.signal(Signal::INT);
    let stopped = running.wait().expect(130);
    assert!(stopped.stdout.contains("it was interrupted"), "{stopped}");
    assert!(!out.join("lab").exists());
    assert_eq!(env.run(&["drill", "recover", text(&out), "--json"]).json()["undone"], 0);
}
