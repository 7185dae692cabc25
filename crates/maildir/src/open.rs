//! Opening a message that may be renamed, replaced or removed at any moment: by its listed name
//! first, then by base name. Never follows a link, never blocks on a FIFO.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::listing::{nanoseconds, os};
use crate::{Attributes, Error, Lister, Result, Subdir, base_name};

/// A message, open for reading, with what fstat said of it.
#[derive(Debug)]
pub struct OpenMessage {
    /// Positioned at its start.
    pub file: File,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Modification time, IMAP's INTERNALDATE, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Mode and owner.
    pub attributes: Attributes,
}

/// What became of a listed message.
#[derive(Debug)]
pub enum Opened {
    /// It is open.
    Message(OpenMessage),
    /// It is in neither `new` nor `cur` any more.
    Gone,
    /// It is there and is no regular file.
    NotAFile(&'static str),
}

/// Opens the message listed as `name` in `subdir` of `folder`. If it is not there under this name,
/// the folder is listed again and the base name looked up, a bounded number of times.
pub fn open_message(
    folder: &Path,
    subdir: Subdir,
    name: &[u8],
    lister: &mut Lister,
) -> Result<Opened> {
    match open_as(folder, subdir, name)? {
        Opened::Gone => {}
        opened => return Ok(opened),
    }
    for _ in 0..MAX_LOOKUPS {
        let listing = lister.list(folder)?;
        let base = base_name(name);
        let Some(entry) = listing.entries().iter().find(|e| listing.base(e) == base) else {
            if listing.is_unstable {
                continue;
            }
            return Ok(Opened::Gone);
        };
        match open_as(folder, entry.subdir, listing.name(entry))? {
            Opened::Gone => {}
            opened => return Ok(opened),
        }
    }
    let path = folder.join(subdir.name()).join(os(name));
    let reason = io::Error::other("its name keeps changing");
    Err(Error { action: "open", path, source: reason })
}

fn open_as(folder: &Path, subdir: Subdir, name: &[u8]) -> Result<Opened> {
    open_file(&folder.join(subdir.name()).join(os(name)))
}

/// Opens a regular file, here and now: no link is followed and no FIFO waited for.
pub fn open_file(path: &Path) -> Result<Opened> {
    let failed = |e: rustix::io::Errno| Error::new("open", path, e);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(Opened::Gone),
        Err(rustix::io::Errno::LOOP) => return Ok(Opened::NotAFile("a symbolic link")),
        Err(rustix::io::Errno::NXIO) => return Ok(Opened::NotAFile("a socket")),
        Err(e) => return Err(failed(e)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Opened::NotAFile("no regular file"));
    }
    Ok(Opened::Message(OpenMessage {
        file: File::from(file),
        ino: stat.st_ino,
        size_bytes: stat.st_size.unsigned_abs(),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        attributes: Attributes::of(&stat),
    }))
}

/// How often a message whose name keeps changing is looked up again.
const MAX_LOOKUPS: u32 = 10;
