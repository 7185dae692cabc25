//! A few bits of a mailbox's name, in manifests, so that looking a name up opens few keys. They tell
//! too little to find or confirm an address: on average each fits one other mailbox's name as well.

use serde::{Deserialize, Serialize};

use crate::hash::sha256;

/// How many bits of the hash of a mailbox's id and name, and these bits as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag(u8, u32);

impl Tag {
    /// Of the mailbox `id` called `name`, in a snapshot of `mailboxes`; none for a single one.
    pub fn new(id: &str, name: &[u8], mailboxes: usize) -> Option<Self> {
        let bits = mailboxes.checked_ilog2()?.min(BITS_MAX) as u8;
        (bits > 0).then(|| Self(bits, value(id, name, bits)))
    }

    /// Whether the mailbox `id` may be called `name`.
    pub fn fits(self, id: &str, name: &str) -> bool {
        let Self(bits, expected) = self;
        (1..=BITS_MAX as u8).contains(&bits) && value(id, name.as_bytes(), bits) == expected
    }
}

/// The id makes each mailbox's tag another hash: those of one snapshot cannot be looked up together,
/// and that of one mailbox is the same in all, so that snapshots together tell no more than one.
fn value(id: &str, name: &[u8], bits: u8) -> u32 {
    let sum = sha256(&[id.as_bytes(), b"/", name].concat());
    u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]]) >> (32 - u32::from(bits))
}

const BITS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_fits_its_name_and_few_others() {
        assert_eq!(Tag::new("1f", b"alice", 1), None);
        let tag = Tag::new("1f", b"alice", 1000).unwrap();
        assert_eq!(tag.0, 9);
        assert!(tag.fits("1f", "alice"));
        let others = (0..10_000).filter(|n| tag.fits("1f", &format!("user{n}"))).count();
        assert!((5..40).contains(&others), "{others} of 10,000 in 512");
    }

    #[test]
    fn hostile_bits_fit_nothing() {
        for bits in [0, 17, 32, 255] {
            assert!(!Tag(bits, 0).fits("1f", "alice"));
        }
    }
}
