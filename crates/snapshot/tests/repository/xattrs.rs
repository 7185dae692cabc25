//! Extended attributes: they are in catalogs, cost no message that has none a line, and survive a
//! lost state. Restores apply them: see the tests there.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::XattrFlags;
use snapshot::backup::{Options, Trust};
use snapshot::catalog::Line;
use snapshot::choose;
use snapshot::contents;
use snapshot::repository::Repository;
use snapshot::store::memory::Memory;
use snapshot::xattrs::Encoded;

use super::world::World;

const ALICE: &str = "example.org/alice";

/// `false` on a file system that has none.
fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    let file = File::open(path).unwrap();
    rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()).is_ok()
}

/// Those of the folder, its messages in order, and the file `subscriptions`, in the newest snapshot.
fn stored(world: &World, objects: &Arc<Memory>) -> Vec<Encoded> {
    let repository = Repository::open(Box::new(Arc::clone(objects))).unwrap();
    let manifest = choose::choose(repository.store(), "latest", None).unwrap().manifest;
    let identity = world.identity();
    let name = "alice@example.org";
    let contents = contents::mailbox(&repository, &manifest, Some(&identity), name).unwrap();
    let folder = &contents.folders[""];
    let mut stored = vec![folder.owner.xattrs.clone()];
    stored.extend(folder.messages.values().map(|message| message.owner.xattrs.clone()));
    stored.extend(contents.files.values().map(|line| match line {
        Line::File { owner, .. } => owner.xattrs.clone(),
        other => panic!("{other:?}"),
    }));
    stored
}

fn one(name: &str, base64: &str) -> Encoded {
    Encoded::from([(name.into(), base64.into())])
}

#[test]
fn extended_attributes_are_kept_night_after_night() {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    let first = world.deliver(ALICE, "cur/1.a.host:2,S", b"one\n");
    world.deliver(ALICE, "cur/2.b.host:2,S", b"two\n");
    let mailbox = world.store().join(ALICE);
    fs::write(mailbox.join("subscriptions"), "Sent\n").unwrap();
    if !set(&first, "user.label", b"work") {
        return;
    }
    world.init(Arc::clone(&objects));
    world.backup(Arc::clone(&objects)).unwrap();
    let none = Encoded::new();
    let label = one("user.label", "d29yaw==");
    assert_eq!(stored(&world, &objects), [none.clone(), label.clone(), none.clone(), none.clone()]);

    // A new attribute of a folder or kept file is seen at once, that of a message by --full.
    set(&mailbox, "user.owner", b"alice");
    set(&mailbox.join("subscriptions"), "user.label", b"work");
    set(&mailbox.join("cur/2.b.host:2,S"), "user.label", b"work");
    world.backup(Arc::clone(&objects)).unwrap();
    let owner = one("user.owner", "YWxpY2U=");
    let expected = [owner.clone(), label.clone(), none.clone(), label.clone()];
    assert_eq!(stored(&world, &objects), expected);
    let full = Options { trust: Trust::Stat, ..world.options() };
    world.backup_with(Arc::clone(&objects), &full, None).unwrap();
    let expected = [owner.clone(), label.clone(), label.clone(), label.clone()];
    assert_eq!(stored(&world, &objects), expected);

    // With the state rebuilt from the repository nothing has changed, so no catalog is written.
    fs::remove_dir_all(world.state()).unwrap();
    let identity = world.identity();
    world.backup_with(Arc::clone(&objects), &world.options(), Some(&identity)).unwrap();
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert_eq!(report.mailboxes.changed, 0, "{:?}", report.notices);
    assert_eq!(stored(&world, &objects), expected);
}

#[test]
fn too_many_are_told() {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    let first = world.deliver(ALICE, "cur/1.a.host:2,S", b"one\n");
    if !set(&first, "user.large", &[7; 65_536]) {
        return;
    }
    world.init(Arc::clone(&objects));
    let report = world.backup(Arc::clone(&objects)).unwrap();
    assert!(!report.is_incomplete);
    assert!(report.notices[0].starts_with("1 file or folder has more extended attributes"));
}
