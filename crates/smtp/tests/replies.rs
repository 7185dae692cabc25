//! Replies that are too many, too early, out of place or without end: what they mean for the message, and that a session
//! which may be out of step says nothing more.

use std::time::Duration;

use smtp::client::{Client, Endpoint, Limits, Options, Protocol, Secure};
use smtp::sasl::{Credentials, Mechanism};
use smtp::tls::{Tls, Trust};
use smtp::{Content, Failure, Phase, Refusal};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::peer::{self, Step, hear, say};
use crate::scripted::{BODY, converse, envelope, letters, options};

const MAIL: &str = "MAIL FROM:<a@client.test>\r\n";
const RCPT: [&str; 2] = ["RCPT TO:<1@server.test>\r\n", "RCPT TO:<2@server.test>\r\n"];

/// Up to the reply to EHLO or LHLO.
fn hello(protocol: Protocol, offer: &str) -> Vec<Step> {
    let verb = if protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
    let offer = if offer.is_empty() { String::new() } else { format!("250-{offer}\r\n") };
    let offer = format!("250-mx\r\n{offer}250 HELP\r\n");
    vec![say("220 mx\r\n"), hear(&format!("{verb} client.test\r\n")), say(&offer)]
}

/// All commands before the body, in one write, and what is answered.
fn group(before: &str, replies: &str) -> Vec<Step> {
    vec![hear(&format!("{before}{MAIL}{}{}DATA\r\n", RCPT[0], RCPT[1])), say(replies)]
}

#[tokio::test]
async fn replies_out_of_place_end_the_session_and_those_in_place_do_not() {
    use Protocol::{Esmtp, Lmtp};
    let taken = "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n";
    let whole = |end: &str| [group("", taken), vec![hear(BODY), say(end)]].concat();
    let again = || {
        let body = [hear(BODY), say("250 2.0.0 kept\r\n")];
        [
            group("RSET\r\n", &format!("250 ok\r\n{taken}")),
            body.to_vec(),
            vec![hear("QUIT\r\n"), say("221 bye\r\n")],
        ]
        .concat()
    };
    let nobody = "250 ok\r\n550 no\r\n550 no\r\n354 go\r\n";
    // What it is, how the peer goes on after the greetings, what becomes of two messages to two recipients, and how
    // many transactions the peer heard of.
    type Row = (&'static str, Protocol, Vec<Step>, [&'static str; 2], usize);
    let table: Vec<Row> = vec![
        ("an extra reply", Esmtp, whole("250 kept\r\n500 what?\r\n"), ["aa", "ff"], 1),
        ("half an extra reply", Esmtp, whole("250 kept\r\n250-"), ["aa", "ff"], 1),
        ("an extra reply of LMTP", Lmtp, whole("250 a\r\n250 b\r\n250 c\r\n"), ["aa", "ff"], 1),
        ("goodbye in between", Esmtp, whole("250 kept\r\n421 4.3.2 bye\r\n"), ["aa", "rr"], 1),
        ("goodbye to the end", Esmtp, whole("421 4.3.2 bye\r\n"), ["rr", "ff"], 1),
        (
            "goodbye to the first end",
            Lmtp,
            [whole("421 bye\r\n"), vec![Step::Close]].concat(),
            ["ru", "ff"],
            1,
        ),
        ("one of two", Lmtp, whole("250 a\r\n452 4.2.2 full\r\n421 bye\r\n"), ["ar", "rr"], 1),
        ("goodbye to MAIL", Esmtp, group("", "421 4.7.0 too many\r\n"), ["rr", "ff"], 1),
        ("goodbye to RCPT", Esmtp, group("", "250 ok\r\n421 4.7.0 too many\r\n"), ["rf", "ff"], 1),
        (
            "goodbye to DATA",
            Esmtp,
            group("", "250 ok\r\n550 no\r\n250 ok\r\n421 x\r\n"),
            ["rr", "ff"],
            1,
        ),
        (
            "250 to DATA",
            Esmtp,
            group("", "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"),
            ["ff", "ff"],
            1,
        ),
        ("354 and more", Esmtp, group("", &format!("{taken}250 kept\r\n")), ["ff", "ff"], 1),
        ("354 and goodbye", Esmtp, group("", &format!("{taken}421 bye\r\n")), ["rr", "ff"], 1),
        (
            "DATA refused",
            Esmtp,
            [group("", "250 ok\r\n250 ok\r\n550 no\r\n451 later\r\n"), again()].concat(),
            ["rr", "aa"],
            2,
        ),
        (
            "MAIL refused",
            Esmtp,
            [group("", "550 no\r\n503 no\r\n503 no\r\n503 no\r\n"), again()].concat(),
            ["rr", "aa"],
            2,
        ),
        (
            "354 for nobody",
            Esmtp,
            [group("", nobody), vec![hear(".\r\n"), say("554 none\r\n")], again()].concat(),
            ["rr", "aa"],
            2,
        ),
        // It has nothing to say to an end that is for nobody (RFC 2033, 4.2).
        ("354 for nobody of LMTP", Lmtp, group("", nobody), ["rr", "ff"], 1),
        (
            "RSET refused",
            Esmtp,
            [
                group("", "250 ok\r\n250 ok\r\n550 no\r\n451 later\r\n"),
                group("RSET\r\n", &format!("500 ?\r\n{taken}")),
            ]
            .concat(),
            ["rr", "ff"],
            2,
        ),
        (
            "goodbye to RSET",
            Esmtp,
            [
                group("", "250 ok\r\n250 ok\r\n550 no\r\n451 later\r\n"),
                group("RSET\r\n", "421 bye\r\n"),
            ]
            .concat(),
            ["rr", "rr"],
            2,
        ),
    ];
    for (what, protocol, script, expected, transactions) in table {
        let script = [hello(protocol, "PIPELINING"), script].concat();
        let (outcomes, heard) = converse(script, &options(true, protocol), 2).await;
        let outcomes = outcomes.unwrap();
        assert_eq!(
            outcomes.iter().map(|o| letters(o)).collect::<Vec<_>>(),
            expected,
            "{what}: {outcomes:?}"
        );
        assert_eq!(heard.matches("MAIL").count(), transactions, "{what}: {heard}");
        let is_open = matches!(expected[1], "aa");
        assert_eq!(heard.ends_with("QUIT\r\n"), is_open, "{what}: {heard}");
    }
}

#[tokio::test]
async fn in_turn_nothing_is_said_after_a_rset_that_was_refused() {
    let script = [
        hear(MAIL),
        say("250 ok\r\n"),
        hear(RCPT[0]),
        say("550 no\r\n"),
        hear("RSET\r\n"),
        say("500 ?\r\n"),
    ];
    let script = [hello(Protocol::Esmtp, ""), script.to_vec()].concat();
    let (outcomes, heard) = converse(script, &options(true, Protocol::Esmtp), 1).await;
    assert_eq!(outcomes.unwrap().iter().map(|o| letters(o)).collect::<Vec<_>>(), ["r", "f"]);
    assert!(heard.ends_with("RSET\r\n"), "{heard}");
}

/// Chunks of a message of which the first is not the last.
fn two_chunks() -> (Content, [String; 2]) {
    let line = format!("{}\r\n", "x".repeat(62));
    let text = line.repeat(20_000);
    let (first, last) = text.split_at(1024 * 1024);
    let chunks =
        [format!("BDAT {}\r\n{first}", first.len()), format!("BDAT {} LAST\r\n{last}", last.len())];
    (Content::new(text.as_bytes()), chunks)
}

#[tokio::test]
async fn each_chunk_has_an_answer_and_only_that_to_the_last_counts() {
    let (content, chunks) = two_chunks();
    // What is answered to each chunk, what that means, and whether the session goes on.
    for (protocol, said, expected, is_open) in [
        (Protocol::Esmtp, vec!["250 ok\r\n", "250 kept\r\n"], "aa", true),
        (Protocol::Esmtp, vec!["250 ok\r\n", "554 no\r\n"], "rr", true),
        (Protocol::Esmtp, vec!["250 ok\r\n", "250 kep"], "uu", false),
        (Protocol::Esmtp, vec!["250 ok\r\n", ""], "uu", false),
        (Protocol::Esmtp, vec!["250 ok\r\n", "354 go\r\n"], "uu", false),
        (Protocol::Esmtp, vec!["452 full\r\n"], "rr", true),
        (Protocol::Esmtp, vec!["421 bye\r\n"], "rr", false),
        (Protocol::Esmtp, vec!["354 go\r\n"], "ff", false),
        (Protocol::Esmtp, vec!["250 ok\r\n250 kept\r\n"], "ff", false),
        (Protocol::Esmtp, vec![""], "ff", false),
        (Protocol::Lmtp, vec!["250 ok\r\n", "250 a\r\n452 b\r\n"], "ar", true),
        (Protocol::Lmtp, vec!["250 ok\r\n", "250 a\r\n"], "au", false),
        (Protocol::Lmtp, vec!["452 full\r\n"], "rr", true),
    ] {
        let mut script =
            [hello(protocol, "CHUNKING"), vec![hear(MAIL), say("250 ok\r\n")]].concat();
        script.extend(RCPT.into_iter().flat_map(|rcpt| [hear(rcpt), say("250 ok\r\n")]));
        script
            .extend(chunks.iter().zip(&said).flat_map(|(chunk, reply)| [hear(chunk), say(reply)]));
        script.push(if is_open { Step::Hang } else { Step::Close });
        let (address, peer) = peer::start(script).await;
        let options = options(true, protocol);
        let mut client = Client::connect(&Endpoint::Tcp(address, None), &options).await.unwrap();
        let outcomes = client.send(&envelope(2), &[&content], None).await;
        assert_eq!(letters(&outcomes), expected, "{said:?}: {outcomes:?}");
        assert_eq!(client.is_open(), is_open, "{said:?}");
        drop(client);
        let heard = peer.await.unwrap();
        assert_eq!(heard.windows(5).filter(|w| w == b"BDAT ").count(), said.len(), "{said:?}");
    }
}

#[tokio::test]
async fn after_goodbye_no_chunk_is_said() {
    for offer in ["CHUNKING", "CHUNKING\r\n250-PIPELINING"] {
        let said = [(MAIL, "250 ok\r\n"), (RCPT[0], "250 ok\r\n"), (RCPT[1], "421 bye\r\n")];
        let dialogue = if offer.ends_with("PIPELINING") {
            let commands = said.map(|(command, _)| command).concat();
            vec![hear(&commands), say(&said.map(|(_, reply)| reply).concat())]
        } else {
            said.into_iter().flat_map(|(command, reply)| [hear(command), say(reply)]).collect()
        };
        let script = [hello(Protocol::Esmtp, offer), dialogue].concat();
        let (outcomes, heard) = converse(script, &options(true, Protocol::Esmtp), 2).await;
        let outcomes: Vec<String> = outcomes.unwrap().iter().map(|o| letters(o)).collect();
        assert_eq!(outcomes, ["fr", "ff"], "{offer}");
        assert!(heard.ends_with(RCPT[1]), "{offer}: {heard}");
    }
}

#[tokio::test]
async fn what_is_said_before_it_was_asked_for_ends_the_session() {
    let tls = Tls::new(&Trust::Anybody, false, None).unwrap();
    let secure = Secure { tls, is_implicit: false, server_name: "mx.test".into() };
    let secured = Options { tls: Some(secure), ..options(true, Protocol::Esmtp) };
    let start = [hello(Protocol::Esmtp, "STARTTLS"), vec![hear("STARTTLS\r\n")]].concat();
    let injected = [start, vec![say("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n")]].concat();
    let plain = options(true, Protocol::Esmtp);
    for (script, options, phase, all) in [
        (vec![say("220 mx\r\n250 mx\r\n")], &plain, Phase::Ehlo, ""),
        (injected, &secured, Phase::StartTls, "EHLO client.test\r\nSTARTTLS\r\n"),
    ] {
        let (outcomes, heard) = converse(script, options, 1).await;
        let refused = outcomes.unwrap_err();
        assert_eq!((refused.phase, refused.refusal), (phase, Refusal::Failure(Failure::Unasked)));
        assert_eq!(heard, all);
    }
}

#[tokio::test]
async fn replies_without_end_are_given_up() {
    for (piece, pause, part) in [
        (&b"220-x\r\n"[..], Duration::ZERO, "more than 65536 bytes"),
        (b"220 xxxxxxxxxxx", Duration::ZERO, "more than 4096 bytes"),
        (b"\0\xff\xfe", Duration::ZERO, "more than 4096 bytes"),
        (b"220-x\r\n", Duration::from_millis(10), "no answer within 0.3 s"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let piece = if pause.is_zero() { piece.repeat(1000) } else { piece.to_vec() };
            while stream.write_all(&piece).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        let limits = Limits { banner: Duration::from_millis(300), ..Limits::default() };
        let limits = if pause.is_zero() { Limits::default() } else { limits };
        let options = Options { limits, ..options(true, Protocol::Esmtp) };
        let refused = Client::connect(&Endpoint::Tcp(address, None), &options).await.err().unwrap();
        assert!(refused.to_string().contains(part), "{refused}");
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn a_session_whose_caller_left_in_the_middle_is_not_used_again() {
    let script = [hello(Protocol::Esmtp, ""), vec![hear(MAIL), Step::Hang]].concat();
    let (address, peer) = peer::start(script).await;
    let options = options(true, Protocol::Esmtp);
    let mut client = Client::connect(&Endpoint::Tcp(address, None), &options).await.unwrap();
    let content = Content::new(b"x\r\n");
    let envelope = envelope(1);
    let parts = [&content];
    let sending = client.send(&envelope, &parts, None);
    assert!(tokio::time::timeout(Duration::from_millis(200), sending).await.is_err());
    assert!(!client.is_open());
    assert_eq!(letters(&client.send(&envelope, &[&content], None).await), "f");
    client.quit().await;
    assert!(peer.await.unwrap().ends_with(MAIL.as_bytes()));
}

#[tokio::test]
async fn a_dialogue_of_auth_that_was_broken_off_is_not_taken_up_again() {
    let credentials =
        Credentials { user: "ann".into(), secret: "pass-phrase".into(), authorize_as: None };
    for (mechanism, challenge) in
        [(Mechanism::CramMd5, "334 no base64!"), (Mechanism::DigestMd5, "334 bm9uY2U=")]
    {
        for last in ["334 YQ==\r\n", "535 no\r\n", "235 welcome\r\n"] {
            let dialogue = [
                hear(&format!("AUTH {}\r\n", mechanism.name())),
                say(&format!("{challenge}\r\n")),
                hear("*\r\n"),
                say(last),
            ];
            let script =
                [hello(Protocol::Esmtp, "AUTH CRAM-MD5 DIGEST-MD5"), dialogue.to_vec()].concat();
            let auth = Some((mechanism, credentials.clone()));
            let options = Options { auth, ..options(true, Protocol::Esmtp) };
            let (outcomes, heard) = converse(script, &options, 1).await;
            let refused = outcomes.unwrap_err();
            let is_ours = matches!(refused.refusal, Refusal::Failure(Failure::Sasl(_)));
            assert!(refused.phase == Phase::Auth && is_ours, "{last}: {refused:?}");
            assert!(heard.ends_with("*\r\n"), "{heard}");
            assert!(!format!("{refused:?} {refused} {options:?}").contains("pass-phrase"));
        }
    }
}
