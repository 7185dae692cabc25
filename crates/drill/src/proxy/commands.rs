//! What a client says, piece by piece: which bytes are a command, which are a message, which are its end. Pure. Where
//! what follows depends on a reply (DATA, AUTH, STARTTLS) it waits to be told; what it does not understand passes.

/// A command, as far as the proxy must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Not a command of the client: the server's greeting answers the connection.
    Connect,
    /// EHLO, HELO, and LHLO if so.
    Hello {
        is_lmtp: bool,
    },
    StartTls,
    Auth,
    /// What a client says to a challenge.
    AuthAnswer,
    Mail,
    Rcpt,
    Data,
    /// The dot.
    End,
    /// A chunk of so many bytes (RFC 3030), and whether it is the message's first and its last.
    Bdat {
        size_bytes: u64,
        is_first: bool,
        is_last: bool,
    },
    Rset,
    Quit,
    /// Something else that has one reply.
    Other,
}

/// What stands at the beginning of what a client has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that can be told yet: more bytes are needed.
    More,
    /// So many bytes to which no rule applies.
    Pass(usize),
    /// A command, of so many bytes with its line end.
    Command(Verb, usize),
    /// So many bytes of the body of DATA, and whether they are its first.
    Body(usize, bool),
    /// What follows depends on a reply.
    Wait,
}

/// Where in its stream a client is.
#[derive(Debug, Default)]
pub(super) struct Commands {
    place: Place,
    /// Whether a chunk of this message was there.
    has_chunks: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where a command begins.
    #[default]
    Line,
    /// Inside a line that is no command or is too long for one.
    Rest,
    /// After a command whose reply tells what comes.
    Unknown,
    /// A line that answers a challenge.
    AuthAnswer,
    Body {
        is_first: bool,
        is_line_start: bool,
    },
    Chunk {
        left_bytes: u64,
    },
    /// Nothing is understood any more, or it is TLS.
    Opaque,
}

impl Commands {
    /// What `bytes` begin with. Whatever has a length is taken by asking.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Said {
        if bytes.is_empty() {
            return if self.place == Place::Unknown { Said::Wait } else { Said::More };
        }
        match self.place {
            Place::Line => self.line(bytes),
            Place::Rest => {
                let end = line_end(bytes);
                let Some(end) = end else { return Said::Pass(bytes.len()) };
                self.place = Place::Line;
                // Servers answer it like a command.
                Said::Command(Verb::Other, end)
            }
            Place::Unknown => Said::Wait,
            Place::AuthAnswer => match line_end(bytes) {
                Some(end) => {
                    self.place = Place::Unknown;
                    Said::Command(Verb::AuthAnswer, end)
                }
                None if bytes.len() > LINE_BYTES => {
                    self.place = Place::Opaque;
                    Said::Pass(bytes.len())
                }
                None => Said::More,
            },
            Place::Body { is_first, is_line_start } => self.body(bytes, is_first, is_line_start),
            Place::Chunk { left_bytes } => {
                let length = usize::try_from(left_bytes).unwrap_or(usize::MAX).min(bytes.len());
                self.place = match left_bytes - length as u64 {
                    0 => Place::Line,
                    left_bytes => Place::Chunk { left_bytes },
                };
                Said::Pass(length)
            }
            Place::Opaque => Said::Pass(bytes.len()),
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Said {
        // TLS from the first byte, or a line that no command is: nobody has to wait for its end.
        if !bytes[0].is_ascii_alphabetic() {
            self.place = Place::Rest;
            return self.next(bytes);
        }
        let Some(end) = line_end(bytes) else {
            if bytes.len() > LINE_BYTES {
                self.place = Place::Rest;
                return Said::Pass(bytes.len());
            }
            return Said::More;
        };
        let verb = self.verb(&bytes[..end]);
        match verb {
            Verb::Data | Verb::Auth | Verb::StartTls => self.place = Place::Unknown,
            Verb::Bdat { size_bytes, is_last, .. } => {
                self.has_chunks = !is_last;
                if size_bytes > 0 {
                    self.place = Place::Chunk { left_bytes: size_bytes };
                }
            }
            Verb::Mail | Verb::Rset | Verb::Hello { .. } => self.has_chunks = false,
            _ => {}
        }
        Said::Command(verb, end)
    }

    fn verb(&self, line: &[u8]) -> Verb {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" => Verb::Hello { is_lmtp: false },
            "LHLO" => Verb::Hello { is_lmtp: true },
            "STARTTLS" => Verb::StartTls,
            "AUTH" => Verb::Auth,
            "MAIL" => Verb::Mail,
            "RCPT" => Verb::Rcpt,
            "DATA" => Verb::Data,
            "RSET" => Verb::Rset,
            "QUIT" => Verb::Quit,
            "BDAT" => {
                let size = words.next().unwrap_or_default();
                let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
                let last = words.next().map(|last| last.eq_ignore_ascii_case("LAST"));
                match (size.parse(), last, words.next()) {
                    (Ok(size_bytes), None | Some(true), None) if is_number => Verb::Bdat {
                        size_bytes,
                        is_first: !self.has_chunks,
                        is_last: last.is_some(),
                    },
                    _ => Verb::Other,
                }
            }
            _ => Verb::Other,
        }
    }

    /// What may be the beginning of the terminator, three bytes at most, is kept back until it is told apart.
    fn body(&mut self, bytes: &[u8], is_first: bool, is_line_start: bool) -> Said {
        let may_end = |rest: &[u8]| rest.starts_with(END) || END.starts_with(rest);
        if is_line_start && bytes.starts_with(END) {
            self.place = Place::Line;
            return Said::Command(Verb::End, END.len());
        }
        if is_line_start && may_end(bytes) {
            return Said::More;
        }
        let (mut length, mut from) = (bytes.len(), 0);
        let mut is_line_start = false;
        while let Some(end) = line_end(&bytes[from..]).map(|end| from + end) {
            if bytes[..end].ends_with(b"\r\n") && may_end(&bytes[end..]) {
                (length, is_line_start) = (end, true);
                break;
            }
            from = end;
        }
        // Its line feed may be in the next read.
        if !is_line_start && bytes.ends_with(b"\r") {
            length -= 1;
        }
        if length == 0 {
            return Said::More;
        }
        self.place = Place::Body { is_first: false, is_line_start };
        Said::Body(length, is_first)
    }

    /// Whether the bytes that come belong to a chunk of BDAT.
    pub(super) fn is_in_chunk(&self) -> bool {
        matches!(self.place, Place::Chunk { .. })
    }

    /// The chunk that was announced does not come this way.
    pub(super) fn forget_chunk(&mut self) {
        self.place = Place::Line;
    }

    /// The reply to a command. Those before it may be answered while all waits for this one.
    pub(super) fn answered(&mut self, verb: Verb, code: u16) {
        let is_it = matches!(verb, Verb::Data | Verb::Auth | Verb::AuthAnswer | Verb::StartTls);
        if self.place != Place::Unknown || !is_it {
            return;
        }
        self.place = match (verb, code) {
            (Verb::Data, 354) => Place::Body { is_first: true, is_line_start: true },
            (Verb::Auth | Verb::AuthAnswer, 334) => Place::AuthAnswer,
            (Verb::StartTls, 220) => Place::Opaque,
            _ => Place::Line,
        };
    }

    /// From here on nothing is looked at.
    pub(super) fn give_up(&mut self) {
        self.place = Place::Opaque;
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
}

/// At the beginning of a line.
const END: &[u8] = b".\r\n";

/// RFC 4954, 4: what the longest AUTH may have. A line that is longer is no command.
pub(super) const LINE_BYTES: usize = 12_288;

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is said in a text that comes in pieces, with DATA answered by 354 and AUTH by 334 once.
    fn heard(text: &[u8], piece_bytes: usize) -> (Vec<String>, Vec<u8>) {
        let (mut commands, mut buffer) = (Commands::default(), Vec::new());
        let (mut heard, mut passed, mut last) = (Vec::new(), Vec::new(), Verb::Other);
        for piece in text.chunks(piece_bytes) {
            buffer.extend_from_slice(piece);
            loop {
                let length = match commands.next(&buffer) {
                    Said::More => break,
                    Said::Wait => {
                        let code = match last {
                            Verb::Data => 354,
                            Verb::Auth => 334,
                            Verb::StartTls => 220,
                            _ => 250,
                        };
                        commands.answered(last, code);
                        continue;
                    }
                    Said::Command(verb, length) => {
                        last = verb;
                        heard.push(format!("{verb:?}"));
                        length
                    }
                    Said::Pass(length) | Said::Body(length, _) => length,
                };
                passed.extend_from_slice(&buffer[..length]);
                buffer.drain(..length);
            }
            assert!(buffer.len() <= LINE_BYTES + piece_bytes);
        }
        passed.extend_from_slice(&buffer);
        (heard, passed)
    }

    #[test]
    fn a_client_is_followed_wherever_its_reads_end() {
        let table: [(&str, &[&str]); 11] = [
            (
                "ehlo c\r\nMAIL FROM:<>\r\nRcpt to:<a@b>\r\nDATA\r\nQUIT\r\n.\r\nQUIT\r\n",
                &["Hello { is_lmtp: false }", "Mail", "Rcpt", "Data", "End", "Quit"],
            ),
            ("DATA\r\n.\r\nNOOP\r\n", &["Data", "End", "Other"]),
            ("DATA\r\n..\r\n.a\r\n.\r.\r\n\r\n.\r\nRSET\r\n", &["Data", "End", "Rset"]),
            // None of these ends a message.
            ("DATA\r\na\n.\r\nb\r\n.\nc\r.\r\n.\r", &["Data"]),
            ("DATA\r\na\r\r\n.\r\nRSET\r\n", &["Data", "End", "Rset"]),
            (
                "BDAT 7\r\nQUIT\r\n\nBDAT 0 last\r\nQUIT\r\n",
                &[
                    "Bdat { size_bytes: 7, is_first: true, is_last: false }",
                    "Bdat { size_bytes: 0, is_first: false, is_last: true }",
                    "Quit",
                ],
            ),
            ("BDAT x\r\nBDAT 1 2\r\nBDAT +1\r\n", &["Other", "Other", "Other"]),
            ("AUTH PLAIN\r\nQUIT\r\nQUIT\r\n", &["Auth", "AuthAnswer", "Quit"]),
            ("STARTTLS\r\nQUIT\r\nQUIT\r\n", &["StartTls"]),
            ("\r\n\0\0\nquit\r\n", &["Other", "Other", "Quit"]),
            ("LHLO c\nQUIT\n", &["Hello { is_lmtp: true }", "Quit"]),
        ];
        for (text, expected) in table {
            for piece_bytes in 1..=text.len() {
                let (heard, passed) = heard(text.as_bytes(), piece_bytes);
                assert_eq!(passed, text.as_bytes(), "{text:?} by {piece_bytes}");
                assert_eq!(heard, expected, "{text:?} by {piece_bytes}");
            }
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let text = [vec![b'x'; 1 << 20], b"\r\nQUIT\r\n".to_vec()].concat();
        let (heard, passed) = heard(&text, 4096);
        assert_eq!((heard, passed == text), (vec!["Other".to_owned(), "Quit".to_owned()], true));
    }
}
