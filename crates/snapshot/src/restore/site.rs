//! The two kinds of places that a mailbox is restored to, as the unpacking sees them: a name for each
//! file in an open directory. In a new mailbox that is its own; in a live one, one in the stage.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::files::Owners;
use super::live::Live;
use super::partial::Partial;
use super::plan::{Kind, Target};
use super::unpack::remove;

/// Where a mailbox goes.
pub(crate) enum Site {
    /// A folder beside its place.
    New(Partial),
    /// The mailbox that is there.
    Live(Live),
}

impl Site {
    /// Where the mailbox lies while it is worked on.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::New(partial) => &partial.path,
            Self::Live(live) => &live.path,
        }
    }

    /// Where to write a target.
    pub(crate) fn place(
        &self,
        target: &Target,
        owners: &Owners,
    ) -> io::Result<(OwnedFd, OsString)> {
        match self {
            Self::New(partial) => {
                let dir = owners.make_dirs(&partial.root, self.dir(target), None)?;
                Ok((dir, self.name(target)?))
            }
            Self::Live(live) => live.place(),
        }
    }

    /// The name alone, for a directory that is open.
    pub(crate) fn name(&self, target: &Target) -> io::Result<OsString> {
        match self {
            Self::New(partial) if target.outside.is_some() => Ok(partial.next_name()),
            // Lists of UIDs are written again when all is there.
            Self::New(_) if target.kind == Kind::Uidlist => Ok(raw_list(target)),
            Self::New(_) => Ok(target.name.clone()),
            Self::Live(live) => live.name(),
        }
    }

    /// The directory that a target is written to first, in the mailbox or the stage.
    pub(crate) fn dir<'t>(&self, target: &'t Target) -> &'t Path {
        match self {
            Self::New(_) if target.outside.is_none() => &target.dir,
            Self::New(_) => Path::new(ASIDE),
            Self::Live(_) => Path::new(""),
        }
    }

    /// Removes what was written for a target.
    pub(crate) fn discard(&self, target: &Target, name: &OsString) {
        match self {
            Self::New(partial) => remove(&partial.root, self.dir(target), name),
            Self::Live(live) => live.discard(name),
        }
    }
}

/// The directory in a new mailbox for what goes elsewhere in the end.
pub(crate) const ASIDE: &str = ".mailrig-outside";

/// The name of a list of UIDs as the snapshot has it, until it is settled.
pub(crate) fn raw_list(target: &Target) -> OsString {
    let mut name = target.name.clone();
    name.push(".mailrig");
    name
}
