//! Postfix's queue files: records of a type, a length and data, in the order envelope, content, what was extracted from
//! it (`postcat(1)`, `src/global/rec_type.h`). A file without its end record was never answered with 250; who has got
//! the message has his record turned from `R` into `D`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{Entry, Named, Waiting, failed, read_file, walk};

/// Where messages that are not yet delivered lie. `maildrop` is where `postsuper -r` puts what is to be read again.
const QUEUES: [&str; 5] = ["maildrop", "incoming", "active", "deferred", "hold"];

pub(super) fn files(dir: &Path) -> Result<Vec<Named>, String> {
    // A folder that is none would look like a queue in which nothing waits.
    fs::read_dir(dir.join("incoming")).map_err(|e| failed(&dir.join("incoming"), &e))?;
    let mut files = Vec::new();
    for queue in QUEUES {
        walk(&dir.join(queue), HASH_DEPTH, &mut |name, path| files.push((name, path)))?;
    }
    Ok(files)
}

pub(super) fn read(path: &Path) -> Result<Entry, String> {
    match read_file(path) {
        Ok(bytes) => Ok(match parse(&bytes) {
            Some(waiting) if !waiting.to.is_empty() => Entry::Waiting(waiting),
            _ => Entry::Nothing,
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Entry::Gone),
        Err(e) => Err(failed(path, &e)),
    }
}

/// `None`: it has no end, or is no queue file.
pub(super) fn parse(bytes: &[u8]) -> Option<Waiting> {
    let mut waiting = Waiting { from: String::new(), to: Vec::new(), message: Vec::new() };
    let (mut at, mut is_content, mut taken) = (0, false, 0);
    loop {
        let (kind, data, next) = record(bytes, at)?;
        // No record is read twice: one that leads in a circle has no end.
        taken += next - at;
        if taken > bytes.len() {
            return None;
        }
        at = next;
        match kind {
            b'E' => return Some(waiting),
            b'M' => is_content = true,
            b'X' => is_content = false,
            b'S' => waiting.from = String::from_utf8_lossy(data).into_owned(),
            b'R' => waiting.to.push(String::from_utf8_lossy(data).into_owned()),
            b'N' if is_content => {
                waiting.message.extend_from_slice(data);
                waiting.message.push(b'\n');
            }
            // A line that goes on in the next record.
            b'L' if is_content => waiting.message.extend_from_slice(data),
            // Filters change a message by leading elsewhere in the file, and back.
            b'p' => {
                let target: usize = std::str::from_utf8(data).ok()?.trim().parse().ok()?;
                if target > 0 {
                    at = target;
                }
            }
            _ => {}
        }
    }
}

/// The type and data of the record at a place, and where the next one is.
fn record(bytes: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let kind = *bytes.get(at)?;
    let (mut length, mut start) = (0_usize, at + 1);
    for shift in (0..=28).step_by(7) {
        let byte = *bytes.get(start)?;
        start += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let end = start.checked_add(length)?;
            return Some((kind, bytes.get(start..end)?, end));
        }
    }
    None
}

/// Two levels are the most that anybody has.
const HASH_DEPTH: u32 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(records: &[(u8, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, data) in records {
            bytes.push(*kind);
            let mut length = data.len();
            while length > 0x7f {
                bytes.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend_from_slice(data.as_bytes());
        }
        bytes
    }

    #[test]
    fn who_is_still_to_get_it_and_what() {
        let long = "x".repeat(300);
        let records = [
            (b'C', "  0 0 2 0 0"),
            (b'T', "1700000000 1"),
            (b'S', "s@drill.test"),
            (b'D', "had@drill.test"),
            (b'R', "a@drill.test"),
            (b'M', ""),
            (b'N', "Subject: x"),
            (b'N', ""),
            (b'L', &long),
            (b'N', "end"),
            (b'X', ""),
            (b'R', "b@drill.test"),
            (b'E', ""),
        ];
        let whole = file(&records);
        let waiting = parse(&whole).unwrap();
        assert_eq!((waiting.from.as_str(), waiting.to.len()), ("s@drill.test", 2));
        assert_eq!(waiting.to, ["a@drill.test", "b@drill.test"]);
        assert_eq!(waiting.message, format!("Subject: x\n\n{long}end\n").as_bytes());
        // Without its last byte it was never answered.
        for cut in 0..whole.len() - 1 {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_followed_and_a_circle_is_none() {
        let tail = file(&[(b'N', "changed"), (b'X', ""), (b'E', "")]);
        let head = |to: usize| file(&[(b'R', "a@x.test"), (b'M', ""), (b'p', &format!("{to:15}"))]);
        let at = head(0).len();
        let hidden = file(&[(b'N', "as it was")]);
        let bytes = [head(at + hidden.len()), hidden, tail].concat();
        assert_eq!(parse(&bytes).unwrap().message, b"changed\n");
        assert!(parse(&head(at - 17)).is_none());
    }

    #[test]
    fn a_circle_makes_no_message_longer_than_its_file() {
        let lines = file(&[(b'M', ""), (b'N', &"x".repeat(1 << 20)), (b'p', &format!("{:15}", 2))]);
        assert!(parse(&lines).is_none());
    }

    proptest! {
        #[test]
        fn nothing_that_lies_there_takes_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
