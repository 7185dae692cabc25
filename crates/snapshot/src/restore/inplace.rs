//! Fits the plan of a mailbox to the live mailbox that is there: what is there drops out, what is
//! missing gets a name that the folder and its server can take.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use maildir::{Entry, Keywords, Listing, Subdir, base_name, flags};

use super::files::{has, open_beneath};
use super::names::{
    Decision, There, Translation, Wanted, added_name, decide, has_keywords, reflagged_name,
};
use super::options::{Flags, Uids};
use super::outside::{self, Places};
use super::plan::{Kind, MailboxPlan, Refused, Target};
use super::report::{Counts, Missing};
use super::survey::{self, FolderThere, KEYWORDS};
use super::validity::RECORD;

/// How messages come into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The folder is in use: batch by batch, and the server gives them UIDs.
    Add,
    /// The folder is there: all at once, with the list of their UIDs.
    Whole,
    /// There is no such folder yet: as above, and the folder itself comes with them.
    New,
}

/// A folder that is restored to.
pub(crate) struct LiveFolder {
    pub(crate) how: How,
    /// Whether its list of UIDs gets a new UIDVALIDITY in the end, and its messages new UIDs.
    pub(crate) is_renumbered: bool,
    /// What was there, to tell whether it is still so.
    pub(crate) listing: Listing,
}

/// A message that is there and gets other flags.
#[derive(Debug)]
pub(crate) struct Reflag {
    pub(crate) folder: PathBuf,
    pub(crate) from: (Subdir, Vec<u8>),
    pub(crate) to: (Subdir, Vec<u8>),
}

/// What the target makes of a plan.
#[derive(Default)]
pub(crate) struct Fitted {
    pub(crate) folders: BTreeMap<PathBuf, LiveFolder>,
    pub(crate) reflags: Vec<Reflag>,
    pub(crate) counts: Counts,
    /// Folders in use that were to get a new UIDVALIDITY, and have no list of Dovecot's.
    pub(crate) validity_kept: u64,
    /// Messages that are there with another size than in the snapshot.
    pub(crate) resized: u64,
}

/// Options, and means to reach what is not in the plan.
pub(crate) struct Fitting<'f> {
    pub(crate) root: &'f OwnedFd,
    pub(crate) path: &'f Path,
    pub(crate) places: &'f Places,
    pub(crate) uids: Option<Uids>,
    pub(crate) flags: Flags,
    /// Gives the folder's keywords the letters that `take` asks for. The first argument is the
    /// folder, the second the snapshot's file.
    pub(crate) with_keywords: &'f WithKeywords<'f>,
}

/// See [`Fitting::with_keywords`].
pub(crate) type WithKeywords<'f> =
    dyn Fn(&Path, Option<&Item>, &mut dyn FnMut(&mut Translation)) -> crate::Result<()> + 'f;

/// A target and where its content comes from.
pub(crate) struct Item {
    pub(crate) pack: usize,
    pub(crate) member: u32,
    pub(crate) target: Target,
}

/// Fits `plan`; what cannot be looked at is refused.
pub(crate) fn fit(plan: &mut MailboxPlan, fitting: &Fitting<'_>) -> crate::Result<Fitted> {
    let mut fitted = Fitted::default();
    let maildirs: HashSet<PathBuf> = plan.maildirs.iter().cloned().collect();
    for (folder, items) in take_items(plan) {
        let messages = items.iter().filter(|item| item.target.kind == Kind::Message).count() as u64;
        let kept = match fitting.folder(&folder, items, maildirs.contains(&folder), &mut fitted) {
            Ok(kept) => kept,
            Err(crate::Error::Io { source, .. }) if source.kind() != io::ErrorKind::StorageFull => {
                let path: PathBuf = fitting.path.join(&folder).components().collect();
                let what = path.display().to_string();
                plan.refused.push(Refused {
                    what,
                    reason: source.to_string(),
                    missing: Missing::messages(messages),
                });
                plan.drop_folder(&folder);
                continue;
            }
            Err(e) => return Err(e),
        };
        for Item { pack, member, target } in kept {
            plan.packs[pack].members.entry(member).or_default().push(target);
        }
    }
    plan.packs.retain(|pack| !pack.members.is_empty());
    (plan.messages, plan.bytes) = plan.packs.iter().fold((0, 0), |(messages, bytes), pack| {
        let (more, more_bytes) = pack.messages();
        (messages + more, bytes + more_bytes)
    });
    Ok(fitted)
}

/// All that the plan writes, by folder, in an order that is always the same.
fn take_items(plan: &mut MailboxPlan) -> BTreeMap<PathBuf, Vec<Item>> {
    let mut folders: BTreeMap<PathBuf, Vec<Item>> = BTreeMap::new();
    for folder in &plan.maildirs {
        folders.insert(folder.clone(), Vec::new());
    }
    for (pack, plan) in plan.packs.iter_mut().enumerate() {
        for (member, targets) in std::mem::take(&mut plan.members) {
            for target in targets {
                let folder = target.folder().to_owned();
                folders.entry(folder).or_default().push(Item { pack, member, target });
            }
        }
    }
    for items in folders.values_mut() {
        items.sort_by(|a, b| (&a.target.dir, &a.target.name).cmp(&(&b.target.dir, &b.target.name)));
    }
    folders
}

impl Fitting<'_> {
    fn folder(
        &self,
        folder: &Path,
        items: Vec<Item>,
        is_maildir: bool,
        fitted: &mut Fitted,
    ) -> crate::Result<Vec<Item>> {
        let failed = |e: io::Error| crate::Error::io("look at", &self.path.join(folder), e);
        let (messages, files): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.target.kind == Kind::Message);
        if !is_maildir {
            return self.missing_files(folder, files).map_err(failed);
        }
        let there = FolderThere::read(self.root, self.path, folder, self.places).map_err(failed)?;
        let bases = messages.iter().map(|item| base_name(item.target.name.as_bytes()));
        let bases: HashSet<&[u8]> = bases.collect();
        let is_in_use = there.is_in_use(|base| bases.contains(base));
        let has_list = files.iter().any(|item| item.target.kind == Kind::Uidlist);
        let how = match self.uids {
            _ if !there.exists => How::New,
            // Without a list of UIDs nothing is won by waiting for the last message.
            _ if !has_list => How::Add,
            Some(Uids::Keep) => How::Whole,
            _ if is_in_use => How::Add,
            _ => How::Whole,
        };
        let is_new = self.uids == Some(Uids::New) && how == How::Add && is_in_use;
        let is_renumbered = is_new && there.has_dovecots;
        fitted.validity_kept += u64::from(is_new && there.has_uidlist && !is_renumbered);
        let keywords = files.iter().find(|item| item.target.name.as_bytes() == KEYWORDS);
        let mut kept = if how == How::New {
            self.all(messages)
        } else {
            let has_letters = is_in_use || there.has_keywords;
            let keywords = has_letters.then_some(keywords);
            self.missing_messages(folder, messages, &there, how, keywords, fitted)?
        };
        let mut files = self.missing_files(folder, files).map_err(failed)?;
        files.retain(|item| match item.target.kind {
            Kind::Uidlist => how != How::Add,
            // Merged as far as messages need it.
            _ => item.target.name.as_bytes() != KEYWORDS || !is_in_use,
        });
        kept.extend(files);
        let live = LiveFolder { how, is_renumbered, listing: there.listing };
        fitted.folders.insert(folder.to_owned(), live);
        Ok(kept)
    }

    /// For a folder that is not there: everything, with the flags that were asked for.
    fn all(&self, mut messages: Vec<Item>) -> Vec<Item> {
        if self.flags == Flags::Seen {
            for item in &mut messages {
                let name = item.target.name.as_bytes().to_vec();
                item.target.rename(added_name(
                    item.target.subdir(),
                    &name,
                    base_name(&name),
                    flags(&name),
                    self.flags,
                ));
            }
        }
        messages
    }

    /// For a folder that is there: what it lacks. `keywords` is the snapshot's file of them, if letters
    /// mean something there already.
    fn missing_messages(
        &self,
        folder: &Path,
        messages: Vec<Item>,
        there: &FolderThere,
        how: How,
        keywords: Option<Option<&Item>>,
        fitted: &mut Fitted,
    ) -> crate::Result<Vec<Item>> {
        let mut added: Vec<(Item, Vec<u8>)> = Vec::new();
        let mut present: Vec<(Item, Entry)> = Vec::new();
        let none = HashSet::new();
        // With the list of UIDs come the old names: the server's memory of them goes.
        let expunged = if how == How::Add { &there.expunged } else { &none };
        let is_same = |entry: &Entry, size: u64, mtime_ns: i64| {
            let name = OsStr::from_bytes(there.listing.name(entry));
            open_beneath(self.root, &folder.join(entry.subdir.name()))
                .is_ok_and(|dir| survey::is_same(dir, name, size, mtime_ns))
        };
        let at_target = There { listing: &there.listing, expunged, is_same: &is_same };
        let doubles = doubles(&messages);
        let mut taken = HashSet::new();
        for item in messages {
            let name = item.target.name.as_bytes();
            let base = base_name(name);
            let wanted = Wanted {
                base,
                size: item.target.size,
                mtime_ns: item.target.mtime_ns,
                is_double: doubles.contains(base),
            };
            match decide(&wanted, &at_target, &mut taken) {
                Decision::There(entry) => present.push((item, entry)),
                Decision::Add(base) => added.push((item, base)),
                Decision::NoName => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    let reason = format!("all names that `{name}` could have are taken");
                    let error = io::Error::other(reason);
                    return Err(crate::Error::io("restore to", &self.path.join(folder), error));
                }
            }
        }
        fitted.counts.there += present.len() as u64;
        fitted.resized += self.resized(folder, &present, &there.listing);
        if self.flags != Flags::Snapshot {
            present.clear();
        }
        let all = added.iter().map(|(item, _)| item).chain(present.iter().map(|(item, _)| item));
        let mut any = all.filter(|item| has_keywords(flags(item.target.name.as_bytes())));
        let keywords = keywords.filter(|_| any.next().is_some());
        let mut name_all = |translation: Option<&mut Translation>| {
            self.name_all(folder, &mut added, &present, there, translation, fitted);
        };
        match keywords {
            Some(keywords) => {
                let mut once = |translation: &mut Translation| name_all(Some(translation));
                (self.with_keywords)(folder, keywords, &mut once)?;
            }
            None => name_all(None),
        }
        Ok(added.into_iter().map(|(item, _)| item).collect())
    }

    /// How many messages have another size than in the snapshot: compressed since, or overwritten.
    fn resized(&self, folder: &Path, present: &[(Item, Entry)], listing: &Listing) -> u64 {
        let open = |subdir: Subdir| open_beneath(self.root, &folder.join(subdir.name())).ok();
        let (new, cur) = (open(Subdir::New), open(Subdir::Cur));
        let is_resized = |(item, entry): &&(Item, Entry)| {
            let dir = if entry.subdir == Subdir::New { &new } else { &cur };
            let name = OsStr::from_bytes(listing.name(entry));
            let size = dir.as_ref().and_then(|dir| survey::size(dir, name));
            size.is_some_and(|size| size != item.target.size)
        };
        present.iter().filter(is_resized).count() as u64
    }

    fn name_all(
        &self,
        folder: &Path,
        added: &mut [(Item, Vec<u8>)],
        present: &[(Item, Entry)],
        there: &FolderThere,
        mut translation: Option<&mut Translation>,
        fitted: &mut Fitted,
    ) {
        let mut flags_of = |name: &[u8]| match &mut translation {
            Some(translation) => translation.flags(flags(name)),
            None => flags(name).to_vec(),
        };
        for (item, base) in added {
            let name = item.target.name.as_bytes().to_vec();
            fitted.counts.renamed += u64::from(base_name(&name) != base.as_slice());
            let info = flags_of(&name);
            item.target.rename(added_name(item.target.subdir(), &name, base, &info, self.flags));
        }
        for (item, entry) in present {
            let name = there.listing.name(entry);
            let info = flags_of(item.target.name.as_bytes());
            let wanted = (item.target.subdir(), info.as_slice());
            if let Some(to) = reflagged_name((entry.subdir, name), wanted) {
                let from = (entry.subdir, name.to_vec());
                fitted.reflags.push(Reflag { folder: folder.to_owned(), from, to });
            }
        }
        if let Some(translation) = translation {
            fitted.counts.keywords_dropped += translation.dropped;
        }
    }

    /// The files that the target has not; lists of UIDs always, which are merged.
    fn missing_files(&self, folder: &Path, files: Vec<Item>) -> io::Result<Vec<Item>> {
        let mut missing = Vec::new();
        for item in files {
            let dir = match &item.target.outside {
                Some(dir) => outside::open(dir),
                None => open_beneath(self.root, folder),
            };
            let is_there = match dir {
                Ok(dir) => is_there(&dir, &item.target)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => false,
                Err(e) => return Err(e),
            };
            if !is_there {
                missing.push(item);
            }
        }
        Ok(missing)
    }
}

/// Whether a directory has a file, or what makes it useless there.
fn is_there(dir: &OwnedFd, target: &Target) -> io::Result<bool> {
    if target.kind == Kind::Uidlist {
        return Ok(false);
    }
    let is_validity = target.name.as_bytes().starts_with(RECORD.as_bytes());
    Ok(has(dir, &target.name)? || is_validity && has(dir, OsStr::new(RECORD))?)
}

/// Base names that several messages of the snapshot's folder have.
fn doubles(messages: &[Item]) -> HashSet<Vec<u8>> {
    let mut counts: HashMap<&[u8], u32> = HashMap::new();
    for item in messages {
        *counts.entry(base_name(item.target.name.as_bytes())).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    counts.into_keys().map(<[u8]>::to_vec).collect()
}

impl Target {
    /// The folder of a message or file.
    pub(crate) fn folder(&self) -> &Path {
        match self.kind {
            Kind::Message => self.dir.parent().unwrap_or(Path::new("")),
            _ => &self.dir,
        }
    }

    /// Of a message.
    pub(crate) fn subdir(&self) -> Subdir {
        if self.dir.ends_with("new") { Subdir::New } else { Subdir::Cur }
    }

    fn rename(&mut self, (subdir, name): (Subdir, Vec<u8>)) {
        self.dir.set_file_name(subdir.name());
        self.name = OsString::from_vec(name);
    }
}

/// Reads keywords; what is no such file has none.
pub(crate) fn keywords(bytes: Option<Vec<u8>>) -> Keywords {
    bytes.map(|bytes| Keywords::parse(&bytes)).unwrap_or_default()
}
