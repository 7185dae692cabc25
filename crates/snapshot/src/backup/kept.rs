//! What a mailbox has beside its messages: uidlists, keywords, subscriptions, scripts and links, and
//! what is kept as it was known because it lies below a directory that cannot be read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use maildir::{KeptFile, KeptKind, Tree, Xattrs};

use super::Trust;
use super::ledger::Incident;
use super::mailbox::Run;
use super::outside::join;
use super::packer::Packer;
use super::read::Content;
use super::remarks::Remark;
use crate::error::Result;
use crate::state::{FileState, FolderState, MailboxState, attributes_tuple};

impl<'env> Run<'_, 'env> {
    /// What lies below directories of `tree` that cannot be read is kept as it was known. The tree is
    /// the mailbox's folder `inside`.
    pub(super) fn keep_unreadable(&mut self, inside: &Path, tree: &Tree, old: &MailboxState) {
        let root = self.job.locate(self.context.root, inside);
        for (path, kind) in &tree.skipped {
            if self.job.is_tree() || !inside.as_os_str().is_empty() {
                self.remark(Remark::NotAFile, &inside.join(path));
            } else {
                self.note(Incident::NotAMessage, path, b"", Some((*kind).to_owned()));
            }
        }
        for error in &tree.unreadable {
            let path = join(inside, error.path.strip_prefix(&root).unwrap_or(&error.path));
            self.note(Incident::Unreadable, &path, b"", Some(error.source.to_string()));
            self.keep_known(&path, old);
        }
    }

    /// Keeps everything at and below a path as it was known.
    pub(super) fn keep_known(&mut self, below: &Path, old: &MailboxState) {
        let is_below = |path: &&Vec<u8>| Path::new(OsStr::from_bytes(path)).starts_with(below);
        for (path, folder) in old.folders.iter().filter(|(path, _)| is_below(path)) {
            let kept = FolderState { print: None, ..folder.clone() };
            self.next.folders.entry(path.clone()).or_insert(kept);
        }
        for (path, file) in old.files.iter().filter(|(path, _)| is_below(path)) {
            self.next.files.entry(path.clone()).or_insert_with(|| file.clone());
        }
    }

    /// Keeps what of `tree`, the mailbox's folder `inside`, are files and links.
    pub(super) fn files(
        &mut self,
        inside: &Path,
        tree: &Tree,
        old: &MailboxState,
        packer: &mut Packer<'_, 'env>,
    ) -> Result<()> {
        for file in &tree.files {
            self.context.progress.check()?;
            let path = join(inside, file);
            let known = old.files.get(path.as_os_str().as_bytes());
            self.file(&path, known, packer)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        inside: &Path,
        known: Option<&FileState>,
        packer: &mut Packer<'_, 'env>,
    ) -> Result<()> {
        let path = self.job.locate(self.context.root, inside);
        let file = match KeptFile::read(&path) {
            Ok(file) => file,
            Err(e) if e.is_vanished() => return Ok(()),
            Err(e) => {
                self.unreadable(inside, known, e.source.to_string());
                return Ok(());
            }
        };
        let mut next = FileState {
            attributes: attributes_tuple(file.attributes),
            ino: file.ino,
            mtime_ns: file.mtime_ns,
            ctime_ns: file.ctime_ns,
            target: None,
            size: 0,
            pack: 0,
            member: 0,
            xattrs: 0,
            sum: [0; 32],
        };
        let key = inside.as_os_str().as_bytes().to_vec();
        let size = match file.kind {
            KeptKind::Symlink { target } => {
                next.target = Some(target);
                // A link's own time means nothing to a mail server, and is in no catalog.
                next.mtime_ns = 0;
                self.note_link(inside, &path);
                self.next.files.insert(key, next);
                return Ok(());
            }
            KeptKind::File { size_bytes } => size_bytes,
        };
        let is_same = |known: &&FileState| {
            (known.ino, known.mtime_ns, known.ctime_ns, known.size)
                == (file.ino, file.mtime_ns, file.ctime_ns, size)
                && self.context.options.trust != Trust::Nothing
                && known.target.is_none()
        };
        if let Some(known) = known.filter(is_same) {
            let attributes = next.attributes;
            self.next.files.insert(key, FileState { attributes, ..known.clone() });
            return Ok(());
        }
        if self.context.options.dry_run {
            return Ok(());
        }
        match self.reader.read_file(&path, packer)? {
            Content::Stored(stored) => {
                (next.pack, next.member) = stored.place;
                (next.sum, next.size, next.mtime_ns) = (stored.sum, stored.size, stored.mtime_ns);
                next.xattrs = self.xattrs(stored.xattrs, inside);
                self.next.files.insert(key, next);
            }
            // Locks and half-written files come and go beside the ones that matter.
            Content::Gone | Content::NotAFile(_) => {}
            Content::Unreadable(reason) => self.unreadable(inside, known, reason),
        }
        Ok(())
    }

    /// The number of a set of extended attributes.
    pub(super) fn xattrs(&mut self, xattrs: Xattrs, inside: &Path) -> u32 {
        if xattrs.is_cut {
            self.remark(Remark::LargeXattrs, inside);
        }
        self.next.xattrs.number(xattrs.entries)
    }

    /// What an earlier run could read of it is kept.
    fn unreadable(&mut self, inside: &Path, known: Option<&FileState>, reason: String) {
        self.note(Incident::Unreadable, inside, b"", Some(reason));
        if let Some(known) = known {
            self.next.files.insert(inside.as_os_str().as_bytes().to_vec(), known.clone());
        }
    }

    /// A link is kept as one. If it leads to mail outside the store, that mail is not backed up.
    fn note_link(&mut self, inside: &Path, path: &Path) {
        let leads_out =
            || path.canonicalize().is_ok_and(|target| !target.starts_with(self.context.root));
        if !self.job.is_tree() && leads_out() && maildir::leads_to_mail(path) {
            self.note(Incident::NotFollowed, inside, b"", None);
        }
    }
}
