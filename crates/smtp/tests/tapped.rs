//! Messages that go to whoever has the other end of the tap: whole, and before the client is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smtp::client::{Client, Endpoint, Options, Protocol};
use smtp::server::{Keeping, Listener, Policy, Server, ServerLimits, Setup, Socket, Tapped};
use smtp::{Content, Outcome};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::scripted::options;
use crate::world::{codes, envelope};

const SIZE_BYTES: u64 = 500_000;

/// A server with a tap that holds one message.
async fn start(protocol: Protocol) -> (Arc<Server>, Client, mpsc::Receiver<Tapped>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap(), None);
    let policy = Policy {
        is_lmtp: protocol == Protocol::Lmtp,
        host: "mx.test".into(),
        size_bytes_max: SIZE_BYTES,
        recipients_max: 100,
        has_starttls: false,
        mechanisms: vec![],
        is_plain_auth_allowed: false,
        is_auth_needed: false,
    };
    let (tap, tapped) = mpsc::channel(1);
    let limits = ServerLimits { size_bytes: SIZE_BYTES, ..ServerLimits::default() };
    let server = Server::new(Setup { keeping: Keeping::Tap(tap), limits, ..Setup::default() });
    let listener_options =
        Listener { name: "smtp".into(), policy, is_tls: false, is_proxied: false };
    tokio::spawn(Arc::clone(&server).serve(Socket::Tcp(listener), listener_options));
    let options = Options { chunking: false, ..options(true, protocol) };
    (server, Client::connect(&endpoint, &options).await.unwrap(), tapped)
}

async fn send(client: &mut Client, to: &[&str], text: &str) -> Vec<Outcome> {
    client.send(&envelope(to), &[&Content::new(text.as_bytes())], None).await
}

#[tokio::test]
async fn a_message_comes_out_as_it_was_sent_with_all_who_get_it() {
    for (protocol, is_each) in [(Protocol::Esmtp, false), (Protocol::Lmtp, true)] {
        let (_server, mut client, mut tapped) = start(protocol).await;
        let large = format!("Subject: x\r\n\r\n.{}\r\n", "y\r\n".repeat(100_000));
        let before = Instant::now();
        let sent = send(&mut client, &["a@x.test", "b@y.test"], &large).await;
        assert_eq!(codes(&sent), [250, 250], "{sent:?}");
        let message = tapped.try_recv().unwrap();
        assert_eq!(message.content, large.as_bytes(), "{is_each}");
        let to: Vec<_> = message.recipients.iter().map(smtp::Address::as_str).collect();
        assert_eq!(to, ["a@x.test", "b@y.test"]);
        assert!((before..=Instant::now()).contains(&message.at));
        // What is refused does not come out.
        let sent = send(&mut client, &["a@x.test"], &"y\r\n".repeat(200_000)).await;
        assert_eq!(codes(&sent), [552]);
        assert!(tapped.try_recv().is_err());
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_that_the_tap_did_not_take() {
    let (server, mut client, mut tapped) = start(Protocol::Esmtp).await;
    assert_eq!(codes(&send(&mut client, &["a@x.test"], "1\r\n").await), [250]);
    let accepted = server.counts().accepted;
    {
        let mut second = std::pin::pin!(send(&mut client, &["a@x.test"], "2\r\n"));
        // It is full: however long the client waits, there is no reply.
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err());
        assert_eq!(server.counts().accepted, accepted);
        assert_eq!(tapped.recv().await.unwrap().content, b"1\r\n");
        assert_eq!(codes(&second.await), [250]);
    }
    assert_eq!(tapped.recv().await.unwrap().content, b"2\r\n");
    drop(tapped);
    assert_eq!(codes(&send(&mut client, &["a@x.test"], "3\r\n").await), [451]);
    assert_eq!(server.counts().accepted, accepted + 1);
}
