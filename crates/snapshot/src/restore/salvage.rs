//! What is right in a pack that is not whole: its frames are independent, and the index has the hash
//! of each member. What proves right is restored, the rest is named; nothing is taken on trust.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::plan::PackPlan;
use super::report::Missing;
use super::unpack::{Opened, Written};
use super::{Run, Work};
use crate::error::{Error, Result};
use crate::layout::mailbox_prefix;
use crate::object::ObjectRef;
use crate::place::{Place, Proof};
use crate::repository::OpenMailbox;
use crate::store;
use crate::window;

/// A member that is lost, and why.
pub(super) type Lost = (u32, String);

/// Takes what may be a member of a damaged pack, by its number, and its size.
type GiveProof<'g> = dyn FnMut(u32, u64, &mut Proof<'_>) -> Result<()> + 'g;

impl Opened<'_> {
    /// Gives the members of a damaged pack that `wanted` asks for (rising numbers) with their sizes, as
    /// far as they can be read, and tells the others. `give` calls [`Proof::finish`], and keeps nothing
    /// that this does not confirm; what it refuses as damage is lost, too. Fails if the index proves nothing.
    pub(super) fn proven_members(
        &self,
        wanted: &[u32],
        give: &mut GiveProof<'_>,
    ) -> Result<Vec<Lost>> {
        // Of one that was cut, what is there.
        let size = self.store.size(&self.pack.key)?.min(self.pack.reference.size);
        let object = ObjectRef { size, ..self.pack.reference.clone() };
        let mut lost = Vec::new();
        let places = self.places(wanted)?;
        for mut group in places.chunk_by(|a, b| a.frames.start == b.frames.start) {
            match self.group(&object, &mut group, give, &mut lost) {
                Err(e) if e.is_local_to_object() => {
                    lost.extend(group.iter().map(|place| (place.number, e.to_string())));
                }
                done => done?,
            }
        }
        Ok(lost)
    }

    /// Where the members are, by an index that is what the catalog says. A part of one proves nothing
    /// where repositories are not encrypted, so all of it is hashed first.
    fn places(&self, wanted: &[u32]) -> Result<Vec<Place>> {
        let index = self.pack.index.as_ref();
        let index = index.ok_or_else(|| Error::damaged(&self.pack.key, "is in no index"))?;
        index.reference.stream(self.store, &index.key).finish()?;
        index.places(self.store, self.unseal, wanted)
    }

    /// Gives the members of `object`, as much of the pack as is there, at `left`, which begin in one frame; what stays there when it fails is lost.
    fn group(
        &self,
        object: &ObjectRef,
        left: &mut &[Place],
        give: &mut GiveProof<'_>,
        lost: &mut Vec<Lost>,
    ) -> Result<()> {
        let key = &self.pack.key;
        let decode = |e| Error::decode(key, e);
        let start = left.first().map_or(0, |place| place.frames.start);
        let end = left.iter().map(|place| place.frames.end).max().unwrap_or(start);
        let end = end.min(object.size);
        let frames = window::read(self.store, key, object, self.unseal, start..end)?;
        let mut tar = zstd::Decoder::new(frames).map_err(decode)?;
        let mut at = 0;
        while let Some((place, rest)) = left.split_first() {
            self.progress.check()?;
            let gap = place.skip.saturating_sub(at);
            let skipped = io::copy(&mut (&mut tar).take(gap), &mut io::sink()).map_err(decode)?;
            if skipped < gap {
                return Err(Error::damaged(key, "ends before its members do"));
            }
            let mut proof = Proof::new(key, &place.member, &mut tar);
            match give(place.number, place.member.size, &mut proof) {
                Err(e) if e.is_local_to_object() && !proof.is_broken() => {
                    lost.push((place.number, e.to_string()));
                }
                done => done?,
            }
            at = place.skip + proof.consumed();
            *left = rest;
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Writes what is right in a pack that failed with `error`; the rest goes to the report.
    pub(super) fn salvage<'p>(
        &self,
        work: &Work,
        pack: &'p PackPlan,
        error: &Error,
        written: &mut Written<'p>,
    ) -> Result<()> {
        written.discard(&work.site, (0, 0));
        let lost = match self.unpack_damaged(work, pack, written) {
            Err(e) if e.is_local_to_object() => {
                let reason = if e.to_string() == error.to_string() {
                    error.to_string()
                } else {
                    format!("{error}, and nothing proves its parts: {e}")
                };
                self.lose_pack(work, pack, reason);
                return Ok(());
            }
            lost => lost?,
        };
        if lost.len() == pack.members.len() {
            self.lose_pack(work, pack, error.to_string());
            return Ok(());
        }
        for (member, reason) in &lost {
            for target in &pack.members[member] {
                let path = target.dir.join(&target.name);
                self.lose(work, target, format!("{}: {reason}", path.display()));
            }
        }
        if lost.is_empty() {
            self.report.note(format!("{error}; what is wanted of it was proven by its index"));
        }
        Ok(())
    }

    fn unpack_damaged<'p>(
        &self,
        work: &Work,
        pack: &'p PackPlan,
        written: &mut Written<'p>,
    ) -> Result<Vec<Lost>> {
        let mut buffer = Vec::new();
        let mut give = |member: u32, size: u64, proof: &mut Proof<'_>| {
            let mark = written.mark();
            let done = match self.member(work, pack, (member, size), proof, &mut buffer, written) {
                // The store's failure, if it was one.
                Err(e) if e.is_local_to_object() => proof.finish().and(Err(e)),
                done => done.and_then(|()| proof.finish()),
            };
            if done.is_err() {
                written.discard(&work.site, mark);
            }
            done
        };
        self.opened(&work.mailbox, pack).proven_members(&pack.wanted(), &mut give)
    }

    /// Notes that nothing of a pack came back.
    fn lose_pack(&self, work: &Work, pack: &PackPlan, reason: String) {
        let (count, bytes) = self.without_pack(&work.name, work.is_tree, pack, reason);
        let mut missing = work.missing.lock().expect("no holder panics");
        missing.0 += count;
        missing.1 += bytes;
    }

    /// Reports a pack of which nothing comes back; gives what that is and its bytes.
    fn without_pack(
        &self,
        name: &str,
        is_tree: bool,
        pack: &PackPlan,
        reason: String,
    ) -> (u64, u64) {
        let (count, bytes) = if is_tree { pack.files() } else { pack.messages() };
        let messages = if is_tree { 0 } else { count };
        let missing = Missing { messages, files: pack.files().0 - messages };
        self.report.problem(name, missing, reason);
        (count, bytes)
    }

    /// What a dry run can know of packs without reading one: whether they are there, with their
    /// sizes. Gives what is lost and its bytes.
    pub(super) fn look_for_packs(
        &self,
        mailbox: &OpenMailbox,
        (name, is_tree): (&str, bool),
        packs: &[PackPlan],
    ) -> Result<(u64, u64)> {
        let mut lost = (0, 0);
        if packs.is_empty() {
            return Ok(lost);
        }
        let mut there = BTreeMap::new();
        let prefix = format!("{}packs/", mailbox_prefix(&mailbox.id));
        self.repository.store().list(&prefix, &mut |object| {
            there.insert(object.key, object.size_bytes);
        })?;
        for pack in packs {
            let expected = pack.reference.size;
            match there.get(&pack.key) {
                Some(size) if *size == expected => {}
                Some(size) => {
                    let reason = format!(
                        "{} has {size} bytes, not {expected}: what of it is right, the restore will tell",
                        pack.key
                    );
                    self.report.problem(name, Missing::NOTHING, reason);
                }
                None => {
                    let missing = store::Error::NotFound { key: pack.key.clone() }.to_string();
                    let more = self.without_pack(name, is_tree, pack, missing);
                    lost = (lost.0 + more.0, lost.1 + more.1);
                }
            }
        }
        Ok(lost)
    }
}
