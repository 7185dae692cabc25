//! Command lines out of a stream of bytes: bounded, and ended by CR LF. A line that is not ended so is told
//! apart, because it is how commands are smuggled into what others take for one line.

use memchr::memchr;

/// A line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'b> {
    /// As it should be.
    Whole(&'b [u8]),
    /// It ended with LF alone, or had a CR inside.
    Bare,
    /// More than [`LINE_BYTES`]; what was left out is gone.
    TooLong,
}

/// Finds lines in what has been read, and never keeps more than one.
#[derive(Debug, Default)]
pub struct Lines {
    /// Up to where the buffer was searched for an end.
    searched: usize,
    is_too_long: bool,
}

impl Lines {
    /// The first line of `buffer`, with its length including its end; `None` if it is not complete. A line
    /// that grows too long is dropped from the buffer as it comes.
    pub fn next<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<(Line<'b>, usize)> {
        let Some(end) = memchr(b'\n', &buffer[self.searched..]) else {
            self.searched = buffer.len();
            if buffer.len() > LINE_BYTES {
                self.is_too_long = true;
                buffer.clear();
                self.searched = 0;
            }
            return None;
        };
        let length = self.searched + end + 1;
        self.searched = 0;
        if std::mem::take(&mut self.is_too_long) || length > LINE_BYTES {
            return Some((Line::TooLong, length));
        }
        let line = match buffer[..length].strip_suffix(b"\r\n") {
            Some(line) if memchr(b'\r', line).is_none() => Line::Whole(line),
            _ => Line::Bare,
        };
        Some((line, length))
    }
}

/// RFC 4954, 4: what the longest AUTH may have.
pub const LINE_BYTES: usize = 12_288;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut buffer, mut found) = (Lines::default(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some((line, length)) = lines.next(&mut buffer) {
                found.push(match line {
                    Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                    Line::Bare => "(bare)".into(),
                    Line::TooLong => "(too long)".into(),
                });
                buffer.drain(..length);
            }
            assert!(buffer.len() <= LINE_BYTES);
        }
        found
    }

    #[test]
    fn lines_end_with_cr_lf_and_nothing_else() {
        assert_eq!(lines(&[b"a\r", b"\nb\r\n\r\nc"]), ["a", "b", ""]);
        assert_eq!(lines(&[b"a\nb\rc\r\nd\r\r\ne\r\n"]), ["(bare)", "(bare)", "(bare)", "e"]);
    }

    #[test]
    fn a_line_that_never_ends_takes_no_space() {
        let piece = [b'x'; 5000];
        let many = vec![&piece[..]; 1000];
        assert_eq!(lines(&[&many[..], &[b"\r\nNOOP\r\n"]].concat()), ["(too long)", "NOOP"]);
        let line = [vec![b'x'; LINE_BYTES], b"\r\nNOOP\r\n".to_vec()].concat();
        assert_eq!(lines(&[&line]), ["(too long)", "NOOP"]);
    }
}
