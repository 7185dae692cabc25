//! Properties: restore(backup(x)) is x for trees that were made up, over several nights; and no
//! object that was damaged in any place restores as if it were whole.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use snapshot::store::Store;
use snapshot::store::memory::Memory;

use super::world::{World, assert_same, keys};

/// One change of a night.
#[derive(Debug, Clone)]
enum Change {
    Deliver { mailbox: u8, folder: u8, name: Vec<u8>, body: Vec<u8>, is_new: bool },
    Expunge { mailbox: u8, nth: u8 },
    Flag { mailbox: u8, nth: u8, flags: String },
    Move { mailbox: u8, nth: u8, folder: u8 },
    RemoveFolder { mailbox: u8, folder: u8 },
    Uidlist { mailbox: u8, text: String },
}

fn change() -> impl Strategy<Value = Change> {
    let name = prop_oneof![
        "[0-9]{1,10}\\.[a-z0-9]{1,6}".prop_map(String::into_bytes),
        proptest::collection::vec(1_u8.., 1..40),
        "msg\\.[0-3]".prop_map(String::into_bytes),
    ]
    .prop_map(|mut name| {
        // What a directory entry cannot hold, or a Maildir reader passes over.
        name.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'_');
        if name[0] == b'.' {
            name[0] = b'_';
        }
        name
    });
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        6 => (0..3_u8, 0..4_u8, name, body, any::<bool>()).prop_map(
            |(mailbox, folder, name, body, is_new)| Change::Deliver {
                mailbox, folder, name, body, is_new
            }
        ),
        1 => (0..3_u8, any::<u8>()).prop_map(|(mailbox, nth)| Change::Expunge { mailbox, nth }),
        2 => (0..3_u8, any::<u8>(), "[FRST]{0,3}")
            .prop_map(|(mailbox, nth, flags)| Change::Flag { mailbox, nth, flags }),
        1 => (0..3_u8, any::<u8>(), 0..4_u8)
            .prop_map(|(mailbox, nth, folder)| Change::Move { mailbox, nth, folder }),
        1 => (0..3_u8, 1..4_u8)
            .prop_map(|(mailbox, folder)| Change::RemoveFolder { mailbox, folder }),
        1 => (0..3_u8, "[ -~]{0,40}").prop_map(|(mailbox, text)| Change::Uidlist { mailbox, text }),
    ]
}

const MAILBOXES: [&str; 3] = ["example.org/alice", "example.org/bob/Maildir", "carol"];
const FOLDERS: [&str; 4] = ["", ".Sent", ".Archive.2025", "Nested/Deeper"];

fn apply(world: &World, change: &Change) {
    let nth_message = |mailbox: u8, nth: u8| {
        let root = world.store().join(MAILBOXES[mailbox as usize]);
        let mut files: Vec<_> =
            ["cur", "new", ".Sent/cur", ".Archive.2025/cur", "Nested/Deeper/new"]
                .iter()
                .filter_map(|dir| fs::read_dir(root.join(dir)).ok())
                .flat_map(|dir| dir.map(|entry| entry.unwrap().path()))
                .collect();
        files.sort();
        if files.is_empty() { None } else { Some(files[nth as usize % files.len()].clone()) }
    };
    match change {
        Change::Deliver { mailbox, folder, name, body, is_new } => {
            world.folder(MAILBOXES[*mailbox as usize], "");
            let folder = world.folder(MAILBOXES[*mailbox as usize], FOLDERS[*folder as usize]);
            let subdir = if *is_new { "new" } else { "cur" };
            let path = folder.join(subdir).join(std::ffi::OsStr::from_bytes(name));
            if !path.exists() {
                fs::write(path, body).unwrap();
            }
        }
        Change::Expunge { mailbox, nth } => {
            if let Some(path) = nth_message(*mailbox, *nth) {
                fs::remove_file(path).unwrap();
            }
        }
        Change::Flag { mailbox, nth, flags } => {
            let Some(path) = nth_message(*mailbox, *nth) else { return };
            let name = path.file_name().unwrap().as_bytes();
            let mut renamed = maildir::base_name(name).to_vec();
            renamed.extend_from_slice(format!(":2,{flags}").as_bytes());
            let to = path.with_file_name(std::ffi::OsStr::from_bytes(&renamed));
            if !to.exists() && renamed.len() < 255 {
                fs::rename(path, to).unwrap();
            }
        }
        Change::Move { mailbox, nth, folder } => {
            let Some(path) = nth_message(*mailbox, *nth) else { return };
            world.folder(MAILBOXES[*mailbox as usize], "");
            let folder = world.folder(MAILBOXES[*mailbox as usize], FOLDERS[*folder as usize]);
            let to = folder.join("cur").join(path.file_name().unwrap());
            if !to.exists() {
                fs::rename(path, to).unwrap();
            }
        }
        Change::RemoveFolder { mailbox, folder } => {
            let root = world.store().join(MAILBOXES[*mailbox as usize]);
            let _ = fs::remove_dir_all(root.join(FOLDERS[*folder as usize]));
        }
        Change::Uidlist { mailbox, text } => {
            let folder = world.folder(MAILBOXES[*mailbox as usize], "");
            fs::write(folder.join("dovecot-uidlist"), text).unwrap();
        }
    }
}

fn is_message(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("cur") || dir.ends_with("new"))
}

/// Folder, subdirectory, content and time of each message; names may be fresh.
fn messages(world: &World) -> Vec<(PathBuf, Vec<u8>, i128)> {
    let files = world.image().into_iter().filter(|(path, _)| is_message(path));
    let messages = files
        .map(|(path, (content, mtime, _))| (path.parent().unwrap().to_owned(), content, mtime));
    let mut messages: Vec<_> = messages.collect();
    messages.sort();
    messages
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_restore_is_what_was_backed_up(
        nights in proptest::collection::vec(proptest::collection::vec(change(), 1..12), 1..5)
    ) {
        let world = World::new();
        let objects = Arc::new(Memory::default());
        world.folder(MAILBOXES[0], "");
        world.init(Arc::clone(&objects));
        let mut images = Vec::new();
        for night in &nights {
            night.iter().for_each(|change| apply(&world, change));
            let report = world.backup(Arc::clone(&objects)).unwrap();
            prop_assert!(!report.is_incomplete, "{:?}", report.incidents);
            images.push((report.snapshot.unwrap(), world.image()));
        }
        for (id, expected) in &images {
            let (restored, report) = world.restore(Arc::clone(&objects), id).unwrap();
            prop_assert!(report.problems.is_empty(), "{:?}", report.problems);
            assert_same(&restored, expected, id);
        }
        let verified = world.verify(Arc::clone(&objects));
        prop_assert!(verified.is_sound, "{:?}", verified.problems);
    }

    /// In place, into what is left after a disaster: exactly what is missing comes back, and a
    /// second restore finds nothing to do.
    #[test]
    fn a_restore_in_place_adds_what_is_missing(
        night in proptest::collection::vec(change(), 1..30), removed: u64, folder in 0..8_u8,
    ) {
        let world = World::new();
        let objects = Arc::new(Memory::default());
        world.folder(MAILBOXES[0], "");
        world.init(Arc::clone(&objects));
        night.iter().for_each(|change| apply(&world, change));
        world.backup(Arc::clone(&objects)).unwrap();
        let whole = messages(&world);
        let files = world.image().into_iter().filter(|(path, _)| is_message(path));
        for (at, (path, _)) in files.enumerate() {
            if removed >> (at % 64) & 1 == 1 {
                fs::remove_file(world.store().join(path)).unwrap();
            }
        }
        if let Some(folder) = FOLDERS.get(usize::from(folder)) {
            let _ = fs::remove_dir_all(world.store().join(MAILBOXES[0]).join(folder));
        }
        let left = world.image();
        let missing = whole.len() - messages(&world).len();
        let report = world.restore_in_place(Arc::clone(&objects)).unwrap();
        prop_assert!(report.problems.is_empty(), "{:?}", report.problems);
        prop_assert_eq!(report.messages as usize, missing);
        prop_assert_eq!(report.there as usize, whole.len() - missing);
        prop_assert_eq!(&messages(&world), &whole);
        let restored = world.image();
        for (path, file) in left.iter().filter(|(path, _)| is_message(path)) {
            prop_assert_eq!(restored.get(path), Some(file), "{} was touched", path.display());
        }
        let again = world.restore_in_place(Arc::clone(&objects)).unwrap();
        prop_assert_eq!((again.messages, again.there as usize), (0, whole.len()));
        prop_assert_eq!(world.image(), restored);
    }

    /// A bit anywhere in any object of a mailbox: the restore names the damage, and what it does
    /// restore is right.
    #[test]
    fn no_damage_restores_as_if_it_were_whole(object: usize, byte: usize, bit in 0..8_u8) {
        let world = World::new();
        let objects = Arc::new(Memory::default());
        for i in 0..4 {
            let body = format!("message {i}\n");
            world.deliver(MAILBOXES[0], &format!("cur/1.{i}:2,"), body.as_bytes());
        }
        world.init(Arc::clone(&objects));
        world.backup(Arc::clone(&objects)).unwrap();
        let expected = world.image();
        let candidates = keys(&objects, "mailboxes/");
        let key = &candidates[object % candidates.len()];
        let size = objects.size(key).unwrap() as usize;
        objects.corrupt(key, |bytes| bytes[byte % size] ^= 1 << bit);
        prop_assert!(!world.verify(Arc::clone(&objects)).is_sound, "{key}: not found by verify");
        let (restored, report) = world.restore(Arc::clone(&objects), "latest").unwrap();
        // An index is not needed to restore; everything else is.
        prop_assert!(report.is_incomplete || key.contains(".idx."), "{key}: restored as whole");
        for (path, file) in &restored {
            prop_assert_eq!(Some(&file.0), expected.get(path).map(|file| &file.0));
        }
    }
}
