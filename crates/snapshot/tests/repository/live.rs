//! Backups of mailboxes that do not stand still: whatever is renamed, re-flagged or moved while a
//! run goes on, a message that is there throughout is in the snapshot once, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use snapshot::backup::{Incident, Options, Proof, Report};
use snapshot::store::memory::Memory;

use super::dice::Dice;
use super::hook::on_listed;
use super::world::{World, assert_same};

pub(super) const ALICE: &str = "example.org/alice";

/// A mailbox with four folders and a message in each, never backed up.
pub(super) fn world() -> (World, Arc<Memory>) {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    world.init(Arc::clone(&objects));
    for (i, folder) in ["", ".A", ".B", ".C"].into_iter().enumerate() {
        let path = world.folder(ALICE, folder).join(format!("cur/{i}.m.host:2,S"));
        fs::write(path, format!("of folder {folder}\n")).unwrap();
    }
    (world, objects)
}

/// Does something once, when a folder has been listed and not yet read.
fn when_listed(world: &World, folder: &str, action: impl Fn(&Path) + Send + 'static) {
    let mailbox = world.store().join(ALICE);
    let folder = Path::new(ALICE).join(folder);
    let mut is_done = false;
    on_listed(&world.store(), move |listed| {
        if !is_done && Path::new(listed) == folder {
            is_done = true;
            action(&mailbox);
        }
    });
}

fn names(report: &Report, incident: Incident) -> Vec<String> {
    let of_kind = report.incidents.iter().filter(|entry| entry.incident == incident);
    of_kind.map(|entry| entry.path.trim_start_matches("example.org/alice/").to_owned()).collect()
}

/// The last snapshot is what the store holds now.
fn assert_whole(world: &World, objects: &Arc<Memory>, context: &str) {
    let (restored, _) = world.restore(Arc::clone(objects), "latest").unwrap();
    assert_same(&restored, &world.image(), context);
}

#[test]
fn a_message_that_moves_behind_the_scan_is_in_the_snapshot_once() {
    // The folders are listed in order: forwards it would be seen twice, backwards not at all.
    for (from, to) in [(".A", ".C"), (".C", ".A")] {
        for is_renamed in [false, true] {
            let (world, objects) = world();
            let old = if from == ".A" { "1.m.host:2,S" } else { "3.m.host:2,S" };
            let name = if is_renamed { "9.new.host:2,F" } else { old };
            when_listed(&world, ".B", move |mailbox| {
                let cur = |folder| mailbox.join(folder).join("cur");
                fs::rename(cur(from).join(old), cur(to).join(name)).unwrap();
            });
            let report = world.backup(Arc::clone(&objects)).unwrap();
            assert!(!report.is_incomplete, "{:?}", report.incidents);
            // What was not listed before it moved is as good as delivered.
            let kind = [Incident::MovedDuringRun, Incident::DeliveredDuringRun];
            assert_eq!(
                names(&report, kind[usize::from(from == ".C")]),
                [format!("{to}/cur/{name}")]
            );
            assert_eq!(report.incidents.len(), 1);
            assert_whole(&world, &objects, from);
        }
    }
}

#[test]
fn what_happens_to_messages_that_were_just_listed_is_in_the_ledger() {
    let (world, objects) = world();
    world.deliver(ALICE, "new/8.flagged.host", b"flagged\n");
    world.deliver(ALICE, "cur/9.expunged.host:2,S", b"expunged\n");
    when_listed(&world, "", |mailbox| {
        fs::rename(mailbox.join("new/8.flagged.host"), mailbox.join("cur/8.flagged.host:2,FS"))
            .unwrap();
        // Before the other one goes: it must not get its inode.
        fs::write(mailbox.join("new/10.delivered.host"), "delivered\n").unwrap();
        fs::remove_file(mailbox.join("cur/9.expunged.host:2,S")).unwrap();
    });
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert!(!report.is_incomplete, "{:?}", report.incidents);
    assert_eq!(names(&report, Incident::ExpungedDuringRun), ["cur/9.expunged.host:2,S"]);
    assert_eq!(names(&report, Incident::DeliveredDuringRun), ["new/10.delivered.host"]);
    assert_eq!(report.ledger.moved_during_run, 0);
    // Its flags are those that it has now, not those that were listed.
    assert_whole(&world, &objects, "flags");
}

/// While folders are followed it is always in the one that is not being listed, or is listed and gone
/// before it can be read. Its copy, a hard link, is in a third, and does not stand for it.
#[test]
fn a_message_that_eludes_every_pass_is_found_beside_its_copy() {
    for (is_listed, has_copy) in [(false, false), (false, true), (true, true)] {
        let (world, objects) = world();
        let path = |folder: &str| world.folder(ALICE, folder).join("cur/1.m.host:2,S");
        if has_copy {
            fs::hard_link(path(".A"), path(".C").with_file_name("7.copy.host:2,S")).unwrap();
        }
        let (a, b) = (path(".A"), path(".B"));
        let mut listings = 0;
        on_listed(&world.store(), move |listed| {
            let is_in_a = listed.ends_with(".A");
            if !is_in_a && !listed.ends_with(".B") {
                return;
            }
            listings += 1;
            let (from, to) = if is_in_a == is_listed { (&a, &b) } else { (&b, &a) };
            // It rests in the end, or none of the last rounds would show it either.
            if listings <= 20 && from.exists() {
                fs::rename(from, to).unwrap();
            }
        });
        let report = world.backup(Arc::clone(&objects)).unwrap();
        assert!(report.ledger.unstable_folders > 0, "the folders came to rest");
        let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
        let copies = restored.values().filter(|(content, ..)| content == b"of folder .A\n").count();
        assert_eq!(copies, 1 + usize::from(has_copy), "listed: {is_listed}");
    }
}

#[test]
fn a_folder_that_is_made_renamed_or_removed_meanwhile_is_as_it_is_in_the_end() {
    let (world, objects) = world();
    fs::write(world.folder(ALICE, ".B").join("dovecot-uidlist"), UIDLIST).unwrap();
    when_listed(&world, ".C", |mailbox| {
        fs::rename(mailbox.join(".B"), mailbox.join(".AA")).unwrap();
        fs::remove_dir_all(mailbox.join(".A")).unwrap();
        for subdir in ["new", "cur", "tmp"] {
            fs::create_dir_all(mailbox.join(".D").join(subdir)).unwrap();
        }
        fs::rename(mailbox.join("cur/0.m.host:2,S"), mailbox.join(".D/cur/5.x:2,S")).unwrap();
    });
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert!(!report.is_incomplete, "{:?}", report.incidents);
    assert_eq!(names(&report, Incident::ExpungedDuringRun), [".A/cur/1.m.host:2,S"]);
    assert_eq!(names(&report, Incident::MovedDuringRun), [".D/cur/5.x:2,S"]);
    assert_whole(&world, &objects, "folders");
}

#[test]
fn a_folder_that_is_renamed_for_ever_is_not_missed_without_a_word() {
    let (world, objects) = world();
    let [a, b] = [".A", ".B"].map(|folder| world.store().join(ALICE).join(folder));
    fs::remove_dir_all(&b).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                fs::rename(&a, &b).unwrap();
                fs::rename(&b, &a).unwrap();
            }
        });
        let nights = [(); 3].map(|()| {
            let report = world.backup(Arc::clone(&objects)).unwrap();
            let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
            let is_there = restored.values().any(|(content, ..)| content == b"of folder .A\n");
            (is_there, report.is_incomplete)
        });
        is_done.store(true, Ordering::Relaxed);
        assert!(!nights.contains(&(false, false)), "there, incomplete: {nights:?}");
    });
    // When it has come to rest, a night is quiet again.
    let report = loop {
        let report = world.backup(Arc::clone(&objects)).unwrap();
        assert!(!report.is_incomplete, "{:?}", report.incidents);
        if report.messages.folders_listed == 0 {
            break report;
        }
    };
    assert_eq!(report.messages.read, 0);
    assert_whole(&world, &objects, "at rest");
}

#[test]
fn a_mailbox_that_disappears_midway_keeps_what_the_snapshot_had() {
    let (world, objects) = world();
    world.backup(Arc::clone(&objects)).unwrap();
    let before = world.image();
    fs::write(world.folder(ALICE, ".A").join("new/9.n.host"), "new\n").unwrap();
    let away = world.dir.path().join("away");
    when_listed(&world, ".A", move |mailbox| fs::rename(mailbox, &away).unwrap());
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert!(report.is_incomplete && report.ledger.unreadable > 0, "{:?}", report.incidents);
    let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
    for path in before.keys() {
        assert!(restored.contains_key(path), "{} is missing", path.display());
    }
}

const UIDLIST: &str = "3 V1275660208 N9 G3085f01b7f11094c501100008c4a11c1\n7 :2.m.host\n";

#[test]
fn a_renamed_folder_is_known_by_its_guid_and_no_message_is_opened() {
    let (world, objects) = world();
    let mailbox = world.store().join(ALICE);
    fs::write(mailbox.join(".B/dovecot-uidlist"), UIDLIST).unwrap();
    world.backup(Arc::clone(&objects)).unwrap();
    fs::rename(mailbox.join(".B"), mailbox.join(".Renamed")).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.messages.read, report.ledger.expunge_alarms), (0, 0));
    assert_whole(&world, &objects, "renamed");
    // Without the GUID it is another folder with other messages.
    fs::rename(mailbox.join(".A"), mailbox.join(".Other")).unwrap();
    assert_eq!(world.backup(Arc::clone(&objects)).unwrap().messages.read, 1);
}

#[test]
fn without_trust_in_times_every_folder_is_listed_until_two_listings_agree() {
    let (world, objects) = world();
    let options = Options { proof: Proof::Agreement, ..world.options() };
    for night in 0..2 {
        let report = world.backup_with(Arc::clone(&objects), &options, None).unwrap();
        assert_eq!((report.messages.folders_listed, report.is_incomplete), (4, false));
        assert_eq!(report.messages.read, if night == 0 { 4 } else { 0 });
        assert_whole(&world, &objects, "agreement");
    }
    when_listed(&world, ".C", |mailbox| {
        fs::rename(mailbox.join(".C/cur/3.m.host:2,S"), mailbox.join(".A/cur/7.m.host:2,"))
            .unwrap();
    });
    let report = world.backup_with(Arc::clone(&objects), &options, None).unwrap();
    assert!(!report.is_incomplete, "{:?}", report.incidents);
    assert_eq!(names(&report, Incident::MovedDuringRun), [".A/cur/7.m.host:2,"]);
    assert_whole(&world, &objects, "moved");
}

#[test]
fn dovecots_lock_is_held_for_the_listing_and_never_for_the_copy() {
    let (world, objects) = world();
    let folder = world.store().join(ALICE).join(".B");
    fs::write(folder.join("dovecot-uidlist"), UIDLIST).unwrap();
    let lock = folder.join("dovecot-uidlist.lock");
    on_listed(&world.store(), move |_| assert!(!lock.exists()));
    for dovecot_lock in [false, true] {
        let dir = fs::File::open(&folder).unwrap();
        dir.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::write(folder.join(format!("new/9.{dovecot_lock}.host")), "new\n").unwrap();
        let options = Options { dovecot_lock, ..world.options() };
        world.backup_with(Arc::clone(&objects), &options, None).unwrap();
        // A file came into the folder, and went.
        let is_touched = dir.metadata().unwrap().modified().unwrap() != SystemTime::UNIX_EPOCH;
        assert_eq!(is_touched, dovecot_lock);
        assert_whole(&world, &objects, "locked");
    }
}

/// A message that has another name each time.
pub(super) fn restless(mailbox: &Path, folder: &str, count: u32) -> PathBuf {
    let name = ["7.restless:2,FS", "7.restless:2,S"][count as usize % 2];
    mailbox.join(folder).join("cur").join(name)
}

/// From now on these folders of the mailbox never rest: each listing of one changes a name in it. `then` is called with the
/// folder and the number of its listings.
pub(super) fn unrest(
    world: &World,
    folders: &'static [&'static str],
    mut then: impl FnMut(&str, u32) + Send + 'static,
) {
    let mailbox = world.store().join(ALICE);
    for folder in folders {
        fs::write(restless(&mailbox, folder, 0), "restless\n").unwrap();
    }
    let mut listings: BTreeMap<String, u32> = BTreeMap::new();
    on_listed(&world.store(), move |listed| {
        let folder = listed.strip_prefix(ALICE).unwrap().trim_start_matches('/');
        if !folders.contains(&folder) {
            return;
        }
        let count = listings.entry(folder.to_owned()).or_default();
        let names = [0, 1].map(|more| restless(&mailbox, folder, *count + more));
        fs::rename(&names[0], &names[1]).unwrap();
        *count += 1;
        then(folder, *count);
    });
}

/// Renames messages of its own as fast as it can, as clients and servers do.
fn churn(folders: &[PathBuf], mut names: Vec<PathBuf>, seed: u64, stop: &AtomicBool) {
    let mut dice = Dice(seed);
    for step in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let from = &mut names[dice.roll(folders.len() * 2)..][0];
        let name = from.file_name().unwrap().to_str().unwrap();
        let base = name.split(':').next().unwrap();
        let folder = folders[dice.roll(folders.len())].join("cur");
        let flags = ["", "S", "FS", "RS"][dice.roll(4)];
        let same = format!("{base}:2,{flags}");
        let other = format!("{}x{step}:2,{flags}", base.split('x').next().unwrap());
        match dice.roll(4) {
            // A move as mv does it: the name stays. One as Dovecot does it: a new name, linked first.
            0 => rename(from, folder.join(same)),
            1 => {
                let to = folder.join(other);
                fs::hard_link(&*from, &to).unwrap();
                fs::remove_file(&*from).unwrap();
                *from = to;
            }
            _ => {
                let to = from.parent().unwrap().with_file_name("cur").join(same);
                rename(from, to);
            }
        }
        names.rotate_left(1);
    }
}

fn rename(from: &mut PathBuf, to: PathBuf) {
    fs::rename(&*from, &to).unwrap();
    *from = to;
}

/// Also a folder that never becomes quiet, and a listing that never ends stable.
#[test]
fn every_message_is_in_the_snapshot_once_while_all_move_as_fast_as_they_can() {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    world.init(Arc::clone(&objects));
    let folders = ["", ".Sent", ".Archive", ".Work"].map(|folder| world.folder(ALICE, folder));
    let mut messages = Vec::new();
    for i in 0..COUNT {
        let subdir = ["new", "cur"][i / 4 % 2];
        let path = folders[i % 4].join(subdir).join(format!("17{i:05}.m.host"));
        fs::write(&path, format!("Subject: {i}\n\nmessage {i}\n")).unwrap();
        if i % COPIED == 0 {
            let copy = folders[i / 2 % 4].join(subdir).join(format!("18{i:05}.m.host"));
            fs::hard_link(&path, &copy).unwrap();
            messages.push(copy);
        }
        messages.push(path);
    }
    // Whoever is held up for a moment: no folder stays as it was listed.
    unrest(&world, &["", ".Sent", ".Archive", ".Work"], |_, _| {});
    let stop = AtomicBool::new(false);
    let nights = std::thread::scope(|scope| {
        for (seed, part) in (1..).zip(messages.chunks(messages.len() / 2)) {
            let (folders, stop) = (&folders, &stop);
            scope.spawn(move || churn(folders, part.to_vec(), seed, stop));
        }
        let nights = [(); 2].map(|()| world.backup(Arc::clone(&objects)));
        stop.store(true, Ordering::Relaxed);
        nights
    });
    for report in nights {
        let report = report.unwrap();
        assert!(report.is_incomplete && report.ledger.unstable_folders == 4, "{:?}", report.ledger);
        let (restored, _) = world.restore(Arc::clone(&objects), &report.snapshot.unwrap()).unwrap();
        let mut found: BTreeMap<String, u32> = BTreeMap::new();
        for (path, (content, ..)) in restored {
            if path.to_string_lossy().contains(".m.host") {
                *found.entry(String::from_utf8(content).unwrap()).or_default() += 1;
            }
        }
        let whole = |i| {
            let names = if i % COPIED == 0 { 2 } else { 1 };
            (format!("Subject: {i}\n\nmessage {i}\n"), names)
        };
        let whole: BTreeMap<String, u32> = (0..COUNT).map(whole).collect();
        let wrong: Vec<_> = found
            .keys()
            .chain(whole.keys())
            .filter(|letter| found.get(*letter) != whole.get(*letter))
            .map(|letter| (letter, found.get(letter), whole.get(letter)))
            .collect();
        assert!(wrong.is_empty(), "found, expected: {wrong:?} {:?}", report.ledger);
    }
}

const COUNT: usize = 800;
/// Each of so many messages has a copy, a second name for its file, that moves by itself.
const COPIED: usize = 8;
