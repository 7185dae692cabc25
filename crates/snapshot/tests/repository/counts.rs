//! What a run says of a night in numbers, and what a dry run says of it beforehand: the same.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use snapshot::backup::{Options, Report, Trust};
use snapshot::store::memory::Memory;

use super::world::World;

const ALICE: &str = "example.org/alice";

fn first_night() -> (World, Arc<Memory>) {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    for mailbox in [ALICE, "example.org/bob"] {
        for i in 0..10 {
            let text = format!("message {i} of {mailbox}\n");
            world.deliver(mailbox, &format!("cur/1.{i}.host:2,S"), text.as_bytes());
        }
    }
    world.folder(ALICE, ".Old");
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    (world, objects)
}

/// New, gone and moved messages, and how many were gone of mailboxes that sounded the alarm.
fn counts(report: &Report) -> ([u64; 3], Vec<u64>) {
    let alarms = report.expunge_alarms.iter().map(|alarm| alarm.expunged).collect();
    ([report.messages.new, report.messages.gone, report.messages.moved], alarms)
}

fn rename(root: &Path, from: &str, to: &str) {
    fs::rename(root.join(from), root.join(to)).unwrap();
}

fn name(i: u32) -> String {
    format!("cur/1.{i}.host:2,S")
}

fn copy_away(root: &Path, i: u32) {
    fs::copy(root.join(name(i)), root.join(format!(".Old/cur/2.{i}.copy:2,S"))).unwrap();
    fs::remove_file(root.join(name(i))).unwrap();
}

fn overwrite(root: &Path, i: u32) {
    let temporary = root.join("tmp/file");
    fs::write(&temporary, "scrambled").unwrap();
    fs::rename(temporary, root.join(name(i))).unwrap();
}

#[test]
fn a_night_is_counted_as_what_it_was_and_as_a_dry_run_says() {
    type Night = dyn Fn(&World, &Path);
    let table: [(&str, &Night, [u64; 3], &[u64]); 8] = [
        ("nothing", &|_, _| (), [0, 0, 0], &[]),
        ("flags", &|_, root| rename(root, "cur/1.1.host:2,S", "cur/1.1.host:2,FS"), [0, 0, 0], &[]),
        (
            "a renamed folder",
            &|_, root| {
                (0..10).for_each(|i| rename(root, &name(i), &format!(".Old/{}", name(i))));
            },
            [0, 0, 10],
            &[],
        ),
        ("copied and removed", &|_, root| (0..9).for_each(|i| copy_away(root, i)), [0, 0, 9], &[]),
        (
            "a copy, and new mail of the same size as what is gone",
            &|world, root| {
                fs::copy(root.join(name(1)), root.join(".Old/cur/2.copy:2,S")).unwrap();
                fs::remove_file(root.join(name(2))).unwrap();
                world.deliver(ALICE, "new/3.host", b"massage 2 of example.org/alice\n");
            },
            [2, 1, 0],
            &[],
        ),
        (
            "much is gone",
            &|_, root| (0..4).for_each(|i| fs::remove_file(root.join(name(i))).unwrap()),
            [0, 4, 0],
            &[4],
        ),
        (
            "much is overwritten under its names",
            &|_, root| (0..4).for_each(|i| overwrite(root, i)),
            [4, 4, 0],
            &[4],
        ),
        ("a mailbox is gone", &|_, root| fs::remove_dir_all(root).unwrap(), [0, 10, 0], &[10]),
    ];
    for (night, act, expected, alarms) in table {
        for trust in [Trust::BaseName, Trust::Stat, Trust::Nothing] {
            let (world, objects) = first_night();
            act(&world, &world.store().join(ALICE));
            for dry_run in [true, true, false] {
                let options = Options { dry_run, trust, ..world.options() };
                let report = world.backup_with(Arc::clone(&objects), &options, None).unwrap();
                let expected = (expected, alarms.to_vec());
                assert_eq!(counts(&report), expected, "{night}, {trust:?}, dry: {dry_run}");
                assert_eq!(report.ledger.expunge_alarms, alarms.len() as u64);
            }
        }
    }
}

#[test]
fn a_first_night_is_new_whether_dry_or_not() {
    let (world, objects) = first_night();
    fs::remove_dir_all(world.state()).unwrap();
    for dry_run in [true, false] {
        let options = Options { dry_run, ..world.options() };
        let report = world.backup_with(Arc::clone(&objects), &options, None).unwrap();
        assert_eq!(counts(&report), ([20, 0, 0], vec![]), "dry: {dry_run}");
    }
}
