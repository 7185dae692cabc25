//! What nights cost and find: unchanged mailboxes, flags, moves, names used again, lost state,
//! lost packs, folding, sealed repositories, selected mailboxes.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapshot::backup::{Options, Trust};
use snapshot::store::Store;
use snapshot::store::memory::Memory;

use super::world::{World, assert_same, keys};

const ALICE: &str = "example.org/alice";

fn first_night() -> (World, Arc<Memory>) {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    for i in 0..20 {
        world.deliver(ALICE, &format!("cur/1.{i}.host:2,S"), format!("message {i}\n").as_bytes());
    }
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    (world, objects)
}

fn assert_restores(world: &World, objects: &Arc<Memory>, context: &str) {
    let (restored, report) = world.restore(Arc::clone(objects), "latest").unwrap();
    assert!(report.problems.is_empty(), "{context}: {:?}", report.problems);
    assert_same(&restored, &world.image(), context);
}

#[test]
fn an_unchanged_mailbox_costs_no_object() {
    let (world, objects) = first_night();
    let before = keys(&objects, "mailboxes/").len();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(keys(&objects, "mailboxes/").len(), before);
    assert_eq!((report.mailboxes.changed, report.messages.read), (0, 0));
    assert_restores(&world, &objects, "unchanged");
}

#[test]
fn a_flag_a_seen_mail_and_a_move_cost_a_catalog_and_no_pack() {
    let (world, objects) = first_night();
    let new = world.deliver(ALICE, "new/2.x.host", b"just in\n");
    world.backup(Arc::clone(&objects)).unwrap();
    let packs = keys(&objects, ".tar.").len();
    let root = world.store().join(ALICE);
    let archive = world.folder(ALICE, ".Archive");
    fs::rename(&new, root.join("cur/2.x.host:2,S")).unwrap();
    fs::rename(root.join("cur/1.1.host:2,S"), root.join("cur/1.1.host:2,FS")).unwrap();
    fs::rename(root.join("cur/1.2.host:2,S"), archive.join("cur/3.y.host:2,S")).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(keys(&objects, ".tar.").len(), packs, "no content is stored");
    assert_eq!(report.messages.read, 1, "only the moved message is read, to be recognised");
    assert_eq!(report.mailboxes.changed, 1);
    assert_restores(&world, &objects, "flags and moves");
}

#[test]
fn a_name_that_is_used_again_for_another_message_is_noticed() {
    let (world, objects) = first_night();
    let path = world.deliver(ALICE, "new/msg.1234", b"first of this name\n");
    world.backup(Arc::clone(&objects)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"other of this name\n").unwrap();
    world.backup(Arc::clone(&objects)).unwrap();
    assert_restores(&world, &objects, "msg.* used again");
}

#[test]
fn two_messages_with_one_base_name_are_both_kept() {
    let (world, objects) = first_night();
    world.deliver(ALICE, "new/5.z.host", b"one\n");
    world.deliver(ALICE, "cur/5.z.host:2,S", b"other\n");
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(report.ledger.duplicate_names, 1);
    assert_restores(&world, &objects, "both kept");
    fs::remove_file(world.store().join(ALICE).join("new/5.z.host")).unwrap();
    world.backup(Arc::clone(&objects)).unwrap();
    assert_restores(&world, &objects, "one is gone");
}

/// As a client leaves them that copies a file under another set of flags. Two files are two messages.
#[test]
fn two_files_with_one_base_name_and_one_content_are_known_as_two() {
    let (world, objects) = first_night();
    let second = world.deliver(ALICE, "cur/5.z.host:2,S", b"the same\n");
    world.deliver(ALICE, "cur/5.z.host:2,", b"the same\n");
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.ledger.duplicate_names, report.messages.new), (1, 2));
    assert_restores(&world, &objects, "both are there");
    // The folder is listed for the sake of another message; the doubles are not read, and not told anew.
    let full = Options { trust: Trust::Stat, ..world.options() };
    for (night, options) in [world.options(), world.options(), full.clone()].iter().enumerate() {
        world.deliver(ALICE, &format!("new/6.{night}.host"), b"another\n");
        let report = world.backup_with(Arc::clone(&objects), options, None).unwrap();
        assert_eq!((report.messages.new, report.messages.read), (1, 1), "night {night}");
        assert_restores(&world, &objects, "quiet");
    }
    // Either is known for itself when it changes in place.
    fs::write(&second, b"not the same\n").unwrap();
    let report = world.backup_with(Arc::clone(&objects), &full, None).unwrap();
    assert_eq!((report.messages.new, report.messages.read), (1, 1));
    assert_restores(&world, &objects, "one changed");
    fs::remove_file(&second).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.messages.gone, report.messages.read), (1, 0));
    assert_restores(&world, &objects, "one is gone");
}

/// Twins of a name and a folder that stands still: it is believed as any other.
#[test]
fn doubles_do_not_have_their_folder_listed_every_night() {
    let (world, objects) = first_night();
    world.deliver(ALICE, "cur/5.z.host:2,S", b"the same\n");
    world.deliver(ALICE, "new/5.z.host", b"the same\n");
    let deadline = Instant::now() + Duration::from_secs(30);
    // A folder is believed two seconds after it changed.
    while world.backup(Arc::clone(&objects)).unwrap().messages.folders_listed > 0 {
        assert!(Instant::now() < deadline, "it is listed again and again");
    }
    let catalogs = keys(&objects, "/catalogs/").len();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.messages.new, report.mailboxes.changed), (0, 0));
    assert_eq!(keys(&objects, "/catalogs/").len(), catalogs);
}

#[test]
fn a_lost_state_is_rebuilt_with_the_identity_and_nothing_is_stored_again() {
    let (world, objects) = first_night();
    world.deliver(ALICE, "new/2.n.host", b"second night\n");
    world.folder(ALICE, ".Sent");
    symlink("target", world.store().join(ALICE).join(".dovecot.sieve")).unwrap();
    fs::write(world.store().join(ALICE).join("dovecot-uidlist"), "3 V1 N2 Gx\n").unwrap();
    world.backup(Arc::clone(&objects)).unwrap();
    let before = keys(&objects, "").len();
    fs::remove_dir_all(world.state()).unwrap();
    let identity = world.identity();
    let report =
        world.backup_with(Arc::clone(&objects), &world.options(), Some(&identity)).unwrap();
    assert_eq!(report.messages.read, 0, "known by name, size and time");
    assert_eq!(keys(&objects, "").len(), before + 1, "only a manifest is added");
    assert_restores(&world, &objects, "rebuilt");
    world.deliver(ALICE, "new/3.n.host", b"third night\n");
    world.backup(Arc::clone(&objects)).unwrap();
    assert_restores(&world, &objects, "a night after");
}

#[test]
fn a_lost_state_without_identity_reads_and_stores_again_and_says_so() {
    let (world, objects) = first_night();
    fs::remove_dir_all(world.state()).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(report.messages.read, 20);
    assert!(report.notices.iter().any(|n| n.contains("state is lost")), "{:?}", report.notices);
    assert_restores(&world, &objects, "stored again");
}

#[test]
fn a_torn_state_file_is_read_again_and_not_trusted() {
    let (world, objects) = first_night();
    for entry in walk(&world.state()) {
        if entry.parent().is_some_and(|p| p.ends_with("mailboxes")) {
            let bytes = fs::read(&entry).unwrap();
            fs::write(&entry, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(report.messages.read, 20);
    assert_restores(&world, &objects, "torn state");
}

#[test]
fn full_stores_again_what_the_repository_has_lost() {
    let (world, objects) = first_night();
    let pack = keys(&objects, ".tar.").remove(0);
    objects.delete(&pack).unwrap();
    assert!(!world.verify(Arc::clone(&objects)).is_sound, "the loss is found");
    let (restored, report) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert!(report.is_incomplete && report.problems[0].missing.messages == 20, "{report:?}");
    assert_eq!(restored.values().filter(|file| file.0.starts_with(b"message")).count(), 0);
    world.backup(Arc::clone(&objects)).unwrap();
    let (_, report) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert!(report.is_incomplete, "a plain night does not look at the packs it has");
    let full = Options { trust: Trust::Stat, rebase: true, ..world.options() };
    world.backup_with(Arc::clone(&objects), &full, None).unwrap();
    assert_restores(&world, &objects, "healed");
}

#[test]
fn rehash_finds_content_that_changed_under_its_name() {
    let (world, objects) = first_night();
    let path = world.store().join(ALICE).join("cur/1.1.host:2,S");
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, b"massage 1\n").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    let rehash = Options { trust: Trust::Nothing, rebase: true, ..world.options() };
    world.backup_with(Arc::clone(&objects), &rehash, None).unwrap();
    assert_restores(&world, &objects, "rehashed");
}

#[test]
fn a_newer_snapshot_of_another_store_costs_no_request() {
    let (world, objects) = first_night();
    let night = || {
        let before = objects.requests().total();
        let notices = world.backup(Arc::clone(&objects)).unwrap().notices;
        (objects.requests().total() - before, notices)
    };
    let (alone, notices) = night();
    assert_eq!(notices, [""; 0]);
    let other = World::new();
    other.deliver("bob", "cur/1.b.host:2,S", b"of another store\n");
    other.backup(Arc::clone(&objects)).unwrap();
    let (beside, notices) = night();
    assert!(notices.iter().any(|notice| notice.contains("of another store")), "{notices:?}");
    assert_eq!(beside, alone);
    // One that may be of this store is looked at.
    let state = world.dir.path().join("kept");
    fs::rename(world.state(), &state).unwrap();
    world.backup_with(Arc::clone(&objects), &world.options(), Some(&world.identity())).unwrap();
    fs::remove_dir_all(world.state()).unwrap();
    fs::rename(&state, world.state()).unwrap();
    let (beside, notices) = night();
    assert!(notices.iter().any(|notice| notice.contains("with another state")), "{notices:?}");
    assert_eq!(beside, alone + 1);
}

#[test]
fn many_nights_are_folded_into_few_packs_and_short_chains() {
    let (world, objects) = first_night();
    for night in 0..40 {
        let body = format!("night {night}\n");
        world.deliver(ALICE, &format!("new/{}.n.host", 100 + night), body.as_bytes());
        let report = world.backup(Arc::clone(&objects)).unwrap();
        assert!(report.requests.by_kind.put > 0);
    }
    assert_restores(&world, &objects, "after 40 nights");
    let needs = needs(&objects);
    let packs = needs.iter().filter(|need| need.pack.is_some()).count();
    let chain = needs.iter().filter(|need| need.object.starts_with("catalogs/")).count();
    assert!(packs <= 16, "{packs} packs");
    assert!(chain <= 4, "{chain} catalogs");
    assert!(world.verify(Arc::clone(&objects)).is_sound);
}

/// In a large mailbox a full catalog is rare: deltas are merged, each night's in another way.
#[test]
fn every_night_of_a_long_chain_restores() {
    let (world, objects) = first_night();
    for i in 0..1500 {
        world.deliver(ALICE, &format!("cur/3.{}.host:2,S", i * 7919), b"one content\n");
    }
    world.backup(Arc::clone(&objects)).unwrap();
    let mut lengths = Vec::new();
    for night in 0..19 {
        world.deliver(ALICE, &format!("new/{}.n.host", 100 + night), b"one content\n");
        // What one night adds, a later one of the same delta takes away.
        if night > 0 {
            let path = world.store().join(ALICE).join(format!("new/{}.n.host", 99 + night));
            fs::rename(&path, world.folder(ALICE, ".Sent").join("cur/1.moving:2,S")).unwrap();
        }
        world.backup(Arc::clone(&objects)).unwrap();
        if night % 3 == 0 {
            assert_restores(&world, &objects, &format!("night {night}"));
        }
        let chain = needs(&objects);
        lengths.push(chain.iter().filter(|n| n.object.starts_with("catalogs/")).count());
    }
    // Catalogs below the newest: as many as the run's number has ones in binary, up to a full one.
    assert_eq!(lengths, [0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1]);
    fs::remove_dir_all(world.state()).unwrap();
    let identity = world.identity();
    for night in 0..4 {
        world.deliver(ALICE, &format!("new/{}.n.host", 200 + night), b"one content\n");
        world.backup_with(Arc::clone(&objects), &world.options(), Some(&identity)).unwrap();
        assert_restores(&world, &objects, "after the state was lost");
    }
    assert!(world.verify(Arc::clone(&objects)).is_sound);
}

#[test]
fn mailboxes_that_are_not_selected_are_taken_over() {
    let (world, objects) = first_night();
    world.deliver("example.org/bob", "cur/1.b:2,", b"bob's\n");
    world.backup(Arc::clone(&objects)).unwrap();
    let before = world.image();
    world.deliver(ALICE, "new/9.late", b"not looked at\n");
    let only_bob = Options { mailboxes: vec!["bob@*".into()], ..world.options() };
    let report = world.backup_with(Arc::clone(&objects), &only_bob, None).unwrap();
    assert_eq!((report.mailboxes.carried, report.totals.mailboxes), (1, 2));
    let (restored, _) = world.restore(Arc::clone(&objects), "latest").unwrap();
    assert_same(&restored, &before, "carried");
    let nobody = Options { mailboxes: vec!["nobody".into()], ..world.options() };
    let error = world.backup_with(Arc::clone(&objects), &nobody, None).unwrap_err();
    assert_eq!(error.to_string(), "no mailbox is called nobody");
}

#[test]
fn a_dry_run_stores_and_remembers_nothing() {
    let (world, objects) = first_night();
    world.deliver(ALICE, "new/2.n.host", b"second night\n");
    world.deliver("example.org/bob", "new/2.n.host", b"first of bob\n");
    let before = keys(&objects, "");
    let dry = Options { dry_run: true, ..world.options() };
    let report = world.backup_with(Arc::clone(&objects), &dry, None).unwrap();
    assert_eq!((report.snapshot, report.messages.new, report.mailboxes.new), (None, 2, 1));
    assert_eq!(keys(&objects, ""), before);
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!((report.messages.read, report.mailboxes.new), (2, 1));
    assert_restores(&world, &objects, "after a dry run");
}

/// What the newest catalog of the only mailbox needs.
fn needs(objects: &Arc<Memory>) -> Vec<snapshot::catalog::Need> {
    let manifest = snapshot::choose::choose(&**objects, "latest", None).unwrap().manifest;
    let (id, catalog) = manifest.mailboxes.iter().next().unwrap();
    let key = format!("mailboxes/{id}/catalogs/{}", catalog.catalog);
    let bytes = objects.get(&key, 1 << 20).unwrap();
    snapshot::catalog::decode_head(&key, id, &bytes).unwrap().0.needs
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
