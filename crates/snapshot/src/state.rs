//! What the host remembers of the last run: per mailbox the folders' prints, every message by base
//! name with its place in the repository, and packs that were uploaded by a run that did not end.
//! A cache with a checksum: whatever is missing or torn is rebuilt or read again, never trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use maildir::{Attributes, DirPrint, FolderPrint, Subdir};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hash::{hex, sha256};
use crate::layout::encode_name;
use crate::object::ObjectRef;
use crate::xattrs::XattrSets;

/// The state of one store in one repository, locked against a second run.
pub struct State {
    dir: PathBuf,
    _lock: File,
}

/// The ids that mailboxes were given, by path inside the store (percent-encoded); those of plain
/// trees by their absolute paths, which no mailbox has.
pub type Mailboxes = BTreeMap<String, KnownMailbox>;

/// A mailbox that has an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownMailbox {
    /// Id.
    pub id: String,
    /// What its objects are sealed to; `None` without encryption.
    pub recipient: Option<String>,
    /// Name; may not be UTF-8.
    #[serde(with = "serde_bytes")]
    pub name: Vec<u8>,
}

/// What is known of a mailbox; the messages of its folders stay encoded until they are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxState {
    /// The newest catalog.
    pub catalog: Option<ChainLink>,
    /// Catalogs that the newest builds on, oldest (a full one) first.
    pub parents: Vec<ChainLink>,
    /// Packs by number.
    pub packs: BTreeMap<u32, PackState>,
    /// Indexes of these packs by id.
    pub indexes: BTreeMap<String, ObjectRef>,
    /// The next pack's number.
    pub next_pack: u32,
    /// Folders by path.
    pub folders: BTreeMap<Vec<u8>, FolderState>,
    /// Kept files and links by path.
    pub files: BTreeMap<Vec<u8>, FileState>,
    /// Absolute paths of what lies outside the mailbox, by name below `mailrig.outside`.
    pub outside: BTreeMap<String, Vec<u8>>,
    /// The sets of extended attributes that folders, messages and files have.
    pub xattrs: XattrSets,
}

/// A catalog in a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The catalog's id.
    pub id: String,
    /// Size and hash.
    pub reference: ObjectRef,
    /// How many runs' changes it holds; 0 for a full one.
    pub runs: u32,
    /// Its lines, compressed; empty for a full one, and where they are not known.
    #[serde(with = "serde_bytes")]
    pub lines: Vec<u8>,
}

/// A pack as catalogs need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackState {
    /// The pack's id.
    pub id: String,
    /// Size and hash of the pack.
    pub pack: ObjectRef,
    /// Length of its tar in bytes.
    pub raw: u64,
    /// Number of members.
    pub members: u32,
    /// Id of the index that says what is in it.
    pub index: String,
    /// Where that begins and ends in the index.
    pub section: (u64, u64),
}

/// A folder as it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderState {
    /// Mode, owner, group.
    pub attributes: (u32, u32, u32),
    /// Modification time in nanoseconds since 1970; of a plain tree's folders only.
    pub mtime_ns: Option<i64>,
    /// Whether it has `new` and `cur`.
    pub is_maildir: bool,
    /// Device, inode, mtime, ctime of `new` and `cur`; `None` when they must not be trusted.
    pub print: Option<[(u64, u64, i64, i64); 2]>,
    /// Dovecot's name for it, which stays when it is renamed.
    pub guid: Option<String>,
    /// Number of messages.
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// The packs that hold them.
    pub packs: Vec<u32>,
    /// Its own extended attributes: a number in [`MailboxState::xattrs`].
    pub xattrs: u32,
    /// Those of its messages.
    pub message_xattrs: Vec<u32>,
    /// The messages, sorted by base name: a sequence of [`MessageState`].
    #[serde(with = "serde_bytes")]
    pub encoded: Vec<u8>,
}

/// A message as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState<'b> {
    /// File name with flags.
    #[serde(with = "serde_bytes")]
    pub name: &'b [u8],
    /// Whether it was in `new`.
    pub is_new: bool,
    /// Whether an earlier message of the folder has the same base name.
    pub is_duplicate: bool,
    /// Inode; 0 when unknown.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Pack number.
    pub pack: u32,
    /// Member number in the pack.
    pub member: u32,
    /// Extended attributes: a number in [`MailboxState::xattrs`].
    pub xattrs: u32,
    /// SHA-256 of the content.
    #[serde(with = "serde_bytes")]
    pub sum: [u8; 32],
}

/// A kept file or link as it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Mode, owner, group.
    pub attributes: (u32, u32, u32),
    /// Inode; 0 when unknown.
    pub ino: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Where a link points; `None` for a file.
    pub target: Option<Vec<u8>>,
    /// Size in bytes, of a file.
    pub size: u64,
    /// Pack number, of a file.
    pub pack: u32,
    /// Member number, of a file.
    pub member: u32,
    /// Extended attributes, of a file: a number in [`MailboxState::xattrs`].
    pub xattrs: u32,
    /// SHA-256 of the content, of a file.
    pub sum: [u8; 32],
}

/// A pack that was stored and that no catalog names yet. Its index may not be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPack {
    /// The pack's id.
    pub id: String,
    /// Size and hash of the pack.
    pub pack: ObjectRef,
    /// Length of its tar in bytes.
    pub raw: u64,
    /// Number of members.
    pub members: u32,
    /// Its section of an index, compressed.
    #[serde(with = "serde_bytes")]
    pub section: Vec<u8>,
}

#[cfg(test)]
impl<'n> MessageState<'n> {
    /// A message of this name, with a hash that `content` stands for.
    pub(crate) fn sample(name: &'n [u8], content: u8) -> Self {
        Self {
            name,
            is_new: false,
            is_duplicate: false,
            ino: 1,
            size: 1,
            mtime_ns: 1,
            mode: 0,
            uid: 0,
            gid: 0,
            xattrs: 0,
            pack: 0,
            member: 0,
            sum: [content; 32],
        }
    }
}

impl<'b> MessageState<'b> {
    /// `new` or `cur`.
    pub fn subdir(&self) -> Subdir {
        if self.is_new { Subdir::New } else { Subdir::Cur }
    }

    /// What identifies it in its folder, unless it is a duplicate.
    pub fn base(&self) -> &'b [u8] {
        maildir::base_name(self.name)
    }
}

impl MailboxState {
    /// Forgets sets of extended attributes that nothing has.
    pub fn drop_unused_xattrs(&mut self) {
        let folders = self.folders.values();
        let used = folders
            .flat_map(|folder| folder.message_xattrs.iter().copied().chain([folder.xattrs]))
            .chain(self.files.values().map(|file| file.xattrs))
            .collect();
        self.xattrs.retain(&used);
    }
}

impl FolderState {
    /// A folder that cannot hold messages.
    pub fn without_messages() -> Self {
        let mut folder = Self::default();
        folder.set_messages(&[]);
        folder
    }

    /// Decodes the messages.
    pub fn messages(&self) -> Option<Vec<MessageState<'_>>> {
        postcard::from_bytes(&self.encoded).ok()
    }

    /// Encodes messages, sorted by base name.
    pub fn set_messages(&mut self, messages: &[MessageState<'_>]) {
        self.messages = messages.len() as u64;
        self.bytes = messages.iter().map(|m| m.size).sum();
        let packs: BTreeSet<u32> = messages.iter().map(|m| m.pack).collect();
        self.packs = packs.into_iter().collect();
        let xattrs: BTreeSet<u32> = messages.iter().map(|m| m.xattrs).filter(|n| *n > 0).collect();
        self.message_xattrs = xattrs.into_iter().collect();
        self.encoded.clear();
        let encoded = std::mem::take(&mut self.encoded);
        self.encoded = postcard::to_extend(messages, encoded).expect("encoding to memory succeeds");
    }

    /// The print as a listing gives it.
    pub fn folder_print(&self) -> Option<FolderPrint> {
        let dir = |(dev, ino, mtime_ns, ctime_ns)| DirPrint { dev, ino, mtime_ns, ctime_ns };
        self.print.map(|print| FolderPrint { dirs: print.map(dir) })
    }

    /// Stores a print, or none.
    pub fn set_print(&mut self, print: Option<FolderPrint>) {
        let tuple = |dir: DirPrint| (dir.dev, dir.ino, dir.mtime_ns, dir.ctime_ns);
        self.print = print.map(|print| print.dirs.map(tuple));
    }
}

/// Attributes as the state stores them.
pub fn attributes_tuple(attributes: Attributes) -> (u32, u32, u32) {
    (attributes.mode, attributes.uid, attributes.gid)
}

/// The inverse of [`attributes_tuple`].
pub fn attributes_of((mode, uid, gid): (u32, u32, u32)) -> Attributes {
    Attributes { mode, uid, gid }
}

impl State {
    /// Opens, and locks, the state of `store` in the repository `repository_id` below `root`.
    pub fn open(root: &Path, repository_id: &str, store: &Path) -> Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        let store_id = &hex(&sha256(store.as_os_str().as_bytes()))[..16];
        let dir = root.join(repository_id).join(store_id);
        for dir in [dir.join("mailboxes"), dir.join("pending")] {
            // It names every mailbox and message: nobody else's business.
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|e| Error::io("create state folder", &dir, e))?;
        }
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|e| Error::io("open", &path, e))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { path: dir }),
            Err(e) => Err(Error::io("lock", &path, e)),
        }
    }

    /// Where large packs may be spooled.
    pub fn spool_dir(&self) -> &Path {
        &self.dir
    }

    /// The known mailboxes; none if the file is missing or torn.
    pub fn mailboxes(&self) -> Option<Mailboxes> {
        decode(&fs::read(self.dir.join("mailboxes.list")).ok()?)
    }

    /// Stores the known mailboxes.
    pub fn set_mailboxes(&self, mailboxes: &Mailboxes) -> Result<()> {
        self.replace(&self.dir.join("mailboxes.list"), &encode(mailboxes))
    }

    /// The last snapshot that was made with this state: its id and time.
    pub fn last_run(&self) -> Option<(String, Timestamp)> {
        let (id, milliseconds) = decode(&fs::read(self.dir.join("last.run")).ok()?)?;
        Some((id, Timestamp::from_millisecond(milliseconds).ok()?))
    }

    /// Notes a snapshot whose manifest is durable.
    pub fn set_last_run(&self, id: &str, time: Timestamp) -> Result<()> {
        self.replace(&self.dir.join("last.run"), &encode(&(id, time.as_millisecond())))
    }

    /// What is known of a mailbox.
    pub fn mailbox(&self, id: &str) -> Option<MailboxState> {
        decode(&fs::read(self.mailbox_path(id)).ok()?)
    }

    /// Writes a mailbox's next state beside the present one. [`State::commit_mailbox`] makes it
    /// the present one, when the catalog it names is durable.
    pub fn prepare_mailbox(&self, id: &str, state: &MailboxState) -> Result<()> {
        let path = self.mailbox_path(id).with_extension(NEXT);
        fs::write(&path, encode(state)).map_err(|e| Error::io("write", &path, e))
    }

    /// See [`State::prepare_mailbox`]. Forgets the mailbox's pending packs.
    pub fn commit_mailbox(&self, id: &str) -> Result<()> {
        let path = self.mailbox_path(id);
        fs::rename(path.with_extension(NEXT), &path).map_err(|e| Error::io("rename", &path, e))?;
        match fs::remove_file(self.pending_path(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.pending_path(id), e))
            }
            _ => Ok(()),
        }
    }

    /// Removes what is known of a mailbox that is no longer in the store. A file that stays behind
    /// does no harm.
    pub fn forget_mailbox(&self, id: &str) {
        let _ = fs::remove_file(self.mailbox_path(id));
        let _ = fs::remove_file(self.pending_path(id));
    }

    /// Notes a pack that is durable in the repository before any catalog names it.
    pub fn add_pending(&self, id: &str, pack: &PendingPack) -> Result<()> {
        let path = self.pending_path(id);
        let record = encode(pack);
        let length = (record.len() as u64).to_le_bytes();
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&[&length[..], &record].concat()))
            .map_err(|e| Error::io("write", &path, e))
    }

    /// Packs of an earlier run that no catalog names, one after the other.
    pub fn pending(&self, id: &str) -> impl Iterator<Item = PendingPack> + use<> {
        let mut file = File::open(self.pending_path(id)).ok().map(BufReader::new);
        std::iter::from_fn(move || {
            let file = file.as_mut()?;
            let mut length = [0; 8];
            file.read_exact(&mut length).ok()?;
            let length = u64::from_le_bytes(length);
            let mut record = Vec::new();
            let got = file.take(length).read_to_end(&mut record).ok()?;
            (got as u64 == length).then_some(record)
        })
        .filter_map(|record| decode(&record))
    }

    fn mailbox_path(&self, id: &str) -> PathBuf {
        self.dir.join("mailboxes").join(id)
    }

    fn pending_path(&self, id: &str) -> PathBuf {
        self.dir.join("pending").join(id)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let next = path.with_extension(NEXT);
        fs::write(&next, bytes)
            .and_then(|()| File::open(&next)?.sync_all())
            .and_then(|()| fs::rename(&next, path))
            .map_err(|e| Error::io("write", path, e))
    }
}

/// The key of a mailbox in [`Mailboxes`].
pub fn mailbox_path_key(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    encode_name(path.as_os_str().as_bytes()).into_owned()
}

/// Whether a key in [`Mailboxes`] is that of a plain tree.
pub fn is_tree_key(key: &str) -> bool {
    key.starts_with('/')
}

/// Magic, hash, content: a file torn by a crash is recognised.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let start = [MAGIC, &[0; SUM_BYTES]].concat();
    let mut bytes = postcard::to_extend(value, start).expect("encoding to memory succeeds");
    let sum = checksum(&bytes[MAGIC.len() + SUM_BYTES..]);
    bytes[MAGIC.len()..][..SUM_BYTES].copy_from_slice(&sum);
    bytes
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let (sum, content) = bytes.strip_prefix(MAGIC)?.split_at_checked(SUM_BYTES)?;
    (sum == checksum(content)).then(|| postcard::from_bytes(content).ok()).flatten()
}

fn checksum(content: &[u8]) -> [u8; SUM_BYTES] {
    sha256(content)
}

const MAGIC: &[u8] = b"mailrig state 2\n";
const SUM_BYTES: usize = 32;
const NEXT: &str = "next";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_files_and_pending_records_are_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let state = State::open(root.path(), "r", Path::new("/s")).unwrap();
        let mailbox = MailboxState { next_pack: 7, ..MailboxState::default() };
        state.prepare_mailbox("a", &mailbox).unwrap();
        assert_eq!(state.mailbox("a"), None);
        state.commit_mailbox("a").unwrap();
        assert_eq!(state.mailbox("a"), Some(mailbox));
        let pack = ObjectRef { size: 1, sha256: "x".into() };
        let pending =
            PendingPack { id: "p".into(), pack, raw: 5, members: 3, section: vec![1; 32] };
        state.add_pending("a", &pending).unwrap();
        state.add_pending("a", &pending).unwrap();
        let read = || state.pending("a").collect::<Vec<_>>();
        assert_eq!(read(), [pending.clone(), pending.clone()]);
        for path in [state.pending_path("a"), state.mailbox_path("a")] {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        }
        assert_eq!(read(), [pending]);
        assert_eq!(state.mailbox("a"), None);
    }

    #[test]
    fn only_its_owner_looks_into_a_state() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let state = State::open(&root.path().join("new"), "r", Path::new("/s")).unwrap();
        for dir in [root.path().join("new"), state.dir] {
            assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o077, 0, "{dir:?}");
        }
    }

    #[test]
    fn a_second_run_is_locked_out_until_the_first_ends() {
        let root = tempfile::tempdir().unwrap();
        let first = State::open(root.path(), "r", Path::new("/s")).unwrap();
        let second = State::open(root.path(), "r", Path::new("/s"));
        assert!(matches!(second, Err(Error::Locked { .. })));
        State::open(root.path(), "r", Path::new("/other")).unwrap();
        drop(first);
        State::open(root.path(), "r", Path::new("/s")).unwrap();
    }
}
