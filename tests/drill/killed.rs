//! mailrig is killed in the middle of a drill: `recover` leaves nothing behind, as often as it is called, and the journal
//! still gives an account, which is no pass.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{processes_of, scenario};
use crate::env::{Env, text, wait_until};
use crate::process::Running;

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
        if moment != "early" {
            let before = env.run(&["drill", "analyze", text(&out)]).expect(5);
            let next = format!("run `mailrig drill recover {}` first", out.display());
            assert!(before.stderr.contains(&next), "{moment}: {before}");
        }
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

/// A server that wipes its environment, as Dovecot does, and one that starts anew whoever is taken from it, as Postfix does.
#[test]
fn servers_that_hide_or_resist_are_ended_all_the_same() {
    let env = Env::new();
    let (out, pids, path) = (env.path("drill"), env.path("pids"), env.path("hiding.toml"));
    let scenario = r#"version = 1
title = "Servers that hide"
[lab.processes.hiding]
run = ["sh", "-c", "echo $$ >> PIDS; touch ${lab}/hiding; exec env -i sleep 3600"]
ready = { file = "${lab}/hiding" }
[lab.processes.resisting]
run = [
    "sh", "-c",
    "trap : TERM; echo $$ >> PIDS; touch ${lab}/resisting; while :; do env -i sh -c 'echo $$ >> PIDS; exec sleep 3600'; done",
]
ready = { file = "${lab}/resisting" }
[roles.a]
smtp = "127.0.0.1:9"
serves = true
[traffic]
rate = "1/s"
recipients = "u@drill.test"
to = ["a"]
baseline = "10m"
"#;
    fs::write(&path, scenario.replace("PIDS", text(&pids))).unwrap();
    let running = env.start(&["drill", "run", text(&path), "--out", text(&out)]);
    let read = || fs::read_to_string(&pids).unwrap_or_default();
    let journal = || fs::read_to_string(out.join("journal.jsonl")).unwrap_or_default();
    wait_until("all run", || read().lines().count() >= 3 && journal().contains("baseline"));
    running.signal(Signal::KILL);
    running.wait();
    env.run(&["drill", "recover", text(&out)]).expect(0);
    for pid in read().lines() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{pid}: {state}");
    }
}

#[test]
fn a_terminal_that_is_closed_ends_a_drill_and_all_is_undone_but_not_one_under_nohup() {
    for (trap, is_to_end) in [("trap - HUP", true), ("trap '' HUP", false)] {
        let env = Env::new();
        let out = env.path("drill");
        let path = scenario("primary-killed");
        let mut command = env.isolated(Command::new("sh"));
        let script = format!("{trap}; exec \"$@\"");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_mailrig"), "drill", "run"]);
        command.args([text(&path), "--out", text(&out)]);
        let running = Running::start(command);
        let has = |what: &str| {
            fs::read_to_string(out.join("journal.jsonl")).is_ok_and(|text| text.contains(what))
        };
        wait_until("mail is sent", || has("\"intent\""));
        running.signal(Signal::HUP);
        if !is_to_end {
            wait_until("it goes on", || has("\"incident\""));
            running.signal(Signal::INT);
        }
        let stopped = running.wait().expect(130);
        assert_eq!(has("\"incident\""), !is_to_end, "{stopped}");
        assert!(stopped.stdout.contains("it was interrupted"), "{stopped}");
        assert!(!out.join("lab").exists());
        assert_eq!(env.run(&["drill", "recover", text(&out), "--json"]).json()["undone"], 0);
    }
}

#[test]
fn where_nobody_can_be_told_the_result_is_written_all_the_same() {
    let env = Env::new();
    let out = env.path("drill");
    let path = scenario("reply-lost");
    let mut command = env.isolated(Command::new("sh"));
    let script = "exec \"$@\" > /dev/full";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_mailrig"), "drill", "run"]);
    command.args([text(&path), "--out", text(&out)]);
    let told = Running::start(command).wait().expect(1);
    assert!(told.stderr.contains("No space left on device"), "{told}");
    for name in ["result.json", "report.html", "manifest.json"] {
        assert!(out.join(name).exists(), "{name}: {told}");
    }
}

mod needs_namespaces {
    use super::*;

    /// There a process has a session and a group that have no number, as in a container that was entered from outside.
    #[test]
    fn where_sessions_have_no_number_a_killed_drill_is_undone_as_well() {
        let env = Env::new();
        let (out, path, lines) = (env.path("drill"), env.path("step.toml"), env.path("lines"));
        let scenario = "version = 1\ntitle = \"A step that lasts\"\n\
            steps = [{ name = \"wait\", run = { argv = [\"sh\", \"-c\", \"while :; do echo >> LINES; sleep 0.01; done\"] } }]\n\
            [roles.a]\nsmtp = \"127.0.0.1:9\"\nserves = true\n\
            [traffic]\nrate = \"1/s\"\nrecipients = \"u@drill.test\"\nto = [\"a\"]\nbaseline = \"1s\"\n";
        fs::write(&path, scenario.replace("LINES", text(&lines))).unwrap();
        let script = "ps -o sid= -p $$; \
            \"$0\" drill run \"$1\" --out \"$2\" --quiet & drill=$!; \
            timeout 60 sh -c 'until [ -s \"$0\" ]; do sleep 0.01; done' \"$3\" || exit 9; \
            kill -9 $drill; \"$0\" drill recover \"$2\" || exit 8; \
            grep -lz '^MAILRIG_DRILL=' /proc/[0-9]*/environ 2> /dev/null; true";
        let mut command = env.isolated(Command::new("unshare"));
        command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", script]);
        command.args([env!("CARGO_BIN_EXE_mailrig"), text(&path), text(&out), text(&lines)]);
        let done = Running::start(command).wait().expect(0);
        let words: Vec<&str> = done.stdout.split_whitespace().collect();
        assert_eq!(words.first(), Some(&"0"), "{done}");
        assert!(done.stdout.ends_with("nothing is left.\n"), "{done}");
    }
}
