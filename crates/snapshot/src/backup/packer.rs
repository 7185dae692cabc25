//! Puts a mailbox's new contents into packs, each content once: what the mailbox has already, in
//! packs of earlier runs or of one that did not end, is found by its hash.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Read};

use super::context::Context;
use super::uploads::Ticket;
use crate::crypt::Seal;
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::headers::Headers;
use crate::layout::{index_name, mailbox_prefix, pack_name};
use crate::object::ObjectRef;
use crate::pack::{AddError, PackWriter};
use crate::progress::Progress;
use crate::state::{MailboxState, PackState, PendingPack};

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
    packed: Packed,
}

type Places = HashMap<Sum, Place, BuildHasherDefault<SumHasher>>;

/// What a packer leaves.
#[derive(Default)]
pub(crate) struct Packed {
    /// Packs beside the known ones that entries may refer to, by number.
    pub(crate) packs: Vec<(u32, PackState)>,
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
        Self { context, mailbox, seal, known, fold, places: None, current: None, packed }
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
            if !self.is_whole(&pending.pack)? {
                continue;
            }
            let number = self.packed.next_pack;
            self.packed.next_pack += 1;
            for (member, sum) in (0..).zip(pending.sums) {
                places.entry(sum).or_insert((number, member));
            }
            self.packed.packs.push((number, pending.pack));
        }
        Ok(())
    }

    fn is_whole(&self, pack: &PackState) -> Result<bool> {
        let store = self.context.repository.store();
        let encrypted = self.context.repository.is_encrypted();
        let prefix = mailbox_prefix(self.mailbox);
        let objects = [
            (pack_name(&pack.id, encrypted), &pack.pack),
            (index_name(&pack.id, encrypted), &pack.index),
        ];
        for (name, reference) in objects {
            let key = format!("{prefix}{name}");
            let checked = match store.size(&key) {
                Ok(size) if size != reference.size => return Ok(false),
                Ok(_) if store.can_tear() => reference.stream(store, &key).finish(),
                Ok(_) => Ok(()),
                Err(e) => Err(e.into()),
            };
            match checked {
                Ok(()) => {}
                Err(e) if e.is_local_to_object() => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
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
        let pack = PackState {
            id: finished.id,
            pack: ObjectRef::of(&finished.pack),
            index: ObjectRef::of(&finished.index),
            raw: finished.raw_bytes,
        };
        self.packed.packs.push((self.packed.next_pack, pack.clone()));
        self.packed.next_pack += 1;
        let encrypted = self.context.repository.is_encrypted();
        let prefix = mailbox_prefix(self.mailbox);
        let pack_key = format!("{prefix}{}", pack_name(&pack.id, encrypted));
        let index_key = format!("{prefix}{}", index_name(&pack.id, encrypted));
        let (state, progress) = (self.context.state, self.context.progress);
        let store = self.context.repository.store();
        let mailbox = self.mailbox.to_owned();
        let (pack_body, index_body, sums) = (finished.pack, finished.index, finished.sums);
        let bytes = pack_body.size_bytes + index_body.size_bytes;
        self.packed.tickets.push(self.context.uploads.submit(bytes, move || {
            progress.check()?;
            // The pack first: an index that is there stands for a pack that is there.
            store.put(&pack_key, pack_body)?;
            store.put(&index_key, index_body)?;
            Progress::add(&progress.stored_bytes, bytes);
            state.add_pending(&mailbox, &PendingPack { pack, sums })
        }));
        Ok(())
    }

    /// Ends the pack in work and gives what was packed.
    pub(crate) fn finish(mut self) -> Result<Packed> {
        self.finish_pack()?;
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
