//! Extended attributes that a copy can have: `user.*` and POSIX ACLs. What else there is belongs to the
//! host (labels, capabilities) or to its kernel. Where a file system has none, that is no error.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::nofollow;

/// The extended attributes of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xattrs {
    /// Names and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there are more than are worth keeping.
    pub is_cut: bool,
}

impl Xattrs {
    /// Those of an open file.
    pub fn of_file(file: impl AsFd) -> Self {
        let fd = file.as_fd();
        read(
            |buffer| rustix::fs::flistxattr(fd, buffer),
            |name, buffer| rustix::fs::fgetxattr(fd, name, buffer),
        )
    }

    /// Those of a folder.
    pub fn of_folder(path: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        nofollow::open(path, flags, Mode::empty()).map(Self::of_file).unwrap_or_default()
    }
}

/// Whether an attribute of this name is kept.
pub fn is_kept_xattr(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Xattrs {
    // Most files have none, and of those that do most have few: one call then.
    let (mut short, mut short_value) = ([0; 256], [0; 256]);
    let mut long = Vec::new();
    let names = match list(&mut short) {
        Ok(length) => &short[..length],
        Err(Errno::RANGE) => {
            long.resize(MAX_BYTES, 0);
            match list(&mut long) {
                Ok(length) => &long[..length],
                Err(_) => return Xattrs { is_cut: true, ..Xattrs::default() },
            }
        }
        Err(_) => return Xattrs::default(),
    };
    let mut xattrs = Xattrs::default();
    let mut left = MAX_BYTES;
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !is_kept_xattr(name.to_bytes()) {
            continue;
        }
        let value = match get(name, &mut short_value) {
            Ok(length) => short_value[..length].to_vec(),
            Err(Errno::RANGE) => {
                let mut value = vec![0; left];
                let length = get(name, &mut value);
                xattrs.is_cut |= length == Err(Errno::RANGE);
                let Ok(length) = length else { continue };
                value.truncate(length);
                value
            }
            Err(_) => continue,
        };
        match left.checked_sub(name.to_bytes().len() + value.len()) {
            Some(rest) => left = rest,
            None => {
                xattrs.is_cut = true;
                continue;
            }
        }
        xattrs.entries.push((name.to_bytes().to_vec(), value));
    }
    xattrs.entries.sort_unstable();
    xattrs
}

/// Of a file or folder no more than this is kept, names and values together.
const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::XattrFlags;

    use super::*;

    fn set(file: &File, name: &str, value: &[u8]) -> bool {
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).is_ok()
    }

    #[test]
    fn attributes_of_users_are_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("a")).unwrap();
        assert_eq!(Xattrs::of_file(&file), Xattrs::default());
        if !set(&file, "user.b", b"two\0\xff") || !set(&file, "user.a", b"") {
            return; // A file system without them.
        }
        let entries = vec![(b"user.a".to_vec(), vec![]), (b"user.b".to_vec(), b"two\0\xff".into())];
        let expected = Xattrs { entries, is_cut: false };
        assert_eq!(Xattrs::of_file(&file), expected);
        assert_eq!(Xattrs::of_folder(folder.path()), Xattrs::default());
        // So many names that they do not fit at first.
        let long = (0..20).filter(|i| set(&file, &format!("user.{i:0>40}"), b"x")).count();
        assert_eq!(Xattrs::of_file(&file).entries.len(), 2 + long);
        if set(&file, "user.large", &vec![7; 65_536]) {
            assert!(Xattrs::of_file(&file).is_cut);
        }
    }

    #[test]
    fn what_belongs_to_the_host_is_not_kept() {
        for name in ["security.capability", "security.selinux", "trusted.x", "system.nfs4_acl"] {
            assert!(!is_kept_xattr(name.as_bytes()), "{name}");
        }
        assert!(is_kept_xattr(b"user.x") && is_kept_xattr(b"system.posix_acl_default"));
    }
}
