//! Our own server at the other end of the server under test, which relays to it: a message is seen when it was taken
//! and before that is said. A copy for each recipient, as in mailboxes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use smtp::server::{Keeping, Listener, Policy, Server, ServerLimits, Setup, Socket, Tapped};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::{Judge, Judged, SEEN_MAX, Seen, Sight, Watch, WatchError, What};

/// A server, and who watches what it takes.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    /// Sees what it takes.
    pub watch: Watch,
}

/// Listens for plain SMTP at an address (port 0: any), with this name in its greeting, until the watch is stopped.
pub async fn listen(address: SocketAddr, host: &str, judge: Judge) -> Result<Sink, WatchError> {
    let place = |e| WatchError::Place(format!("a sink on {address}"), e);
    let listener = TcpListener::bind(address).await.map_err(place)?;
    let bound = listener.local_addr().map_err(place)?;
    let (seen_to, seen) = mpsc::channel(SEEN_MAX);
    let (tap, tapped) = mpsc::channel(TAPPED_MAX);
    let (ended_to, ended) = oneshot::channel();
    thread::Builder::new()
        .name("sink".into())
        .spawn(move || {
            look(tapped, &judge, &seen_to);
            let _ = ended_to.send(Ok(Sight::default()));
        })
        .map_err(place)?;
    let limits = ServerLimits {
        connections: CONNECTIONS_MAX,
        size_bytes: MESSAGE_BYTES,
        grace: GRACE,
        ..ServerLimits::default()
    };
    let server = Server::new(Setup { keeping: Keeping::Tap(tap), limits, ..Setup::default() });
    let stopping = Arc::downgrade(&server);
    // The tap is closed when the last session and this task have gone.
    tokio::spawn(server.serve(Socket::Tcp(listener), plain(host)));
    let stop = Box::new(move || {
        if let Some(server) = stopping.upgrade() {
            server.stop();
        }
    });
    Ok(Sink { address: bound, watch: Watch { seen, ended, stop, resolution: Duration::ZERO } })
}

fn plain(host: &str) -> Listener {
    let policy = Policy {
        is_lmtp: false,
        host: host.to_owned(),
        size_bytes_max: MESSAGE_BYTES,
        recipients_max: RECIPIENTS_MAX,
        has_starttls: false,
        mechanisms: Vec::new(),
        is_plain_auth_allowed: false,
        is_auth_needed: false,
    };
    Listener { name: "sink".into(), policy, is_tls: false, is_proxied: false }
}

/// Judges what comes out of the tap, until it is closed or nobody wants to know.
fn look(mut tapped: mpsc::Receiver<Tapped>, judge: &Judge, seen: &mpsc::Sender<Seen>) {
    while let Some(Tapped { recipients, content, at }) = tapped.blocking_recv() {
        let what: Judged = judge(&content);
        for _ in recipients {
            if seen.blocking_send(Seen { what: What::Message(what), at }).is_err() {
                return;
            }
        }
    }
}

/// As many as a server may want to open.
const CONNECTIONS_MAX: usize = 20_000;
const RECIPIENTS_MAX: usize = 10_000;
/// As in mailboxes. In memory, for each connection that sends as much.
const MESSAGE_BYTES: u64 = 64 << 20;
/// Messages that were taken and not looked at. They may be large.
const TAPPED_MAX: usize = 64;
/// For messages that are on their way when the watch stops.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use smtp::client::{Client, Endpoint, Limits, Options};
    use smtp::{Address, Content, Envelope};

    use super::*;
    use crate::deliver::tests::judge;

    fn envelope(to: &[&str]) -> Envelope {
        let address = |text: &str| Address::parse(text).unwrap();
        let to = to.iter().map(|to| address(to).into()).collect();
        Envelope { from: Some(address("s@client.test")), to, ..Envelope::default() }
    }

    fn options() -> Options {
        let limits = Limits::all(Duration::from_secs(60));
        Options { limits, ..Options::new("client.test") }
    }

    #[tokio::test]
    async fn each_copy_is_seen_and_then_the_sink_stops() {
        let address = ([127, 0, 0, 1], 0).into();
        let Sink { address, mut watch } = listen(address, "sink.test", judge()).await.unwrap();
        let endpoint = Endpoint::Tcp(address, None);
        let mut client = Client::connect(&endpoint, &options()).await.unwrap();
        let large = format!("ours 2\r\n{}", "x\r\n".repeat(200_000));
        for (text, to) in [
            ("ours 1\r\n", ["a@x.test", "b@x.test"].as_slice()),
            (large.as_str(), &["a@x.test"]),
            ("broken 3\r\n", &["a@x.test"]),
            ("theirs\r\n", &["a@x.test"]),
        ] {
            let sent = client.send(&envelope(to), &[&Content::new(text.as_bytes())], None).await;
            assert!(sent.iter().all(|outcome| outcome.reply().is_some_and(|r| r.code == 250)));
        }
        watch.stop();
        let mut seen = Vec::new();
        while let Some(Seen { what: What::Message(judged), .. }) = watch.next().await {
            seen.push(judged);
        }
        let ours = |index, sum_ok| Judged::Ours { index, sum_ok };
        let expected =
            [ours(1, true), ours(1, true), ours(2, true), ours(3, false), Judged::Foreign];
        assert_eq!(seen, expected);
        assert_eq!(watch.end().await.unwrap(), Sight::default());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen(address, "sink.test", judge()).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot watch a sink on {address}: ")), "{error}");
    }
}
