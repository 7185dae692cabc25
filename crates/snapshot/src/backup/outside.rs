//! What a mailbox keeps outside its folder: control, index and Sieve files. In its catalog each place
//! is a folder (or file) below [`maildir::OUTSIDE`], so that it is restored, and erased, with the mail.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::{MailboxDir, OUTSIDE, Pattern, Scope, Tree, Xattrs, nofollow};
use rustix::fs::FileType;

use super::ledger::Incident;
use super::mailbox::Run;
use super::packer::Packer;
use super::remarks::Remark;
use crate::error::{Error, Result};
use crate::state::{FolderState, MailboxState, attributes_tuple};

/// Where mailboxes keep files outside their folders.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// A user's home; if none, the folder above a mailbox called `Maildir` or `mail`, else the mailbox.
    pub home: Option<Pattern>,
    /// Folder of the control files: `CONTROL=`, `mail_control_path`.
    pub control: Option<Pattern>,
    /// Folder of the index files: `INDEX=`, `mail_index_path`.
    pub index: Option<Pattern>,
    /// The file of the attributes, in which mail_crypt has folder keys: `mail_attribute_dict`.
    pub attributes: Option<Pattern>,
    /// Folders of Sieve scripts, and the link to the active one.
    pub sieve: Vec<Pattern>,
}

/// Places outside a mailbox, by their names below [`OUTSIDE`].
pub(crate) type Places = BTreeMap<String, PathBuf>;

impl Outside {
    /// The same with an administrator's links followed: see [`Pattern::resolve`].
    pub(crate) fn resolve(&self) -> Result<Self> {
        self.map(|pattern| pattern.resolve().map_err(|e| Error::io(e.action, &e.path, e.source)))
    }

    /// The same for a backup, which a link that leads nowhere does not stop: it is named with each
    /// mailbox that needs it.
    pub(crate) fn resolve_what_leads_somewhere(&self) -> Self {
        let resolve = |pattern: &Pattern| pattern.resolve().or_else(|_| Ok(pattern.clone()));
        let Ok(resolved) = self.map::<Infallible>(resolve);
        resolved
    }

    fn map<E>(
        &self,
        each: impl Fn(&Pattern) -> std::result::Result<Pattern, E>,
    ) -> std::result::Result<Self, E> {
        let one = |pattern: &Option<Pattern>| pattern.as_ref().map(&each).transpose();
        Ok(Self {
            home: one(&self.home)?,
            control: one(&self.control)?,
            index: one(&self.index)?,
            attributes: one(&self.attributes)?,
            sieve: self.sieve.iter().map(&each).collect::<std::result::Result<_, E>>()?,
        })
    }

    /// The places of a mailbox of the store at `root`. What lies in the mailbox is kept anyway.
    pub(crate) fn places(&self, root: &Path, mailbox: &MailboxDir) -> Places {
        let path = root.join(&mailbox.path);
        let home = match &self.home {
            Some(home) => home.expand(&mailbox.name, &path),
            None => default_home(&path).to_owned(),
        };
        let sieve = (1..).zip(&self.sieve).map(|(number, pattern)| match number {
            1 => (SIEVE.to_owned(), pattern),
            number => (format!("{SIEVE}-{number}"), pattern),
        });
        let control = self.control.iter().map(|pattern| (CONTROL.to_owned(), pattern));
        let index = self.index.iter().map(|pattern| (INDEX.to_owned(), pattern));
        let attributes = self.attributes.iter().map(|pattern| (ATTRIBUTES.to_owned(), pattern));
        (control.chain(index).chain(sieve).chain(attributes))
            .map(|(name, pattern)| (name, pattern.expand(&mailbox.name, &home)))
            .filter(|(_, place)| !place.starts_with(&path))
            .collect()
    }

    /// Refuses patterns that lead mailboxes of different names to one place: a user who restores his
    /// own would get the files of the others.
    pub(crate) fn check(&self, root: &Path, found: &[MailboxDir]) -> Result<()> {
        let mut owners: HashMap<PathBuf, &[u8]> = HashMap::new();
        for mailbox in found {
            for (name, place) in self.places(root, mailbox) {
                let owner = *owners.entry(place.clone()).or_insert(&mailbox.name);
                if owner != mailbox.name {
                    let show = |name| String::from_utf8_lossy(name).into_owned();
                    let option = name.split('-').next().unwrap_or(&name).to_owned();
                    let (one, other) = (show(owner), show(&mailbox.name));
                    return Err(Error::SharedPlace { option, one, other, place });
                }
            }
        }
        Ok(())
    }

    /// Takes from `found` what only looks like mailboxes: control and index folders have the files by
    /// which Dovecot's mailboxes are recognised.
    pub(crate) fn drop_places(&self, root: &Path, found: &mut Vec<MailboxDir>) {
        let places: HashSet<PathBuf> =
            found.iter().flat_map(|mailbox| self.places(root, mailbox).into_values()).collect();
        found.retain(|mailbox| {
            let path = root.join(&mailbox.path);
            let holds_mail = ["cur", "new"].iter().any(|dir| nofollow::is_dir(&path.join(dir)));
            holds_mail || !path.ancestors().any(|dir| places.contains(dir))
        });
    }
}

/// The file on disk that a path in the mailbox's catalog stands for.
pub(crate) fn locate(mailbox: &Path, places: &Places, inside: &Path) -> PathBuf {
    let place = inside.strip_prefix(OUTSIDE).ok().and_then(|below| {
        let mut parts = below.components();
        let name = parts.next()?.as_os_str().to_str()?;
        let place = places.get(name)?;
        Some(join(place, parts.as_path()))
    });
    place.unwrap_or_else(|| join(mailbox, inside))
}

/// As [`Path::join`], which adds a slash where there is nothing to join.
pub(crate) fn join(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) }
}

impl<'env> Run<'_, 'env> {
    /// Keeps what lies in the mailbox's places. Called after the listings, as uidlists are among it.
    pub(super) fn outside(
        &mut self,
        old: &MailboxState,
        packer: &mut Packer<'_, 'env>,
    ) -> Result<()> {
        let left = self.job.locate(self.context.root, Path::new("")).join(OUTSIDE);
        if nofollow::is_dir(&left) {
            self.remark(Remark::LeftOutside, Path::new(OUTSIDE));
        }
        self.note_dropped(old);
        for (name, place) in &self.job.outside {
            let inside = Path::new(OUTSIDE).join(name);
            let was_there = old.outside.contains_key(name);
            let mut tree = match nofollow::stat(place) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                    maildir::read_tree(place, Scope::Outside)
                }
                // A script, or the link to it.
                Ok(_) => Ok(Tree { files: vec![PathBuf::new()], ..Tree::default() }),
                Err(e) => Err(e),
            };
            tracing::debug!(folder = %place.display(), "listed");
            // People remove their scripts; nobody removes control files or keys of a mailbox in use.
            let is_lost = was_there && [CONTROL, ATTRIBUTES].contains(&name.as_str());
            match &tree {
                Err(e) if e.is_vanished() && !is_lost => {
                    self.remark(Remark::missing(name), &inside);
                    continue;
                }
                Err(_) => {}
                Ok(_) => self.remark(Remark::found(name), &inside),
            }
            self.next.outside.insert(name.clone(), place.as_os_str().as_bytes().to_vec());
            if let Err(e) = tree {
                self.note(Incident::Unreadable, &inside, b"", Some(e.source.to_string()));
                self.keep_known(&inside, old);
                continue;
            }
            let Ok(tree) = &mut tree else { continue };
            self.keep_unreadable(&inside, tree, old);
            for folder in &tree.folders {
                let path = join(&inside, &folder.path);
                let xattrs = Xattrs::of_folder(&place.join(&folder.path));
                let state = FolderState {
                    attributes: attributes_tuple(folder.attributes),
                    xattrs: self.xattrs(xattrs, &path),
                    ..FolderState::without_messages()
                };
                self.next.folders.insert(path.as_os_str().as_bytes().to_vec(), state);
            }
            self.files(&inside, tree, old, packer)?;
        }
        self.outside_folder();
        Ok(())
    }

    /// Places that the last snapshot has and to which this run's options do not lead. One that only
    /// moved is not among them.
    fn note_dropped(&mut self, old: &MailboxState) {
        let job = self.job;
        for (name, place) in &old.outside {
            let is_kept = job.outside.contains_key(name)
                || job.outside.values().any(|kept| kept.as_os_str().as_bytes() == place);
            if !is_kept {
                self.remark(Remark::dropped(name), &Path::new(OUTSIDE).join(name));
            }
        }
    }

    /// The folder that holds the places in the catalog; on disk there is none.
    fn outside_folder(&mut self) {
        let Some(mailbox) =
            self.next.folders.get(&b""[..]).filter(|_| !self.next.outside.is_empty())
        else {
            return;
        };
        let state =
            FolderState { attributes: mailbox.attributes, ..FolderState::without_messages() };
        self.next.folders.insert(OUTSIDE.as_bytes().to_vec(), state);
    }
}

fn default_home(mailbox: &Path) -> &Path {
    let is_below_home = mailbox
        .file_name()
        .is_some_and(|name| matches!(name.as_bytes(), b"Maildir" | b"maildir" | b"mail"));
    mailbox.parent().filter(|_| is_below_home).unwrap_or(mailbox)
}

pub(crate) const CONTROL: &str = "control";
pub(crate) const INDEX: &str = "index";
pub(crate) const ATTRIBUTES: &str = "attributes";
pub(crate) const SIEVE: &str = "sieve";

#[cfg(test)]
mod tests {
    use super::*;

    fn outside() -> Outside {
        let pattern = |text: &str| text.parse::<Pattern>().unwrap();
        Outside {
            home: None,
            control: Some(pattern("/ctl/%d/%n")),
            index: Some(pattern("~/Maildir/index")),
            attributes: None,
            sieve: vec![pattern("~/sieve"), pattern("~/.dovecot.sieve")],
        }
    }

    fn mailbox(path: &str) -> MailboxDir {
        MailboxDir { name: b"al@ex.org".into(), path: path.into() }
    }

    #[test]
    fn places_are_those_outside_the_mailbox() {
        let places = outside().places(Path::new("/v"), &mailbox("ex.org/al/Maildir"));
        let expected = [
            ("control", "/ctl/ex.org/al"),
            ("sieve", "/v/ex.org/al/sieve"),
            ("sieve-2", "/v/ex.org/al/.dovecot.sieve"),
        ];
        let expected: Places =
            expected.into_iter().map(|(name, place)| (name.into(), place.into())).collect();
        assert_eq!(places, expected);
        // The mailbox is its own home: what lies in the home lies in the mailbox.
        let places = outside().places(Path::new("/v"), &mailbox("ex.org/al"));
        assert_eq!(places.keys().collect::<Vec<_>>(), ["control"]);
        let home = Some("/home/%n".parse().unwrap());
        let places = Outside { home, ..outside() }.places(Path::new("/v"), &mailbox("ex.org/al"));
        assert_eq!(places["sieve"], Path::new("/home/al/sieve"));
    }

    #[test]
    fn no_two_mailboxes_share_a_place() {
        let named = |name: &str| MailboxDir { name: name.into(), path: name.into() };
        let check = |pattern: &str, names: &[&str]| {
            let pattern = Some(pattern.parse().unwrap());
            let found: Vec<_> = names.iter().map(|name| named(name)).collect();
            Outside { control: pattern, ..Outside::default() }.check(Path::new("/v"), &found)
        };
        let both = ["al@ex.org", "bo@ex.org"];
        for pattern in ["/ctl", "/ctl/%d"] {
            let Err(Error::SharedPlace { option, .. }) = check(pattern, &both) else {
                panic!("{pattern} is not refused")
            };
            assert_eq!(option, "control");
            check(pattern, &both[..1]).unwrap();
        }
        check("/ctl/%n", &both).unwrap();
        check("/ctl/%n", &["al@ex.org", "al@ex.com"]).unwrap_err();
    }

    #[test]
    fn paths_in_catalogs_lead_to_files() {
        let mailbox = Path::new("/v/al");
        let places = Places::from([("control".into(), "/ctl".into())]);
        let table = [
            ("dovecot-uidlist", "/v/al/dovecot-uidlist"),
            ("mailrig.outside/control/.INBOX/dovecot-uidlist", "/ctl/.INBOX/dovecot-uidlist"),
            ("mailrig.outside/control", "/ctl"),
            ("mailrig.outside/other/x", "/v/al/mailrig.outside/other/x"),
            ("mailrig.outside", "/v/al/mailrig.outside"),
        ];
        for (inside, expected) in table {
            let path = locate(mailbox, &places, Path::new(inside));
            assert_eq!(path.as_os_str(), expected, "{inside}");
        }
    }
}
