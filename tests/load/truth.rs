//! That the numbers are true: waits of a known length are told as long as they were, and the same seed sends the same.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bounds::{Bounds, SHARES};
use super::common::letters;
use super::peer::{Message, Peer, Phase, Session};
use crate::env::Env;
use crate::serving::Serving;

/// Most waits take `base`, 1 of 8 twice as long, 1 of 60 four times, 1 of 300 eight times: the median, the 90th, the 99th
/// and the 99.9th percentile are far apart. The last few are short, so that sessions end at one time.
fn mixed(base: Duration, number: u64, last: u64) -> Duration {
    match number {
        _ if number > last => base,
        _ if number.is_multiple_of(300) => base * 8,
        _ if number.is_multiple_of(60) => base * 4,
        _ if number.is_multiple_of(8) => base * 2,
        _ => base,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The waits of the injected lengths alone must have these percentiles, or the peer was not what it should be.
#[track_caller]
fn check_injected(bounds: &Bounds, base: Duration, upto: usize) {
    for ((name, share), times) in SHARES.into_iter().zip([1, 2, 4, 8, 8]).take(upto) {
        assert!(bounds.least_at(share) >= base * times, "the peer was too fast at {name}");
    }
}

#[test]
fn each_phase_of_a_transaction_takes_what_its_server_saw() {
    let env = Env::new();
    let base = |phase| match phase {
        Phase::Mail => ms(20),
        Phase::Rcpt => ms(24),
        Phase::Data => ms(28),
        Phase::Body => ms(16),
        _ => Duration::ZERO,
    };
    let peer = Peer::start(move |phase, number| mixed(base(phase), number, 1100));
    let address = peer.address();
    // Percentiles of 1201 are each the time of one message, whichever way shares are rounded.
    let arguments = ["load", &address, "--closed", "8", "--messages", "1201", "--no-pipelining"];
    let more = ["--messages-per-connection", "1000", "--corpus", "letters", "--json"];
    letters(&env);
    let document = env.run(&[&arguments[..], &more].concat()).json();
    let over = Instant::now();
    let sessions = peer.finish();
    assert_eq!((&document["accepted"], sessions.len()), (&1201.into(), 8), "{document}");
    let phases = [
        ("mail", Phase::Mail),
        ("rcpt", Phase::Rcpt),
        ("data", Phase::Data),
        ("body", Phase::Body),
    ];
    for (name, phase) in phases {
        let bounds = Bounds::of(phase, &sessions, over);
        check_injected(&bounds, base(phase), 5);
        bounds.hold(&document["phases"][name], name);
    }
    Bounds::of_service(&sessions, over).hold(&document["service_us"], "service");
}

#[test]
fn each_phase_of_a_connection_takes_what_its_server_saw() {
    let env = Env::new();
    let base = |phase| match phase {
        Phase::Banner => ms(14),
        Phase::Ehlo => ms(10),
        Phase::Quit => ms(12),
        _ => Duration::ZERO,
    };
    let peer = Peer::start(move |phase, number| mixed(base(phase), number, 300));
    let address = peer.address();
    letters(&env);
    let begun = Instant::now();
    let arguments = ["load", &address, "--closed", "1", "--messages", "301", "--no-pipelining"];
    let document = env.run(&[&arguments[..], &["--corpus", "letters", "--json"]].concat()).json();
    let over = Instant::now();
    let sessions = peer.finish();
    assert_eq!((&document["accepted"], sessions.len()), (&301.into(), 301), "{document}");
    for (name, phase) in [("ehlo", Phase::Ehlo), ("quit", Phase::Quit)] {
        let bounds = Bounds::of(phase, &sessions, over);
        check_injected(&bounds, base(phase), 3);
        bounds.hold(&document["phases"][name], name);
    }
    let (greeted, response) = of_connections(&sessions, &document, begun);
    greeted.hold(&document["phases"]["banner"], "banner");
    response.hold(&document["response_us"], "response");
}

/// Bounds of what a greeting and what a message took, with one session after the other. A connection is there before
/// the server hears of it; what the client says that it took bounds by how much.
fn of_connections(sessions: &[Session], document: &Value, begun: Instant) -> (Bounds, Bounds) {
    let connect = document["phases"]["connect"]["max"].as_u64().unwrap();
    let connect = Duration::from_micros(connect);
    let (mut greeted, mut response) = (Bounds::default(), Bounds::default());
    let mut before = begun;
    for session in sessions {
        let all = &session.exchanges;
        let end = all.iter().position(|exchange| exchange.phase == Phase::Body).unwrap();
        let (banner, ehlo) = (all[0], all[1]);
        let least = (banner.said - banner.heard).saturating_sub(connect);
        greeted.add(least, ehlo.heard - before);
        response.add(all[end].said - banner.heard, all[end + 1].heard - before);
        before = all.last().unwrap().said;
    }
    (greeted, response)
}

#[test]
fn rules_of_our_own_server_delay_the_phase_that_they_name() {
    let env = Env::new();
    let delays = [
        ("connect", "banner", 60),
        ("ehlo", "ehlo", 70),
        ("mail", "mail", 80),
        ("rcpt", "rcpt", 90),
        ("data", "data", 100),
        ("end", "body", 110),
        ("quit", "quit", 120),
    ];
    let mut rules = "[[rule]]\nat = 'end'\nevery = 10\ndelay_ms = 900\n".to_owned();
    for (at, _, delay) in delays {
        rules.push_str(&format!("[[rule]]\nat = '{at}'\ndelay_ms = {delay}\n"));
    }
    fs::write(env.path("rules"), rules).unwrap();
    let serve = ["--sink", "--smtp", "127.0.0.1:0", "--rules", "rules"];
    let server = Serving::start(&env, "sink", &serve);
    let address = server.address();
    let plan =
        ["load", &address, "--rate", "20/s", "--messages", "60", "--no-pipelining", "--json"];
    let document = env.run(&plan).json();
    assert_eq!(document["accepted"], 60, "{document}");
    for (_, phase, delay) in delays {
        let summary = &document["phases"][phase];
        let at = |name: &str| summary[name].as_u64().unwrap();
        // A greeting is on its way before its reader looks at the clock.
        assert!(at("min") >= delay * 1000 - 5000, "{phase}: {summary}");
        assert!(at("p50") < delay * 2000, "{phase}: {summary}");
        assert_eq!(at("p99") >= 900_000, phase == "body", "{phase}: {summary}");
    }
    // 6 of 60.
    assert!(document["phases"]["body"]["p90"].as_u64().unwrap() < 900_000, "{document}");
    let service = document["service_us"]["p50"].as_u64().unwrap();
    assert!(service >= 380_000, "{service}");
    server.stop();
}

/// What a run with a seed sends, by index, and its plan. What tells one run from another is taken out.
fn sent(env: &Env, seed: &str) -> (BTreeMap<u64, Message>, String) {
    let peer = Peer::start(|_, _| Duration::ZERO);
    let address = peer.address();
    let plan = ["load", &address, "--rate", "200/s", "--poisson", "--messages", "60"];
    let draw = ["--seed", seed, "--recipients-per-message", "1-3", "--size", "1K-4K", "--json"];
    let document = env.run(&[&plan[..], &draw].concat()).json();
    let run = document["run"].as_str().unwrap().to_owned();
    let messages = peer.finish().into_iter().flat_map(|session| session.messages);
    let messages = messages.map(|mut message| {
        let lines = message.text.lines().filter(|line| !line.starts_with("Date: "));
        message.text = lines.collect::<Vec<_>>().join("\n").replace(&run, "RUN");
        let mark = message.text.lines().find_map(|line| line.strip_prefix("X-Mailrig-Load: RUN "));
        let index = mark.unwrap().split(' ').next().unwrap().parse().unwrap();
        (index, message)
    });
    (messages.collect(), document["plan"]["digest"].as_str().unwrap().to_owned())
}

#[test]
fn the_same_seed_gives_the_same_plan_and_messages() {
    let env = Env::new();
    let ((one, plan), (again, same_plan)) = (sent(&env, "7"), sent(&env, "7"));
    assert!(one.keys().copied().eq(0..60), "{:?}", one.keys());
    assert!(one.values().any(|message| message.commands.len() == 4));
    for (index, message) in &one {
        assert_eq!(Some(message), again.get(index), "message {index}");
    }
    assert_eq!(plan, same_plan);
    let (other, other_plan) = sent(&env, "8");
    assert_ne!(plan, other_plan);
    let equal = one.iter().filter(|(index, message)| other.get(index) == Some(message)).count();
    assert_eq!(equal, 0, "another seed sent the same");
}
