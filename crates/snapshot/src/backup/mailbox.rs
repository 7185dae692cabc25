//! One mailbox: list what changed, read what is new, pack it, and write the next state and the
//! catalog that leads to it. Nothing here touches the mailbox; nothing is durable before the
//! committer made it so.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::{Folder, FolderPrint, Listing, Opener, Scope, Tree, Xattrs};

use super::Trust;
use super::chain;
use super::context::Context;
use super::diff::{Decision, decide};
use super::fold;
use super::ledger::{Incident, Ledger};
use super::lines::Lines;
use super::outside::{self, Places};
use super::packer::Packer;
use super::read::{Content, Reader, Source};
use super::remarks::{Remark, Remarks};
use super::uploads::Ticket;
use crate::error::{Error, Result};
use crate::manifest::CatalogRef;
use crate::progress::Progress;
use crate::state::{
    ChainLink, FolderState, KnownMailbox, MailboxState, MessageState, attributes_tuple,
};
use crate::store::Body;

/// A mailbox of this run, or a plain tree.
pub(crate) struct Job {
    /// Path inside the store; of a plain tree, its own absolute path.
    pub(crate) path: PathBuf,
    /// Its id and recipient.
    pub(crate) known: KnownMailbox,
    /// Where it keeps files outside its folder.
    pub(crate) outside: Places,
}

impl Job {
    /// Whether it is no mailbox but a folder that goes along.
    pub(crate) fn is_tree(&self) -> bool {
        self.path.is_absolute()
    }

    /// The file on disk that a path in the catalog stands for, if the store is at `root`.
    pub(crate) fn locate(&self, root: &Path, inside: &Path) -> PathBuf {
        outside::locate(&outside::join(root, &self.path), &self.outside, inside)
    }
}

/// What became of a mailbox.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Its id.
    pub(crate) id: String,
    /// Whether it is a plain tree.
    pub(crate) is_tree: bool,
    /// The catalog that describes it; `None` if it has none yet and could not be read.
    pub(crate) catalog: Option<CatalogRef>,
    /// The catalog's bytes, if it is new.
    pub(crate) body: Option<Body>,
    /// Uploads that must succeed first.
    pub(crate) tickets: Vec<Ticket>,
    /// Counts of what it holds.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// What this run did.
    pub(crate) work: Work,
    pub(crate) ledger: Ledger,
    pub(crate) remarks: Remarks,
}

/// What was done for one mailbox, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) folders: u64,
    pub(crate) folders_listed: u64,
    pub(crate) messages_new: u64,
    pub(crate) messages_gone: u64,
    pub(crate) messages_read: u64,
    pub(crate) bytes_read: u64,
    /// Of those read, encrypted by mail_crypt.
    pub(crate) messages_encrypted: u64,
}

/// Backs one mailbox up.
pub(crate) fn backup(context: &Context<'_>, job: &Job, opener: &mut Opener) -> Result<Outcome> {
    let known = context.state.mailbox(&job.known.id);
    let mut run = Run::new(context, job, known.unwrap_or_default(), opener);
    let root = context.root.join(&job.path);
    let scope = if job.is_tree() { Scope::Plain } else { Scope::Mailbox };
    let tree = match maildir::read_tree(&root, scope) {
        Ok(tree) => tree,
        Err(e) => return Ok(run.carry_over(&e)),
    };
    let seal = context.repository.mailbox_seal(job.known.recipient.as_deref())?;
    run.scan(&tree, &seal)?;
    if context.options.dry_run {
        return Ok(run.unchanged());
    }
    let mut changes = Lines::default();
    changes.changes(&run.old, &run.next);
    let has_catalog =
        run.old.catalog.is_some() && !context.options.rebase && run.old.outside == run.next.outside;
    if has_catalog && changes.bytes.is_empty() && run.next.packs == run.old.packs {
        return run.only_prints_changed();
    }
    run.write_catalog(&seal, &changes)
}

/// The state of work on one mailbox.
pub(super) struct Run<'run, 'env> {
    pub(super) context: &'run Context<'env>,
    pub(super) job: &'run Job,
    pub(super) reader: Reader<'run>,
    old: MailboxState,
    pub(super) next: MailboxState,
    outcome: Outcome,
}

impl<'run, 'env> Run<'run, 'env> {
    fn new(
        context: &'run Context<'env>,
        job: &'run Job,
        old: MailboxState,
        opener: &'run mut Opener,
    ) -> Self {
        let next = MailboxState {
            catalog: None,
            parents: Vec::new(),
            packs: old.packs.clone(),
            next_pack: old.next_pack,
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            outside: BTreeMap::new(),
            xattrs: old.xattrs.clone(),
        };
        let (id, is_tree) = (job.known.id.clone(), job.is_tree());
        let outcome = Outcome { id, is_tree, ..Outcome::default() };
        Self { context, job, reader: Reader::new(opener), old, next, outcome }
    }

    /// The mailbox cannot be read: what an earlier snapshot had is kept.
    fn carry_over(mut self, error: &maildir::Error) -> Outcome {
        let reason = Some(error.source.to_string());
        self.note(Incident::Unreadable, &PathBuf::new(), b"", reason);
        let mut outcome = self.unchanged();
        if let Some(catalog) = &mut outcome.catalog {
            catalog.carried = true;
        }
        outcome
    }

    fn unchanged(mut self) -> Outcome {
        self.outcome.catalog = self.old.catalog.as_ref().map(catalog_ref);
        self.outcome.messages = self.old.folders.values().map(|f| f.messages).sum();
        self.outcome.bytes = self.old.folders.values().map(|f| f.bytes).sum();
        self.outcome
    }

    /// Nothing that a catalog holds is new, but folder times or inodes may be.
    fn only_prints_changed(mut self) -> Result<Outcome> {
        self.next.catalog.clone_from(&self.old.catalog);
        self.next.parents.clone_from(&self.old.parents);
        if self.next != self.old {
            self.context.state.prepare_mailbox(&self.job.known.id, &self.next)?;
            self.context.state.commit_mailbox(&self.job.known.id)?;
        }
        Ok(self.unchanged())
    }

    fn scan(&mut self, tree: &Tree, seal: &crate::crypt::Seal) -> Result<()> {
        let context = self.context;
        let old = std::mem::take(&mut self.old);
        let fold = if context.options.dry_run {
            Vec::new()
        } else if context.options.rebase {
            fold::lost(context.repository, &self.job.known.id, &old)?
        } else {
            fold::choose(&old)
        };
        let mut packer = Packer::new(context, &self.job.known.id, seal, &old, &fold);
        for folder in &tree.folders {
            context.progress.check()?;
            self.outcome.work.folders += u64::from(!self.job.is_tree());
            let path = folder.path.as_os_str().as_bytes();
            let known = old.folders.get(path);
            let next = match self.folder(folder, known, &mut packer) {
                Ok(next) => next,
                Err(FolderError::Run(e)) => return Err(e),
                Err(FolderError::Folder(e)) if e.is_vanished() => continue,
                Err(FolderError::Folder(e)) => {
                    let reason = Some(e.source.to_string());
                    self.note(Incident::Unreadable, &folder.path, b"", reason);
                    let Some(known) = known else { continue };
                    FolderState { print: None, ..known.clone() }
                }
            };
            self.next.folders.insert(path.to_vec(), next);
        }
        self.keep_unreadable(Path::new(""), tree, &old);
        // The uidlist is read after the listings: lines for messages that are not there do no harm.
        self.files(Path::new(""), tree, &old, &mut packer)?;
        self.outside(&old, &mut packer)?;
        self.note_keys();
        if !fold.is_empty() {
            let locate = |inside: &Path| self.job.locate(context.root, inside);
            fold::store_again(&locate, &mut self.next, &fold, &mut packer, &mut self.reader)?;
        }
        let packed = packer.finish()?;
        self.next.next_pack = packed.next_pack;
        self.next.packs.extend(packed.packs);
        self.outcome.tickets = packed.tickets;
        let used: BTreeSet<u32> = self
            .next
            .folders
            .values()
            .flat_map(|folder| folder.packs.iter().copied())
            .chain(self.next.files.values().filter(|f| f.target.is_none()).map(|f| f.pack))
            .collect();
        self.next.packs.retain(|number, _| used.contains(number));
        self.next.drop_unused_xattrs();
        self.old = old;
        Ok(())
    }

    fn folder(
        &mut self,
        folder: &Folder,
        known: Option<&FolderState>,
        packer: &mut Packer<'_, 'env>,
    ) -> std::result::Result<FolderState, FolderError> {
        let path = self.context.root.join(&self.job.path).join(&folder.path);
        let mut next = FolderState {
            attributes: attributes_tuple(folder.attributes),
            mtime_ns: self.job.is_tree().then_some(folder.mtime_ns),
            xattrs: self.xattrs(Xattrs::of_folder(&path), &folder.path),
            is_maildir: folder.is_maildir,
            ..FolderState::default()
        };
        if !folder.is_maildir {
            next.set_messages(&[]);
            return Ok(next);
        }
        let trust = self.context.options.trust;
        if let Some(known) = known.filter(|known| trust == Trust::BaseName && known.is_maildir) {
            let print = known.folder_print();
            if print.is_some() && FolderPrint::read(&path).ok() == print {
                let (attributes, xattrs) = (next.attributes, next.xattrs);
                return Ok(FolderState { attributes, xattrs, ..known.clone() });
            }
        }
        let listing = self.reader.list(&path).map_err(FolderError::Folder)?;
        self.outcome.work.folders_listed += 1;
        if listing.is_unstable {
            self.note(Incident::UnstableFolder, &folder.path, b"", None);
        }
        let known_messages = known.and_then(FolderState::messages).unwrap_or_default();
        let decisions = decide(&known_messages, &listing, trust);
        let before = self.outcome.ledger.counts;
        let mut messages = self
            .messages(folder, &path, &listing, &decisions, &known_messages, packer)
            .map_err(FolderError::Run)?;
        // What is wrong today must be looked at again tomorrow: mending it may not touch the folder.
        let is_clean = self.outcome.ledger.counts.unreadable == before.unreadable
            && self.outcome.ledger.counts.not_messages == before.not_messages;
        drop_doubles(&mut messages);
        let doubled = messages.iter().filter(|message| message.is_duplicate);
        for message in doubled.copied().collect::<Vec<_>>() {
            let inside = folder.path.join(message.subdir().name());
            self.note(Incident::DuplicateName, &inside, message.name, None);
        }
        let kept = decisions
            .iter()
            .filter(|d| matches!(d, Decision::Keep(_) | Decision::Compare(_)))
            .count();
        let gone = known_messages.len().saturating_sub(kept) as u64;
        self.outcome.work.messages_gone += gone;
        next.set_print((listing.is_settled && is_clean).then_some(listing.print));
        next.set_messages(&messages);
        Ok(next)
    }

    fn messages<'b>(
        &mut self,
        folder: &Folder,
        path: &Path,
        listing: &'b Listing,
        decisions: &[Decision<'b>],
        known: &[MessageState<'b>],
        packer: &mut Packer<'_, 'env>,
    ) -> Result<Vec<MessageState<'b>>> {
        let mut messages = Vec::with_capacity(decisions.len());
        for (entry, decision) in listing.entries().iter().zip(decisions) {
            let name = listing.name(entry);
            let inside = || folder.path.join(entry.subdir.name());
            match *decision {
                Decision::Keep(message) => {
                    messages.push(message);
                    continue;
                }
                Decision::SeenTwice => continue,
                Decision::NotAMessage(kind) => {
                    self.note(Incident::NotAMessage, &inside(), name, Some(kind.to_owned()));
                    continue;
                }
                Decision::Compare(known) => {
                    if let Some((same, xattrs)) = self.reader.compare(path, &known) {
                        let xattrs = self.xattrs(xattrs, &inside());
                        messages.push(MessageState { xattrs, ..same });
                        continue;
                    }
                }
                Decision::Read => {}
            }
            self.context.progress.check()?;
            self.outcome.work.messages_new += 1;
            if self.context.options.dry_run {
                continue;
            }
            let source = Source { folder: path, subdir: entry.subdir, name };
            match self.reader.read(&source, packer)? {
                Content::Stored(mut stored) => {
                    self.outcome.work.messages_read += 1;
                    self.outcome.work.bytes_read += stored.size;
                    self.outcome.work.messages_encrypted += u64::from(stored.is_encrypted);
                    Progress::add(&self.context.progress.messages, 1);
                    Progress::add(&self.context.progress.bytes, stored.size);
                    let xattrs = self.xattrs(std::mem::take(&mut stored.xattrs), &inside());
                    messages.push(stored.message(entry.subdir, name, xattrs));
                }
                Content::Gone => {
                    self.note(Incident::ExpungedDuringRun, &inside(), name, None);
                }
                Content::NotAFile(kind) => {
                    self.note(Incident::NotAMessage, &inside(), name, Some(kind.to_owned()));
                }
                Content::Unreadable(reason) => {
                    self.note(Incident::Unreadable, &inside(), name, Some(reason));
                    // An earlier run could read it: that is better than nothing.
                    let base = maildir::base_name(name);
                    if let Ok(at) = known.binary_search_by(|message| message.base().cmp(base)) {
                        let is_new = entry.subdir == maildir::Subdir::New;
                        messages.push(MessageState { name, is_new, ino: 0, ..known[at] });
                    }
                }
            }
        }
        Ok(messages)
    }

    fn write_catalog(mut self, seal: &crate::crypt::Seal, changes: &Lines) -> Result<Outcome> {
        let next = chain::Next {
            mailbox: &self.job.known.id,
            path: &self.job.path,
            old: &self.old,
            changes,
            encrypted: self.context.repository.is_encrypted(),
            is_full: self.context.options.rebase,
            time: self.context.options.time,
        };
        let body = next.write(&mut self.next, seal)?;
        self.outcome.catalog = self.next.catalog.as_ref().map(catalog_ref);
        self.outcome.body = Some(body);
        self.outcome.messages = self.next.folders.values().map(|f| f.messages).sum();
        self.outcome.bytes = self.next.folders.values().map(|f| f.bytes).sum();
        self.context.state.prepare_mailbox(&self.job.known.id, &self.next)?;
        Ok(self.outcome)
    }

    pub(super) fn has_encrypted(&self) -> bool {
        self.outcome.work.messages_encrypted > 0
    }

    pub(super) fn remark(&mut self, remark: Remark, inside: &Path) {
        self.outcome.remarks.add(remark, &self.job.locate(Path::new(""), inside));
    }

    pub(super) fn note(
        &mut self,
        incident: Incident,
        folder: &Path,
        name: &[u8],
        reason: Option<String>,
    ) {
        let mut path = self.job.locate(Path::new(""), folder);
        if !name.is_empty() {
            path.push(std::ffi::OsStr::from_bytes(name));
        }
        self.outcome.ledger.note(incident, path.to_string_lossy().into_owned(), reason);
    }
}

/// A folder that cannot be read is the ledger's; everything else ends the run.
enum FolderError {
    Folder(maildir::Error),
    Run(Error),
}

/// Of several messages with one base name and one content one is kept; those with other contents
/// are marked.
fn drop_doubles(messages: &mut Vec<MessageState<'_>>) {
    for message in &mut *messages {
        message.is_duplicate = false;
    }
    if !messages.windows(2).any(|pair| pair[0].base() == pair[1].base()) {
        return;
    }
    let mut kept: Vec<MessageState<'_>> = Vec::with_capacity(messages.len());
    for mut message in messages.drain(..) {
        let base = message.base();
        let mut same_base = kept.iter().rev().take_while(|k| k.base() == base).peekable();
        let is_duplicate = same_base.peek().is_some();
        let is_kept_already = same_base.any(|k| k.sum == message.sum);
        message.is_duplicate = is_duplicate;
        if !is_kept_already {
            kept.push(message);
        }
    }
    *messages = kept;
}

fn catalog_ref(link: &ChainLink) -> CatalogRef {
    let (catalog, reference) = (link.id.clone(), link.reference.clone());
    CatalogRef { catalog, reference, tree: false, carried: false }
}

impl Work {
    pub(crate) fn add(&mut self, other: &Self) {
        self.folders += other.folders;
        self.folders_listed += other.folders_listed;
        self.messages_new += other.messages_new;
        self.messages_gone += other.messages_gone;
        self.messages_read += other.messages_read;
        self.bytes_read += other.bytes_read;
        self.messages_encrypted += other.messages_encrypted;
    }
}
