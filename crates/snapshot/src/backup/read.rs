//! Reads messages and kept files for the packer: small ones into memory in one go, large ones twice
//! (to hash, then to pack), so that memory does not depend on what people mail each other.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use maildir::{Attributes, FolderPrint, Listing, OpenMessage, Opened, Opener, Subdir, Xattrs};
use sha2::{Digest, Sha256};

use super::packer::{Packer, Place};
use crate::error::Result;
use crate::hash::{Sum, sha256};
use crate::headers::{HeaderReader, Headers};
use crate::state::{FolderState, MessageState};

/// A message as it was listed.
pub(crate) struct Source<'b> {
    pub(crate) folder: &'b Path,
    pub(crate) subdir: Subdir,
    pub(crate) name: &'b [u8],
}

/// What became of something that was to be read.
pub(crate) enum Content {
    Stored(Stored),
    Gone,
    NotAFile(&'static str),
    Unreadable(String),
}

/// A content that has its place in the repository, and the file it came from.
pub(crate) struct Stored {
    pub(crate) place: Place,
    pub(crate) sum: Sum,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) xattrs: Xattrs,
    /// Whether Dovecot's mail_crypt encrypted it.
    pub(crate) is_encrypted: bool,
    /// Where it was found, if not where it was listed.
    pub(crate) found: Option<Found>,
    /// Whether it had to be read: it was no file of [`Reader::remember`].
    pub(crate) is_read: bool,
    ino: u64,
    attributes: Attributes,
}

/// Another place in the same folder, and another name.
pub(crate) type Found = (Subdir, Vec<u8>);

impl Stored {
    /// The message under the name and in the place in which it was listed; `xattrs` is the number
    /// of its extended attributes.
    pub(crate) fn message<'b>(
        &self,
        subdir: Subdir,
        name: &'b [u8],
        xattrs: u32,
    ) -> MessageState<'b> {
        MessageState {
            name,
            is_new: subdir == Subdir::New,
            is_duplicate: false,
            ino: self.ino,
            size: self.size,
            mtime_ns: self.mtime_ns,
            mode: self.attributes.mode,
            uid: self.attributes.uid,
            gid: self.attributes.gid,
            pack: self.place.0,
            member: self.place.1,
            xattrs,
            sum: self.sum,
        }
    }
}

/// Buffers that are kept from one message to the next.
pub(crate) struct Reader<'run> {
    opener: &'run mut Opener,
    headers: HeaderReader,
    buffer: Vec<u8>,
    files: Option<HashMap<u64, KnownFile>>,
}

/// A file that was read, under whatever name. It is the same as long as size and time are: what
/// `--full` goes by as well.
struct KnownFile {
    size: u64,
    mtime_ns: i64,
    place: Place,
    sum: Sum,
}

impl<'run> Reader<'run> {
    pub(crate) fn new(opener: &'run mut Opener) -> Self {
        Self { opener, headers: HeaderReader::default(), buffer: Vec::new(), files: None }
    }

    pub(crate) fn list(&mut self, folder: &Path) -> maildir::Result<Listing> {
        self.opener.list(folder)
    }

    pub(crate) fn list_once(
        &mut self,
        folder: &Path,
        earlier: Option<FolderPrint>,
    ) -> maildir::Result<Listing> {
        self.opener.list_once(folder, earlier)
    }

    /// From now on these messages, and all that are read, are known wherever they move, and are not
    /// read again.
    pub(crate) fn remember<'m>(&mut self, folders: impl Iterator<Item = &'m FolderState>) {
        let files = self.files.get_or_insert_default();
        for message in folders.flat_map(|folder| folder.messages().unwrap_or_default()) {
            let MessageState { size, mtime_ns, sum, .. } = message;
            let place = (message.pack, message.member);
            files.insert(message.ino, KnownFile { size, mtime_ns, place, sum });
        }
    }

    /// Whether a file was read since, or is one of those to remember.
    pub(crate) fn remembers(&self, ino: u64) -> bool {
        self.files.as_ref().is_some_and(|files| files.contains_key(&ino))
    }

    /// The known message with what stat says now, if it still is the same file, and its extended
    /// attributes.
    pub(crate) fn compare<'b>(
        &mut self,
        folder: &Path,
        known: &MessageState<'b>,
    ) -> Option<(MessageState<'b>, Xattrs, Option<Found>)> {
        let opened = self.opener.open(folder, known.subdir(), known.name).ok()?;
        let Opened::Message(message) = opened else { return None };
        let OpenMessage { file, ino, size_bytes, mtime_ns, attributes, found } = message;
        let is_same = (size_bytes, mtime_ns) == (known.size, known.mtime_ns);
        let Attributes { mode, uid, gid } = attributes;
        let same = MessageState { ino, mode, uid, gid, ..*known };
        is_same.then(|| (same, Xattrs::of_file(&file), found))
    }

    /// Reads and places a message.
    pub(crate) fn read(
        &mut self,
        source: &Source<'_>,
        packer: &mut Packer<'_, '_>,
    ) -> Result<Content> {
        let opened = self.opener.open(source.folder, source.subdir, source.name);
        match opened {
            Ok(Opened::Message(message)) => {
                if let Some(stored) = self.known(&message) {
                    return Ok(Content::Stored(stored));
                }
                let content = self.store(message, packer, true)?;
                if let (Some(files), Content::Stored(stored)) = (&mut self.files, &content) {
                    let Stored { place, sum, size, mtime_ns, .. } = *stored;
                    files.insert(stored.ino, KnownFile { size, mtime_ns, place, sum });
                }
                Ok(content)
            }
            Ok(Opened::Gone) => Ok(Content::Gone),
            Ok(Opened::NotAFile(kind)) => Ok(Content::NotAFile(kind)),
            // The folder itself is gone, and its messages with it.
            Err(e) if e.is_vanished() => Ok(Content::Gone),
            Err(e) => Ok(Content::Unreadable(e.source.to_string())),
        }
    }

    /// The hash of a message of a size that is wanted.
    pub(crate) fn sum_if(
        &mut self,
        source: &Source<'_>,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Option<Sum> {
        let opened = self.opener.open(source.folder, source.subdir, source.name).ok()?;
        let Opened::Message(mut message) = opened else { return None };
        is_wanted(message.size_bytes).then_some(())?;
        hash_file(&mut message.file, message.size_bytes, false).ok().map(|(sum, _)| sum)
    }

    fn known(&self, message: &OpenMessage) -> Option<Stored> {
        let known = self.files.as_ref()?.get(&message.ino)?;
        let (size, mtime_ns) = (message.size_bytes, message.mtime_ns);
        ((known.size, known.mtime_ns) == (size, mtime_ns)).then(|| Stored {
            place: known.place,
            sum: known.sum,
            size,
            mtime_ns,
            xattrs: Xattrs::of_file(&message.file),
            is_encrypted: false,
            found: message.found.clone(),
            is_read: false,
            ino: message.ino,
            attributes: message.attributes,
        })
    }

    /// Reads and places a kept file.
    pub(crate) fn read_file(
        &mut self,
        path: &Path,
        packer: &mut Packer<'_, '_>,
    ) -> Result<Content> {
        match maildir::open_file(path) {
            Ok(Opened::Message(file)) => self.store(file, packer, false),
            Ok(Opened::Gone) => Ok(Content::Gone),
            Ok(Opened::NotAFile(kind)) => Ok(Content::NotAFile(kind)),
            Err(e) => Ok(Content::Unreadable(e.source.to_string())),
        }
    }

    fn store(
        &mut self,
        mut open: OpenMessage,
        packer: &mut Packer<'_, '_>,
        is_mail: bool,
    ) -> Result<Content> {
        let OpenMessage { ino, mtime_ns, attributes, .. } = open;
        let found = open.found.take();
        let xattrs = Xattrs::of_file(&open.file);
        let stored = |place, sum, size, head: &[u8]| {
            let (is_read, is_encrypted) = (true, head.starts_with(CRYPT_MAGIC));
            Ok(Content::Stored(Stored {
                place,
                sum,
                size,
                mtime_ns,
                xattrs,
                is_encrypted,
                found,
                is_read,
                ino,
                attributes,
            }))
        };
        let size = open.size_bytes;
        // Lines are appended to a uidlist at any time: what it was when it was opened is whole.
        let may_grow = !is_mail;
        if size <= IN_MEMORY_BYTES {
            if let Err(e) = read_whole(&mut open.file, size, may_grow, &mut self.buffer) {
                return Ok(Content::Unreadable(e.to_string()));
            }
            let (bytes, headers) = (&self.buffer, &self.headers);
            let sum = sha256(bytes);
            let headers = || if is_mail { headers.read(bytes) } else { Headers::default() };
            let place = packer.place(bytes, sum, headers)?;
            return stored(place, sum, bytes.len() as u64, bytes);
        }
        let (sum, head) = match hash_file(&mut open.file, size, may_grow) {
            Ok(hashed) => hashed,
            Err(e) => return Ok(Content::Unreadable(e.to_string())),
        };
        let headers = if is_mail { self.headers.read(&head) } else { Headers::default() };
        match packer.place_from(&mut open.file, size, sum, headers)? {
            Ok(place) => stored(place, sum, size, &head),
            Err(e) => Ok(Content::Unreadable(e.to_string())),
        }
    }
}

fn read_whole(
    file: &mut File,
    size_bytes: u64,
    may_grow: bool,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.clear();
    buffer.resize(size_bytes as usize, 0);
    file.read_exact(buffer)?;
    if !may_grow && file.read(&mut [0])? != 0 {
        return Err(changed());
    }
    Ok(())
}

/// Hashes a file, leaves it at its start, and gives its first part for the header fields.
fn hash_file(file: &mut File, size_bytes: u64, may_grow: bool) -> io::Result<(Sum, Vec<u8>)> {
    let mut input = file.take(if may_grow { size_bytes } else { u64::MAX });
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut head = Vec::new();
    let mut total = 0;
    loop {
        let got = input.read(&mut chunk)?;
        if got == 0 {
            break;
        }
        if head.is_empty() {
            head.extend_from_slice(&chunk[..got]);
        }
        hasher.update(&chunk[..got]);
        total += got as u64;
    }
    if total != size_bytes {
        return Err(changed());
    }
    file.rewind()?;
    Ok((hasher.finalize().into(), head))
}

fn changed() -> io::Error {
    io::Error::other("it changed while it was read")
}

/// With it begins what Dovecot's mail_crypt encrypted.
const CRYPT_MAGIC: &[u8] = b"CRYPTED\x03\x07";

/// Larger contents are read twice instead of being held, and have packs of their own.
pub(crate) const IN_MEMORY_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine bytes, of which stat told another size: it grew, or shrank.
    #[test]
    fn a_kept_file_may_grow_while_it_is_read_and_a_message_may_not() {
        for (size, may_grow, is_read) in
            [(9, false, true), (7, false, false), (7, true, true), (11, true, false)]
        {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, b"1 :a\n2 :b").unwrap();
            file.rewind().unwrap();
            let hashed = hash_file(&mut file, size, may_grow);
            file.rewind().unwrap();
            let mut buffer = Vec::new();
            let whole = read_whole(&mut file, size, may_grow, &mut buffer);
            assert_eq!((hashed.is_ok(), whole.is_ok()), (is_read, is_read), "{size} {may_grow}");
            if let Ok((sum, _)) = hashed {
                assert_eq!((sum, buffer.len() as u64), (sha256(&buffer), size));
            }
        }
    }
}
