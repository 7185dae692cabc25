//! Every store call of a night fails once, in every way a call can fail. Whatever happens, the
//! older snapshot stays whole, the next run completes, and what is there is not uploaded again.

use std::fs;
use std::sync::Arc;

use snapshot::store::faulty::{Fault, Faulty, Mode};
use snapshot::store::memory::Memory;

use super::world::{World, assert_same, keys};

/// A store with one snapshot and a night's changes after it. Several packs' worth of mailboxes.
fn world_with_a_night(objects: &Arc<Memory>) -> (World, super::world::TreeImage) {
    let world = World::new();
    for mailbox in ["example.org/alice", "example.org/bob", "example.org/carol"] {
        for i in 0..5 {
            world.deliver(mailbox, &format!("cur/1.{mailbox:.1}{i}:2,S"), b"first night\n");
        }
    }
    world.init(Arc::clone(objects));
    world.backup(Arc::clone(objects)).unwrap();
    let first = world.image();
    for mailbox in ["example.org/alice", "example.org/bob", "example.org/dave"] {
        for i in 0..5 {
            let body = format!("second night of {mailbox}, message {i}\n");
            world.deliver(mailbox, &format!("new/2.{i}"), body.as_bytes());
        }
    }
    fs::remove_file(world.store().join("example.org/carol/cur/1.e0:2,S")).unwrap();
    (world, first)
}

#[test]
fn any_failed_call_loses_nothing_and_the_next_run_completes() {
    let calls = {
        let objects = Arc::new(Memory::default());
        let (world, _) = world_with_a_night(&objects);
        let counting = Arc::new(Faulty::new(objects, None));
        world.backup(Arc::clone(&counting)).unwrap();
        counting.calls()
    };
    assert!(calls > 15, "a night of three changed mailboxes makes more than {calls} calls");
    let mut failed_runs = 0;
    for mode in [Mode::Before, Mode::After, Mode::Crash] {
        for call in 1..=calls {
            let context = format!("call {call} of {calls}, {mode:?}");
            let objects = Arc::new(Memory::default());
            let (world, first) = world_with_a_night(&objects);
            let fault = Fault { call, kind: None, mode };
            let faulty = Arc::new(Faulty::new(Arc::clone(&objects), Some(fault)));
            let failed = world.backup(Arc::clone(&faulty));
            assert!(faulty.has_failed(), "{context}: the fault did not come up");
            failed_runs += u32::from(failed.is_err());

            let (restored, report) =
                world.restore(Arc::clone(&objects), &oldest(&objects)).unwrap();
            assert!(report.problems.is_empty(), "{context}");
            assert_same(&restored, &first, &context);

            let packs = keys(&objects, ".tar.zst.age");
            world.backup(Arc::clone(&objects)).unwrap();
            let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
            assert_same(&restored, &world.image(), &context);
            let verified = world.verify(Arc::clone(&objects));
            assert!(verified.is_sound, "{context}: {:?}", verified.problems);
            let after = keys(&objects, ".tar.zst.age");
            assert!(packs.iter().all(|pack| after.contains(pack)), "{context}: a pack vanished");
            // A pack whose index failed, or whose answer was lost, may be stored a second time.
            assert!(after.len() <= 6 + 1, "{context}: {} packs, {packs:?} {after:?}", after.len());
        }
    }
    // Cleaning up after others may fail without failing the run; nothing else may.
    assert!(failed_runs > 3 * (calls as u32 - 2), "only {failed_runs} runs failed");
}

#[test]
fn an_interrupted_run_is_not_uploaded_again() {
    let objects = Arc::new(Memory::default());
    let (world, _) = world_with_a_night(&objects);
    let before = keys(&objects, "").len();
    // The manifest is the last put: everything else is stored when it fails.
    let puts = {
        let other = Arc::new(Memory::default());
        let (world, _) = world_with_a_night(&other);
        let report = world.backup(Arc::clone(&other)).unwrap();
        report.requests.by_kind.put
    };
    let earlier_puts = snapshot::store::Store::requests(&*objects).put;
    let fault = Fault {
        call: puts - earlier_puts,
        kind: Some(snapshot::store::faulty::Kind::Put),
        mode: Mode::Crash,
    };
    let faulty = Arc::new(Faulty::new(Arc::clone(&objects), Some(fault)));
    world.backup(Arc::clone(&faulty)).unwrap_err();
    let stored = keys(&objects, "").len();
    assert!(stored > before + 8, "three mailboxes were stored before the manifest failed");
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(report.messages.read, 0, "nothing is read again");
    assert_eq!(keys(&objects, "").len(), stored + 1, "only the manifest is added");
}

fn oldest(objects: &Arc<Memory>) -> String {
    snapshot::manifest::ids(&**objects).unwrap().remove(0)
}
