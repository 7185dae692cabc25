//! Where a message goes: into mailboxes here, into the queue for the next server, or some of both. It is on
//! disk for all of its recipients before any of them can see it, and before the client is told.

use std::cell::LazyCell;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::body::Body;
use super::bounce;
use super::command::Hello;
use super::dialogue::{Answer, Dialogue, Policy, Transaction};
use super::keep::{NoMailbox, Store, Written};
use super::queue::{Queue, Waiting};
use super::relay::Attempt;
use crate::address::Address;

/// Where messages go.
#[derive(Debug)]
pub struct Routes {
    /// Mailboxes here.
    pub store: Option<Store>,
    /// What is not for them waits here for the next server.
    pub onward: Option<Onward>,
    /// Where bodies that are large are kept while they come.
    pub spool: PathBuf,
    /// This host's name, in marks and bounces.
    pub host: String,
}

/// What goes to the next server.
#[derive(Debug)]
pub struct Onward {
    /// Where it waits.
    pub queue: Arc<Queue>,
    /// Domains that it takes, in lower case; none: all.
    pub domains: Vec<String>,
}

/// Where one recipient's copy goes.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Mailbox(PathBuf),
    Onward,
}

/// A message that was not kept for all.
enum NotKept {
    /// Nobody can see it.
    AtAll(io::Error),
    /// Somebody may see it.
    InPart(io::Error),
}

impl Routes {
    /// Whether a recipient can get mail; blocks.
    pub(super) fn takes(&self, to: &Address) -> Result<(), NoMailbox> {
        self.route(to).map(drop)
    }

    fn route(&self, to: &Address) -> Result<Route, NoMailbox> {
        let found = self.store.as_ref().map(|store| (store, store.mailbox(to)));
        if let Some((store, Ok(mailbox))) = &found
            && is_mailbox(mailbox, &store.root)?
        {
            return Ok(Route::Mailbox(mailbox.clone()));
        }
        if self.onward.as_ref().is_some_and(|onward| onward.takes(to)) {
            return Ok(Route::Onward);
        }
        match found {
            Some((store, Ok(mailbox))) if store.is_creating => Ok(Route::Mailbox(mailbox)),
            Some((_, Err(bad))) => Err(bad),
            Some((_, Ok(_))) | None => Err(NoMailbox::Unknown),
        }
    }

    /// Keeps a message for all of its recipients, or for each by itself; blocks. `None`: some have it and
    /// some have not, and no answer would be true.
    pub(super) fn deliver(
        &self,
        transaction: &Transaction,
        trace: &Trace,
        body: &Body,
        is_each: bool,
    ) -> Option<Vec<Answer>> {
        let whole = [transaction.recipients.as_slice()];
        let each: Vec<&[Address]>;
        let groups: &[&[Address]] = if is_each {
            each = transaction.recipients.chunks(1).collect();
            &each
        } else {
            &whole
        };
        // Looked at only if it is to go on: its head may have to come from the disk.
        let is_circling = LazyCell::new(|| hops(body) > HOPS_MAX);
        let answers = groups.iter().enumerate().map(|(at, to)| {
            let id = if is_each { format!("{}-{at}", trace.id) } else { trace.id.clone() };
            let routes: Result<Vec<Route>, _> = to.iter().map(|to| self.route(to)).collect();
            let Ok(routes) = routes else {
                return Some(Answer::new(450, "4.2.0 the mailbox is not there any more"));
            };
            if routes.contains(&Route::Onward) && *is_circling {
                let text = format!("5.4.6 it goes in a circle: {HOPS_MAX} servers had it");
                return Some(Answer::new(554, text));
            }
            match self.keep(transaction, to, &routes, &id, trace, body) {
                Ok(()) => Some(Answer::new(250, format!("2.0.0 kept as {id}"))),
                Err(NotKept::AtAll(e)) => {
                    tracing::error!("message {id} cannot be kept, and is refused: {e}");
                    Some(Answer::new(451, format!("4.3.0 {}", one_line(&e))))
                }
                Err(NotKept::InPart(e)) => {
                    tracing::error!("message {id} is kept in part: {e}");
                    None
                }
            }
        });
        answers.collect()
    }

    fn keep(
        &self,
        transaction: &Transaction,
        to: &[Address],
        routes: &[Route],
        id: &str,
        trace: &Trace,
        body: &Body,
    ) -> Result<(), NotKept> {
        let from = transaction.from.as_ref().map_or("", |from| from.as_str());
        let (mut written, mut onward) = (Vec::new(), Vec::new());
        for (at, (to, route)) in to.iter().zip(routes).enumerate() {
            match (route, &self.store) {
                // Who is named twice gets it once.
                (Route::Mailbox(_), _) if routes[..at].contains(route) => {}
                (Route::Mailbox(mailbox), Some(store)) => {
                    let head = trace.head(from, to);
                    written.push(store.write(mailbox, &head, body).map_err(NotKept::AtAll)?);
                }
                _ if onward.iter().any(|other| other == to.as_str()) => {}
                _ => onward.push(to.to_string()),
            }
        }
        if let Some(Onward { queue, .. }) = self.onward.as_ref().filter(|_| !onward.is_empty()) {
            let is_utf8 = transaction.parameters.is_utf8;
            let waiting = Waiting::new(id, from, onward, is_utf8);
            queue.put(waiting, &trace.received, body).map_err(NotKept::AtAll)?;
        }
        // From here on the next server may have it.
        let has_gone = routes.contains(&Route::Onward);
        self.show(written, has_gone)
    }

    fn show(&self, mut written: Vec<Written>, has_gone: bool) -> Result<(), NotKept> {
        let Some(store) = &self.store else { return Ok(()) };
        for (at, message) in written.iter_mut().enumerate() {
            let is_first = at == 0 && !has_gone;
            message.show().map_err(if is_first { NotKept::AtAll } else { NotKept::InPart })?;
        }
        if store.is_syncing {
            for message in &written {
                message.sync_folder().map_err(NotKept::InPart)?;
            }
        }
        Ok(())
    }

    /// Tells the sender of a message who will not get it; blocks. What cannot be told to anybody is kept
    /// among the dead.
    pub(super) fn bounce(&self, attempt: &Attempt) -> io::Result<()> {
        let Some(Onward { queue, .. }) = &self.onward else { return Ok(()) };
        if attempt.failed.is_empty() {
            return Ok(());
        }
        let Attempt { id, waiting, .. } = attempt;
        let sender = Address::parse(&waiting.from).ok();
        let route = match sender.as_ref().map(|sender| self.route(sender)) {
            Some(Ok(route)) => Some(route),
            Some(Err(NoMailbox::Unsure)) => {
                return Err(io::Error::other("its mailbox is out of reach"));
            }
            Some(Err(NoMailbox::Unknown | NoMailbox::Name)) | None => None,
        };
        let (Some(sender), Some(route)) = (sender, route) else { return queue.bury(attempt) };
        let report = bounce::report(&self.host, attempt, &queue.read(id)?);
        let trace = Trace { id: format!("{id}-b{}", waiting.attempts), received: String::new() };
        let transaction = Transaction::bounce(&sender);
        let (to, body) = ([sender], Body::whole(report));
        match self.keep(&transaction, &to, &[route], &trace.id, &trace, &body) {
            Ok(()) => Ok(()),
            Err(NotKept::AtAll(e) | NotKept::InPart(e)) => Err(e),
        }
    }
}

/// Whether a folder is a mailbox. One that cannot be looked at may be: nobody is told that there is none. Nor if the
/// whole store is gone, as when it is not mounted.
fn is_mailbox(folder: &Path, root: &Path) -> Result<bool, NoMailbox> {
    let is_missing = |e: &io::Error| {
        matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && root.is_dir()
    };
    match fs::metadata(folder.join("new")) {
        Ok(meta) => Ok(meta.is_dir()),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => {
            tracing::error!("cannot look at the mailbox {}: {e}", folder.display());
            Err(NoMailbox::Unsure)
        }
    }
}

/// How many servers a message has gone through (RFC 5321, 6.3).
fn hops(body: &Body) -> usize {
    let head = body.head(HEAD_BYTES).unwrap_or_default();
    let lines = head.split(|byte| *byte == b'\n').take_while(|line| !matches!(*line, b"" | b"\r"));
    let mark = b"Received:";
    lines.filter(|line| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(mark))).count()
}

impl Onward {
    fn takes(&self, to: &Address) -> bool {
        let domain = to.domain().to_ascii_lowercase();
        self.domains.is_empty() || self.domains.contains(&domain)
    }
}

/// What a message is marked with on its way (RFC 5321, 4.4).
pub(super) struct Trace {
    pub(super) id: String,
    received: String,
}

impl Trace {
    pub(super) fn new(
        dialogue: &Dialogue,
        policy: &Policy,
        peer: Option<IpAddr>,
        id: String,
    ) -> Self {
        let (hello, name) = match &dialogue.hello {
            Some((hello, name)) => (Some(*hello), name.as_str()),
            None => (None, "unknown"),
        };
        let with = match (hello, dialogue.is_secured, dialogue.user.is_some()) {
            (Some(Hello::Helo), ..) => "SMTP",
            (Some(Hello::Lhlo), ..) => "LMTP",
            (_, false, false) => "ESMTP",
            (_, true, false) => "ESMTPS",
            (_, false, true) => "ESMTPA",
            (_, true, true) => "ESMTPSA",
        };
        let from = peer.map_or_else(|| "local".into(), |peer| format!("[{peer}]"));
        let (host, date) = (&policy.host, date());
        let received = format!(
            "Received: from {name} ({from})\r\n\tby {host} with {with} id {id};\r\n\t{date}\r\n"
        );
        Self { id, received }
    }

    fn head(&self, from: &str, to: &Address) -> String {
        format!("Return-Path: <{from}>\r\nDelivered-To: {to}\r\n{}", self.received)
    }
}

/// Now, as headers have it.
pub(super) fn date() -> String {
    jiff::fmt::rfc2822::to_string(&jiff::Zoned::now()).unwrap_or_default()
}

/// A name for the `number`th message of this server's life, which no earlier life has given.
pub(super) fn id(number: u64, began_ms: u64) -> String {
    format!("{began_ms:x}-{number:x}")
}

pub(super) fn one_line(error: &io::Error) -> String {
    error.to_string().replace(|c: char| c.is_control(), " ")
}

/// RFC 5321 asks for a hundred at least.
const HOPS_MAX: usize = 100;

/// More than so many marks take.
const HEAD_BYTES: u64 = 256 * 1024;
