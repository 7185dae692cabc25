//! A list of edits is done to a mailbox; the comparison must give the list back.

use proptest::prelude::*;

use super::*;
use crate::catalog::{Content, FolderContents, Owner};

fn owner() -> Owner {
    Owner::of(maildir::Attributes { mode: 0o600, uid: 0, gid: 0 })
}

fn add(contents: &mut Contents, folder: &str, key: &str, flags: &str, content: u32) {
    let messages = BTreeMap::new();
    let folder = contents.folders.entry(folder.into()).or_insert_with(|| FolderContents {
        mtime: None,
        maildir: true,
        owner: owner(),
        messages,
    });
    let (pack, member) = (content / 10, content % 10);
    let (mtime, size) = (content.to_string(), u64::from(content % 3));
    let content = Content { mtime, size, pack, member };
    let name = format!("cur/{key}:2,{flags}");
    folder.messages.insert(key.into(), MessageEntry { name, owner: owner(), content });
}

/// Packs are called by their numbers, after a fold by others.
fn side(contents: &Contents, is_folded: bool) -> Side<'_> {
    let name = |number: u32| format!("{}{number}", if is_folded { "folded" } else { "" });
    let packs = (0..30).map(|number| (number, name(number))).collect();
    Side { contents, packs, sums: HashMap::new() }
}

fn hashed(mut side: Side<'_>) -> Side<'_> {
    let messages = side.contents.folders.values().flat_map(|folder| folder.messages.values());
    let sum = |entry: &MessageEntry| {
        let mut sum = [0; 32];
        sum[..4].copy_from_slice(&(entry.content.pack * 10 + entry.content.member).to_le_bytes());
        sum
    };
    side.sums = messages.filter_map(|entry| Some((side.place(entry)?, sum(entry)))).collect();
    side
}

fn check(old: &[(&str, &str, &str, u32)], new: &[(&str, &str, &str, u32)]) -> Vec<String> {
    let build = |rows: &[(&str, &str, &str, u32)]| {
        let mut contents = Contents::default();
        rows.iter()
            .for_each(|(folder, key, flags, at)| add(&mut contents, folder, key, flags, *at));
        contents
    };
    let (old, new) = (build(old), build(new));
    let changes = changes(&side(&old, false), &side(&new, false));
    let name = |name: &Option<(String, String)>| {
        name.as_ref().map_or_else(String::new, |(folder, key)| format!("{folder}/{key}"))
    };
    let line = |c: &Changed| format!("{:?} {}>{}", c.change, name(&c.from), name(&c.to));
    let renames = changes.renamed.iter().map(|(new, old)| format!("rename {old}>{new}"));
    changes.messages.iter().map(line).chain(renames).collect()
}

#[test]
fn each_kind_of_change() {
    let old = [("a", "1", "", 1), ("a", "2", "S", 2), ("b", "3", "", 3)];
    let none: [&str; 0] = [];
    assert_eq!(check(&old, &old), none);
    assert_eq!(check(&old[1..], &old), ["Delivered >a/1"]);
    assert_eq!(check(&old, &old[1..]), ["Expunged a/1>"]);
    let flagged = [("a", "1", "S", 1), old[1], old[2]];
    assert_eq!(check(&old, &flagged), ["Reflagged a/1>a/1"]);
    let moved = [("b", "9", "T", 1), old[1], old[2]];
    assert_eq!(check(&old, &moved), ["Moved a/1>b/9"]);
    let copied = [&old[..], &[("b", "9", "", 1)]].concat();
    assert_eq!(check(&old, &copied), ["Delivered >b/9"], "a copy is a delivery");
    let replaced = [("a", "1", "", 6), old[1], old[2]];
    assert_eq!(check(&old, &replaced), ["Delivered >a/1", "Expunged a/1>"], "a name used again");
    let renamed = [("c", "1", "", 1), ("c", "2", "", 2), old[2]];
    assert_eq!(check(&old, &renamed), ["Reflagged a/2>c/2", "rename a>c"]);
    let scattered = [("c", "1", "", 1), ("d", "2", "S", 2), old[2]];
    assert_eq!(check(&old, &scattered), ["Moved a/1>c/1", "Moved a/2>d/2"]);
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Deliver(u8),
    Expunge(usize),
    Move(usize, u8),
    Reflag(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0..3_u8).prop_map(Edit::Deliver),
        any::<usize>().prop_map(Edit::Expunge),
        (any::<usize>(), 0..3_u8).prop_map(|(at, folder)| Edit::Move(at, folder)),
        any::<usize>().prop_map(Edit::Reflag),
    ]
}

const FOLDERS: [&str; 3] = ["", ".Sent", ".Trash"];

proptest! {
    /// Each message is edited once at most, so that edits do not cancel out.
    #[test]
    fn edits_are_given_back(count in 0..40_u32, edits in prop::collection::vec(edit(), 0..20)) {
        let mut old = Contents::default();
        FOLDERS.iter().for_each(|folder| {
            add(&mut old, folder, "stays", "", 299);
        });
        let folder = |at: u32| FOLDERS[at as usize % 3];
        (0..count).for_each(|at| add(&mut old, folder(at), &format!("k{at}"), "", at));
        let mut left: Vec<u32> = (0..count).collect();
        let mut expected = Vec::new();
        let mut gone = BTreeSet::new();
        let mut added = Vec::new();
        let name = |folder: &str, key: String| Some((folder.to_owned(), key));
        for (nth, edit) in edits.into_iter().enumerate() {
            let fresh = 100 + nth as u32;
            let mut take = |at: usize| (!left.is_empty()).then(|| left.swap_remove(at % left.len()));
            let (change, from, to, at, flags) = match edit {
                Edit::Deliver(to) => (Change::Delivered, None, Some(FOLDERS[to as usize]), fresh, ""),
                Edit::Expunge(at) => match take(at) {
                    Some(at) => (Change::Expunged, Some(at), None, at, ""),
                    None => continue,
                },
                Edit::Move(at, to) => match take(at) {
                    Some(at) => (Change::Moved, Some(at), Some(FOLDERS[to as usize]), at, "S"),
                    None => continue,
                },
                Edit::Reflag(at) => match take(at) {
                    Some(at) => (Change::Reflagged, Some(at), Some(folder(at)), at, "S"),
                    None => continue,
                },
            };
            let key = |at: u32| format!("k{at}");
            let new_key = if change == Change::Reflagged { key(at) } else { key(fresh) };
            gone.extend(from);
            added.extend(to.map(|to| (to, new_key.clone(), flags, at)));
            let from = from.and_then(|at| name(folder(at), key(at)));
            let to = to.and_then(|to| name(to, new_key));
            expected.push(Changed { change, from, to });
        }
        let mut new = Contents::default();
        FOLDERS.iter().for_each(|folder| add(&mut new, folder, "stays", "", 299));
        (0..count).filter(|at| !gone.contains(at))
            .for_each(|at| add(&mut new, folder(at), &format!("k{at}"), "", at));
        added.iter().for_each(|(folder, key, flags, at)| add(&mut new, folder, key, flags, *at));
        expected.sort_unstable();

        let plain = changes(&side(&old, false), &side(&new, false));
        prop_assert_eq!(&plain.messages, &expected);
        prop_assert!(plain.doubts.is_empty());

        // Folded in between: what moved is in doubt, and no longer with the hashes.
        let folded = changes(&side(&old, false), &side(&new, true));
        let has_moved = expected.iter().any(|changed| changed.change == Change::Moved);
        prop_assert_eq!(!folded.doubts.is_empty(), has_moved);
        let known = changes(&hashed(side(&old, false)), &hashed(side(&new, true)));
        prop_assert_eq!(&known.messages, &expected);
        prop_assert!(known.doubts.is_empty());
    }
}
