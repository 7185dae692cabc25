//! What stands below our own head lines in many messages: other header fields, an empty line, a body. It is looked at
//! once; a field that we write ourselves may not be among its own.

use std::sync::Arc;

use smtp::Content;

use super::mark::{self, FIELD};

/// The part that messages share.
#[derive(Debug, Clone)]
pub struct Template {
    content: Arc<Content>,
    body_at: usize,
    sum: [u8; 16],
}

/// Why bytes cannot stand below a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// The header does not end.
    #[error("no empty line ends its header")]
    Endless,
    /// The first line would belong to our last.
    #[error("its header begins with a space")]
    Folded,
    /// A line of the header that says nothing.
    #[error("line {0} of its header is no field")]
    NoField(usize),
    /// A field that is written for every message.
    #[error("it has the field {0}, which every message gets of its own")]
    Own(String),
}

impl Template {
    /// Takes header fields, an empty line and a body, with lines that end in CR LF.
    pub fn new(bytes: &[u8]) -> Result<Self, BadTemplate> {
        let body_at = body_at(bytes).ok_or(BadTemplate::Endless)?;
        let header = &bytes[..body_at - 2];
        if matches!(header.first(), Some(b' ' | b'\t')) {
            return Err(BadTemplate::Folded);
        }
        for (number, field) in fields(header).enumerate() {
            let name = name(field);
            if name.is_empty() || !name.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
                return Err(BadTemplate::NoField(number + 1));
            }
            if is_own(name) {
                return Err(BadTemplate::Own(String::from_utf8_lossy(name).into_owned()));
            }
        }
        let content = Arc::new(Content::new(bytes));
        Ok(Self { content, body_at, sum: mark::sum(&bytes[body_at..]) })
    }

    /// Size without the head, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.content.size_bytes()
    }

    /// As the wire takes it.
    pub fn content(&self) -> &Arc<Content> {
        &self.content
    }

    pub(super) fn sum(&self) -> [u8; 16] {
        self.sum
    }

    /// The header fields and the body.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        let bytes = self.content.raw();
        (&bytes[..self.body_at - 2], &bytes[self.body_at..])
    }
}

/// Whether a header field is written for every message, is the servers' on the way, or would make
/// them answer to people who take no part in a run.
pub fn is_own(name: &[u8]) -> bool {
    let is_it = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
    let resent = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"Resent-"));
    resent || OWN.into_iter().any(is_it)
}

/// The fields of a header, each with the lines that continue it.
pub fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let line = rest[end..].iter().position(|byte| *byte == b'\n');
            end = line.map_or(rest.len(), |at| end + at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, more) = rest.split_at(end);
        rest = more;
        Some(field)
    })
}

/// What is before the colon of a field; empty without one.
pub fn name(field: &[u8]) -> &[u8] {
    let colon = field.iter().position(|byte| *byte == b':').unwrap_or(0);
    field[..colon].trim_ascii_end()
}

/// Behind the first empty line.
fn body_at(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

const OWN: [&str; 15] = [
    "Date",
    "From",
    "Sender",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    FIELD,
    "DKIM-Signature",
    "Return-Path",
    "Received",
    "Delivered-To",
    "X-Original-To",
    "Disposition-Notification-To",
    "Return-Receipt-To",
];
