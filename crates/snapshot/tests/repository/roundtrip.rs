//! restore(backup(x)) is x for stores of both layouts with all that file systems can hold: names of any
//! bytes, hard links, times, modes, owners, extended attributes, links; once byte for byte, and once with
//! lists of UIDs that are safe to serve. The comparison is shown to notice every kind of change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use maildir::Uidlist;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rustix::fs::XattrFlags;
use snapshot::restore::Uids;
use snapshot::store::memory::Memory;

use super::world::World;

#[derive(Debug, Clone)]
struct Mailbox {
    /// Folders in folders, or names with dots.
    is_nested: bool,
    folders: Vec<Vec<u8>>,
    letters: Vec<Letter>,
    keywords: Vec<String>,
    files: Vec<(Vec<u8>, Vec<u8>, Marks)>,
    link: Vec<u8>,
    uid_validity: u32,
}

#[derive(Debug, Clone)]
struct Letter {
    folder: usize,
    name: Vec<u8>,
    flags: Option<String>,
    is_new: bool,
    body: Vec<u8>,
    /// Another name of that one's file.
    link_to: Option<usize>,
    marks: Marks,
}

/// What a file has beside name and content.
#[derive(Debug, Clone)]
struct Marks {
    received: Duration,
    mode: u32,
    owner: u32,
    label: Option<Vec<u8>>,
}

fn bytes(first: impl Fn(u8) -> bool + Copy + 'static) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[0-9]{10}\\.M[0-9]{1,6}P[0-9]{1,5}\\.host,S=[0-9]{1,4}".prop_map(String::into_bytes),
        "\\PC{1,30}".prop_map(String::into_bytes),
        vec(1_u8.., 1..60),
    ]
    .prop_map(move |mut name| {
        name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'\n');
        if !first(name[0]) {
            name[0] = b'_';
        }
        name
    })
}

fn marks() -> impl Strategy<Value = Marks> {
    let mode = prop::sample::select(vec![0o600_u32, 0o640, 0o644, 0o400]);
    let time = (0..4_000_000_000_u64, 0..1_000_000_000_u32);
    let label = option::weighted(0.3, vec(any::<u8>(), 0..40));
    (time, mode, 0..3_u32, label).prop_map(|((seconds, nanos), mode, owner, label)| Marks {
        received: Duration::new(seconds, nanos),
        mode,
        owner,
        label,
    })
}

fn letter() -> impl Strategy<Value = Letter> {
    let name = bytes(|byte| byte != b'.');
    let flags = option::of("[DFPRST]{0,4}[a-e]{0,3}");
    let body = vec(any::<u8>(), 0..200);
    let link_to = option::weighted(0.2, 0..100_usize);
    (0..100_usize, name, flags, any::<bool>(), body, link_to, marks()).prop_map(
        |(folder, name, flags, is_new, body, link_to, marks)| Letter {
            folder,
            name,
            flags,
            is_new,
            body,
            link_to,
            marks,
        },
    )
}

fn mailbox() -> impl Strategy<Value = Mailbox> {
    let folders = vec(bytes(|byte| byte != b'.'), 0..4);
    let keywords = vec("[$A-Za-z][A-Za-z0-9]{0,8}", 0..5);
    let file = (bytes(|byte| byte != b'.'), vec(any::<u8>(), 0..50), marks());
    (
        any::<bool>(),
        folders,
        vec(letter(), 0..20),
        keywords,
        vec(file, 0..3),
        bytes(|byte| byte != 0),
        1..u32::MAX / 2,
    )
        .prop_map(|(is_nested, folders, letters, keywords, files, link, uid_validity)| {
            Mailbox { is_nested, folders, letters, keywords, files, link, uid_validity }
        })
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

impl Mailbox {
    /// Writes it, as far as file systems and Maildir allow: no name is used twice.
    fn write(&self, root: &Path) {
        let mut folders = vec![root.to_owned()];
        for (nth, name) in self.folders.iter().enumerate() {
            folders.push(match (self.is_nested, nth % 2) {
                (true, 1) => folders[nth].join(os(name)),
                (true, _) => root.join(os(name)),
                (false, _) => root.join(os(&[b".", &name[..]].concat())),
            });
        }
        for folder in &folders {
            for subdir in ["new", "cur", "tmp"] {
                fs::create_dir_all(folder.join(subdir)).unwrap();
            }
        }
        let mut written: Vec<PathBuf> = Vec::new();
        let mut bases: BTreeMap<&Path, Vec<Vec<u8>>> = BTreeMap::new();
        for letter in &self.letters {
            let folder = &folders[letter.folder % folders.len()];
            let flags = letter.flags.iter().map(|flags| format!(":2,{flags}"));
            let name = [&letter.name[..], flags.collect::<String>().as_bytes()].concat();
            let base = maildir::base_name(&name).to_vec();
            let here = bases.entry(folder).or_default();
            if here.contains(&base) {
                continue;
            }
            here.push(base);
            let path = folder.join(["cur", "new"][usize::from(letter.is_new)]).join(os(&name));
            match letter.link_to.filter(|_| !written.is_empty()) {
                Some(nth) => fs::hard_link(&written[nth % written.len()], &path).unwrap(),
                None => write(&path, &letter.body, &letter.marks),
            }
            written.push(path);
        }
        for (folder, bases) in bases {
            fs::write(folder.join("dovecot-uidlist"), self.list(&bases)).unwrap();
            let keywords = self.keywords.iter().enumerate();
            let keywords: String = keywords.map(|(at, word)| format!("{at} {word}\n")).collect();
            fs::write(folder.join("dovecot-keywords"), keywords).unwrap();
        }
        for (name, content, marks) in &self.files {
            let path = root.join(os(name));
            if !path.exists() {
                write(&path, content, marks);
            }
        }
        symlink(os(&self.link), root.join(".dovecot.sieve")).unwrap();
    }

    /// A list that has those names that can stand in one.
    fn list(&self, bases: &[Vec<u8>]) -> Vec<u8> {
        let is_listed = |base: &&Vec<u8>| base.iter().all(u8::is_ascii_graphic);
        let lines = (1..).zip(bases.iter().filter(is_listed));
        let lines =
            lines.map(|(at, base)| [format!("{} :", 7 * at).as_bytes(), base, b"\n"].concat());
        let head = format!("3 V{} N{}\n", self.uid_validity, 7 * bases.len() + 8).into_bytes();
        std::iter::once(head).chain(lines).flatten().collect()
    }
}

fn write(path: &Path, content: &[u8], marks: &Marks) {
    fs::write(path, content).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + marks.received).unwrap();
    if let Some(label) = &marks.label {
        set_label(path, label);
    }
    if rustix::process::geteuid().is_root() {
        chown(path, Some(marks.owner), Some(marks.owner)).unwrap();
    }
    fs::set_permissions(path, Permissions::from_mode(marks.mode)).unwrap();
}

/// Not every file system has attributes.
fn set_label(path: &Path, label: &[u8]) {
    let _ = rustix::fs::setxattr(path, "user.label", label, XattrFlags::empty());
}

/// What `ls -ln`, `getfattr` and `cat` tell of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder {
        mode: u32,
    },
    Link(PathBuf),
    File {
        content: Vec<u8>,
        mtime: (i64, i64),
        mode: u32,
        owner: (u32, u32),
        label: Option<Vec<u8>>,
    },
}

type Image = BTreeMap<PathBuf, Entry>;

fn image(root: &Path) -> Image {
    let mut image = Image::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let entry = if meta.is_dir() {
                dirs.push(path.clone());
                Entry::Folder { mode }
            } else if meta.is_symlink() {
                Entry::Link(fs::read_link(&path).unwrap())
            } else {
                let mut label = vec![0; 100];
                let length = rustix::fs::getxattr(&path, "user.label", label.as_mut_slice());
                Entry::File {
                    content: fs::read(&path).unwrap(),
                    mtime: (meta.mtime(), meta.mtime_nsec()),
                    mode,
                    owner: (meta.uid(), meta.gid()),
                    label: length.ok().map(|length| label[..length].to_vec()),
                }
            };
            image.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
        }
    }
    image
}

/// The paths of what differs.
fn differences(one: &Image, other: &Image) -> Vec<PathBuf> {
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    paths.into_iter().filter(|path| one.get(*path) != other.get(*path)).cloned().collect()
}

/// The mailboxes as they are written, backed up once, and a folder for each restore.
fn backed_up(mailboxes: &[Mailbox]) -> (World, Arc<Memory>) {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    for (mailbox, path) in mailboxes.iter().zip(PATHS) {
        mailbox.write(&world.store().join(path));
    }
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert!(!report.is_incomplete, "{:?}", report.incidents);
    (world, objects)
}

fn restored(world: &World, objects: &Arc<Memory>, uids: Uids) -> (tempfile::TempDir, Image) {
    let to = tempfile::tempdir().unwrap();
    let report = world.restore_to(Arc::clone(objects), "latest", uids, to.path()).unwrap();
    assert!(report.problems.is_empty() && report.notes.is_empty(), "{report:?}");
    let image = image(to.path());
    (to, image)
}

const PATHS: [&str; 3] = ["example.org/alice", "example.org/b\u{f6}b/Maildir", "carol"];

/// The list that is to be served after a restore: it says the same, and nothing of what may have come
/// since.
fn assert_serves(restored: &[u8], stored: &[u8], context: &Path) {
    let [restored, stored] = [restored, stored].map(|list| Uidlist::parse(list).unwrap());
    let bases = |list: &Uidlist<'_>| -> Vec<_> {
        list.records.iter().map(|record| (record.uid, record.base().to_vec())).collect()
    };
    assert_eq!(restored.uid_validity, stored.uid_validity, "{}", context.display());
    let raised = restored.next_uid - stored.next_uid;
    assert!((1_000_000..1_010_000).contains(&raised), "{}", context.display());
    assert_eq!(bases(&restored), bases(&stored), "{}", context.display());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_store_comes_back_as_it_was(mailboxes in vec(mailbox(), 1..=3)) {
        let (world, objects) = backed_up(&mailboxes);
        let stored = image(&world.store());
        let (_to, exact) = restored(&world, &objects, Uids::Exact);
        prop_assert_eq!(differences(&stored, &exact), Vec::<PathBuf>::new());

        let (_to, served) = restored(&world, &objects, Uids::Keep);
        for path in differences(&stored, &served) {
            let (Entry::File { content: before, .. }, Entry::File { content: after, .. }) =
                (&stored[&path], &served[&path]) else { panic!("{}", path.display()) };
            prop_assert!(path.ends_with("dovecot-uidlist"), "{}", path.display());
            assert_serves(after, before, &path);
        }
        let lists = stored.keys().filter(|path| path.ends_with("dovecot-uidlist"));
        prop_assert_eq!(differences(&stored, &served).len(), lists.count());
    }

    /// The twin.
    #[test]
    fn any_change_of_what_was_restored_is_noticed(
        mailbox in mailbox(), letter in letter(), nth: usize, kind in 0..9_u8,
    ) {
        let mut mailbox = mailbox;
        mailbox.letters.insert(0, Letter { folder: 0, ..letter });
        let (world, objects) = backed_up(&[mailbox]);
        let stored = image(&world.store());
        let (to, restored) = restored(&world, &objects, Uids::Exact);
        let is_file = |entry: &Entry| matches!(entry, Entry::File { content, .. } if !content.is_empty());
        let files: Vec<_> = restored.iter().filter(|(_, entry)| is_file(entry)).collect();
        let (inside, Entry::File { content, mode, owner, label, mtime }) = files[nth % files.len()]
            else { unreachable!() };
        let path = to.path().join(inside);
        let open = || File::options().write(true).open(&path).unwrap();
        let rename = |ending: &[u8]| {
            let mut name = path.clone().into_os_string();
            name.push(os(ending));
            fs::rename(&path, name).unwrap();
        };
        let has_attributes = rustix::fs::setxattr(&path, "user.test", b"", XattrFlags::empty()).is_ok();
        match kind {
            0 => {
                let mut changed = content.clone();
                changed[nth % content.len()] ^= 1;
                fs::write(&path, changed).unwrap();
                let received = UNIX_EPOCH + Duration::new(mtime.0 as u64, mtime.1 as u32);
                open().set_modified(received).unwrap();
            }
            1 => open().set_modified(UNIX_EPOCH + Duration::new(mtime.0 as u64, mtime.1 as u32 ^ 1)).unwrap(),
            2 => fs::set_permissions(&path, Permissions::from_mode(mode ^ 0o040)).unwrap(),
            3 if rustix::process::geteuid().is_root() => chown(&path, Some(owner.0 + 1), None).unwrap(),
            4 if has_attributes => set_label(&path, &[label.as_deref().unwrap_or_default(), b"x"].concat()),
            5 => fs::remove_file(&path).unwrap(),
            6 => rename(b"T"),
            7 => {
                let link = to.path().join(PATHS[0]).join(".dovecot.sieve");
                fs::remove_file(&link).unwrap();
                symlink("/elsewhere", link).unwrap();
            }
            _ => fs::create_dir(to.path().join("carol")).unwrap(),
        }
        prop_assert_ne!(differences(&stored, &image(to.path())), Vec::<PathBuf>::new(), "{}", kind);
    }
}
