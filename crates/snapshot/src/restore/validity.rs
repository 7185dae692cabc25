//! Dovecot's record of the highest UIDVALIDITY that it gave in a mailbox: `dovecot-uidvalidity` with
//! the number in hex, and an empty file whose name ends in it, which decides where the two differ.
//! Both lie in the mailbox, or where its control files do.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::live::replace;
use super::survey::read_file;

/// The highest number of the record in `dir`; 0 if there is none.
pub(crate) fn highest(dir: Option<&OwnedFd>) -> io::Result<u32> {
    let Some(dir) = dir else { return Ok(0) };
    Ok(in_file(dir)?.max(in_names(dir)?).unwrap_or(0))
}

/// Raises the record in `dir` to `validity`, so that the next folder that Dovecot makes gets a higher
/// one. Dovecot takes no lock: it renames the empty file, and looks again when that was renamed.
pub(crate) fn raise(dir: &OwnedFd, validity: u32) -> io::Result<()> {
    for _ in 0..TRIES {
        let named = in_names(dir)?;
        if named < Some(validity) {
            let to = name_of(validity);
            let done = match named {
                Some(before) => rustix::fs::renameat(dir, name_of(before).as_str(), dir, &*to),
                None => make(dir, &to),
            };
            match done {
                Err(Errno::NOENT) => continue,
                done => done?,
            }
        }
        if in_file(dir)? < Some(validity) {
            replace(dir, dir, OsStr::new(RECORD), format!("{validity:08x}").as_bytes())?;
        }
        return Ok(());
    }
    Err(io::Error::other(format!("`{RECORD}` changed all the time")))
}

fn in_file(dir: &OwnedFd) -> io::Result<Option<u32>> {
    let bytes = read_file(dir, RECORD.as_bytes())?;
    Ok(bytes.and_then(|bytes| parse(bytes.get(..8)?)))
}

fn in_names(dir: &OwnedFd) -> io::Result<Option<u32>> {
    let mut highest = None;
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().strip_prefix(RECORD.as_bytes());
        highest = highest.max(name.and_then(|end| parse(end.strip_prefix(b".")?)));
    }
    Ok(highest)
}

fn make(dir: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o444))?;
    let owner = rustix::fs::fstat(dir.as_fd())?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    match rustix::fs::fchown(&file, Some(uid), Some(gid)) {
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

fn name_of(validity: u32) -> String {
    format!("{RECORD}.{validity:08x}")
}

/// Eight hex digits.
fn parse(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| is_number)
}

/// The file's name, and how that of the empty one begins.
pub(crate) const RECORD: &str = "dovecot-uidvalidity";

/// As often as Dovecot tries.
const TRIES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_record_is_raised_as_dovecot_raises_it_and_never_lowered() {
        // The files before (name after the dot, content), what they say, and after a raise to 0x6b000010.
        type Row<'r> = (&'r [(&'r str, &'r str)], u32, &'r [(&'r str, &'r str)]);
        const TO: u32 = 0x6b00_0010;
        let table: [Row<'_>; 6] = [
            (&[], 0, &[("", "6b000010"), (".6b000010", "")]),
            (
                &[("", "6b000001"), (".6b000001", "")],
                0x6b00_0001,
                &[("", "6b000010"), (".6b000010", "")],
            ),
            // A restore of the file alone, and one whose names are ahead.
            (&[("", "6b000002")], 0x6b00_0002, &[("", "6b000010"), (".6b000010", "")]),
            (
                &[("", "6b000001"), (".6b000003", ""), (".6b000002", "")],
                0x6b00_0003,
                &[("", "6b000010"), (".6b000002", ""), (".6b000010", "")],
            ),
            (
                &[("", "7b000001"), (".7b000001", "")],
                0x7b00_0001,
                &[("", "7b000001"), (".7b000001", "")],
            ),
            (
                &[("", "junk"), (".lock", "")],
                0,
                &[("", "6b000010"), (".6b000010", ""), (".lock", "")],
            ),
        ];
        for (before, said, after) in table {
            let folder = tempfile::tempdir().unwrap();
            for (end, content) in before {
                fs::write(folder.path().join(format!("{RECORD}{end}")), content).unwrap();
            }
            let dir: OwnedFd = fs::File::open(folder.path()).unwrap().into();
            assert_eq!(highest(Some(&dir)).unwrap(), said, "{before:?}");
            raise(&dir, TO).unwrap();
            let mut found: Vec<(String, String)> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    (name[RECORD.len()..].to_owned(), fs::read_to_string(&path).unwrap())
                })
                .collect();
            found.sort();
            let found: Vec<_> = found.iter().map(|(end, text)| (&**end, &**text)).collect();
            assert_eq!(found, after, "{before:?}");
        }
    }
}
