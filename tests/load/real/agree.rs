//! Three accounts of the same mail: what `mailrig load` printed, what the server's log says, and what is in the
//! mailboxes. Nothing here uses the program's own ways to read a message.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::env::Env;

/// A server of whom a log and mailboxes are left.
pub(super) struct Server {
    /// Its log's lines about messages.
    pub(super) log: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Postfix,
    Exim,
    OpenSmtpd,
}

/// A copy of a message: under which id the server had it, and for whom.
type Copy = (String, String);

/// A message in a mailbox.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Its first line on, LF for CR LF.
    pub(super) text: String,
    pub(super) mailbox: String,
    /// From its mark.
    pub(super) run: String,
    pub(super) index: u64,
}

/// Runs `mailrig load` to its end. Without a size messages are small: those are made sooner. A machine that is busy with
/// other tests may make the generator late: then it says so.
#[track_caller]
pub(super) fn load(env: &Env, arguments: &[&[&str]]) -> Value {
    let mut words = [&["load"], arguments.concat().as_slice(), &["--json"]].concat();
    if !words.iter().any(|word| ["--size", "--corpus"].contains(word)) {
        words.extend(["--size", "1K"]);
    }
    let result = env.run(&words);
    let document = result.json();
    assert!([Some(0), Some(4), Some(6)].contains(&result.code), "{result}");
    assert_eq!(document["is_interrupted"], false, "{result}");
    document
}

/// The number of a field, such as `delivery/lost`.
#[track_caller]
pub(super) fn number(document: &Value, path: &str) -> u64 {
    let value = document.pointer(&format!("/{path}"));
    value.and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {path} in {document:#}"))
}

/// Every message was accepted, and every copy of it seen once, as it was.
#[track_caller]
pub(super) fn is_whole(document: &Value, offered: u64) {
    for name in ["offered", "started", "accepted"] {
        assert_eq!(number(document, name), offered, "{name} in {document:#}");
    }
    let copies = number(document, "recipients_accepted");
    for (name, count) in [("expected", copies), ("delivered", copies)] {
        assert_eq!(number(document, &format!("delivery/{name}")), count, "{name} in {document:#}");
    }
    for name in
        ["lost", "doubled", "corrupted", "unexpected", "unknown", "untold", "foreign", "unreadable"]
    {
        assert_eq!(number(document, &format!("delivery/{name}")), 0, "{name} in {document:#}");
    }
    assert_eq!(number(document, "delivery_us/count"), copies);
}

/// The messages of all mailboxes in a folder.
pub(super) fn kept(store: &Path) -> Vec<Kept> {
    let mut kept = Vec::new();
    for mailbox in fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()) {
        for folder in ["new", "cur"].map(|name| mailbox.join(name)) {
            for file in fs::read_dir(folder).unwrap() {
                let bytes = fs::read(file.unwrap().path()).unwrap();
                let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
                let mailbox = mailbox.file_name().unwrap().to_str().unwrap().to_owned();
                kept.push(Kept::new(text, mailbox));
            }
        }
    }
    kept
}

impl Kept {
    fn new(text: String, mailbox: String) -> Self {
        let mark = field(&text, "X-Mailrig-Load: ");
        let mut words = mark.split(' ');
        let run = words.next().unwrap().to_owned();
        let index = words.next().unwrap().parse().unwrap();
        let id = field(&text, "Message-ID: ");
        assert!(id.starts_with(&format!("<{run}.{index}@")), "{id} and {mark}");
        Self { text, mailbox, run, index }
    }

    pub(super) fn message_id(&self) -> &str {
        field(&self.text, "Message-ID: ")
    }

    /// Under which id a server had it, as that wrote on top.
    fn id(&self, kind: Kind) -> String {
        let header = self.text.split("\n\n").next().unwrap();
        let header = header.replace("\n\t", " ").replace("\n ", " ");
        let stamp = match kind {
            Kind::Postfix => "(Postfix)",
            Kind::Exim => "(Exim",
            Kind::OpenSmtpd => "(OpenSMTPD)",
        };
        let mut lines = header.lines();
        let line = lines.find(|line| line.starts_with("Received: ") && line.contains(stamp));
        let line = line.unwrap_or_else(|| panic!("no {stamp} in {header}"));
        let rest = line.split_once(stamp).unwrap().1.split_once(" id ").unwrap().1;
        rest.split([' ', ';']).next().unwrap().to_owned()
    }
}

fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let of = |line: &'t str| line.strip_prefix(name);
    text.lines().find_map(of).unwrap_or_else(|| panic!("no {name} in {text}"))
}

impl Server {
    pub(super) fn read(kind: Kind, log: &Path) -> Self {
        Self { log: fs::read_to_string(log).unwrap(), kind }
    }

    /// Lines that hold this.
    pub(super) fn said(&self, words: &str) -> u64 {
        self.log.lines().filter(|line| line.contains(words)).count() as u64
    }

    /// Whose lines these are, by the server's id, and what they say.
    fn about(&self) -> impl Iterator<Item = (&str, &str)> {
        self.log.lines().filter_map(|line| match self.kind {
            Kind::Postfix => line.split_once("]: ")?.1.split_once(": "),
            Kind::Exim => line.splitn(3, ' ').nth(2)?.split_once(' '),
            // Envelopes have the message's id and another half, one for each recipient.
            Kind::OpenSmtpd => {
                let rest = ["msgid=", "evpid="].iter().find_map(|key| line.split_once(key))?.1;
                Some((rest.get(..8)?, line))
            }
        })
    }

    /// Ids of what it took, in the order of its log.
    pub(super) fn came(&self) -> Vec<&str> {
        let is_coming = |text: &str| match self.kind {
            Kind::Postfix => text.starts_with("client="),
            Kind::Exim => text.starts_with("<= "),
            Kind::OpenSmtpd => text.contains(" smtp message "),
        };
        self.about().filter(|(_, text)| is_coming(text)).map(|(id, _)| id).collect()
    }

    /// What it handed on or put into a mailbox, sorted.
    pub(super) fn sent(&self) -> Vec<Copy> {
        let is_sent = |text: &str| match self.kind {
            Kind::Postfix => text.starts_with("to=<") && text.contains(", status=sent "),
            Kind::Exim => text.starts_with("=> ") || text.starts_with("-> "),
            Kind::OpenSmtpd => text.contains(" result=Ok"),
        };
        let copy = |(id, text): (&str, &str)| {
            let start = text.split_once("@x.test>").unwrap().0;
            (id.to_owned(), start.rsplit('<').next().unwrap().to_owned())
        };
        let mut sent: Vec<Copy> =
            self.about().filter(|(_, text)| is_sent(text)).map(copy).collect();
        sent.sort();
        sent
    }

    /// From the first to the last message that it took, by the clock of its log.
    pub(super) fn arrivals_s(&self) -> f64 {
        let is_coming = |line: &&str| match self.kind {
            Kind::Postfix => line.contains(": client="),
            Kind::Exim => line.contains(" <= "),
            Kind::OpenSmtpd => line.contains(" smtp message "),
        };
        let times: Vec<f64> = self.log.lines().filter(is_coming).map(time_of_day).collect();
        (times[times.len() - 1] - times[0]).rem_euclid(86_400.0)
    }

    /// Whether a replay of its log was as long as the log, to the end of its last second.
    #[track_caller]
    pub(super) fn is_replayed(&self, document: &Value, speed: f64) {
        let length_s = number(document, "duration_us") as f64 / 1e6 * speed;
        let left = length_s - self.arrivals_s();
        assert!((0.0..1.001).contains(&left), "{length_s} s, {left} s of it empty: {document:#}");
    }

    /// What was asked was sent, and what was sent came, by the clock of the server's log, which may be coarse. What it
    /// took to answer is the server's affair.
    #[track_caller]
    pub(super) fn has_rate(&self, document: &Value, per_s: f64, clock_s: f64) {
        let float = |name: &str| document[name].as_f64().unwrap();
        let (duration_s, elapsed_s) = (float("duration_us") / 1e6, float("elapsed_us") / 1e6);
        assert!((float("asked_per_s") - per_s).abs() < 1e-6, "{document:#}");
        let achieved = number(document, "accepted") as f64 / elapsed_s;
        assert!((float("achieved_per_s") - achieved).abs() < 1e-6, "{document:#}");
        let took = self.arrivals_s();
        let planned = duration_s - 1.0 / per_s;
        let slack = number(document, "response_us/max") as f64 / 1e6 + clock_s;
        assert!((took - planned).abs() <= slack, "{took} s and not {planned}: {document:#}");
    }

    /// What was sent lies in mailboxes, no more and no less, each message of this run in one mailbox once. All that was
    /// accepted came, and nothing else.
    #[track_caller]
    pub(super) fn agrees(&self, document: &Value, kept: &[Kept]) {
        let mut copies: Vec<Copy> =
            kept.iter().map(|kept| (kept.id(self.kind), kept.mailbox.clone())).collect();
        copies.sort();
        assert_eq!(copies, self.sent());
        assert_eq!(copies.len() as u64, number(document, "delivery/delivered"));
        let mut by_index: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for kept in kept {
            assert_eq!(kept.run, document["run"].as_str().unwrap());
            by_index.entry(kept.index).or_default().insert(kept.id(self.kind));
        }
        let accepted = number(document, "accepted");
        assert_eq!(by_index.len() as u64, accepted);
        assert!(by_index.keys().copied().eq(0..accepted), "{by_index:?}");
        let ids: BTreeSet<String> = by_index.into_values().flatten().collect();
        let came = self.came();
        assert_eq!((ids.len() as u64, came.len() as u64), (accepted, accepted));
        assert_eq!(ids, came.into_iter().map(str::to_owned).collect());
    }
}

/// In seconds, of the first `hh:mm:ss` and what is finer.
fn time_of_day(line: &str) -> f64 {
    let time = line.split(' ').find(|word| word.bytes().filter(|byte| *byte == b':').count() == 2);
    let parts = time.unwrap().split(':').map(|part| part.parse::<f64>().unwrap());
    parts.fold(0.0, |seconds, part| seconds * 60.0 + part)
}
