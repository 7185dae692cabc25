//! What goes wrong on the host or at the repository between two nights must be in the account of
//! every night until it is mended, and must not cost what an earlier night had.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use snapshot::backup::{Incident, Options, Trust};
use snapshot::store::memory::Memory;
use snapshot::store::{Body, Store};

use super::world::{World, assert_same, keys};

const ALICE: &str = "example.org/alice";

fn first_night() -> (World, Arc<Memory>) {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    for mailbox in [ALICE, "example.org/bob", "example.net/carol"] {
        world.deliver(mailbox, "cur/1.a.host:2,S", format!("of {mailbox}\n").as_bytes());
    }
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    (world, objects)
}

#[test]
fn an_incident_is_told_every_night_until_it_is_mended() {
    let (world, objects) = first_night();
    let link = world.store().join(ALICE).join("cur/2.b.host:2,");
    symlink("/etc/passwd", &link).unwrap();
    // Also when the folder has long stood still: it is looked at again all the same.
    for night in 0..3 {
        let report = world.backup(Arc::clone(&objects)).unwrap();
        assert!(report.is_incomplete, "night {night}");
        assert_eq!(report.incidents[0].incident, Incident::NotFollowed);
    }
    fs::remove_file(&link).unwrap();
    assert!(!world.backup(Arc::clone(&objects)).unwrap().is_incomplete);
}

#[test]
fn a_link_to_mail_outside_the_store_makes_the_run_incomplete() {
    let (world, objects) = first_night();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(outside.path().join("cur")).unwrap();
    symlink(outside.path(), world.store().join(ALICE).join(".Archive")).unwrap();
    symlink(outside.path(), world.store().join("example.org/dave")).unwrap();
    symlink("bob", world.store().join("example.org/robert")).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.ledger.not_followed, report.is_incomplete), (2, true));
}

#[test]
fn a_folder_without_new_keeps_its_mail() {
    let (world, objects) = first_night();
    let sent = world.folder(ALICE, ".Sent");
    fs::write(sent.join("cur/5.s.host:2,S"), "sent\n").unwrap();
    fs::remove_dir(sent.join("new")).unwrap();
    for _ in 0..2 {
        world.backup(Arc::clone(&objects)).unwrap();
        let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
        let path = format!("{ALICE}/.Sent/cur/5.s.host:2,S");
        assert!(restored.contains_key(std::path::Path::new(&path)));
    }
}

#[test]
fn a_disk_that_is_not_mounted_does_not_empty_the_snapshot() {
    let (world, objects) = first_night();
    let before = world.image();
    let away = world.dir.path().join("unmounted");
    fs::rename(world.store().join("example.org"), &away).unwrap();
    fs::create_dir(world.store().join("example.org")).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.ledger.mailboxes_missing, report.is_incomplete), (2, true));
    let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert_same(&restored, &before, "unmounted");
    fs::remove_dir(world.store().join("example.org")).unwrap();
    fs::rename(&away, world.store().join("example.org")).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.mailboxes.new, report.messages.read), (0, 0), "known as before");
    // One account that was deleted is another thing.
    fs::remove_dir_all(world.store().join("example.org/bob")).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.mailboxes.gone, report.is_incomplete), (1, false));
    assert!(report.notices.iter().any(|n| n.contains("example.org/bob")), "{:?}", report.notices);
}

#[test]
fn a_repository_that_went_back_in_time_gets_what_it_lost() {
    let (world, objects) = first_night();
    let earlier = Arc::new(Memory::default());
    for key in keys(&objects, "") {
        let bytes = objects.get(&key, u64::MAX).unwrap();
        earlier.put(&key, Body::from_bytes(bytes)).unwrap();
    }
    world.deliver(ALICE, "new/2.n.host", b"second night\n");
    world.backup(Arc::clone(&objects)).unwrap();
    let report = world.backup(Arc::clone(&earlier)).unwrap();
    assert!(report.notices.iter().any(|n| n.contains("not in the repository any more")));
    let (restored, report) = world.restore(Arc::clone(&earlier), "latest").unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_same(&restored, &world.image(), "rolled back");
    assert!(world.verify(earlier).is_sound);
}

#[test]
fn a_rebuilt_state_lasts() {
    let (world, objects) = first_night();
    fs::remove_dir_all(world.state()).unwrap();
    let identity = world.identity();
    world.backup_with(Arc::clone(&objects), &world.options(), Some(&identity)).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.mailboxes.new, report.messages.read), (0, 0), "{:?}", report.notices);
}

#[test]
fn a_mailbox_that_is_not_selected_and_forgotten_is_looked_at() {
    let (world, objects) = first_night();
    for id in fs::read_dir(world.state()).unwrap().flatten() {
        for store in fs::read_dir(id.path()).unwrap().flatten() {
            for file in fs::read_dir(store.path().join("mailboxes")).unwrap().flatten() {
                fs::write(file.path(), "torn").unwrap();
            }
        }
    }
    let only_alice = Options { mailboxes: vec!["alice@*".into()], ..world.options() };
    world.backup_with(Arc::clone(&objects), &only_alice, None).unwrap();
    let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert_same(&restored, &world.image(), "nobody is lost");
}

#[test]
fn a_clock_that_went_back_does_not_hide_the_newest_snapshot() {
    let (world, objects) = first_night();
    world.deliver(ALICE, "new/2.n.host", b"second night\n");
    let an_hour_ago = world.options().time - std::time::Duration::from_secs(3600);
    let options = Options { time: an_hour_ago, trust: Trust::BaseName, ..world.options() };
    world.backup_with(Arc::clone(&objects), &options, None).unwrap();
    let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert_same(&restored, &world.image(), "latest is the last one made");
}

/// Messages are expunged as fast as they can be while the run goes on. What was there throughout is
/// in the snapshot; what vanished is counted, and the run is whole.
#[test]
fn messages_that_vanish_during_the_run_are_counted_and_cost_no_other() {
    let (world, objects) = first_night();
    for i in 0..3000 {
        let name = format!("cur/5.{i:04}.host:2,S");
        world.deliver(ALICE, &name, format!("message {i}\n").as_bytes());
    }
    let cur = world.store().join(ALICE).join("cur");
    let report = std::thread::scope(|scope| {
        let expunge = scope.spawn(|| {
            // From the end, where the run arrives last.
            for i in (0..3000).rev().step_by(2) {
                fs::remove_file(cur.join(format!("5.{i:04}.host:2,S"))).unwrap();
            }
        });
        let report = world.backup(Arc::clone(&objects)).unwrap();
        expunge.join().unwrap();
        report
    });
    assert!(!report.is_incomplete, "{:?}", report.incidents);
    let (restored, restore) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert!(restore.problems.is_empty());
    for (path, file) in world.image() {
        assert_eq!(restored.get(&path), Some(&file), "{} stayed", path.display());
    }
    let in_snapshot = restored.keys().filter(|path| path.to_string_lossy().contains("/5.")).count();
    assert!((1500..=3000).contains(&in_snapshot), "{in_snapshot}");
}
