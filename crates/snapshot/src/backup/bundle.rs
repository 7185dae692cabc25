//! Gathers the index sections of a mailbox's new packs, so that a run stores one index for all of
//! them, or a few if they are many.

use crate::crypt::Seal;
use crate::layout::random_hex;
use crate::object::ObjectRef;
use crate::state::{PackState, PendingPack};
use crate::store::Body;

/// Sections that wait for their index to be stored.
#[derive(Default)]
pub(crate) struct Bundle {
    /// One zstd frame a section.
    frames: Vec<u8>,
    packs: Vec<(u32, PackState)>,
}

/// An index that is ready to be stored.
pub(crate) struct Index {
    pub(crate) id: String,
    pub(crate) body: Body,
    /// The packs that it describes, by number.
    pub(crate) packs: Vec<(u32, PackState)>,
}

impl Bundle {
    /// Adds the section of pack `number`.
    pub(crate) fn add(&mut self, number: u32, pack: PendingPack) {
        let start = self.frames.len() as u64;
        self.frames.extend_from_slice(&pack.section);
        let section = (start, self.frames.len() as u64);
        let PendingPack { id, pack, raw, members, .. } = pack;
        let pack = PackState { id, pack, raw, members, index: String::new(), section };
        self.packs.push((number, pack));
    }

    /// Whether the index should be stored before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= INDEX_BYTES
    }

    /// The numbers of the packs in it.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = &u32> {
        self.packs.iter().map(|(number, _)| number)
    }

    /// Seals what was gathered.
    pub(crate) fn seal(&mut self, seal: &Seal) -> Index {
        let Self { frames, mut packs } = std::mem::take(self);
        let id = random_hex(8);
        packs.iter_mut().for_each(|(_, pack)| pack.index.clone_from(&id));
        Index { id, body: Body::from_bytes(seal.seal(&frames)), packs }
    }
}

impl Index {
    pub(crate) fn reference(&self) -> ObjectRef {
        ObjectRef::of(&self.body)
    }
}

/// An index is closed with the section with which it reaches this size: some 80,000 messages.
const INDEX_BYTES: usize = 8 << 20;
