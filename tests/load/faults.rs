//! A server that fails while it is loaded: killed, full, put off, saying goodbye, saying nothing. Each time the run goes
//! on, every message is counted once, and what the store holds is what the account says.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpSocket;

use super::common::{ended, letters};
use super::stored::Stored;
use crate::env::{Env, text, wait_until};
use crate::serving::Serving;

/// A server that keeps mail below the folder `store` of a test, and acts by rules.
fn serve(env: &Env, address: &str, rules: &str, more: &[&str]) -> Serving {
    fs::write(env.path("rules"), rules).unwrap();
    letters(env);
    let store = env.path("store");
    let own = ["--store", text(&store), "--create", "--smtp", address, "--rules", "rules"];
    Serving::start(env, "server", &[&own[..], more].concat())
}

/// The arguments of a run against it whose mail is looked for.
fn arguments<'a>(address: &'a str, deliver: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let own = ["load", address, "--deliver", deliver, "--deliver-wait", "10s", "--json"];
    let is_sized = more.contains(&"--size");
    let what: &[&str] = if is_sized { &[] } else { &["--corpus", "letters"] };
    [&own[..], what, more].concat()
}

fn load(env: &Env, server: &Serving, more: &[&str]) -> (Value, Stored) {
    let deliver = format!("maildir:{}", env.path("store").display());
    let output = env.run(&arguments(&server.address(), &deliver, more));
    (ended(&output), Stored::read(&env.path("store")))
}

fn count(document: &Value, name: &str) -> u64 {
    document[name].as_u64().unwrap_or_else(|| panic!("no {name} in {document}"))
}

fn counts<const N: usize>(document: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| count(document, name))
}

/// How often the table of replies has this phase and code.
fn replies(document: &Value, phase: &str, code: u64) -> u64 {
    let rows = document["replies"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["phase"] == phase && row["code"] == code);
    rows.map(|row| row["count"].as_u64().unwrap()).sum()
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_what_it_did_not_take_and_no_more() {
    let env = Env::in_memory(64 << 20);
    // Nobody else gets the port meanwhile: it is bound, and connections to it are refused.
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap().to_string();
    let first = serve(&env, &address, "", &[]);
    let deliver = format!("maildir:{}", env.path("store").display());
    let out = env.path("out");
    let plan = ["--rate", "100/s", "--for", "8s", "--messages-per-connection", "5"];
    let more = [&plan[..], &["--out", text(&out)]].concat();
    let running = env.start(&arguments(&address, &deliver, &more));
    wait_until("messages are there", || Stored::read(&env.path("store")).len() > 50);
    first.running.signal(Signal::KILL);
    first.running.wait();
    let kept = Stored::read(&env.path("store")).len();
    wait_until("messages have failed", || column(&out.join("series.csv"), "failed") > 0);
    let second = serve(&env, &address, "", &[]);
    let output = running.wait();
    let (document, stored) = (output.json(), Stored::read(&env.path("store")));
    assert!([Some(4), Some(6)].contains(&output.code), "{output}");
    stored.agrees(&document);
    let [offered, failed] = counts(&document, ["offered", "failed"]);
    assert!(offered == 800 && failed > 0, "{document}");
    assert!(stored.len() > kept, "nothing came after the server was back");
    assert_eq!(second.stop()["counts"]["accepted"], (stored.len() - kept) as u64);
}

#[test]
fn senders_that_try_again_bring_all_to_a_server_that_was_killed() {
    let env = Env::in_memory(64 << 20);
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap().to_string();
    let first = serve(&env, &address, "", &[]);
    let deliver = format!("maildir:{}", env.path("store").display());
    let out = env.path("out");
    let retry = ["--retry", "500ms,1s,2s,4s,8s,16s,30s", "--drain", "60s"];
    let plan = ["--rate", "100/s", "--for", "4s", "--out", text(&out)];
    let running = env.start(&arguments(&address, &deliver, &[&plan[..], &retry].concat()));
    wait_until("messages are there", || Stored::read(&env.path("store")).len() > 50);
    first.running.signal(Signal::KILL);
    first.running.wait();
    wait_until("messages are tried again", || column(&out.join("series.csv"), "retried") > 0);
    let _second = serve(&env, &address, "", &[]);
    let document = running.wait().json();
    let stored = Stored::read(&env.path("store"));
    stored.agrees(&document);
    let [offered, accepted, unknown] = counts(&document, ["offered", "accepted", "unknown"]);
    assert_eq!((offered, accepted + unknown), (400, 400), "{document}");
}

/// The sum of a column of a time series; what is half written does not count.
fn column(path: &Path, name: &str) -> u64 {
    let mut series = String::new();
    if File::open(path).and_then(|mut file| file.read_to_string(&mut series)).is_err() {
        return 0;
    }
    let mut lines = series.lines();
    let Some(at) = lines.next().and_then(|line| line.split(',').position(|word| word == name))
    else {
        return 0;
    };
    lines.filter_map(|line| line.split(',').nth(at)?.parse::<u64>().ok()).sum()
}

#[test]
fn who_is_greylisted_is_taken_at_the_second_attempt_or_counts_as_put_off() {
    let env = Env::in_memory(64 << 20);
    let rules = "[[rule]]\nat = 'rcpt'\ngreylist_ms = 200\n";
    let server = serve(&env, "127.0.0.1:0", rules, &[]);
    let plan = ["--rate", "100/s", "--messages", "100"];
    // No pair of sender and recipient comes twice.
    let plan = [&plan[..], &["--recipients", "user{1..100000}@example.test"]].concat();
    let (document, stored) = load(&env, &server, &plan);
    stored.agrees(&document);
    let names = ["accepted", "deferred", "retried", "recipients_refused"];
    assert_eq!(counts(&document, names), [0, 100, 0, 100], "{document}");
    assert_eq!(document["verdict"], "nothing_accepted");
    let again = [&plan[..], &["--seed", "2", "--retry", "1s"]].concat();
    let (document, stored) = load(&env, &server, &again);
    stored.agrees(&document);
    assert_eq!(counts(&document, names), [100, 0, 100, 100], "{document}");
    assert_eq!((replies(&document, "rcpt", 451), stored.len()), (100, 100));
    // Whoever sent it has waited from the first attempt on.
    assert!(count(&document["response_us"], "min") >= 999_000, "{document}");
    assert_eq!(server.stop()["counts"]["accepted"], 100);
}

#[test]
fn one_recipient_of_two_is_put_off_and_each_has_one_copy() {
    let env = Env::in_memory(64 << 20);
    let rules =
        "[[rule]]\nat = 'rcpt'\nrecipient = 'user1@*'\ntimes = 30\nreply = '450 4.2.1 later'\n";
    let server = serve(&env, "127.0.0.1:0", rules, &[]);
    let plan = ["--rate", "100/s", "--messages", "100", "--retry", "300ms,300ms,1s,1s"];
    let to = ["--recipients", "user{1..2}@example.test", "--recipients-per-message", "2"];
    let (document, stored) = load(&env, &server, &[&plan[..], &to].concat());
    stored.agrees(&document);
    let names = ["accepted", "recipients_accepted", "recipients_refused", "retried"];
    assert_eq!(counts(&document, names), [100, 200, 30, 30], "{document}");
    assert_eq!(stored.copies(), 200);
    assert_eq!(document["delivery"]["delivered"], 200);
}

#[test]
fn goodbye_on_a_connection_that_was_used_costs_a_connection_and_no_message() {
    let env = Env::in_memory(64 << 20);
    let rules = "[[rule]]\nat = 'mail'\nevery = 5\nreply = '421 4.3.2 enough'\n";
    let server = serve(&env, "127.0.0.1:0", rules, &[]);
    let plan = ["--rate", "200/s", "--messages", "100", "--connections", "1"];
    let more = ["--messages-per-connection", "1000"];
    let (document, stored) = load(&env, &server, &[&plan[..], &more].concat());
    stored.agrees(&document);
    // Of 124 MAIL commands each fifth was answered so.
    let names = ["accepted", "deferred", "failed", "reconnects", "connections"];
    assert_eq!(counts(&document, names), [100, 0, 0, 24, 25], "{document}");
    assert_eq!((replies(&document, "mail", 421), stored.len()), (24, 100), "{document}");
    assert_eq!(document["generator"]["connections_most"], 1, "{document}");
    assert_eq!(server.stop()["counts"]["transactions"], 124);
}

#[test]
fn connections_beyond_the_servers_limit_are_put_off() {
    let env = Env::in_memory(64 << 20);
    let rules = "[[rule]]\nat = 'end'\ndelay_ms = 200\n";
    let server = serve(&env, "127.0.0.1:0", rules, &["--max-connections", "2"]);
    let (document, stored) = load(&env, &server, &["--rate", "50/s", "--messages", "100"]);
    stored.agrees(&document);
    let [accepted, deferred, failed] =
        counts(&document, ["accepted", "deferred", "connections_failed"]);
    assert!(accepted > 0 && deferred > 0 && accepted + deferred == 100, "{document}");
    assert_eq!((replies(&document, "banner", 421), failed), (deferred, deferred), "{document}");
    let counts = &server.stop()["counts"];
    assert_eq!((&counts["accepted"], &counts["turned_away"]), (&accepted.into(), &deferred.into()));
}

#[test]
fn a_reply_that_is_lost_leaves_it_open_and_nobody_tries_again() {
    let env = Env::in_memory(64 << 20);
    // 10 are there and 3 are not (30 and so on are of the first rule); of one nothing was sent but its head.
    let rules = "[[rule]]\nat = 'end'\nevery = 10\nlose_reply = true\n\
                 [[rule]]\nat = 'end'\nevery = 15\ndrop = true\n\
                 [[rule]]\nat = 'data'\nnth = 51\ndrop = true\n";
    let server = serve(&env, "127.0.0.1:0", rules, &[]);
    let plan = ["--rate", "100/s", "--messages", "100", "--retry", "100ms,100ms"];
    let (document, stored) = load(&env, &server, &plan);
    stored.agrees(&document);
    // What was cut off before its end was sent may be tried again, and was: as number 101 or so.
    let names = ["accepted", "unknown", "failed", "retried"];
    let [accepted, unknown, failed, retried] = counts(&document, names);
    let expected = server.stop()["counts"]["accepted"].as_u64().unwrap();
    assert_eq!((accepted + unknown, failed, retried), (100, 0, 1), "{document}");
    assert_eq!((unknown, stored.len() as u64), (10 + 3, expected), "{document}");
    let delivery = &document["delivery"];
    assert_eq!((&delivery["unknown"], &delivery["unknown_delivered"]), (&13.into(), &10.into()));
}

#[test]
fn ctrl_c_stops_and_still_tells_what_became_of_all() {
    let env = Env::in_memory(64 << 20);
    let server = serve(&env, "127.0.0.1:0", "", &[]);
    let deliver = format!("maildir:{}", env.path("store").display());
    let address = server.address();
    let running = env.start(&arguments(&address, &deliver, &["--rate", "100/s", "--for", "100s"]));
    wait_until("messages are there", || Stored::read(&env.path("store")).len() > 50);
    running.signal(Signal::INT);
    let document = running.wait().expect(130).json();
    let stored = Stored::read(&env.path("store"));
    stored.agrees(&document);
    assert_eq!((&document["is_interrupted"], count(&document, "unknown")), (&true.into(), 0));
    let [offered, accepted, not_started] =
        counts(&document, ["offered", "accepted", "not_started"]);
    assert!(offered < 9000 && accepted > 50 && not_started == offered - accepted, "{document}");
    assert_eq!(server.stop()["counts"]["accepted"], accepted);
}

#[test]
fn ctrl_c_cuts_off_what_hangs_and_says_that_nobody_knows() {
    let env = Env::in_memory(64 << 20);
    // Five sessions hang, each at its fourth message, or somebody's.
    let rules = "[[rule]]\nat = 'end'\nevery = 4\nhang = true\n";
    let control = env.path("control");
    let server = serve(&env, "127.0.0.1:0", rules, &["--control", text(&control)]);
    let deliver = format!("maildir:{}", env.path("store").display());
    let address = server.address();
    let plan = ["--rate", "200/s", "--for", "100s", "--connections", "5", "--timeout", "90s"];
    let running = env.start(&arguments(&address, &deliver, &plan));
    wait_until("all sessions hang", || {
        let asked = env.run(&["control", text(&control), "counts", "--json"]).expect(0).json();
        asked["counts"]["transactions"] == 20
    });
    running.signal(Signal::INT);
    let document = running.wait().expect(130).json();
    let stored = Stored::read(&env.path("store"));
    stored.agrees(&document);
    assert_eq!(counts(&document, ["accepted", "unknown", "failed"]), [15, 5, 0], "{document}");
    assert_eq!(count(&document, "not_started"), count(&document, "offered") - 20);
    assert_eq!(document["delivery"]["unknown"], 5);
    // 200 a second until the stop, and not until what hung was given up.
    let planned = count(&document, "duration_us") as f64 * 200.0 / 1e6;
    let offered = count(&document, "offered") as f64;
    assert!((offered - planned).abs() < 2.0, "{offered} for {planned}: {document}");
}

/// The runner leaves these out where what they need is not there.
mod needs_tmpfs {
    use super::*;
    use crate::full_disk::Tmpfs;

    #[test]
    fn a_full_disk_at_the_server_puts_off_what_has_no_space() {
        let env = Env::new();
        fs::remove_dir(env.path("store")).unwrap();
        let Some(disk) = Tmpfs::mount(env.path("store"), "2m") else { return };
        let server = serve(&env, "127.0.0.1:0", "", &[]);
        let plan = ["--rate", "100/s", "--messages", "400", "--size", "8K"];
        let (document, stored) = load(&env, &server, &plan);
        stored.agrees(&document);
        let [accepted, deferred] = counts(&document, ["accepted", "deferred"]);
        assert!(accepted > 20 && deferred > 20 && accepted + deferred == 400, "{document}");
        let full: u64 = [451, 452].map(|code| replies(&document, "body", code)).iter().sum();
        let early: u64 = ["mail", "rcpt", "data"]
            .map(|phase| replies(&document, phase, 451) + replies(&document, phase, 452))
            .iter()
            .sum();
        assert_eq!(full + early, deferred, "{document}");
        // Space lets the same server take mail again.
        disk.resize("20m");
        let (document, stored) = load(&env, &server, &["--rate", "100/s", "--messages", "50"]);
        stored.agrees(&document);
        assert_eq!(count(&document, "accepted"), 50, "{document}");
        assert_eq!(server.stop()["counts"]["accepted"], accepted + 50);
        drop(disk);
    }
}
