//! TLS and AUTH between our client and our server: who is trusted, and what is said before there is TLS.

use std::time::Duration;

use smtp::client::{Client, Options, Protocol, Secure};
use smtp::sasl::{Credentials, Mechanism};
use smtp::server::Certificate;
use smtp::tls::{Tls, Trust};
use smtp::{Content, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mail::authority::Authority;
use crate::scripted::options;
use crate::world::{Plan, World, codes, envelope};

fn secure(trust: &Trust, is_implicit: bool, server_name: &str) -> Option<Secure> {
    let tls = Tls::new(trust, true, None).unwrap();
    Some(Secure { tls, is_implicit, server_name: server_name.into() })
}

#[tokio::test]
async fn only_who_is_trusted_gets_a_handshake() {
    let authority = Authority::new();
    // What it trusts, what it calls the server, which certificate the server has, and what comes of it.
    for (is_ours, is_expired, name, trusts, part) in [
        (true, false, "mx.test", "authority", ""),
        (true, false, "other.test", "authority", "not valid for name"),
        (true, true, "mx.test", "authority", "expired"),
        (false, false, "mx.test", "authority", "UnknownIssuer"),
        (false, false, "other.test", "pinned", ""),
        (true, false, "mx.test", "pinned", "another certificate"),
        (false, true, "other.test", "anybody", ""),
    ] {
        let certificate = match (is_ours, is_expired) {
            (true, false) => authority.issue("mx.test").certificate(),
            (true, true) => authority.issue_expired("mx.test").certificate(),
            (false, _) => Certificate::self_signed("mx.test").unwrap(),
        };
        let trust = match trusts {
            "authority" => Trust::Roots(vec![authority.der()]),
            "pinned" if is_ours => Trust::Pinned([7; 32]),
            "pinned" => Trust::Pinned(certificate.sha256()),
            _ => Trust::Anybody,
        };
        let context = format!("{is_ours} {is_expired} {name} {trusts}");
        let world = World::start(Plan { certificate: Some(certificate), ..Plan::default() }).await;
        let tls = secure(&trust, false, name);
        let options = Options { tls, ..options(true, Protocol::Esmtp) };
        match Client::connect(&world.endpoint, &options).await {
            Ok(mut client) => {
                assert_eq!(part, "", "{context}");
                let content = Content::new(b"x\r\n");
                let sent = client.send(&envelope(&["a@x.test"]), &[&content], None).await;
                assert_eq!(codes(&sent), [250]);
                client.quit().await;
                assert!(world.messages("x.test/a")[0].contains("with ESMTPS"));
            }
            Err(e) => {
                assert_eq!(e.phase, Phase::Tls, "{context}");
                assert!(!part.is_empty() && e.to_string().contains(part), "{context}: {e}");
            }
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn handshakes_are_full_or_resumed_as_asked_and_told() {
    let certificate = Certificate::self_signed("mx.test").unwrap();
    let plan = Plan { certificate: Some(certificate), is_tls: true, ..Plan::default() };
    let world = World::start(plan).await;
    for (is_resuming, expected) in [(true, [false, true, true]), (false, [false; 3])] {
        let tls = Tls::new(&Trust::Anybody, is_resuming, None).unwrap();
        let secure = Secure { tls, is_implicit: true, server_name: "mx.test".into() };
        let options = Options { tls: Some(secure), ..options(true, Protocol::Esmtp) };
        let mut resumed = Vec::new();
        for _ in 0..3 {
            let client = Client::connect(&world.endpoint, &options).await.unwrap();
            resumed.push(client.secured().unwrap().is_resumed);
            client.quit().await;
        }
        assert_eq!(resumed, expected, "{is_resuming}");
    }
    world.stop().await;
}

#[tokio::test]
async fn what_was_said_before_tls_is_not_heard_after_it() {
    let certificate = Certificate::self_signed("mx.test").unwrap();
    let world = World::start(Plan { certificate: Some(certificate), ..Plan::default() }).await;
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    // In one packet with STARTTLS: a command that somebody in between put there.
    stream.write_all(b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@c.test>\r\nQUIT\r\n").await.unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("220 2.0.0 go ahead\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1);
        said.push(byte[0]);
    }
    // Nothing more comes: the server waits for the handshake.
    let mut more = [0; 64];
    let waited = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut more)).await;
    assert!(waited.is_err(), "{waited:?}");
    drop(stream);
    assert!(world.stop().await.is_empty());
}

#[tokio::test]
async fn passwords_are_taken_through_tls_only() {
    let certificate = Certificate::self_signed("mx.test").unwrap();
    let users = "ann:secret\n";
    let plan = Plan { certificate: Some(certificate), users, ..Plan::default() };
    let world = World::start(plan).await;
    let credentials =
        Credentials { user: "ann".into(), secret: "secret".into(), authorize_as: None };
    let auth = Some((Mechanism::Plain, credentials));
    let in_clear = Options {
        auth: auth.clone(),
        is_plaintext_allowed: true,
        ..options(true, Protocol::Esmtp)
    };
    let refused = Client::connect(&world.endpoint, &in_clear).await.err().unwrap();
    assert!(refused.to_string().contains("538"), "{refused}");
    let tls = secure(&Trust::Anybody, false, "mx.test");
    let through_tls = Options { auth, tls, ..options(true, Protocol::Esmtp) };
    let mut client = Client::connect(&world.endpoint, &through_tls).await.unwrap();
    let content = Content::new(b"x\r\n");
    let sent = client.send(&envelope(&["a@x.test"]), &[&content], None).await;
    assert_eq!(codes(&sent), [250]);
    client.quit().await;
    let events = world.stop().await;
    assert!(events[0].tls && events[0].user.as_deref() == Some("ann"), "{events:?}");
}
