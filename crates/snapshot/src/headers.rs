//! The header fields of a message that `find` searches. Mail is hostile: only the first part of a
//! header is read, every field is cut, and nothing here can fail.

use mail_parser::{HeaderName, HeaderValue, MessageParser};
use serde::{Deserialize, Serialize};

/// Searchable fields, decoded (RFC 2047) and unfolded; absent where the message has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Headers {
    /// Message-ID without its angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// From.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// To.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Date, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<i64>,
}

/// Reads the fields of a message; keep one per thread.
pub struct HeaderReader(MessageParser);

impl Default for HeaderReader {
    fn default() -> Self {
        Self(
            MessageParser::new()
                .default_header_ignore()
                .header_id(HeaderName::MessageId)
                .header_text(HeaderName::From)
                .header_text(HeaderName::To)
                .header_text(HeaderName::Subject)
                .header_date(HeaderName::Date),
        )
    }
}

impl HeaderReader {
    /// The fields of the message that starts with `bytes`.
    pub fn read(&self, bytes: &[u8]) -> Headers {
        let mut headers = Headers::default();
        let lines = wanted_lines(&bytes[..bytes.len().min(HEAD_BYTES)]);
        let Some(message) = self.0.parse_headers(&lines) else { return headers };
        for header in message.headers() {
            let text = || match &header.value {
                HeaderValue::Text(text) => Some(cut(text)),
                HeaderValue::TextList(texts) => texts.first().map(|text| cut(text)),
                _ => None,
            };
            let field = match header.name {
                HeaderName::MessageId => &mut headers.message_id,
                HeaderName::From => &mut headers.from,
                HeaderName::To => &mut headers.to,
                HeaderName::Subject => &mut headers.subject,
                HeaderName::Date => {
                    if let HeaderValue::DateTime(date) = &header.value {
                        headers.date.get_or_insert(date.to_timestamp());
                    }
                    continue;
                }
                _ => continue,
            };
            if field.is_none() {
                *field = text();
            }
        }
        headers
    }
}

/// The lines of a header that belong to the wanted fields, with their continuations. A header is
/// mostly Received lines; leaving them out before parsing saves more than it costs.
fn wanted_lines(head: &[u8]) -> Vec<u8> {
    let mut wanted = Vec::with_capacity(512);
    let mut is_wanted = false;
    let mut rest = head;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let (line, after) = rest.split_at(end);
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        let is_continued = matches!(line[0], b' ' | b'\t');
        is_wanted = if is_continued { is_wanted } else { FIELDS.iter().any(|f| starts(line, f)) };
        if is_wanted {
            wanted.extend_from_slice(line);
        }
        rest = after;
    }
    wanted.push(b'\n');
    wanted
}

fn starts(line: &[u8], field: &str) -> bool {
    let name = line.get(..field.len());
    name.is_some_and(|name| name.eq_ignore_ascii_case(field.as_bytes()))
        && line[field.len()..].trim_ascii_start().first() == Some(&b':')
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(FIELD_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

const FIELDS: [&str; 5] = ["Message-ID", "From", "To", "Subject", "Date"];

/// How far into a message its header fields are looked for.
const HEAD_BYTES: usize = 64 * 1024;

/// The longest field that is kept.
const FIELD_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_decoded_unfolded_and_cut() {
        let mail =
            b"Received: by x\r\nMessage-ID: <a@b>\r\nFrom: =?utf-8?Q?J=C3=BCrgen?= <j@x.org>\r\n\
            To: a@x.org,\r\n b@x.org\r\nSubject: =?iso-8859-1?Q?caf=E9?=\r\n\
            Date: Sat, 21 Nov 2026 03:00:00 +0100\r\n\r\nSubject: body\r\n";
        let headers = HeaderReader::default().read(mail);
        assert_eq!(headers.message_id.as_deref(), Some("a@b"));
        assert_eq!(headers.from.as_deref(), Some("Jürgen <j@x.org>"));
        assert_eq!(headers.to.as_deref(), Some("a@x.org, b@x.org"));
        assert_eq!(headers.subject.as_deref(), Some("café"));
        assert_eq!(headers.date, Some(1_795_226_400));
        let long = format!("Subject: {}\n\n", "ü".repeat(10_000));
        assert_eq!(HeaderReader::default().read(long.as_bytes()).subject.unwrap().len(), 512);
        assert_eq!(HeaderReader::default().read(b""), Headers::default());
        let odd =
            b"From x@y Thu Aug 22\n subject: no\nsubject : spaced\n\tand folded\nTo-Do: x\n\nTo: b";
        let headers = HeaderReader::default().read(odd);
        assert_eq!(headers.subject.as_deref(), Some("spaced and folded"));
        assert_eq!((headers.to, headers.from), (None, None));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            HeaderReader::default().read(&bytes);
        }
    }
}
