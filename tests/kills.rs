//! SIGKILL at random moments, again and again: every older snapshot stays as it was, nothing half
//! is trusted, and what a killed run has stored is not stored again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::env::{Env, text};
use crate::store::{Random, noise};
use crate::tree::Tree;

/// The snapshots, and the store as it was when each was made.
struct History {
    env: Env,
    snapshots: BTreeMap<String, Tree>,
}

impl History {
    /// Notes snapshots that came with the last run: the store has not changed since it began.
    fn note(&mut self) -> usize {
        let list = self.env.run(&["snapshots", self.env.repo(), "--json"]).expect(0).json();
        let rows = list["snapshots"].as_array().unwrap();
        let ids = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned());
        let new: Vec<_> = ids.filter(|id| !self.snapshots.contains_key(id)).collect();
        for id in &new {
            self.snapshots.insert(id.clone(), Tree::read(&self.env.path("store")));
        }
        new.len()
    }

    fn check(&self, id: &str) {
        let to = self.env.path("restored");
        self.env.restore(id, "restored").expect(0);
        self.snapshots[id].assert_restored(&to);
        fs::remove_dir_all(&to).unwrap();
    }
}

fn grow(env: &Env, round: u64, random: &mut Random) {
    for user in 0..MAILBOXES {
        let mailbox = env.store().mailbox(&format!("example.org/user{user}/Maildir"));
        for number in 0..2 {
            let name = format!("new/{}.R{round}N{number}.host", 1_600_000_000 + round);
            mailbox.message(name, &noise(random.next(), 3_000 + random.below(4_000) as usize));
        }
        if round > 0 {
            let name = format!("{}.R{}N0.host", 1_600_000_000 + round - 1, round - 1);
            mailbox.rename(&format!("new/{name}"), &format!("cur/{name}:2,S"));
        }
    }
}

/// The objects that the snapshots need: catalogs and what their first lines name.
fn needed(env: &Env) -> BTreeSet<String> {
    let root = Path::new(env.repo());
    let mut needed = BTreeSet::new();
    for key in env.keys("snapshots/") {
        let json = zstd::decode_all(fs::File::open(root.join(&key)).unwrap()).unwrap();
        let manifest: Value = serde_json::from_slice(&json).unwrap();
        for (mailbox, catalog) in manifest["mailboxes"].as_object().unwrap() {
            let prefix = format!("mailboxes/{mailbox}/");
            let catalog = format!("{prefix}catalogs/{}", catalog["catalog"].as_str().unwrap());
            let bytes = fs::read(root.join(&catalog)).unwrap();
            let head = bytes.split(|byte| *byte == b'\n').next().unwrap();
            let head: Value = serde_json::from_slice(head).unwrap();
            let needs = head["needs"].as_array().unwrap().iter();
            needed
                .extend(needs.map(|need| format!("{prefix}{}", need["object"].as_str().unwrap())));
            needed.insert(catalog);
        }
    }
    needed
}

#[test]
fn kills_at_random_moments_lose_nothing_and_store_nothing_twice() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("MAILRIG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(now.as_nanos() as u64);
    println!("MAILRIG_SEED={seed}");
    let mut random = Random(seed);
    let mut history = History { env: Env::encrypted(), snapshots: BTreeMap::new() };
    let store = history.env.path("store");
    grow(&history.env, 0, &mut random);
    let started = Instant::now();
    history.env.backup(&[]).expect(0);
    let whole = started.elapsed();
    assert_eq!(history.note(), 1);

    let (mut kills, mut fruitful_kills) = (0, 0);
    for round in 1..=ROUNDS {
        grow(&history.env, round, &mut random);
        let packs = history.env.keys(".tar.").len();
        let mut run = history.env.start(&["backup", history.env.repo(), text(&store)]);
        thread::sleep(whole.mul_f64(random.below(1_000) as f64 / 1_000.0));
        run.child.kill().unwrap();
        let output = run.wait();
        if output.code.is_none() {
            kills += 1;
            fruitful_kills += u32::from(history.env.keys(".tar.").len() > packs);
        } else {
            output.expect(0);
        }
        history.note();
        let ids: Vec<_> = history.snapshots.keys().cloned().collect();
        history.check(&ids[random.below(ids.len() as u64) as usize]);
        history.check(ids.last().unwrap());
    }
    println!("{kills} kills, {fruitful_kills} of them after packs were stored");
    assert!(kills > 0 && fruitful_kills > 0, "nothing was shown");

    grow(&history.env, ROUNDS + 1, &mut random);
    history.env.backup(&[]).expect(0);
    assert_eq!(history.note(), 1);
    for id in history.snapshots.keys() {
        history.check(id);
    }
    history.env.run(&["verify", history.env.repo(), "--level", "content"]).expect(0);

    // A pack that was stored and noted is adopted by the next run. Lost are those that the kill
    // caught between the two: at most one for each of the threads that upload.
    let needed = needed(&history.env);
    let packs = history.env.keys(".tar.");
    let orphans = packs.iter().filter(|pack| !needed.contains(*pack)).count();
    println!("{} packs, {orphans} orphans", packs.len());
    assert!(orphans <= UPLOADS * kills as usize, "{orphans} packs were stored in vain");
    assert!(orphans * 4 <= packs.len(), "{orphans} of {} packs were stored in vain", packs.len());
}

const ROUNDS: u64 = 25;
const MAILBOXES: u64 = 24;
const UPLOADS: usize = 8;
