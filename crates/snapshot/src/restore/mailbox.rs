//! One mailbox: plan and write. Each of its packs is a job of its own; who does the last one finishes
//! the mailbox.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use maildir::Keywords;

use super::beside::{Layout, below, refusal};
use super::files::Owners;
use super::inplace::{self, Fitting, Item};
use super::live::{Live, Staged};
use super::names::Translation;
use super::options::{Place, Uids};
use super::outside::Places;
use super::partial::Partial;
use super::plan::{self, Kind, MailboxPlan, PackPlan, Target, safe_path};
use super::report::{Counts, Missing};
use super::select::{Selected, folder_path};
use super::site::Site;
use super::unpack::Written;
use super::{Queue, Run, is_free_below, is_odd_name, is_of_mailbox, with_cause};
use crate::catalog::Contents;
use crate::contents::{no_folder, readable};
use crate::error::{Error, Result};
use crate::layout::decode_name;
use crate::progress::Progress;
use crate::repository::OpenMailbox;

/// Names of folders and their layout.
type Subscribe = (Vec<Vec<u8>>, Layout);

/// Something to do.
pub(super) enum Job<'r> {
    Mailbox(Selected<'r>),
    Pack(Arc<Work>, PackPlan),
}

/// A mailbox at work.
pub(super) struct Work {
    pub(super) mailbox: OpenMailbox,
    pub(super) name: String,
    /// Whether it is a plain tree.
    pub(super) is_tree: bool,
    pub(super) path: PathBuf,
    /// The path for the report: with a folder beside the others, that folder's.
    pub(super) shown: PathBuf,
    pub(super) site: Site,
    pub(super) owners: Owners,
    pub(super) plan: MailboxPlan,
    packs_left: AtomicUsize,
    /// Why nothing more is written to it.
    left: Mutex<Option<Error>>,
    /// Messages, of a tree files, that are missing, and their bytes.
    pub(super) missing: Mutex<(u64, u64)>,
    /// Lists of UIDs that were written as the snapshot has them.
    pub(super) lists: Mutex<Vec<Target>>,
    pub(super) counts: Counts,
    /// Written, and to be put outside the mailbox.
    pub(super) outside: Mutex<Vec<Staged>>,
    pub(super) places: Places,
}

impl<'r> Run<'r> {
    pub(super) fn mailbox(&self, selected: &Selected<'r>, queue: &Queue<'r>) -> Result<()> {
        let (mailbox, head, contents) = match self.read(selected) {
            Ok(read) => read,
            // One identity opens all keys or none: this is no single mailbox's problem.
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => {
                self.report.problem(selected.id, Missing::NOTHING, e.to_string());
                Progress::add(&self.progress.units_done, 1);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let name = mailbox.display_name();
        if contents.tree && matches!(self.options.place, Place::Live { .. }) {
            return self.pass_over(&name);
        }
        if let (Place::Live { store, .. }, Some(path)) =
            (&self.options.place, safe_path(&contents.path))
        {
            self.live_store.check(store, &path, self.manifests)?;
        }
        let mut contents = contents;
        let beside = match self.beside(&mut contents, &name) {
            Err(e) if is_of_mailbox(&e) && !selected.is_only => {
                let messages = contents.folders.values().map(|f| f.messages.len() as u64).sum();
                self.report.problem(&name, Missing::messages(messages), with_cause(&e));
                Progress::add(&self.progress.units_done, 1);
                return Ok(());
            }
            done => done?,
        };
        let folder = if beside.is_some() { None } else { self.folder(&contents, &name)? };
        let is_exact = self.options.uids == Some(Uids::Exact) || contents.tree;
        let places = match self.places(&mailbox.name, &contents) {
            Ok(places) => places,
            Err(reason) => {
                self.report.problem(&name, Missing::messages(contents.messages), reason);
                return Ok(());
            }
        };
        let mut plan = plan::plan(&head, &contents, folder, is_exact, &places);
        self.note_left(&plan, &contents);
        if contents.tree {
            (plan.messages, plan.bytes) = plan.files();
        }
        let Some(path) = safe_path(&contents.path) else {
            let reason = "its path leaves the target";
            self.report.problem(&name, Missing::messages(contents.messages), reason);
            return Ok(());
        };
        let shown = match (&self.options.place, &beside) {
            (Place::Live { as_folder: Some(name), .. }, Some((_, layout))) => {
                path.join(OsStr::from_bytes(&layout.path_of_name(name)))
            }
            _ => path.clone(),
        };
        let owners = Owners { given: self.options.owner, ..Owners::default() };
        let target = self.options.place.root().join(&path);
        let opened = self.open(&mailbox, &path, &target, &mut plan, &owners, (beside, &places));
        for refused in std::mem::take(&mut plan.refused) {
            let reason = format!("{}: {}", refused.what, refused.reason);
            self.report.problem(&name, refused.missing, reason);
        }
        let (site, counts) = match opened {
            Ok(opened) => opened,
            // A restore that is run again finds what the first one finished.
            Err(occupied @ Error::TargetExists { .. }) if !selected.is_only => {
                self.occupied.fetch_add(1, Ordering::Relaxed);
                let reason = format!("{occupied}; left as it is");
                self.report.problem(&name, Missing::of(contents.tree, plan.messages), reason);
                Progress::add(&self.progress.units_done, 1);
                return Ok(());
            }
            Err(e) if self.is_left_to_others(&e) => {
                let reason = with_cause(&e);
                self.report.problem(&name, Missing::of(contents.tree, plan.messages), reason);
                Progress::add(&self.progress.units_done, 1);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        if matches!(self.options.place, Place::Live { .. }) {
            let deleted = plan.packs.iter().map(PackPlan::deleted).sum();
            self.deleted.fetch_add(deleted, Ordering::Relaxed);
        }
        let Some(site) = site else {
            let lost = self.look_for_packs(&mailbox, (&name, contents.tree), &plan.packs)?;
            let restored =
                (plan.messages.saturating_sub(lost.0), plan.bytes.saturating_sub(lost.1));
            self.restored((&name, contents.tree), &shown, restored, counts);
            return Ok(());
        };
        let packs = std::mem::take(&mut plan.packs);
        let work = Arc::new(Work {
            mailbox,
            name,
            is_tree: contents.tree,
            path,
            shown,
            site,
            owners,
            plan,
            packs_left: AtomicUsize::new(packs.len()),
            missing: Mutex::new((0, 0)),
            left: Mutex::default(),
            lists: Mutex::default(),
            counts,
            outside: Mutex::default(),
            places,
        });
        if packs.is_empty() {
            return self.end(&work);
        }
        // Taken from the end: what is newest comes first.
        queue.add(packs.into_iter().rev().map(|pack| Job::Pack(Arc::clone(&work), pack)));
        Ok(())
    }

    /// Whether what fails as a mailbox is opened says nothing of the others. In a folder that is being
    /// filled, it does: all of them have their places there.
    fn is_left_to_others(&self, error: &Error) -> bool {
        match error {
            Error::Io { source, .. } if is_odd_name(source) || is_busy(source) => true,
            error => matches!(self.options.place, Place::Live { .. }) && is_of_mailbox(error),
        }
    }

    /// Where what lay outside the mailbox goes; the error is a reason.
    fn places(&self, name: &[u8], contents: &Contents) -> std::result::Result<Places, String> {
        let Some(path) = safe_path(&contents.path).filter(|_| !contents.tree) else {
            return Ok(Places::default());
        };
        let root = self.options.place.root();
        let root = root.canonicalize().unwrap_or_else(|_| root.clone());
        Places::of(&self.options.outside, &root, name, &path, contents)
    }

    /// Remembers what stays beside the mail.
    fn note_left(&self, plan: &MailboxPlan, contents: &Contents) {
        let mut left = self.left_outside.lock().expect("no holder panics");
        for name in &plan.left_outside {
            let kinds = ["control", "index", "sieve", "attributes"];
            let Some(kind) = kinds.into_iter().find(|kind| name.starts_with(kind)) else {
                continue;
            };
            let place = contents.outside.get(name).map(|path| readable(path)).unwrap_or_default();
            left.entry(kind).or_insert((0, place)).0 += 1;
        }
    }

    /// Trees have no place in a store.
    fn pass_over(&self, name: &str) -> Result<()> {
        if self.options.mailbox.is_some() {
            let reason =
                format!("{name} is a plain tree, which no store has: restore it with --to");
            return Err(Error::Selection(reason));
        }
        self.report.note(format!("{name} is a plain tree, which is restored with --to only"));
        Progress::add(&self.progress.units_done, 1);
        Ok(())
    }

    fn folder<'c>(&self, contents: &'c Contents, name: &str) -> Result<Option<&'c str>> {
        let Some(folder) = &self.options.folder else { return Ok(None) };
        match folder_path(contents, folder) {
            Some(path) => Ok(Some(path)),
            None => Err(no_folder(name, contents, folder)),
        }
    }

    /// Moves all contents below the folder that was asked for; gives what to subscribe to.
    fn beside(&self, contents: &mut Contents, name: &str) -> Result<Option<Subscribe>> {
        let Place::Live { store, as_folder: Some(as_folder) } = &self.options.place else {
            return Ok(None);
        };
        if let Some(reason) = refusal(as_folder) {
            let reason = format!("`{as_folder}` is no name for a folder: {reason}");
            return Err(Error::Selection(reason));
        }
        if let Some(folder) = self.folder(contents, name)?.map(str::to_owned) {
            contents.folders.retain(|path, _| *path == folder);
        }
        let store = store.canonicalize().map_err(|e| Error::io("open", store, e))?;
        let path = safe_path(&contents.path).map(|path| store.join(path)).unwrap_or_default();
        let tree = maildir::read_tree(&path, maildir::Scope::Mailbox)
            .map_err(|e| Error::io("find the live mailbox", &path, e.source))?;
        let folders = tree.folders.iter().filter(|folder| folder.is_maildir);
        let live = Layout::of(folders.map(|folder| folder.path.as_os_str().as_bytes()));
        let decoded: Vec<_> =
            contents.folders.iter().filter(|(_, folder)| folder.maildir).collect();
        let decoded: Vec<_> = decoded.iter().filter_map(|(path, _)| decode_name(path)).collect();
        let from = Layout::of(decoded.iter().map(AsRef::as_ref)).unwrap_or(Layout::Dotted);
        let to = live.unwrap_or(from);
        drop(decoded);
        let is_led = self.options.outside.control.is_some();
        let (moved, names) = below(std::mem::take(contents), as_folder, from, to, is_led);
        *contents = moved;
        Ok(Some((names, to)))
    }

    /// Makes the place ready. No site in a dry run.
    fn open(
        &self,
        mailbox: &OpenMailbox,
        path: &Path,
        target: &Path,
        plan: &mut MailboxPlan,
        owners: &Owners,
        (beside, places): (Option<Subscribe>, &Places),
    ) -> Result<(Option<Site>, Counts)> {
        let root = self.options.place.root();
        if matches!(self.options.place, Place::Live { .. }) {
            let live = Live::open(root, path).map_err(|e| Error::io("open", target, e))?;
            let met = if live.is_some() { &self.live_store.found } else { &self.live_store.made };
            met.fetch_add(1, Ordering::Relaxed);
            if let Some(mut live) = live {
                live.subscribe = beside;
                live.places = places.clone();
                live.lock_wait = self.options.lock_wait;
                let counts = self.fit(mailbox, plan, &mut live)?;
                if self.options.dry_run {
                    return Ok((None, counts));
                }
                live.begin(plan, owners).map_err(|e| Error::io("restore to", target, e))?;
                return Ok((Some(Site::Live(live)), counts));
            }
        } else if !is_free_below(root, path).map_err(|e| Error::io("look at", target, e))? {
            return Err(Error::TargetExists { path: target.to_owned() });
        }
        if self.options.dry_run {
            return Ok((None, Counts::default()));
        }
        let owner = plan.dirs.first().map(|dir| &dir.owner);
        let partial = Partial::create(root, path, owner, owners).and_then(|partial| {
            for dir in &plan.dirs {
                owners.make_dirs(&partial.root, &dir.path, None)?;
            }
            Ok(partial)
        });
        let partial = partial.map_err(|e| Error::io("restore to", target, e))?;
        Ok((Some(Site::New(partial)), Counts::default()))
    }

    /// Fits the plan to a live mailbox.
    fn fit(
        &self,
        mailbox: &OpenMailbox,
        plan: &mut MailboxPlan,
        live: &mut Live,
    ) -> Result<Counts> {
        let sources: Vec<PackPlan> = plan.packs.iter().map(PackPlan::without_members).collect();
        let with_keywords =
            |folder: &Path, item: Option<&Item>, take: &mut dyn FnMut(&mut Translation)| {
                let from = match item {
                    Some(item) => self.keywords(mailbox, &sources[item.pack], item)?,
                    None => Vec::new(),
                };
                let from = Keywords::parse(&from);
                let progress = Some(self.progress).filter(|_| !self.options.dry_run);
                live.with_keywords(folder, from, progress, take)
                    .map_err(|e| stopped("change the keywords of", &live.path.join(folder), e))
            };
        let fitting = Fitting {
            root: &live.root,
            path: &live.path,
            places: &live.places,
            uids: self.options.uids,
            flags: self.options.flags,
            with_keywords: &with_keywords,
        };
        let mut fitted = inplace::fit(plan, &fitting)?;
        if self.options.dry_run {
            fitted.counts.reflagged = fitted.reflags.len() as u64;
            let renumbered = fitted.folders.values().filter(|folder| folder.is_renumbered).count();
            if renumbered > 0 {
                let folders = if renumbered == 1 { "folder" } else { "folders" };
                let name = mailbox.display_name();
                self.report.note(format!(
                    "{name}: {renumbered} {folders} in use would get a new UIDVALIDITY: clients download all of it again"
                ));
            }
        }
        self.validity_kept.fetch_add(fitted.validity_kept, Ordering::Relaxed);
        self.resized.fetch_add(fitted.resized, Ordering::Relaxed);
        live.reflags = fitted.reflags;
        let folders = fitted.folders.into_iter();
        live.folders = folders.map(|(path, folder)| (path, Mutex::new(folder))).collect();
        Ok(fitted.counts)
    }

    pub(super) fn pack(&self, work: &Work, pack: &PackPlan) -> Result<()> {
        let is_left = work.left.lock().expect("no holder panics").is_some();
        if !is_left {
            match self.write_pack(work, pack) {
                Err(e) if is_of_mailbox(&e) => {
                    work.left.lock().expect("no holder panics").get_or_insert(e);
                }
                done => done?,
            }
        }
        if work.packs_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.end(work)?;
        }
        Ok(())
    }

    /// Finishes a mailbox. One that changed meanwhile is left as it is, and the others go on.
    fn end(&self, work: &Work) -> Result<()> {
        let left = work.left.lock().expect("no holder panics").take();
        match left.map_or_else(|| self.finish(work), Err) {
            Err(e) if is_of_mailbox(&e) => self.leave(work, &e),
            done => done,
        }
    }

    fn write_pack(&self, work: &Work, pack: &PackPlan) -> Result<()> {
        let mut written = Written::default();
        match self.unpack(work, pack, &mut written) {
            Err(e) if e.is_local_to_object() => self.salvage(work, pack, &e, &mut written)?,
            done => done?,
        }
        self.settle_pack(work, written)
    }

    /// What becomes of the files of a pack, which are proven.
    fn settle_pack(&self, work: &Work, written: Written<'_>) -> Result<()> {
        for (target, reason) in written.refused {
            self.lose(work, target, reason);
        }
        for (target, _) in written.files.iter().filter(|(t, _)| t.kind == Kind::Message) {
            Progress::add(&self.progress.messages, 1);
            Progress::add(&self.progress.bytes, target.size);
        }
        match &work.site {
            Site::New(_) => {
                let (outside, files): (Vec<_>, Vec<_>) =
                    written.files.into_iter().partition(|(t, _)| t.outside.is_some());
                let staged = |(target, name): (&Target, _)| Staged { name, target: target.clone() };
                work.outside
                    .lock()
                    .expect("no holder panics")
                    .extend(outside.into_iter().map(staged));
                let lists = files.into_iter().filter(|(t, _)| t.kind == Kind::Uidlist);
                let mut known = work.lists.lock().expect("no holder panics");
                known.extend(lists.map(|(target, _)| target.clone()));
            }
            Site::Live(live) => {
                let files = written.files.into_iter();
                let files = files.map(|(target, name)| Staged { name, target: target.clone() });
                let failed = live.settle_pack(files.collect());
                let failed = failed.map_err(|e| Error::io("write to", &live.path, e))?;
                for (file, e) in failed {
                    self.not_placed(work, &file.target, e)?;
                }
            }
        }
        Ok(())
    }

    /// A message that could not be put into place: it came to be there, or its name is odd.
    fn not_placed(&self, work: &Work, target: &Target, error: io::Error) -> Result<()> {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Ok(());
        }
        let path = work.site.path().join(&target.dir).join(&target.name);
        let error = Error::io("write", &path, error);
        match &error {
            Error::Io { source, .. } if is_odd_name(source) => {
                self.lose(work, target, with_cause(&error));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Notes that a file could not be written.
    pub(super) fn lose(&self, work: &Work, target: &Target, reason: String) {
        let lost = Missing::one(target.kind);
        self.report.problem(&work.name, lost, reason);
        let counted = lost.messages.max(u64::from(work.is_tree));
        let mut missing = work.missing.lock().expect("no holder panics");
        missing.0 += counted;
        missing.1 += counted * target.size;
    }
}

/// What ended a wait is no failure of the file system.
pub(super) fn stopped(action: &'static str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::Interrupted => Error::Cancelled,
        _ => Error::io(action, path, error),
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}
