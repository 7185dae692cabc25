//! What a mailbox has beside its messages: uidlists, keywords, subscriptions, scripts and links, and
//! what is kept as it was known because it lies below a directory that cannot be read.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::{KeptFile, KeptKind, OUTSIDE, Scope, Tree, Xattrs};

use super::Trust;
use super::ledger::Incident;
use super::links;
use super::mailbox::Run;
use super::outside::{ATTRIBUTES, join};
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
        for path in &tree.skipped {
            if self.job.is_tree() || !inside.as_os_str().is_empty() {
                self.remark(Remark::NotAFile, &inside.join(path));
            } else {
                let reason = "neither a file, a folder nor a link";
                self.note(Incident::NotAMessage, path, b"", Some(reason.into()));
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
        let mut vanished_in = BTreeSet::new();
        for file in &tree.files {
            self.context.progress.check()?;
            let path = join(inside, file);
            let known = old.files.get(path.as_os_str().as_bytes());
            if !self.file(&path, known, packer)? {
                vanished_in.extend(file.parent());
            }
        }
        // Dovecot renames `dovecot-uidvalidity.<hex>` whenever a folder is made.
        for dir in vanished_in {
            let listed = self.job.locate(self.context.root, &join(inside, dir));
            let now = maildir::read_files(&listed, self.scope(inside)).unwrap_or_default();
            for file in appeared(&tree.files, dir, now) {
                let path = join(inside, &file);
                let known = old.files.get(path.as_os_str().as_bytes());
                self.file(&path, known, packer)?;
            }
        }
        Ok(())
    }

    /// By which rules the mailbox's folder `inside` is read.
    fn scope(&self, inside: &Path) -> Scope {
        match self.job.is_tree() {
            true => Scope::Plain,
            false if inside.as_os_str().is_empty() => Scope::Mailbox,
            false => Scope::Outside,
        }
    }

    /// Keeps a file or link; tells whether it is still there.
    fn file(
        &mut self,
        inside: &Path,
        known: Option<&FileState>,
        packer: &mut Packer<'_, 'env>,
    ) -> Result<bool> {
        let path = self.job.locate(self.context.root, inside);
        let file = match KeptFile::read(&path) {
            Ok(file) => file,
            Err(e) if e.is_vanished() => return Ok(false),
            Err(e) => {
                self.unreadable(inside, known, e.source.to_string());
                return Ok(true);
            }
        };
        let mut next = FileState {
            attributes: attributes_tuple(file.attributes),
            ino: file.ino,
            mtime_ns: file.mtime_ns,
            ctime_ns: file.ctime_ns,
            ..FileState::default()
        };
        let key = inside.as_os_str().as_bytes().to_vec();
        let size = match file.kind {
            KeptKind::Symlink { .. } if self.hides_mail(inside, &path) => {
                self.keep_known(inside, self.old);
                return Ok(true);
            }
            KeptKind::Symlink { target } => {
                next.target = Some(target);
                // A link's own time means nothing to a mail server, and is in no catalog.
                next.mtime_ns = 0;
                self.next.files.insert(key, next);
                return Ok(true);
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
            return Ok(true);
        }
        if self.context.options.dry_run {
            return Ok(true);
        }
        match self.reader.read_file(&path, packer)? {
            Content::Stored(stored) => {
                (next.pack, next.member) = stored.place;
                (next.sum, next.size, next.mtime_ns) = (stored.sum, stored.size, stored.mtime_ns);
                next.xattrs = self.xattrs(stored.xattrs, inside);
                self.next.files.insert(key, next);
            }
            // Half-written files come and go beside the ones that matter.
            Content::Gone => return Ok(false),
            Content::NotAFile(kind) => self.unreadable(inside, known, format!("now {kind}")),
            Content::Unreadable(reason) => self.unreadable(inside, known, reason),
        }
        Ok(true)
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

    /// Without the keys, mail that mail_crypt encrypted is unreadable: those of folders lie in the
    /// attributes, global ones in files of the server's configuration.
    pub(super) fn note_keys(&mut self) {
        let attributes = Path::new(OUTSIDE).join(ATTRIBUTES);
        let is_attributes =
            |path: &Path| path.ends_with("dovecot-attributes") || path.starts_with(&attributes);
        let is_key_file = |path: &Path| path.extension().is_some_and(|e| e == "pem" || e == "key");
        let mut files = self.next.files.keys().map(|path| Path::new(OsStr::from_bytes(path)));
        if self.job.is_tree() && files.any(is_key_file) {
            self.remark(Remark::KeyFiles, Path::new(""));
        } else if self.has_encrypted() && !files.any(is_attributes) {
            self.remark(Remark::Encrypted, Path::new(""));
        }
    }

    /// Whether a path over a link leads to where nobody looks for this store's mail.
    pub(super) fn leads_out(&self, path: &Path) -> bool {
        let real = path.canonicalize().ok();
        let in_store = real.as_ref().and_then(|real| real.strip_prefix(self.context.root).ok());
        !in_store.is_some_and(|inside| self.context.reach.has(inside))
    }

    /// Names a link behind which there is mail that is not backed up. Tells whether it took the place of
    /// a folder that had messages, which stays as it was known.
    fn hides_mail(&mut self, inside: &Path, path: &Path) -> bool {
        if self.job.is_tree() || !self.leads_out(path) {
            return false;
        }
        // In the place of `new` or `cur` it hides what their folder had.
        let is_subdir = inside.file_name().is_some_and(|name| name == "new" || name == "cur");
        let above = inside.parent().filter(|_| is_subdir);
        let is_hidden = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            path.starts_with(inside) || Some(path) == above
        };
        // This run may have seen the folder before it became a link.
        let folders = self.old.folders.iter().chain(&self.next.folders);
        let mut hidden = folders.filter(|(path, _)| is_hidden(path));
        let had_mail = hidden.any(|(_, folder)| folder.messages > 0);
        if had_mail || maildir::leads_to_mail(path) {
            let kept = if had_mail { "; what was known of it is kept" } else { "" };
            let reason = format!("{}{kept}", links::reason(path, self.context.root));
            self.note(Incident::NotFollowed, inside, b"", Some(reason));
        }
        had_mail
    }
}

/// The files of `dir` that are there `now` and were not when all were `listed`.
fn appeared(listed: &[PathBuf], dir: &Path, now: Vec<OsString>) -> Vec<PathBuf> {
    let paths = now.into_iter().map(|name| dir.join(name));
    paths.filter(|path| !listed.contains(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_found_under_its_new_name() {
        let listed = ["a/dovecot-uidvalidity.01", "a/subscriptions", "dovecot-uidvalidity.02"];
        let listed: Vec<PathBuf> = listed.iter().map(PathBuf::from).collect();
        let now = || vec!["dovecot-uidvalidity.02".into(), "subscriptions".into()];
        let expected = [PathBuf::from("a/dovecot-uidvalidity.02")];
        assert_eq!(appeared(&listed, Path::new("a"), now()), expected);
        assert_eq!(appeared(&listed, Path::new(""), now()), [PathBuf::from("subscriptions")]);
    }
}
