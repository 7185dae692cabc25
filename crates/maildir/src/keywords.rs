//! `dovecot-keywords`: which keyword each of the letters `a` to `z` in a file name stands for. The
//! letters mean something in one folder only, so what goes to another one is translated.

/// The keywords of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keywords {
    names: [Option<Vec<u8>>; LETTERS],
}

impl Keywords {
    /// Reads the file; lines that are not `NUMBER NAME` with a number below 26 are passed over.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut keywords = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(space) = memchr::memchr(b' ', line) else { continue };
            let number = std::str::from_utf8(&line[..space]).ok().and_then(|n| n.parse().ok());
            let Some(slot) = number.and_then(|number: usize| keywords.names.get_mut(number)) else {
                continue;
            };
            let name = &line[space + 1..];
            if !name.is_empty() {
                *slot = Some(name.to_vec());
            }
        }
        keywords
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, name) in self.names.iter().enumerate() {
            if let Some(name) = name {
                bytes.extend_from_slice(number.to_string().as_bytes());
                bytes.push(b' ');
                bytes.extend_from_slice(name);
                bytes.push(b'\n');
            }
        }
        bytes
    }

    /// The keyword of a letter.
    pub fn name(&self, letter: u8) -> Option<&[u8]> {
        self.names.get(usize::from(letter.checked_sub(b'a')?))?.as_deref()
    }

    /// The letter of a keyword, which is given one if it has none; `None` if all are taken.
    pub fn letter(&mut self, name: &[u8]) -> Option<u8> {
        let is_it =
            |slot: &Option<Vec<u8>>| slot.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name));
        let number = self.names.iter().position(is_it).or_else(|| {
            // After the last one: Dovecot gives letters in this order and remembers them.
            let next = self.names.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            let free = (next < LETTERS).then_some(next);
            let free = free.or_else(|| self.names.iter().position(Option::is_none))?;
            self.names[free] = Some(name.to_vec());
            Some(free)
        })?;
        Some(b'a' + u8::try_from(number).ok()?)
    }
}

/// `flags` of a folder with the keywords `from`, for one with the keywords `to`, which grows; and
/// how many keywords had no room there. What comes after a comma is a server's own and is left.
pub fn translate(flags: &[u8], from: &Keywords, to: &mut Keywords) -> (Vec<u8>, usize) {
    let end = memchr::memchr(b',', flags).unwrap_or(flags.len());
    let mut translated = Vec::with_capacity(flags.len());
    let mut dropped = 0;
    for flag in &flags[..end] {
        match from.name(*flag) {
            Some(name) => match to.letter(name) {
                Some(letter) => translated.push(letter),
                None => dropped += 1,
            },
            None if flag.is_ascii_lowercase() => dropped += 1,
            None => translated.push(*flag),
        }
    }
    translated.sort_unstable();
    translated.dedup();
    translated.extend_from_slice(&flags[end..]);
    (translated, dropped)
}

const LETTERS: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn letters_are_translated_by_name_and_new_names_come_last() {
        let from = Keywords::parse(b"0 $Forwarded\n1 todo\r\n2 urgent\nx y\n99 far\n3 \n");
        let mut to = Keywords::parse(b"0 TODO\n1 junk\n");
        assert_eq!(translate(b"FSabc", &from, &mut to), (b"FSacd".to_vec(), 0));
        assert_eq!(to.encode(), b"0 TODO\n1 junk\n2 $Forwarded\n3 urgent\n");
        assert_eq!(translate(b"Sb,own:c", &from, &mut to), (b"Sa,own:c".to_vec(), 0));
        // A letter that names nothing would name something else elsewhere.
        assert_eq!(translate(b"Sz", &from, &mut to), (b"S".to_vec(), 1));
    }

    #[test]
    fn the_27th_keyword_is_dropped_and_counted() {
        let full: String = (0..26).map(|number| format!("{number} k{number}\n")).collect();
        let mut to = Keywords::parse(full.as_bytes());
        let from = Keywords::parse(b"0 k25\n1 other\n");
        assert_eq!(translate(b"ab", &from, &mut to), (b"z".to_vec(), 1));
        assert_eq!(to.encode(), full.as_bytes());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(bytes: Vec<u8>) {
            let keywords = Keywords::parse(&bytes);
            prop_assert_eq!(Keywords::parse(&keywords.encode()), keywords);
        }
    }
}
