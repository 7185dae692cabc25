//! Each rule at each moment of a session, however the client speaks.

use std::time::{Duration, Instant};

use smtp::client::{Client, Limits, Options};

use super::*;
use crate::proxy::Mode;

const MOMENTS: [&str; 8] = ["connect", "ehlo", "mail", "rcpt", "data", "body", "end", "quit"];

/// Where a rule may not stand.
const NOT: (&str, usize) = ("", 0);
const NO_SESSION: (&str, usize) = ("no session", 0);
const FAILED: (&str, usize) = ("failed", 0);
const GONE: (&str, usize) = ("unknown", 0);
const KEPT: (&str, usize) = ("unknown", 1);
const WELL: (&str, usize) = ("accepted 250", 1);
const SAID: (&str, usize) = ("refused 451", 0);

/// What the client is told, and how many messages the server has.
type Row = (&'static str, [(&'static str, usize); 8]);

const TABLE: [Row; 9] = [
    ("cut = true", [NO_SESSION, NO_SESSION, FAILED, FAILED, FAILED, GONE, GONE, WELL]),
    ("reset = true", [NO_SESSION, NO_SESSION, FAILED, FAILED, FAILED, GONE, GONE, WELL]),
    ("cut_after = true", [NO_SESSION, NO_SESSION, FAILED, FAILED, FAILED, NOT, KEPT, WELL]),
    ("cut_in_the_middle = true", [NOT, NO_SESSION, FAILED, FAILED, FAILED, GONE, GONE, WELL]),
    ("hold_for_ever = true", [NO_SESSION, NO_SESSION, FAILED, FAILED, FAILED, NOT, KEPT, WELL]),
    (
        "reply = '451 4.3.0 not now'",
        [("no session 451", 0), ("no session 451", 0), SAID, SAID, SAID, NOT, SAID, WELL],
    ),
    ("hold_ms = 20", [WELL, WELL, WELL, WELL, WELL, NOT, WELL, WELL]),
    ("latency_ms = 5", [WELL; 8]),
    ("bandwidth_bytes_per_s = 20000", [WELL; 8]),
];

#[tokio::test]
async fn each_rule_at_each_moment_does_what_it_says_and_nothing_else() {
    for (pipelining, chunking) in [(true, false), (false, false), (true, true)] {
        for (act, expected) in TABLE {
            for (at, (told, kept)) in MOMENTS.into_iter().zip(expected) {
                if told.is_empty() {
                    continue;
                }
                let context = format!("{act} at {at}, {pipelining} {chunking}");
                // Whatever is said then is not waited for long; the rest has all the time it needs.
                let patience_ms = if act.starts_with("hold_for_ever") { 400 } else { 60_000 };
                let limits = Limits::all(Duration::from_millis(patience_ms));
                let options = Options { pipelining, chunking, limits, ..options() };
                let world = World::start(Plan::default()).await;
                let rule = format!("[[rule]]\nat = '{at}'\n{act}\n");
                world.proxy.set(rules(&rule), Mode::Pass).await.unwrap();
                let is = world.send(&options, LETTER).await;
                // A small message is one chunk, which is the last.
                let acts = !(chunking && at == "data");
                let (told, kept) = if acts { (told, kept) } else { WELL };
                assert!(is.iter().all(|is| is == told), "{context}: {is:?}");
                let acted = world.proxy.counts().acted;
                assert_eq!(acted[0] > 0, acts, "{context}");
                let messages = world.stop().await;
                assert_eq!(messages.len(), kept, "{context}");
                assert!(messages.iter().all(|message| message.ends_with(LETTER)), "{context}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_rule_everything_is_as_if_nothing_were_between() {
    let large = format!("Subject: x\r\n\r\n{}", ".a line\r\n\r\n.\r\n".repeat(200_000));
    for (pipelining, chunking) in [(true, false), (false, false), (true, true)] {
        let options = Options { pipelining, chunking, ..options() };
        let world = World::start(Plan::default()).await;
        let mut client = Client::connect(&world.endpoint(), &options).await.unwrap();
        for text in [LETTER, &large, "", ".\r\n"] {
            assert_eq!(send(&mut client, text).await, ["accepted 250"; 2]);
        }
        client.quit().await;
        let counts = world.proxy.counts();
        assert_eq!((counts.sessions, counts.turned_away), (1, 0));
        assert!(counts.bytes_to_server > large.len() as u64 && counts.bytes_to_client > 100);
        let kept = world.stop().await;
        assert_eq!(kept.len(), 4);
        assert!(kept[1].ends_with(&large) && kept[3].ends_with(".\r\n"));
    }
}

#[tokio::test]
async fn only_the_transactions_that_a_rule_names_go_wrong() {
    let plan = Plan {
        rules: "[[rule]]\nat = 'end'\nnth = 2\nreply = '451 4.3.0 x'\n\
                [[rule]]\nat = 'end'\nevery = 3\ntimes = 1\ncut_after = true\n\
                [[rule]]\nat = 'connect'\nnth = 5\nrefuse = true\n",
        ..Plan::default()
    };
    let world = World::start(plan).await;
    let mut told = Vec::new();
    for _ in 1..=7 {
        told.push(world.send(&options(), LETTER).await.remove(0));
    }
    let expected = [
        "accepted 250",
        "refused 451",
        "unknown",
        "accepted 250",
        "no session",
        "accepted 250",
        "accepted 250",
    ];
    assert_eq!(told, expected);
    assert_eq!(world.proxy.counts().acted, [1, 1, 1]);
    assert_eq!(world.stop().await.len(), 5);
}

#[tokio::test]
async fn who_was_answered_for_the_server_is_told_that_it_is_lost() {
    let plan = Plan { rules: "[[rule]]\nat = 'end'\nreply = '250 2.0.0 lie'\n", ..Plan::default() };
    let world = World::start(plan).await;
    let mut client = Client::connect(&world.endpoint(), &options()).await.unwrap();
    assert_eq!(send(&mut client, LETTER).await, ["accepted 250"; 2]);
    assert_eq!(send(&mut client, LETTER).await, ["refused 421"; 2]);
    assert!(!client.is_open());
    assert!(world.stop().await.is_empty());
}

#[tokio::test]
async fn chunks_before_the_last_are_data() {
    let large = "x\r\n".repeat(1 << 20);
    for (act, told) in [
        ("reply = '452 4.3.1 full'", "refused 452"),
        ("cut = true", "failed"),
        ("cut_after = true", "failed"),
        ("cut_in_the_middle = true", "failed"),
    ] {
        let world = World::start(Plan::default()).await;
        let rule = format!("[[rule]]\nat = 'data'\n{act}\n");
        world.proxy.set(rules(&rule), Mode::Pass).await.unwrap();
        let options = Options { chunking: true, ..options() };
        assert_eq!(world.send(&options, &large).await, [told; 2], "{act}");
        assert!(world.stop().await.is_empty(), "{act}");
    }
}

#[tokio::test]
async fn in_lmtp_each_recipient_has_a_reply() {
    for (act, told, kept) in [
        ("hold_ms = 10", "accepted 250", 1),
        ("reply = '451 4.3.0 x'", "refused 451", 0),
        ("cut_after = true", "unknown", 1),
        ("cut = true", "unknown", 0),
    ] {
        let world = World::start(Plan { is_lmtp: true, ..Plan::default() }).await;
        // The second message shows that the replies to the first were counted rightly.
        let mut client = Client::connect(&world.endpoint(), &lmtp()).await.unwrap();
        assert_eq!(send(&mut client, LETTER).await, ["accepted 250"; 2]);
        let rule = format!("[[rule]]\nat = 'end'\n{act}\n");
        world.proxy.set(rules(&rule), Mode::Pass).await.unwrap();
        assert_eq!(send(&mut client, LETTER).await, [told; 2], "{act}");
        drop(client);
        assert_eq!(world.stop().await.len(), 1 + kept, "{act}");
    }
}

#[tokio::test]
async fn what_takes_time_takes_it() {
    let text = "x".repeat(20_000);
    for (rule, least_ms) in [
        ("at = 'end'\nhold_ms = 200", 200),
        ("at = 'connect'\nhold_ms = 200", 200),
        // Connection, EHLO, MAIL to DATA, and the body, there and back.
        ("at = 'ehlo'\nlatency_ms = 30", 180),
        ("at = 'body'\nbandwidth_bytes_per_s = 100000", 180),
    ] {
        let world = World::start(Plan::default()).await;
        world.proxy.set(rules(&format!("[[rule]]\n{rule}\n")), Mode::Pass).await.unwrap();
        let start = Instant::now();
        assert_eq!(world.send(&options(), &text).await, ["accepted 250"; 2], "{rule}");
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(least_ms), "{rule}: {elapsed:?}");
        assert_eq!(world.stop().await.len(), 1);
    }
}
