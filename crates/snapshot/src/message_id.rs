//! The id by which people and pipes name one message of one snapshot: `SNAPSHOT/MAILBOX/HASH`.
//! `find` prints it, `ls --message` and `restore --messages` take it. It holds no address.

use std::fmt;
use std::str::FromStr;

use crate::hash::{hex, sha256};
use crate::layout::is_id;

/// One message (or its doubles, if 16 digits ever collide) in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Id of the snapshot.
    pub snapshot: String,
    /// Id of the mailbox, or the first digits of it.
    pub mailbox: String,
    /// See [`MessageId::hash`].
    pub hash: String,
}

impl MessageId {
    /// Of the message with `key` in `folder`, both encoded as in catalogs.
    pub fn new(snapshot: &str, mailbox: &str, folder: &str, key: &str) -> Self {
        Self {
            snapshot: snapshot.to_owned(),
            mailbox: mailbox.chars().take(MAILBOX_DIGITS).collect(),
            hash: Self::hash(folder, key),
        }
    }

    /// Stands for folder and key.
    pub fn hash(folder: &str, key: &str) -> String {
        // No folder ends with `//`, so that no two pairs are hashed as one text.
        let sum = sha256(format!("{folder}//{key}").as_bytes());
        hex(&sum)[..HASH_DIGITS].to_owned()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.snapshot, self.mailbox, self.hash)
    }
}

impl FromStr for MessageId {
    type Err = NotAMessageId;

    fn from_str(text: &str) -> Result<Self, NotAMessageId> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [snapshot, mailbox, hash] if parts.iter().all(|part| is_id(part)) => Ok(Self {
                snapshot: snapshot.to_owned(),
                mailbox: mailbox.to_owned(),
                hash: hash.to_owned(),
            }),
            _ => Err(NotAMessageId { text: text.chars().take(100).collect() }),
        }
    }
}

/// A text that is no message id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no message id, which is SNAPSHOT/MAILBOX/HASH as `find` prints it")]
pub struct NotAMessageId {
    /// The text, cut.
    pub text: String,
}

const MAILBOX_DIGITS: usize = 8;
const HASH_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_they_print() {
        let id = MessageId::new("20261121T1Z-1f", "17b6bcab19244cbf8eb2", ".Sent", "1.a");
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id.clone()));
        assert!(text.starts_with("20261121T1Z-1f/17b6bcab/"), "{text}");
        assert_ne!(id.hash, MessageId::hash(".Sen", "t1.a"));
        for text in ["", "a/b", "a/b/c/d", "a/../c", "a//c", "a/b/c\n", "/a/b"] {
            assert!(text.parse::<MessageId>().is_err(), "{text:?}");
        }
    }
}
