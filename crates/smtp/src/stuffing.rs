//! The body of DATA (RFC 5321, 4.5.2): a dot is put before lines that begin with one, and taken away
//! again. Only `CR LF . CR LF` ends a message. `LF . CR LF` and its kin, by which one message is
//! smuggled inside another, end nothing, and a CR or LF that stands alone is told to the server.

use memchr::{memchr2, memchr2_iter, memmem};

/// What ends a body of whole lines.
pub const TERMINATOR: &[u8] = b".\r\n";

/// Appends `body` to `wire` with its dots stuffed and its last line made whole; [`TERMINATOR`] then
/// ends it.
pub fn stuff(body: &[u8], wire: &mut Vec<u8>) {
    wire.reserve(body.len() + 2);
    let mut rest = body;
    if rest.starts_with(b".") {
        wire.push(b'.');
    }
    while let Some(at) = memmem::find(rest, b"\r\n.") {
        let (line, more) = rest.split_at(at + 2);
        wire.extend_from_slice(line);
        wire.push(b'.');
        // The dot itself goes along: no other may be found at its place.
        rest = more;
    }
    wire.extend_from_slice(rest);
    if !body.is_empty() && !body.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
}

/// Takes stuffing away as the body arrives, in pieces of any size.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    state: State,
    has_bare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    LineStart,
    Inside,
    Cr,
    /// After a dot that begins a line.
    Dot,
    DotCr,
}

impl Unstuffer {
    /// Appends what `input` holds of the body to `body`. At its end it gives how many bytes of `input`
    /// belong to it and the terminator; what follows are commands.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> Option<usize> {
        let (mut from, mut at) = (0, 0);
        loop {
            if self.state == State::Inside {
                let Some(end) = memchr2(b'\r', b'\n', &input[at..]) else {
                    body.extend_from_slice(&input[from..]);
                    return None;
                };
                at += end + 1;
                if input[at - 1] == b'\r' {
                    self.state = State::Cr;
                } else {
                    self.has_bare = true;
                }
                continue;
            }
            let Some(&byte) = input.get(at) else {
                body.extend_from_slice(&input[from..]);
                return None;
            };
            self.state = match (self.state, byte) {
                (State::Cr, b'\n') => {
                    at += 1;
                    State::LineStart
                }
                (State::LineStart, b'.') => {
                    body.extend_from_slice(&input[from..at]);
                    at += 1;
                    from = at;
                    State::Dot
                }
                (State::Dot, b'\r') => {
                    at += 1;
                    from = at;
                    State::DotCr
                }
                (State::DotCr, b'\n') => return Some(at + 1),
                (State::DotCr, _) => {
                    self.has_bare = true;
                    body.push(b'\r');
                    State::Inside
                }
                (State::Cr, _) => {
                    self.has_bare = true;
                    State::Inside
                }
                (State::LineStart | State::Dot | State::Inside, _) => State::Inside,
            };
        }
    }

    /// Whether a CR or LF stood alone so far.
    pub fn has_bare_line_end(&self) -> bool {
        self.has_bare
    }
}

/// Looks for a CR or LF that stands alone in bytes that come in pieces, as in the chunks of BDAT.
#[derive(Debug, Clone, Default)]
pub struct LineEnds {
    was_cr: bool,
    has_bare: bool,
}

impl LineEnds {
    /// Looks at the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        self.has_bare |= self.was_cr && *first != b'\n';
        for at in memchr2_iter(b'\r', b'\n', bytes) {
            self.has_bare |= match bytes[at] {
                b'\n' if at == 0 => !self.was_cr,
                b'\n' => bytes[at - 1] != b'\r',
                _ => bytes.get(at + 1).is_some_and(|next| *next != b'\n'),
            };
        }
        self.was_cr = bytes.ends_with(b"\r");
    }

    /// Whether one stood alone, if these were all bytes.
    pub fn has_bare(&self) -> bool {
        self.has_bare || self.was_cr
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Body and what follows it, if it has an end.
    fn unstuffed(wire: &[u8], piece_bytes: usize) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let (mut unstuffer, mut body, mut at) = (Unstuffer::default(), Vec::new(), 0);
        for piece in wire.chunks(piece_bytes) {
            if let Some(used) = unstuffer.feed(piece, &mut body) {
                let rest = wire[at + used..].to_vec();
                return (body, Some(rest), unstuffer.has_bare_line_end());
            }
            at += piece.len();
        }
        (body, None, unstuffer.has_bare_line_end())
    }

    #[test]
    fn only_a_dot_alone_in_a_line_ends_a_body() {
        let table: [(&str, &str, Option<&str>, bool); 17] = [
            (".\r\nQUIT\r\n", "", Some("QUIT\r\n"), false),
            ("a\r\n.\r\nRSET", "a\r\n", Some("RSET"), false),
            ("..\r\n.\r\n", ".\r\n", Some(""), false),
            ("...a\r\n..\r\n.\r\n", "..a\r\n.\r\n", Some(""), false),
            (".a\r\n.\r\n", "a\r\n", Some(""), false),
            ("a\r\n", "a\r\n", None, false),
            ("a\r\n.", "a\r\n", None, false),
            ("a\r\n.\r", "a\r\n", None, false),
            ("a\n.\r\n", "a\n.\r\n", None, true),
            ("a\n.\n", "a\n.\n", None, true),
            ("a\r\n.\n", "a\r\n\n", None, true),
            ("a\r.\r\n", "a\r.\r\n", None, true),
            ("a\r\n.\r.\r\n", "a\r\n\r.\r\n", None, true),
            ("a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", Some(""), true),
            ("a\r\r\n.\r\n", "a\r\r\n", Some(""), true),
            ("a\n\r\n.\r\n", "a\n\r\n", Some(""), true),
            ("a\0\r\n.\0\r\n.\r\n", "a\0\r\n\0\r\n", Some(""), false),
        ];
        for (wire, body, rest, has_bare) in table {
            for piece_bytes in 1..=wire.len() {
                let rest = rest.map(|rest| rest.as_bytes().to_vec());
                assert_eq!(
                    unstuffed(wire.as_bytes(), piece_bytes),
                    (body.as_bytes().to_vec(), rest, has_bare),
                    "{wire:?} by {piece_bytes}"
                );
            }
        }
    }

    #[test]
    fn dots_are_stuffed_and_lines_made_whole() {
        for (body, wire) in [
            ("", ""),
            ("a", "a\r\n"),
            ("a\r\n", "a\r\n"),
            (".", "..\r\n"),
            (".\r\n.\r\n..a\r\n", "..\r\n..\r\n...a\r\n"),
            ("a\r\n\r\n.b", "a\r\n\r\n..b\r\n"),
        ] {
            let mut stuffed = Vec::new();
            stuff(body.as_bytes(), &mut stuffed);
            assert_eq!(String::from_utf8(stuffed).unwrap(), wire, "{body:?}");
        }
    }

    #[test]
    fn a_line_end_that_stands_alone_is_found_wherever_the_pieces_end() {
        for (text, has_bare) in [
            ("a\r\nb\r\n", false),
            ("", false),
            ("a\nb", true),
            ("\n", true),
            ("a\rb", true),
            ("a\r", true),
            ("a\r\r\n", true),
            ("a\r\n\n", true),
        ] {
            for piece_bytes in 1..=text.len().max(1) {
                let mut ends = LineEnds::default();
                text.as_bytes().chunks(piece_bytes).for_each(|piece| ends.feed(piece));
                assert_eq!(ends.has_bare(), has_bare, "{text:?} by {piece_bytes}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back(
            body in "([ab.]|\r\n|\r|\n){0,40}",
            piece_bytes in 1_usize..9,
        ) {
            let mut wire = Vec::new();
            stuff(body.as_bytes(), &mut wire);
            wire.extend_from_slice(TERMINATOR);
            wire.extend_from_slice(b"NEXT");
            let mut whole = body.into_bytes();
            if !whole.is_empty() && !whole.ends_with(b"\r\n") {
                whole.extend_from_slice(b"\r\n");
            }
            let (got, rest, _) = unstuffed(&wire, piece_bytes);
            prop_assert_eq!((got, rest), (whole, Some(b"NEXT".to_vec())));
        }
    }
}
