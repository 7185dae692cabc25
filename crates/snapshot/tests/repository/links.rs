//! What becomes a link is not followed, and does not leave the snapshots: a mailbox, what is above it,
//! a folder in it, with links out of the store, to another place in it, and to nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapshot::backup::{Incident, Report};
use snapshot::store::memory::Memory;

use super::world::{TreeImage, World, assert_same};

const ALICE: &str = "example.org/alice/Maildir";

/// Alice with a folder, and somebody else.
fn first_night() -> (World, Arc<Memory>) {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    for mailbox in [ALICE, "example.net/carol"] {
        world.deliver(mailbox, "cur/1.a.host:2,S", format!("of {mailbox}\n").as_bytes());
    }
    let sent = world.folder(ALICE, ".Sent");
    fs::write(sent.join("cur/2.s.host:2,S"), "sent\n").unwrap();
    fs::write(sent.join("dovecot-uidlist"), "3 V1 N2 G2\n").unwrap();
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    (world, objects)
}

fn incidents(report: &Report) -> Vec<(Incident, &str)> {
    report.incidents.iter().map(|entry| (entry.incident, entry.path.as_str())).collect()
}

/// Moves a part of the store away and puts a link in its place.
fn replace(world: &World, part: &str, to: &Path) {
    let path = world.store().join(part);
    fs::rename(&path, to).unwrap();
    symlink(to, &path).unwrap();
}

fn restored(world: &World, objects: &Arc<Memory>) -> TreeImage {
    let (image, report) = world.restore(Arc::clone(objects), "latest").unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    image
}

/// Of a home only its Maildir is looked at, and of a Maildir no `tmp`.
#[test]
fn a_folder_that_is_a_link_to_where_nobody_looks_is_named() {
    for target in ["example.org/alice/Archive/2020", "example.net/carol/tmp/archive"] {
        let (world, objects) = first_night();
        let folder = "example.org/alice/Maildir/.Sent";
        let to = world.store().join(target);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        replace(&world, folder, &to);
        let report = world.backup(Arc::clone(&objects)).unwrap();
        assert!(report.is_incomplete, "{target}");
        assert_eq!(incidents(&report), [(Incident::NotFollowed, folder)]);
        let contents = restored(&world, &objects);
        assert!(contents.values().any(|(content, ..)| content == b"sent\n"), "{target}");
    }
}

#[test]
fn what_is_behind_a_link_stays_in_the_snapshots_and_is_named_every_night() {
    let behind = [(Incident::Unreadable, ALICE)];
    let domain = [(Incident::NotFollowed, "example.org"), (Incident::Unreadable, ALICE)];
    let home = [(Incident::NotFollowed, "example.org/alice"), (Incident::Unreadable, ALICE)];
    let sent = [(Incident::NotFollowed, "example.org/alice/Maildir/.Sent")];
    let table: [(&str, &[(Incident, &str)]); 4] = [
        (ALICE, &behind),
        ("example.org", &domain),
        ("example.org/alice", &home),
        ("example.org/alice/Maildir/.Sent", &sent),
    ];
    for (part, expected) in table {
        let (world, objects) = first_night();
        let before = world.image();
        let away = world.dir.path().join("away");
        replace(&world, part, &away);
        for (night, is_mounted) in [(1, true), (2, true), (3, false), (4, false)] {
            if !is_mounted && away.exists() {
                fs::rename(&away, world.dir.path().join("unmounted")).unwrap();
            }
            let report = world.backup(Arc::clone(&objects)).unwrap();
            assert_eq!(incidents(&report), expected, "{part}, night {night}");
            assert!(report.is_incomplete);
            let reason = report.incidents[0].reason.as_deref().unwrap();
            let what = if is_mounted { "mount --bind" } else { "is a disk not mounted?" };
            assert!(reason.contains(what) && reason.contains("/away"), "{reason}");
            assert_eq!((report.messages.new, report.messages.gone), (0, 0), "{part}");
            assert_same(&restored(&world, &objects), &before, part);
        }
        // Back in its place it is what it was.
        fs::remove_file(world.store().join(part)).unwrap();
        fs::rename(world.dir.path().join("unmounted"), world.store().join(part)).unwrap();
        let report = world.backup(Arc::clone(&objects)).unwrap();
        assert!(!report.is_incomplete && report.messages.read == 0, "{:?}", report.incidents);
        assert_same(&restored(&world, &objects), &before, part);
    }
}

#[test]
fn a_mailbox_that_moved_within_the_store_is_found_where_it_is() {
    let (world, objects) = first_night();
    fs::create_dir(world.store().join("disk2")).unwrap();
    replace(&world, ALICE, &world.store().join("disk2/alice"));
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(incidents(&report), []);
    assert_eq!((report.mailboxes.gone, report.expunge_alarms.len()), (1, 0));
    let said = "is a link to disk2/alice now, where its mail is kept";
    assert!(report.notices.iter().any(|notice| notice.contains(said)), "{:?}", report.notices);
    assert!(restored(&world, &objects).contains_key(&PathBuf::from("disk2/alice/.Sent")));
}

#[test]
fn a_link_within_the_store_to_what_is_no_mailbox_costs_nothing_either() {
    let (world, objects) = first_night();
    // Homes are not searched beyond their Maildirs.
    fs::create_dir(world.store().join("example.org/alice/files")).unwrap();
    replace(&world, ALICE, &world.store().join("example.org/alice/files/old"));
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(incidents(&report), [(Incident::Unreadable, ALICE)]);
    assert!(restored(&world, &objects).contains_key(&Path::new(ALICE).join(".Sent")));
}

#[test]
fn a_domain_that_always_was_a_link_is_named() {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    let away = world.dir.path().join("away");
    for mailbox in ["example.org/alice", "example.net/bob"] {
        world.deliver(mailbox, "cur/1.a.host:2,S", b"x");
    }
    replace(&world, "example.org", &away);
    fs::create_dir(world.dir.path().join("web")).unwrap();
    symlink(world.dir.path().join("web"), world.store().join("web")).unwrap();
    world.init(Arc::clone(&objects));
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(incidents(&report), [(Incident::NotFollowed, "example.org")]);
    assert_eq!(report.notices, ["web is a link out of the store and was not followed"]);
    // With nothing else in the store it is an error that names the link.
    fs::remove_dir_all(world.store().join("example.net")).unwrap();
    let error = world.backup(Arc::clone(&objects)).unwrap_err();
    let link = world.store().join("example.org").display().to_string();
    assert!(error.to_string().contains(&format!("{link} is a link out of it")), "{error}");
    assert!(error.hint().unwrap().contains("mount --bind"));
}
