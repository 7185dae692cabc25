//! Sets extended attributes as the snapshot has them. A file system that does not take them, or a
//! user who may not set them, is counted by the caller and no failure: the mail matters more.

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;

use crate::catalog::Owner;
use crate::xattrs::{Entries, decode};

/// What belongs on a file: attributes that need the right to write, and ACLs, which a later change of
/// the mode would change again.
#[derive(Default)]
pub(crate) struct Wanted {
    users: Entries,
    acls: Entries,
    is_damaged: bool,
}

impl Wanted {
    pub(crate) fn of(owner: &Owner) -> Self {
        if owner.xattrs.is_empty() {
            return Self::default();
        }
        match decode(&owner.xattrs) {
            Some(entries) => {
                let (users, acls) =
                    entries.into_iter().partition(|(name, _)| name.starts_with(b"user."));
                Self { users, acls, is_damaged: false }
            }
            None => Self { is_damaged: true, ..Self::default() },
        }
    }

    /// Before the mode is set; whether all went well.
    pub(crate) fn set_users(&self, fd: impl AsFd) -> bool {
        set(fd, &self.users) && !self.is_damaged
    }

    /// After the mode is set; whether all went well.
    pub(crate) fn set_acls(&self, fd: impl AsFd) -> bool {
        set(fd, &self.acls)
    }
}

fn set(fd: impl AsFd, entries: &Entries) -> bool {
    let fd = fd.as_fd();
    let set = |(name, value): &(Vec<u8>, Vec<u8>)| {
        rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()).is_ok()
    };
    // All of them, also after one that is refused.
    entries.iter().filter(|entry| !set(entry)).count() == 0
}
