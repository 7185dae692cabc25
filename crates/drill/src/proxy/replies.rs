//! What a server says: where each reply ends, however many lines it has (RFC 5321, 4.2.1). Pure, and nothing is kept:
//! half a line goes on at once. Stricter readers are elsewhere; this one only has to know what answers what.

/// What stands at the beginning of what a server has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many bytes of a reply that goes on.
    Part(usize),
    /// The last so many bytes of a reply with this code.
    End(usize, u16),
    /// This is no SMTP.
    Lost,
}

/// Where in a reply a server is.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The line's first bytes.
    head: [u8; 4],
    /// How many of them are there.
    head_bytes: usize,
}

impl Replies {
    /// What `bytes` begin with, which must be some. Whatever has a length is taken by asking.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Heard {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        for byte in line.iter().filter(|byte| **byte != b'\n') {
            if self.head_bytes == self.head.len() {
                break;
            }
            let is_good = match self.head_bytes {
                0 => matches!(byte, b'2'..=b'5'),
                1 | 2 => byte.is_ascii_digit(),
                _ => matches!(byte, b' ' | b'-' | b'\r'),
            };
            if !is_good {
                return Heard::Lost;
            }
            self.head[self.head_bytes] = *byte;
            self.head_bytes += 1;
        }
        let Some(end) = end else { return Heard::Part(bytes.len()) };
        let digits = self.head_bytes;
        let Self { head, .. } = std::mem::take(self);
        if digits < 3 {
            return Heard::Lost;
        }
        if digits == 4 && head[3] == b'-' {
            return Heard::Part(end);
        }
        let code = head[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        Heard::End(end, code)
    }
}

/// A reply to EHLO without STARTTLS. The first line is the server's name.
pub(super) fn without_starttls(reply: &[u8]) -> Vec<u8> {
    let is_starttls = |line: &[u8]| {
        let word = line.get(4..).unwrap_or_default().trim_ascii();
        word.eq_ignore_ascii_case(b"STARTTLS")
    };
    let lines = reply.split_inclusive(|byte| *byte == b'\n').enumerate();
    let mut kept: Vec<Vec<u8>> = lines
        .filter(|(at, line)| *at == 0 || !is_starttls(line))
        .map(|(_, line)| line.to_vec())
        .collect();
    if let Some(mark) = kept.last_mut().and_then(|last| last.get_mut(3))
        && *mark == b'-'
    {
        *mark = b' ';
    }
    kept.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &[u8], piece_bytes: usize) -> Option<Vec<u16>> {
        let (mut replies, mut codes) = (Replies::default(), Vec::new());
        for mut piece in text.chunks(piece_bytes) {
            while !piece.is_empty() {
                piece = match replies.next(piece) {
                    Heard::Part(length) => &piece[length..],
                    Heard::End(length, code) => {
                        codes.push(code);
                        &piece[length..]
                    }
                    Heard::Lost => return None,
                };
            }
        }
        Some(codes)
    }

    #[test]
    fn replies_are_told_apart_wherever_the_reads_end() {
        let table: [(&str, Option<&[u16]>); 9] = [
            ("220 mx\r\n250-mx\r\n250-SIZE\r\n250 DSN\r\n354 go\r\n", Some(&[220, 250, 354])),
            ("250\r\n421\r\n", Some(&[250, 421])),
            ("250-\r\n250 \r\n", Some(&[250])),
            ("250-a\r\n", Some(&[])),
            ("250 a\n251 b\n", Some(&[250, 251])),
            ("HTTP/1.1 400\r\n", None),
            ("\r\n", None),
            ("25\r\n", None),
            ("250x\r\n", None),
        ];
        for (text, expected) in table {
            for piece_bytes in 1..=text.len() {
                let codes = codes(text.as_bytes(), piece_bytes);
                assert_eq!(codes.as_deref(), expected, "{text:?} by {piece_bytes}");
            }
        }
    }

    #[test]
    fn starttls_is_taken_out_and_the_reply_stays_whole() {
        for (reply, expected) in [
            ("250-mx\r\n250-STARTTLS\r\n250 DSN\r\n", "250-mx\r\n250 DSN\r\n"),
            ("250-mx\r\n250-DSN\r\n250 StartTLS\r\n", "250-mx\r\n250 DSN\r\n"),
            ("250-mx\r\n250 STARTTLS\r\n", "250 mx\r\n"),
            ("250 STARTTLS\r\n", "250 STARTTLS\r\n"),
            ("250-mx\r\n250 DSN\r\n", "250-mx\r\n250 DSN\r\n"),
            ("502 no\r\n", "502 no\r\n"),
        ] {
            let stripped = String::from_utf8(without_starttls(reply.as_bytes())).unwrap();
            assert_eq!(stripped, expected, "{reply:?}");
        }
    }
}
