//! One folder: brings what is known of it to what a listing shows, and reads what is new. A listing
//! that stood still replaces what was known; another one only adds to it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use maildir::{Folder, FolderPrint, Listing, Proof, Subdir, base_name, nofollow};

use super::Trust;
use super::diff::{Decision, decide};
use super::ledger::{Incident, Ledger};
use super::read::{Content, Found, Reader, Source, Stored};
use super::renamed;
use super::scan::{Scan, key};
use crate::dotlock;
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::progress::Progress;
use crate::state::{FolderState, MessageState};

/// What this run saw of a folder, beside its messages.
#[derive(Default)]
pub(super) struct Look {
    /// The directories before they were listed.
    pub(super) print: FolderPrint,
    is_stable: bool,
    pub(super) is_listed: bool,
    /// Of the newest listing, see [`Listing::digest`].
    digest: u64,
    /// Whether it has links: what they lead to changes without a trace in the folder.
    has_links: bool,
    /// Listed, and not to be found when they were to be read: inode and place by base name.
    pub(super) missing: BTreeMap<Vec<u8>, (u64, PathBuf)>,
    /// Of the newest listing.
    pub(super) ledger: Ledger,
}

impl Look {
    /// At a folder whose directories are as the last run left them.
    pub(super) fn believed(print: FolderPrint) -> Self {
        Self { print, is_stable: true, ..Self::default() }
    }

    /// Whether the folder needs no other look unless it changes.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_stable && self.missing.is_empty()
    }
}

/// A folder's messages as a listing shows them.
#[derive(Default)]
struct Taken<'b> {
    messages: Vec<MessageState<'b>>,
    /// Those that were found under another name than they were listed with.
    found: Vec<(usize, Found)>,
    /// Those that were read.
    read: Vec<usize>,
}

impl Scan<'_, '_, '_> {
    /// Lists a folder for the first time in this run.
    pub(super) fn first(&mut self, folder: &Folder, known: Option<&FolderState>) -> Result<()> {
        let path = self.root().join(&folder.path);
        match self.locked(folder, &path, |reader| reader.list(&path))? {
            Ok(listing) => {
                let none = FolderState::default();
                self.take(folder, &listing, known.unwrap_or(&none), None)
            }
            // The next pass tells whether it is gone or elsewhere.
            Err(e) if e.is_vanished() => Ok(()),
            Err(e) => {
                self.unreadable(folder, known.cloned(), &e);
                Ok(())
            }
        }
    }

    /// Lists a folder again that changed. Whether there was anything to see.
    pub(super) fn again(&mut self, folder: &Folder, print: Option<FolderPrint>) -> Result<bool> {
        let path = self.root().join(&folder.path);
        let listed = self.locked(folder, &path, |reader| reader.list_once(&path, print))?;
        let mut listing = match listed {
            Ok(listing) => listing,
            Err(e) if e.is_vanished() => return Ok(true),
            Err(e) => {
                let state = self.run.next.folders.remove(key(folder));
                self.unreadable(folder, state, &e);
                return Ok(false);
            }
        };
        if self.run.context.options.proof == Proof::Agreement {
            let look = self.looks.get(key(folder));
            listing.is_unstable = look.is_none_or(|look| look.digest != listing.digest);
            if look.is_some_and(Look::is_quiet) && !listing.is_unstable {
                return Ok(false);
            }
        }
        let state = self.run.next.folders.remove(key(folder));
        let before = self.looks.remove(key(folder));
        match (state, self.run.old.folders.get(key(folder))) {
            (Some(state), _) => self.take(folder, &listing, &state, before)?,
            // It was in no listing of this run.
            (None, Some(old)) => self.take(folder, &listing, old, None)?,
            (None, None) => {
                self.take(folder, &listing, &FolderState::default(), Some(Look::default()))?;
            }
        }
        Ok(true)
    }

    /// Lists a folder under Dovecot's lock, if that is wanted and the folder is Dovecot's.
    fn locked<T>(
        &mut self,
        folder: &Folder,
        path: &Path,
        list: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Result<T> {
        let uidlist = self.uidlist(folder);
        let is_wanted = self.run.context.options.dovecot_lock && !self.is_lock_refused;
        let mut lock = None;
        if is_wanted && nofollow::stat(&uidlist).is_ok() {
            match dotlock::acquire(&uidlist, LOCK_WAIT, self.run.context.progress) {
                Ok(held) => lock = Some(held),
                Err(e) if e.is_interrupted() => return Err(Error::Cancelled),
                Err(e) => {
                    // One wait a mailbox: it is listed all the same, as without the option.
                    self.is_lock_refused = true;
                    self.run.outcome.unlocked = Some(e.to_string());
                }
            }
        }
        let listed = list(&mut self.run.reader);
        drop(lock);
        tracing::debug!(folder = %path.display(), "listed");
        Ok(listed)
    }

    /// A folder that is not there any more.
    pub(super) fn leave(&mut self, path: &[u8]) {
        let state = self.run.next.folders.remove(path).unwrap_or_default();
        let look = self.looks.remove(path).unwrap_or_default();
        let inside = Path::new(os(path));
        for message in state.messages().unwrap_or_default() {
            self.account.gone(&message, inside);
        }
        for (_, (ino, place)) in look.missing {
            self.account.lost(ino, place);
        }
    }

    fn unreadable(&mut self, folder: &Folder, state: Option<FolderState>, error: &maildir::Error) {
        let reason = Some(error.source.to_string());
        let mut look = Look::believed(FolderPrint::default());
        look.ledger.note(Incident::Unreadable, self.run.path_of(&folder.path, b""), reason);
        self.looks.insert(key(folder).to_vec(), look);
        if let Some(state) = state {
            let state = FolderState { print: None, ..state };
            self.run.next.folders.insert(key(folder).to_vec(), state);
        }
    }

    /// Brings a folder from `known` to what `listing` shows. `before` is the last look of this run.
    fn take(
        &mut self,
        folder: &Folder,
        listing: &Listing,
        known: &FolderState,
        before: Option<Look>,
    ) -> Result<()> {
        let known_messages = known.messages().unwrap_or_default();
        let trust = match self.run.context.options.trust {
            _ if before.is_some() => Trust::BaseName,
            // What is not read cannot have other contents.
            Trust::Nothing if self.run.context.options.dry_run => Trust::Stat,
            trust => trust,
        };
        let decisions = decide(&known_messages, listing, trust);
        let mut look = Look {
            print: listing.print,
            is_stable: !listing.is_unstable,
            is_listed: true,
            digest: listing.digest,
            ..Look::default()
        };
        if !before.as_ref().is_some_and(|look| look.is_listed) {
            self.run.outcome.work.folders_listed += 1;
        }
        let mut taken = self.messages(folder, listing, &decisions, &known_messages, &mut look)?;
        for (at, (subdir, name)) in &taken.found {
            let message = &mut taken.messages[*at];
            (message.name, message.is_new) = (name, *subdir == Subdir::New);
        }
        let mut messages = taken.messages;
        if let Some(before) = before {
            let read = taken.read.iter().map(|at| messages[*at]).collect::<Vec<_>>();
            self.account_for(folder, listing, &known_messages, &read, before, &mut look);
            if listing.is_unstable {
                messages.extend(absent(&known_messages, listing));
                sort(&mut messages);
            }
        }
        drop_doubles(&mut messages);
        for message in messages.iter().filter(|message| message.is_duplicate) {
            let inside = folder.path.join(message.subdir().name());
            look.ledger.note(
                Incident::DuplicateName,
                self.run.path_of(&inside, message.name),
                None,
            );
        }
        for (subdir, name) in &listing.hidden {
            let path = self.run.path_of(&folder.path.join(subdir.name()), name);
            let reason = "mail servers pass over names that begin with a dot";
            look.ledger.note(Incident::NotAMessage, path, Some(reason.into()));
        }
        // What is wrong today must be looked at again tomorrow: mending it may not touch the folder.
        let is_clean =
            look.missing.is_empty() && !look.has_links && look.ledger.counts.unreadable == 0;
        let mut state = FolderState {
            is_maildir: true,
            guid: renamed::guid(&self.uidlist(folder)),
            ..self.run.folder_state(folder)
        };
        state.set_print((listing.is_settled && is_clean).then_some(listing.print));
        state.set_messages(&messages);
        self.run.next.folders.insert(key(folder).to_vec(), state);
        self.looks.insert(key(folder).to_vec(), look);
        Ok(())
    }

    /// Accounts for what a later pass shows and the one before did not, and the other way round.
    fn account_for(
        &mut self,
        folder: &Folder,
        listing: &Listing,
        known: &[MessageState<'_>],
        read: &[MessageState<'_>],
        before: Look,
        look: &mut Look,
    ) {
        for message in read {
            let is_known = known
                .binary_search_by(|known| known.base().cmp(message.base()))
                .is_ok_and(|at| known[at].ino == message.ino);
            if !is_known && !before.missing.contains_key(message.base()) {
                self.account.came(message, &folder.path);
            }
        }
        if listing.is_unstable {
            for (base, missing) in before.missing {
                if listing.find(&base).is_empty() {
                    look.missing.insert(base, missing);
                }
            }
            return;
        }
        for message in absent(known, listing) {
            self.account.gone(&message, &folder.path);
        }
        for (base, (ino, place)) in before.missing {
            if listing.find(&base).is_empty() {
                self.account.lost(ino, place);
            }
        }
    }

    fn messages<'b>(
        &mut self,
        folder: &Folder,
        listing: &'b Listing,
        decisions: &[Decision<'b>],
        known: &[MessageState<'b>],
        look: &mut Look,
    ) -> Result<Taken<'b>> {
        let path = self.root().join(&folder.path);
        let mut taken = Taken::default();
        taken.messages.reserve(decisions.len());
        for (entry, decision) in listing.entries().iter().zip(decisions) {
            let name = listing.name(entry);
            let place = || folder.path.join(entry.subdir.name());
            match *decision {
                Decision::Keep(message) => {
                    taken.messages.push(message);
                    continue;
                }
                Decision::SeenTwice => continue,
                Decision::NotAFile(kind) => {
                    let kept = self.no_file(&place(), name, kind, known, look);
                    taken.messages.extend(kept);
                    continue;
                }
                Decision::Compare(known) => {
                    if let Some((same, xattrs, found)) = self.run.reader.compare(&path, &known) {
                        let xattrs = self.run.xattrs(xattrs, &place());
                        taken.push(MessageState { xattrs, ..same }, found);
                        continue;
                    }
                }
                Decision::Read => {}
            }
            self.run.context.progress.check()?;
            if self.run.context.options.dry_run {
                self.run.pass_over(&path, entry.subdir, name);
                continue;
            }
            let source = Source { folder: &path, subdir: entry.subdir, name };
            match self.run.reader.read(&source, &mut self.packer)? {
                Content::Stored(mut stored) => {
                    self.count(&stored);
                    taken.read.push(taken.messages.len());
                    let xattrs = std::mem::take(&mut stored.xattrs);
                    let xattrs = self.run.xattrs(xattrs, &place());
                    taken.push(stored.message(entry.subdir, name, xattrs), stored.found);
                }
                Content::Gone => {
                    let base = base_name(name).to_vec();
                    look.missing.insert(base, (entry.ino, place().join(os(name))));
                }
                Content::NotAFile(kind) => {
                    taken.messages.extend(self.no_file(&place(), name, kind, known, look));
                }
                Content::Unreadable(reason) => {
                    let path = self.run.path_of(&place(), name);
                    look.ledger.note(Incident::Unreadable, path, Some(reason));
                    taken.messages.extend(as_known(known, entry.subdir, name));
                }
            }
        }
        Ok(taken)
    }

    /// Counts a message that had to be read.
    pub(super) fn count(&mut self, stored: &Stored) {
        if !stored.is_read {
            return;
        }
        let work = &mut self.run.outcome.work;
        work.messages_encrypted += u64::from(stored.is_encrypted);
        work.messages_read += 1;
        work.bytes_read += stored.size;
        Progress::add(&self.run.context.progress.messages, 1);
        Progress::add(&self.run.context.progress.bytes, stored.size);
    }

    /// Names what lies among the messages and is no regular file. A link that a mail server would
    /// follow to a message is not followed here, because it could lead anywhere: what it is called
    /// may be known from an earlier run.
    fn no_file<'b>(
        &mut self,
        place: &Path,
        name: &'b [u8],
        kind: &str,
        known: &[MessageState<'b>],
        look: &mut Look,
    ) -> Option<MessageState<'b>> {
        let path = self.root().join(place).join(os(name));
        let is_link = nofollow::is_linked(&path);
        let subdir = if place.ends_with(Subdir::New.name()) { Subdir::New } else { Subdir::Cur };
        let kept = as_known(known, subdir, name).filter(|_| is_link);
        look.has_links |= is_link;
        let (incident, reason) = if is_link && (path.is_file() || kept.is_some()) {
            (Incident::NotFollowed, LINKED_MESSAGE)
        } else {
            (Incident::NotAMessage, kind)
        };
        look.ledger.note(incident, self.run.path_of(place, name), Some(reason.to_owned()));
        kept
    }
}

/// A message that cannot be read, as an earlier run knew it: that is better than nothing.
fn as_known<'b>(
    known: &[MessageState<'b>],
    subdir: Subdir,
    name: &'b [u8],
) -> Option<MessageState<'b>> {
    let base = base_name(name);
    let at = known.binary_search_by(|message| message.base().cmp(base)).ok()?;
    Some(MessageState { name, is_new: subdir == Subdir::New, ino: 0, ..known[at] })
}

impl<'b> Taken<'b> {
    fn push(&mut self, message: MessageState<'b>, found: Option<Found>) {
        self.found.extend(found.map(|found| (self.messages.len(), found)));
        self.messages.push(message);
    }
}

/// The known messages that a listing does not have, under whatever name. One that could not be read has no
/// inode.
fn absent<'b>(known: &[MessageState<'b>], listing: &Listing) -> Vec<MessageState<'b>> {
    let mut absent = Vec::new();
    for same_base in known.chunk_by(|a, b| a.base() == b.base()) {
        let found = listing.find(same_base[0].base());
        let inodes: HashSet<u64> = found.iter().map(|entry| entry.ino).collect();
        let is_listed = |message: &MessageState<'_>| {
            inodes.contains(&message.ino) || (message.ino == 0 && !found.is_empty())
        };
        absent.extend(same_base.iter().filter(|message| !is_listed(message)));
    }
    absent
}

/// By base name; `new` comes before `cur`, as in a listing.
pub(super) fn sort(messages: &mut [MessageState<'_>]) {
    messages.sort_by(|a, b| {
        a.base().cmp(b.base()).then(b.is_new.cmp(&a.is_new)).then(a.name.cmp(b.name))
    });
}

/// Of several messages with one base name all but the first are marked. A file that was seen twice is
/// kept once; what could not be read has no inode, and is taken for the one with its content.
pub(super) fn drop_doubles(messages: &mut Vec<MessageState<'_>>) {
    for message in &mut *messages {
        message.is_duplicate = false;
    }
    if !messages.windows(2).any(|pair| pair[0].base() == pair[1].base()) {
        return;
    }
    let mut kept: Vec<MessageState<'_>> = Vec::with_capacity(messages.len());
    for same_base in messages.chunk_by(|a, b| a.base() == b.base()) {
        // What is kept of them: contents, each with its inodes and with none.
        let mut files: HashSet<(Sum, Option<u64>)> = HashSet::new();
        for (at, message) in same_base.iter().enumerate() {
            let MessageState { sum, ino, .. } = *message;
            let is_kept_already = match ino {
                0 => files.contains(&(sum, None)),
                _ => files.contains(&(sum, Some(ino))) || files.contains(&(sum, Some(0))),
            };
            if !is_kept_already {
                files.extend([(sum, None), (sum, Some(ino))]);
                kept.push(MessageState { is_duplicate: at > 0, ..*message });
            }
        }
    }
    *messages = kept;
}

pub(super) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// What to do about a link in the place of a message.
const LINKED_MESSAGE: &str = "a symbolic link; put the message itself in its place";

/// How long another holder of a folder's lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);
