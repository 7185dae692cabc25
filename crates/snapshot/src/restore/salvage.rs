//! What is right in a pack that is not whole: its frames are independent, and the index has the hash
//! of each member. What proves right is restored, the rest is named; nothing is taken on trust.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::plan::PackPlan;
use super::unpack::Written;
use super::{Run, Work};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::layout::mailbox_prefix;
use crate::object::ObjectRef;
use crate::place::{Place, Proof};
use crate::progress::Progress;
use crate::repository::{OpenMailbox, Repository};
use crate::store::{self, Store};
use crate::window;

/// A member that is lost, and why.
pub(super) type Lost = (u32, String);

/// Gives the members of a damaged pack that `wanted` asks for (rising numbers) with their sizes, as
/// far as they can be read, and tells the others. `give` calls [`Proof::finish`], and keeps nothing
/// that this does not confirm; what it refuses as damage is lost, too. Fails if the index proves nothing.
pub(super) fn members(
    repository: &Repository,
    unseal: &Unseal,
    pack: &PackPlan,
    progress: &Progress,
    wanted: &[u32],
    give: &mut dyn FnMut(u32, u64, &mut Proof<'_>) -> Result<()>,
) -> Result<Vec<Lost>> {
    let store = repository.store();
    // Of one that was cut, what is there.
    let size = store.size(&pack.key)?.min(pack.reference.size);
    let object = ObjectRef { size, ..pack.reference.clone() };
    let damaged = Damaged { store, unseal, key: &pack.key, object };
    let mut lost = Vec::new();
    let places = places(store, unseal, pack, wanted)?;
    for mut group in places.chunk_by(|a, b| a.frames.start == b.frames.start) {
        match damaged.group(&mut group, progress, give, &mut lost) {
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
fn places(
    store: &dyn Store,
    unseal: &Unseal,
    pack: &PackPlan,
    wanted: &[u32],
) -> Result<Vec<Place>> {
    let index = pack.index.as_ref();
    let index = index.ok_or_else(|| Error::damaged(&pack.key, "is in no index"))?;
    index.reference.stream(store, &index.key).finish()?;
    index.places(store, unseal, wanted)
}

/// A pack that is not what it was.
struct Damaged<'d> {
    store: &'d dyn Store,
    unseal: &'d Unseal,
    key: &'d str,
    /// As much of it as is there.
    object: ObjectRef,
}

impl Damaged<'_> {
    /// Gives the members at `left`, which begin in one frame; what stays there when it fails is lost.
    fn group(
        &self,
        left: &mut &[Place],
        progress: &Progress,
        give: &mut dyn FnMut(u32, u64, &mut Proof<'_>) -> Result<()>,
        lost: &mut Vec<Lost>,
    ) -> Result<()> {
        let decode = |e| Error::decode(self.key, e);
        let start = left.first().map_or(0, |place| place.frames.start);
        let end = left.iter().map(|place| place.frames.end).max().unwrap_or(start);
        let end = end.min(self.object.size);
        let frames = window::read(self.store, self.key, &self.object, self.unseal, start..end)?;
        let mut tar = zstd::Decoder::new(frames).map_err(decode)?;
        let mut at = 0;
        while let Some((place, rest)) = left.split_first() {
            progress.check()?;
            let gap = place.skip.saturating_sub(at);
            let skipped = io::copy(&mut (&mut tar).take(gap), &mut io::sink()).map_err(decode)?;
            if skipped < gap {
                return Err(Error::damaged(self.key, "ends before its members do"));
            }
            let mut proof = Proof::new(self.key, &place.member, &mut tar);
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
        let unseal = &work.mailbox.unseal;
        members(self.repository, unseal, pack, self.progress, &pack.wanted(), &mut give)
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
        self.report.problem(name, if is_tree { 0 } else { count }, reason);
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
                    self.report.problem(name, 0, reason);
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
