//! A server of ours on loopback, with a store and perhaps a queue of its own, and what is found there afterwards.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smtp::client::{Endpoint, Protocol};
use smtp::server::{
    Certificate, Event, Keeping, Listener, Log, OFFERED, Onward, Policy, Queue, Rates, Relay,
    RelayEvent, Routes, Server, ServerLimits, Setup, Socket, Store, TransactionEvent, Users,
};
use smtp::{Address, Envelope, Outcome};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use crate::scripted::options;

/// What is to be served.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) is_lmtp: bool,
    /// Who may AUTH; then they must.
    pub(crate) users: &'static str,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) is_tls: bool,
    pub(crate) is_proxied: bool,
    pub(crate) rates: Rates,
    /// Where what is not for `x.test` goes.
    pub(crate) relay: Option<SocketAddr>,
    /// Whether what cannot be handed on at once goes back.
    pub(crate) is_impatient: bool,
    pub(crate) rules: &'static str,
    /// How long sessions may go on when the server stops.
    pub(crate) grace: Option<Duration>,
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Arc<Server>,
    pub(crate) endpoint: Endpoint,
    serving: JoinSet<()>,
}

impl World {
    pub(crate) async fn start(plan: Plan) -> World {
        let dir = tempfile::tempdir().unwrap();
        World::start_in(dir, plan).await
    }

    /// In a folder that an earlier one may have left.
    pub(crate) async fn start_in(dir: tempfile::TempDir, plan: Plan) -> World {
        let root = dir.path().join("vmail");
        for name in ["x.test/a", "x.test/b"] {
            for subdir in ["tmp", "new", "cur"] {
                fs::create_dir_all(root.join(name).join(subdir)).unwrap();
            }
        }
        let store = Store {
            root,
            layout: "/%d/%n".parse().unwrap(),
            is_creating: false,
            is_syncing: true,
            host: "mx.test".into(),
        };
        let mechanisms =
            if plan.users.is_empty() { vec![] } else { OFFERED.map(str::to_owned).to_vec() };
        let (rates, usual) = (plan.rates, ServerLimits::default());
        let grace = plan.grace.unwrap_or(usual.grace);
        let limits = ServerLimits { size_bytes: 200_000, rates, grace, ..usual };
        let onward = plan.relay.map(|_| {
            let queue = Queue::open(&dir.path().join("queue"), true).unwrap();
            Onward { queue: Arc::new(queue), domains: vec!["y.test".into()] }
        });
        let spool = dir.path().join("spool");
        fs::create_dir_all(&spool).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.path().join("log"));
        let tls = plan.certificate.map(|certificate| certificate.acceptor().unwrap());
        let has_starttls = tls.is_some() && !plan.is_tls;
        let server = Server::new(Setup {
            keeping: Keeping::Mail(Routes {
                store: Some(store),
                onward,
                spool,
                host: "mx.test".into(),
            }),
            limits,
            tls,
            users: Users::parse(plan.users).unwrap(),
            log: Some(Log::new(log.unwrap())),
        });
        server.faults.load(plan.rules).unwrap();
        let (socket, endpoint) = if plan.is_lmtp {
            let path = dir.path().join("lmtp");
            (Socket::Unix(UnixListener::bind(&path).unwrap()), Endpoint::Unix(path))
        } else {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            (Socket::Tcp(listener), Endpoint::Tcp(address, None))
        };
        let policy = Policy {
            is_lmtp: plan.is_lmtp,
            host: "mx.test".into(),
            size_bytes_max: 200_000,
            recipients_max: 100,
            has_starttls,
            is_auth_needed: !mechanisms.is_empty(),
            mechanisms,
            is_plain_auth_allowed: !has_starttls,
        };
        let (is_tls, is_proxied) = (plan.is_tls, plan.is_proxied);
        let listener = Listener { name: "smtp".into(), policy, is_tls, is_proxied };
        let mut serving = JoinSet::new();
        serving.spawn(Arc::clone(&server).serve(socket, listener));
        if let Some(to) = plan.relay {
            let relay = Relay {
                to: Endpoint::Tcp(to, None),
                options: options(true, Protocol::Esmtp),
                retry: vec![Duration::from_millis(20)],
                expire: if plan.is_impatient { Duration::ZERO } else { Duration::from_secs(3600) },
                parallel: 2,
            };
            serving.spawn(Arc::clone(&server).relay(relay));
        }
        World { dir, server, endpoint, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self.endpoint {
            Endpoint::Tcp(address, _) => address,
            Endpoint::Unix(_) => panic!("it has no address"),
        }
    }

    /// Where the mailboxes of `x.test` are.
    pub(crate) fn mail(&self) -> PathBuf {
        self.dir.path().join("vmail/x.test")
    }

    pub(crate) fn messages(&self, mailbox: &str) -> Vec<String> {
        let new = self.dir.path().join("vmail").join(mailbox).join("new");
        let mut paths: Vec<PathBuf> =
            fs::read_dir(new).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in &paths {
            let size = format!("S={}", path.metadata().unwrap().len());
            assert!(path.to_str().unwrap().contains(&size), "{}", path.display());
        }
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    /// Nothing half done lies about.
    pub(crate) fn assert_clean(&self) {
        for mailbox in ["x.test/a", "x.test/b"] {
            let tmp = self.dir.path().join("vmail").join(mailbox).join("tmp");
            assert_eq!(fs::read_dir(tmp).unwrap().count(), 0);
        }
    }

    /// Waits until the queue has nothing left to do.
    pub(crate) async fn drained(&self) {
        let queue = self.server.queue().unwrap();
        until("the queue is empty", || queue.list().is_empty()).await;
    }

    /// Stops, and gives its folder and what the log has.
    pub(crate) async fn end(mut self) -> (tempfile::TempDir, Vec<Event>) {
        self.server.stop();
        while let Some(ended) = self.serving.join_next().await {
            ended.unwrap();
        }
        self.server.close_log().unwrap();
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
        let events = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (self.dir, events)
    }

    /// Stops, and gives the transactions of the log.
    pub(crate) async fn stop(self) -> Vec<TransactionEvent> {
        let events = self.end().await.1.into_iter();
        let transaction = |event| match event {
            Event::Transaction(event) => Some(event),
            Event::Relay(_) => None,
        };
        events.filter_map(transaction).collect()
    }

    /// Stops, and gives the attempts to relay of the log.
    pub(crate) async fn attempts(self) -> Vec<RelayEvent> {
        let attempt = |event| match event {
            Event::Transaction(_) => None,
            Event::Relay(event) => Some(event),
        };
        self.end().await.1.into_iter().filter_map(attempt).collect()
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    eventually(what, 1, || usize::from(is_so())).await;
}

/// Waits until there are as many as are wanted, and lets others go on meanwhile. Nothing new for a minute is the end.
pub(crate) async fn eventually(what: &str, wanted: usize, mut count: impl FnMut() -> usize) {
    let (mut seen, mut deadline) = (0, Instant::now() + PATIENCE);
    while seen < wanted {
        let now = count();
        if now > seen {
            (seen, deadline) = (now, Instant::now() + PATIENCE);
        }
        assert!(Instant::now() < deadline, "a minute with nothing new: {what}, {seen} of {wanted}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn envelope(to: &[&str]) -> Envelope {
    envelope_from("s@client.test", to)
}

pub(crate) fn envelope_from(from: &str, to: &[&str]) -> Envelope {
    let address = |text: &str| Address::parse(text).unwrap();
    Envelope {
        from: (!from.is_empty()).then(|| address(from)),
        to: to.iter().map(|to| address(to).into()).collect(),
        ..Envelope::default()
    }
}

pub(crate) fn codes(outcomes: &[Outcome]) -> Vec<u16> {
    outcomes.iter().map(|outcome| outcome.reply().map_or(0, |reply| reply.code)).collect()
}
