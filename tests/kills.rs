//! SIGKILL at random moments, again and again: every older snapshot stays as it was, nothing half
//! is trusted, and what a killed run has stored is not stored again.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::env::{Env, text, wait_until};
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

#[test]
fn kills_at_random_moments_lose_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("MAILRIG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(now.as_nanos() as u64);
    println!("MAILRIG_SEED={seed}");
    let mut random = Random(seed);
    let mut history = History { env: Env::in_memory(1 << 30), snapshots: BTreeMap::new() };
    history.env.init(&[]).expect(0);
    let store = history.env.path("store");
    grow(&history.env, 0, &mut random);
    history.env.backup(&[]).expect(0);
    assert_eq!(history.note(), 1);

    let (mut kills, mut fruitful_kills) = (0, 0);
    for round in 1..=ROUNDS {
        grow(&history.env, round, &mut random);
        let packs = history.env.keys(".tar.").len();
        // A moment is random in two ways: how much is stored, and then some milliseconds.
        let awaited = packs + random.below(MAILBOXES + 2) as usize;
        let mut run = history.env.start(&["backup", history.env.repo(), text(&store)]);
        wait_until("the moment has come", || {
            let is_over = run.child.try_wait().unwrap().is_some();
            is_over || history.env.keys(".tar.").len() >= awaited
        });
        thread::sleep(Duration::from_micros(random.below(15_000)));
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
}

/// A pack that was stored and noted is adopted by the next run. Lost are those that a kill caught
/// between the two: at most one for each of the threads that upload. Without adoption the k-th
/// kill would lose all that was stored before it.
#[test]
fn what_killed_runs_stored_is_not_stored_again() {
    let env = Env::in_memory(1 << 30);
    env.init(&[]).expect(0);
    let store = env.path("store");
    for number in 0..PACKS {
        let mailbox = env.store().mailbox(&format!("example.org/user{number}/Maildir"));
        mailbox.message("cur/1600000000.M1.host:2,S", &noise(number as u64, 100_000));
    }
    let mut stored_at_kills = 0;
    for kill in 1..=KILLS {
        let mut run = env.start(&["backup", env.repo(), text(&store)]);
        let awaited = kill * PACKS / (KILLS + 1);
        wait_until("enough is stored", || {
            run.child.try_wait().unwrap().is_some() || env.keys(".tar.").len() >= awaited
        });
        run.child.kill().unwrap();
        assert_eq!(run.wait().code, None, "it ended before it was killed");
        assert_eq!(env.keys("snapshots/"), [""; 0]);
        stored_at_kills += env.keys(".tar.").len();
    }
    env.backup(&[]).expect(0);
    let in_vain = env.keys(".tar.").len() - PACKS;
    println!("{in_vain} packs in vain; {stored_at_kills} without adoption");
    assert!(in_vain <= UPLOADS * KILLS && in_vain * 2 < stored_at_kills, "{in_vain} in vain");
    env.restore("latest", "to").expect(0);
    Tree::read(&store).assert_restored(&env.path("to"));
    env.run(&["verify", env.repo(), "--level", "content"]).expect(0);
}

const ROUNDS: u64 = 25;
const MAILBOXES: u64 = 24;
const PACKS: usize = 120;
const KILLS: usize = 5;
const UPLOADS: usize = 8;
