//! Our client and our server with the proxy between them, over real sockets: what the client was told, and what the
//! server has in the end.

mod hostile;
mod modes;
mod phases;
mod presented;
mod secured;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use smtp::client::{Client, Endpoint, Limits, NotConnected, Options, Protocol};
use smtp::server::{
    Certificate, Keeping, Listener, OFFERED, Policy, Server, ServerLimits, Setup, Socket, Tapped,
    Users,
};
use smtp::{Address, Content, Envelope, Outcome, Refusal};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Proxy, Rule};

#[derive(Default)]
struct Plan {
    is_lmtp: bool,
    certificate: Option<Certificate>,
    users: &'static str,
    rules: &'static str,
}

/// A server and the proxy before it.
struct World {
    server: Arc<Server>,
    serving: JoinHandle<()>,
    tapped: mpsc::Receiver<Tapped>,
    proxy: Proxy,
}

impl World {
    async fn start(plan: Plan) -> World {
        let (tap, tapped) = mpsc::channel(64);
        let has_starttls = plan.certificate.is_some();
        let mechanisms =
            if plan.users.is_empty() { vec![] } else { OFFERED.map(str::to_owned).to_vec() };
        let server = Server::new(Setup {
            keeping: Keeping::Tap(tap),
            limits: ServerLimits { grace: Duration::from_secs(60), ..ServerLimits::default() },
            tls: plan.certificate.map(|certificate| certificate.acceptor().unwrap()),
            users: Users::parse(plan.users).unwrap(),
            ..Setup::default()
        });
        let policy = Policy {
            is_lmtp: plan.is_lmtp,
            host: "mx.test".into(),
            size_bytes_max: 8 << 20,
            recipients_max: 100,
            has_starttls,
            is_plain_auth_allowed: true,
            is_auth_needed: !mechanisms.is_empty(),
            mechanisms,
        };
        let listener = Listener { name: "x".into(), policy, is_tls: false, is_proxied: false };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = socket.local_addr().unwrap();
        let serving = tokio::spawn(Arc::clone(&server).serve(Socket::Tcp(socket), listener));
        let any = "127.0.0.1:0".parse().unwrap();
        let proxy = Proxy::start(any, to, rules(plan.rules)).await.unwrap();
        World { server, serving, tapped, proxy }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.proxy.address(), None)
    }

    /// One session with one message, as far as it comes.
    async fn send(&self, options: &Options, text: &str) -> Vec<String> {
        match Client::connect(&self.endpoint(), options).await {
            Ok(mut client) => {
                let told = send(&mut client, text).await;
                client.quit().await;
                told
            }
            Err(e) => vec![not_connected(&e)],
        }
    }

    /// Stops both, and gives what the server has.
    async fn stop(mut self) -> Vec<String> {
        self.proxy.stop().await;
        self.server.stop();
        self.serving.await.unwrap();
        drop(self.server);
        let mut kept = Vec::new();
        while let Some(tapped) = self.tapped.recv().await {
            kept.push(String::from_utf8(tapped.content).unwrap());
        }
        kept
    }
}

fn rules(text: &str) -> Vec<Rule> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        rule: Vec<Rule>,
    }
    toml::from_str::<File>(text).unwrap().rule
}

fn options() -> Options {
    let limits = Limits::all(Duration::from_secs(60));
    Options { limits, ..Options::new("client.test") }
}

fn lmtp() -> Options {
    Options { protocol: Protocol::Lmtp, ..options() }
}

fn envelope(to: &[&str]) -> Envelope {
    let address = |text: &str| Address::parse(text).unwrap();
    let to = to.iter().map(|to| address(to).into()).collect();
    Envelope { from: Some(address("s@client.test")), to, ..Envelope::default() }
}

async fn send(client: &mut Client, text: &str) -> Vec<String> {
    let content = Content::new(text.as_bytes());
    let to = envelope(&["a@x.test", "b@x.test"]);
    client.send(&to, &[&content], None).await.iter().map(told).collect()
}

/// What a client knows of a message: accepted, refused, failed before its end, or unknown.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(reply) => format!("accepted {}", reply.code),
        Outcome::Refused(_, Refusal::Reply(reply)) => format!("refused {}", reply.code),
        Outcome::Refused(_, Refusal::Failure(_)) => "failed".into(),
        Outcome::Unknown(_) => "unknown".into(),
    }
}

fn not_connected(error: &NotConnected) -> String {
    match &error.refusal {
        Refusal::Reply(reply) => format!("no session {}", reply.code),
        Refusal::Failure(_) => "no session".into(),
    }
}

const LETTER: &str = "Subject: x\r\n\r\n.one\r\n..two\r\nQUIT\r\n";
