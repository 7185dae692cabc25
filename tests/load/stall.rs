//! A server that says nothing for two seconds: those who wait for it feel it, as a queue computed from the plan says,
//! and what is sent after it took no longer. A loop of senders, one message after the other, would not have seen it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::bounds::{Bounds, percentile, us};
use super::common::letters;
use super::peer::{Exchange, Peer, Phase, Session};
use crate::env::Env;

const STALL: Duration = Duration::from_secs(2);
const STALLED: u64 = 101;
/// One more than a round number: percentiles then are each the time of one message.
const MESSAGES: u32 = 501;

fn run(how: &[&str]) -> (Value, Vec<Session>, Instant) {
    let env = Env::new();
    let peer = Peer::start(|phase, number| match (phase, number) {
        (Phase::Body, STALLED) => STALL,
        _ => Duration::ZERO,
    });
    let (address, messages) = (peer.address(), MESSAGES.to_string());
    let own = ["load", &address, "--messages", &messages, "--no-pipelining"];
    let more = ["--messages-per-connection", "1000", "--corpus", "letters", "--json"];
    letters(&env);
    let document = env.run(&[&own[..], &more, how].concat()).json();
    let over = Instant::now();
    assert_eq!(document["accepted"], MESSAGES, "{document}");
    (document, peer.finish(), over)
}

/// When each message was planned, from the start of the plan: 100 a second, each in the middle of its time.
fn planned(at: usize) -> Duration {
    Duration::from_millis(10) * at as u32 + Duration::from_millis(5)
}

/// First come, first served, by one server: what each waits, if it is served for so long.
fn queue(service: &[Duration]) -> Vec<Duration> {
    let mut free = Duration::ZERO;
    let one = |(at, took): (usize, &Duration)| {
        free = free.max(planned(at)) + *took;
        free - planned(at)
    };
    service.iter().enumerate().map(one).collect()
}

/// The MAIL and the end of each message in the order in which they came.
fn transactions(session: &Session) -> Vec<(Exchange, Exchange)> {
    let of = |phase| session.exchanges.iter().copied().filter(move |of| of.phase == phase);
    of(Phase::Mail).zip(of(Phase::Body)).collect()
}

#[test]
fn a_stall_is_in_the_response_time_of_all_who_waited_and_in_the_service_time_of_one() {
    let (document, sessions, over) = run(&["--rate", "100/s", "--connections", "1"]);
    let [session] = &sessions[..] else { panic!("{} sessions", sessions.len()) };
    let transactions = transactions(session);
    // The plan began no later than that: nothing is sent before its time.
    let begins = transactions.iter().enumerate().map(|(at, (mail, _))| mail.heard - planned(at));
    let start = begins.min().unwrap();
    let mut response = Bounds::default();
    let served: Vec<Duration> =
        transactions.iter().map(|(mail, end)| end.said - mail.heard).collect();
    for (at, least) in queue(&served).into_iter().enumerate() {
        let next = transactions.get(at + 1).map_or(over, |(mail, _)| mail.heard);
        // And no earlier than this before it: once in 500 times a message is sent in time.
        response.add(least, next - start + Duration::from_millis(5) - planned(at));
    }
    response.hold(&document["response_us"], "response");
    // What the plan alone says: the sixth to wait longest is the fifth to come after the stall began.
    for (share, rank) in [(0.999, 0_u32), (0.99, 5), (0.9, 50), (0.7, 150)] {
        let least = STALL - Duration::from_millis(10) * rank;
        assert!(response.least_at(share) >= least, "{share}");
    }
    let service = Bounds::of_service(&sessions, over);
    service.hold(&document["service_us"], "service");
    let at = |name: &str| document["service_us"][name].as_f64().unwrap();
    assert!(at("max") >= us(STALL));
    assert!(at("p99") < us(STALL) / 4.0, "those who came after it were served slowly, too");
    assert!(us(percentile(&served, 0.99)) < us(STALL) / 4.0);
    // Whoever was ready for the next message got it when it was due, also where there was one session alone.
    let late = document["lateness_us"]["p50"].as_f64().unwrap();
    assert!(late < us(planned(1)), "half of what was due while nobody was busy was {late} us late");
    assert!(document["queue_wait_us"]["p90"].as_f64().unwrap() > us(STALL) * 0.7);
}

#[test]
fn senders_in_a_loop_do_not_feel_a_stall() {
    let (document, ..) = run(&["--closed", "1"]);
    let at = |name: &str| document["response_us"][name].as_f64().unwrap();
    assert!(at("max") >= us(STALL));
    assert!(at("p99") < us(STALL) / 4.0, "{document}");
    assert_eq!(document["mode"], "closed");
}
