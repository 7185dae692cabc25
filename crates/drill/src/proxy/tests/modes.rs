//! The whole proxy: down, dark, with other rules, and gone.

use std::net::SocketAddr;
use std::time::Duration;

use smtp::client::{Client, Limits, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::proxy::{Act, At, Mode};

#[tokio::test]
async fn while_it_is_down_it_refuses_and_then_it_is_where_it_was() {
    let world = World::start(Plan::default()).await;
    let mut client = Client::connect(&world.endpoint(), &options()).await.unwrap();
    for _ in 0..3 {
        world.proxy.set(vec![], Mode::Down).await.unwrap();
        world.proxy.set(vec![], Mode::Down).await.unwrap();
        let refused = TcpStream::connect(world.proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        world.proxy.set(vec![], Mode::Pass).await.unwrap();
        assert_eq!(world.send(&options(), LETTER).await, ["accepted 250"; 2]);
    }
    // Who was there before was cut off.
    assert_eq!(send(&mut client, LETTER).await, ["failed"; 2]);
    assert_eq!(world.stop().await.len(), 3);
}

#[tokio::test]
async fn in_a_black_hole_nothing_is_heard_until_it_ends() {
    let world = World::start(Plan::default()).await;
    let mut open = Client::connect(&world.endpoint(), &options()).await.unwrap();
    world.proxy.set(vec![], Mode::BlackHole).await.unwrap();
    let impatient = Options { limits: Limits::all(Duration::from_millis(200)), ..options() };
    assert_eq!(world.send(&impatient, LETTER).await, ["no session"]);
    let (endpoint, patient) = (world.endpoint(), options());
    let waiting = tokio::spawn(async move { Client::connect(&endpoint, &patient).await });
    let held = tokio::spawn(async move { send(&mut open, LETTER).await });
    // So that it waits inside.
    while world.proxy.counts().sessions < 3 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished() && !held.is_finished());
    world.proxy.set(vec![], Mode::Pass).await.unwrap();
    assert_eq!(held.await.unwrap(), ["accepted 250"; 2]);
    waiting.await.unwrap().unwrap().quit().await;
    assert_eq!(world.stop().await.len(), 1);
}

#[tokio::test]
async fn new_rules_hold_for_sessions_that_are_there() {
    let world = World::start(Plan::default()).await;
    let mut client = Client::connect(&world.endpoint(), &options()).await.unwrap();
    assert_eq!(send(&mut client, LETTER).await, ["accepted 250"; 2]);
    let later = Rule { nth: Some(2), ..Rule::new(At::Rcpt, Act::Reply("450 4.2.1 x".into())) };
    world.proxy.set(vec![later], Mode::Pass).await.unwrap();
    assert_eq!(send(&mut client, LETTER).await, ["accepted 250"; 2]);
    assert_eq!(send(&mut client, LETTER).await, ["refused 450"; 2]);
    assert_eq!(world.proxy.counts().acted, [2]);
    world.proxy.set(vec![Rule::new(At::End, Act::CutAfter)], Mode::Pass).await.unwrap();
    assert_eq!(world.proxy.counts().acted, [0]);
    assert_eq!(send(&mut client, LETTER).await, ["unknown"; 2]);
    assert_eq!(world.stop().await.len(), 3);
}

#[tokio::test]
async fn rules_that_make_no_sense_change_nothing() {
    let world = World::start(Plan::default()).await;
    let bad = Rule::new(At::Body, Act::CutAfter);
    let error = world.proxy.set(vec![bad.clone()], Mode::Down).await.unwrap_err();
    assert!(error.to_string().starts_with("rule 1: the body has no reply"), "{error}");
    assert_eq!(world.send(&options(), LETTER).await, ["accepted 250"; 2]);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert!(Proxy::start(any, any, vec![bad]).await.is_err());
    let taken = Proxy::start(world.proxy.address(), any, vec![]).await.unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    world.stop().await;
}

#[tokio::test]
async fn nothing_of_it_is_left_when_it_has_stopped() {
    for rule in ["", "[[rule]]\nat = 'ehlo'\nhold_for_ever = true\n"] {
        let world = World::start(Plan::default()).await;
        world.proxy.set(rules(rule), Mode::Pass).await.unwrap();
        let address = world.proxy.address();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).await.unwrap();
        stream.write_all(b"EHLO c\r\n").await.unwrap();
        while world.proxy.counts().bytes_to_server == 0 {
            tokio::task::yield_now().await;
        }
        let shared = Arc::downgrade(&world.proxy.shared);
        world.stop().await;
        assert!(shared.upgrade().is_none(), "{rule}");
        assert!(TcpStream::connect(address).await.is_err(), "{rule}");
        let mut rest = Vec::new();
        // An end or a reset: both are one.
        let _ = stream.read_to_end(&mut rest).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_session() {
    let none = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = none.local_addr().unwrap();
    drop(none);
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), to, vec![]).await.unwrap();
    let endpoint = Endpoint::Tcp(proxy.address(), None);
    let error = Client::connect(&endpoint, &options()).await.err().unwrap();
    assert_eq!(not_connected(&error), "no session");
    proxy.stop().await;
}

#[tokio::test]
async fn a_reset_is_one_and_a_cut_is_none() {
    for (rule, says, is_reset) in [
        ("at = 'connect'\nrefuse = true", "", true),
        ("at = 'connect'\nreset = true", "", true),
        ("at = 'connect'\ncut = true", "", false),
        ("at = 'ehlo'\nreset = true", "EHLO c\r\n", true),
        ("at = 'ehlo'\ncut = true", "EHLO c\r\n", false),
    ] {
        let world = World::start(Plan::default()).await;
        world.proxy.set(rules(&format!("[[rule]]\n{rule}\n")), Mode::Pass).await.unwrap();
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        stream.write_all(says.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said).await;
        let kind = end.err().map(|e| e.kind());
        let expected = is_reset.then_some(std::io::ErrorKind::ConnectionReset);
        assert_eq!(kind, expected, "{rule}");
        world.stop().await;
    }
}
