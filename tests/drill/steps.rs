//! Steps that stand for themselves: what a person does, several at one time, and what is undone in which order.

use std::fs::{self, File};

use super::odd::LAB;
use super::processes_of;
use crate::env::{Env, text};
use crate::process::{Output, Running};

const STEPS: &str = r#"
[[undo]]
argv = ["sh", "-c", "echo last >> log"]

[[steps]]
name = "a person looks"
manual = { prompt = "See that the lamp is green", who = "Ann" }

[[steps]]
name = "both at one time"
[[steps.parallel]]
name = "one waits for the other"
run = { argv = ["sh", "-c", "until test -e there; do :; done; echo found"], undo = ["sh", "-c", "echo one >> log"] }
[[steps.parallel]]
name = "the other comes later"
after = "200ms"
run = { argv = ["touch", "there"], undo = ["sh", "-c", "echo other >> log"], undone = ["test", "-e", "there"] }

[[steps]]
name = "what one found"
run = { argv = ["sh", "-c", "echo '${steps.one waits for the other.stdout}' >> log"] }
"#;

/// Runs these steps with an answer of a person.
fn run(env: &Env, answer: Option<&str>) -> Output {
    let scenario = env.path("steps.toml");
    let lab = r#"version = 1
title = "Steps"
[lab]
ports = ["a"]
folders = ["store"]
[lab.processes.a]
run = ["mailrig", "serve", "--smtp", "127.0.0.1:${port.a}", "--store", "${lab}/store", "--create", "--quiet"]
ready = { smtp = "127.0.0.1:${port.a}" }
[roles.a]
smtp = "127.0.0.1:${port.a}"
store = { maildirs = "${lab}/store" }
serves = true
[traffic]
rate = "50/s"
recipients = "u{1..3}@drill.test"
to = ["a"]
baseline = "1s"
recovered = "200ms"
"#;
    fs::write(&scenario, format!("{lab}{STEPS}")).unwrap();
    let mut command = env.command();
    command.args(["drill", "run", text(&scenario), "--out", text(&env.path("drill")), "--json"]);
    if let Some(answer) = answer {
        fs::write(env.path("answer"), answer).unwrap();
        command.stdin(File::open(env.path("answer")).unwrap());
    }
    Running::start(command).wait()
}

#[test]
fn a_person_is_asked_others_go_on_at_one_time_and_undos_run_from_the_last_to_the_first() {
    let env = Env::new();
    let output = run(&env, Some("it is green\n"));
    assert!(output.stderr.contains(">>> Ann: See that the lamp is green"), "{output}");
    let document = output.expect(0).json();
    assert_eq!(document["verdict"], "pass", "{document}");
    let log = fs::read_to_string(env.path("log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    // Of two at one time, who wrote down later what he needs is undone first.
    assert!(lines[0] == "found" && lines[3] == "last" && lines.len() == 4, "{log}");
    assert!(lines[1..3] == ["one", "other"] || lines[1..3] == ["other", "one"], "{log}");
    let page = fs::read_to_string(env.path("drill/report.html")).unwrap();
    for words in ["it is green", "Ann", "the other comes later"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn where_nobody_can_be_asked_or_somebody_says_no_the_drill_ends_and_is_undone() {
    for (answer, why) in [
        (None, "nobody is there to do it"),
        (Some("no it is red\n"), "Ann did not do it: it is red"),
    ] {
        let env = Env::new();
        let document = run(&env, answer).expect(6).json();
        assert!(document["aborted"].as_str().unwrap().contains(why), "{document}");
        assert_eq!(fs::read_to_string(env.path("log")).unwrap(), "last\n");
        assert_eq!(processes_of(document["run"].as_str().unwrap()), Vec::<String>::new());
    }
}

mod needs_namespaces {
    use super::*;

    const NETWORK: &str = r#"version = 1
title = "A network that fails in parts"
[objectives]
lost = 0
rto = { mail = "20s" }
[lab]
network = "10.77.0.1/24"
nodes = { primary = ["10.77.0.2"] }
folders = ["store"]
[lab.processes.primary]
node = "primary"
run = ["mailrig", "serve", "--smtp", "10.77.0.2:2525", "--store", "${lab}/store", "--create", "--quiet"]
ready = { smtp = "10.77.0.2:2525" }
[lab.processes.names]
node = "primary"
run = ["mailrig", "serve", "--sink", "--smtp", "10.77.0.2:53", "--quiet"]
ready = { tcp = "10.77.0.2:53" }
[roles.primary]
on = { node = "primary" }
smtp = "10.77.0.2:2525"
store = { maildirs = "${lab}/store" }
serves = true
[traffic]
rate = "30/s"
recipients = "u{1..3}@drill.test"
to = ["primary"]
retry = ["300ms", "500ms", "1s", "2s", "4s"]
patience = "1s"
baseline = "1s"
recovered = "1500ms"

[[steps]]
name = "nobody hears names"
fault = { network = { of = "primary", ports = [53], drop = true } }
[[steps]]
name = "no answer"
run = { argv = ["timeout", "1", "bash", "-c", ": < /dev/tcp/10.77.0.2/53"], exit = 124 }
[[steps]]
name = "mail goes on"
expect = { smtp = "10.77.0.2:2525" }
[[steps]]
name = "mail is reset"
fault = { network = { of = "primary", ports = [2525], reset = true } }
[[steps]]
name = "at once"
run = { argv = ["timeout", "5", "bash", "-c", ": < /dev/tcp/10.77.0.2/2525"], exit = 1 }
[[steps]]
name = "names are heard again"
expect = { tcp = "10.77.0.2:53" }
[[steps]]
name = "all is well"
after = "500ms"
fault = { network = { of = "primary" } }
[[steps]]
name = "mail flows"
expect = { smtp = "10.77.0.2:2525" }
"#;

    #[test]
    fn a_network_that_fails_at_one_port_goes_on_at_others() {
        let env = Env::new();
        let scenario = env.path("network.toml");
        fs::write(&scenario, NETWORK).unwrap();
        let out = env.path("drill");
        let run = env.run(&["drill", "run", text(&scenario), "--out", text(&out), "--json"]);
        let document = run.expect(0).json();
        assert_eq!(document["verdict"], "pass", "{document}");
        let steps = document["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 8, "{document}");
        assert!(steps.iter().all(|step| step["failed"].is_null()), "{document}");
        let outage = &document["rto"].as_array().unwrap()[1];
        assert!(outage["failures"].as_u64().unwrap() > 0, "{document}");
    }
}

/// Commands of this program: their documents are evidence, what they found wrong is an answer, and what they could not do is
/// none.
#[test]
fn what_commands_of_this_program_say_is_kept_and_judged() {
    let env = Env::new();
    env.store().mailbox("one").message("new/1.a.b", b"Subject: one\n\none\n");
    let damage = "for f in $(find ${lab}/repo -type f -size +0 ! -name repository.json); do printf x | dd of=$f conv=notrunc; done";
    let steps = |repo: &str| {
        format!(
            r#"
[[steps]]
name = "init"
mailrig = ["init", "${{lab}}/repo", "--encryption", "none"]
[[steps]]
name = "Back up: all"
mailrig = ["backup", "${{lab}}/repo", "{store}", "--state", "${{lab}}/state"]
[[steps]]
name = "count"
run = {{ argv = ["sh", "-c", "printf %s \"$1\" > counted", "sh", "${{steps.Back up: all.stdout}}"] }}
[[steps]]
name = "it can be restored"
restore_check = {{ repository = "${{lab}}/repo", mailboxes = 1, args = ["--no-dovecot"] }}
[[steps]]
name = "damage"
run = {{ argv = ["sh", "-c", "{damage}"] }}
[[steps]]
name = "look again"
mailrig = ["verify", "{repo}"]
[[steps]]
name = "the end"
run = {{ argv = ["touch", "end"] }}
"#,
            store = text(&env.path("store")),
        )
    };
    let scenario = env.path("ours.toml");
    let run = |repo: &str, out: &str| {
        fs::write(&scenario, format!("{LAB}{}", steps(repo))).unwrap();
        env.run(&["drill", "run", text(&scenario), "--out", text(&env.path(out)), "--json"])
    };
    let document = run("${lab}/repo", "found").expect(4).json();
    let steps = document["steps"].as_array().unwrap();
    let of = |name: &str| steps.iter().find(|step| step["name"] == name).unwrap();
    assert_eq!(of("init")["said"], "steps/01-init.json", "{document}");
    assert_eq!(of("Back up: all")["said"], "steps/02-back-up--all.json", "{document}");
    let said = of("it can be restored")["said"].as_str().unwrap();
    assert!(said.ends_with(" (steps/03-it-can-be-restored.json)"), "{said}");
    assert!(of("look again")["failed"].as_str().unwrap().contains("code 4"), "{document}");
    assert!(env.path("end").exists(), "an answer is no reason to stop: {document}");
    let kept = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(env.path("found/steps").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(kept("02-back-up--all.json")["type"], "backup");
    assert_eq!(kept("03-it-can-be-restored.json")["verdict"], "pass");
    assert_eq!(kept("04-look-again.json")["type"], "verify");
    let counted = fs::read_to_string(env.path("counted")).unwrap();
    let counted: serde_json::Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted, kept("02-back-up--all.json"));
    let manifest = fs::read_to_string(env.path("found/manifest.json")).unwrap();
    assert!(manifest.contains("steps/04-look-again.json"), "{manifest}");
    // Where there is nothing to look at, nobody knows.
    fs::remove_file(env.path("end")).unwrap();
    let document = run("${lab}/nowhere", "lost").expect(6).json();
    let why = document["aborted"].as_str().unwrap();
    assert!(why.contains("`look again`") && why.contains("ended with code 1: "), "{why}");
    assert!(!why.contains('{') && !env.path("end").exists(), "{why}");
}
