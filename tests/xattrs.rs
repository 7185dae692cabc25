//! Extended attributes and ACLs: kept with messages, files and folders, put back where the target takes
//! them, and counted where it does not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::XattrFlags;
use serde_json::json;

use crate::env::{Env, text};

const ALICE: &str = "example.org/alice/Maildir";

/// Sets an attribute; false where the file system has none.
fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok()
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    let length = rustix::fs::getxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

/// `user::rw-,user:4242:r--,group::---,mask::r--,other::---` as the kernel takes it.
fn acl() -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, NONE), (2, 4, 4242), (4, 0, NONE), (0x10, 4, NONE), (0x20, 0, NONE)];
    let entries = entries.iter().flat_map(|(tag, permissions, id)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    2_u32.to_le_bytes().into_iter().chain(entries).collect()
}

/// A mailbox with attributes on a message, a kept file and a folder; `None` where there are none.
fn furnish(env: &Env) -> Option<[(&'static str, &'static str, Vec<u8>); 5]> {
    let alice = env.store().mailbox(ALICE);
    alice.fill("", 2, 1).fill(".Sent", 1, 2).message("subscriptions", b"Sent\n");
    let wanted = [
        ("cur/1600000000.M1P0.host:2,S", "user.label", b"two\0\xff".to_vec()),
        ("cur/1600000000.M1P0.host:2,S", "system.posix_acl_access", acl()),
        ("subscriptions", "user.by", b"dovecot".to_vec()),
        (".Sent", "user.folder", b"".to_vec()),
        (".Sent", "system.posix_acl_default", acl()),
    ];
    let is_set = wanted.iter().all(|(path, name, value)| set(&alice.path(path), name, value));
    is_set.then_some(wanted)
}

#[test]
fn attributes_and_acls_come_back() {
    let env = Env::encrypted();
    let Some(wanted) = furnish(&env) else { return };
    env.backup(&[]).expect(0);
    let check = |root: &Path| {
        for (path, name, value) in &wanted {
            assert_eq!(get(&root.join(path), name).as_ref(), Some(value), "{path} {name}");
        }
        let message = root.join("cur/1600000000.M1P0.host:2,S");
        assert_eq!(message.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        let sent = root.join(".Sent");
        assert_eq!(get(&sent.join("cur"), "system.posix_acl_default"), Some(acl()));
        assert_eq!(get(&sent.join("cur"), "user.folder"), None);
        assert_eq!(get(&root.join("new/1600000001.M1P1.host"), "user.label"), None);
    };
    let output = env.restore("latest", "to").expect(0);
    assert!(!output.stdout.contains("extended attributes"), "{output}");
    check(&env.path("to").join(ALICE));

    // Into a live mailbox: what is added has them, what is there keeps its own.
    let alice = env.store().mailbox(ALICE);
    alice.remove("cur/1600000000.M1P0.host:2,S");
    std::fs::remove_dir_all(alice.path(".Sent")).unwrap();
    set(&alice.path("subscriptions"), "user.by", b"me");
    let store = env.path("store");
    env.run(&["restore", env.repo(), "latest", "--in-place", text(&store)]).expect(0);
    assert_eq!(get(&alice.path("subscriptions"), "user.by"), Some(b"me".to_vec()));
    set(&alice.path("subscriptions"), "user.by", b"dovecot");
    check(&alice.path(""));
}

/// Ramfs, which takes no attributes. Needs root.
struct Ramfs<'p>(&'p Path);

impl<'p> Ramfs<'p> {
    fn mount(at: &'p Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mount = Command::new("mount").args(["-t", "ramfs", "mailrig-test"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Ramfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// The twin: where they cannot be set all else comes back, and a sentence says how many lack them.
#[test]
fn a_target_without_attributes_is_told_once() {
    let env = Env::encrypted();
    let Some(_) = furnish(&env) else { return };
    env.backup(&[]).expect(0);
    let path = env.path("ramfs");
    let Some(ramfs) = Ramfs::mount(&path) else { return };
    let to = ramfs.0.join("to");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--json"];
    let report = env.run(&restore).expect(0).json();
    let note = "extended attributes or ACLs of 6 files and folders could not be set at the target";
    assert_eq!((&report["notes"], &report["messages"]), (&json!([note]), &json!(3)));
}
