//! Catalogs: what a mailbox held at one time. The first line is plain JSON and names every object
//! that is needed, so that retention needs no key; the rest is sealed JSON lines: all entries, or
//! the change since the parent catalog. Entries are applied in order, the last one wins.

mod flat;
mod history;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use self::flat::FlatLine;
pub(crate) use self::history::{History, read_lines};
use crate::crypt::{Seal, Unseal};
use crate::error::{Error, Result};
use crate::index::parse;
use crate::layout::is_object_name;
use crate::message_id::MessageId;
use crate::object::ObjectRef;
use crate::store::{Body, Store};
use crate::xattrs;

/// First line of a catalog, readable without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogHead {
    /// Format version.
    pub catalog: u32,
    /// The mailbox's id.
    pub mailbox: String,
    /// The catalog that this one changes; `None` for a full one.
    pub parent: Option<String>,
    /// Everything that is needed to read the mailbox at this time, this catalog itself left out.
    pub needs: Vec<Need>,
}

impl CatalogHead {
    /// The index that describes a pack, and the part of it that does.
    pub(crate) fn section(&self, pack: u32) -> Option<(&Need, Range<u64>)> {
        self.needs.iter().find_map(|need| {
            let Section(_, start, end) = *need.sections.iter().find(|s| s.0 == pack)?;
            Some((need, start..end))
        })
    }
}

/// An object that a catalog needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Name below the mailbox's prefix.
    pub object: String,
    /// Size and hash.
    #[serde(flatten)]
    pub reference: ObjectRef,
    /// For a pack: the number by which entries call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<u32>,
    /// For a pack: the length of its tar in bytes, which a reader must not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<u64>,
    /// For an index: the packs that it is needed for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
}

impl Need {
    /// An object that is neither pack nor index.
    pub(crate) fn of(object: String, reference: &ObjectRef) -> Self {
        Self { object, reference: reference.clone(), pack: None, raw: None, sections: Vec::new() }
    }
}

/// What an index says of one pack: the pack's number, and where it begins and ends in the index
/// before sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section(pub u32, pub u64, pub u64);

/// One sealed line. Names and paths are percent-encoded, see [`crate::layout::encode_name`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "FlatLine")]
pub enum Line {
    /// First sealed line.
    Mailbox {
        /// Path inside the store.
        path: String,
        /// Number of messages, all folders.
        messages: u64,
        /// Bytes of messages, all folders.
        bytes: u64,
        /// Whether it is no mailbox but a plain tree, and `path` its own path without the `/`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tree: bool,
        /// Where what the catalog has in `mailrig.outside/NAME` was: absolute paths by NAME.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outside: BTreeMap<String, String>,
    },
    /// A folder.
    Folder {
        /// Path inside the mailbox; empty for the mailbox itself.
        path: String,
        /// Whether it has `new` and `cur`.
        maildir: bool,
        /// Owner and mode.
        #[serde(flatten)]
        owner: Owner,
        /// Modification time, of a plain tree's folders: see [`Content::mtime`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime: Option<String>,
    },
    /// A kept file.
    File {
        /// Path inside the mailbox.
        path: String,
        /// Owner and mode.
        #[serde(flatten)]
        owner: Owner,
        /// Time and content.
        #[serde(flatten)]
        content: Content,
    },
    /// A symbolic link.
    Link {
        /// Path inside the mailbox.
        path: String,
        /// Where it points.
        target: String,
        /// Owner and mode.
        #[serde(flatten)]
        owner: Owner,
    },
    /// A message.
    Message {
        /// Its folder.
        folder: String,
        /// `new/` or `cur/`, and the file name with its flags.
        name: String,
        /// Its key, where that is not the base name: see [`message_key`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Owner and mode.
        #[serde(flatten)]
        owner: Owner,
        /// Time and content.
        #[serde(flatten)]
        content: Content,
    },
    /// A folder (with all in it), file or link that is no longer there.
    Gone {
        /// Path inside the mailbox.
        path: String,
    },
    /// Something that happened while this very catalog was made: a line of the run's ledger. It
    /// says nothing of what the mailbox holds.
    Incident {
        /// What happened, see [`crate::backup::Incident`].
        incident: String,
        /// To what: a path inside the store.
        path: String,
        /// Why, where there is a reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A message that is no longer there.
    Expunged {
        /// Its folder.
        folder: String,
        /// Its key: see [`message_key`].
        message: String,
    },
}

/// Mode and owner as numbers, the mode in octal, as `chmod` takes it; and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Octal mode, such as `0600`.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes: see [`xattrs::decode`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: xattrs::Encoded,
}

impl Owner {
    /// From a stat's attributes.
    pub fn of(attributes: maildir::Attributes) -> Self {
        let maildir::Attributes { mode, uid, gid } = attributes;
        Self { mode: format!("{mode:04o}"), uid, gid, xattrs: xattrs::Encoded::new() }
    }

    /// The mode's permission bits; 0600 if it does not read as octal.
    pub fn mode_bits(&self) -> u32 {
        u32::from_str_radix(&self.mode, 8).unwrap_or(0o600) & 0o7777
    }
}

/// Time and content of a message or file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Modification time, seconds since 1970 with up to nine decimals, as `touch -d @` takes it.
    pub mtime: String,
    /// Size in bytes.
    pub size: u64,
    /// Pack number, see [`Need::pack`].
    pub pack: u32,
    /// Member number in the pack.
    pub member: u32,
}

/// Writes nanoseconds as `seconds[.fraction]`.
pub fn format_time(time_ns: i64) -> String {
    let (seconds, fraction) = (time_ns.div_euclid(SECOND_NS), time_ns.rem_euclid(SECOND_NS));
    match (seconds, fraction) {
        (seconds, 0) => seconds.to_string(),
        // A negative time with a fraction counts up from the second below, as `date` does.
        (seconds, fraction) if seconds < 0 => {
            format!("-{}.{:09}", -(seconds + 1), SECOND_NS - fraction)
        }
        (seconds, fraction) => format!("{seconds}.{fraction:09}"),
    }
}

/// Reads what [`format_time`] wrote; `None` for anything else.
pub fn parse_time(text: &str) -> Option<i64> {
    let (text, sign) = text.strip_prefix('-').map_or((text, 1), |text| (text, -1));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok());
    let seconds: i64 = digits(seconds)??;
    let fraction: i64 = digits(fraction)??;
    let scale = 10_i64.pow(9 - text.split_once('.').map_or(1, |(_, f)| f.len()) as u32);
    seconds.checked_mul(SECOND_NS)?.checked_add(fraction * scale)?.checked_mul(sign)
}

/// What identifies a message inside its folder: the base name of `new/…` or `cur/…`. Where two
/// messages of a folder have one base name and other contents, the second one's line carries
/// another key.
pub fn message_key(name: &str) -> &str {
    let file_name = name.split_once('/').map_or(name, |(_, file_name)| file_name);
    match file_name.find(':') {
        Some(0) | None => file_name,
        Some(end) => &file_name[..end],
    }
}

/// A catalog chain as one: the state of a mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Path inside the store.
    pub path: String,
    /// Number of messages.
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Whether it is a plain tree.
    pub tree: bool,
    /// Where what it has in `mailrig.outside/NAME` was: absolute paths by NAME.
    pub outside: BTreeMap<String, String>,
    /// Folders by path, parents before children.
    pub folders: BTreeMap<String, FolderContents>,
    /// Kept files and links by path.
    pub files: BTreeMap<String, Line>,
}

/// A folder and its messages.
#[derive(Debug, PartialEq, Eq)]
pub struct FolderContents {
    /// Whether it has `new` and `cur`.
    pub maildir: bool,
    /// Owner and mode.
    pub owner: Owner,
    /// Modification time, of a plain tree's folders.
    pub mtime: Option<String>,
    /// Messages by key.
    pub messages: BTreeMap<String, MessageEntry>,
}

/// A message as a catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEntry {
    /// `new/` or `cur/`, and the file name with its flags.
    pub name: String,
    /// Owner and mode.
    pub owner: Owner,
    /// Time and content.
    pub content: Content,
}

impl Contents {
    /// The message whose folder and key have this [`MessageId::hash`].
    pub(crate) fn message(&self, hash: &str) -> Option<&MessageEntry> {
        self.folders.iter().find_map(|(path, folder)| {
            let mut messages = folder.messages.iter();
            messages.find(|(key, _)| MessageId::hash(path, key) == hash).map(|found| found.1)
        })
    }

    fn apply(&mut self, object: &str, line: Line) -> Result<()> {
        match line {
            Line::Mailbox { path, messages, bytes, tree, outside } => {
                (self.path, self.messages, self.bytes) = (path, messages, bytes);
                (self.tree, self.outside) = (tree, outside);
            }
            Line::Folder { path, maildir, owner, mtime } => {
                let messages =
                    self.folders.remove(&path).map_or_else(BTreeMap::new, |f| f.messages);
                self.folders.insert(path, FolderContents { maildir, owner, mtime, messages });
            }
            Line::File { ref path, .. } | Line::Link { ref path, .. } => {
                self.files.insert(path.clone(), line);
            }
            Line::Gone { path } => {
                self.files.remove(&path);
                self.folders.remove(&path);
            }
            Line::Message { folder, name, key, owner, content } => {
                let key = key.unwrap_or_else(|| message_key(&name).to_owned());
                let message = MessageEntry { name, owner, content };
                self.folder(object, &folder)?.messages.insert(key, message);
            }
            Line::Incident { .. } => {}
            Line::Expunged { folder, message } => {
                self.folder(object, &folder)?.messages.remove(&message);
            }
        }
        Ok(())
    }

    fn folder(&mut self, object: &str, path: &str) -> Result<&mut FolderContents> {
        self.folders
            .get_mut(path)
            .ok_or_else(|| Error::damaged(object, format!("has messages in no folder `{path}`")))
    }
}

/// Serialises a catalog.
pub fn encode(head: &CatalogHead, lines: &[u8], level: i32, seal: &Seal) -> std::io::Result<Body> {
    let mut bytes = serde_json::to_vec(head)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&seal.seal(&zstd::bulk::compress(lines, level)?));
    Ok(Body::from_bytes(bytes))
}

/// Splits a catalog into its head, checked, and what is sealed.
pub fn decode_head<'b>(
    object: &str,
    mailbox: &str,
    bytes: &'b [u8],
) -> Result<(CatalogHead, &'b [u8])> {
    let end =
        memchr::memchr(b'\n', bytes).ok_or_else(|| Error::damaged(object, "has no first line"))?;
    let version: Version = parse(object, &bytes[..end])?;
    if version.catalog > VERSION {
        let (found, known) = (version.catalog, VERSION);
        return Err(Error::TooNew { object: object.to_owned(), found, known });
    }
    let head: CatalogHead = parse(object, &bytes[..end])?;
    if head.mailbox != mailbox {
        return Err(Error::damaged(object, "belongs to another mailbox"));
    }
    if let Some(need) = head.needs.iter().find(|need| !is_object_name(&need.object)) {
        let reason = format!("needs `{}`, which is no object's name", need.object);
        return Err(Error::damaged(object, reason));
    }
    Ok((head, &bytes[end + 1..]))
}

/// Reads a catalog and those it builds on; `reference` is the manifest's.
pub fn read(
    store: &dyn Store,
    mailbox: &str,
    catalog: &str,
    reference: &ObjectRef,
    unseal: &Unseal,
) -> Result<(CatalogHead, Contents)> {
    let mut history = History::default();
    let head = history.go_to(store, mailbox, catalog, reference, unseal)?;
    Ok((head, history.contents))
}

#[derive(Deserialize)]
struct Version {
    catalog: u32,
}

/// The version of catalogs that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

const SECOND_NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_read_as_they_are_written() {
        let text = String::from;
        let xattrs = BTreeMap::from([(text("user.x"), text("YQ=="))]);
        let owner = Owner { mode: "0600".into(), uid: 1, gid: 2, xattrs };
        let content = Content { mtime: "1.5".into(), size: 3, pack: 4, member: 5 };
        let outside = BTreeMap::from([(text("control"), text("/c"))]);
        let lines = [
            Line::Mailbox { path: text("p"), messages: 1, bytes: 2, tree: true, outside },
            Line::Folder {
                path: text(""),
                maildir: true,
                owner: owner.clone(),
                mtime: Some(text("1")),
            },
            Line::File { path: text("f"), owner: owner.clone(), content: content.clone() },
            Line::Link { path: text("l"), target: text("t"), owner: owner.clone() },
            Line::Message {
                folder: text(""),
                name: text("cur/1:2,"),
                key: Some(text("cur/1:2,")),
                owner,
                content,
            },
            Line::Gone { path: text("g") },
            Line::Expunged { folder: text(""), message: text("1") },
        ];
        for line in lines {
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line, "{json}");
            // Later versions may add fields; none may be missing.
            let more = json.replacen('{', "{\"later\":1,", 1);
            assert_eq!(serde_json::from_str::<Line>(&more).unwrap(), line, "{more}");
        }
        for json in [r#"{"kind":"gone"}"#, r#"{"path":"x"}"#, r#"{"kind":"other","path":"x"}"#] {
            assert!(serde_json::from_str::<Line>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn times_are_written_as_touch_reads_them() {
        let table = [
            (0, "0"),
            (1_500_000_000_000_000_000, "1500000000"),
            (1_500_000_000_000_000_001, "1500000000.000000001"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.500000000"),
        ];
        for (time_ns, text) in table {
            assert_eq!(format_time(time_ns), text);
            assert_eq!(parse_time(text), Some(time_ns), "{text}");
        }
        for text in ["", "x", "1.", "1.0000000001", "--1", "1.-1", "99999999999999999999"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_survive(time_ns: i64) {
            prop_assert_eq!(parse_time(&format_time(time_ns)), Some(time_ns));
        }

        #[test]
        fn no_head_panics(bytes: Vec<u8>) {
            let _ = decode_head("x", "y", &bytes);
        }
    }
}
