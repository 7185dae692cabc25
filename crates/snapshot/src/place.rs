//! Where members lie in a pack, as its section of an index tells: whoever knows it can read one
//! without what lies before it, and prove it without the rest of the pack.

use std::io::{self, Read};
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::catalog::CatalogHead;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::index::{Member, SectionHead, Sections};
use crate::layout::{id_in_name, mailbox_prefix};
use crate::object::ObjectRef;
use crate::pack::BLOCK;
use crate::store::Store;
use crate::window;

/// The part of an index that describes a pack.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The index's key.
    pub(crate) key: String,
    pub(crate) reference: ObjectRef,
    /// Before sealing.
    pub(crate) range: Range<u64>,
    /// The pack's id.
    pack: String,
}

/// Where a member is in its pack.
pub(crate) struct Place {
    pub(crate) number: u32,
    pub(crate) member: Member,
    /// The frames that hold it, in the compressed bytes.
    pub(crate) frames: Range<u64>,
    /// Bytes of tar in these frames before its content.
    pub(crate) skip: u64,
}

impl Part {
    /// What describes the pack with this number; `None` if the catalog names no pack or index.
    pub(crate) fn of(head: &CatalogHead, number: u32) -> Option<Self> {
        let (index, range) = head.section(number)?;
        let pack = head.needs.iter().find(|need| need.pack == Some(number))?;
        Some(Self {
            key: format!("{}{}", mailbox_prefix(&head.mailbox), index.object),
            reference: index.reference.clone(),
            range,
            pack: id_in_name(&pack.object).to_owned(),
        })
    }

    /// The places of the members `wanted`, whose numbers rise.
    pub(crate) fn places(
        &self,
        store: &dyn Store,
        unseal: &Unseal,
        wanted: &[u32],
    ) -> Result<Vec<Place>> {
        let damaged = |reason: &str| Error::damaged(&self.key, reason);
        let size_bytes = self.range.end.saturating_sub(self.range.start);
        let plain = window::read(store, &self.key, &self.reference, unseal, self.range.clone())?;
        let mut sections = Sections::part(&self.key, plain, size_bytes)?;
        let section = sections.next_section()?.ok_or_else(|| damaged("lacks a pack"))?;
        if section.pack != self.pack {
            return Err(damaged("has another pack where the catalog says"));
        }
        let mut places = Vec::with_capacity(wanted.len());
        let (mut next, mut start) = (0, 0_u64);
        for &number in wanted {
            let member = loop {
                let member = sections.next_member()?.ok_or_else(|| damaged("lacks a member"))?;
                next += 1;
                if next > number {
                    break member;
                }
                start = start.saturating_add(in_tar(member.size));
            };
            let end = start.saturating_add(in_tar(member.size));
            let (frames, skip) = frames(&section, start, end)
                .ok_or_else(|| damaged("has a member beyond its frames"))?;
            places.push(Place { number, member, frames, skip: skip + BLOCK as u64 });
            start = end;
        }
        Ok(places)
    }
}

/// A member's content on its way out of a pack, hashed: nothing of it is proven before
/// [`Proof::finish`].
pub(crate) struct Proof<'t> {
    key: &'t str,
    tar: &'t mut dyn Read,
    expected: Sum,
    size: u64,
    left: u64,
    hasher: Sha256,
    failure: Option<Error>,
    is_broken: bool,
}

impl<'t> Proof<'t> {
    /// Of `member`, whose content comes next in `tar`, of the pack `key`.
    pub(crate) fn new(key: &'t str, member: &Member, tar: &'t mut dyn Read) -> Self {
        let Member { sum: expected, size } = *member;
        let hasher = Sha256::new();
        Self { key, tar, expected, size, left: size, hasher, failure: None, is_broken: false }
    }

    /// Whether all of it could be read and is what was stored; reads what is left.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if !self.is_broken {
            let _ = io::copy(self, &mut io::sink());
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if <Sum>::from(self.hasher.finalize_reset()) == self.expected {
            return Ok(());
        }
        Err(Error::damaged(self.key, "has a message with another SHA-256 than stored"))
    }

    /// Whether the pack cannot be read on.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Bytes that were read.
    pub(crate) fn consumed(&self) -> u64 {
        self.size - self.left
    }
}

impl Read for Proof<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let failure = match self.tar.read(&mut buffer[..most]) {
            Ok(0) => Error::damaged(self.key, "ends before its member does"),
            Ok(got) => {
                self.left -= got as u64;
                self.hasher.update(&buffer[..got]);
                return Ok(got);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => Error::decode(self.key, e),
        };
        let text = failure.to_string();
        (self.failure, self.is_broken) = (Some(failure), true);
        Err(io::Error::other(text))
    }
}

/// The frames that hold the bytes from `start` to `end` of the tar, and how far into them it starts.
fn frames(section: &SectionHead, start: u64, end: u64) -> Option<(Range<u64>, u64)> {
    let first = section.frames.iter().position(|frame| frame.1 > start)?;
    let last = section.frames.iter().position(|frame| frame.1 >= end)?;
    let (from, raw) = first.checked_sub(1).map_or((0, 0), |before| section.frames[before]);
    Some((from..section.frames[last].0, start.checked_sub(raw)?))
}

fn in_tar(size: u64) -> u64 {
    let block = BLOCK as u64;
    size.checked_next_multiple_of(block)
        .and_then(|size| size.checked_add(block))
        .unwrap_or(u64::MAX)
}
