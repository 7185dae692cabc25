//! One mailbox: scan it (see `scan`), and write its next state and the catalog that leads to it.
//! Nothing here touches the mailbox; nothing is durable before the committer made it so.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::{Opener, Scope, Subdir};

use super::alarm::Expunged;
use super::chain;
use super::context::Context;
use super::fold;
use super::ledger::{Incident, Ledger};
use super::lines::Lines;
use super::outside::{self, Places};
use super::read::{Reader, Source};
use super::remarks::{Remark, Remarks};
use super::tally::{Balance, Tally};
use super::uploads::Ticket;
use crate::error::Result;
use crate::manifest::CatalogRef;
use crate::state::{ChainLink, KnownMailbox, MailboxState};
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

    /// By which rules its folders are read.
    pub(crate) fn scope(&self) -> Scope {
        if self.is_tree() { Scope::Plain } else { Scope::Mailbox }
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
    /// Whether the catalog has the ledger's names.
    pub(crate) is_recorded: bool,
    /// If it lost too much.
    pub(crate) alarm: Option<Expunged>,
    /// Why it was listed without Dovecot's lock, if that was wanted.
    pub(crate) unlocked: Option<String>,
}

/// What was done for one mailbox, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) folders: u64,
    pub(crate) folders_listed: u64,
    pub(crate) messages: Balance,
    pub(crate) messages_read: u64,
    pub(crate) bytes_read: u64,
    /// Of those read, encrypted by mail_crypt.
    pub(crate) messages_encrypted: u64,
}

/// Backs one mailbox up.
pub(crate) fn backup(context: &Context<'_>, job: &Job, opener: &mut Opener) -> Result<Outcome> {
    let old = context.state.mailbox(&job.known.id).unwrap_or_default();
    let seal = context.repository.mailbox_seal(job.known.recipient.as_deref())?;
    let fold = if context.options.dry_run {
        Vec::new()
    } else if context.options.rebase {
        fold::lost(context.repository, &job.known.id, &old)?
    } else {
        fold::choose(&old)
    };
    let mut run = Run::new(context, job, &old, opener);
    let root = context.root.join(&job.path);
    let tree = match maildir::read_tree(&root, job.scope()) {
        Ok(tree) => tree,
        Err(e) => return Ok(run.carry_over(&e)),
    };
    if job.is_tree() {
        tracing::debug!(folder = %root.display(), "listed");
    }
    run.scan(tree, &seal, &fold)?;
    let mut changes = Lines::default();
    changes.changes(&old, &run.next);
    run.find_moved(&mut changes.tally);
    run.outcome.work.messages.add(changes.tally.balance());
    run.check_alarm(&changes.tally);
    if context.options.dry_run {
        return Ok(run.unchanged());
    }
    let has_catalog =
        old.catalog.is_some() && !context.options.rebase && old.outside == run.next.outside;
    let has_news = !changes.bytes.is_empty() || !run.outcome.ledger.is_empty();
    if has_catalog && !has_news && run.next.packs == old.packs {
        return run.only_prints_changed();
    }
    run.write_catalog(&seal, &changes)
}

/// The state of work on one mailbox.
pub(super) struct Run<'run, 'env> {
    pub(super) context: &'run Context<'env>,
    pub(super) job: &'run Job,
    pub(super) reader: Reader<'run>,
    pub(super) old: &'run MailboxState,
    pub(super) next: MailboxState,
    pub(super) outcome: Outcome,
    /// Messages that a dry run did not read, and that may be known from another place.
    unread: Vec<Unread>,
}

/// Folder, subdirectory and name.
type Unread = (PathBuf, Subdir, Vec<u8>);

impl<'run, 'env> Run<'run, 'env> {
    fn new(
        context: &'run Context<'env>,
        job: &'run Job,
        old: &'run MailboxState,
        opener: &'run mut Opener,
    ) -> Self {
        let next = MailboxState {
            catalog: None,
            parents: Vec::new(),
            packs: old.packs.clone(),
            indexes: old.indexes.clone(),
            next_pack: old.next_pack,
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            outside: BTreeMap::new(),
            xattrs: old.xattrs.clone(),
        };
        let (id, is_tree) = (job.known.id.clone(), job.is_tree());
        let outcome = Outcome { id, is_tree, ..Outcome::default() };
        Self { context, job, reader: Reader::new(opener), old, next, outcome, unread: Vec::new() }
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

    /// Does not read a message, because nothing is to be stored.
    pub(super) fn pass_over(&mut self, folder: &Path, subdir: Subdir, name: &[u8]) {
        if self.old.folders.is_empty() {
            self.outcome.work.messages.new += 1;
        } else {
            self.unread.push((folder.to_owned(), subdir, name.to_vec()));
        }
    }

    /// Of the messages that were passed over, reads those that may be ones that are gone elsewhere: they
    /// have the size.
    fn find_moved(&mut self, tally: &mut Tally) {
        let sizes = tally.sizes_gone();
        for (folder, subdir, name) in std::mem::take(&mut self.unread) {
            let source = Source { folder: &folder, subdir, name: &name };
            tally.unread(self.reader.sum_if(&source, |size| sizes.contains(&size)));
        }
    }

    fn check_alarm(&mut self, tally: &Tally) {
        let mailbox = self.path_of(Path::new(""), b"");
        let alarm = self.context.options.alarm.check(&mailbox, self.old, &self.next, tally);
        if let Some(alarm) = &alarm {
            self.outcome.ledger.note(Incident::ManyExpunged, mailbox, Some(alarm.reason()));
        }
        self.outcome.alarm = alarm;
    }

    /// Nothing that a catalog holds is new, but folder times or inodes may be.
    fn only_prints_changed(mut self) -> Result<Outcome> {
        self.next.catalog.clone_from(&self.old.catalog);
        self.next.parents.clone_from(&self.old.parents);
        if self.next != *self.old {
            self.context.state.prepare_mailbox(&self.job.known.id, &self.next)?;
            self.context.state.commit_mailbox(&self.job.known.id)?;
        }
        Ok(self.unchanged())
    }

    fn write_catalog(mut self, seal: &crate::crypt::Seal, changes: &Lines) -> Result<Outcome> {
        let next = chain::Next {
            mailbox: &self.job.known.id,
            path: &self.job.path,
            old: self.old,
            changes,
            incidents: &self.outcome.ledger,
            encrypted: self.context.repository.is_encrypted(),
            is_full: self.context.options.rebase,
            time: self.context.options.time,
        };
        let body = next.write(&mut self.next, seal)?;
        let incidents = self.outcome.ledger.entries().count() as u64;
        let catalog = self.next.catalog.as_ref().map(catalog_ref);
        self.outcome.catalog = catalog.map(|catalog| CatalogRef { incidents, ..catalog });
        self.outcome.body = Some(body);
        self.outcome.is_recorded = true;
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
        let path = self.path_of(folder, name);
        self.outcome.ledger.note(incident, path, reason);
    }

    /// Where something is in the store, for people; of what lies outside it, where it lies.
    pub(super) fn path_of(&self, folder: &Path, name: &[u8]) -> String {
        let mut path = self.job.locate(Path::new(""), folder);
        if !name.is_empty() {
            path.push(std::ffi::OsStr::from_bytes(name));
        }
        path.to_string_lossy().into_owned()
    }
}

fn catalog_ref(link: &ChainLink) -> CatalogRef {
    CatalogRef::new(link.id.clone(), link.reference.clone())
}

impl Work {
    pub(crate) fn add(&mut self, other: &Self) {
        self.folders += other.folders;
        self.folders_listed += other.folders_listed;
        self.messages.add(other.messages);
        self.messages_read += other.messages_read;
        self.bytes_read += other.bytes_read;
        self.messages_encrypted += other.messages_encrypted;
    }
}
