//! What the event log tells, what clients may do at most, and who they are behind a balancer.

use std::time::Duration;

use smtp::Content;
use smtp::client::{Client, Endpoint, Options, Protocol};
use smtp::proxy::Version;
use smtp::server::{Rates, TransactionEvent, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scripted::options;
use crate::world::{Plan, World, codes, envelope, until};

/// Says all of it at once, and gives what was answered.
pub(crate) async fn say(world: &World, text: &str) -> String {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // A server that hangs up on what it has not read resets the connection.
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn each_transaction_is_told_with_its_outcome_once() {
    let rules = "[[rule]]\nat = 'end'\nrecipient = 'b@*'\nlose_reply = true\n\
                 [[rule]]\nat = 'data'\nnth = 4\nreply = '554 5.7.1 no'\n";
    let world = World::start(Plan { rules, ..Plan::default() }).await;
    let (a, b, dot) = ("RCPT TO:<a@x.test>\r\n", "RCPT TO:<b@x.test>\r\n", "DATA\r\nx\r\n.\r\n");
    let nobody = "RCPT TO:<nobody@x.test>\r\n";
    let mail = "MAIL FROM:<s@c.test>\r\n";
    let said = say(
        &world,
        &format!(
            "EHLO c\r\n{mail}{a}{nobody}{dot}{mail}{a}RSET\r\n{mail}{nobody}RSET\r\n{mail}{a}DATA\r\n\
             {mail}EHLO c\r\n{mail}{a}{b}{dot}"
        ),
    )
    .await;
    assert_eq!(said.matches("354 ").count(), 2, "{said}");
    let events = world.stop().await;
    let told = |event: &TransactionEvent| {
        let times = [event.ended_ms, event.kept_ms, event.replied_ms].map(|time| time.is_some());
        (event.number, event.outcome, event.to.len(), event.refused.len(), times)
    };
    let expected = [
        (1, Verdict::Accepted, 1, 1, [true; 3]),
        (2, Verdict::Aborted, 1, 0, [false, false, true]),
        (3, Verdict::Refused, 0, 1, [false, false, true]),
        (4, Verdict::Refused, 1, 0, [false, false, true]),
        (5, Verdict::InDoubt, 2, 0, [true, true, false]),
    ];
    let mut seen: Vec<_> = events.iter().map(told).collect();
    seen.sort_by_key(|event| event.0);
    assert_eq!(seen, expected, "{events:?}");
    let last = events.iter().find(|event| event.number == 5).unwrap();
    assert_eq!((last.faults.join(" "), last.bytes), ("lose_reply at end".into(), 3));
    assert_eq!(last.peer.as_deref(), Some("127.0.0.1"));
    assert!(last.replies[0].contains(&last.id), "{last:?}");
}

#[tokio::test]
async fn one_client_may_do_no_more_than_its_measure() {
    let rates = Rates { messages_per_minute: Some(2), connections: Some(1) };
    let world = World::start(Plan { rates, ..Plan::default() }).await;
    let options = options(true, Protocol::Esmtp);
    let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
    let mut sent = Vec::new();
    for _ in 0..3 {
        let content = Content::new(b"x\r\n");
        sent.extend(codes(&client.send(&envelope(&["a@x.test"]), &[&content], None).await));
    }
    assert_eq!(sent, [250, 250, 450]);
    let second = Client::connect(&world.endpoint, &options).await.err().unwrap();
    assert!(second.to_string().contains("421"), "{second}");
    // Another address has its own.
    let other = Endpoint::Tcp(world.address(), Some("127.0.0.2".parse().unwrap()));
    Client::connect(&other, &options).await.unwrap().quit().await;
    client.quit().await;
    assert_eq!(world.server.counts().turned_away, 1);
    world.stop().await;
}

#[tokio::test]
async fn behind_a_balancer_the_client_is_who_it_says() {
    for version in [Version::V1, Version::V2] {
        let world = World::start(Plan { is_proxied: true, ..Plan::default() }).await;
        let client = "192.0.2.7:4711".parse().unwrap();
        let proxy = Some((version, client));
        let options = Options { proxy, ..options(true, Protocol::Esmtp) };
        let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
        let content = Content::new(b"x\r\n");
        let sent = client.send(&envelope(&["a@x.test"]), &[&content], None).await;
        assert_eq!(codes(&sent), [250]);
        client.quit().await;
        assert!(world.messages("x.test/a")[0].contains("[192.0.2.7]"));
        // Who does not say so has no service, and no hint.
        assert_eq!(say(&world, "EHLO c\r\n").await, "");
        assert_eq!(world.stop().await[0].peer.as_deref(), Some("192.0.2.7"));
    }
}

#[tokio::test]
async fn what_is_cut_off_when_the_server_stops_is_told_too() {
    let rules = "[[rule]]\nat = 'end'\nnth = 1\nstall_ms = 60000\n\
                 [[rule]]\nat = 'end'\nnth = 2\nhang = true\n";
    let grace = Some(Duration::from_millis(100));
    let world = World::start(Plan { rules, grace, ..Plan::default() }).await;
    let message = "EHLO c\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nx\r\n.\r\n";
    let mut streams = Vec::new();
    for count in 1..=2 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(message.as_bytes()).await.unwrap();
        streams.push(stream);
        until("it is being sent", || world.server.counts().transactions == count).await;
    }
    until("the first is kept", || world.messages("x.test/a").len() == 1).await;
    until("it is counted", || world.server.counts().accepted == 1).await;
    let mut told: Vec<_> =
        world.stop().await.iter().map(|event| (event.number, event.outcome)).collect();
    told.sort_by_key(|event| event.0);
    assert_eq!(told, [(1, Verdict::InDoubt), (2, Verdict::Aborted)]);
}

#[tokio::test]
async fn who_names_recipients_without_end_is_sent_away_and_a_long_list_is_not() {
    let rules = "[[rule]]\nat = 'rcpt'\nrecipient = 'b@*'\nreply = '450 4.2.0 later'\n";
    let world = World::start(Plan { rules, ..Plan::default() }).await;
    let (a, b) = ("RCPT TO:<a@x.test>\r\n", "RCPT TO:<b@x.test>\r\n");
    let talk =
        |rcpt: String| format!("EHLO c\r\nMAIL FROM:<>\r\n{rcpt}{a}DATA\r\nx\r\n.\r\nQUIT\r\n");
    let said = say(&world, &talk(b.repeat(1000))).await;
    assert!(said.contains("kept as") && !said.contains("421 "), "{said}");
    let said = say(&world, &talk(b.repeat(1100))).await;
    assert!(said.contains("421 4.7.0 too many errors") && !said.contains("354 "), "{said}");
    world.stop().await;
}

#[tokio::test]
async fn who_sends_mail_may_be_wrong_now_and_then() {
    let world = World::start(Plan::default()).await;
    let message =
        "MAIL FROM:<>\r\nRCPT TO:<nobody@x.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nx\r\n.\r\n";
    let said = say(&world, &format!("EHLO c\r\n{}QUIT\r\n", message.repeat(30))).await;
    assert_eq!(said.matches("kept as").count(), 30, "{said}");
    let said = say(&world, &format!("EHLO c\r\n{}QUIT\r\n", "WHAT\r\n".repeat(30))).await;
    assert!(said.contains("421 "), "{said}");
    world.stop().await;
}
