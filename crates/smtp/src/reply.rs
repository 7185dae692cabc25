//! Replies (RFC 5321, 4.2) and their enhanced codes (RFC 3463): parsed as they arrive, strictly and
//! within bounds. Half a reply is no reply, and a garbled one ends the session: after it nobody
//! knows which command the next line answers.

use std::fmt;

/// A complete reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Enhanced status code at the beginning of the last line that has one of the code's class.
    pub enhanced: Option<Enhanced>,
    /// The lines' texts, one below the other, without enhanced codes; bytes that are no UTF-8 and
    /// control characters are replaced.
    pub text: String,
}

impl Reply {
    /// 2yz.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz: the server waits for more.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz: trying again later may help.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// The first line's text.
    pub fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.first_line())
    }
}

/// Class, subject and detail, such as 4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// What a peer sent instead of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// A line without code, with a code outside 200 to 599, or with something else after it.
    #[error("a line that is no reply")]
    NotAReply,
    /// Lines of one reply with different codes.
    #[error("a reply whose lines have different codes")]
    MixedCodes,
    /// A line feed without carriage return, or the other way round.
    #[error("a reply with a bare CR or LF")]
    BareLineEnd,
    /// More than 4 KiB in a line.
    #[error("a reply line of more than {LINE_BYTES} bytes")]
    LongLine,
    /// More than 64 KiB.
    #[error("a reply of more than {REPLY_BYTES} bytes")]
    LongReply,
}

/// Finds the end of a reply in a growing buffer without looking at any byte twice.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// Where the line that is not complete yet begins.
    line_start: usize,
    /// Up to where it has been searched for its end.
    searched: usize,
    code: Option<u16>,
}

impl ReplyParser {
    /// Looks at `bytes`, which begin with the reply and have grown since the last call. Gives the
    /// reply and its length when it is complete; then the parser is ready for the next one, which
    /// begins after that length.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Reply, usize)>, BadReply> {
        while let Some(end) = memchr::memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + end + 1;
            if end - self.line_start > LINE_BYTES {
                return Err(BadReply::LongLine);
            }
            if end > REPLY_BYTES {
                return Err(BadReply::LongReply);
            }
            let line = parse_line(&bytes[self.line_start..end])?;
            if self.code.is_some_and(|code| code != line.code) {
                return Err(BadReply::MixedCodes);
            }
            self.code = Some(line.code);
            (self.line_start, self.searched) = (end, end);
            if line.is_last {
                *self = Self::default();
                return Ok(Some((reply(&bytes[..end], line.code), end)));
            }
        }
        self.searched = bytes.len();
        if self.searched - self.line_start > LINE_BYTES {
            return Err(BadReply::LongLine);
        }
        Ok(None)
    }

    /// Whether a reply has begun and is not complete.
    pub fn is_inside(&self) -> bool {
        self.searched > 0
    }
}

struct Line<'b> {
    code: u16,
    is_last: bool,
    text: &'b [u8],
}

/// One line with its end.
fn parse_line(line: &[u8]) -> Result<Line<'_>, BadReply> {
    let content = line.strip_suffix(b"\r\n").ok_or(BadReply::BareLineEnd)?;
    if content.contains(&b'\r') {
        return Err(BadReply::BareLineEnd);
    }
    let (code, rest) = content.split_first_chunk::<3>().ok_or(BadReply::NotAReply)?;
    let is_code = matches!(code[0], b'2'..=b'5') && code.iter().all(u8::is_ascii_digit);
    // A code alone is a reply, too (RFC 5321, 4.2).
    let (is_last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return Err(BadReply::NotAReply),
    };
    if !is_code {
        return Err(BadReply::NotAReply);
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Ok(Line { code, is_last, text })
}

/// Puts a reply together whose lines have all been looked at.
fn reply(bytes: &[u8], code: u16) -> Reply {
    let mut reply = Reply { code, enhanced: None, text: String::new() };
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Ok(line) = parse_line(line) else { continue };
        let (enhanced, text) = split_enhanced(code, line.text);
        reply.enhanced = enhanced.or(reply.enhanced);
        if at > 0 {
            reply.text.push('\n');
        }
        let text = String::from_utf8_lossy(text);
        reply.text.extend(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
    }
    reply
}

/// Takes an enhanced code of the reply's own class off a line's text.
fn split_enhanced(code: u16, text: &[u8]) -> (Option<Enhanced>, &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let mut parts = text[..end].split(|byte| *byte == b'.');
    let mut number = || parts.next().and_then(short_number);
    let (Some(class), Some(subject), Some(detail)) = (number(), number(), number()) else {
        return (None, text);
    };
    if parts.next().is_some() || class != code / 100 || !matches!(class, 2 | 4 | 5) {
        return (None, text);
    }
    let enhanced = Enhanced { class: class as u8, subject, detail };
    (Some(enhanced), text.get(end + 1..).unwrap_or_default())
}

/// One to three digits without leading zeros.
fn short_number(digits: &[u8]) -> Option<u16> {
    let is_number = matches!(digits.len(), 1..=3)
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits[0] != b'0');
    is_number.then(|| digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
}

/// RFC 5321 (4.5.3.1.5) allows 512; servers with long texts exist.
pub(crate) const LINE_BYTES: usize = 4096;

/// The longest real replies, to EHLO, have a kilobyte.
pub(crate) const REPLY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Result<Option<(Reply, usize)>, BadReply> {
        ReplyParser::default().parse(bytes)
    }

    #[test]
    fn replies_of_one_and_more_lines_are_read_to_their_end() {
        type Row = (&'static str, u16, Option<(u8, u16, u16)>, &'static str);
        let table: [Row; 9] = [
            ("220 mx ESMTP\r\n", 220, None, "mx ESMTP"),
            ("250\r\n", 250, None, ""),
            ("250 2.1.0 Ok\r\n", 250, Some((2, 1, 0)), "Ok"),
            ("250-mx\r\n250-SIZE 100\r\n250 DSN\r\n", 250, None, "mx\nSIZE 100\nDSN"),
            ("550-5.7.1 no\r\n550 5.7.1 never\r\n", 550, Some((5, 7, 1)), "no\nnever"),
            // Which line is which counts in the reply to EHLO.
            ("250-\r\n250-\r\n250 DSN\r\n", 250, None, "\n\nDSN"),
            // Not of the code's class, too long, or only alike: text.
            ("550 4.7.1 no\r\n", 550, None, "4.7.1 no"),
            ("250 2.1.0.1 x\r\n", 250, None, "2.1.0.1 x"),
            ("354 3.0.0 go\r\n", 354, None, "3.0.0 go"),
        ];
        for (bytes, code, enhanced, text) in table {
            let (reply, length) = whole(bytes.as_bytes()).unwrap().unwrap();
            let enhanced =
                enhanced.map(|(class, subject, detail)| Enhanced { class, subject, detail });
            let expected = Reply { code, enhanced, text: text.into() };
            assert_eq!((reply, length), (expected, bytes.len()), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let long = format!("250-{}\r\n", "x".repeat(LINE_BYTES));
        let unending = format!("250 {}", "x".repeat(LINE_BYTES));
        let endless = "250-x\r\n".repeat(REPLY_BYTES / 7 + 1);
        let table: [(&str, BadReply); 14] = [
            ("\r\n", BadReply::NotAReply),
            ("25\r\n", BadReply::NotAReply),
            ("2x0 a\r\n", BadReply::NotAReply),
            ("150 a\r\n", BadReply::NotAReply),
            ("600 a\r\n", BadReply::NotAReply),
            ("250x\r\n", BadReply::NotAReply),
            ("250\ta\r\n", BadReply::NotAReply),
            ("HTTP/1.1 400 Bad Request\r\n", BadReply::NotAReply),
            ("250-a\r\n251 b\r\n", BadReply::MixedCodes),
            ("250 a\n", BadReply::BareLineEnd),
            ("250 a\rb\r\n", BadReply::BareLineEnd),
            (&long, BadReply::LongLine),
            (&unending, BadReply::LongLine),
            (&endless, BadReply::LongReply),
        ];
        for (bytes, expected) in table {
            assert_eq!(whole(bytes.as_bytes()), Err(expected), "{:?}", bytes.get(..40));
        }
    }

    #[test]
    fn half_a_reply_is_none_and_what_follows_is_left() {
        for half in ["", "2", "250", "250 ok", "250 ok\r", "250-a\r\n", "250-a\r\n250 b"] {
            assert_eq!(whole(half.as_bytes()), Ok(None), "{half:?}");
        }
        let (reply, length) = whole(b"250 a\r\n354 go\r\n").unwrap().unwrap();
        assert_eq!((reply.code, length), (250, 7));
    }

    #[test]
    fn texts_cannot_reach_a_terminal() {
        let (reply, _) = whole(b"550 \x1b[2J\xff\x00\r\n").unwrap().unwrap();
        assert!(!reply.text.contains(|c: char| c.is_control()), "{:?}", reply.text);
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            lines in prop::collection::vec("[ -~]{0,30}", 1..5),
            code in 200_u16..600,
            cuts in prop::collection::vec(1_usize..8, 1..60),
        ) {
            let last = lines.len() - 1;
            let text: String = lines
                .iter()
                .enumerate()
                .map(|(at, line)| format!("{code}{}{line}\r\n", if at == last { ' ' } else { '-' }))
                .collect();
            let expected = whole(text.as_bytes()).unwrap();
            prop_assert!(expected.is_some());
            let mut parser = ReplyParser::default();
            let (mut got, mut end) = (None, 0);
            for cut in cuts.iter().cycle() {
                end = (end + cut).min(text.len());
                got = parser.parse(&text.as_bytes()[..end]).unwrap();
                if end == text.len() {
                    break;
                }
                prop_assert!(got.is_none());
            }
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, more: Vec<u8>) {
            let mut parser = ReplyParser::default();
            if parser.parse(&bytes) == Ok(None) {
                let _ = parser.parse(&[bytes, more].concat());
            }
        }
    }
}
