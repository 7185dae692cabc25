//! What was said of each message, for all of a run: two bits for each, in pages that exist once one of theirs was
//! spoken of. Five million messages take 1.25 MB.

use std::collections::HashMap;

/// What the server said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing yet.
    Nothing,
    /// That it is accepted for somebody, or it is unknown whether it said so.
    Taken,
    /// That nobody gets it.
    Refused,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Said(HashMap<u64, Box<[u8; PAGE_BYTES]>>);

impl Said {
    pub(super) fn get(&self, index: u64) -> Word {
        let (page, byte, shift) = place(index);
        match self.0.get(&page).map_or(0, |page| page[byte] >> shift & 0b11) {
            0 => Word::Nothing,
            1 => Word::Taken,
            _ => Word::Refused,
        }
    }

    /// Who is taken stays taken: a refusal then is of other recipients.
    pub(super) fn set(&mut self, index: u64, word: Word) {
        let bits = match (self.get(index), word) {
            (Word::Taken, _) | (_, Word::Nothing) => return,
            (_, Word::Taken) => 0b01,
            (_, Word::Refused) => 0b10,
        };
        let (page, byte, shift) = place(index);
        let page = self.0.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
        page[byte] = page[byte] & !(0b11 << shift) | bits << shift;
    }
}

/// The page, the byte in it, and how far to the left in that.
fn place(index: u64) -> (u64, usize, u32) {
    let messages = (PAGE_BYTES * 4) as u64;
    let (page, rest) = (index / messages, index % messages);
    (page, (rest / 4) as usize, (rest % 4) as u32 * 2)
}

const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_own_word() {
        let mut said = Said::default();
        let indices = [0, 1, 2, 3, 4, 16_383, 16_384, 5_000_000, u64::MAX - 1, u64::MAX];
        for (at, index) in indices.into_iter().enumerate() {
            assert_eq!(said.get(index), Word::Nothing, "{index}");
            said.set(index, if at % 2 == 0 { Word::Taken } else { Word::Refused });
        }
        for (at, index) in indices.into_iter().enumerate() {
            let word = if at % 2 == 0 { Word::Taken } else { Word::Refused };
            assert_eq!(said.get(index), word, "{index}");
        }
        assert_eq!(said.get(5), Word::Nothing);
    }

    #[test]
    fn taken_is_the_last_word() {
        let mut said = Said::default();
        said.set(9, Word::Refused);
        said.set(9, Word::Taken);
        said.set(9, Word::Refused);
        said.set(9, Word::Nothing);
        assert_eq!(said.get(9), Word::Taken);
    }
}
