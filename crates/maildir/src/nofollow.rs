//! The only way to open, or look at, what the owners of mailboxes can move about: no link is followed,
//! whichever part of the path it is. `O_NOFOLLOW` guards the last part alone, and root would read for an
//! owner who swaps a folder for a link what only root may read. Paths come without the administrator's
//! links: whoever begins a run resolves those once.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{Error, Result};

/// A directory, opened without following a link, in which things are looked at by name.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory to look things up in it; it need not be readable.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        open(path, flags, Mode::empty()).map(Self).map_err(|e| Error::new("open", path, e))
    }

    /// What an entry is; of a link, the link itself.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> rustix::io::Result<Stat> {
        rustix::fs::statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether an entry is a directory, and no link to one.
    pub fn has_dir(&self, name: impl AsRef<OsStr>) -> bool {
        self.stat(name).is_ok_and(|stat| kind(&stat).is_dir())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What lies at a path; of a link, the link itself.
pub fn stat(path: &Path) -> Result<Stat> {
    let failed = |e| Error::new("stat", path, e);
    let handle = open_by(way(), path, HANDLE, Mode::empty()).map_err(failed)?;
    rustix::fs::fstat(handle).map_err(failed)
}

/// Whether a directory lies at a path, and no link to one.
pub fn is_dir(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| kind(&stat).is_dir())
}

/// Whether a path is a link, or leads over one.
pub fn is_linked(path: &Path) -> bool {
    match open_by(way(), path, HANDLE, Mode::empty()) {
        Ok(handle) => rustix::fs::fstat(handle).is_ok_and(|stat| kind(&stat).is_symlink()),
        Err(e) => e == Errno::LOOP,
    }
}

/// What lies at a path and, if that is a link, where it points.
pub(crate) fn stat_link(path: &Path) -> rustix::io::Result<(Stat, Option<Vec<u8>>)> {
    let handle = open_by(way(), path, HANDLE, Mode::empty())?;
    let stat = rustix::fs::fstat(&handle)?;
    let target = match kind(&stat) {
        FileType::Symlink => Some(rustix::fs::readlinkat(&handle, "", Vec::with_capacity(64))?),
        _ => None,
    };
    Ok((stat, target.map(std::ffi::CString::into_bytes)))
}

/// Opens what lies at a path. A link, in whichever part, is `ELOOP`.
pub(crate) fn open(path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    open_by(way(), path, flags, mode)
}

/// What a directory has in it.
pub(crate) type Entry = (OsString, FileType);

/// The entries of a directory by name, with the directory as it was before and after.
pub(crate) fn entries(path: &Path) -> Result<(Vec<Entry>, [Stat; 2])> {
    let failed = |e: Errno| Error::new("list", path, e);
    let dir = open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let before = rustix::fs::fstat(&dir).map_err(failed)?;
    let mut entries = Vec::new();
    let mut reading = rustix::fs::Dir::new(dir).map_err(failed)?;
    while let Some(entry) = reading.read() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            entries.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    let dir = reading.fd().map_err(failed)?;
    // File systems that do not tell are asked about each, and it may be gone by then.
    for (name, kind_told) in entries.iter_mut().filter(|(_, told)| *told == FileType::Unknown) {
        match rustix::fs::statat(dir, &**name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => *kind_told = kind(&stat),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    entries.retain(|(_, kind)| *kind != FileType::Unknown);
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let after = rustix::fs::fstat(dir).map_err(failed)?;
    Ok((entries, [before, after]))
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Of `ELOOP`, which nobody understands, what it means here, and which part of the path it is about.
pub(crate) fn explain(path: &Path, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(Errno::LOOP.raw_os_error()) {
        return error;
    }
    let is_link = |part: &&Path| {
        rustix::fs::statat(CWD, *part, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| kind(&stat).is_symlink())
    };
    let parts: Vec<&Path> = path.ancestors().collect();
    let text = match parts.into_iter().rev().find(is_link) {
        Some(link) => format!("{} is a link, and links are not followed", link.display()),
        None => "a link took the place of a folder for a while, and was not followed".to_owned(),
    };
    io::Error::new(io::ErrorKind::NotADirectory, text)
}

/// By which means links are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the kernel, in the one call that opens.
    Openat2,
    /// By opening each part of the path in the one before.
    Walk,
}

/// Kernels before 5.6 have no `openat2`, and filters older than it refuse what they do not know.
fn way() -> Way {
    static WAY: OnceLock<Way> = OnceLock::new();
    *WAY.get_or_init(|| match openat2(Path::new("/"), HANDLE, Mode::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => Way::Walk,
        _ => Way::Openat2,
    })
}

fn open_by(way: Way, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    if way == Way::Walk {
        return walk(path, flags, mode);
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(path, flags, mode) {
            Err(Errno::AGAIN) if attempts < ATTEMPTS => {}
            done => return done,
        }
    }
}

fn openat2(path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS)
}

fn walk(path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let is_part = |part: &Component<'_>| !matches!(part, Component::RootDir | Component::CurDir);
    let mut parts = path.components().filter(is_part).peekable();
    if parts.peek().is_none() {
        return rustix::fs::openat(CWD, start, flags, mode);
    }
    let mut at = rustix::fs::openat(CWD, start, step, Mode::empty())?;
    while let Some(part) = parts.next() {
        let name = part.as_os_str();
        let is_last = parts.peek().is_none();
        let (flags, mode) = if is_last { (flags, mode) } else { (step, Mode::empty()) };
        let opened = rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW, mode);
        at = match opened {
            // What is asked for a directory tells of a link that it is none.
            Err(Errno::NOTDIR) if is_link_in(&at, name) => return Err(Errno::LOOP),
            opened => opened?,
        };
        // A handle of a link is had only by who asks for it.
        if is_last && flags.contains(OFlags::PATH) && !flags.contains(OFlags::NOFOLLOW) {
            let stat = rustix::fs::fstat(&at)?;
            if kind(&stat).is_symlink() {
                return Err(Errno::LOOP);
            }
        }
    }
    Ok(at)
}

fn is_link_in(dir: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| kind(&stat).is_symlink())
}

/// Opens a link itself where it is the last part.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// `openat2` gives up where it meets a rename: so often it is asked again.
const ATTEMPTS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    const WAYS: [Way; 2] = [Way::Openat2, Way::Walk];

    /// A store with a folder, and beside it what nobody but root may read, under the same names.
    fn places() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for (folder, content) in [("store/a/.A", "theirs"), ("secret/.A", "secret")] {
            fs::create_dir_all(base.join(folder).join("cur")).unwrap();
            fs::write(base.join(folder).join("cur/1.m"), content).unwrap();
        }
        (dir, base)
    }

    fn swap(path: &Path, to: &Path) {
        fs::rename(path, path.with_extension("away")).unwrap();
        symlink(to, path).unwrap();
    }

    fn read(opened: rustix::io::Result<OwnedFd>) -> std::result::Result<String, Errno> {
        let mut text = String::new();
        File::from(opened?).read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn a_link_in_any_part_of_a_path_is_refused_in_both_ways() {
        let table = [
            ("store/a", "secret"),
            ("store/a/.A", "secret/.A"),
            ("store/a/.A/cur", "secret/.A/cur"),
            ("store/a/.A/cur/1.m", "secret/.A/cur/1.m"),
        ];
        for way in WAYS {
            let open = |path: &Path, flags| open_by(way, path, flags, Mode::empty());
            let (_dir, base) = places();
            let message = base.join("store/a/.A/cur/1.m");
            assert_eq!(read(open(&message, OFlags::RDONLY)).as_deref(), Ok("theirs"));
            for (part, to) in table {
                let (_dir, base) = places();
                swap(&base.join(part), &base.join(to));
                let message = base.join("store/a/.A/cur/1.m");
                let refused = Err(Errno::LOOP);
                assert_eq!(read(open(&message, OFlags::RDONLY)), refused, "{way:?} {part}");
                // What the guard is for: the last part alone is guarded by this.
                let plain = rustix::fs::open(&message, OFlags::NOFOLLOW, Mode::empty());
                let is_last = base.join(part) == message;
                assert_eq!(read(plain), if is_last { refused } else { Ok("secret".into()) });
                // As a folder, and as one to look things up in.
                let part = base.join(part);
                for flags in [OFlags::RDONLY, OFlags::PATH] {
                    let opened = open(&part, flags | OFlags::DIRECTORY);
                    assert_eq!(opened.err(), Some(Errno::LOOP), "{way:?} {flags:?}");
                }
                assert_eq!(open(&part, OFlags::PATH).err(), Some(Errno::LOOP), "{way:?}");
                let handle = open(&part, HANDLE).unwrap();
                assert!(kind(&rustix::fs::fstat(&handle).unwrap()).is_symlink());
                let gone = open(&message.with_file_name("2.m"), OFlags::RDONLY).err();
                let expected = if is_last { Errno::NOENT } else { Errno::LOOP };
                assert_eq!(gone, Some(expected), "{way:?}: a link is never taken for nothing");
            }
        }
    }

    #[test]
    fn both_ways_tell_alike_what_is_no_link() {
        let (_dir, base) = places();
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        symlink("nowhere", base.join("store/dangling")).unwrap();
        let table = [
            ("store/a/.A/cur", OFlags::RDONLY | OFlags::DIRECTORY, None),
            ("store/./a", HANDLE, None),
            ("store/none/x", OFlags::RDONLY, Some(Errno::NOENT)),
            ("store/a/.A/cur/1.m/x", OFlags::RDONLY, Some(Errno::NOTDIR)),
            ("store/a/.A/cur/1.m", OFlags::PATH | OFlags::DIRECTORY, Some(Errno::NOTDIR)),
            ("store/a/.A/cur/1.m", create, Some(Errno::EXIST)),
            ("store/dangling", create, Some(Errno::EXIST)),
        ];
        for way in WAYS {
            for (path, flags, expected) in table {
                let opened = open_by(way, &base.join(path), flags, Mode::empty());
                assert_eq!(opened.err(), expected, "{way:?} {path}");
            }
            assert!(open_by(way, Path::new("/"), HANDLE, Mode::empty()).is_ok());
            assert!(open_by(way, Path::new("src"), HANDLE, Mode::empty()).is_ok());
        }
    }

    #[test]
    fn the_part_that_is_a_link_is_named() {
        let (_dir, base) = places();
        swap(&base.join("store/a/.A"), &base.join("secret/.A"));
        let error = Dir::open(&base.join("store/a/.A/cur")).unwrap_err();
        let expected = format!("{}/store/a/.A is a link, and links", base.display());
        assert!(error.source.to_string().starts_with(&expected), "{error}");
        assert!(!error.is_vanished());
        assert!(is_linked(&base.join("store/a/.A/cur/1.m")) && is_linked(&base.join("store/a/.A")));
        assert!(!is_linked(&base.join("store/a")) && !is_linked(&base.join("store/none")));
    }
}
