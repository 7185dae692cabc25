//! The search for the highest rate that holds, against a server whose capacity is known.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use super::common::letters;
use crate::env::{Env, text, wait_until};
use crate::process::{Output, Running};
use crate::serving::Serving;

/// A server that does what a rule says.
fn server(env: &Env, rule: &str) -> Serving {
    let rules = env.path("rules.toml");
    fs::write(&rules, format!("[[rule]]\n{rule}\n")).unwrap();
    Serving::start(env, "sink", &["--sink", "--smtp", "127.0.0.1:0", "--rules", text(&rules)])
}

/// A search with two connections, each for many messages.
fn search(env: &Env, address: &str, more: &[&str]) -> Running {
    let letters = letters(env);
    let search = ["load", address, "--find-limit", "--corpus", text(&letters), "--json"];
    let sessions = ["--connections", "2", "--messages-per-connection", "1000", "--drain", "2s"];
    env.start(&[&search[..], &sessions, more].concat())
}

/// Each message takes 50 ms, on two connections: more than 40 a second cannot be.
const RULE: &str = "at = 'end'\ndelay_ms = 50";

/// Of a step, with its warm-up.
const STEP: [&str; 4] = ["--for", "1s", "--warmup", "500ms"];

/// The rate at which nobody waits longer than the objective: what comes above the capacity in 1.5 s waits at its end,
/// and one of a hundred may wait longer.
const MOST_PER_S: f64 = 40.0 * (1.0 + (0.2 + 0.02) / 1.5);

/// What is true of a search however busy the machine is: more than the server can do does not hold.
fn assert_true(document: &Value) {
    let limit = &document["limit"];
    let held = limit["highest_held_per_s"].as_f64();
    let broken = limit["first_broken"]["per_s"].as_f64();
    if let Some(held) = held {
        assert!(held <= MOST_PER_S, "{document}");
        assert!(broken.is_none_or(|broken| broken > held), "{document}");
    }
    let curve = limit["curve"].as_array().unwrap();
    let rate = |step: &Value| step["asked_per_s"].as_f64().unwrap();
    assert!(curve.is_sorted_by_key(rate), "{document}");
    for step in curve {
        let is_held = step["outcome"]["word"] == "held";
        assert!(!is_held || rate(step) <= MOST_PER_S, "{step}");
        // Two connections of 50 ms a message, whatever is asked of them, and what was under way at the end.
        assert!(step["achieved_per_s"].as_f64().unwrap() <= 42.0, "{step}");
    }
}

#[test]
fn the_limit_of_a_server_of_known_capacity_is_found() {
    let env = Env::new();
    let server = server(&env, RULE);
    let address = server.address();
    let page = env.path("page.html");
    let search = |out: &str| -> Output {
        let files = ["--expect", "p99<200ms,errors<0.1%", "--html", text(&page), "--out", out];
        search(&env, &address, &[&STEP[..], &files].concat()).wait()
    };
    // Where the machine was too busy to tell, the search says so; it is tried again, and what it says is true anyway.
    for attempt in 1..=3 {
        let out = env.path(&format!("out{attempt}"));
        let output = search(text(&out));
        let document = output.json();
        assert_true(&document);
        let written: Value =
            serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
        assert_eq!(written["limit"], document["limit"]);
        let html = fs::read_to_string(&page).unwrap();
        assert!(html.contains("knee-t"), "no knee");
        let limit = &document["limit"];
        if output.code == Some(6) {
            let sentence = document["sentence"].as_str().unwrap();
            assert!(sentence.contains("the generator was the limit"), "{document}");
            assert_eq!(limit["ended"], "limited_by_generator");
            continue;
        }
        assert_eq!(output.code, Some(0), "{output}");
        assert_eq!((&limit["ended"], &document["verdict"]), (&"narrowed".into(), &"met".into()));
        let held = limit["highest_held_per_s"].as_f64().unwrap();
        let broken = limit["first_broken"]["per_s"].as_f64().unwrap();
        // A busy machine makes each message longer than 50 ms.
        assert!(held >= 20.0 && broken / held <= 1.06, "{held} {broken}");
        let reason = limit["first_broken"]["reason"].as_str().unwrap();
        assert!(reason.starts_with("p99<200ms: it was "), "{reason}");
        let sentence = document["sentence"].as_str().unwrap();
        let expected = format!("{held:.1}/s hold, {broken:.1}/s do not: {reason}");
        assert_eq!(sentence, expected);
        return;
    }
}

#[test]
fn a_server_that_takes_nothing_is_not_asked_for_less_and_less() {
    let env = Env::new();
    let server = server(&env, "at = 'mail'\nreply = '550 5.7.1 go away'");
    let output = search(&env, &server.address(), &STEP).wait().expect(6);
    let document = output.json();
    assert_eq!(document["verdict"], "nothing_accepted");
    assert_eq!(document["limit"]["curve"].as_array().unwrap().len(), 2, "{document}");
    let sentence = document["sentence"].as_str().unwrap();
    assert!(sentence.ends_with("; at mail, 10 times: 550 go away"), "{sentence}");
}

#[test]
fn where_no_rate_holds_that_is_the_answer() {
    let env = Env::new();
    let server = server(&env, RULE);
    let more = ["--for", "500ms", "--warmup", "0ms", "--expect", "p99<20ms"];
    let output = search(&env, &server.address(), &more).wait();
    let document = output.json();
    // One message that is late makes a step of one invalid.
    assert!([Some(4), Some(6)].contains(&output.code), "{output}");
    assert!(document["limit"]["highest_held_per_s"].is_null(), "{document}");
    if output.code == Some(4) {
        let sentence = document["sentence"].as_str().unwrap();
        assert!(
            sentence.starts_with("not even ") && sentence.contains("p99<20ms: it was"),
            "{sentence}"
        );
        let first = document["limit"]["first_broken"]["per_s"].as_f64().unwrap();
        assert!(first < 2.0, "{document}");
    }
}

#[test]
fn a_search_that_is_interrupted_tells_what_it_found() {
    let env = Env::new();
    let server = server(&env, RULE);
    let log = env.path("steps");
    let out = ["--for", "1h", "--expect", "p99<1s", "--out", text(&log)];
    let running = search(&env, &server.address(), &out);
    // The first step is under way.
    wait_until("messages are sent", || {
        let series = fs::read_to_string(log.join("step-01-10/series.csv")).unwrap_or_default();
        series.lines().count() > 1
    });
    running.signal(Signal::INT);
    let document = running.wait().expect(130).json();
    assert_eq!(
        (&document["is_interrupted"], &document["limit"]["ended"]),
        (&true.into(), &"unfinished".into())
    );
    let sentence = document["sentence"].as_str().unwrap();
    assert!(sentence.contains("stopped"), "{sentence}");
    let written: Value =
        serde_json::from_slice(&fs::read(log.join("result.json")).unwrap()).unwrap();
    assert_eq!(written["limit"], document["limit"]);
}
