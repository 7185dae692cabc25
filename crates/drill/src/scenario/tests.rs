//! What a scenario may say, and how it is told what is wrong with one that may not.

use super::*;

const GOOD: &str = r#"
version = 1
title = "A test"

[variables]
rate = "100/s"

[lab]
ports = ["primary"]

[lab.processes.primary]
run = ["mailrig", "serve", "--smtp", "127.0.0.1:${port.primary}"]
ready = { tcp = "127.0.0.1:${port.primary}" }

[roles.primary]
smtp = "127.0.0.1:${port.primary}"
store = { maildirs = "${lab}/primary" }
serves = true

[traffic]
rate = "${rate}"
recipients = "u{1..3}@drill.test"
to = ["primary"]

[[steps]]
name = "kill"
fault = { kill = "primary" }

[[steps]]
name = "look"
run = { argv = ["true", "${steps.kill.stdout}"] }
"#;

fn error(text: &str) -> String {
    load("x.toml", text, &[]).unwrap_err().to_string()
}

#[test]
fn a_scenario_is_read_with_its_variables_in_place() {
    let loaded = load("x.toml", GOOD, &[("rate".into(), "7/s".into())]).unwrap();
    assert_eq!(loaded.scenario.traffic.rate, "7/s");
    let kill = &loaded.scenario.steps[0];
    assert_eq!(
        (&kill.action, kill.is_incident),
        (&Action::Fault(Fault::Kill("primary".into())), true)
    );
    // What only the run knows is still to come.
    assert_eq!(loaded.scenario.roles["primary"].smtp.as_deref(), Some("127.0.0.1:${port.primary}"));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_may_have_been_meant() {
    for (from, to, expected) in [
        ("fault =", "fualt =", "x.toml:27:1: there is no key `fualt` here; did you mean `fault`?"),
        ("{ kill", "{ kil", "x.toml:27:11: there is no kind `kil` here; did you mean `kill`?"),
        ("title =", "tilte =", "x.toml:3:1: there is no key `tilte` here; did you mean `title`?"),
        ("fault = { kill = \"primary\" }", "", "x.toml:25:1: step `kill` does nothing"),
        ("serves = true", "", "x.toml: no role serves"),
        ("smtp = \"127.0.0.1:${port.primary}\"\n", "", "role `primary` has no address"),
        (
            "kill = \"primary\"",
            "kill = \"primray\"",
            "the lab has no process `primray`; did you mean `primary`?",
        ),
        ("${rate}", "${rates}", "${rates} is not set; did you mean `rate`?"),
        (
            "${port.primary}\" }",
            "${port.primry}\" }",
            "there is no port `primry`; did you mean `primary`?",
        ),
        ("${steps.kill.stdout}", "${steps.look.stdout}", "step `look` comes later, or is this one"),
        (
            "${steps.kill.stdout}",
            "${steps.kil.stdout}",
            "there is no step `kil`; did you mean `kill`?",
        ),
        ("name = \"look\"", "name = \"kill\"", "two steps are called `kill`"),
        ("argv = [", "undone = [\"x\"], argv = [", "there is no `undo`"),
        ("[\"true\", \"${steps.kill.stdout}\"]", "[]", "`argv` is empty"),
        (
            "{ kill = \"primary\" }",
            "{ fill = { folder = \"/x\", leave = \"7 bits\" } }",
            "`7 bits`: expected a size",
        ),
        (
            "fault = { kill = \"primary\" }",
            "promote = { to = \"primary\", address = { address = \"10.77.0.100\" } }",
            "step `kill`: `10.77.0.100` is no IPv4 address with its bits",
        ),
        (
            "fault = { kill = \"primary\" }",
            "survey = \"snapshot\"",
            "step `kill`: no role has a `snapshot`, the folder that one was restored to",
        ),
        ("to = [", "connections = 0\nto = [", "traffic.connections: 0 is not from 1 to 10000"),
        (
            "serves = true",
            "serves = true\nqueue = { command = [] }",
            "role `primary`: queue.command is empty",
        ),
        (
            "serves = true",
            "serves = true\nqueue = { comand = [\"true\"] }",
            "x.toml:19:11: there is no kind `comand` here; did you mean `command`?",
        ),
        (
            "serves = true",
            "serves = true\nimap = { address = \"127.0.0.1:1\", password = \"x\", folders = [\"J*\"] }",
            "role `primary`: imap.folders: `J*` is no name of a folder",
        ),
        (
            "serves = true",
            "serves = true\nimap = { address = \"127.0.0.1:1\", password = \"x\", folders = [\"Inbox\"] }",
            "imap.folders: INBOX is read anyhow; name others",
        ),
        ("version = 1", "version = 2", "version 2 is not known here"),
        ("to = [\"primary\"]", "to = [\"secondary\"]", "traffic: there is no role `secondary`"),
        ("100/s", "${x}", "the variable `rate` is made of another one"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = error(&GOOD.replacen(from, to, 1));
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    let made = load("x.toml", GOOD, &[("rate".into(), "${lab}".into())]).unwrap_err().to_string();
    assert!(made.contains("--set rate: it is made of another variable"), "{made}");
    let unset = load("x.toml", GOOD, &[("rat".into(), "7/s".into())]).unwrap_err().to_string();
    assert!(
        unset.contains("--set rat: the scenario has no such variable; did you mean `rate`?"),
        "{unset}"
    );
}

/// An environment is for the eyes of its user alone; all else is seen in lists of processes, or kept.
#[test]
fn a_secret_stands_in_environments_and_in_files_of_the_lab_alone() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1) + "\n[secrets]\nkey = { env = \"KEY\" }\n"
    };
    let run = "run = { argv = [\"true\", \"${steps.kill.stdout}\"]";
    for (from, to) in [
        (run, "run = { env = { KEY = \"${secret.key}\" }, argv = [\"true\"]"),
        (run, "run = { argv = [\"echo\", \"$${secret.key}\"]"),
        ("[lab.processes.primary]", "[lab.processes.primary]\nenv = { KEY = \"${secret.key}\" }"),
        ("[lab.processes.primary]", "[env]\nKEY = \"${secret.key}\"\n[lab.processes.primary]"),
        (
            "[lab.processes.primary]",
            "[lab.files]\nkey = \"${secret.key}\"\n[lab.processes.primary]",
        ),
    ] {
        let text = with(from, to);
        load("x.toml", &text, &[]).unwrap_or_else(|e| panic!("{e}: {text}"));
    }
    let shown = "a secret here is seen by everybody on that machine, or stands in the journal";
    let elsewhere =
        "a secret in `env` of a command on another machine is seen by everybody on both";
    let there = |on: &str| {
        format!(
            "serves = true\non = {on}\n[env]\n[[steps]]\nname = \"there\"\nrun = {{ argv = [\"x\"], on = \"primary\", env = {{ KEY = \"${{secret.key}}\" }} }}"
        )
    };
    for (from, to, expected) in [
        (run, "run = { argv = [\"${secret.key}\"]", format!("steps.run.argv: {shown}")),
        (
            run,
            "run = { argv = [\"x\"], undo = [\"${secret.key}\"]",
            format!("steps.run.undo: {shown}"),
        ),
        (
            "fault = { kill = \"primary\" }",
            "mailrig = [\"backup\", \"${secret.key}\"]",
            format!("steps.mailrig: {shown}"),
        ),
        (
            "fault = { kill = \"primary\" }",
            "manual = { prompt = \"type ${secret.key}\" }",
            format!("steps.manual.prompt: {shown}"),
        ),
        (
            "\"serve\",",
            "\"serve\", \"${secret.key}\",",
            format!("lab.processes.primary.run: {shown}"),
        ),
        (
            "serves = true",
            "serves = true\nqueue = { command = [\"x\", \"${secret.key}\"] }",
            format!("roles.primary.queue.command: {shown}"),
        ),
        ("title = \"A test\"", "title = \"${secret.key}\"", format!("title: {shown}")),
        ("serves = true", &there("{ ssh = \"root@localhost\" }"), elsewhere.into()),
        (
            "serves = true",
            &there("{ container = [\"podman\", \"exec\", \"a\"] }"),
            elsewhere.into(),
        ),
    ] {
        let error = error(&with(from, to));
        assert!(error.contains(&expected), "{expected:?} is not in {error:?}");
    }
}

/// `MAILRIG_WRITE_SCHEMA=1` writes it.
#[test]
fn the_published_schema_is_that_of_what_is_read() {
    let schema = schemars::schema_for!(Scenario);
    let mut schema = serde_json::to_value(schema).unwrap();
    schema["title"] = "A scenario of mailrig drill".into();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/schema/scenario.json"
    ));
    if std::env::var_os("MAILRIG_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(
        published == text,
        "docs/schema/scenario.json is old: run this test with MAILRIG_WRITE_SCHEMA=1"
    );
}
