//! What Courier keeps beside the mail: its lists of UIDs and keywords come back as they were, and a list
//! that is to be served says the same with a next UID that no client saw.

use std::fs;
use std::path::Path;

use maildir::Uidlist;

use crate::env::{Env, is_raised, text};
use crate::in_place::{in_place, messages};
use crate::store::Mailbox;
use crate::tree::Tree;

const ALICE: &str = "example.org/alice/Maildir";

/// As Courier 1.3 writes them: base names with their UIDs, keywords by base name.
fn furnish(env: &Env) -> Mailbox {
    let alice = env.store().mailbox(ALICE);
    alice.fill("", 4, 1).fill(".Sent", 3, 2).message(".Sent/maildirfolder", b"");
    let uids = "1 1500000000 31\n4 1600000000.M1P0.host\n7 1600000001.M1P1.host\n\
                8 1600000002.M1P2.host\n30 1600000003.M1P3.host\n";
    alice.message("courierimapuiddb", uids.as_bytes());
    let uids = "1 1500000001 9\n1 1600000000.M2P0.host\n2 1600000001.M2P1.host\n";
    alice.message(".Sent/courierimapuiddb", uids.as_bytes());
    fs::create_dir(alice.path("courierimapkeywords")).unwrap();
    let keywords = "$Forwarded\ntodo\n\n1600000000.M1P0.host:0 1\n";
    alice.message("courierimapkeywords/:list", keywords.as_bytes());
    alice.message("courierimapkeywords/1600000001.M1P1.host", b"todo\n");
    alice.message("courierimapsubscribed", b"INBOX\nINBOX.Sent\n");
    alice.message("courierimapacl", b"owner aceilrstwx\n");
    alice
}

/// UIDVALIDITY, the next UID, and each base name with its UID.
fn uids(folder: &Path) -> (u32, u32, Vec<(u32, Vec<u8>)>) {
    let list = fs::read(folder.join("courierimapuiddb")).unwrap();
    assert!(list.starts_with(b"1 "), "not as Courier has it");
    let list = Uidlist::parse(&list).unwrap();
    let records = list.records.iter().map(|record| (record.uid, record.base().to_vec()));
    (list.uid_validity, list.next_uid, records.collect())
}

#[test]
fn couriers_lists_come_back() {
    let env = Env::encrypted();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let stored = Tree::read(&env.path("store"));
    env.restore("latest", "exact").expect(0);
    stored.assert_restored(&env.path("exact"));

    let to = env.path("to");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--json"];
    let report = env.run(&restore).expect(0).json();
    assert_eq!((&report["mailboxes"][0]["uids_kept"]), &6);
    let lists = "courierimapuiddb";
    let others = stored.without(lists).differences(&Tree::read(&to).without(lists));
    assert_eq!(others, [""; 0]);
    for folder in ["", ".Sent"] {
        let (validity, next, records) = uids(&alice.path(folder));
        let restored = uids(&to.join(ALICE).join(folder));
        assert!(is_raised(next, restored.1));
        assert_eq!((restored.0, restored.2), (validity, records));
    }
}

#[test]
fn a_folder_that_courier_serves_gets_what_it_lacks() {
    let env = Env::encrypted();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let before = uids(&alice.path(".Sent"));
    alice.remove("cur/1600000002.M1P2.host:2,S");
    fs::remove_dir_all(alice.path(".Sent")).unwrap();
    let list = fs::read(alice.path("courierimapuiddb")).unwrap();
    in_place(&env, &[]).expect(0);
    assert_eq!(messages(&alice.path("")).len(), 4);
    // Courier gives what it does not know a UID of its own; what it gave stays.
    assert_eq!(fs::read(alice.path("courierimapuiddb")).unwrap(), list);
    let (validity, next, records) = before;
    let restored = uids(&alice.path(".Sent"));
    assert!(is_raised(next, restored.1));
    assert_eq!((restored.0, restored.2), (validity, records));
}
