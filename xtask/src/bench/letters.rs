//! Messages for the store: bodies and most headers from the corpus, but each with its own sender,
//! recipient, date, trace and Message-ID, so that no two files are equal.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::clock;
use crate::corpus;
use crate::random::Random;

/// Headers that every message gets anew.
const REPLACED: [&str; 8] = [
    "date",
    "delivered-to",
    "from",
    "message-id",
    "received",
    "return-path",
    "to",
    "x-original-to",
];

const NAMES: [&str; 16] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory",
    "niaj", "olivia", "peggy", "sybil", "trent",
];
const HOSTS: [&str; 6] =
    ["example.com", "example.net", "lists.example.org", "mail.test", "news.example", "shop.test"];

/// What is kept of one real message: some headers, the empty line and the body.
struct Letter {
    kept: Vec<u8>,
    /// Line ends without a carriage return, which a client gets all the same.
    bare_feeds: usize,
}

impl Letter {
    fn new(message: &[u8]) -> Letter {
        let kept = keep(message);
        Letter { bare_feeds: bare_feeds(&kept), kept }
    }
}

/// The corpus in memory.
pub(super) struct Letters {
    letters: Vec<Letter>,
}

/// A message made for one place in the store.
pub(super) struct Made<'a> {
    pub(super) bytes: &'a [u8],
    /// The size with CRLF line ends, which Dovecot puts into the name as `W=`.
    pub(super) wire_size: usize,
}

impl Letters {
    pub(super) fn read(corpus: &Path) -> Result<Letters> {
        let mut letters = Vec::new();
        for message in corpus::messages(corpus)? {
            let bytes = fs::read(corpus.join(&message))
                .with_context(|| format!("reading the message `{}`", message.display()))?;
            letters.push(Letter::new(&bytes));
        }
        Ok(Letters { letters })
    }

    /// Makes a message received at `secs` into `buffer`.
    pub(super) fn make<'a>(
        &self,
        recipient: &str,
        secs: u64,
        random: &mut Random,
        buffer: &'a mut Vec<u8>,
    ) -> Made<'a> {
        let (from, host) = (*random.pick(&NAMES), *random.pick(&HOSTS));
        let (id, queue_id) = (random.next(), random.next() as u32);
        let date = clock::mail_date(secs);
        let sent = clock::mail_date(secs - random.below(90) as u64);
        buffer.clear();
        // Writing to memory cannot fail.
        let _ = write!(
            buffer,
            "Return-Path: <{from}@{host}>\nDelivered-To: {recipient}@example.org\n\
             Received: from mx.{host} (mx.{host} [192.0.2.{}])\n\tby mx1.example.org (Postfix) \
             with ESMTPS id {queue_id:08X}\n\tfor <{recipient}@example.org>; {date}\n\
             Message-ID: <{id:016x}.{queue_id:x}@{host}>\nDate: {sent}\nFrom: {from}@{host}\n\
             To: {recipient}@example.org\n",
            random.below(256),
        );
        let letter = random.pick(&self.letters);
        let bare_feeds = bare_feeds(buffer) + letter.bare_feeds;
        buffer.extend_from_slice(&letter.kept);
        Made { wire_size: buffer.len() + bare_feeds, bytes: buffer }
    }
}

/// Line feeds that no carriage return precedes.
pub(super) fn bare_feeds(bytes: &[u8]) -> usize {
    let feeds = bytes.iter().filter(|byte| **byte == b'\n').count();
    feeds - bytes.windows(2).filter(|pair| pair == b"\r\n").count()
}

/// Drops the mbox line and the headers that are replaced. Broken headers are kept as they are.
fn keep(message: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(message.len());
    let mut rest = message;
    let mut is_dropping = false;
    let mut is_first = true;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        is_dropping = match line[0] {
            b' ' | b'\t' => is_dropping,
            _ if is_first && line.starts_with(b"From ") => true,
            _ => is_replaced(line),
        };
        is_first = false;
        if !is_dropping {
            kept.extend_from_slice(line);
        }
        rest = after;
    }
    kept.extend_from_slice(rest);
    kept
}

fn is_replaced(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    REPLACED.iter().any(|replaced| name.eq_ignore_ascii_case(replaced.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_headers_replace_those_of_the_real_message() {
        let real =
            b"From x@y Thu\nReceived: a\n\tfolded\nSubject: kept\n folded\nTO: z\n\nFrom: body\n";
        assert_eq!(keep(real), b"Subject: kept\n folded\n\nFrom: body\n");
    }

    #[test]
    fn two_messages_differ_even_with_one_body() {
        let letters = Letters { letters: vec![Letter::new(b"Subject: s\n\nbody\r\n")] };
        let mut random = Random::new(1, 1);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let size = letters.make("a", 1_700_000_000, &mut random, &mut one).wire_size;
        letters.make("a", 1_700_000_000, &mut random, &mut two);
        assert_ne!(one, two);
        assert_eq!(size, one.len() + one.iter().filter(|byte| **byte == b'\n').count() - 1);
    }
}
