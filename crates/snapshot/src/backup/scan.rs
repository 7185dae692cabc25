//! The scan of a mailbox: all folders once, and then again those that changed since, until nothing
//! moves any more. A message that is renamed or moved while it is looked for is found by one of
//! the passes; what the last pass cannot show to be whole is in the ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use maildir::{Folder, FolderPrint, Proof, TICK, Tree, Xattrs, nofollow};

use super::Trust;
use super::account::{Account, File, file, place};
use super::fold;
use super::folder::{Look, os};
use super::ledger::{Incident, Ledger};
use super::mailbox::Run;
use super::packer::Packer;
use crate::crypt::Seal;
use crate::error::Result;
use crate::state::{FolderState, attributes_tuple};

/// What the passes over one mailbox share. The messages themselves are in the run's next state.
pub(super) struct Scan<'s, 'run, 'env> {
    pub(super) run: &'s mut Run<'run, 'env>,
    pub(super) packer: Packer<'run, 'env>,
    /// By the folder's path.
    pub(super) looks: BTreeMap<Vec<u8>, Look>,
    pub(super) account: Account,
    /// Whether something was seen to change, or could have while it was looked at.
    pub(super) is_restless: bool,
    /// Whether Dovecot's lock was not to be had.
    pub(super) is_lock_refused: bool,
    /// Whether the folders became quiet in the end.
    is_settled: bool,
}

impl<'run> Run<'run, '_> {
    /// Brings `next` to what the mailbox holds now. The packs `fold` are stored again.
    pub(super) fn scan(&mut self, tree: Tree, seal: &'run Seal, fold: &'run [u32]) -> Result<()> {
        let (context, job, old) = (self.context, self.job, self.old);
        let mut scan = Scan {
            packer: Packer::new(context, &job.known.id, seal, old, fold),
            run: self,
            looks: BTreeMap::new(),
            account: Account::default(),
            is_restless: false,
            is_lock_refused: false,
            is_settled: true,
        };
        scan.look(&tree)?;
        let tree =
            if scan.is_restless && !context.options.dry_run { scan.follow(tree)? } else { tree };
        let mut packer = scan.finish();
        self.keep_unreadable(Path::new(""), &tree, old);
        // The uidlist is read after the listings: lines for messages that are not there do no harm.
        self.files(Path::new(""), &tree, old, &mut packer)?;
        self.outside(old, &mut packer)?;
        self.note_keys();
        if !fold.is_empty() {
            let locate = |inside: &Path| job.locate(context.root, inside);
            fold::store_again(&locate, &mut self.next, fold, &mut packer, &mut self.reader)?;
        }
        self.next.drop_unused_xattrs();
        let used: BTreeSet<u32> = self
            .next
            .folders
            .values()
            .flat_map(|folder| folder.packs.iter().copied())
            .chain(self.next.files.values().filter(|f| f.target.is_none()).map(|f| f.pack))
            .collect();
        let packed = packer.finish(&used)?;
        self.next.next_pack = packed.next_pack;
        self.next.packs.extend(packed.packs);
        self.next.packs.retain(|number, _| used.contains(number));
        self.next.indexes.extend(packed.indexes);
        let packs = &self.next.packs;
        self.next.indexes.retain(|id, _| packs.values().any(|pack| pack.index == *id));
        self.outcome.tickets = packed.tickets;
        Ok(())
    }
}

impl Run<'_, '_> {
    /// A folder as it is now, without messages.
    pub(super) fn folder_state(&mut self, folder: &Folder) -> FolderState {
        let path = self.job.locate(self.context.root, &folder.path);
        FolderState {
            attributes: attributes_tuple(folder.attributes),
            mtime_ns: self.job.is_tree().then_some(folder.mtime_ns),
            xattrs: self.xattrs(Xattrs::of_folder(&path), &folder.path),
            is_maildir: folder.is_maildir,
            ..FolderState::without_messages()
        }
    }
}

impl<'run, 'env> Scan<'_, 'run, 'env> {
    pub(super) fn root(&self) -> PathBuf {
        self.run.context.root.join(&self.run.job.path)
    }

    /// The first pass: folders that are as the last run left them are believed, the others listed.
    fn look(&mut self, tree: &Tree) -> Result<()> {
        let there: HashSet<&[u8]> = tree.folders.iter().map(key).collect();
        let left = self.left(&there);
        for folder in &tree.folders {
            self.run.context.progress.check()?;
            self.run.outcome.work.folders += u64::from(!self.run.job.is_tree());
            let known = self.run.old.folders.get(key(folder));
            let known = known.or_else(|| self.known_elsewhere(folder, &left));
            if !folder.is_maildir {
                let state = self.run.folder_state(folder);
                self.run.next.folders.insert(key(folder).to_vec(), state);
            } else if !self.is_as_known(folder, known) {
                self.is_restless = true;
                self.first(folder, known)?;
            }
        }
        // A folder that is gone may be one that was just being renamed.
        let is_there = |path: &Vec<u8>| {
            Path::new(os(path)).starts_with(maildir::OUTSIDE) || there.contains(&path[..])
        };
        self.is_restless |= tree.is_shaky || !self.run.old.folders.keys().all(is_there);
        Ok(())
    }

    /// Takes a folder over if its directories are as they were. Two stats.
    fn is_as_known(&mut self, folder: &Folder, known: Option<&FolderState>) -> bool {
        let options = self.run.context.options;
        let is_trusted = options.trust == Trust::BaseName && options.proof == Proof::Times;
        let Some(known) = known.filter(|known| is_trusted && known.is_maildir) else {
            return false;
        };
        let Some(print) = known.folder_print() else { return false };
        let path = self.root().join(&folder.path);
        if FolderPrint::read(&path).ok() != Some(print) {
            return false;
        }
        let FolderState { attributes, xattrs, .. } = self.run.folder_state(folder);
        let state = FolderState { attributes, xattrs, ..known.clone() };
        self.run.next.folders.insert(key(folder).to_vec(), state);
        self.looks.insert(key(folder).to_vec(), Look::believed(print));
        true
    }

    /// Looks again at what changed, until nothing does. Gives the newest tree.
    fn follow(&mut self, mut tree: Tree) -> Result<Tree> {
        let mut idle = 0;
        let mut unsettled = BTreeSet::new();
        for pass in 0..PASSES_MAX {
            self.run.context.progress.check()?;
            tree = match maildir::read_tree(&self.root(), self.run.job.scope()) {
                Ok(tree) => tree,
                Err(e) => {
                    self.keep_all(&e);
                    return Ok(Tree::default());
                }
            };
            self.is_restless = self.follow_folders(&tree) || tree.is_shaky;
            let changed = self.changed(&tree);
            unsettled = changed.iter().map(|(folder, _)| key(folder).to_vec()).collect();
            if self.run.context.options.proof == Proof::Agreement {
                unsettled.retain(|path| !self.looks.get(path).is_some_and(Look::is_quiet));
            }
            let is_idle = idle >= IDLE_PASSES && !self.has_unread();
            if pass == PASSES_MAX - 1 || (pass >= PASSES && is_idle) {
                break;
            }
            let prints = changed.iter().filter_map(|(_, print)| *print);
            let tick = prints.filter(FolderPrint::is_young).map(|print| print.tick()).max();
            let tick = tick.filter(|_| pass < PASSES);
            if let Some(tick) = tick {
                std::thread::sleep(tick.max(TICK * (pass + 1)));
            }
            if pass == REMEMBER_PASS {
                self.run.reader.remember(self.run.next.folders.values());
            }
            let read = self.run.outcome.work.messages_read;
            for (folder, print) in changed {
                self.run.context.progress.check()?;
                self.is_restless |= self.again(folder, print.filter(|_| tick.is_some()))?;
            }
            if !self.is_restless {
                return Ok(tree);
            }
            idle = if self.run.outcome.work.messages_read == read { idle + 1 } else { 0 };
        }
        if unsettled.is_empty() && self.is_restless {
            let reason = Some("its folders keep changing their names".into());
            self.run.note(Incident::UnstableFolder, Path::new(""), b"", reason);
        }
        self.is_settled = unsettled.is_empty() && !self.is_restless;
        self.settle(tree, &unsettled)
    }

    /// Whether there are files that were listed and never read under any name.
    fn has_unread(&self) -> bool {
        self.unread_inodes().any(|ino| !self.run.reader.remembers(ino))
    }

    /// The files that were listed, and not found to be read in the place where they were.
    pub(super) fn unread_inodes(&self) -> impl Iterator<Item = u64> {
        let missing = self.looks.values().flat_map(|look| look.missing.values());
        missing.map(|(ino, _)| *ino).chain(self.account.lost_inodes())
    }

    /// The folders that are not as they were listed, with their directories as they are now.
    pub(super) fn changed<'t>(&self, tree: &'t Tree) -> Vec<(&'t Folder, Option<FolderPrint>)> {
        let proof = self.run.context.options.proof;
        let root = self.root();
        let maildirs = tree.folders.iter().filter(|folder| folder.is_maildir);
        let mut changed = Vec::new();
        for folder in maildirs {
            let print = FolderPrint::read(&root.join(&folder.path)).ok();
            let look = self.looks.get(key(folder));
            let is_same = |look: &Look| look.is_quiet() && Some(look.print) == print;
            if proof == Proof::Agreement || !look.is_some_and(is_same) {
                changed.push((folder, print));
            }
        }
        changed
    }

    /// Folders that came, went or were renamed. Whether there were any.
    fn follow_folders(&mut self, tree: &Tree) -> bool {
        let root = self.root();
        let is_there: BTreeMap<&[u8], bool> =
            tree.folders.iter().map(|folder| (key(folder), folder.is_maildir)).collect();
        let is_behind = |path: &[u8]| {
            let path = root.join(OsStr::from_bytes(path));
            tree.unreadable.iter().any(|error| path.starts_with(&error.path))
        };
        // A link that took a folder's place tells nothing of its messages.
        let is_hidden = |path: &[u8], state: &FolderState| {
            let path = root.join(os(path));
            state.messages > 0 && nofollow::is_linked(&path) && self.run.leads_out(&path)
        };
        let went = |path: &[u8], state: &FolderState| {
            is_there.get(path) != Some(&state.is_maildir)
                && !is_behind(path)
                && !is_hidden(path, state)
        };
        let folders = &self.run.next.folders;
        let gone: BTreeSet<Vec<u8>> = folders
            .iter()
            .filter(|(path, state)| went(path, state))
            .map(|(path, _)| path.clone())
            .collect();
        let mut is_changed = !gone.is_empty();
        let is_new = |folder: &&Folder| {
            folder.is_maildir && (gone.contains(key(folder)) || !folders.contains_key(key(folder)))
        };
        let renamed = self.renamed(&gone, tree.folders.iter().filter(is_new));
        let mut states = Vec::new();
        for (from, to) in renamed {
            states.extend(self.run.next.folders.remove(&from).map(|state| (to.clone(), state)));
            self.looks.remove(&from).map(|look| self.looks.insert(to, look));
        }
        gone.iter().for_each(|path| self.leave(path));
        self.run.next.folders.extend(states);
        for folder in tree.folders.iter().filter(|folder| !folder.is_maildir) {
            if !self.run.next.folders.contains_key(key(folder)) {
                let state = self.run.folder_state(folder);
                self.run.next.folders.insert(key(folder).to_vec(), state);
                is_changed = true;
            }
        }
        is_changed
    }

    /// The mailbox went away while it was scanned: nothing that an earlier snapshot had is dropped.
    fn keep_all(&mut self, error: &maildir::Error) {
        let reason = format!("not there any more when it had been scanned: {}", error.source);
        self.run.note(Incident::Unreadable, Path::new(""), b"", Some(reason));
        for (path, folder) in &self.run.old.folders {
            let kept = FolderState { print: None, ..folder.clone() };
            self.run.next.folders.entry(path.clone()).or_insert(kept);
        }
        self.run.next.files.extend(self.run.old.files.clone());
    }

    /// Closes the account of the scan.
    fn finish(mut self) -> Packer<'run, 'env> {
        let mut ledger = Ledger::default();
        for look in self.looks.values_mut() {
            ledger.merge(std::mem::take(&mut look.ledger));
            for (ino, place) in std::mem::take(&mut look.missing).into_values() {
                self.account.lost(ino, place);
            }
        }
        self.run.outcome.ledger.merge(ledger);
        let wanted = self.account.inodes();
        let mut places = self.places(&wanted);
        if !self.is_settled {
            // Nothing shows that they are gone: they may be on their way from folder to folder.
            let gone = self.account.take_gone(&places);
            self.put_back(&gone);
            places = self.places(&wanted);
            for place in self.account.take_lost(&places) {
                let reason = "its folder, or another one, did not become quiet";
                self.run.note(Incident::Unresolved, &place, b"", Some(reason.into()));
            }
        }
        let balance = self.account.balance(&places);
        for place in balance.delivered {
            self.run.note(Incident::DeliveredDuringRun, &place, b"", None);
        }
        for place in balance.expunged {
            self.run.note(Incident::ExpungedDuringRun, &place, b"", None);
        }
        for (from, to) in balance.moved {
            let reason = format!("from {}", from.display());
            self.run.note(Incident::MovedDuringRun, &to, b"", Some(reason));
        }
        self.packer
    }

    /// Where the mailbox has the files with these inodes.
    fn places(&self, wanted: &BTreeSet<u64>) -> BTreeMap<File, PathBuf> {
        let mut places = BTreeMap::new();
        if wanted.is_empty() {
            return places;
        }
        for (path, state) in &self.run.next.folders {
            let folder = Path::new(os(path));
            for message in state.messages().unwrap_or_default() {
                if wanted.contains(&message.ino) {
                    places.insert(file(&message), place(folder, &message));
                }
            }
        }
        places
    }
}

pub(super) fn key(folder: &Folder) -> &[u8] {
    folder.path.as_os_str().as_bytes()
}

/// How often a mailbox that keeps changing is looked at again.
const PASSES: u32 = 8;

/// The same while each pass still finds messages that no pass before could read.
const PASSES_MAX: u32 = 32;
const IDLE_PASSES: u32 = 3;

/// The pass from which files are known by inode: before, few have moved.
const REMEMBER_PASS: u32 = 2;
