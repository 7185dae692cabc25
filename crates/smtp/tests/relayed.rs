//! One server as the backup of another: what waits is handed on, told to its sender, or kept for people; and nothing
//! is gone before somebody has it.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use smtp::Content;
use smtp::client::{Client, Protocol};
use smtp::server::Verdict;
use tokio::net::TcpSocket;

use crate::scripted::options;
use crate::world::{Plan, World, codes, envelope_from, until};

const LETTER: &[u8] = b"Subject: x\r\n\r\n.one\r\n";

async fn send(world: &World, from: &str, to: &[&str]) -> Vec<u16> {
    let options = options(true, Protocol::Esmtp);
    let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
    let sent = client.send(&envelope_from(from, to), &[&Content::new(LETTER)], None).await;
    client.quit().await;
    codes(&sent)
}

/// The primary, for `y.test`, whose mailboxes are those of `x.test`.
async fn primary(rules: &'static str) -> World {
    let world = World::start(Plan { rules, ..Plan::default() }).await;
    let root = world.dir.path().join("vmail");
    fs::rename(root.join("x.test"), root.join("y.test")).unwrap();
    world
}

/// An address at which nobody listens, and nobody will while the test holds it.
fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn what_waits_is_handed_on_by_whoever_serves_the_queue_next() {
    let (socket, gone) = nobody();
    let backup = World::start(Plan { relay: Some(gone), ..Plan::default() }).await;
    assert_eq!(
        send(&backup, "a@x.test", &["a@y.test", "b@x.test", "c@z.test"]).await,
        [250, 250, 550]
    );
    // Part of it is for a mailbox here, and is there at once.
    assert_eq!(backup.messages("x.test/b").len(), 1);
    assert_eq!(backup.server.queue().unwrap().list()[0].to, ["a@y.test"]);
    let (dir, _) = backup.end().await;
    drop(socket);
    let primary = primary("").await;
    let relay = Some(primary.address());
    let backup = World::start_in(dir, Plan { relay, ..Plan::default() }).await;
    backup.drained().await;
    let messages = primary.messages("y.test/a");
    assert_eq!(messages.len(), 1);
    assert!(messages[0].ends_with("Subject: x\n\n.one\n"), "{messages:?}");
    assert!(messages[0].matches("Received: ").count() == 2, "{messages:?}");
    let attempts = backup.attempts().await;
    assert!(attempts.iter().any(|attempt| !attempt.deferred.is_empty()), "{attempts:?}");
    assert_eq!(attempts.last().unwrap().delivered, ["a@y.test"]);
    primary.stop().await;
}

#[tokio::test]
async fn each_recipient_is_handed_on_once_whatever_became_of_the_others() {
    let rules = "[[rule]]\nat = 'rcpt'\nrecipient = 'b@*'\ntimes = 2\nreply = '450 4.2.0 later'\n";
    let primary = primary(rules).await;
    let relay = Some(primary.address());
    let backup = World::start(Plan { relay, ..Plan::default() }).await;
    assert_eq!(send(&backup, "a@x.test", &["a@y.test", "b@y.test"]).await, [250, 250]);
    backup.drained().await;
    assert_eq!(["y.test/a", "y.test/b"].map(|mailbox| primary.messages(mailbox).len()), [1, 1]);
    assert_eq!(backup.server.counts().relayed, 2);
    assert_eq!(backup.attempts().await.len(), 3);
    primary.stop().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_to_its_sender_and_a_bounce_to_nobody() {
    let primary = primary("[[rule]]\nat = 'end'\nreply = '550 5.7.1 not wanted'\n").await;
    let relay = Some(primary.address());
    let backup = World::start(Plan { relay, ..Plan::default() }).await;
    assert_eq!(send(&backup, "a@x.test", &["a@y.test"]).await, [250]);
    backup.drained().await;
    let bounces = backup.messages("x.test/a");
    assert_eq!(bounces.len(), 1);
    for part in ["Return-Path: <>", "Final-Recipient: rfc822; a@y.test", "not wanted", "Subject: x"]
    {
        assert!(bounces[0].contains(part), "{part}: {}", bounces[0]);
    }
    // Nobody is to be told of these: the null path, and a sender whom no mail can reach.
    for from in ["", "s@nowhere.test"] {
        assert_eq!(send(&backup, from, &["a@y.test"]).await, [250]);
    }
    backup.drained().await;
    let dead = fs::read_dir(backup.dir.path().join("queue/dead")).unwrap();
    let mut dead: Vec<_> = dead.map(|e| e.unwrap().path()).collect();
    dead.sort();
    assert_eq!(dead.len(), 4);
    let graves: Vec<String> = dead.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(graves.iter().filter(|grave| grave.contains("not wanted")).count(), 2);
    assert_eq!(graves.iter().filter(|grave| grave.contains("Subject: x")).count(), 2);
    assert_eq!(backup.server.counts().bounced, 3);
    primary.stop().await;
    backup.stop().await;
}

#[tokio::test]
async fn what_is_in_doubt_is_sent_again_rather_than_lost() {
    let primary = primary("[[rule]]\nat = 'end'\ntimes = 1\nlose_reply = true\n").await;
    let relay = Some(primary.address());
    let backup = World::start(Plan { relay, ..Plan::default() }).await;
    assert_eq!(send(&backup, "a@x.test", &["a@y.test"]).await, [250]);
    backup.drained().await;
    assert_eq!(primary.messages("y.test/a").len(), 2);
    let told: Vec<Verdict> = primary.stop().await.iter().map(|event| event.outcome).collect();
    assert_eq!(told, [Verdict::InDoubt, Verdict::Accepted]);
    backup.stop().await;
}

#[tokio::test]
async fn what_nobody_takes_for_too_long_is_told_to_its_sender() {
    let (_socket, gone) = nobody();
    let backup =
        World::start(Plan { relay: Some(gone), is_impatient: true, ..Plan::default() }).await;
    assert_eq!(send(&backup, "a@x.test", &["a@y.test"]).await, [250]);
    backup.drained().await;
    assert!(backup.messages("x.test/a")[0].contains("Action: failed"));
    backup.stop().await;
}

#[tokio::test]
async fn a_bounce_that_cannot_be_written_is_written_later_and_holds_nothing_up() {
    let primary =
        primary("[[rule]]\nat = 'rcpt'\nrecipient = 'b@*'\nreply = '550 5.1.1 no'\n").await;
    let relay = Some(primary.address());
    let backup = World::start(Plan { relay, ..Plan::default() }).await;
    let tmp = backup.mail().join("a/tmp");
    fs::remove_dir(&tmp).unwrap();
    assert_eq!(send(&backup, "a@x.test", &["a@y.test", "b@y.test"]).await, [250, 250]);
    let is_left = |to: &[&str]| {
        let list = backup.server.queue().unwrap().list();
        list.len() == 1 && list[0].to == to && list[0].reason.contains("cannot be told")
    };
    until("only the refused one is left", || is_left(&["b@y.test"])).await;
    fs::create_dir(&tmp).unwrap();
    backup.drained().await;
    assert_eq!((primary.messages("y.test/a").len(), backup.messages("x.test/a").len()), (1, 1));
    backup.stop().await;
    primary.stop().await;
}

#[tokio::test]
async fn a_server_stops_though_the_next_one_says_nothing() {
    let grace = Some(Duration::from_millis(100));
    let rules = "[[rule]]\nat = 'connect'\nhang = true\n";
    let primary = World::start(Plan { rules, grace, ..Plan::default() }).await;
    let relay = Some(primary.address());
    let backup = World::start(Plan { relay, grace, ..Plan::default() }).await;
    for _ in 0..3 {
        assert_eq!(send(&backup, "a@x.test", &["a@y.test"]).await, [250]);
    }
    // As many as it hands on at one time.
    until("two are under way", || primary.server.counts().connections == 2).await;
    let stopped = tokio::time::timeout(Duration::from_secs(10), backup.end()).await;
    let (dir, _) = stopped.expect("it waits for those under way");
    assert_eq!(fs::read_dir(dir.path().join("queue")).unwrap().count(), 3 * 2 + 1);
    primary.stop().await;
}

#[tokio::test]
async fn what_goes_in_a_circle_comes_to_an_end() {
    let (_socket, gone) = nobody();
    let backup = World::start(Plan { relay: Some(gone), ..Plan::default() }).await;
    let client = options(true, Protocol::Esmtp);
    for (hops, to, code) in [(100, "a@y.test", 250), (101, "a@y.test", 554), (101, "a@x.test", 250)]
    {
        let marks = "Received: from a by b;\r\n\tnow\r\n".repeat(hops);
        let letter = format!("{marks}Subject: x\r\n\r\nReceived: no mark\r\n");
        let mut client = Client::connect(&backup.endpoint, &client).await.unwrap();
        let content = Content::new(letter.as_bytes());
        let sent = client.send(&envelope_from("s@c.test", &[to]), &[&content], None).await;
        assert_eq!(codes(&sent), [code], "{hops} {to}");
    }
    backup.stop().await;
}
