//! The mark in a message's header, by which it is known again in a store: which run, which message, and the sum of its
//! body. The sum is of lines, not of bytes: servers store CR LF as LF and may cut or add empty lines at the end.

use std::fmt;

use sha2::{Digest, Sha256};

/// What `X-Mailrig-Load` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The run that sent it.
    pub run: u64,
    /// Its index in the arrival plan.
    pub index: u64,
    /// [`sum`] of its body.
    pub sum: [u8; 16],
}

/// Name of the header field.
pub const FIELD: &str = "X-Mailrig-Load";

/// The mark in the header of a message, which ends at its first empty line. Only the first
/// 256 KiB are looked at. The lines above it, which servers add, do not matter.
pub fn read_mark(header: &[u8]) -> Option<Mark> {
    let header = &header[..header.len().min(HEADER_BYTES)];
    let mut lines = header.split(|byte| *byte == b'\n').map(without_cr);
    let mut value = lines.by_ref().take_while(|line| !line.is_empty()).find_map(value_of)?.to_vec();
    // The field may have been folded, at any of its spaces.
    for line in lines.take_while(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
        value.extend_from_slice(line);
        if value.len() > VALUE_BYTES {
            return None;
        }
    }
    parse(std::str::from_utf8(&value).ok()?)
}

/// The first half of the SHA-256 of a body with its lines ended by LF and no empty ones at its end.
pub fn sum(body: &[u8]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut empty_lines = 0_usize;
    for line in body.split(|byte| *byte == b'\n').map(without_cr) {
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            hasher.update(b"\n");
        }
        hasher.update(line);
        hasher.update(b"\n");
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
}

impl fmt::Display for Mark {
    /// As the value of the field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, index, sum } = self;
        write!(f, "{run:016x} {index} {:032x}", u128::from_be_bytes(*sum))
    }
}

/// Also without several, so that the sum of what has them stays the same once its line ends are LF.
fn without_cr(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

fn value_of(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(FIELD.len())?;
    let value = value.strip_prefix(b":")?;
    (name.eq_ignore_ascii_case(FIELD.as_bytes()) && value.len() <= VALUE_BYTES).then_some(value)
}

fn parse(value: &str) -> Option<Mark> {
    let mut words = value.split_ascii_whitespace();
    let [run, index, sum] = [words.next()?, words.next()?, words.next()?];
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(is_hex_digit);
    let is_number = index.bytes().all(|byte| byte.is_ascii_digit());
    if words.next().is_some() || !is_hex(run, 16) || !is_hex(sum, 32) || !is_number {
        return None;
    }
    Some(Mark {
        run: u64::from_str_radix(run, 16).ok()?,
        index: index.parse().ok()?,
        sum: u128::from_str_radix(sum, 16).ok()?.to_be_bytes(),
    })
}

fn is_hex_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

const HEADER_BYTES: usize = 256 << 10;
const VALUE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> Mark {
        Mark { run: 0xab, index: 12, sum: sum(b"x\n") }
    }

    #[test]
    fn a_mark_is_found_among_other_lines_folded_or_not() {
        let line = format!("X-Mailrig-Load: {}", mark());
        let folded = line.replace(' ', "\r\n\t ");
        let lower = line.replace(FIELD, "x-mailrig-load");
        for header in [
            format!("{line}\r\n\r\nbody"),
            format!("Return-Path: <>\nReceived: from a\n\tby b\n{line}\nSubject: x\n\nbody"),
            format!("Subject: x\r\n{folded}\r\nTo: y\r\n\r\n"),
            format!("{folded}\r\n"),
            format!("{lower}\n"),
            line.clone(),
        ] {
            assert_eq!(read_mark(header.as_bytes()), Some(mark()), "{header:?}");
        }
        let long = " ".repeat(300);
        for header in [
            String::new(),
            "Subject: x\r\n\r\nbody".into(),
            format!("Subject: x\r\n\r\n{line}\r\n"),
            format!("Subject: x\r\n {line}\r\n"),
            line.replace("12", "-12"),
            line.replace("12", "99999999999999999999"),
            line.replace("00ab", "0ab"),
            line.replace("00ab", "+0ab"),
            format!("{line} more"),
            format!("{line}{long}\r\n"),
            format!("{line}\r\n{long}\r\n"),
            "X-Mailrig-Load:".into(),
        ] {
            assert_eq!(read_mark(header.as_bytes()), None, "{header:?}");
        }
    }

    #[test]
    fn a_sum_is_that_of_lines() {
        // printf 'a\nb\n' | sha256sum
        assert_eq!(u128::from_be_bytes(sum(b"a\nb\n")), 0x9111_69dd_aaf1_46af_f539_f58c_26c4_89af);
        for same in
            ["a\nb\n", "a\r\nb\r\n", "a\r\nb", "a\nb\r", "a\r\nb\r\n\r\n\r\n", "a\r\r\nb\n\n"]
        {
            assert_eq!(sum(same.as_bytes()), sum(b"a\nb\n"), "{same:?}");
        }
        for other in ["a\n\nb\n", "a\nb \n", "\na\nb\n", "ab\n", "a\rb\n", ""] {
            assert_ne!(sum(other.as_bytes()), sum(b"a\nb\n"), "{other:?}");
        }
        for empty in ["", "\n", "\r\n\r\n"] {
            assert_eq!(sum(empty.as_bytes()), sum(b""), "{empty:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(header in "(X-Mailrig-Load:|[0-9a-f]{0,33}|[ \r\n\t:é]){0,30}") {
            let _ = read_mark(header.as_bytes());
        }

        #[test]
        fn a_sum_survives_the_ways_of_servers(body in "([ab ]|\r\n|\n|\r){0,40}") {
            let stored = body.replace("\r\n", "\n");
            prop_assert_eq!(sum(stored.as_bytes()), sum(body.as_bytes()));
            let sent = stored.replace('\n', "\r\n") + "\r\n";
            prop_assert_eq!(sum(sent.as_bytes()), sum(body.as_bytes()));
        }
    }
}
