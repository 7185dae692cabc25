//! What a restore drill came to: plain data, as it is printed and written. A check that was not made is `skipped`, with
//! the reason; it never counts as passed.

use std::time::Duration;

use serde::Serialize;

use super::tally::{Difference, Tally, What};
use crate::ui::{count, duration, plural, size};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Pass,
    Fail,
    Unknown,
    Skipped,
}

#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) version: u32,
    pub(super) snapshot: String,
    /// When the snapshot's run began.
    pub(super) taken: String,
    pub(super) verdict: Word,
    pub(super) sentence: String,
    /// With this the same mailboxes are chosen again; `None` where none were chosen at random.
    pub(super) seed: Option<u32>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) criteria: Vec<Criterion>,
    /// The first differences.
    pub(super) differences: Vec<Difference>,
    pub(super) differences_more: u64,
    pub(super) rto: Option<Rto>,
    pub(super) rpo_s: u64,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Mailbox {
    pub(super) name: String,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Criterion {
    pub(super) name: &'static str,
    pub(super) asked: String,
    pub(super) actual: String,
    pub(super) word: Word,
}

/// How long restoring took, and what that means for all of the store.
#[derive(Debug, Serialize)]
pub(super) struct Rto {
    pub(super) sample_us: u64,
    pub(super) sample_messages: u64,
    pub(super) sample_bytes: u64,
    pub(super) messages_per_s: f64,
    pub(super) bytes_per_s: f64,
    pub(super) store_messages: u64,
    pub(super) store_bytes: u64,
    pub(super) whole_s: f64,
    pub(super) assumptions: Vec<String>,
}

impl Rto {
    /// `None` if the sample says nothing of speed.
    pub(super) fn of(
        took: Duration,
        (messages, bytes): (u64, u64),
        (store_messages, store_bytes): (u64, u64),
        threads: usize,
    ) -> Option<Self> {
        let seconds = took.as_secs_f64();
        if messages == 0 || bytes == 0 || seconds <= 0.0 {
            return None;
        }
        let (messages_per_s, bytes_per_s) = (messages as f64 / seconds, bytes as f64 / seconds);
        let by_messages = store_messages as f64 / messages_per_s;
        let by_bytes = store_bytes as f64 / bytes_per_s;
        let slower = if by_messages > by_bytes { "messages" } else { "bytes" };
        let assumptions = vec![
            format!(
                "{} as here, the same disk and the same network",
                plural(threads as u64, "thread")
            ),
            format!(
                "the rest of the store restores at the rate of the sample; the slower of messages and bytes counts, here {slower}"
            ),
            "restoring alone: not finding out, deciding, or getting a machine".to_owned(),
        ];
        Some(Self {
            sample_us: took.as_micros() as u64,
            sample_messages: messages,
            sample_bytes: bytes,
            messages_per_s,
            bytes_per_s,
            store_messages,
            store_bytes,
            whole_s: by_messages.max(by_bytes),
            assumptions,
        })
    }

    pub(super) fn whole(&self) -> Duration {
        Duration::try_from_secs_f64(self.whole_s).unwrap_or(Duration::MAX)
    }
}

/// What the files say.
pub(super) fn of_files(tally: &Tally) -> Vec<Criterion> {
    let number = |kinds: &[What]| tally.of(kinds);
    let word = |differences: u64, compared: u64| match (differences, compared) {
        (1.., _) => Word::Fail,
        (0, 0) => Word::Unknown,
        (0, _) => Word::Pass,
    };
    let of = |noun: &str, all: u64, differences: u64| match differences {
        0 => format!("all of {}", plural(all, noun)),
        some => format!("{} of {} differ", count(some), plural(all, noun)),
    };
    let (all, lost) = (tally.messages, number(&[What::Mailbox, What::Folder]));
    let there = number(&[What::Missing, What::Extra]);
    let content = number(&[What::Content]);
    let mut hashes = of("message", all, content);
    if tally.unhashed > 0 {
        hashes.push_str(&format!(", {} without a hash in the snapshot", count(tally.unhashed)));
    }
    let hash_word = match word(content, all) {
        Word::Pass if tally.unhashed > 0 => Word::Unknown,
        word => word,
    };
    let criterion = |name, asked: &str, actual, word| {
        let asked = asked.to_owned();
        Criterion { name, asked, actual, word }
    };
    let (flags, dates) = (number(&[What::Flags]), number(&[What::Date]));
    let uids = number(&[What::Uid, What::UidValidity]);
    let without = tally.folders_without_uids;
    let mut uids_are = of("UID", tally.uids, uids);
    if without > 0 {
        uids_are.push_str(&format!(
            "; not comparable in {}: the snapshot has no list of UIDs there",
            plural(without, "folder")
        ));
    }
    let uids_word = match (uids, tally.uids, without) {
        (1.., _, _) => Word::Fail,
        (0, 0, 1..) => Word::Skipped,
        (0, 0, 0) => Word::Unknown,
        _ => Word::Pass,
    };
    let restored = match lost {
        0 => format!("all of {}", plural(tally.folders, "folder")),
        lost => plural(lost, "problem"),
    };
    vec![
        criterion("restored", "every folder", restored, word(lost, tally.folders)),
        criterion("messages", "each once", of("message", all, there), word(there, all)),
        criterion("content", "byte for byte", hashes, hash_word),
        criterion("flags", "as in the snapshot", of("message", all, flags), word(flags, all)),
        criterion("dates", "as in the snapshot", of("message", all, dates), word(dates, all)),
        criterion("uids", "as in the snapshot", uids_are, uids_word),
    ]
}

/// What a server showed, or why none did.
pub(super) fn of_server(served: &Result<Tally, (Word, String)>) -> Criterion {
    let (actual, word) = match served {
        Err((word, why)) => (why.clone(), *word),
        Ok(tally) if tally.all() > 0 => {
            let asked = plural(tally.messages, "message");
            (format!("{} in {asked}", plural(tally.all(), "difference")), Word::Fail)
        }
        Ok(tally) if tally.messages == 0 => ("no message to ask for".into(), Word::Unknown),
        Ok(tally) => {
            let (messages, uids) = (plural(tally.messages, "message"), count(tally.uids));
            (format!("all of {messages}, {uids} by UID"), Word::Pass)
        }
    };
    Criterion { name: "imap", asked: "what a client sees is the same".into(), actual, word }
}

/// The two objectives.
pub(super) fn of_times(
    rto: Option<&Rto>,
    rpo: Duration,
    (rto_max, rpo_max): (Option<Duration>, Option<Duration>),
) -> Vec<Criterion> {
    let asked = |max: Duration| format!("at most {}", long(max));
    let of_rto = rto_max.map(|max| {
        let (actual, word) = match rto.map(Rto::whole) {
            None => ("no message was restored".to_owned(), Word::Unknown),
            Some(whole) if whole > max => (long(whole), Word::Fail),
            Some(whole) => (long(whole), Word::Pass),
        };
        Criterion { name: "rto", asked: asked(max), actual, word }
    });
    let of_rpo = rpo_max.map(|max| {
        let word = if rpo > max { Word::Fail } else { Word::Pass };
        Criterion { name: "rpo", asked: asked(max), actual: long(rpo), word }
    });
    of_rto.into_iter().chain(of_rpo).collect()
}

/// The worst of all that was asked.
pub(super) fn verdict(criteria: &[Criterion]) -> Word {
    let has = |word| criteria.iter().any(|criterion| criterion.word == word);
    match (has(Word::Fail), has(Word::Unknown)) {
        (true, _) => Word::Fail,
        (false, true) => Word::Unknown,
        (false, false) => Word::Pass,
    }
}

/// One sentence for all.
pub(super) fn sentence(verdict: Word, document: &Document) -> String {
    let (messages, bytes) = document.mailboxes.iter().fold((0, 0), |(messages, bytes), mailbox| {
        (messages + mailbox.messages, bytes + mailbox.bytes)
    });
    let of = |word| {
        let named = document.criteria.iter().filter(|one| one.word == word);
        named.map(|one| format!("{} ({})", one.name, one.actual)).collect::<Vec<_>>().join(", ")
    };
    let mailboxes = plural(document.mailboxes.len() as u64, "mailbox");
    let restored = format!("{} ({}) of {mailboxes}", plural(messages, "message"), size(bytes));
    let mut sentence = match verdict {
        Word::Fail => format!("{restored} came back, and not all is right: {}", of(Word::Fail)),
        Word::Unknown => format!("{restored} came back, and nobody knows of {}", of(Word::Unknown)),
        _ => format!("{restored} came back as the snapshot has them"),
    };
    let skipped = of(Word::Skipped);
    if !skipped.is_empty() {
        sentence.push_str(&format!("; not checked: {skipped}"));
    }
    sentence
}

/// As [`duration`], with hours and days.
pub(super) fn long(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..60 => duration(time),
        60..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes / 60 % 24),
    }
}
