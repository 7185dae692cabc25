//! Takes the members of a pack that a restore wants and writes each to its targets. Tells failures of
//! the repository, damage to the pack and failures of the target apart: each ends differently.

use std::ffi::OsString;
use std::io::{self, BufReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::plan::{PackPlan, Target};
use super::site::Site;
use super::{Run, Work, is_odd_name, with_cause};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::object::CheckedReader;
use crate::progress::Progress;
use crate::repository::OpenMailbox;
use crate::store::Store;

/// A pack that is being read, whole or damaged.
pub(super) struct Opened<'o> {
    pub(super) store: &'o dyn Store,
    pub(super) unseal: &'o Unseal,
    pub(super) pack: &'o PackPlan,
    pub(super) progress: &'o Progress,
}

/// Takes a member of a pack, by its number, and its size.
pub(super) type Give<'g> = dyn FnMut(u32, u64, &mut dyn Read) -> Result<()> + 'g;

impl Opened<'_> {
    /// Gives the members that `wanted` asks for with their sizes, in order, until `left` were
    /// given; checks the whole object. After a failure nothing that was given may be trusted.
    pub(super) fn members(&self, wanted: &[u32], give: &mut Give<'_>) -> Result<()> {
        let mut object = self.pack.reference.stream(self.store, &self.pack.key);
        let done = self.members_of(&mut object, wanted, give);
        match object.failure() {
            Some(failure) => Err(failure),
            None => done,
        }
    }

    fn members_of(
        &self,
        object: &mut CheckedReader<'_>,
        wanted: &[u32],
        give: &mut Give<'_>,
    ) -> Result<()> {
        let Self { unseal, pack, progress, .. } = self;
        let damaged = |reason: String| Error::damaged(&pack.key, reason);
        let unsealed = unseal.reader(&mut *object).map_err(|e| Error::open(&pack.key, e))?;
        let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(1 << 17, unsealed))
            .map_err(|e| damaged(e.to_string()))?;
        let mut archive = tar::Archive::new(decoder.take(pack.raw));
        let entries = archive.entries().map_err(|e| damaged(e.to_string()))?.raw(true);
        let mut left = wanted.len();
        for entry in entries {
            if left == 0 {
                break;
            }
            progress.check()?;
            let mut entry = entry.map_err(|e| damaged(e.to_string()))?;
            let member = std::str::from_utf8(&entry.path_bytes())
                .ok()
                .and_then(|name| name.parse::<u32>().ok())
                .ok_or_else(|| damaged("has a member without a number".into()))?;
            if wanted.binary_search(&member).is_ok() {
                let size = entry.size();
                give(member, size, &mut entry)?;
                left -= 1;
            }
        }
        drop(archive);
        object.finish()?;
        if left > 0 {
            return Err(damaged(format!("lacks {left} of its members")));
        }
        Ok(())
    }
}

impl Run<'_> {
    /// A pack of a mailbox, to be read.
    pub(super) fn opened<'o>(&'o self, mailbox: &'o OpenMailbox, pack: &'o PackPlan) -> Opened<'o> {
        let (store, unseal, progress) = (self.repository.store(), &mailbox.unseal, self.progress);
        Opened { store, unseal, pack, progress }
    }

    /// Unpacks `pack`; `written` tells what was written, also when it fails.
    pub(super) fn unpack<'p>(
        &self,
        work: &Work,
        pack: &'p PackPlan,
        written: &mut Written<'p>,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        let mut give = |member: u32, size: u64, entry: &mut dyn Read| {
            self.member(work, pack, (member, size), entry, &mut buffer, written)
        };
        self.opened(&work.mailbox, pack).members(&pack.wanted(), &mut give)
    }

    /// Writes a member with its size to its targets; what of it was written is in `written`, also
    /// when it fails.
    pub(super) fn member<'p>(
        &self,
        work: &Work,
        pack: &'p PackPlan,
        (member, size): (u32, u64),
        entry: &mut dyn Read,
        buffer: &mut Vec<u8>,
        written: &mut Written<'p>,
    ) -> Result<()> {
        let damaged = |e: io::Error| Error::damaged(&pack.key, e);
        let targets = &pack.members[&member];
        if targets.iter().any(|target| target.size != size) {
            return Err(damaged(io::Error::other(format!("has another size at member {member}"))));
        }
        let mut large: Option<std::fs::File> = None;
        let in_memory = size <= IN_MEMORY_BYTES;
        if in_memory {
            buffer.clear();
            entry.read_to_end(buffer).map_err(damaged)?;
        }
        for target in targets {
            let path = || work.site.path().join(&target.dir).join(&target.name);
            let (dir, name) =
                written.place(work, target).map_err(|e| Error::io("open", &path(), e))?;
            let owners = &work.owners;
            let done = match &mut large {
                _ if in_memory => owners.write(dir, &name, target, &mut buffer.as_slice()),
                Some(first) => {
                    first.rewind().and_then(|()| owners.write(dir, &name, target, first))
                }
                None => {
                    let mut content = Input { entry, error: None };
                    let done = owners.write(dir, &name, target, &mut content);
                    if let Some(e) = content.error {
                        // What was written is cut.
                        written.files.push((target, name));
                        return Err(damaged(e));
                    }
                    done
                }
            };
            match done {
                Ok(file) if !in_memory && large.is_none() => large = Some(file),
                Ok(_) => {}
                Err(e) if is_odd_name(&e) => {
                    let reason = with_cause(&Error::io("write", &path(), e));
                    written.refused.push((target, reason));
                    continue;
                }
                Err(e) => return Err(Error::io("write", &path(), e)),
            }
            written.files.push((target, name));
        }
        Ok(())
    }
}

/// What a pack has become so far, and the directory last used.
#[derive(Default)]
pub(super) struct Written<'p> {
    /// Targets and the names under which they were written.
    pub(super) files: Vec<(&'p Target, OsString)>,
    /// Targets that could not be written, and why.
    pub(super) refused: Vec<(&'p Target, String)>,
    dir: Option<(PathBuf, OwnedFd)>,
}

impl Written<'_> {
    /// What there is so far, for [`Written::discard`].
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.files.len(), self.refused.len())
    }

    /// Removes what was written since `mark`, which nothing proves.
    pub(super) fn discard(&mut self, site: &Site, mark: (usize, usize)) {
        self.refused.truncate(mark.1);
        for (target, name) in self.files.drain(mark.0..) {
            site.discard(target, &name);
        }
    }

    fn place(&mut self, work: &Work, target: &Target) -> io::Result<(&OwnedFd, OsString)> {
        let is_open = |(path, _): &(PathBuf, OwnedFd)| path == work.site.dir(target);
        let (dir, name) = if self.dir.as_ref().is_some_and(is_open) {
            (None, work.site.name(target)?)
        } else {
            let (dir, name) = work.site.place(target, &work.owners)?;
            (Some(dir), name)
        };
        if let Some(dir) = dir {
            self.dir = Some((work.site.dir(target).to_owned(), dir));
        }
        Ok((&self.dir.as_ref().expect("it was just opened").1, name))
    }
}

/// Tells failures of the repository from failures of the target while one is copied to the other.
struct Input<'e> {
    entry: &'e mut dyn Read,
    error: Option<io::Error>,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.entry.read(buffer).map_err(|e| {
            let kind = e.kind();
            self.error = Some(e);
            kind.into()
        })
    }
}

/// Larger messages are copied instead of being held.
const IN_MEMORY_BYTES: u64 = 4 << 20;

/// Removes a file of a folder that is being filled, of which its pack proved to be damaged.
pub(super) fn remove(root: &OwnedFd, dir: &Path, name: &OsString) {
    if let Ok(dir) = super::files::open_beneath(root, dir) {
        let _ = rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty());
    }
}
