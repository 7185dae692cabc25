//! A pack that is damaged in one place gives every message that proves right by itself; the others
//! are named, each, and no byte that nothing proves is ever written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::{Env, text};
use crate::in_place::{furnish, in_place, messages};
use crate::process::Output;
use crate::store::{letter, noise};
use crate::tree::Tree;

const ALICE: &str = "example.org/alice/Maildir";
const NAME: &str = "alice@example.org";
const MESSAGES: u64 = 24;

/// What comes back at least when one of the pack's two frames, or its second half, is lost.
const FEW: usize = 8;

/// A mailbox whose messages fill several frames of one pack, but for one, which has its own.
struct Archive {
    env: Env,
    store: Tree,
    packs: Vec<PathBuf>,
    copies: u32,
}

impl Archive {
    fn new(env: Env) -> Self {
        let alice = env.store().mailbox(ALICE);
        for number in 0..MESSAGES {
            let content = [letter(number), noise(number, 250_000)].concat();
            alice.message(format!("cur/16000000{number:02}.M{number}P1.host:2,S"), &content);
        }
        alice.message("new/1700000000.M1P1.host", &noise(99, 5_000_000));
        env.backup(&[]).expect(0);
        let store = Tree::read(&env.path("store"));
        let mut packs: Vec<_> = env.keys(".tar.").into_iter().map(PathBuf::from).collect();
        packs.sort_by_key(|key| Path::new(env.repo()).join(key).metadata().unwrap().len());
        assert_eq!(packs.len(), 2, "{packs:?}");
        Self { env, store, packs, copies: 0 }
    }

    /// The pack with the large message, and the one with the others.
    fn packs(&self) -> [&str; 2] {
        [text(&self.packs[0]), text(&self.packs[1])]
    }

    /// A copy of the repository, damaged.
    fn damaged(&mut self, key: &str, damage: impl Fn(&mut Vec<u8>)) -> PathBuf {
        self.copies += 1;
        let root = self.env.path(&format!("copy{}", self.copies));
        for object in self.env.objects().into_keys() {
            let to = root.join(&object);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(Path::new(self.env.repo()).join(&object), to).unwrap();
        }
        let path = root.join(key);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
        root
    }

    fn restore(&self, repo: &Path, more: &[&str]) -> Output {
        self.env.run(&[&["restore", text(repo), "latest", "--json"], more].concat())
    }

    /// Restores to an empty place. What came back is as it was; what did not is named, once.
    #[track_caller]
    fn saved(&self, repo: &Path) -> (usize, Value) {
        let to = repo.with_extension("to");
        let output = self.restore(repo, &["--to", text(&to)]);
        let report = output.json();
        let restored = Tree::read(&to);
        for (path, entry) in &restored.0 {
            assert_eq!(self.store.0.get(path), Some(entry), "{}", path.display());
        }
        assert_eq!(report["messages"], restored.files() as u64, "{report}");
        let missing: u64 = problems(&report).iter().map(|p| p["messages"].as_u64().unwrap()).sum();
        assert_eq!(restored.files() as u64 + missing, MESSAGES + 1, "{report}");
        // Damage that costs nothing is told all the same.
        let told = report["notes"].as_array().unwrap().len() + problems(&report).len();
        assert!(output.code == Some(if missing > 0 { 3 } else { 0 }) && told > 0, "{output}");
        (restored.files(), report)
    }
}

fn problems(report: &Value) -> &Vec<Value> {
    report["problems"].as_array().unwrap()
}

fn envs() -> [Env; 2] {
    [Env::encrypted(), Env::plain()]
}

/// Places all over an object.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (1..8).map(move |eighth| length * eighth / 8)
}

#[test]
fn a_flipped_bit_costs_the_messages_that_it_hits() {
    for env in envs() {
        let mut archive = Archive::new(env);
        let pack = archive.packs()[1].to_owned();
        let length = archive.env.objects()[&pack] as usize;
        let mut hit = 0;
        for at in places(length) {
            let copy = archive.damaged(&pack, |bytes| bytes[at] ^= 0x10);
            let (saved, report) = archive.saved(&copy);
            // All but what lies behind the damage in its frame, which is half of the pack.
            assert!(saved >= FEW, "{saved} at {at} of {length}");
            hit += MESSAGES as usize + 1 - saved;
            for problem in problems(&report) {
                let reason = problem["reason"].as_str().unwrap();
                assert!(reason.starts_with("cur/16000000"), "{reason}");
                assert!(reason.contains(&pack) && problem["messages"] == 1, "{reason}");
            }
        }
        assert!(hit > 0, "nothing was shown");
        // The twin: without an index that proves them, none of its messages is taken.
        let index = archive.env.keys(".idx.").remove(0);
        let copy = archive.damaged(&pack, |bytes| bytes[length / 2] ^= 0x10);
        for damage in [|b: &mut Vec<u8>| b[9] ^= 1, |b: &mut Vec<u8>| b.truncate(9)] {
            let mut bytes = fs::read(Path::new(archive.env.repo()).join(&index)).unwrap();
            damage(&mut bytes);
            fs::write(copy.join(&index), bytes).unwrap();
            let _ = fs::remove_dir_all(copy.with_extension("to"));
            let (saved, report) = archive.saved(&copy);
            assert_eq!((saved, problems(&report).len()), (1, 1), "{report}");
            let reason = problems(&report)[0]["reason"].as_str().unwrap();
            assert!(reason.contains(&pack) && reason.contains(&index), "{reason}");
        }
    }
}

#[test]
fn a_pack_that_was_cut_gives_what_is_there_and_a_missing_one_nothing() {
    for env in envs() {
        let mut archive = Archive::new(env);
        let pack = archive.packs()[1].to_owned();
        let mut before = 0;
        for at in places(archive.env.objects()[&pack] as usize) {
            let copy = archive.damaged(&pack, |bytes| bytes.truncate(at));
            let (saved, _) = archive.saved(&copy);
            assert!(saved >= before && saved <= MESSAGES as usize, "{before}, {saved} at {at}");
            before = saved;
        }
        assert!(before >= FEW, "{before}");
        let copy = archive.damaged(&pack, |_| {});
        fs::remove_file(copy.join(&pack)).unwrap();
        let (saved, report) = archive.saved(&copy);
        assert_eq!((saved, problems(&report).len()), (1, 1), "{report}");
        // The end of the tar is no message's.
        let copy = archive.damaged(&pack, |bytes| bytes.truncate(bytes.len() - 1));
        let is_sealed = pack.ends_with(".age");
        let (saved, report) = archive.saved(&copy);
        assert!(is_sealed || saved == MESSAGES as usize + 1, "{report}");
    }
}

#[test]
fn a_dry_run_names_what_is_missing_and_reads_no_pack() {
    let mut archive = Archive::new(Env::encrypted());
    let [large, pack] = archive.packs().map(str::to_owned);
    let copy = archive.damaged(&pack, |bytes| bytes.truncate(9));
    fs::remove_file(copy.join(&large)).unwrap();
    let store = archive.env.path("store");
    let to = archive.env.path("nowhere");
    fs::remove_dir_all(store.join(ALICE)).unwrap();
    for place in [["--to", text(&to)], ["--in-place", text(&store)]] {
        let report =
            archive.restore(&copy, &[&place[..], &["--dry-run"]].concat()).expect(3).json();
        // Of the one that was cut nobody knows yet.
        assert_eq!(report["messages"], MESSAGES, "{report}");
        let [cut, missing] = &problems(&report)[..] else { panic!("{report}") };
        let (cut, missing) = if missing["messages"] == 1 { (cut, missing) } else { (missing, cut) };
        let is_named = |row: &Value, key: &str| row["reason"].as_str().unwrap().starts_with(key);
        assert!(is_named(missing, &large) && is_named(cut, &pack), "{report}");
        assert_eq!((&missing["messages"], &cut["messages"]), (&1.into(), &0.into()), "{report}");
        let whole = Path::new(archive.env.repo());
        let report =
            archive.restore(whole, &[&place[..], &["--dry-run"]].concat()).expect(0).json();
        assert_eq!(report["messages"], MESSAGES + 1, "{report}");
    }
    assert!(!to.exists());
}

#[test]
fn a_large_message_that_is_damaged_leaves_nothing_behind() {
    for env in envs() {
        let mut archive = Archive::new(env);
        let pack = archive.packs()[0].to_owned();
        let length = archive.env.objects()[&pack] as usize;
        let cut = archive.damaged(&pack, |bytes| bytes.truncate(length / 2));
        let flipped = archive.damaged(&pack, |bytes| bytes[length / 2] ^= 0x10);
        for copy in [cut, flipped] {
            let (saved, report) = archive.saved(&copy);
            assert_eq!(saved as u64, MESSAGES, "{report}");
        }
    }
}

#[test]
fn live_mailboxes_get_what_is_right_too() {
    for env in envs() {
        let mut archive = Archive::new(env);
        let pack = archive.packs()[1].to_owned();
        let length = archive.env.objects()[&pack] as usize;
        let copy = archive.damaged(&pack, |bytes| bytes[length / 2] ^= 0x10);
        let store = archive.env.path("store");
        let inbox = store.join(ALICE);
        // All but the first.
        for number in 1..MESSAGES {
            let name = format!("cur/16000000{number:02}.M{number}P1.host:2,S");
            fs::remove_file(inbox.join(name)).unwrap();
        }
        let there = messages(&inbox).len();
        let in_place = ["--in-place", text(&store)];
        let report = archive.restore(&copy, &in_place).expect(3).json();
        let now = messages(&inbox).len();
        assert_eq!(report["messages"], (now - there) as u64, "{report}");
        let lost = problems(&report).len();
        assert_eq!(now + lost, MESSAGES as usize + 1, "{report}");
        assert!(now - there >= FEW && lost > 0, "{report}");
        for (path, entry) in Tree::read(&store).0.into_iter().filter(|(path, _)| is_message(path)) {
            assert_eq!(archive.store.0.get(&path), Some(&entry), "{}", path.display());
        }
        // Again, it tries what is missing alone, and from the whole repository it completes.
        let again = archive.restore(&copy, &in_place).expect(3).json();
        assert_eq!(
            (&again["messages"], &problems(&again)[0]["messages"]),
            (&0.into(), &lost.into())
        );

        let beside = ["--mailbox", NAME, "--as-folder", "Back"];
        let report = archive.restore(&copy, &[&in_place[..], &beside].concat()).expect(3).json();
        let (back, lost_of_all) = (messages(&inbox.join(".Back")).len(), problems(&report).len());
        assert_eq!(back + lost_of_all, MESSAGES as usize + 1, "{report}");
        let repo = PathBuf::from(archive.env.repo());
        let whole = archive.restore(&repo, &in_place).expect(0).json();
        assert_eq!(whole["messages"], lost as u64, "{whole}");
    }
}

fn is_message(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("cur") || dir.ends_with("new"))
}

#[test]
fn picked_messages_of_two_snapshots_are_proven_by_their_own_indexes() {
    let mut archive = Archive::new(Env::encrypted());
    let alice = archive.env.store().mailbox(ALICE);
    let number = MESSAGES;
    let content = [letter(number), noise(number, 250_000)].concat();
    alice.message(format!("cur/16000000{number:02}.M{number}P1.host:2,S"), &content);
    alice.remove("cur/1600000000.M0P1.host:2,S");
    archive.env.backup(&[]).expect(0);
    archive.store.0.extend(Tree::read(&archive.env.path("store")).0);
    let pack = archive.packs()[1].to_owned();
    let length = archive.env.objects()[&pack] as usize;
    let copy = archive.damaged(&pack, |bytes| bytes[length / 2] ^= 0x10);
    let found = ["find", text(&copy), "--mailbox", NAME, "--subject", "letter", "--all", "--json"];
    let found = archive.env.run(&found).expect(0).json();
    let list = archive.env.path("ids");
    fs::write(&list, found.to_string()).unwrap();
    let to = archive.env.path("to");
    let picked = ["restore", text(&copy), "--messages", text(&list), "--to", text(&to), "--json"];
    let report = archive.env.run(&picked).expect(3).json();
    assert_eq!(report["snapshots"].as_array().unwrap().len(), 2, "{report}");
    let names: BTreeSet<String> = messages(&to.join(ALICE)).into_keys().collect();
    assert!(names.contains("1600000000.M0P1.host") && names.contains("1600000024.M24P1.host"));
    assert_eq!(names.len() + problems(&report).len(), MESSAGES as usize + 1, "{report}");
    assert!(names.len() >= FEW, "{report}");
}

#[test]
fn keywords_that_are_lost_are_dropped_and_their_messages_come_back() {
    let env = Env::encrypted();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let first = env.keys(".tar.").remove(0);
    let name = "cur/1700000000.M7P1.host:2,FSa";
    alice.message(name, &letter(7));
    env.backup(&[]).expect(0);
    alice.remove(name);
    fs::remove_file(Path::new(env.repo()).join(&first)).unwrap();
    let report = in_place(&env, &[]).expect(3).json();
    assert_eq!((&report["messages"], &report["there"]), (&1.into(), &6.into()), "{report}");
    assert_eq!(report["mailboxes"][0]["keywords_dropped"], 1, "{report}");
    let [problem] = &problems(&report)[..] else { panic!("{report}") };
    let reason = problem["reason"].as_str().unwrap();
    assert!(reason.starts_with("dovecot-keywords: ") && reason.contains(&first), "{reason}");
    assert_eq!(messages(&alice.path(""))["1700000000.M7P1.host"], ("cur", "FS".into()));
}
