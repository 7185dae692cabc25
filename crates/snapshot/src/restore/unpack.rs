//! Takes the members of a pack that a restore wants and writes each to its targets. Tells failures of
//! the repository, damage to the pack and failures of the target apart: each ends differently.

use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::plan::{PackPlan, Target};
use super::write::Partial;
use super::{Report, Run, Work, is_odd_name, with_cause};
use crate::error::{Error, Result};
use crate::object::CheckedReader;
use crate::progress::Progress;

impl Run<'_> {
    /// Unpacks `pack`; `written` tells what was written, also when it fails.
    pub(super) fn unpack(
        &self,
        work: &Work,
        pack: &PackPlan,
        written: &mut Written,
        report: &Mutex<Report>,
    ) -> Result<()> {
        let mut object = pack.reference.stream(self.repository.store(), &pack.key);
        let done = self.members(work, pack, &mut object, written, report);
        match object.failure() {
            Some(failure) => Err(failure),
            None => done,
        }
    }

    fn members(
        &self,
        work: &Work,
        pack: &PackPlan,
        object: &mut CheckedReader<'_>,
        written: &mut Written,
        report: &Mutex<Report>,
    ) -> Result<()> {
        let damaged = |reason: String| Error::damaged(&pack.key, reason);
        let unsealed =
            work.mailbox.unseal.reader(&mut *object).map_err(|e| Error::open(&pack.key, e))?;
        let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(1 << 17, unsealed))
            .map_err(|e| damaged(e.to_string()))?;
        let mut archive = tar::Archive::new(decoder.take(pack.raw));
        let entries = archive.entries().map_err(|e| damaged(e.to_string()))?.raw(true);
        let mut left = pack.members.len();
        let mut buffer = Vec::new();
        for entry in entries {
            self.progress.check()?;
            let mut entry = entry.map_err(|e| damaged(e.to_string()))?;
            let member = std::str::from_utf8(&entry.path_bytes())
                .ok()
                .and_then(|name| name.parse::<u32>().ok())
                .ok_or_else(|| damaged("has a member without a number".into()))?;
            let Some(targets) = pack.members.get(&member) else { continue };
            let size = entry.size();
            if targets.iter().any(|target| target.size != size) {
                return Err(damaged(format!("has another size at member {member}")));
            }
            self.member(work, pack, member, &mut entry, targets, &mut buffer, written, report)?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
        drop(archive);
        object.finish()?;
        if left > 0 {
            return Err(damaged(format!("lacks {left} of its members")));
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the loop of `unpack`, split off for its length")]
    fn member(
        &self,
        work: &Work,
        pack: &PackPlan,
        member: u32,
        entry: &mut dyn Read,
        targets: &[Target],
        buffer: &mut Vec<u8>,
        written: &mut Written,
        report: &Mutex<Report>,
    ) -> Result<()> {
        let damaged = |e: io::Error| Error::damaged(&pack.key, e);
        let size = targets.first().map_or(0, |target| target.size);
        let mut large = None;
        if size <= IN_MEMORY_BYTES {
            buffer.clear();
            entry.read_to_end(buffer).map_err(damaged)?;
        }
        for (index, target) in targets.iter().enumerate() {
            let path = || self.options.to.join(&work.path).join(&target.dir).join(&target.name);
            let dir = written
                .dir(&work.partial, &target.dir)
                .map_err(|e| Error::io("open", &path(), e))?;
            let done = match &mut large {
                _ if size <= IN_MEMORY_BYTES => work.partial.write_bytes(dir, target, buffer),
                Some(first) => work.partial.copy(dir, target, first),
                None => {
                    let mut content = Input { entry, error: None };
                    let done = work.partial.write(dir, target, &mut content);
                    if let Some(e) = content.error {
                        return Err(damaged(e));
                    }
                    done.map(|file| large = Some(file))
                }
            };
            match done {
                Ok(()) => {}
                Err(e) if is_odd_name(&e) => {
                    let reason = with_cause(&Error::io("write", &path(), e));
                    let messages = u64::from(target.is_message);
                    self.problem(report, &work.mailbox.display_name(), messages, reason);
                    let mut missing = work.missing.lock().expect("no holder panics");
                    missing.0 += messages;
                    missing.1 += messages * target.size;
                    continue;
                }
                Err(e) => return Err(Error::io("write", &path(), e)),
            }
            written.targets.push((member, index));
            if target.is_message {
                Progress::add(&self.progress.messages, 1);
                Progress::add(&self.progress.bytes, target.size);
            }
        }
        Ok(())
    }
}

/// What a pack has become so far, and the directory last used.
#[derive(Default)]
pub(super) struct Written {
    /// Member and index of its target.
    pub(super) targets: Vec<(u32, usize)>,
    dir: Option<(PathBuf, OwnedFd)>,
}

impl Written {
    fn dir(&mut self, partial: &Partial, path: &Path) -> io::Result<&OwnedFd> {
        if self.dir.as_ref().is_none_or(|(open, _)| open != path) {
            self.dir = Some((path.to_owned(), partial.dir(path)?));
        }
        Ok(&self.dir.as_ref().expect("it was just opened").1)
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
