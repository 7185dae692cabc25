//! Servers that nobody listens at, that say nothing, have another certificate, or do not know us: the run ends, counts
//! it, and tells what to do.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use super::common::{ended, letters};
use crate::env::{Env, text};
use crate::serving::Serving;

/// Nine messages in a second.
fn send(env: &Env, target: &str, more: &[&str]) -> (Option<i32>, Value) {
    let letters = letters(env);
    let plan = ["load", target, "--rate", "9/s", "--for", "1s", "--timeout", "2s", "--json"];
    let output = env.run(&[&plan[..], &["--corpus", text(&letters)], more].concat());
    (output.code, ended(&output))
}

/// Nothing is accepted, and that is told with what was answered and with the next step.
#[track_caller]
fn assert_refused(sent: &(Option<i32>, Value), phase: &str, row: (&str, &str), step: &str) {
    let (code, document) = sent;
    assert_eq!((code, &document["verdict"]), (&Some(6), &"nothing_accepted".into()), "{document}");
    assert_eq!((&document["offered"], &document["accepted"]), (&9.into(), &0.into()));
    let (key, value) = row;
    let rows = document["replies"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{document}");
    assert_eq!((&rows[0]["phase"], &rows[0]["count"]), (&phase.into(), &9.into()));
    assert_eq!(rows[0][key].to_string().trim_matches('"'), value);
    let text = rows[0]["text"].as_str().unwrap();
    let sentence = document["sentence"].as_str().unwrap();
    let begin = "no verdict: none of 9 messages was accepted: ";
    assert!(sentence.starts_with(begin) && sentence.ends_with(text), "{sentence}");
    assert!(sentence.contains(&format!("; at {phase}, 9 times: ")), "{sentence}");
    let advice = document["advice"][0]["advice"].as_str().unwrap();
    assert!(advice.contains(step), "{advice}");
}

#[test]
fn nobody_listens_or_nobody_speaks() {
    let env = Env::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let sent = send(&env, &address, &[]);
    assert_refused(&sent, "banner", ("failure", "timeout"), "speak SMTP");
    drop(silent);
    let sent = send(&env, &address, &[]);
    assert_refused(&sent, "connect", ("failure", "io"), "does the server run");
    let text = sent.1["replies"][0]["text"].as_str().unwrap();
    assert_eq!(text, "Connection refused");
    let (socket, closed) = (format!("unix:{}", env.path("none").display()), "does the server run");
    assert_refused(&send(&env, &socket, &[]), "connect", ("failure", "io"), closed);
}

#[test]
fn who_waits_for_a_mailbox_that_says_nothing_may_leave() {
    let env = Env::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let password = env.path("password");
    fs::write(&password, "secret\n").unwrap();
    let place = format!("imap://ann@{}", silent.local_addr().unwrap());
    let letters = letters(&env);
    let plan = ["load", "127.0.0.1:25", "--rate", "9/s", "--for", "1s", "--corpus", text(&letters)];
    let watched = ["--deliver", &place, "--deliver-password-file", text(&password)];
    let running = env.start(&[&plan[..], &watched].concat());
    // It has come as far as to wait for a greeting.
    let _mailbox = silent.accept().unwrap();
    running.signal(Signal::INT);
    let output = running.wait().expect(130);
    assert!(output.stderr.contains("interrupted before anything was done"), "{output}");
}

#[test]
fn one_of_several_servers_that_listens_is_enough() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, document) = send(&env, &format!("{dead},{}", server.address()), &[]);
    assert_eq!((&document["accepted"], &document["connections_failed"]), (&9.into(), &9.into()));
}

#[test]
fn a_certificate_that_does_not_fit_is_told_with_what_to_do() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--tls", "--smtp", "127.0.0.1:0"]);
    let address = server.address();
    let pin = server.ready["certificate_sha256"].as_str().unwrap();
    let send = |more: &[&str]| send(&env, &address, &[&["--tls", "starttls"], more].concat());
    for fits in [&["--tls-pin", pin][..], &["--tls-any"]] {
        assert_eq!(send(fits).1["accepted"], 9, "{fits:?}");
    }
    let authorities = send(&[]);
    assert_refused(&authorities, "tls", ("failure", "tls"), "--tls-ca");
    let sentence = authorities.1["sentence"].as_str().unwrap();
    assert!(sentence.ends_with("invalid peer certificate: UnknownIssuer"), "{sentence}");
    let other = pin.replace(|c: char| c.is_ascii_digit(), "a");
    let pinned = send(&["--tls-pin", &other]);
    assert_refused(&pinned, "tls", ("failure", "tls"), "--tls-pin");
    assert!(pinned.1["sentence"].as_str().unwrap().contains("another certificate"));
    assert_eq!(server.stop()["counts"]["accepted"], 18);
}

#[test]
fn tls_that_begins_elsewhere_is_told() {
    let env = Env::new();
    let plain = Serving::start(&env, "plain", &["--sink", "--smtp", "127.0.0.1:0"]);
    let sent = send(&env, &plain.address(), &["--tls", "starttls", "--tls-any"]);
    assert_refused(&sent, "starttls", ("failure", "unsupported"), "--tls implicit");
    let secured = Serving::start(&env, "tls", &["--sink", "--tls", "--smtp", "127.0.0.1:0"]);
    let sent = send(&env, &secured.address(), &["--tls", "implicit", "--tls-any"]);
    assert_refused(&sent, "tls", ("failure", "tls"), "--tls starttls");
}

#[test]
fn a_wrong_password_is_counted_and_told() {
    let env = Env::new();
    for (name, content) in [("users", "ann:right\n"), ("wrong", "ann:wrong\n")] {
        fs::write(env.path(name), content).unwrap();
    }
    let users = env.path("users");
    let known = ["--users", text(&users), "--plain-auth"];
    let listen = ["--sink", "--smtp", "127.0.0.1:0"];
    let server = Serving::start(&env, "sink", &[&listen[..], &known].concat());
    let address = server.address();
    let send =
        |users: &str, more: &[&str]| send(&env, &address, &[&["--users", users], more].concat());
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let right = send("users", &["--plain-auth", "--auth", mechanism]);
        assert_eq!(right.1["accepted"], 9, "{mechanism}");
        let wrong = send("wrong", &["--plain-auth", "--auth", mechanism]);
        assert_refused(&wrong, "auth", ("code", "535"), "--users");
        assert_eq!(wrong.1["refused"], 9);
    }
    let unknown = send("users", &["--plain-auth", "--auth", "CRAM-MD5"]);
    assert_refused(&unknown, "auth", ("code", "504"), "--auth");
    let in_plain_text = send("users", &["--auth", "PLAIN"]);
    assert_refused(&in_plain_text, "auth", ("failure", "unsupported"), "--plain-auth");
}
