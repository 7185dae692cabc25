//! Decides what of a mailbox is restored and where each part comes from. Pure. Every name in a
//! catalog is hostile until it was looked at here: no path leaves the mailbox's folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use maildir::OUTSIDE;

use super::outside::{Lead, Places};
use super::report::Missing;
use crate::catalog::{CatalogHead, Content, Contents, Line, Owner, parse_time};
use crate::layout::{decode_name, mailbox_prefix};
use crate::object::ObjectRef;
use crate::place::Part;

/// All that is done for one mailbox.
#[derive(Debug, Default)]
pub(crate) struct MailboxPlan {
    /// Directories, parents before children, with `new`, `cur` and `tmp`.
    pub(crate) dirs: Vec<Dir>,
    /// Folders outside the mailbox, by their paths below `/`.
    pub(crate) outside_dirs: Vec<Dir>,
    /// Names of what stays in the mailbox although it lay outside.
    pub(crate) left_outside: BTreeSet<String>,
    /// Those of `dirs` that hold messages.
    pub(crate) maildirs: Vec<PathBuf>,
    /// Packs and what is taken from each.
    pub(crate) packs: Vec<PackPlan>,
    /// Links; made last, so that nothing is written through one.
    pub(crate) links: Vec<Link>,
    /// What cannot be restored, with the reason.
    pub(crate) refused: Vec<Refused>,
    /// Number of messages; of a tree, files and links.
    pub(crate) messages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Something that a hostile or damaged catalog asks for.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) reason: String,
    pub(crate) missing: Missing,
}

/// A directory to make.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
    pub(crate) owner: Owner,
    /// Where it is known.
    pub(crate) mtime_ns: Option<i64>,
}

impl Dir {
    /// Its path in `folder`, if it is that or one of the three in it.
    fn inside(&self, folder: &Path) -> Option<PathBuf> {
        let inside = self.path.strip_prefix(folder).ok()?;
        let is_its = ["", "cur", "new", "tmp"].iter().any(|subdir| inside == Path::new(subdir));
        is_its.then(|| inside.to_owned())
    }
}

/// A link to make.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) path: PathBuf,
    /// The folder outside the mailbox that it goes to, with the path's file name.
    pub(crate) outside: Option<PathBuf>,
    pub(crate) target: OsString,
    pub(crate) owner: Owner,
}

/// A pack, and the files that its members become.
#[derive(Debug)]
pub(crate) struct PackPlan {
    /// The object's key.
    pub(crate) key: String,
    pub(crate) reference: ObjectRef,
    /// Length of its tar, not to be exceeded.
    pub(crate) raw: u64,
    /// What proves its members one by one; not needed as long as the pack is whole.
    pub(crate) index: Option<Part>,
    /// By member number.
    pub(crate) members: HashMap<u32, Vec<Target>>,
}

impl PackPlan {
    /// The object alone.
    pub(crate) fn without_members(&self) -> Self {
        let (key, reference) = (self.key.clone(), self.reference.clone());
        Self { key, reference, raw: self.raw, index: self.index.clone(), members: HashMap::new() }
    }

    /// The numbers of its members, rising.
    pub(crate) fn wanted(&self) -> Vec<u32> {
        let mut wanted: Vec<u32> = self.members.keys().copied().collect();
        wanted.sort_unstable();
        wanted
    }

    /// Number and bytes of its messages.
    pub(crate) fn messages(&self) -> (u64, u64) {
        let messages = self.members.values().flatten().filter(|t| t.kind == Kind::Message);
        messages.fold((0, 0), |(count, bytes), t| (count + 1, bytes + t.size))
    }

    /// Number and bytes of all that is written from it.
    pub(crate) fn files(&self) -> (u64, u64) {
        let targets = self.members.values().flatten();
        targets.fold((0, 0), |(count, bytes), target| (count + 1, bytes + target.size))
    }

    /// Messages that the next expunge of a client removes.
    pub(crate) fn deleted(&self) -> u64 {
        let messages = self.members.values().flatten().filter(|t| t.kind == Kind::Message);
        messages.filter(|t| maildir::flags(t.name.as_bytes()).contains(&b'T')).count() as u64
    }

    /// When the newest of its messages came; `None` if it has none.
    fn newest_ns(&self) -> Option<i64> {
        let targets = self.members.values().flatten();
        targets.filter(|t| t.kind == Kind::Message).map(|t| t.mtime_ns).max()
    }
}

/// A file to write.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its directory inside the mailbox.
    pub(crate) dir: PathBuf,
    pub(crate) name: OsString,
    pub(crate) owner: Owner,
    pub(crate) mtime_ns: i64,
    pub(crate) size: u64,
    pub(crate) kind: Kind,
    /// The folder outside the mailbox that it goes to.
    pub(crate) outside: Option<PathBuf>,
}

/// What a file is to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message.
    Message,
    /// A file that is written as it is.
    File,
    /// A list of UIDs, which is written last, in words that fit the place.
    Uidlist,
}

/// Plans a mailbox, or one folder of it. The packs that bring the newest messages come first.
pub(crate) fn plan(
    head: &CatalogHead,
    contents: &Contents,
    folder: Option<&str>,
    is_exact: bool,
    places: &Places,
) -> MailboxPlan {
    let mut plan = MailboxPlan::default();
    let mut members: BTreeMap<u32, HashMap<u32, Vec<Target>>> = BTreeMap::new();
    for (encoded, entry) in &contents.folders {
        let Some(path) = safe_path(encoded) else {
            let missing = Missing::messages(entry.messages.len() as u64);
            plan.refuse(encoded, "its path leaves the mailbox", missing);
            continue;
        };
        if let Some(place) = places.dir(&path) {
            let path = place.strip_prefix("/").unwrap_or(&place).to_owned();
            plan.outside_dirs.push(Dir { path, owner: entry.owner.clone(), mtime_ns: None });
            continue;
        }
        let is_wanted = folder.is_none_or(|wanted| wanted == encoded);
        let is_above = folder.and_then(safe_path).is_some_and(|wanted| wanted.starts_with(&path));
        if is_wanted || is_above {
            plan.dirs.push(Dir {
                path: path.clone(),
                owner: entry.owner.clone(),
                mtime_ns: entry.mtime.as_deref().and_then(parse_time),
            });
        }
        if !is_wanted {
            continue;
        }
        if entry.maildir {
            plan.maildirs.push(path.clone());
            let mut owner = entry.owner.clone();
            // ACLs are for all of a folder, other attributes its own.
            owner.xattrs.retain(|name, _| name.starts_with("system."));
            for subdir in ["cur", "new", "tmp"] {
                let (path, owner) = (path.join(subdir), owner.clone());
                plan.dirs.push(Dir { path, owner, mtime_ns: None });
            }
        }
        for message in entry.messages.values() {
            let Some(target) =
                message_target(&path, &message.name, &message.owner, &message.content)
            else {
                let missing = Missing::one(Kind::Message);
                plan.refuse(&message.name, "its name or time is not a message's", missing);
                continue;
            };
            plan.messages += 1;
            plan.bytes += target.size;
            let Content { pack, member, .. } = message.content;
            members.entry(pack).or_default().entry(member).or_default().push(target);
        }
    }
    for (encoded, line) in &contents.files {
        let path = safe_path(encoded).filter(|path| path.file_name().is_some());
        let Some(path) = path else {
            plan.refuse(encoded, "its path leaves the mailbox", Missing::one(Kind::File));
            continue;
        };
        let lead = places.lead(&path);
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = lead.as_ref().map_or(parent, |lead| &lead.folder);
        if folder.is_some_and(|wanted| safe_path(wanted).as_deref() != Some(parent)) {
            continue;
        }
        if lead.is_none()
            && let Some(name) = path.strip_prefix(OUTSIDE).ok().and_then(|p| p.components().next())
        {
            plan.left_outside.insert(name.as_os_str().to_string_lossy().into_owned());
        }
        match line {
            Line::File { owner, content, .. } => {
                let Some(target) = file_target(&path, lead, owner, content, is_exact) else {
                    plan.refuse(encoded, "its time is none", Missing::one(Kind::File));
                    continue;
                };
                let Content { pack, member, .. } = *content;
                members.entry(pack).or_default().entry(member).or_default().push(target);
            }
            Line::Link { owner, target, .. } => {
                let Some(target) = decode_name(target) else { continue };
                let target = OsString::from_vec(target.into_owned());
                let (path, outside) = match lead {
                    Some(lead) => (lead.dir.join(lead.name), Some(lead.dir)),
                    None => (path, None),
                };
                plan.links.push(Link { path, outside, target, owner: owner.clone() });
            }
            _ => {}
        }
    }
    if folder.is_some() {
        plan.keep_used_outside(members.values().flat_map(HashMap::values).flatten());
    }
    if plan.left_outside.is_empty() {
        plan.dirs.retain(|dir| dir.path != Path::new(OUTSIDE));
    }
    for (number, members) in members {
        let need = head.needs.iter().find(|need| need.pack == Some(number));
        match need.and_then(|need| Some((need, need.raw?))) {
            Some((need, raw)) => plan.packs.push(PackPlan {
                key: format!("{}{}", mailbox_prefix(&head.mailbox), need.object),
                reference: need.reference.clone(),
                raw,
                index: Part::of(head, number),
                members,
            }),
            None => {
                let targets = members.values().flatten();
                let missing = targets.fold(Missing::NOTHING, |n, t| n.add(Missing::one(t.kind)));
                let messages = members.values().flatten().filter(|t| t.kind == Kind::Message);
                let bytes = messages.map(|t| t.size).sum::<u64>();
                plan.messages -= missing.messages;
                plan.bytes -= bytes;
                plan.refused.push(Refused {
                    what: format!("pack {number}"),
                    reason: "the catalog does not name it".into(),
                    missing,
                });
            }
        }
    }
    plan.packs.sort_by_cached_key(|pack| (std::cmp::Reverse(pack.newest_ns()), pack.key.clone()));
    plan
}

impl MailboxPlan {
    /// The directories of one folder, by their paths in it.
    pub(crate) fn dirs_of(&self, folder: &Path) -> impl Iterator<Item = Dir> {
        let dirs = self.dirs.iter();
        dirs.filter_map(move |dir| {
            let (owner, mtime_ns) = (dir.owner.clone(), dir.mtime_ns);
            Some(Dir { path: dir.inside(folder)?, owner, mtime_ns })
        })
    }

    /// Number of files and links, and the bytes of the files.
    pub(crate) fn files(&self) -> (u64, u64) {
        let links = (self.links.len() as u64, 0);
        let packs = self.packs.iter().map(PackPlan::files);
        packs.fold(links, |(count, bytes), more| (count + more.0, bytes + more.1))
    }

    /// Leaves the directories of a folder as they are.
    pub(crate) fn drop_folder(&mut self, folder: &Path) {
        self.dirs.retain(|dir| dir.inside(folder).is_none());
        self.maildirs.retain(|path| path != folder);
        self.links.retain(|link| link.path.parent() != Some(folder));
    }

    /// Leaves those folders outside the mailbox that files or links go to, and what is above them.
    fn keep_used_outside<'t>(&mut self, files: impl Iterator<Item = &'t Target>) {
        let links = self.links.iter().filter_map(|link| link.outside.as_deref());
        let used = files.filter_map(|file| file.outside.as_deref()).chain(links);
        let used: BTreeSet<PathBuf> =
            used.map(|dir| dir.strip_prefix("/").unwrap_or(dir).to_owned()).collect();
        self.outside_dirs.retain(|dir| used.iter().any(|used| used.starts_with(&dir.path)));
    }

    fn refuse(&mut self, what: &str, reason: &str, missing: Missing) {
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.refused.push(Refused { what, reason, missing });
    }
}

fn message_target(folder: &Path, name: &str, owner: &Owner, content: &Content) -> Option<Target> {
    let (subdir, file_name) =
        name.split_once('/').filter(|(dir, _)| matches!(*dir, "new" | "cur"))?;
    let path = safe_path(file_name).filter(|path| path.components().count() == 1)?;
    Some(Target {
        dir: folder.join(subdir),
        name: path.into_os_string(),
        owner: owner.clone(),
        mtime_ns: parse_time(&content.mtime)?,
        size: content.size,
        kind: Kind::Message,
        outside: None,
    })
}

fn file_target(
    path: &Path,
    lead: Option<Lead>,
    owner: &Owner,
    content: &Content,
    is_exact: bool,
) -> Option<Target> {
    let is_in_use = lead.as_ref().map_or(!path.starts_with(OUTSIDE), |lead| lead.is_control);
    let (dir, name, outside) = match lead {
        Some(lead) => (lead.folder, lead.name, Some(lead.dir)),
        None => (path.parent()?.to_owned(), path.file_name()?.to_owned(), None),
    };
    let is_list = UIDLISTS.contains(&name.as_bytes()) && content.size <= UIDLIST_BYTES;
    Some(Target {
        dir,
        name,
        owner: owner.clone(),
        mtime_ns: parse_time(&content.mtime)?,
        size: content.size,
        kind: if is_list && is_in_use && !is_exact { Kind::Uidlist } else { Kind::File },
        outside,
    })
}

/// Decodes a path and lets it pass only if it stays where it is joined: relative, without `..`, `.`,
/// doubled slashes and NUL.
pub(crate) fn safe_path(encoded: &str) -> Option<PathBuf> {
    let bytes = decode_name(encoded)?;
    if bytes.contains(&0) {
        return None;
    }
    let path = PathBuf::from(OsString::from_vec(bytes.into_owned()));
    let is_normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    let rebuilt: PathBuf = path.components().collect();
    (is_normal && rebuilt.as_os_str().as_bytes() == path.as_os_str().as_bytes()).then_some(path)
}

/// Whether a file of this name says which UID each message has.
pub(crate) fn is_uidlist(name: &[u8]) -> bool {
    UIDLISTS.contains(&name)
}

/// Dovecot's list, and Courier's.
pub(crate) const UIDLISTS: [&[u8]; 2] = [UIDLIST, b"courierimapuiddb"];
pub(crate) const UIDLIST: &[u8] = b"dovecot-uidlist";

/// The largest list that is held in memory: some millions of messages.
const UIDLIST_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_leave_their_place_are_refused() {
        for path in ["/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "%2e%2e/x", "a%00b", "a/."]
        {
            assert_eq!(safe_path(path), None, "{path}");
        }
        for path in ["", ".Sent", "a/b", "...", "a%2fb", "..a"] {
            assert!(safe_path(path).is_some(), "{path}");
        }
        let owner = Owner::of(maildir::Attributes { mode: 0o600, uid: 0, gid: 0 });
        let content = Content { mtime: "1".into(), size: 0, pack: 0, member: 0 };
        for name in ["cur/a/b", "tmp/a", "cur/..", "cur/", "a", "new/%2e%2e%2fx", "cur/a%00"] {
            assert!(message_target(Path::new(""), name, &owner, &content).is_none(), "{name}");
        }
        assert!(message_target(Path::new(""), "cur/a%0ab:2,S", &owner, &content).is_some());
    }

    proptest! {
        #[test]
        fn no_path_leaves(text in "[./%a-f0-9]{0,20}") {
            if let Some(path) = safe_path(&text) {
                prop_assert!(!path.is_absolute());
                prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
            }
        }
    }
}
