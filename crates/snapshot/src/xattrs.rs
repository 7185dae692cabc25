//! Extended attributes in states and catalogs. A mailbox has few distinct sets of them, mostly one
//! ACL on everything, so the state has each once and a number wherever it applies: 0 for none.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::layout::{decode_name, encode_name};

/// Names and values, ordered by name.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// As catalogs have them: names as all names, values in base64.
pub type Encoded = BTreeMap<String, String>;

/// The distinct sets of a mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XattrSets {
    numbers: BTreeMap<Entries, u32>,
    next: u32,
}

impl XattrSets {
    /// The number of a set; a new one if it was not known.
    pub fn number(&mut self, entries: Entries) -> u32 {
        if entries.is_empty() {
            return 0;
        }
        *self.numbers.entry(entries).or_insert_with(|| {
            self.next += 1;
            self.next
        })
    }

    /// Forgets the sets that nothing has any more.
    pub fn retain(&mut self, used: &BTreeSet<u32>) {
        self.numbers.retain(|_, number| used.contains(number));
    }

    /// All sets as catalogs have them.
    pub fn encoded(&self) -> HashMap<u32, Encoded> {
        self.numbers.iter().map(|(entries, number)| (*number, encode(entries))).collect()
    }
}

fn encode(entries: &Entries) -> Encoded {
    let entry = |(name, value): &(Vec<u8>, Vec<u8>)| {
        (encode_name(name).into_owned(), BASE64_STANDARD.encode(value))
    };
    entries.iter().map(entry).collect()
}

/// What a catalog has, as it is set on a file; `None` if it is not of that form. Names that are not
/// kept are left out: a repository must not give a file capabilities.
pub fn decode(encoded: &Encoded) -> Option<Entries> {
    let mut entries = Entries::new();
    for (name, value) in encoded {
        let name = decode_name(name)?.into_owned();
        let value = BASE64_STANDARD.decode(value).ok()?;
        if maildir::is_kept_xattr(&name) && !name.contains(&0) {
            entries.push((name, value));
        }
    }
    entries.sort_unstable();
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_one_number_and_none_has_none() {
        let mut sets = XattrSets::default();
        let acl = vec![(b"system.posix_acl_access".to_vec(), vec![2, 0, 255])];
        let other = vec![(b"user.%\n".to_vec(), Vec::new())];
        assert_eq!(sets.number(Vec::new()), 0);
        assert_eq!(sets.number(acl.clone()), 1);
        assert_eq!(sets.number(other.clone()), 2);
        assert_eq!(sets.number(acl), 1);
        let encoded = sets.encoded();
        assert_eq!(encoded[&2], Encoded::from([("user.%25%0a".into(), String::new())]));
        assert_eq!(decode(&encoded[&2]), Some(other.clone()));
        sets.retain(&BTreeSet::from([2]));
        assert_eq!(sets.encoded().len(), 1);
        // A number is not given again while a folder's messages may still have it.
        assert_eq!(sets.number(vec![(b"user.new".to_vec(), Vec::new())]), 3);
        assert_eq!(sets.number(other), 2);
    }

    #[test]
    fn what_a_catalog_must_not_set_is_left_out() {
        let text = |name: &str, value: &str| Encoded::from([(name.into(), value.into())]);
        assert_eq!(decode(&text("security.capability", "AQ==")), Some(Vec::new()));
        assert_eq!(decode(&text("user.a%00b", "")), Some(Vec::new()));
        assert_eq!(decode(&text("user.x", "no base64")), None);
        assert_eq!(decode(&text("user.%4", "")), None);
    }
}
