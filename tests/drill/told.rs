//! What a drill tells before it does anything: its plan, its runbook, what it would ask; and what it refuses.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;

use super::odd::{LAB, run};
use super::{processes_of, scenario};
use crate::env::{Env, text, wait_until};

/// A scenario on servers that are there already, as one role's lines and more.
fn fixed(env: &Env, role: &str, more: &str) -> String {
    let path = env.path("fixed.toml");
    let text_of = format!(
        "version = 1\ntitle = \"On what is there\"\n{more}\n[roles.primary]\nserves = true\n{role}\n\
         [traffic]\nrate = \"10/s\"\nrecipients = \"u{{1..3}}@drill.test\"\nto = [\"primary\"]\nbaseline = \"1s\"\n\
         recovered = \"1s\"\ndrain = \"2s\"\n"
    );
    fs::write(&path, text_of).unwrap();
    text(&path).to_owned()
}

#[test]
fn a_plan_and_a_runbook_tell_each_step_and_do_none() {
    let env = Env::new();
    for name in ["primary-killed", "total-loss"] {
        let path = scenario(name);
        let plan = env.run(&["drill", "plan", text(&path), "--json"]).expect(0).json();
        let steps = plan["steps"].as_array().unwrap();
        assert!(steps.iter().any(|step| step["name"] == "kill"), "{plan}");
        let runbook = env.run(&["drill", "runbook", text(&path), "--json"]).expect(0).json();
        let markdown = runbook["markdown"].as_str().unwrap();
        for step in steps {
            assert!(markdown.contains(step["name"].as_str().unwrap()), "{markdown}");
        }
        let rehearsal = env.run(&["drill", "rehearse", text(&path)]).expect(0);
        assert!(rehearsal.stdout.contains("There is nothing to ask"), "{rehearsal}");
    }
}

#[test]
fn a_rehearsal_asks_and_says_who_does_not_answer() {
    let env = Env::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let path = fixed(&env, &format!("smtp = \"{nobody}\""), "");
    let rehearsal = env.run(&["drill", "rehearse", &path, "--json"]).expect(4).json();
    assert_eq!(rehearsal["is_ready"], false);
    let failed = rehearsal["answers"][0]["failed"].as_str().unwrap();
    assert!(failed.contains("refused"), "{rehearsal}");
}

#[test]
fn hosts_of_others_are_not_touched_unless_that_is_said() {
    let env = Env::new();
    let out = env.path("out");
    let run = |path: &str, more: &[&str]| {
        env.run(&[&["drill", "run", path, "--out", text(&out)], more].concat()).expect(2)
    };
    let path = fixed(&env, "smtp = \"192.0.2.1:25\"", "");
    let refused = run(&path, &[]);
    assert!(refused.stderr.contains("the scenario touches 192.0.2.1"), "{refused}");
    assert!(refused.stderr.contains("--yes-affect fixed"), "{refused}");
    let refused = run(&path, &["--yes-affect", "other"]);
    assert!(refused.stderr.contains("this scenario is called fixed"), "{refused}");
    let path = fixed(&env, "smtp = \"192.0.2.1:25\"", "protected = [\"192.0.2.1\"]");
    let refused = run(&path, &["--yes-affect", "fixed"]);
    assert!(refused.stderr.contains("192.0.2.1 is protected"), "{refused}");
    let rehearsed = env.run(&["drill", "rehearse", &path]).expect(2);
    assert!(rehearsed.stderr.contains("192.0.2.1 is protected"), "{rehearsed}");
    let plan = env.run(&["drill", "plan", &path]).expect(0);
    assert!(plan.stdout.contains("A run would be refused: 192.0.2.1 is protected"), "{plan}");
    let load = "steps = [{ name = \"stress it\", mailrig = [\"load\", \"mx1:25\"] }]";
    let path = fixed(&env, "smtp = \"127.0.0.1:1\"", load);
    let refused = run(&path, &[]);
    assert!(refused.stderr.contains("the scenario touches mx1"), "{refused}");
    let plan = env.run(&["drill", "plan", &path]).expect(0);
    let sentence =
        "it touches 127.0.0.1:1, mx1. A run wants --yes-affect fixed. Nothing was done.\n";
    assert!(plan.stdout.ends_with(sentence), "{plan}");
    assert!(!out.exists());
}

#[test]
fn what_a_step_finds_out_is_held_against_what_is_protected() {
    let env = Env::new();
    let steps = "[[steps]]\nname = \"find\"\nrun = { argv = [\"sh\", \"-c\", \"echo 192.0.2.$((4 + 5))\"] }\n\
                 [[steps]]\nname = \"touch it\"\nrun = { argv = [\"touch\", \"${steps.find.stdout}\"] }\n";
    for (protected, code) in [("192.0.2.9", 6), ("192.0.2.8", 0)] {
        let out = env.path(&format!("of {protected}"));
        let head = format!("protected = [\"{protected}\"]\n[lab]\n");
        let document = run(&env, &format!("{}{steps}", LAB.replacen("[lab]\n", &head, 1)), &out);
        let document = document.expect(code).json();
        let why = document["aborted"].as_str().unwrap_or_default();
        let said = "step `touch it` names 192.0.2.9, which is protected";
        assert_eq!(why == said, code == 6, "{document}");
        assert_eq!(env.path("192.0.2.9").exists(), code == 0, "{document}");
    }
}

#[test]
fn a_scenario_that_makes_no_sense_is_told_where_and_leaves_nothing() {
    let env = Env::new();
    let out = env.path("out");
    for (more, expected) in [
        (
            "obectives = {}",
            "fixed.toml:3:1: there is no key `obectives` here; did you mean `objectives`?",
        ),
        ("steps = [{ name = \"x\" }]", "step `x` does nothing"),
        ("steps = [{ name = \"x\", start = \"y\" }]", "the lab has no process `y`"),
    ] {
        let path = fixed(&env, "smtp = \"127.0.0.1:25\"", more);
        let refused = env.run(&["drill", "run", &path, "--out", text(&out)]).expect(2);
        assert!(refused.stderr.contains(expected), "{refused}");
        assert!(!out.exists());
    }
    let path = fixed(&env, "smtp = \"127.0.0.1:25\"", "");
    let refused = env.run(&["drill", "run", &path, "--set", "rate=1"]).expect(2);
    assert!(refused.stderr.contains("--set rate: the scenario has no such variable"), "{refused}");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("there"), "x").unwrap();
    let refused = env.run(&["drill", "run", &path, "--out", text(&out)]).expect(1);
    assert!(
        refused.stderr.contains("it is not empty; each run has a folder of its own"),
        "{refused}"
    );
}

#[test]
fn a_run_that_could_not_begin_stands_in_nobodys_way_and_one_that_was_killed_does() {
    let env = Env::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let role = format!("smtp = \"{}\"", listener.local_addr().unwrap());
    let path = fixed(
        &env,
        &role,
        "steps = [{ name = \"wait\", run = { argv = [\"sleep\", \"600\"], undo = [\"true\"] } }]",
    );
    let (first, second) = (env.path("first"), env.path("second"));
    fs::create_dir(&first).unwrap();
    fs::write(first.join("there"), "x").unwrap();
    env.run(&["drill", "run", &path, "--out", text(&first)]).expect(1);
    let third = env.path("third");
    let running = env.start(&["drill", "run", &path, "--out", text(&third)]);
    let journal = third.join("journal.jsonl");
    wait_until("the step has begun", || {
        fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"by_hand\":\"true\""))
    });
    let again = || env.run(&["drill", "run", &path, "--out", text(&second)]).expect(1).stderr;
    assert!(again().contains("another drill runs on"), "{}", again());
    running.signal(Signal::KILL);
    running.wait();
    let refused = again();
    let next = format!("was not undone: run `mailrig drill recover {}` first", third.display());
    assert!(refused.contains(&next), "{refused}");
    assert!(!second.exists());
    let run = fs::read_to_string(&journal).unwrap();
    let run = run.split("\"run\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    wait_until("the command runs that the kill left", || !processes_of(&run).is_empty());
    env.run(&["drill", "recover", text(&third)]).expect(0);
    assert_eq!(processes_of(&run), Vec::<String>::new());
    let running = env.start(&["drill", "run", &path, "--out", text(&second)]);
    wait_until("another one has begun", || second.join("journal.jsonl").exists());
    running.signal(Signal::INT);
    running.wait().expect(130);
}

#[test]
fn a_run_ends_when_a_service_is_away_for_longer_than_it_may() {
    let env = Env::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = "abort_if = [{ service = \"mail\", for = \"500ms\" }]\n\
                steps = [{ name = \"long\", run = { argv = [\"sleep\", \"600\"] }, timeout = \"10m\" }]";
    let path = fixed(&env, &format!("smtp = \"{nobody}\""), more);
    let out = env.path("out");
    let document =
        env.run(&["drill", "run", &path, "--out", text(&out), "--json"]).expect(6).json();
    assert_eq!(document["aborted"], "`mail` was away for 0.5 s", "{document}");
    assert_eq!(processes_of(document["run"].as_str().unwrap()), Vec::<String>::new());
}

#[test]
fn a_server_that_is_not_there_is_an_account_of_nothing_and_no_pass() {
    let env = Env::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = env.path("store");
    let role = format!("smtp = \"{nobody}\"\nstore = {{ maildirs = \"{}\" }}", store.display());
    let path = fixed(&env, &role, "");
    let out = env.path("out");
    let document =
        env.run(&["drill", "run", &path, "--out", text(&out), "--json"]).expect(6).json();
    assert_eq!(
        (&document["verdict"], &document["messages"]["accepted"]),
        (&"unknown".into(), &0.into())
    );
    assert!(document["messages"]["by_class"]["refused"].as_u64().unwrap() > 0, "{document}");
}

/// What is wrong with a scenario, as an editor with the published schema tells it.
fn editor(schema: &serde_json::Value, scenario: &str) -> Vec<String> {
    let scenario: toml::Value = toml::from_str(scenario).unwrap();
    let scenario = serde_json::to_value(scenario).unwrap();
    let validator = jsonschema::validator_for(schema).unwrap();
    validator.iter_errors(&scenario).map(|e| format!("{} at {}", e, e.instance_path())).collect()
}

#[test]
fn the_published_schema_takes_what_ships_and_finds_typos() {
    let env = Env::new();
    let printed = env.run(&["drill", "schema"]).expect(0).stdout;
    let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let folder = scenario("x").parent().unwrap().to_owned();
    let mut count = 0;
    for dir in [folder.clone(), folder.join("broken")] {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let Some("toml") = entry.path().extension().and_then(|extension| extension.to_str())
            else {
                continue;
            };
            let text = fs::read_to_string(entry.path()).unwrap();
            assert_eq!(editor(&schema, &text), Vec::<String>::new(), "{}", entry.path().display());
            for (from, to) in [
                ("[traffic]", "[trafic]"),
                ("\nname = \"", "\nnam = \""),
                ("title = \"", "title = 1 #"),
                ("\nfault =", "\nrun = { argv = [] }\nfault ="),
            ] {
                let broken = text.replacen(from, to, 1);
                if broken == text {
                    continue;
                }
                assert!(!editor(&schema, &broken).is_empty(), "{to}: {}", entry.path().display());
            }
            count += 1;
        }
    }
    assert!(count >= 24, "{count}");
}

#[test]
fn every_scenario_that_ships_has_a_plan_and_a_broken_twin() {
    let env = Env::new();
    let folder = scenario("x").parent().unwrap().to_owned();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let twin = folder.join("broken").join(path.file_name().unwrap());
            for path in [&path, &twin] {
                let plan = env.run(&["drill", "plan", text(path), "--json"]).expect(0).json();
                assert!(plan["steps"].as_array().unwrap().len() > 2, "{plan}");
                assert!(plan["to_be_said"].is_null() && plan["refused"].is_null(), "{plan}");
                assert!(fs::read_to_string(path).unwrap().starts_with("# "), "{}", path.display());
            }
            names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(names.len() >= 7, "{names:?}");
    // Each is run by a test that calls it by its name.
    for name in names {
        let tests = concat!(include_str!("shipped.rs"), include_str!("real.rs"));
        let is_run = |line: &str| line.contains("fails") && line.contains(&format!("\"{name}\", "));
        assert!(tests.lines().any(is_run), "{name}");
    }
}
