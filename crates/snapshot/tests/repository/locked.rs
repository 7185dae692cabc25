//! A folder whose lock its server does not give up costs the restore that folder, and no other.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use maildir::Dotlock;
use snapshot::choose;
use snapshot::progress::Progress;
use snapshot::repository::Repository;
use snapshot::restore::{self, Options, Place, Report, Uids};
use snapshot::store::memory::Memory;

use super::world::World;

fn restore(world: &World, objects: &Arc<Memory>, uids: Uids) -> Report {
    let repository = Repository::open(Box::new(Arc::clone(objects))).unwrap();
    let manifest = choose::choose(repository.store(), "latest", None).unwrap().manifest;
    let place = Place::Live { store: world.store(), as_folder: None };
    let options = Options {
        place,
        uids: Some(uids),
        lock_wait: Duration::from_millis(20),
        ..Options::all(world.store())
    };
    let (identity, progress) = (world.identity(), Progress::default());
    restore::run(&repository, &[manifest], Some(&identity), &options, &progress).unwrap()
}

#[test]
fn what_is_locked_is_named_and_the_rest_is_restored() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    let name = "1600000001.M1P1.host:2,S";
    for folder in ["", ".Sent"] {
        let path = world.folder("alice", folder);
        fs::write(path.join("cur").join(name), folder).unwrap();
        fs::write(path.join("dovecot-uidlist"), "3 V100 N9\n8 :1600000001.M1P1.host\n").unwrap();
    }
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    let [inbox, sent] = ["", ".Sent"].map(|folder| world.folder("alice", folder));
    for folder in [&inbox, &sent] {
        fs::remove_file(folder.join("cur").join(name)).unwrap();
    }
    let lock = Dotlock::acquire(&inbox.join("dovecot-uidlist"), Duration::ZERO).unwrap();
    let report = restore(&world, &objects, Uids::Keep);
    let [problem] = &report.problems[..] else { panic!("{report:?}") };
    assert_eq!((report.messages, problem.missing.messages, report.is_incomplete), (1, 1, true));
    let begin = format!("lock {}", inbox.join("dovecot-uidlist.lock").display());
    assert!(problem.reason.starts_with(&begin), "{}", problem.reason);
    assert!(problem.reason.contains(&std::process::id().to_string()), "{}", problem.reason);
    assert!(sent.join("cur").join(name).exists() && !inbox.join("cur").join(name).exists());

    // The messages are there; the list is what waits.
    drop(lock);
    assert!(!restore(&world, &objects, Uids::Keep).is_incomplete);
    let list = || fs::read_to_string(inbox.join("dovecot-uidlist")).unwrap();
    let before = list();
    let lock = Dotlock::acquire(&inbox.join("dovecot-uidlist"), Duration::ZERO).unwrap();
    let report = restore(&world, &objects, Uids::New);
    assert_eq!((report.problems.len(), report.problems[0].missing.messages), (1, 0), "{report:?}");
    assert_eq!(list(), before);
    drop(lock);
    assert!(!restore(&world, &objects, Uids::New).is_incomplete);
    assert!(list() > before, "{}", list());
}
