//! Putting a message where a server reads: a name that no other message has, and a move that never
//! replaces anything. The file itself is written in `tmp` by the caller.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

/// Moves a file. Fails with `AlreadyExists` if the new name is taken.
pub fn move_new(
    from_dir: impl AsFd,
    from: impl rustix::path::Arg + Copy,
    to_dir: impl AsFd,
    to: impl rustix::path::Arg + Copy,
) -> io::Result<()> {
    let (from_dir, to_dir) = (from_dir.as_fd(), to_dir.as_fd());
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do that can link.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(from_dir, from, AtFlags::empty())?)
        }
        done => Ok(done?),
    }
}

/// A base name for a message that cannot have its own: the server remembers that one as expunged,
/// or another message has it. The same `content` (anything that tells messages of one name apart)
/// and `counter` give the same name, so that a second try finds what the first one wrote. The time
/// at its start and the sizes at its end stay as they were.
pub fn fresh_base(base: &[u8], content: &str, counter: u32) -> Vec<u8> {
    let end = memchr::memchr(b',', base).unwrap_or(base.len());
    let digits = base.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds = if digits == 0 { b"0" } else { &base[..digits.min(SECONDS_DIGITS)] };
    let mut name = seconds.to_vec();
    name.extend_from_slice(format!(".R{:016x}Q{counter}.mailrig", hash(base, content)).as_bytes());
    for field in base[end..].split(|byte| *byte == b',') {
        // Other programs' fields, such as mbsync's `U=`, name the message that it no longer is.
        if field.starts_with(b"S=") || field.starts_with(b"W=") {
            name.push(b',');
            name.extend_from_slice(field);
        }
    }
    name
}

/// FNV-1a, which needs to be the same for ever, not strong: names are checked before they are used.
fn hash(base: &[u8], content: &str) -> u64 {
    let bytes = base.iter().chain(b"/").chain(content.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Seconds that fit a 64-bit number.
const SECONDS_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::is_unique_name;
    use std::fs::{self, File};

    #[test]
    fn fresh_names_keep_time_and_sizes_and_differ_by_content_and_counter() {
        let fresh =
            |base: &str, content, n| String::from_utf8(fresh_base(base.as_bytes(), content, n));
        let name = fresh("1276528487.M36P94.host,S=7355,W=8201,U=9", "1", 0).unwrap();
        assert!(name.starts_with("1276528487.R"), "{name}");
        assert!(name.ends_with("Q0.mailrig,S=7355,W=8201"), "{name}");
        assert_eq!(Ok(name.clone()), fresh("1276528487.M36P94.host,S=7355,W=8201,U=9", "1", 0));
        for (base, content, counter) in [
            ("1276528487.M37P94.host,S=7355,W=8201", "1", 0),
            ("1276528487.M36P94.host,S=7355,W=8201,U=9", "2", 0),
            ("1276528487.M36P94.host,S=7355,W=8201,U=9", "1", 1),
        ] {
            assert_ne!(Ok(name.clone()), fresh(base, content, counter));
        }
        for base in ["msg.1", "", "99999999999999999999999999.x", ",S=1"] {
            let name = fresh(base, "", 0).unwrap();
            assert!(is_unique_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_move_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = File::open(folder.path()).unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        fs::write(folder.path().join("b"), "b").unwrap();
        let error = move_new(&dir, "a", &dir, "b").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"b");
        move_new(&dir, "a", &dir, "c").unwrap();
        assert_eq!(fs::read(folder.path().join("c")).unwrap(), b"a");
        assert!(!folder.path().join("a").exists());
    }
}
