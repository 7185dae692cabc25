//! Puts a mailbox's new contents into packs, each content once: what the mailbox has already, in
//! packs of earlier runs or of one that did not end, is found by its hash.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Read};

use super::bundle::Bundle;
use super::context::Context;
use super::uploads::Ticket;
use crate::crypt::{Seal, Unseal};
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::headers::Headers;
use crate::index::{Member, Sections};
use crate::layout::{index_name, mailbox_prefix, pack_name};
use crate::object::ObjectRef;
use crate::pack::{AddError, PackWriter};
use crate::progress::Progress;
use crate::state::{MailboxState, PackState, PendingPack};
use crate::store::Body;

/// Where a content is: pack number, member number.
pub(crate) type Place = (u32, u32);

pub(crate) struct Packer<'run, 'env> {
    context: &'run Context<'env>,
    mailbox: &'run str,
    seal: &'run Seal,
    known: &'run MailboxState,
    /// Packs whose contents are to be stored again.
    fold: &'run [u32],
    /// Filled when the first content must be placed: most nights most mailboxes have none.
    places: Option<Places>,
    current: Option<PackWriter>,
    bundle: Bundle,
    packed: Packed,
}

type Places = HashMap<Sum, Place, BuildHasherDefault<SumHasher>>;

/// What a packer leaves.
#[derive(Default)]
pub(crate) struct Packed {
    /// Packs beside the known ones that entries may refer to, by number.
    pub(crate) packs: Vec<(u32, PackState)>,
    /// Their indexes by id.
    pub(crate) indexes: Vec<(String, ObjectRef)>,
    /// The next pack's number.
    pub(crate) next_pack: u32,
    /// Uploads that must succeed before the catalog is written.
    pub(crate) tickets: Vec<Ticket>,
}

impl<'run, 'env> Packer<'run, 'env> {
    pub(crate) fn new(
        context: &'run Context<'env>,
        mailbox: &'run str,
        seal: &'run Seal,
        known: &'run MailboxState,
        fold: &'run [u32],
    ) -> Self {
        let packed = Packed { next_pack: known.next_pack, ..Packed::default() };
        let (places, current, bundle) = (None, None, Bundle::default());
        Self { context, mailbox, seal, known, fold, places, current, bundle, packed }
    }

    fn find(&mut self, sum: &Sum) -> Result<Option<Place>> {
        if self.places.is_none() {
            let places = self.load_places()?;
            self.places = Some(places);
        }
        Ok(self.places.as_ref().and_then(|places| places.get(sum).copied()))
    }

    fn load_places(&mut self) -> Result<Places> {
        let mut places = Places::default();
        for folder in self.known.folders.values() {
            for message in folder.messages().unwrap_or_default() {
                places.insert(message.sum, (message.pack, message.member));
            }
        }
        for file in self.known.files.values().filter(|file| file.target.is_none()) {
            places.insert(file.sum, (file.pack, file.member));
        }
        places.retain(|_, (pack, _)| !self.fold.contains(pack));
        self.adopt_pending(&mut places)?;
        Ok(places)
    }

    /// Takes over packs that an interrupted run stored, if they are whole.
    fn adopt_pending(&mut self, places: &mut Places) -> Result<()> {
        for pending in self.context.state.pending(self.mailbox) {
            if !self.is_whole(&pending)? {
                continue;
            }
            let mut sections = Sections::open(&pending.id, &pending.section, &Unseal::Plain)?;
            if sections.next_section()?.is_none() {
                continue;
            }
            let members = sections.members()?;
            let number = self.packed.next_pack;
            self.packed.next_pack += 1;
            for (member, Member { sum, .. }) in (0..).zip(members) {
                places.entry(sum).or_insert((number, member));
            }
            drop(sections);
            self.bundle(number, pending);
        }
        Ok(())
    }

    fn is_whole(&self, pack: &PendingPack) -> Result<bool> {
        let store = self.context.repository.store();
        let name = pack_name(&pack.id, self.context.repository.is_encrypted());
        let key = format!("{}{name}", mailbox_prefix(self.mailbox));
        let checked = match store.size(&key) {
            Ok(size) if size != pack.pack.size => return Ok(false),
            Ok(_) if store.can_tear() => pack.pack.stream(store, &key).finish(),
            Ok(_) => Ok(()),
            Err(e) => Err(e.into()),
        };
        match checked {
            Ok(()) => Ok(true),
            Err(e) if e.is_local_to_object() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The place of a content that is in memory; stores it if it is new.
    pub(crate) fn place(
        &mut self,
        bytes: &[u8],
        sum: Sum,
        headers: impl FnOnce() -> Headers,
    ) -> Result<Place> {
        if let Some(place) = self.find(&sum)? {
            return Ok(place);
        }
        let spool_dir = self.context.state.spool_dir();
        let number = self.packed.next_pack;
        let context = self.context;
        let levels = &|bytes| context.levels.next(bytes);
        let writer = self.writer()?;
        let member = writer
            .add(bytes, sum, headers(), levels)
            .map_err(|e| Error::io("spool a pack in", spool_dir, e))?;
        self.placed(sum, (number, member))
    }

    /// As [`Packer::place`], for a content too large for memory: `input` gives it once more. The
    /// inner error is that of reading it, or that it changed since it was hashed.
    pub(crate) fn place_from(
        &mut self,
        input: &mut dyn Read,
        size_bytes: u64,
        sum: Sum,
        headers: Headers,
    ) -> Result<io::Result<Place>> {
        if let Some(place) = self.find(&sum)? {
            return Ok(Ok(place));
        }
        // A pack of its own: if the content proves to have changed, nothing else is spoiled.
        self.finish_pack()?;
        let number = self.packed.next_pack;
        let context = self.context;
        let levels = &|bytes| context.levels.next(bytes);
        match self.writer()?.add_from(input, size_bytes, sum, headers, levels) {
            Ok(member) => {
                let place = self.placed(sum, (number, member))?;
                self.finish_pack()?;
                Ok(Ok(place))
            }
            Err(AddError::Input(e)) => {
                self.current = None;
                Ok(Err(e))
            }
            Err(AddError::Output(e)) => {
                Err(Error::io("spool a pack in", self.context.state.spool_dir(), e))
            }
        }
    }

    fn placed(&mut self, sum: Sum, place: Place) -> Result<Place> {
        self.places.get_or_insert_default().insert(sum, place);
        if self.current.as_ref().is_some_and(PackWriter::is_full) {
            self.finish_pack()?;
        }
        Ok(place)
    }

    fn writer(&mut self) -> Result<&mut PackWriter> {
        let spool_dir = self.context.state.spool_dir();
        if self.current.is_none() {
            let writer = PackWriter::new(self.seal, spool_dir)
                .map_err(|e| Error::io("spool a pack in", spool_dir, e))?;
            self.current = Some(writer);
        }
        Ok(self.current.as_mut().expect("it was just made"))
    }

    /// Ends the pack in work, if there is one, and hands it to the uploads.
    fn finish_pack(&mut self) -> Result<()> {
        let Some(writer) = self.current.take() else { return Ok(()) };
        let spool_dir = self.context.state.spool_dir();
        let finished = writer
            .finish(&|bytes| self.context.levels.next(bytes))
            .map_err(|e| Error::io("spool a pack in", spool_dir, e))?;
        let number = self.packed.next_pack;
        self.packed.next_pack += 1;
        let pack = PendingPack {
            id: finished.id,
            pack: ObjectRef::of(&finished.pack),
            raw: finished.raw_bytes,
            members: finished.members,
            section: finished.section,
        };
        let (state, noted, mailbox) = (self.context.state, pack.clone(), self.mailbox.to_owned());
        let name = pack_name(&pack.id, self.context.repository.is_encrypted());
        self.upload(&name, finished.pack, move || state.add_pending(&mailbox, &noted));
        self.bundle(number, pack);
        Ok(())
    }

    fn bundle(&mut self, number: u32, pack: PendingPack) {
        self.bundle.add(number, pack);
        if self.bundle.is_full() {
            self.finish_index();
        }
    }

    /// Ends the index in work and hands it to the uploads.
    fn finish_index(&mut self) {
        let index = self.bundle.seal(self.seal);
        self.packed.indexes.push((index.id.clone(), index.reference()));
        self.packed.packs.extend(index.packs);
        let name = index_name(&index.id, self.context.repository.is_encrypted());
        self.upload(&name, index.body, || Ok(()));
    }

    fn upload(&mut self, name: &str, body: Body, then: impl FnOnce() -> Result<()> + Send + 'env) {
        let key = format!("{}{name}", mailbox_prefix(self.mailbox));
        let (store, progress) = (self.context.repository.store(), self.context.progress);
        let bytes = body.size_bytes;
        self.packed.tickets.push(self.context.uploads.submit(bytes, move || {
            progress.check()?;
            store.put(&key, body)?;
            Progress::add(&progress.stored_bytes, bytes);
            then()
        }));
    }

    /// Ends the pack and the index in work and gives what was packed. An index of packs none of
    /// which is `used`, taken over in vain, is not stored.
    pub(crate) fn finish(mut self, used: &BTreeSet<u32>) -> Result<Packed> {
        self.finish_pack()?;
        if self.bundle.numbers().any(|number| used.contains(number)) {
            self.finish_index();
        }
        Ok(self.packed)
    }
}

/// SHA-256 sums need no further hashing.
#[derive(Default)]
pub(crate) struct SumHasher(u64);

impl Hasher for SumHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length of the array is hashed too and says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
