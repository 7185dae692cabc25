//! The source of one message, out of the middle of a pack: its index section tells where it lies,
//! and one frame (a message above some megabytes: its frames) is read, not the pack.

use std::io::{self, Read, Write};

use crate::catalog::{CatalogHead, Content};
use crate::error::{Error, Result};
use crate::layout::mailbox_prefix;
use crate::place::{Part, Place, Proof};
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
    let mut proof = Proof::new(&key, &place.member, &mut tar);
    let mut chunk = vec![0; 1 << 16];
    let is_small = content.size <= CHECKED_FIRST_BYTES;
    let mut held = Vec::new();
    // What ends the reading early is told by `finish`.
    while let Ok(got @ 1..) = proof.read(&mut chunk) {
        if is_small {
            held.extend_from_slice(&chunk[..got]);
        } else if let Err(e) = out.write_all(&chunk[..got]) {
            return Ok(Err(e));
        }
    }
    proof.finish()?;
    Ok(out.write_all(&held).and_then(|()| out.flush()))
}

fn find(
    repository: &Repository,
    mailbox: &OpenMailbox,
    head: &CatalogHead,
    content: &Content,
) -> Result<Place> {
    let part = Part::of(head, content.pack).ok_or_else(|| unnamed(head, content))?;
    let damaged = |reason: &str| Error::damaged(&part.key, reason);
    let places = part.places(repository.store(), &mailbox.unseal, &[content.member])?;
    let place = places.into_iter().next().ok_or_else(|| damaged("lacks a member"))?;
    if place.member.size != content.size {
        return Err(damaged("has another size than the catalog"));
    }
    Ok(place)
}

fn unnamed(head: &CatalogHead, content: &Content) -> Error {
    let reason = format!("does not name pack {} and its index", content.pack);
    Error::damaged(&format!("{}catalogs/", mailbox_prefix(&head.mailbox)), reason)
}

/// See [`copy`].
const CHECKED_FIRST_BYTES: u64 = 16 << 20;
