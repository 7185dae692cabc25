//! Opening a message that may be renamed, replaced or removed at any moment: by its listed name
//! first, then by base name. Never follows a link, never blocks on a FIFO.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::listing::os;
use crate::nofollow::{self, kind};
use crate::print::nanoseconds;
use crate::{Attributes, Error, FolderPrint, Lister, Listing, Proof, Result, Subdir, base_name};

/// A message, open for reading, with what fstat said of it.
#[derive(Debug)]
pub struct OpenMessage {
    /// Positioned at its start.
    pub file: File,
    /// Inode number.
    pub ino: u64,
    /// Where it was found, if not where it was said to be.
    pub found: Option<(Subdir, Vec<u8>)>,
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
    /// It was not to be found: only a listing that stood still can tell whether it is gone.
    Gone,
    /// It is there and is no regular file.
    NotAFile(&'static str),
}

/// Opens messages by name, and by base name when they were renamed; keeps the listing that the look-up
/// needed, because where one message was renamed, many were.
#[derive(Default)]
pub struct Opener {
    lister: Lister,
    looked_up: Option<(PathBuf, Listing)>,
}

impl Opener {
    /// An opener whose listings need this proof.
    pub fn new(proof: Proof) -> Self {
        Self { lister: Lister::new(proof), looked_up: None }
    }

    /// Lists a folder, see [`Lister::list`].
    pub fn list(&mut self, folder: &Path) -> Result<Listing> {
        self.looked_up = None;
        self.lister.list(folder)
    }

    /// Lists a folder once, see [`Lister::list_once`].
    pub fn list_once(&mut self, folder: &Path, earlier: Option<FolderPrint>) -> Result<Listing> {
        self.looked_up = None;
        self.lister.list_once(folder, earlier)
    }

    /// Opens the message listed as `name` in `subdir` of `folder`. If it is not there under this
    /// name, its base name is looked up in a listing made since; again, a bounded number of times,
    /// when that name is out of date as well.
    pub fn open(&mut self, folder: &Path, subdir: Subdir, name: &[u8]) -> Result<Opened> {
        match open_as(folder, subdir, name)? {
            Opened::Gone => {}
            opened => return Ok(opened),
        }
        for _ in 0..MAX_LOOKUPS {
            if !matches!(&self.looked_up, Some((path, _)) if path == folder) {
                self.looked_up = Some((folder.to_owned(), self.lister.list_once(folder, None)?));
            }
            let Some((_, listing)) = &self.looked_up else { break };
            let found = listing.find(base_name(name));
            if found.is_empty() {
                break;
            }
            for entry in found {
                let name = listing.name(entry);
                match open_as(folder, entry.subdir, name)? {
                    Opened::Gone => {}
                    Opened::Message(message) => {
                        let found = Some((entry.subdir, name.to_vec()));
                        return Ok(Opened::Message(OpenMessage { found, ..message }));
                    }
                    opened => return Ok(opened),
                }
            }
            // What the listing says is out of date.
            self.looked_up = None;
        }
        Ok(Opened::Gone)
    }
}

fn open_as(folder: &Path, subdir: Subdir, name: &[u8]) -> Result<Opened> {
    open_file(&folder.join(subdir.name()).join(os(name)))
}

/// Opens a regular file, here and now: no link is followed, in no part of the path, and no
/// FIFO waited for.
pub fn open_file(path: &Path) -> Result<Opened> {
    let failed = |e: rustix::io::Errno| Error::new("open", path, e);
    let file = match nofollow::open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(Opened::Gone),
        // The message itself, or a folder above: that is no message that is gone, and not one's fault.
        Err(e @ rustix::io::Errno::LOOP) => match nofollow::stat(path) {
            Ok(stat) if kind(&stat).is_symlink() => {
                return Ok(Opened::NotAFile("a symbolic link"));
            }
            _ => return Err(failed(e)),
        },
        Err(rustix::io::Errno::NXIO) => return Ok(Opened::NotAFile("a socket")),
        Err(e) => return Err(failed(e)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if !kind(&stat).is_file() {
        return Ok(Opened::NotAFile("no regular file"));
    }
    Ok(Opened::Message(OpenMessage {
        file: File::from(file),
        ino: stat.st_ino,
        found: None,
        size_bytes: stat.st_size.unsigned_abs(),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        attributes: Attributes::of(&stat),
    }))
}

/// How often a message whose name keeps changing is looked up again. In a folder of a few messages
/// every second look-up may come too late.
const MAX_LOOKUPS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;

    fn folder(messages: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for subdir in ["new", "cur"] {
            fs::create_dir(folder.path().join(subdir)).unwrap();
        }
        for message in messages {
            fs::write(folder.path().join(message), message).unwrap();
        }
        folder
    }

    /// What it holds, and where it was found.
    fn message(opened: Opened) -> (String, String) {
        let Opened::Message(mut message) = opened else { panic!("{opened:?}") };
        let mut text = String::new();
        message.file.read_to_string(&mut text).unwrap();
        let found = message.found.map_or_else(String::new, |(subdir, name)| {
            format!("{}/{}", subdir.name(), String::from_utf8(name).unwrap())
        });
        (text, found)
    }

    #[test]
    fn a_message_is_found_under_its_new_name_wherever_it_went() {
        let folder = folder(&["new/1.a", "cur/2.b:2,S", "cur/3.c:2,"]);
        let path = folder.path();
        fs::rename(path.join("new/1.a"), path.join("cur/1.a:2,S")).unwrap();
        fs::rename(path.join("cur/2.b:2,S"), path.join("cur/2.b:2,FS")).unwrap();
        let mut opener = Opener::default();
        let mut open =
            |subdir, name: &str| message(opener.open(path, subdir, name.as_bytes()).unwrap());
        assert_eq!(open(Subdir::New, "1.a"), ("new/1.a".into(), "cur/1.a:2,S".into()));
        assert_eq!(open(Subdir::Cur, "2.b:2,S"), ("cur/2.b:2,S".into(), "cur/2.b:2,FS".into()));
        assert_eq!(open(Subdir::Cur, "3.c:2,"), ("cur/3.c:2,".into(), String::new()));
        // The listing that was made for these is out of date for the next.
        fs::rename(path.join("cur/3.c:2,"), path.join("cur/3.c:2,T")).unwrap();
        assert_eq!(open(Subdir::Cur, "3.c:2,"), ("cur/3.c:2,".into(), "cur/3.c:2,T".into()));
    }

    #[test]
    fn a_message_that_vanished_is_gone_and_its_folder_too() {
        let folder = folder(&["cur/1.a:2,S"]);
        let mut opener = Opener::default();
        let gone = opener.open(folder.path(), Subdir::Cur, b"2.b:2,S").unwrap();
        assert!(matches!(gone, Opened::Gone));
        let error = opener.open(&folder.path().join("no"), Subdir::Cur, b"2.b:2,S").unwrap_err();
        assert!(error.is_vanished(), "{error}");
    }

    #[test]
    fn a_link_and_a_folder_are_told_for_what_they_are() {
        let folder = folder(&["cur/1.a:2,S"]);
        std::os::unix::fs::symlink("1.a:2,S", folder.path().join("cur/2.b:2,S")).unwrap();
        fs::create_dir(folder.path().join("cur/3.c:2,S")).unwrap();
        let mut opener = Opener::default();
        for name in [b"2.b:2,S", b"3.c:2,S"] {
            let opened = opener.open(folder.path(), Subdir::Cur, name).unwrap();
            assert!(matches!(opened, Opened::NotAFile(_)), "{opened:?}");
        }
    }
}
