//! Where things are in a repository: the keys of its objects, the random ids in them, and the
//! encoding of file names in its JSON. No address appears in a key.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::hash::{hex, sha256};

/// The repository's own description.
pub const REPOSITORY: &str = "repository.json";

/// Prefix of all snapshot manifests.
pub const SNAPSHOTS: &str = "snapshots/";

/// A manifest's key.
pub fn snapshot_key(id: &str) -> String {
    format!("{SNAPSHOTS}{id}.json.zst")
}

/// The id in a manifest's key, `None` for a key of another form.
pub fn snapshot_id(key: &str) -> Option<&str> {
    key.strip_prefix(SNAPSHOTS)?.strip_suffix(".json.zst").filter(|id| is_id(id))
}

/// The key that holds a mailbox's name and secret.
pub fn mailbox_key(mailbox: &str, encrypted: bool) -> String {
    format!("keys/{mailbox}.{}", if encrypted { "age" } else { "json" })
}

/// Prefix of everything a mailbox has but its key.
pub fn mailbox_prefix(mailbox: &str) -> String {
    format!("mailboxes/{mailbox}/")
}

/// A catalog's name below [`mailbox_prefix`].
pub fn catalog_name(catalog: &str) -> String {
    format!("catalogs/{catalog}")
}

/// A pack's name below [`mailbox_prefix`].
pub fn pack_name(pack: &str, encrypted: bool) -> String {
    format!("packs/{pack}.tar.zst{}", suffix(encrypted))
}

/// An index's name below [`mailbox_prefix`].
pub fn index_name(index: &str, encrypted: bool) -> String {
    format!("indexes/{index}.idx.zst{}", suffix(encrypted))
}

/// The id in a pack's or index's name below [`mailbox_prefix`].
pub fn id_in_name(name: &str) -> &str {
    let file_name = name.split_once('/').map_or(name, |(_, file_name)| file_name);
    file_name.split('.').next().unwrap_or_default()
}

fn suffix(encrypted: bool) -> &'static str {
    if encrypted { ".age" } else { "" }
}

/// Random bytes from the system, as hex.
pub fn random_hex(bytes: usize) -> String {
    let mut buffer = [0; 16];
    getrandom::fill(&mut buffer[..bytes]).expect("the system has a random source");
    hex(&buffer[..bytes])
}

/// An id that sorts by time: `20261121T031500123Z-1f2e3d4c`, with milliseconds.
pub fn timed_id(time: Timestamp) -> String {
    format!("{}-{}", id_time(time), random_hex(RANDOM_DIGITS / 2))
}

/// The first part of an id made at `time`.
pub fn id_time(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// A new snapshot's id: its last four digits tell the store, so that a listing tells how many stores a
/// repository has.
pub fn new_snapshot_id(time: Timestamp, host: &str, store: &str) -> String {
    format!("{}{}", timed_id(time), tag_of_store(host, store))
}

/// What [`store_tag`] finds in the ids of a store's snapshots. Another store may have the same.
pub fn tag_of_store(host: &str, store: &str) -> String {
    let sum = sha256(format!("{host}:{store}").as_bytes());
    hex(&sum[..STORE_TAG_DIGITS / 2])
}

/// The digits of a snapshot's id that tell its store.
pub fn store_tag(id: &str) -> Option<&str> {
    let (_, digits) = id.split_once('-')?;
    digits.get(RANDOM_DIGITS..).filter(|tag| tag.len() == STORE_TAG_DIGITS)
}

/// When an id was made, to the second.
pub fn time_of_id(id: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%dT%H%M%S", id.get(..15)?).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Whether a text may stand as one part of a key: what this module makes, and nothing hostile.
pub fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a text is an object's name below a mailbox's prefix, such as `packs/1f2e.tar.zst.age`.
pub fn is_object_name(text: &str) -> bool {
    let name = |part: &str| {
        let id = part.split('.').next().unwrap_or_default();
        is_id(id) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    match text.split_once('/') {
        Some(("catalogs" | "indexes" | "packs", part)) => name(part),
        _ => false,
    }
}

/// Encodes a file name or path for JSON: bytes outside printable ASCII, `%` and `\` become `%XX`.
pub fn encode_name(name: &[u8]) -> Cow<'_, str> {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'%' && *byte != b'\\';
    if name.iter().all(plain) {
        return String::from_utf8_lossy(name);
    }
    let mut text = String::with_capacity(name.len() + 8);
    for byte in name {
        if plain(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push_str(&hex(&[*byte]));
        }
    }
    Cow::Owned(text)
}

/// Decodes what [`encode_name`] wrote; `None` if it is not of that form.
pub fn decode_name(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        name.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(Cow::Owned(name))
}

const RANDOM_DIGITS: usize = 8;
const STORE_TAG_DIGITS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_survives_encoding(name: Vec<u8>) {
            let text = encode_name(&name);
            prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\'));
            let decoded = decode_name(&text).unwrap();
            prop_assert_eq!(decoded.as_ref(), &name[..]);
        }
    }

    #[test]
    fn broken_encodings_and_foreign_object_names_are_refused() {
        for text in ["%", "%4", "%zz", "a%"] {
            assert_eq!(decode_name(text), None, "{text}");
        }
        for name in
            ["packs/1f.tar.zst.age", "indexes/2e.idx.zst", "catalogs/20261121T031500123Z-1f2e3d4c"]
        {
            assert!(is_object_name(name), "{name}");
        }
        for name in ["packs/../x", "../packs/a", "packs/a/b", "keys/a.age", "packs/", "packs/.a"] {
            assert!(!is_object_name(name), "{name}");
        }
    }
}
