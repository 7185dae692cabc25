//! Letters: the bytes of each follow from its id, so that a judge needs no copy to compare with.

use std::io::Write;

use crate::random::Random;

const ID: &[u8] = b"X-Churn-Id: ";
const HEX_DIGITS: usize = 16;
/// Above the size to which mailrig holds a message in memory.
const LARGE_BYTES: usize = 4_300_000;
const TEXT_BYTES: usize = 128 * 1024;

const WORDS: [&str; 16] = [
    "the", "mailbox", "report", "please", "find", "attached", "invoice", "meeting", "tomorrow",
    "regards", "backup", "quarter", "ticket", "server", "folder", "again",
];

/// The text that all letters are cut from.
pub(super) struct Letters {
    text: Vec<u8>,
}

impl Letters {
    pub(super) fn new() -> Letters {
        let mut random = Random::new(0, 0);
        let mut text = Vec::with_capacity(TEXT_BYTES + 64);
        while text.len() < TEXT_BYTES {
            for _ in 0..9 {
                text.extend_from_slice(random.pick(&WORDS).as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(b"\r\n");
        }
        Letters { text }
    }

    /// The letter's bytes, in place of what `bytes` held.
    pub(super) fn write(&self, id: u64, bytes: &mut Vec<u8>) {
        let mut random = Random::new(id, 1);
        bytes.clear();
        bytes.extend_from_slice(ID);
        // Writing to a vector cannot fail.
        let _ = write!(
            bytes,
            "{id:016x}\r\nFrom: sender{}@example.net\r\nTo: user@example.org\r\n\
             Subject: letter {id:x}\r\nMessage-ID: <{id:x}@example.net>\r\n\r\n",
            random.below(1000),
        );
        let len = bytes.len() + body_bytes(&mut random);
        let mut at = random.below(self.text.len());
        while bytes.len() < len {
            let part = &self.text[at..];
            bytes.extend_from_slice(&part[..part.len().min(len - bytes.len())]);
            at = 0;
        }
    }
}

/// Mostly short letters, as mail is, and a few that are not.
fn body_bytes(random: &mut Random) -> usize {
    match random.below(20_000) {
        0 => LARGE_BYTES,
        1..200 => 20_000 + random.below(60_000),
        200..2_000 => 2_000 + random.below(12_000),
        _ => 100 + random.below(1_500),
    }
}

/// The id in a letter's first line.
pub(super) fn id(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_prefix(ID)?.get(..HEX_DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_the_same_every_time_and_tells_its_id() {
        let (letters, mut first, mut again) = (Letters::new(), Vec::new(), Vec::new());
        for number in [0, 1, 7 << 40, u64::MAX] {
            letters.write(number, &mut first);
            letters.write(number, &mut again);
            assert_eq!((id(&first), &first), (Some(number), &again));
        }
        assert_eq!(id(b"X-Churn-Id: 12\r\n"), None);
        assert_eq!(id(b"Subject: x\r\n"), None);
    }
}
