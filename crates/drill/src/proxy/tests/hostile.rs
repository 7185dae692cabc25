//! What no dialogue is: it passes unchanged, in whatever pieces it comes, and takes no more room than what is.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::rules;
use crate::proxy::faults::Faults;
use crate::proxy::middle::{End, Middle, Way};
use crate::proxy::pipe::{Due, Pipe};
use crate::proxy::{Mode, Proxy};

/// What came out to the server and to the client.
fn through(
    rule: &str,
    client: &[u8],
    server: &[u8],
    cuts: &[usize],
) -> (Vec<u8>, Vec<u8>, Option<End>) {
    let through = crate::proxy::through(rules(rule), client, server, cuts);
    assert!(through.is_over, "it stands still");
    let end = through.ended.map(|is_reset| if is_reset { End::Reset } else { End::Close });
    (through.to_server, through.to_client, end)
}

const INPUT: usize = 16 * 1024;

fn read(way: &mut Way, from: &mut &[u8], most: usize) {
    let (piece, rest) = from.split_at(most.min(from.len()).min(INPUT - way.input.len()));
    way.input.extend_from_slice(piece);
    *from = rest;
    way.is_ended = from.is_empty();
}

fn drain(pipe: &mut Pipe, to: &mut Vec<u8>, now: Instant) {
    while let Due::Now(bytes) = pipe.due(now) {
        let length = bytes.len();
        to.extend_from_slice(bytes);
        pipe.took(length, now);
    }
    assert!(pipe.is_empty());
}

#[test]
fn the_server_is_told_exactly_so_much_and_the_client_too() {
    let mail = "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n";
    let data = "DATA\r\nx\r\n.\r\n";
    let chunk = "BDAT 4 LAST\r\nabcdQUIT\r\n";
    let ok = "220 x\r\n250 ok\r\n";
    let go = "220 x\r\n354 go\r\n250 ok\r\n";
    let gone = "220 x\r\n354 go\r\n";
    let close = Some(End::Close);
    let table = [
        ("mail", "cut = true", mail, ok, "", "220 x\r\n", close),
        ("mail", "cut_in_the_middle = true", mail, ok, "MAIL FRO", "220 x\r\n", close),
        // What was asked before is answered before.
        ("rcpt", "cut = true", mail, ok, "MAIL FROM:<a@b>\r\n", ok, close),
        ("rcpt", "reset = true", mail, ok, "MAIL FROM:<a@b>\r\n", ok, Some(End::Reset)),
        ("end", "cut = true", data, gone, "DATA\r\nx\r\n", gone, close),
        ("end", "cut_in_the_middle = true", data, gone, "DATA\r\nx\r\n.", gone, close),
        ("end", "cut_after = true", data, go, data, gone, close),
        ("end", "cut_in_the_middle = true", chunk, ok, "BDAT 4 LAST\r\nab", "220 x\r\n", close),
        ("end", "reply = '421 no'", chunk, ok, "", "220 x\r\n421 no\r\n", close),
        ("quit", "cut = true", chunk, ok, "BDAT 4 LAST\r\nabcd", ok, close),
        ("quit", "cut = true", data, go, data, go, None),
    ];
    for (at, act, client, server, to_server, to_client, end) in table {
        // The server says nothing before it is asked.
        let (mut middle, now) =
            (middle(&format!("[[rule]]\nat = '{at}'\n{act}\n")), Instant::now());
        let (mut up, mut down, mut is) = (Vec::new(), Vec::new(), middle.open(now));
        let (mut client, mut replies) = (client.as_bytes(), server.split_inclusive('\n'));
        read(&mut middle.up, &mut client, INPUT);
        middle.up.is_ended = false;
        let first = replies.next().unwrap();
        middle.down.input.extend_from_slice(first.as_bytes());
        loop {
            is = is.or_else(|| middle.advance(now));
            drain(&mut middle.up.pipe, &mut up, now);
            drain(&mut middle.down.pipe, &mut down, now);
            let Some(reply) = replies.next().filter(|_| is.is_none()) else { break };
            middle.down.input.extend_from_slice(reply.as_bytes());
        }
        let is = (String::from_utf8(up).unwrap(), String::from_utf8(down).unwrap(), is);
        assert_eq!(is, (to_server.into(), to_client.into(), end), "{act} at {at}");
    }
}

fn middle(rule: &str) -> Middle {
    Middle::new(Faults::new(rules(rule)).into())
}

fn client_words() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "EHLO c\r\n",
        "MAIL FROM:<a@b>\r\n",
        "RCPT TO:<a@b>\r\n",
        "DATA\r\n",
        "body\r\n",
        ".\r\n",
        "..\r\n",
        ".",
        "\r",
        "\n",
        "\r\n",
        "BDAT 5\r\n",
        "BDAT 3 LAST\r\n",
        "hello",
        "AUTH X\r\n",
        "STARTTLS\r\n",
        "RSET\r\n",
        "QUIT\r\n",
        "\0",
        "BDAT 99999999999999999999\r\n",
        "x",
    ]);
    prop::collection::vec(words, 0..30).prop_map(|words| words.concat().into_bytes())
}

fn server_words() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "220 mx\r\n",
        "250-a\r\n",
        "250 ok\r\n",
        "354 go\r\n",
        "334 \r\n",
        "451 no\r\n",
        "250\r\n",
        "250",
        "\r\n",
        "421 bye\r\n",
        "235 in\r\n",
    ]);
    let noise = prop::collection::vec(any::<u8>(), 0..4);
    (prop::collection::vec(words, 0..30), noise)
        .prop_map(|(words, noise)| [words.concat().into_bytes(), noise].concat())
}

const ACTS: [&str; 7] = [
    "cut = true",
    "cut_after = true",
    "cut_in_the_middle = true",
    "hold_for_ever = true",
    "reply = '451 no'",
    "reset = true",
    "latency_ms = 0",
];

proptest! {
    #[test]
    fn without_a_rule_both_streams_come_out_as_they_went_in(
        client in client_words(),
        server in server_words(),
        cuts in prop::collection::vec(1_usize..20, 1..20),
    ) {
        let (up, down, end) = through("", &client, &server, &cuts);
        prop_assert_eq!((up, down, end), (client, server, None));
    }

    #[test]
    fn what_is_no_smtp_at_all_passes_too(
        client: Vec<u8>,
        server: Vec<u8>,
        cuts in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let (up, down, end) = through("", &client, &server, &cuts);
        prop_assert_eq!((up, down, end), (client, server, None));
    }

    /// Whatever a rule does, the server is told nothing but what the client said.
    #[test]
    fn a_rule_only_takes_away_from_what_the_server_is_told(
        client in client_words(),
        server in server_words(),
        cuts in prop::collection::vec(1_usize..20, 1..20),
        at in prop::sample::select(vec!["ehlo", "mail", "rcpt", "data", "end", "quit"]),
        act in prop::sample::select(ACTS.to_vec()),
    ) {
        let rule = format!("[[rule]]\nat = '{at}'\n{act}\n");
        let (up, _, _) = through(&rule, &client, &server, &cuts);
        let is_taken = |of: &[u8]| {
            let mut rest = of.iter();
            up.iter().all(|byte| rest.any(|other| other == byte))
        };
        prop_assert!(is_taken(&client));
    }
}

#[tokio::test]
async fn garbage_and_endless_lines_pass_both_ways_in_bounded_room() {
    let line =
        [vec![b'x'; 1 << 20], vec![0; 1000], b"\r\n.\r\n\xff\xfe\nDATA\r\n".to_vec()].concat();
    let digits = [b"250-".to_vec(), line.clone(), vec![b'2'; 1 << 20]].concat();
    for (client_says, server_says) in
        [(line.clone(), digits.clone()), (digits, line.clone()), (b"\x16\x03\x01".to_vec(), line)]
    {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), to, vec![]).await.unwrap();
        let client = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = server.accept().await.unwrap();
        let (heard_by_server, heard_by_client) =
            tokio::join!(exchange(server, &server_says), exchange(client, &client_says));
        assert!(heard_by_server == client_says, "{} bytes", heard_by_server.len());
        assert!(heard_by_client == server_says, "{} bytes", heard_by_client.len());
        let counts = proxy.counts();
        assert_eq!(counts.bytes_to_server, client_says.len() as u64);
        assert_eq!(counts.bytes_to_client, server_says.len() as u64);
        proxy.stop().await;
    }
}

/// Says everything, and hears everything.
async fn exchange(stream: tokio::net::TcpStream, says: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = stream.into_split();
    let mut heard = Vec::new();
    let says = async {
        to.write_all(says).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let ((), read) = tokio::join!(says, from.read_to_end(&mut heard));
    read.unwrap();
    heard
}

#[tokio::test]
async fn who_reads_nothing_keeps_a_sender_waiting_and_is_not_fed_from_memory() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = server.local_addr().unwrap();
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), to, vec![]).await.unwrap();
    let mut client = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = server.accept().await.unwrap();
    let much = vec![b'x'; 128 << 20];
    let written = tokio::time::timeout(Duration::from_millis(500), client.write_all(&much)).await;
    assert!(written.is_err(), "128 MiB went somewhere");
    proxy.set(vec![], Mode::Down).await.unwrap();
    drop(server);
    proxy.stop().await;
}
