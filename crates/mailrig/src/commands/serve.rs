//! `serve`: the embedded mail server. Its result, when it has stopped, is what it did; where it listens is told at the
//! start, and in a file for scripts.

mod args;
mod listen;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use smtp::client::{Endpoint, Options};
use smtp::server::{
    BoundPath, Certificate, Counts, Keeping, Listener, Log, OFFERED, Onward, Policy, Queue, Rates,
    Relay, Routes, Server, ServerLimits, Setup, Store, Users, bind,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

pub(crate) use self::args::ServeArgs;
use self::listen::{Bound, Kind};
use crate::commands::load::write_whole;
use crate::exit::{Exit, UsageError};
use crate::ui::{Ui, count, plural, size};

/// The result.
#[derive(Serialize)]
struct ServeReport {
    listening: Vec<Address>,
    counts: Counts,
    /// Messages that still wait for the next server.
    waiting: usize,
}

/// A socket that is served.
#[derive(Serialize)]
struct Address {
    kind: &'static str,
    address: String,
}

/// What `--ready` tells.
#[derive(Serialize)]
struct Ready<'a> {
    listening: &'a [Address],
    /// Of the certificate, by which clients can pin it.
    certificate_sha256: Option<String>,
    pid: u32,
}

pub(crate) fn run(args: &ServeArgs, ui: &Ui) -> Result<Exit> {
    args.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each holds one message that is being written: more would only wait for the disk.
        .max_blocking_threads(DISK_THREADS)
        .build()?;
    let served = runtime.block_on(serve(args, ui))?;
    // What is being written is for nobody who waits: it may end, and need not.
    runtime.shutdown_timeout(if served.is_cut { Duration::ZERO } else { DISK_GRACE });
    end(served, ui)
}

/// What is left when the server has stopped.
struct Served {
    server: Arc<Server>,
    listening: Vec<Address>,
    /// Whether sessions were cut off.
    is_cut: bool,
}

async fn serve(args: &ServeArgs, ui: &Ui) -> Result<Served> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let certificate = certificate(args)?;
    let sha256 = certificate.as_ref().map(|certificate| hex(&certificate.sha256()));
    let tls = certificate.map(Certificate::acceptor).transpose()?;
    let server = Server::new(Setup {
        keeping: keeping(args)?,
        limits: limits(args),
        tls,
        users: users(args)?,
        log: log(args)?,
    });
    if let Some(path) = &args.rules {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        server.faults.load(&text).with_context(|| format!("in {}", path.display()))?;
    }
    let (bound, _sockets) = sockets(args).await?;
    let (mut tasks, mut listening) = (JoinSet::new(), Vec::new());
    for Bound { kind, address, socket } in bound {
        let listener = listener(args, kind, &server);
        tasks.spawn(Arc::clone(&server).serve(socket, listener));
        listening.push(Address { kind: kind.name(), address });
    }
    let _control = match &args.control {
        Some(path) => {
            let (socket, bound) =
                bind(path, 0o600).await.with_context(|| listen::failed(path.display()))?;
            tasks.spawn(Arc::clone(&server).control(socket));
            Some(bound)
        }
        None => None,
    };
    if let Some(relay) = relay(args) {
        tasks.spawn(Arc::clone(&server).relay(relay));
    }
    tell(args, ui, &listening, sha256)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = server.stopped() => {}
    }
    ui.status(
        "Stopping: sessions may end the message that they are at; a second signal cuts them off",
    );
    server.stop();
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a part of the server panicked")?;
        }
        anyhow::Ok(false)
    };
    let is_cut = tokio::select! {
        ended = all => ended?,
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    };
    Ok(Served { server, listening, is_cut })
}

/// Writes what is left, and tells what was done.
fn end(served: Served, ui: &Ui) -> Result<Exit> {
    let Served { server, listening, is_cut } = served;
    server.close_log().context("the event log is not complete")?;
    let counts = server.counts();
    let waiting = server.queue().map_or(0, |queue| queue.list().len());
    ui.result("serve", &ServeReport { listening, counts, waiting }, || text(&counts, waiting))?;
    Ok(match (counts.in_doubt, is_cut) {
        (_, true) => Exit::Interrupted,
        (0, _) => Exit::Done,
        _ => Exit::Incomplete,
    })
}

fn text(counts: &Counts, waiting: usize) -> String {
    let Counts { connections, accepted, refused, bytes, relayed, bounced, in_doubt, .. } = *counts;
    let mut text = format!(
        "Took {} ({}) over {}",
        plural(accepted, "message"),
        size(bytes),
        plural(connections, "connection")
    );
    if refused > 0 {
        text.push_str(&format!(", refused {}", count(refused)));
    }
    if relayed + bounced > 0 || waiting > 0 {
        text.push_str(&format!(
            "; relayed {}, bounced {}, {} wait",
            count(relayed),
            count(bounced),
            count(waiting as u64)
        ));
    }
    if in_doubt > 0 {
        text.push_str(&format!("; {} kept for some of their recipients only", count(in_doubt)));
    }
    text.push('\n');
    text
}

fn tell(args: &ServeArgs, ui: &Ui, listening: &[Address], sha256: Option<String>) -> Result<()> {
    for Address { kind, address } in listening {
        ui.status(format!("Listening: {kind:<11} {address}"));
    }
    if let Some(sha256) = &sha256 {
        ui.status(format!("Certificate: SHA-256 {sha256}"));
    }
    if let Some(path) = &args.ready {
        let ready = Ready { listening, certificate_sha256: sha256, pid: std::process::id() };
        let mut line = serde_json::to_vec(&ready)?;
        line.push(b'\n');
        // Whoever waits for the file finds all of it.
        write_whole(path, &line)?;
    }
    Ok(())
}

async fn sockets(args: &ServeArgs) -> Result<(Vec<Bound>, Vec<BoundPath>)> {
    let (mut bound, mut paths) = (Vec::new(), Vec::new());
    for (kind, place) in args.places() {
        let (socket, path) = listen::bind_to(kind, place).await?;
        bound.push(socket);
        paths.extend(path);
    }
    Ok((bound, paths))
}

fn listener(args: &ServeArgs, kind: Kind, server: &Server) -> Listener {
    let has_users = args.users.is_some();
    let mechanisms = if has_users { OFFERED.map(str::to_owned).to_vec() } else { Vec::new() };
    let policy = Policy {
        is_lmtp: kind == Kind::Lmtp,
        host: args.host(),
        size_bytes_max: args.max_size,
        recipients_max: args.max_recipients,
        has_starttls: server.has_tls() && kind != Kind::Submissions,
        mechanisms,
        is_plain_auth_allowed: args.plain_auth,
        is_auth_needed: has_users && matches!(kind, Kind::Submission | Kind::Submissions),
    };
    let is_tls = kind == Kind::Submissions;
    Listener { name: kind.name().into(), policy, is_tls, is_proxied: args.proxy_protocol }
}

fn keeping(args: &ServeArgs) -> Result<Keeping> {
    if args.sink {
        return Ok(Keeping::Sink);
    }
    let host = args.host();
    let store = match &args.store {
        Some(root) => {
            let root = root.canonicalize().with_context(|| {
                format!(
                    "cannot open {}; is it the folder that the mailboxes are to be in?",
                    root.display()
                )
            })?;
            let (is_creating, is_syncing) = (args.create, !args.no_fsync);
            Some(Store {
                root,
                layout: args.layout()?,
                is_creating,
                is_syncing,
                host: host.clone(),
            })
        }
        None => None,
    };
    let onward = match &args.queue {
        Some(dir) => {
            let queue = Queue::open(dir, !args.no_fsync);
            let queue =
                queue.with_context(|| format!("cannot open the queue {}", dir.display()))?;
            let domains =
                args.relay_domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
            Some(Onward { queue: Arc::new(queue), domains })
        }
        None => None,
    };
    let spool = args.spool.clone().unwrap_or_else(std::env::temp_dir);
    if !spool.is_dir() {
        bail!(
            "cannot keep large messages in {} while they come: there is no such folder",
            spool.display()
        );
    }
    Ok(Keeping::Mail(Routes { store, onward, spool, host }))
}

fn limits(args: &ServeArgs) -> ServerLimits {
    ServerLimits {
        connections: args.max_connections,
        size_bytes: args.max_size,
        idle: args.timeout,
        rates: Rates {
            messages_per_minute: args.messages_per_minute,
            connections: args.max_connections_per_client,
        },
        ..ServerLimits::default()
    }
}

fn certificate(args: &ServeArgs) -> Result<Option<Certificate>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => {
            let certificate = Certificate::from_pem(&read(cert)?, &read(key)?);
            Ok(Some(certificate.with_context(|| format!("cannot use {}", cert.display()))?))
        }
        _ if args.tls || !args.submissions.is_empty() => {
            Ok(Some(Certificate::self_signed(&args.host()).context("cannot make a certificate")?))
        }
        _ => Ok(None),
    }
}

fn users(args: &ServeArgs) -> Result<Users> {
    let Some(path) = &args.users else { return Ok(Users::default()) };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Users::parse(&text).with_context(|| format!("in {}", path.display()))
}

fn log(args: &ServeArgs) -> Result<Option<Log>> {
    let Some(path) = &args.log else { return Ok(None) };
    let opened = open_log(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(Log::new(opened)))
}

/// To append to. The half line that a kill or a full disk left is ended, or it would spoil the next one, too.
fn open_log(path: &Path) -> io::Result<fs::File> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.len() > 0 {
        let mut last = [0];
        fs::File::open(path)?.read_exact_at(&mut last, meta.len() - 1)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn relay(args: &ServeArgs) -> Option<Relay> {
    args.relay.map(|to| Relay {
        to: Endpoint::Tcp(to, None),
        options: Options::new(args.host()),
        retry: args.retry.clone(),
        expire: args.expire,
        parallel: RELAYED_AT_ONCE,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ServeArgs {
    /// What makes no sense together, and clap cannot know.
    fn check(&self) -> Result<()> {
        let usage = |reason: &str| Err(UsageError(reason.to_owned()).into());
        if !self.sink && self.store.is_none() && self.relay.is_none() {
            return usage("where is the mail to go? Name a --store, a --relay, or --sink");
        }
        if self.relay.is_some() != self.queue.is_some() {
            return usage(
                "--relay needs a --queue for what waits, and a --queue somewhere to --relay it to",
            );
        }
        if self.users.is_none() && !(self.submission.is_empty() && self.submissions.is_empty()) {
            return usage(
                "--submission and --submissions need --users: they take mail only from those who AUTH",
            );
        }
        if self.create && self.relay.is_some() && self.relay_domains.is_empty() {
            return usage(
                "--create with --relay needs a --relay-domain: else all that has no mailbox yet is handed on",
            );
        }
        if self.host().contains(|c: char| c.is_whitespace() || c.is_control()) {
            return usage("--host is one word: it is in each greeting, and in the headers of mail");
        }
        if self.timeout.is_zero() || self.retry.iter().any(Duration::is_zero) {
            return usage(
                "--timeout and --retry take more than 0: a server that never waits does nothing else",
            );
        }
        self.layout().map(drop)
    }
}

const DISK_THREADS: usize = 64;

/// For what is still being written when all sessions are over.
const DISK_GRACE: Duration = Duration::from_secs(10);
const RELAYED_AT_ONCE: usize = 10;
