//! Backups of mailboxes that do not stand still: whatever is renamed, re-flagged or moved while a
//! run goes on, a message that is there throughout is in the snapshot once, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snapshot::store::memory::Memory;

use super::world::World;

const ALICE: &str = "example.org/alice";

/// A small generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

/// Renames its own messages as fast as it can, as clients and servers do, until it is told to stop.
fn churn(folders: &[PathBuf], mut names: Vec<PathBuf>, seed: u64, stop: &AtomicBool) -> u64 {
    let mut dice = Dice(seed);
    let mut renames = 0;
    while !stop.load(Ordering::Relaxed) {
        let at = dice.roll(names.len());
        let name = names[at].file_name().unwrap().to_str().unwrap();
        let base = name.split(':').next().unwrap();
        let folder = &folders[dice.roll(folders.len())];
        let flags = ["", "S", "FS", "RS"][dice.roll(4)];
        let to = match dice.roll(4) {
            // As mv does it: the name stays.
            0 => folder.join("cur").join(format!("{base}:2,{flags}")),
            // As Dovecot does it: a new name, linked first.
            1 => {
                let base = base.split('x').next().unwrap();
                folder.join("cur").join(format!("{base}x{renames}:2,{flags}"))
            }
            _ => {
                names[at].parent().unwrap().with_file_name("cur").join(format!("{base}:2,{flags}"))
            }
        };
        if to.file_name().unwrap().to_str().unwrap().contains('x')
            && dice.roll(2) == 0
            && to != names[at]
        {
            fs::hard_link(&names[at], &to).unwrap();
            fs::remove_file(&names[at]).unwrap();
        } else {
            fs::rename(&names[at], &to).unwrap();
        }
        names[at] = to;
        renames += 1;
    }
    renames
}

#[test]
fn every_message_is_in_the_snapshot_once_while_all_move_as_fast_as_they_can() {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    world.init(Arc::clone(&objects));
    let folders: Vec<PathBuf> =
        ["", ".Sent", ".Archive", ".Work"].iter().map(|f| world.folder(ALICE, f)).collect();
    let messages: Vec<PathBuf> = (0..COUNT)
        .map(|i| {
            let path =
                folders[i % 4].join(["new", "cur"][i / 4 % 2]).join(format!("17{i:05}.m.host"));
            fs::write(&path, format!("Subject: {i}\n\nmessage {i}\n")).unwrap();
            path
        })
        .collect();
    let (stop, renames) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        for (seed, part) in (1..).zip(messages.chunks(COUNT / 2)) {
            let (folders, stop, renames) = (&folders, &stop, &renames);
            scope.spawn(move || {
                renames.fetch_add(churn(folders, part.to_vec(), seed, stop), Ordering::Relaxed);
            });
        }
        for night in 0..3 {
            let began = std::time::Instant::now();
            let report = match world.backup(Arc::clone(&objects)) {
                Ok(r) => r,
                Err(e) => {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{e}")
                }
            };
            let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
            let mut found: BTreeMap<usize, u32> = BTreeMap::new();
            for (_, (content, _, _)) in restored {
                let text = String::from_utf8(content).unwrap();
                if let Some(i) = text.strip_prefix("Subject: ").and_then(|t| t.split('\n').next()) {
                    *found.entry(i.parse().unwrap()).or_default() += 1;
                }
            }
            let missed = (0..COUNT).filter(|i| !found.contains_key(i)).count();
            let doubled = found.values().filter(|count| **count > 1).count();
            eprintln!(
                "night {night}: {:?} {missed} missed, {doubled} doubled {:?} {:?}",
                began.elapsed(),
                report.ledger,
                report.messages
            );
            if missed + doubled > 0 {
                failures.push(format!("night {night}: {missed} missed, {doubled} doubled"));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!("{} renames", renames.load(Ordering::Relaxed));
    assert!(failures.is_empty(), "{failures:?}");
}

const COUNT: usize = 2000;
