//! What `load --json` prints in each of its forms is as its schema says; each document that a test reads is checked
//! (`json`), so that making one of each is enough. A twin shows that the schema would refuse what it does not know.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::documents::violations;
use crate::env::{Env, text, wait_until};
use crate::process::Output;
use crate::serving::Serving;

/// The document of a run whose verdict may be any: a busy machine makes the generator late.
fn document(output: &Output) -> Value {
    assert!([Some(0), Some(4), Some(6)].contains(&output.code), "{output}");
    let document = output.json();
    assert_eq!(document["type"], "load");
    document
}

fn server(env: &Env, rules: &str) -> Serving {
    let path = env.path("rules.toml");
    fs::write(&path, rules).unwrap();
    let store = env.path("mail");
    fs::create_dir_all(&store).unwrap();
    let smtp = ["--smtp", "127.0.0.1:0", "--rules", text(&path)];
    let mail = ["--store", text(&store), "--create", "--no-fsync", "--tls"];
    Serving::start(env, "server", &[&smtp[..], &mail].concat())
}

/// With all that a run can be asked to look at, and with answers of every kind.
pub(super) fn furnished(env: &Env, more: &[&str]) -> Output {
    let server = server(env, FAULTS);
    let (profile, mail) =
        (env.path("plan.toml"), format!("maildir:{}", env.path("mail").display()));
    fs::write(&profile, PROFILE).unwrap();
    let sides = [
        "--tls",
        "starttls",
        "--tls-any",
        "--deliver",
        &mail,
        "--deliver-wait",
        "1s",
        "--queue",
        "echo 3",
    ];
    let plan =
        ["load", &server.address(), "--profile", text(&profile), "--timeout", "1s", "--json"];
    let output = env.run(&[&plan[..], &sides, more].concat());
    server.stop();
    output
}

#[test]
fn a_run_with_everything_keeps_to_the_schema() {
    let env = Env::new();
    let document = document(&furnished(&env, &[]));
    assert_eq!(document["plan"]["stages"].as_array().unwrap().len(), 2);
    assert!(document["delivery"]["expected"].as_u64() > Some(0), "{document}");
    assert!(document["queue"]["samples"].as_u64() > Some(0), "{document}");
    let replies = document["replies"].as_array().unwrap();
    let has = |key: &str| replies.iter().any(|row| row.get(key).is_some());
    assert!(["code", "enhanced", "text", "failure"].into_iter().all(has), "{replies:?}");
}

#[test]
fn closed_interrupted_and_compared_runs_keep_to_their_schemas() {
    let env = Env::new();
    let server = server(&env, "");
    let address = server.address();
    let (before, after) = (env.path("before"), env.path("after"));
    let closed = ["load", &address, "--closed", "2", "--for", "1s", "--json", "--out"];
    let closed = document(&env.run(&[&closed[..], &[text(&before)]].concat()));
    assert_eq!((&closed["mode"], &closed["asked_per_s"]), (&json!("closed"), &Value::Null));

    let long = ["load", &address, "--rate", "50/s", "--for", "2m", "--json", "--out", text(&after)];
    let running = env.start(&long);
    let series = after.join("series.csv");
    wait_until("an interval is over", || {
        fs::read_to_string(&series).is_ok_and(|rows| rows.lines().count() > 1)
    });
    running.signal(Signal::INT);
    let interrupted = running.wait().expect(130).json();
    assert_eq!(
        (&interrupted["type"], &interrupted["is_interrupted"]),
        (&json!("load"), &json!(true))
    );

    let compared = env.run(&["load", "compare", text(&before), text(&after), "--json"]);
    assert!([Some(0), Some(4)].contains(&compared.code), "{compared}");
    let compared = compared.json();
    assert_eq!(compared["type"], "load_comparison");
    assert!(!compared["times"].as_array().unwrap().is_empty());
    server.stop();
}

/// A search that finds a limit soon.
pub(super) fn searched(env: &Env, more: &[&str]) -> Output {
    let server = server(env, SLOW);
    let address = server.address();
    // Two connections and a tenth of a second for each message: more than 20 a second wait.
    let search = ["load", &address, "--find-limit", "--for", "1s", "--warmup", "100ms", "--json"];
    let limits = ["--connections", "2", "--expect", "p99<1s,errors<0.1%"];
    let output = env.run(&[&search[..], &limits, more].concat());
    server.stop();
    output
}

#[test]
fn a_search_keeps_to_the_schema() {
    let env = Env::new();
    let document = document(&searched(&env, &[]));
    let steps = document["limit"]["curve"].as_array().unwrap();
    let rates: Vec<f64> = steps.iter().map(|step| step["asked_per_s"].as_f64().unwrap()).collect();
    // A rate of which no whole number of messages comes in a step is not tried for ever.
    let is_thrice = rates.windows(3).any(|three| three.iter().all(|rate| *rate == three[0]));
    assert!(!rates.is_empty() && !is_thrice, "{rates:?}");
    if let Some(held) = document["limit"]["highest_held_per_s"].as_f64() {
        let shown = document["asked_per_s"].as_f64().unwrap();
        assert!((shown - held).abs() < 1.0, "{held}/s is the answer, and {shown}/s is shown");
    }
}

#[test]
fn a_run_that_no_server_answers_keeps_to_the_schema() {
    let env = Env::new();
    // A port that was free a moment ago.
    let address = Serving::start(&env, "gone", &["--sink", "--smtp", "127.0.0.1:0"]);
    let target = address.address();
    address.stop();
    let output = env.run(&["load", &target, "--rate", "20/s", "--for", "1s", "--json"]).expect(6);
    let document = document(&output);
    assert_eq!(
        (&document["verdict"], &document["service_us"]),
        (&json!("nothing_accepted"), &Value::Null)
    );
}

/// The twin.
#[test]
fn a_document_with_a_wrong_or_a_missing_key_is_refused() {
    let env = Env::new();
    let document = document(&furnished(&env, &[]));
    let wrong = [
        ("/verdict", json!("perfect")),
        ("/response_us/p99", json!(-1)),
        ("/response_us/p75", json!(1)),
        ("/phases/lunch", json!(null)),
        ("/phases/body", json!(null)),
        ("/run", json!("x")),
        ("/replies/0/phase", json!("lunch")),
        ("/replies/0/more", json!(1)),
        ("/warmup/accepted", json!("1")),
        ("/delivery/samples/lost", json!([-1])),
        ("/queue/slope", json!(1)),
        ("/generator/cpu_shares", json!([null])),
        ("/plan/stages/0/is_warmup", json!("yes")),
        ("/limit", json!(null)),
        ("/more", json!(1)),
    ];
    for (place, value) in wrong {
        let mut document = document.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value;
        assert_ne!(violations(&document), [""; 0], "{place} may be anything");
    }
    for parent in ["", "/response_us", "/generator", "/delivery", "/queue", "/warmup", "/plan"] {
        let keys: Vec<String> =
            document.pointer(parent).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys.iter().filter(|key| *key != "type") {
            let mut document = document.clone();
            document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            assert_ne!(violations(&document), [""; 0], "{parent}/{key} may be missing");
        }
    }
}

/// Refused, put off, and not answered at all.
const FAULTS: &str = r#"
[[rule]]
at = "rcpt"
every = 7
reply = "550 5.1.1 nobody here"

[[rule]]
at = "end"
every = 11
reply = "452 4.2.2 full"

[[rule]]
at = "end"
nth = 60
hang = true
"#;

const SLOW: &str = "[[rule]]\nat = \"end\"\ndelay_ms = 100\n";

const PROFILE: &str = r#"
warmup = "1s"

[[phase]]
name = "working"
rate = "40/s"
duration = "2s"
"#;
