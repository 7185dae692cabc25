//! `dovecot-uidlist` and Courier's `courierimapuiddb`: which UID each base name has, and the two
//! numbers that must never go back, UIDVALIDITY and the next UID. Read without a lock, so lines may
//! be torn; a file that contradicts itself still gives what can be used of it.

use std::collections::HashMap;

use crate::base_name;

/// A uidlist; borrows names from the file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uidlist<'b> {
    /// UIDVALIDITY (RFC 3501, 2.3.1.1), never 0.
    pub uid_validity: u32,
    /// The UID that the next message gets: above every UID of a record.
    pub next_uid: u32,
    /// The mailbox GUID, 32 hex digits, of version 3.
    pub guid: Option<&'b [u8]>,
    /// Records by rising UID.
    pub records: Vec<UidRecord<'b>>,
    /// Lines that could not be used.
    pub broken_lines: usize,
}

/// One message's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRecord<'b> {
    /// Its UID, never 0.
    pub uid: u32,
    /// Extension fields as they are in the file, such as `W8201 S7355`.
    pub fields: &'b [u8],
    /// The file name when the line was written: only its base name means anything.
    pub name: &'b [u8],
}

impl<'b> UidRecord<'b> {
    /// What identifies the message in its folder.
    pub fn base(&self) -> &'b [u8] {
        base_name(self.name)
    }
}

impl<'b> Uidlist<'b> {
    /// Reads version 1 (`1 VALIDITY NEXT`, also Courier's) or 3 (`3 V… N… G…`). `None` without a
    /// header that gives a UIDVALIDITY: then the file says nothing. Broken lines are counted and
    /// passed over; of two lines for one base name, or with UIDs that do not rise, Dovecot's
    /// rule holds: the file's order is the order of UIDs, and the later line of a name wins.
    pub fn parse(bytes: &'b [u8]) -> Option<Self> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let header = without_end(lines.next()?).0;
        let (version, mut list) = parse_header(header)?;
        let mut by_base = HashMap::new();
        let mut last_uid = 0;
        for line in lines {
            let (line, is_whole) = without_end(line);
            if line.is_empty() {
                continue;
            }
            // A line without its end may be cut inside the name, and then names another message.
            let record = parse_record(line, version).filter(|r| is_whole && r.uid > last_uid);
            let Some(record) = record else {
                list.broken_lines += 1;
                continue;
            };
            last_uid = record.uid;
            if let Some(earlier) = by_base.insert(record.base(), list.records.len()) {
                let earlier: &mut UidRecord<'_> = &mut list.records[earlier];
                earlier.uid = 0;
                list.broken_lines += 1;
            }
            list.records.push(record);
        }
        list.records.retain(|record| record.uid != 0);
        list.next_uid = list.next_uid.max(last_uid.saturating_add(1));
        Some(list)
    }

    /// The file, version 3. Base names only: flags in a uidlist are never read.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80 + self.records.len() * 64);
        let header = format!("3 V{} N{}", self.uid_validity, self.next_uid);
        bytes.extend_from_slice(header.as_bytes());
        if let Some(guid) = self.guid {
            bytes.extend_from_slice(b" G");
            bytes.extend_from_slice(guid);
        }
        bytes.push(b'\n');
        for record in &self.records {
            bytes.extend_from_slice(record.uid.to_string().as_bytes());
            bytes.push(b' ');
            if !record.fields.is_empty() {
                bytes.extend_from_slice(record.fields);
                bytes.push(b' ');
            }
            bytes.push(b':');
            bytes.extend_from_slice(record.base());
            bytes.push(b'\n');
        }
        bytes
    }
}

impl Uidlist<'_> {
    /// The file, version 1, as Courier has it: UIDs and base names only.
    pub fn encode_version_1(&self) -> Vec<u8> {
        let mut bytes = format!("1 {} {}\n", self.uid_validity, self.next_uid).into_bytes();
        for record in &self.records {
            bytes.extend_from_slice(record.uid.to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(record.base());
            bytes.push(b'\n');
        }
        bytes
    }
}

fn parse_header(header: &[u8]) -> Option<(u8, Uidlist<'_>)> {
    let mut fields = header.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let mut list =
        Uidlist { uid_validity: 0, next_uid: 1, guid: None, records: Vec::new(), broken_lines: 0 };
    let version = match fields.next()? {
        b"1" => {
            list.uid_validity = number(fields.next()?)?;
            list.next_uid = fields.next().and_then(number).unwrap_or(1);
            1
        }
        b"3" => {
            for field in fields {
                let (key, value) = field.split_first()?;
                match key {
                    b'V' => list.uid_validity = number(value)?,
                    b'N' => list.next_uid = number(value)?,
                    b'G' if is_guid(value) => list.guid = Some(value),
                    _ => {}
                }
            }
            3
        }
        _ => return None,
    };
    (list.uid_validity != 0).then_some((version, list))
}

fn parse_record(line: &[u8], version: u8) -> Option<UidRecord<'_>> {
    let space = memchr::memchr(b' ', line)?;
    let uid = number(&line[..space])?;
    let rest = &line[space + 1..];
    let (fields, name) = if version == 1 {
        (&rest[..0], rest)
    } else {
        let colon =
            if rest.first() == Some(&b':') { 0 } else { memchr::memmem::find(rest, b" :")? + 1 };
        (without_spaces(&rest[..colon]), &rest[colon + 1..])
    };
    // With a carriage return at its end it would not read the same again.
    let is_name = !name.is_empty() && !name.iter().any(|byte| b"/\r\0".contains(byte));
    is_name.then_some(UidRecord { uid, fields, name })
}

/// Spaces only: what began with a colon after other blanks went would be taken for a name.
fn without_spaces(fields: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| *byte != b' ';
    let start = fields.iter().position(is_other).unwrap_or(fields.len());
    let end = fields.iter().rposition(is_other).map_or(start, |last| last + 1);
    &fields[start..end]
}

/// A line without `\n` or `\r\n`, and whether it had an end.
fn without_end(line: &[u8]) -> (&[u8], bool) {
    match line.strip_suffix(b"\n") {
        Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), true),
        None => (line, false),
    }
}

/// A number from 1 to 2^32 - 1, digits only.
fn number(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number != 0)
}

fn is_guid(value: &[u8]) -> bool {
    value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bases(list: &Uidlist<'_>) -> Vec<(u32, String)> {
        list.records.iter().map(|r| (r.uid, String::from_utf8_lossy(r.base()).into())).collect()
    }

    #[test]
    fn version_3_gives_numbers_guid_and_fields() {
        let text = b"3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n\
            25006 W8201 S7355 :1276528487.M364837P9451.kurkku,S=7355:2,S\n\
            25017 :1276533073.M242911P3632.kurkku:2,F\n";
        let list = Uidlist::parse(text).unwrap();
        assert_eq!((list.uid_validity, list.next_uid), (1_275_660_208, 25_022));
        assert_eq!(list.guid, Some(&b"3085f01b7f11094c501100008c4a11c1"[..]));
        assert_eq!(list.records[0].fields, b"W8201 S7355");
        assert_eq!(list.records[0].base(), b"1276528487.M364837P9451.kurkku,S=7355");
        assert_eq!(list.broken_lines, 0);
        let again = list.encode();
        let again = Uidlist::parse(&again).unwrap();
        assert_eq!(bases(&again), bases(&list));
        assert_eq!((again.guid, again.next_uid), (list.guid, list.next_uid));
    }

    #[test]
    fn version_1_and_courier_are_read_with_either_line_end() {
        for text in ["1 1125 4\n1 1.a:2,S\n3 2.b c\n", "1 1125 4\r\n1 1.a:2,S\r\n3 2.b c\r\n"] {
            let list = Uidlist::parse(text.as_bytes()).unwrap();
            assert_eq!((list.uid_validity, list.next_uid), (1125, 4));
            assert_eq!(bases(&list), [(1, "1.a".into()), (3, "2.b c".into())]);
        }
    }

    #[test]
    fn broken_lines_are_counted_and_the_rest_is_used() {
        let text =
            b"3 V7 N3\nx :a\n5 :1.a\n4 :late\n\n6 no-colon\n7 :../x\n8 W1 :1.b\n9 :1.a\n10 :cut";
        let list = Uidlist::parse(text).unwrap();
        assert_eq!(bases(&list), [(8, "1.b".into()), (9, "1.a".into())]);
        assert_eq!(list.broken_lines, 6);
        // The next UID is above every UID that the file gives, whatever its header says.
        assert_eq!(list.next_uid, 10);
    }

    #[test]
    fn files_without_a_usable_header_say_nothing() {
        for text in ["", "\n", "3\n", "3 N5\n", "3 V0 N5\n", "2 V1 N2\n", "1 x 2\n", "3 V-1 N2\n"] {
            assert_eq!(Uidlist::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_uids_rise(head in "[13] V?[0-9]{0,11} N?[0-9]{0,11}", rest: Vec<u8>) {
            let text = [head.as_bytes(), b"\n", &rest].concat();
            if let Some(list) = Uidlist::parse(&text) {
                let uids: Vec<u32> = list.records.iter().map(|r| r.uid).collect();
                prop_assert!(uids.is_sorted_by(|a, b| a < b));
                prop_assert!(uids.last().is_none_or(|last| list.next_uid >= *last));
            }
        }

        #[test]
        fn what_is_written_reads_the_same(names in prop::collection::btree_set("[0-9]{1,9}\\.[a-zA-Z0-9_=,. ]{1,20}", 0..30)) {
            let records = names.iter().enumerate().map(|(at, name)| UidRecord {
                uid: at as u32 * 3 + 1,
                fields: if at % 2 == 0 { b"W12" } else { b"" },
                name: name.as_bytes(),
            });
            let list = Uidlist {
                uid_validity: 9, next_uid: 1000, guid: None, records: records.collect(), broken_lines: 0,
            };
            let bytes = list.encode();
            prop_assert_eq!(Uidlist::parse(&bytes).unwrap(), list);
        }
    }
}
