//! Every way in which a conversation can go wrong, at every step of it: a message is accepted,
//! refused or unknown, never anything else, and a session that is out of step says nothing more.

use std::time::Duration;

use smtp::client::{Client, Endpoint, Limits, NotConnected, Options, Protocol};
use smtp::{Address, Content, Envelope, Outcome, Refusal};

use crate::peer::{self, Step, hear, say};

pub(crate) fn options(pipelining: bool, protocol: Protocol) -> Options {
    let limits = Limits::all(Duration::from_secs(20));
    Options { protocol, pipelining, chunking: true, limits, ..Options::new("client.test") }
}

pub(crate) fn envelope(to: usize) -> Envelope {
    let address = |text: &str| Address::parse(text).unwrap();
    Envelope {
        from: Some(address("a@client.test")),
        to: (1..=to).map(|n| address(&format!("{n}@server.test")).into()).collect(),
        ..Envelope::default()
    }
}

/// Sends one message to recipients, after that another; gives the outcomes of both, or why there
/// was no session.
pub(crate) async fn converse(
    script: Vec<Step>,
    options: &Options,
    to: usize,
) -> (Result<Vec<Vec<Outcome>>, NotConnected>, String) {
    let (address, peer) = peer::start(script).await;
    let client = Client::connect(&Endpoint::Tcp(address, None), options).await;
    let outcomes = match client {
        Err(e) => Err(e),
        Ok(mut client) => {
            let content = Content::new(b"Subject: x\r\n\r\n.dot\r\n");
            let mut outcomes = Vec::new();
            for _ in 0..2 {
                outcomes.push(client.send(&envelope(to), &[&content], None).await);
            }
            client.quit().await;
            Ok(outcomes)
        }
    };
    (outcomes, String::from_utf8(peer.await.unwrap()).unwrap())
}

pub(crate) fn letters(outcomes: &[Outcome]) -> String {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Accepted(_) => 'a',
            Outcome::Refused(_, Refusal::Reply(_)) => 'r',
            Outcome::Refused(_, Refusal::Failure(_)) => 'f',
            Outcome::Unknown(_) => 'u',
        })
        .collect()
}

pub(crate) const BODY: &str = "Subject: x\r\n\r\n..dot\r\n.\r\n";

/// A conversation in which all goes well, in steps that alternate.
fn good(is_pipelined: bool, protocol: Protocol) -> Vec<Step> {
    let hello = if protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
    let offer = if is_pipelined { "250-mx\r\n250 PIPELINING\r\n" } else { "250 mx\r\n" };
    let mut steps = vec![say("220 mx\r\n"), hear(&format!("{hello} client.test\r\n")), say(offer)];
    for _ in 0..2 {
        let commands = [
            ("MAIL FROM:<a@client.test>\r\n", "250 ok\r\n"),
            ("RCPT TO:<1@server.test>\r\n", "250 ok\r\n"),
            ("RCPT TO:<2@server.test>\r\n", "250 ok\r\n"),
            ("DATA\r\n", "354 go\r\n"),
        ];
        if is_pipelined {
            steps.push(hear(&commands.map(|(command, _)| command).concat()));
            steps.extend(commands.map(|(_, reply)| say(reply)));
        } else {
            steps.extend(commands.into_iter().flat_map(|(c, reply)| [hear(c), say(reply)]));
        }
        steps.push(hear(BODY));
        steps.push(say("250 2.0.0 kept\r\n"));
        if protocol == Protocol::Lmtp {
            steps.push(say("250 2.0.0 kept\r\n"));
        }
    }
    steps.extend([hear("QUIT\r\n"), say("221 bye\r\n")]);
    steps
}

#[tokio::test]
async fn two_messages_go_through_one_session() {
    for protocol in [Protocol::Esmtp, Protocol::Lmtp] {
        for pipelined in [false, true] {
            let script = good(pipelined, protocol);
            let (outcomes, heard) = converse(script, &options(true, protocol), 2).await;
            let letters: Vec<String> = outcomes.unwrap().iter().map(|o| letters(o)).collect();
            assert_eq!(letters, ["aa", "aa"]);
            assert!(heard.ends_with("QUIT\r\n"), "{heard}");
        }
    }
}

#[tokio::test]
async fn who_was_refused_before_the_session_ends_stays_refused() {
    for protocol in [Protocol::Esmtp, Protocol::Lmtp] {
        for pipelined in [false, true] {
            let good = good(pipelined, protocol);
            // Up to the reply to MAIL; the first recipient is unknown, and then nothing comes.
            let mail =
                good.iter().position(|step| matches!(step, Step::Hear(c) if c.starts_with("MAIL")));
            let said = [say("550 5.1.1 unknown\r\n"), Step::Close];
            let heard: &[Step] =
                if pipelined { &[] } else { &[hear("RCPT TO:<1@server.test>\r\n")] };
            let script = [&good[..mail.unwrap() + 2], heard, &said].concat();
            let (outcomes, _) = converse(script, &options(true, protocol), 2).await;
            let outcomes: Vec<String> = outcomes.unwrap().iter().map(|o| letters(o)).collect();
            assert_eq!(outcomes, ["rf", "ff"], "{protocol:?} {pipelined}");
        }
    }
}

/// What may happen in place of a reply, and whether the session is over after it.
fn disturbances() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        ("closed", vec![Step::Close]),
        ("half a reply", vec![say("250-2.0.0 ke"), Step::Close]),
        ("an unfinished reply", vec![say("250-2.0.0 kept\r\n"), Step::Close]),
        ("half a line", vec![say("250 2.0.0 kept\r"), Step::Close]),
        ("garbage", vec![say("\0\u{1}\r\n"), Step::Hang]),
        ("mixed codes", vec![say("250-ok\r\n550 no\r\n"), Step::Hang]),
        ("a bare line feed", vec![say("250 ok\n"), Step::Hang]),
        ("a code that makes no sense", vec![say("334 go on\r\n"), Step::Hang]),
    ]
}

#[tokio::test]
async fn whatever_happens_at_whatever_step_nothing_is_taken_for_accepted_that_was_not() {
    for protocol in [Protocol::Esmtp, Protocol::Lmtp] {
        for pipelined in [false, true] {
            let script = good(pipelined, protocol);
            let replies = script.iter().enumerate().filter(|(_, s)| matches!(s, Step::Say(_)));
            for (at, _) in replies {
                for (what, disturbance) in disturbances() {
                    // 334 to DATA is as good as 354.
                    let is_data = matches!(&script[at], Step::Say(b) if b.starts_with(b"354"));
                    if is_data && what == "a code that makes no sense" {
                        continue;
                    }
                    let context = format!("{what} at {at}, {protocol:?} {pipelined}");
                    let broken = [&script[..at], &disturbance].concat();
                    let (outcomes, heard) = converse(broken, &options(true, protocol), 2).await;
                    let ends = heard.matches("\r\n.\r\n").count();
                    let Ok(outcomes) = outcomes else {
                        assert_eq!(ends, 0, "{context}");
                        continue;
                    };
                    let all: String = outcomes.iter().map(|o| letters(o)).collect();
                    assert_eq!(all.len(), 4, "{context}");
                    // Each complete reply to an end that the peer gave is believed.
                    let said = script[..at].iter().filter(
                        |step| matches!(step, Step::Say(bytes) if bytes.starts_with(b"250 2.0.0")),
                    );
                    let each = if protocol == Protocol::Lmtp { 1 } else { 2 };
                    let accepted = said.count() * each;
                    assert_eq!(all.matches('a').count(), accepted, "{context}: {all}");
                    // Unknown are those whose end the peer heard and did not answer.
                    assert_eq!(all.matches('u').count(), ends * 2 - accepted, "{context}: {all}");
                    assert!(!all.contains('r'), "{context}: {all}");
                }
            }
        }
    }
}
