//! A store that fails while a damaged pack is read is no damage: what it would have given is not lost,
//! so the restore ends with the store's failure instead of a report.

use std::sync::Arc;

use snapshot::Error;
use snapshot::store::Store;
use snapshot::store::faulty::{Fault, Faulty, Kind, Mode};
use snapshot::store::memory::Memory;

use super::dice::Dice;
use super::world::{World, keys};

/// Bytes that hardly compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..200_000).map(|_| dice.roll(256) as u8).collect()
}

#[test]
fn a_store_that_fails_meanwhile_loses_no_message() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    for number in 0..20 {
        let name = format!("cur/16000000{number:02}.M{number}P1.host:2,S");
        world.deliver("alice", &name, &noise(number));
    }
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    let pack = keys(&objects, ".tar.").remove(0);
    let size = objects.size(&pack).unwrap() as usize;
    objects.corrupt(&pack, |bytes| bytes[size / 2] ^= 1);
    let (saved, report) = world.restore(Arc::clone(&objects), "latest").unwrap();
    let lost: u64 = report.problems.iter().map(|problem| problem.missing.messages).sum();
    assert!(report.messages >= 8 && lost > 0 && report.messages + lost == 20, "{report:?}");
    for call in 1.. {
        let fault = Fault { call, kind: Some(Kind::GetRange), mode: Mode::Before };
        let faulty = Arc::new(Faulty::new(Arc::clone(&objects), Some(fault)));
        let done = world.restore(Arc::clone(&faulty), "latest");
        if !faulty.has_failed() {
            assert!(call > 6, "few calls: {call}");
            assert!(done.unwrap().0 == saved);
            break;
        }
        assert!(matches!(done, Err(Error::Store(_))), "call {call}: {:?}", done.map(|done| done.1));
    }
}
