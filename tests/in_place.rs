//! Restores into live mailboxes: exactly what is missing comes back, once, with its flags, under
//! names and UIDs that no server stumbles over; a second run adds nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use maildir::Uidlist;

use crate::env::{Env, is_raised, text, wait_until};
use crate::process::Output;
use crate::store::{Mailbox, letter, set_mode};
use crate::tree::Tree;

const ALICE: &str = "example.org/alice/Maildir";

/// `restore latest --in-place` the store.
pub(crate) fn in_place(env: &Env, more: &[&str]) -> Output {
    let store = env.path("store").display().to_string();
    env.run(&[&["restore", env.repo(), "latest", "--in-place", &store, "--json"], more].concat())
}

/// A mailbox as Dovecot keeps it: four messages in INBOX with UIDs and keywords, two in `.Sent`.
pub(crate) fn furnish(env: &Env) -> Mailbox {
    let alice = env.store().mailbox(ALICE);
    alice
        .message("cur/1600000001.M1P1.host,S=99,W=101:2,S", &letter(1))
        .message("cur/1600000002.M2P1.host:2,FSab", &letter(2))
        .message("new/1600000003.M3P1.host", &letter(3))
        .message("cur/1600000004.M4P1.host:2,", &letter(4))
        .message("dovecot-keywords", b"0 $Forwarded\n1 todo\n")
        .message(
            "dovecot-uidlist",
            b"3 V1500000000 N9 G3085f01b7f11094c501100008c4a11c1\n\
              1 W101 :1600000001.M1P1.host,S=99,W=101\n4 :1600000002.M2P1.host\n\
              6 :1600000003.M3P1.host\n8 :1600000004.M4P1.host\n",
        )
        .message("subscriptions", b"Sent\n")
        .folder(".Sent")
        .message(".Sent/maildirfolder", b"")
        .message(".Sent/cur/1600000005.M5P1.host:2,RS", &letter(5))
        .message(".Sent/cur/1600000006.M6P1.host:2,S", &letter(6))
        .message(
            ".Sent/dovecot-uidlist",
            b"3 V1500000001 N3 G3085f01b7f11094c501100008c4a11c2\n\
              1 :1600000005.M5P1.host\n2 :1600000006.M6P1.host\n",
        );
    alice
}

/// Base name to (subdir, flags) of a folder; each base name once.
pub(crate) fn messages(folder: &Path) -> BTreeMap<String, (&'static str, String)> {
    let mut messages = BTreeMap::new();
    for subdir in ["new", "cur"] {
        for entry in fs::read_dir(folder.join(subdir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let (base, flags) = name.split_once(":2,").unwrap_or((&name, ""));
            let before = messages.insert(base.to_owned(), (subdir, flags.to_owned()));
            assert_eq!(before, None, "{base} is there twice");
        }
    }
    messages
}

fn content(folder: &Path, base: &str) -> Vec<u8> {
    let name = |(subdir, flags): &(&str, String)| match (*subdir, flags.as_str()) {
        ("new", _) => format!("new/{base}"),
        (_, flags) => format!("cur/{base}:2,{flags}"),
    };
    fs::read(folder.join(name(&messages(folder)[base]))).unwrap()
}

#[test]
fn what_is_missing_comes_back_once_and_nothing_else_changes() {
    let env = Env::encrypted();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let whole = Tree::read(&env.path("store"));
    // Read, re-flagged, lost by accident, and new since.
    alice
        .rename("new/1600000003.M3P1.host", "cur/1600000003.M3P1.host:2,S")
        .rename("cur/1600000004.M4P1.host:2,", "cur/1600000004.M4P1.host:2,FT")
        .remove("cur/1600000002.M2P1.host:2,FSab")
        .remove(".Sent/cur/1600000005.M5P1.host:2,RS")
        .message("new/1700000000.M9P1.host", &letter(9))
        .message("dovecot-keywords", b"0 TODO\n1 junk\n")
        // The server has noticed what is gone, and forgotten it.
        .message("dovecot-uidlist", b"3 V1500000000 N9\n1 :1600000001.M1P1.host,S=99,W=101\n")
        .message(".Sent/dovecot-uidlist", b"3 V1500000001 N3\n2 :1600000006.M6P1.host\n");
    alice.message("maildirsize", b"1000S\n");
    let before = Tree::read(&env.path("store"));

    let dry = in_place(&env, &["--dry-run"]).expect(0).json();
    assert_eq!(Tree::read(&env.path("store")).differences(&before), [""; 0]);
    let report = in_place(&env, &[]).expect(0).json();
    for report in [&dry, &report] {
        assert_eq!((&report["messages"], &report["there"]), (&2.into(), &4.into()), "{report}");
    }
    let inbox = messages(&alice.path(""));
    let expected = [
        ("1600000001.M1P1.host,S=99,W=101", "cur", "S"),
        // `$Forwarded` got the next free letter, `todo` has the first one here.
        ("1600000002.M2P1.host", "cur", "FSac"),
        ("1600000003.M3P1.host", "cur", "S"),
        ("1600000004.M4P1.host", "cur", "FT"),
        ("1700000000.M9P1.host", "new", ""),
    ];
    let expected = expected.map(|(base, subdir, flags)| (base.to_owned(), (subdir, flags.into())));
    assert_eq!(inbox, BTreeMap::from(expected));
    assert_eq!(content(&alice.path(""), "1600000002.M2P1.host"), letter(2));
    let keywords = fs::read_to_string(alice.path("dovecot-keywords")).unwrap();
    assert_eq!(keywords, "0 TODO\n1 junk\n2 $Forwarded\n");
    assert!(!alice.path("maildirsize").exists());
    let notes = report["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{report}");
    assert!(notes[0].as_str().unwrap().contains("doveadm quota recalc -u '"), "{report}");
    assert!(!alice.path("tmp/mailrig-restore").exists());
    // Apart from these all is as it was.
    let after = Tree::read(&env.path("store"));
    let changed = before.differences(&after);
    let is_expected = |line: &String| {
        ["2.M2P1", "5.M5P1", "keywords", "maildirsize"].iter().any(|part| line.contains(part))
    };
    assert!(changed.iter().all(is_expected) && changed.len() == 4, "{changed:#?}");
    let sent = |tree: &Tree| {
        tree.0.get(Path::new(ALICE).join(".Sent/cur/1600000005.M5P1.host:2,RS").as_path()).cloned()
    };
    assert_eq!(sent(&after), sent(&whole), "time, mode and owner are the snapshot's");

    let again = in_place(&env, &[]).expect(0).json();
    assert_eq!((&again["messages"], &again["there"]), (&0.into(), &6.into()));
    assert_eq!(Tree::read(&env.path("store")).differences(&after), [""; 0]);
}

#[test]
fn what_the_server_knows_as_expunged_comes_back_under_another_name() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    // The list still has both, so the server would see messages that it gave up reappear.
    alice.remove("cur/1600000001.M1P1.host,S=99,W=101:2,S").remove("new/1600000003.M3P1.host");
    for round in 0..3 {
        let report = in_place(&env, &[]).expect(0).json();
        let renamed = report["mailboxes"][0]["renamed"].as_u64().unwrap();
        assert_eq!((report["messages"].as_u64(), renamed), (Some(2), 2), "{report}");
        let names: Vec<String> = messages(&alice.path("")).into_keys().collect();
        assert_eq!(names.len(), 4);
        let one = names.iter().find(|name| name.starts_with("1600000001.R")).unwrap();
        assert!(one.ends_with(&format!("Q{round}.mailrig,S=99,W=101")), "{one}");
        assert_eq!(messages(&alice.path(""))[one], ("cur", "S".into()));
        assert_eq!(content(&alice.path(""), one), letter(1));
        assert_eq!(in_place(&env, &[]).expect(0).json()["messages"], 0);
        // Also when the server has forgotten the old name, or all names, nothing is doubled.
        let list = fs::read(alice.path("dovecot-uidlist")).unwrap();
        fs::remove_file(alice.path("dovecot-uidlist")).unwrap();
        assert_eq!(in_place(&env, &[]).expect(0).json()["messages"], 0);
        // The user deletes them again; the server notices.
        let mut list = String::from_utf8(list).unwrap();
        for name in names.iter().filter(|name| name.contains(".mailrig")) {
            let (subdir, flags) = messages(&alice.path(""))[name].clone();
            let end = if subdir == "new" { String::new() } else { format!(":2,{flags}") };
            alice.remove(&format!("{subdir}/{name}{end}"));
            list.push_str(&format!("{} :{name}\n", 100 + list.lines().count()));
        }
        alice.message("dovecot-uidlist", list.as_bytes());
    }
}

#[test]
fn names_that_prove_nothing_are_compared_by_size_and_time() {
    let env = Env::plain();
    let alice = env.store().mailbox(ALICE);
    alice.message("new/msg.a", b"first").message("cur/msg.b:2,S", b"second");
    alice.message("new/1.x", b"one").message("cur/1.x:2,S", b"another one");
    env.backup(&[]).expect(0);
    alice.message("new/msg.a", b"other content").remove("cur/1.x:2,S");
    let report = in_place(&env, &[]).expect(0).json();
    assert_eq!((&report["messages"], &report["there"]), (&2.into(), &2.into()), "{report}");
    assert_eq!(report["mailboxes"][0]["renamed"], 2);
    let inbox = messages(&alice.path(""));
    assert_eq!(inbox.len(), 5, "{inbox:?}");
    let mut contents: Vec<_> = inbox.keys().map(|base| content(&alice.path(""), base)).collect();
    contents.sort_unstable();
    let expected: [&[u8]; 5] = [b"another one", b"first", b"one", b"other content", b"second"];
    assert_eq!(contents, expected);
    assert_eq!(in_place(&env, &[]).expect(0).json()["messages"], 0);
}

#[test]
fn mailboxes_and_folders_that_are_gone_come_back_whole_with_their_uids() {
    let env = Env::encrypted();
    let alice = furnish(&env);
    env.store().mailbox("example.org/bob").fill("", 5, 2);
    env.backup(&[]).expect(0);
    let whole = Tree::read(&env.path("store"));
    fs::remove_dir_all(alice.path(".Sent")).unwrap();
    fs::remove_dir_all(env.path("store/example.org/bob")).unwrap();
    alice.message("dovecot.list.index.log", b"x");
    in_place(&env, &[]).expect(0);
    let after = Tree::read(&env.path("store"));
    let changed = whole.differences(&after);
    assert!(matches!(&changed[..], [line] if line.contains("uidlist is ")), "{changed:#?}");
    let list = fs::read_to_string(alice.path(".Sent/dovecot-uidlist")).unwrap();
    let head = Uidlist::parse(list.as_bytes()).unwrap();
    assert!(head.uid_validity == 1_500_000_001 && is_raised(3, head.next_uid), "{list}");
    let rest =
        " G3085f01b7f11094c501100008c4a11c2\n1 :1600000005.M5P1.host\n2 :1600000006.M6P1.host\n";
    assert!(list.ends_with(rest), "{list}");
    assert!(!alice.path("dovecot.list.index.log").exists());

    // A folder that is there, and that nobody uses, is filled in the same way.
    fs::remove_dir_all(alice.path(".Sent")).unwrap();
    alice.folder(".Sent");
    in_place(&env, &["--uids", "new"]).expect(0);
    let list = fs::read_to_string(alice.path(".Sent/dovecot-uidlist")).unwrap();
    let validity: u32 = list[3..].split(' ').next().unwrap().parse().unwrap();
    assert!(validity > 1_700_000_000, "{list}");
    assert_eq!(messages(&alice.path(".Sent")).len(), 2);
}

#[test]
fn uids_can_be_kept_in_a_folder_that_is_in_use() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    alice
        .remove("cur/1600000001.M1P1.host,S=99,W=101:2,S")
        .remove("cur/1600000002.M2P1.host:2,FSab")
        .message("cur/1700000000.M9P1.host:2,S", &letter(9))
        .message("cur/1700000001.M9P1.host:2,S", &letter(10))
        .message("dovecot.index", b"x")
        .message("dovecot.index.log", b"x")
        .message(
            "dovecot-uidlist",
            b"3 V1500000000 N40 G3085f01b7f11094c501100008c4a11c1\n4 :1700000001.M9P1.host\n\
              6 :1600000003.M3P1.host\n8 :1600000004.M4P1.host\n\
              30 :1700000000.M9P1.host\n39 :1700000002.gone\n",
        );
    let report = in_place(&env, &["--uids", "keep"]).expect(0).json();
    let notes = report["notes"].to_string();
    assert!(notes.contains("doveadm force-resync -u '"), "{report}");
    assert_eq!((&report["messages"], &report["there"]), (&2.into(), &4.into()), "{report}");
    let row = &report["mailboxes"][0];
    assert_eq!((&row["renamed"], &row["uids_unusable"]), (&0.into(), &1.into()), "{row}");
    let list = fs::read_to_string(alice.path("dovecot-uidlist")).unwrap();
    let (head, records) = list.split_once('\n').unwrap();
    assert!(head.ends_with(" G3085f01b7f11094c501100008c4a11c1"), "{list}");
    let head = Uidlist::parse(list.as_bytes()).unwrap();
    assert!(head.uid_validity == 1_500_000_000 && is_raised(40, head.next_uid), "{list}");
    let expected = "1 W101 :1600000001.M1P1.host,S=99,W=101\n4 :1700000001.M9P1.host\n\
         6 :1600000003.M3P1.host\n8 :1600000004.M4P1.host\n30 :1700000000.M9P1.host\n";
    assert_eq!(records, expected);
    assert!(!alice.path("dovecot.index").exists() && !alice.path("dovecot.index.log").exists());
    assert!(!alice.path("dovecot-uidlist.lock").exists());
}

#[test]
fn flags_are_left_rolled_back_or_set_to_read() {
    let table: [(&[&str], [&str; 3]); 3] = [
        (&[], ["cur FRS", "cur FSab", "new "]),
        (&["--flags", "snapshot"], ["cur S", "cur FSab", "new "]),
        (&["--flags", "seen"], ["cur FRS", "cur FSab", "cur S"]),
    ];
    for (more, expected) in table {
        let env = Env::plain();
        let alice = furnish(&env);
        env.backup(&[]).expect(0);
        // One was read and flagged since the backup, two are gone.
        alice
            .rename(
                "cur/1600000001.M1P1.host,S=99,W=101:2,S",
                "cur/1600000001.M1P1.host,S=99,W=101:2,FRS",
            )
            .rename("cur/1600000004.M4P1.host:2,", "cur/1600000004.M4P1.host:2,S")
            .remove("cur/1600000002.M2P1.host:2,FSab")
            .remove("new/1600000003.M3P1.host")
            .message("dovecot-uidlist", b"3 V1500000000 N9\n");
        in_place(&env, more).expect(0);
        let inbox = messages(&alice.path(""));
        let flags = |start: &str| {
            let (_, (subdir, flags)) =
                inbox.iter().find(|(base, _)| base.starts_with(start)).unwrap();
            format!("{subdir} {flags}")
        };
        assert_eq!(["1600000001", "1600000002", "1600000003"].map(flags), expected, "{more:?}");
        assert_eq!(flags("1600000004"), "cur S", "what was read became unread with {more:?}");
        assert_eq!(inbox.len(), 4);
    }
}

#[test]
fn a_link_below_the_store_is_not_followed() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.store().mailbox("example.org/bob").fill("", 3, 2);
    env.backup(&[]).expect(0);
    let elsewhere = env.path("elsewhere");
    fs::rename(alice.path(".Sent"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, alice.path(".Sent")).unwrap();
    fs::remove_file(elsewhere.join("cur/1600000005.M5P1.host:2,RS")).unwrap();
    alice.remove("new/1600000003.M3P1.host");
    let before = Tree::read(&elsewhere);
    let report = in_place(&env, &[]).expect(3).json();
    assert_eq!(report["messages"], 1, "the rest is restored: {report}");
    assert_eq!(report["problems"][0]["messages"], 2);
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    assert!(reason.ends_with("`.Sent` is a link, and links are not followed"), "{reason}");
    assert_eq!(Tree::read(&elsewhere).differences(&before), [""; 0]);

    fs::rename(env.path("store/example.org"), env.path("moved")).unwrap();
    std::os::unix::fs::symlink(env.path("moved"), env.path("store/example.org")).unwrap();
    let report = in_place(&env, &[]).expect(3).json();
    assert_eq!((&report["messages"], report["problems"].as_array().unwrap().len()), (&0.into(), 2));
    // The store itself is the administrator's word.
    std::os::unix::fs::symlink(env.path("moved"), env.path("link")).unwrap();
    fs::create_dir(env.path("other")).unwrap();
    std::os::unix::fs::symlink(env.path("other"), env.path("other-link")).unwrap();
    let to = env.path("other-link");
    env.run(&["restore", env.repo(), "latest", "--in-place", text(&to)]).expect(0);
    assert_eq!(messages(&env.path("other").join(ALICE)).len(), 4);
}

#[test]
fn a_link_in_place_of_cur_is_named_and_not_followed() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let elsewhere = env.path("elsewhere");
    fs::rename(alice.path("cur"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, alice.path("cur")).unwrap();
    fs::remove_file(elsewhere.join("1600000001.M1P1.host,S=99,W=101:2,S")).unwrap();
    alice.remove(".Sent/cur/1600000006.M6P1.host:2,S");
    let before = Tree::read(&elsewhere);
    let report = in_place(&env, &[]).expect(3).json();
    assert_eq!(report["messages"], 1, "the other folder is restored: {report}");
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    let inbox = env.path("store").join(ALICE).display().to_string();
    assert_eq!(reason, format!("{inbox}: `cur` is a link, and links are not followed"));
    assert_eq!(Tree::read(&elsewhere).differences(&before), [""; 0]);
}

#[test]
fn damage_to_a_pack_costs_its_messages_and_a_sound_copy_completes() {
    let env = Env::encrypted();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    alice.message("cur/1700000000.M7P1.host:2,S", &letter(7));
    env.backup(&[]).expect(0);
    let packs = env.keys(".tar.");
    let pack = packs.iter().max_by_key(|key| env.objects()[*key]).unwrap();
    let pack = Path::new(env.repo()).join(pack);
    let hidden = env.path("hidden");
    alice.remove("cur/1700000000.M7P1.host:2,S").remove(".Sent/cur/1600000006.M6P1.host:2,S");
    fs::rename(&pack, &hidden).unwrap();
    let report = in_place(&env, &[]).expect(3).json();
    assert_eq!((&report["messages"], &report["there"]), (&1.into(), &5.into()), "{report}");
    let problem = &report["problems"][0];
    assert_eq!(problem["messages"], 1, "{report}");
    assert!(problem["reason"].as_str().unwrap().contains(".tar."), "{report}");
    fs::rename(&hidden, &pack).unwrap();
    let report = in_place(&env, &[]).expect(0).json();
    assert_eq!((&report["messages"], &report["there"]), (&1.into(), &6.into()), "{report}");
    assert_eq!(messages(&alice.path("")).len() + messages(&alice.path(".Sent")).len(), 7);
}

/// SIGKILL at moments of all kinds: what is there is never doubled, and the next run completes.
#[test]
fn a_restore_that_is_killed_and_run_again_completes_without_doubles() {
    let env = Env::plain();
    let alice = env.store().mailbox(ALICE);
    for (folder, seed) in [("", 1), (".Sent", 2), (".Archive", 3)] {
        alice.fill(folder, 400, seed);
        env.backup(&[]).expect(0);
    }
    let whole = Tree::read(&env.path("store"));
    // INBOX is in use; one folder is empty, one is gone.
    for entry in fs::read_dir(alice.path("cur")).unwrap().take(150) {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::remove_dir_all(alice.path(".Sent")).unwrap();
    alice.folder(".Sent");
    fs::remove_dir_all(alice.path(".Archive")).unwrap();
    let store = env.path("store").display().to_string();
    let mut kills = 0;
    for round in 0..30_u64 {
        let mut run = env.start(&["restore", env.repo(), "latest", "--in-place", &store]);
        let stage = alice.path("tmp/mailrig-restore");
        let staged = || fs::read_dir(&stage).map_or(0, Iterator::count);
        let awaited = (round * 40) as usize;
        wait_until("the moment has come", || {
            run.child.try_wait().unwrap().is_some() || staged() >= awaited
        });
        run.child.kill().unwrap();
        let output = run.wait();
        kills += u32::from(output.code.is_none());
        for folder in ["", ".Sent"] {
            messages(&alice.path(folder));
        }
    }
    assert!(kills > 5, "{kills} kills show nothing");
    in_place(&env, &[]).expect(0);
    assert_eq!(whole.differences(&Tree::read(&env.path("store"))), [""; 0]);
    assert_eq!(in_place(&env, &[]).expect(0).json()["messages"], 0);
}

/// Two at once: the second one leaves the mailbox to the first.
#[test]
fn a_mailbox_is_restored_by_one_at_a_time() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    alice.remove("new/1600000003.M3P1.host");
    let dir = fs::File::open(alice.path("")).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let report = in_place(&env, &[]).expect(3).json();
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    assert!(reason.ends_with("another restore is at work in it"), "{reason}");
    drop(dir);
    in_place(&env, &[]).expect(0);
}

/// `nobody` cannot give files away: all is restored, and one sentence says whose it is.
#[test]
fn without_root_owners_are_a_note_and_a_place_that_cannot_be_written_is_named() {
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    let to = env.path("to");
    fs::create_dir(&to).unwrap();
    let arguments =
        ["restore", env.repo(), "latest", "--to", text(&to), "--owner", "7:8", "--json"];
    let report = env.start_unprivileged(&arguments).wait().expect(0).json();
    assert_eq!(report["messages"], 6, "{report}");
    assert_eq!(report["notes"].as_array().unwrap().len(), 1, "{report}");
    alice.remove("new/1600000003.M3P1.host");
    set_mode(&alice.path("tmp"), 0o500);
    let store = env.path("store").display().to_string();
    let arguments = ["restore", env.repo(), "latest", "--in-place", &store];
    let output = env.start_unprivileged(&arguments).wait().expect(3);
    assert!(output.stdout.contains("alice@example.org: restore to "), "{output}");
    set_mode(&alice.path("tmp"), 0o700);
    env.start_unprivileged(&arguments).wait().expect(0);
    assert_eq!(messages(&alice.path("")).len(), 4);
}

#[test]
fn owners_can_be_given() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let env = Env::plain();
    let alice = furnish(&env);
    env.backup(&[]).expect(0);
    fs::remove_dir_all(alice.path(".Sent")).unwrap();
    let to = env.path("to");
    let owner = ["--owner", "5000:5001"];
    in_place(&env, &owner).expect(0);
    let restore = ["restore", env.repo(), "latest", "--to", text(&to)];
    env.run(&[&restore[..], &owner].concat()).expect(0);
    for root in [alice.path(".Sent"), to.join("example.org")] {
        let mut dirs = vec![root];
        while let Some(dir) = dirs.pop() {
            let meta = dir.symlink_metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (5000, 5001), "{}", dir.display());
            if meta.is_dir() {
                dirs.extend(fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
}
