//! Files that lay outside the mailbox (control, index, Sieve): where they go if an option says so.
//! Without one they stay below [`OUTSIDE`] beside the mail. Follows no link, and puts nothing in
//! place of what is there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use maildir::{Layout, MailboxDir, OUTSIDE, control_dir, move_new};
use rustix::fs::AtFlags;

use super::files::{Owners, open_beneath};
use super::live::Staged;
use super::plan::Dir;
use super::select::Selected;
use super::{Run, is_of_all};
use crate::backup::Outside;
use crate::catalog::Contents;
use crate::error::{Error, Result};
use crate::parallel::{WAITING, map};

/// The places of one mailbox, by their names below [`OUTSIDE`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    places: BTreeMap<String, PathBuf>,
    /// Of control folders in the snapshot, and at the target.
    from: Layout,
    to: Layout,
}

/// Where a file of the snapshot goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// The folder of the mailbox that it belongs to.
    pub(crate) folder: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) name: OsString,
    pub(crate) is_control: bool,
}

impl Places {
    /// Those that `outside` names for the mailbox `path` in `root`; the error is a reason. The name of
    /// a mailbox is the repository's word and may be hostile.
    pub(crate) fn of(
        outside: &Outside,
        root: &Path,
        name: &[u8],
        path: &Path,
        contents: &Contents,
    ) -> std::result::Result<Self, String> {
        let mailbox = MailboxDir { name: name.to_vec(), path: path.to_owned() };
        let places = outside.places(root, &mailbox);
        for place in places.values() {
            let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
            if !place.components().all(is_plain) {
                return Err(format!("its name makes the path {}", place.display()));
            }
        }
        let has = |name: &str| contents.folders.contains_key(&format!("{OUTSIDE}/control/{name}"));
        let from = if has("INBOX") && !has(".INBOX") { Layout::Fs } else { Layout::default() };
        let there = places.get(CONTROL).filter(|control| control.is_dir());
        let to = there.map_or(from, |control| Layout::of_control(control));
        Ok(Self { places, from, to })
    }

    fn split<'p>(&self, path: &'p Path) -> Option<(&'p str, &Path, &'p Path)> {
        let mut parts = path.strip_prefix(OUTSIDE).ok()?.components();
        let name = parts.next()?.as_os_str().to_str()?;
        Some((name, self.places.get(name)?, parts.as_path()))
    }

    /// Where the file with this path in the catalog goes; `None` if no option says so.
    pub(crate) fn lead(&self, path: &Path) -> Option<Lead> {
        let (name, place, inside) = self.split(path)?;
        let is_control = name == CONTROL;
        let Some(file) = inside.file_name() else {
            // A script, or the link to it.
            let (dir, name) = (place.parent()?.to_owned(), place.file_name()?.to_owned());
            return Some(Lead { folder: OUTSIDE.into(), dir, name, is_control: false });
        };
        let above = inside.parent().unwrap_or(Path::new(""));
        let folder = if is_control { self.folder(above) } else { path.parent()?.to_owned() };
        let dir = self.dir(path.parent()?)?;
        Some(Lead { folder, dir, name: file.to_owned(), is_control })
    }

    /// Where the folder with this path in the catalog goes.
    pub(crate) fn dir(&self, path: &Path) -> Option<PathBuf> {
        let (name, place, inside) = self.split(path)?;
        let by_folder = matches!(name, CONTROL | INDEX) && !inside.as_os_str().is_empty();
        Some(if by_folder {
            control_dir(place, &self.folder(inside), self.to)
        } else {
            place.components().chain(inside.components()).collect()
        })
    }

    /// The mailbox's folder whose control files lie in `inside`.
    fn folder(&self, inside: &Path) -> PathBuf {
        let inbox = if self.from == Layout::Fs { "INBOX" } else { ".INBOX" };
        if inside == Path::new(inbox) { PathBuf::new() } else { inside.to_owned() }
    }

    /// Where the server keeps the lists of a folder, if not in it.
    pub(crate) fn control(&self, folder: &Path) -> Option<PathBuf> {
        Some(control_dir(self.places.get(CONTROL)?, folder, self.to))
    }

    /// Where it keeps the control files of the whole mailbox, if not in it.
    pub(crate) fn control_root(&self) -> Option<&Path> {
        self.places.get(CONTROL).map(PathBuf::as_path)
    }

    /// Where it keeps the index files of a folder, if not in it.
    pub(crate) fn index(&self, folder: &Path) -> Option<PathBuf> {
        Some(control_dir(self.places.get(INDEX)?, folder, self.to))
    }

    /// Where it keeps the index of the folders, if not in the mailbox.
    pub(crate) fn index_root(&self) -> Option<&Path> {
        self.places.get(INDEX).map(PathBuf::as_path)
    }

    /// The folder of what is of the whole mailbox, if it is there.
    pub(crate) fn open_control_root(&self, root: &OwnedFd) -> io::Result<Option<OwnedFd>> {
        match self.control_root().map_or_else(|| root.try_clone(), open) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            done => Ok(Some(done?)),
        }
    }

    /// The folder of a folder's lists.
    pub(crate) fn open_control(&self, root: &OwnedFd, folder: &Path) -> io::Result<OwnedFd> {
        match self.control(folder) {
            Some(control) => open(&control),
            None => open_beneath(root, folder),
        }
    }
}

/// The folder of the mailbox whose control files lie in the folder `dir` of the catalog.
pub(crate) fn folder_of_control(dir: &str) -> Option<&str> {
    let dir = dir.strip_prefix(OUTSIDE)?.strip_prefix('/')?.strip_prefix(CONTROL)?;
    Some(match dir.strip_prefix('/')? {
        "INBOX" | ".INBOX" => "",
        folder => folder,
    })
}

/// Where the control files of a folder of the mailbox, not INBOX, lie in the catalog.
pub(crate) fn control_of_folder(folder: &str) -> String {
    format!("{OUTSIDE}/{CONTROL}/{folder}")
}

impl Run<'_> {
    /// Refuses patterns that lead mailboxes of different names to one place, before anything is
    /// written: the lists of one would become those of the other.
    pub(super) fn check_places(&self, selected: &[Selected<'_>]) -> Result<()> {
        // Each in a folder of its own, as their homes are: what lies there differs anyway.
        let dir = |id: &str, name: Vec<u8>| MailboxDir { name, path: id.into() };
        let (outside, root) = (&self.options.outside, Path::new("/"));
        if selected.len() < 2 || outside.places(root, &dir("any", b"any".to_vec())).is_empty() {
            return Ok(());
        }
        let is_tree = |one: &&Selected<'_>| one.sources.iter().all(|(catalog, _)| catalog.tree);
        let mailboxes: Vec<&str> =
            selected.iter().filter(|one| !is_tree(one)).map(|one| one.id).collect();
        let open = |id: &&str| self.repository.open_mailbox(id, self.identity);
        let mut named = Vec::new();
        for (id, opened) in mailboxes.iter().zip(map(WAITING, &mailboxes, open)) {
            match opened {
                Ok(mailbox) => named.push(dir(id, mailbox.name)),
                Err(e @ Error::WrongIdentity { .. }) => return Err(e),
                // It is named when its turn comes.
                Err(e) if e.is_local_to_object() => {}
                Err(e) => return Err(e),
            }
        }
        outside.check(root, &named)
    }
}

/// Opens a folder by its absolute path.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    open_beneath(File::open("/")?, path.strip_prefix("/").unwrap_or(path))
}

/// Folders that were made, and those that could not be.
pub(crate) type Made<'d> = (Vec<&'d Dir>, Vec<(PathBuf, io::Error)>);

/// Makes those folders that are not there; those are finished once more when all is in them.
pub(crate) fn make<'d>(dirs: &'d [Dir], owners: &Owners) -> io::Result<Made<'d>> {
    let root = File::open("/")?;
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for dir in dirs {
        let done = match open_beneath(&root, &dir.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let done = owners.make_dirs(&root, &dir.path, Some(&dir.owner));
                made.extend(done.is_ok().then_some(dir));
                done
            }
            done => done,
        };
        match done {
            Err(e) if is_of_all(&e) => return Err(e),
            Err(e) => failed.push((Path::new("/").join(&dir.path), e)),
            Ok(_) => {}
        }
    }
    Ok((made, failed))
}

/// Copies a file that was written to `stage` to its folder `to`, which may lie in another file system;
/// leaves what is there.
pub(crate) fn put(stage: impl AsFd, file: &Staged, to: &Path, owners: &Owners) -> io::Result<()> {
    let dir = open(to)?;
    let mut content = File::from(rustix::fs::openat(
        stage,
        &file.name,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?);
    let written = write_aside(&dir, file, &mut content, owners)?;
    let done = move_new(&dir, &written, &dir, &file.target.name);
    if done.is_err() {
        let _ = rustix::fs::unlinkat(&dir, &written, AtFlags::empty());
    }
    match done {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Puts a list in place of the one that is there, if one is.
pub(crate) fn put_list(
    dir: &OwnedFd,
    file: &Staged,
    list: &[u8],
    owners: &Owners,
) -> io::Result<()> {
    let mut content = list;
    let written = write_aside(dir, file, &mut content, owners)?;
    Ok(rustix::fs::renameat(dir, &written, dir, &file.target.name)?)
}

fn write_aside(
    dir: &OwnedFd,
    file: &Staged,
    content: &mut dyn io::Read,
    owners: &Owners,
) -> io::Result<OsString> {
    let mut aside = OsString::from(".mailrig-partial-");
    aside.push(&file.name);
    let _ = rustix::fs::unlinkat(dir, &aside, AtFlags::empty());
    owners.write(dir, OsStr::new(&aside), &file.target, content)?.sync_all()?;
    Ok(aside)
}

const CONTROL: &str = "control";
const INDEX: &str = "index";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lead_where_the_server_looks() {
        let of = |control: &str, to| Places {
            places: BTreeMap::from([
                ("control".into(), control.into()),
                ("sieve".into(), "/s/al".into()),
            ]),
            from: Layout::MaildirPlusPlus,
            to,
        };
        let table = [
            ("control/.INBOX/dovecot-uidlist", "", "/c/.INBOX", "/c/INBOX"),
            ("control/.Sent/dovecot-uidlist", ".Sent", "/c/.Sent", "/c/.Sent"),
            ("control/subscriptions", "", "/c", "/c"),
            ("sieve/a/x", "mailrig.outside/sieve/a", "/s/al/a", "/s/al/a"),
            ("sieve", "mailrig.outside", "/s", "/s"),
        ];
        for (path, folder, dotted, nested) in table {
            let path = Path::new(OUTSIDE).join(path);
            for (to, dir) in [(Layout::MaildirPlusPlus, dotted), (Layout::Fs, nested)] {
                let lead = of("/c", to).lead(&path).unwrap();
                assert_eq!((&*lead.folder, &*lead.dir), (Path::new(folder), Path::new(dir)));
            }
        }
        for path in ["dovecot-uidlist", "mailrig.outside", "mailrig.outside/index/x"] {
            assert_eq!(of("/c", Layout::Fs).lead(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_mailbox_whose_name_leads_elsewhere_is_refused() {
        let outside = Outside { control: Some("/ctl/%u".parse().unwrap()), ..Outside::default() };
        let of = |name: &str| {
            let (root, path) = (Path::new("/v"), Path::new("al"));
            Places::of(&outside, root, name.as_bytes(), path, &Contents::default())
        };
        assert!(of("al").is_ok());
        assert!(of("../etc").is_err());
    }
}
