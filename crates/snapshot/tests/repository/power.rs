//! Power cuts: whatever was put since the last sync is torn or gone. A run after the cut must not
//! rely on any of it; older snapshots must not need it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use snapshot::store::faulty::{Fault, Faulty, Mode};
use snapshot::store::memory::Memory;
use snapshot::store::{Body, Object, Put, Requests, Result, Store};

use super::world::{World, assert_same};

/// A store like a local disk: objects are durable after a sync, torn by a cut before it.
#[derive(Default)]
struct Disk {
    objects: Memory,
    unsynced: Mutex<BTreeSet<String>>,
    /// The twin: a disk that loses even what was synced.
    lies: bool,
    synced: Mutex<BTreeSet<String>>,
}

impl Disk {
    /// Every second unsynced object is gone, the others lose their second half.
    fn cut_power(&self) {
        let mut torn = std::mem::take(&mut *self.unsynced.lock().unwrap());
        if self.lies {
            torn.extend(std::mem::take(&mut *self.synced.lock().unwrap()));
        }
        for (i, key) in torn.iter().enumerate() {
            if i % 2 == 0 {
                self.objects.delete(key).unwrap();
            } else {
                self.objects.corrupt(key, |bytes| bytes.truncate(bytes.len() / 2));
            }
        }
    }
}

impl Store for Disk {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        let put = self.objects.put(key, body)?;
        if put == Put::Created {
            self.unsynced.lock().unwrap().insert(key.to_owned());
        }
        Ok(put)
    }

    fn put_durably(&self, key: &str, body: Body) -> Result<Put> {
        self.objects.put(key, body)
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        self.objects.get(key, limit_bytes)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.objects.get_range(key, range)
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.objects.size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        self.objects.list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.objects.delete(key)
    }

    fn sync(&self) -> Result<()> {
        let synced = std::mem::take(&mut *self.unsynced.lock().unwrap());
        self.synced.lock().unwrap().extend(synced);
        Ok(())
    }

    fn requests(&self) -> Requests {
        self.objects.requests()
    }

    fn can_tear(&self) -> bool {
        true
    }

    fn display(&self) -> String {
        "disk".into()
    }
}

/// Kills a run at its n-th call, cuts the power, and lets the next one finish; true if all is well.
fn survives_a_cut(call: u64, lies: bool) -> bool {
    let world = World::new();
    let disk = Arc::new(Disk { lies, ..Disk::default() });
    for i in 0..4 {
        world.deliver("example.org/alice", &format!("cur/1.a{i}:2,"), b"first\n");
    }
    world.init(Arc::clone(&disk));
    world.backup(Arc::clone(&disk)).unwrap();
    let first = world.image();
    for mailbox in ["example.org/alice", "example.org/bob"] {
        world.deliver(mailbox, "new/2.b", format!("second of {mailbox}\n").as_bytes());
    }
    let fault = Fault { call, kind: None, mode: Mode::Crash };
    let faulty = Arc::new(Faulty::new(Arc::clone(&disk), Some(fault)));
    let ended = world.backup(faulty);
    disk.cut_power();

    let Ok(ids) = snapshot::manifest::ids(&*disk) else { return false };
    let Some(oldest) = ids.first() else { return false };
    let Ok((restored, report)) = world.restore(Arc::clone(&disk), oldest) else { return false };
    if !report.problems.is_empty() || restored != first {
        return false;
    }
    if ended.is_ok() {
        return true;
    }
    if world.backup(Arc::clone(&disk)).is_err() {
        return false;
    }
    let Ok((restored, report)) = world.restore(Arc::clone(&disk), "latest") else { return false };
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_same(&restored, &world.image(), &format!("after a cut at call {call}"));
    world.verify(Arc::clone(&disk)).is_sound
}

#[test]
fn a_power_cut_at_any_call_leaves_older_snapshots_whole_and_the_next_run_right() {
    for call in 1..40 {
        assert!(survives_a_cut(call, false), "power cut at call {call}");
    }
}

/// The twin: on a disk that loses what it said to have synced, the same check does fail.
#[test]
fn a_disk_that_lies_about_syncing_is_caught() {
    assert!(!survives_a_cut(10, true));
}
