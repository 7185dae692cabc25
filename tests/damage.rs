//! Objects that are cut, changed, exchanged or gone: a restore gives everything else and names what
//! is missing, `verify` names the object, and no wrong byte is ever written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::{Env, text};
use crate::nights::{furnish, pass_a_night};
use crate::process::Output;
use crate::tree::Tree;

/// A repository of two nights, copied for each kind of damage.
struct Repository {
    env: Env,
    store: Tree,
    copies: u32,
}

/// A copy to damage.
struct Copy<'r> {
    of: &'r Repository,
    root: PathBuf,
}

impl Repository {
    fn new() -> Self {
        let env = Env::encrypted();
        furnish(&env);
        env.backup(&[]).expect(0);
        pass_a_night(&env);
        env.backup(&[]).expect(0);
        let store = Tree::read(&env.path("store"));
        Self { env, store, copies: 0 }
    }

    /// The keys that contain `part`.
    fn keys(&self, part: &str) -> Vec<String> {
        self.env.keys(part)
    }

    fn copy(&mut self) -> Copy<'_> {
        self.copies += 1;
        let root = self.env.path(&format!("copy{}", self.copies));
        for key in self.env.objects().into_keys() {
            let to = root.join(&key);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(Path::new(self.env.repo()).join(&key), to).unwrap();
        }
        Copy { of: self, root }
    }
}

impl Copy<'_> {
    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn restore(&self) -> Output {
        let to = self.root.with_extension("restored");
        let arguments = ["restore", text(&self.root), "latest", "--to", text(&to), "--json"];
        self.of.env.run(&[&arguments[..], &["--uids", "exact"]].concat())
    }

    /// Restores with losses; all that is written is right. Gives the number of missing messages.
    #[track_caller]
    fn restores_the_rest(&self, named: &str) -> u64 {
        let output = self.restore().expect(3);
        let report = output.json();
        let restored = Tree::read(&self.root.with_extension("restored"));
        for (path, entry) in &restored.0 {
            assert_eq!(self.of.store.0.get(path), Some(entry), "{}", path.display());
        }
        let problems = report["problems"].as_array().unwrap();
        let is_named = |p: &Value| p["reason"].as_str().unwrap().contains(named);
        assert!(problems.iter().any(is_named), "{named} is not named: {output}");
        let missing = problems.iter().map(|problem| problem["messages"].as_u64().unwrap()).sum();
        assert!(report["messages"].as_u64().unwrap() > 0, "{output}");
        let text = self.of.env.run(&["restore", text(&self.root), "latest", "--to", "again"]);
        assert!(text.clone().expect(3).stdout.contains("missing    "), "{text}");
        fs::remove_dir_all(self.of.env.path("again")).unwrap();
        missing
    }

    /// The objects that `verify` at this level finds damaged.
    #[track_caller]
    fn verify_names(&self, level: &str, key: &str) {
        let arguments = ["verify", text(&self.root), "--level", level, "--json"];
        let output = self.of.env.run(&arguments).expect(4);
        let report = output.json();
        let problems = report["problems"].as_array().unwrap();
        assert!(problems.iter().any(|problem| problem["object"] == key), "{key}: {output}");
    }

    #[track_caller]
    fn verify_is_sound(&self, level: &str) {
        self.of.env.run(&["verify", text(&self.root), "--level", level]).expect(0);
    }
}

type Damage = fn(&Path);

fn truncate(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(path.metadata().unwrap().len() / 2).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_undamaged_copy_restores_and_is_sound() {
    let mut repository = Repository::new();
    let copy = repository.copy();
    copy.restore().expect(0);
    copy.of.store.assert_restored(&copy.root.with_extension("restored"));
    copy.verify_is_sound("content");
}

#[test]
fn a_damaged_pack_costs_its_own_messages_only() {
    let mut repository = Repository::new();
    let damages: [(&str, Damage); 3] =
        [("listed", |path| fs::remove_file(path).unwrap()), ("listed", truncate), ("stored", flip)];
    for pack in repository.keys(".tar.") {
        for (level, damage) in damages {
            let copy = repository.copy();
            damage(&copy.path(&pack));
            for level in ["listed", "stored", "content"].into_iter().skip_while(|l| *l != level) {
                copy.verify_names(level, &pack);
            }
            if level == "stored" {
                copy.verify_is_sound("listed");
            }
            copy.restores_the_rest(&pack);
        }
    }
}

#[test]
fn exchanged_packs_are_not_taken_for_each_other() {
    let mut repository = Repository::new();
    let packs = repository.keys(".tar.");
    let copy = repository.copy();
    let [a, b] = [&packs[0], packs.last().unwrap()].map(|key| copy.path(key));
    let swap = copy.root.with_extension("swap");
    fs::rename(&a, &swap).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(&swap, &b).unwrap();
    copy.verify_names("stored", &packs[0]);
    copy.verify_names("stored", packs.last().unwrap());
    assert!(copy.restores_the_rest(&packs[0]) > 0);
}

#[test]
fn a_damaged_index_costs_no_message() {
    let mut repository = Repository::new();
    let index = repository.keys(".idx.").remove(0);
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), truncate, flip] {
        let copy = repository.copy();
        damage(&copy.path(&index));
        copy.verify_names("stored", &index);
        copy.verify_names("content", &index);
        copy.restore().expect(0);
    }
}

#[test]
fn a_damaged_catalog_costs_its_own_mailbox_only() {
    let mut repository = Repository::new();
    for catalog in repository.keys("/catalogs/") {
        for damage in [|path: &Path| fs::remove_file(path).unwrap(), truncate, flip] {
            let copy = repository.copy();
            damage(&copy.path(&catalog));
            copy.verify_names("stored", &catalog);
            copy.verify_names("content", &catalog);
            let output = copy.restore();
            // A catalog that only the older snapshot needs is no loss to the newest.
            if output.code == Some(3) {
                fs::remove_dir_all(copy.root.with_extension("restored")).unwrap();
                copy.restores_the_rest(&catalog);
            } else {
                output.expect(0);
            }
        }
    }
}

#[test]
fn a_damaged_key_costs_its_own_mailbox_only() {
    let mut repository = Repository::new();
    for key in repository.keys("keys/") {
        for (level, damage) in [
            ("listed", (|path: &Path| fs::remove_file(path).unwrap()) as Damage),
            ("content", flip),
        ] {
            let copy = repository.copy();
            damage(&copy.path(&key));
            copy.verify_names(level, &key);
            copy.verify_names("content", &key);
            copy.restores_the_rest(&key);
        }
    }
}

#[test]
fn a_damaged_manifest_costs_its_own_snapshot_only() {
    let mut repository = Repository::new();
    let [first, second] = repository.keys("snapshots/").try_into().unwrap();
    for damage in [truncate, flip] {
        let copy = repository.copy();
        damage(&copy.path(&second));
        copy.verify_names("listed", &second);
        let to = copy.root.with_extension("newest");
        let output = copy.of.env.run(&["restore", text(&copy.root), "latest", "--to", text(&to)]);
        let output = output.expect(1);
        assert!(output.stderr.starts_with(&format!("error: {second} ")), "{output}");
        let hint = "\nhint: name an older snapshot by its id: `mailrig snapshots` lists them\n";
        assert!(output.stderr.ends_with(hint), "{output}");
        let id = first.trim_start_matches("snapshots/").trim_end_matches(".json.zst");
        copy.of.env.run(&["restore", text(&copy.root), id, "--to", text(&to)]).expect(0);
        assert_eq!(Tree::read(&to).files(), 81 + 3);
    }
    let copy = repository.copy();
    fs::remove_file(copy.path(&second)).unwrap();
    copy.restore().expect(0);
    let list = copy.of.env.run(&["snapshots", text(&copy.root), "--json"]).expect(0).json();
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 1);
}
