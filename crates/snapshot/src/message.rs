//! The source of one message, out of the middle of a pack: its index section tells where it lies,
//! and one frame (a message above some megabytes: its frames) is read, not the pack.

use std::io::{self, Read, Write};
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::catalog::{CatalogHead, Content};
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::index::{Member, SectionHead, Sections};
use crate::layout::{id_in_name, mailbox_prefix};
use crate::pack::BLOCK;
use crate::repository::{OpenMailbox, Repository};
use crate::window;

/// Writes the bytes of a message, or kept file, to `out`. A content of up to 16 MiB is checked
/// before its first byte is written; of a larger one that is not what was stored, `out` has a
/// part when this fails.
pub fn copy(
    repository: &Repository,
    mailbox: &OpenMailbox,
    head: &CatalogHead,
    content: &Content,
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    let prefix = mailbox_prefix(&mailbox.id);
    let place = find(repository, mailbox, head, content)?;
    let pack = head.needs.iter().find(|need| need.pack == Some(content.pack));
    let pack = pack.ok_or_else(|| unnamed(head, content))?;
    let key = format!("{prefix}{}", pack.object);
    let frames = place.frames.clone();
    let sealed = window::read(repository.store(), &key, &pack.reference, &mailbox.unseal, frames)?;
    let mut tar = zstd::Decoder::new(sealed).map_err(|e| Error::decode(&key, e))?;
    io::copy(&mut (&mut tar).take(place.skip), &mut io::sink())
        .map_err(|e| Error::decode(&key, e))?;
    let mut check = Check { key: &key, hasher: Sha256::new(), left: content.size };
    let mut chunk = vec![0; 1 << 16];
    let is_small = content.size <= CHECKED_FIRST_BYTES;
    let mut held = Vec::new();
    while let Some(bytes) = check.next(&mut tar, &mut chunk)? {
        if is_small {
            held.extend_from_slice(bytes);
        } else if let Err(e) = out.write_all(bytes) {
            return Ok(Err(e));
        }
    }
    check.finish(&place.member.sum)?;
    Ok(out.write_all(&held).and_then(|()| out.flush()))
}

/// Where a content is in its pack.
struct Place {
    member: Member,
    /// The frames that hold it, in the compressed bytes.
    frames: Range<u64>,
    /// Bytes of tar in these frames before it.
    skip: u64,
}

fn find(
    repository: &Repository,
    mailbox: &OpenMailbox,
    head: &CatalogHead,
    content: &Content,
) -> Result<Place> {
    let (index, part) = head.section(content.pack).ok_or_else(|| unnamed(head, content))?;
    let pack = head.needs.iter().find(|need| need.pack == Some(content.pack));
    let key = format!("{}{}", mailbox_prefix(&mailbox.id), index.object);
    let size_bytes = part.end.saturating_sub(part.start);
    let store = repository.store();
    let plain = window::read(store, &key, &index.reference, &mailbox.unseal, part)?;
    let mut sections = Sections::part(&key, plain, size_bytes)?;
    let damaged = |reason: &str| Error::damaged(&key, reason);
    let section = sections.next_section()?.ok_or_else(|| damaged("lacks a pack"))?;
    if pack.is_none_or(|pack| id_in_name(&pack.object) != section.pack) {
        return Err(damaged("has another pack where the catalog says"));
    }
    let mut start = 0_u64;
    for _ in 0..content.member {
        let before = sections.next_member()?.ok_or_else(|| damaged("lacks a member"))?;
        start = start.saturating_add(in_tar(before.size));
    }
    let member = sections.next_member()?.ok_or_else(|| damaged("lacks a member"))?;
    if member.size != content.size {
        return Err(damaged("has another size than the catalog"));
    }
    let end = start.saturating_add(in_tar(member.size));
    let (frames, skip) =
        frames(&section, start, end).ok_or_else(|| damaged("has a member beyond its frames"))?;
    Ok(Place { member, frames, skip: skip + BLOCK as u64 })
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

fn unnamed(head: &CatalogHead, content: &Content) -> Error {
    let reason = format!("does not name pack {} and its index", content.pack);
    Error::damaged(&format!("{}catalogs/", mailbox_prefix(&head.mailbox)), reason)
}

/// Reads a content and hashes it on the way.
struct Check<'k> {
    key: &'k str,
    hasher: Sha256,
    left: u64,
}

impl Check<'_> {
    fn next<'c>(&mut self, tar: &mut dyn Read, chunk: &'c mut [u8]) -> Result<Option<&'c [u8]>> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = usize::try_from(self.left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let got = tar.read(&mut chunk[..most]).map_err(|e| Error::decode(self.key, e))?;
        if got == 0 {
            return Err(Error::damaged(self.key, "ends before its member does"));
        }
        self.left -= got as u64;
        self.hasher.update(&chunk[..got]);
        Ok(Some(&chunk[..got]))
    }

    fn finish(self, expected: &Sum) -> Result<()> {
        if <Sum>::from(self.hasher.finalize()) == *expected {
            return Ok(());
        }
        Err(Error::damaged(self.key, "has a message with another SHA-256 than stored"))
    }
}

/// See [`copy`].
const CHECKED_FIRST_BYTES: u64 = 16 << 20;
