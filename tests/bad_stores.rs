//! Stores that are not as they should be: each ends in a clear sentence and the right exit code,
//! keeps what was in earlier snapshots, and hangs nothing.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;

use crate::env::{Env, text};
use crate::store::{Mailbox, letter, set_mode};
use crate::tree::Tree;

const ALICE: &str = "example.org/alice/Maildir";

fn alice(env: &Env) -> Mailbox {
    env.store().mailbox(ALICE)
}

/// The incidents of a run: kind, path, reason.
fn incidents(report: &Value) -> Vec<(String, String, String)> {
    let word = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = report["incidents"].as_array().unwrap().iter();
    let mut incidents: Vec<_> = entries
        .map(|entry| (word(entry, "incident"), word(entry, "path"), word(entry, "reason")))
        .collect();
    incidents.sort();
    incidents
}

fn incident(kind: &str, path: &str, reason: &str) -> (String, String, String) {
    (kind.into(), format!("{ALICE}/{path}"), reason.into())
}

#[test]
fn a_store_without_a_mailbox_is_refused_and_older_snapshots_stay() {
    let env = Env::encrypted();
    let store = env.path("store").canonicalize().unwrap();
    let sentence =
        format!("no mailbox found in {}: no folder there has `cur` and `new`", store.display());
    let hint = "is the file system mounted, and is this the right folder?";
    env.backup(&[]).expect_error(1, &sentence, hint);
    fs::create_dir_all(store.join("alice/cur")).unwrap();
    fs::write(store.join("alice/notes"), "From x\n").unwrap();
    env.backup(&[]).expect_error(1, &sentence, hint);

    alice(&env).fill("", 3, 1);
    env.backup(&[]).expect(0);
    fs::rename(&store, env.path("unmounted")).unwrap();
    fs::create_dir(&store).unwrap();
    env.backup(&[]).expect_error(1, &sentence, hint);
    env.restore("latest", "to").expect(0);
    assert_eq!(Tree::read(&env.path("to")).files(), 3);
    fs::remove_dir(&store).unwrap();
    let sentence =
        format!("opening the store {}: No such file or directory (os error 2)", store.display());
    env.backup(&[]).expect_error(1, &sentence, "");
}

#[test]
fn a_mailbox_without_messages_is_backed_up() {
    let env = Env::encrypted();
    alice(&env);
    env.backup(&[]).expect(0);
    env.restore("latest", "to").expect(0);
    Tree::read(&env.path("store")).assert_restored(&env.path("to"));
}

#[test]
fn names_of_any_bytes_come_back() {
    let env = Env::encrypted();
    let long = [b"cur/1600000000.".as_slice(), &[b'x'; 240], b":2,S"].concat();
    let long = [&long[..4 + 251], b":2,S"].concat();
    assert_eq!(long.len() - 4, 255);
    let names: [&[u8]; 9] = [
        b"cur/1600000001.\xff\xfe\x80.host:2,S",
        b"cur/1600000002.line\nbreak\r.host:2,",
        b"cur/1600000003.back\\slash%2F%\"quote\".host",
        b"new/1600000004.\xc3\xbcmlaut",
        b"cur/-rf",
        b"cur/:2,S",
        b"cur/no time and no colon",
        b"\xfffolder\n/cur/1600000005.a:2,S",
        &long,
    ];
    for (number, name) in (0..).zip(names) {
        alice(&env).message(OsString::from_vec(name.to_vec()), &letter(number));
    }
    let odd = OsString::from_vec(b"store/caf\xe9/Maildir".to_vec());
    let odd = env.path("store").parent().unwrap().join(odd);
    fs::create_dir_all(odd.join("cur")).unwrap();
    fs::create_dir_all(odd.join("new")).unwrap();
    fs::create_dir_all(odd.join("tmp")).unwrap();
    fs::write(odd.join("cur/1.a:2,"), "x").unwrap();
    for (dir, mode) in [("", 0o700), ("cur", 0o700), ("new", 0o700), ("tmp", 0o700), ("..", 0o755)]
    {
        set_mode(&odd.join(dir), mode);
    }
    let before = Tree::read(&env.path("store"));
    let report = env.backup(&["--json"]).expect(0).json();
    assert_eq!(report["totals"]["messages"], 10);
    // Once more with the names known.
    let report = env.backup(&["--json", "--full"]).expect(0).json();
    assert_eq!(report["totals"]["messages"], 10);
    env.restore("latest", "to").expect(0);
    before.assert_restored(&env.path("to"));
    let ls = ["ls", env.repo(), "latest", "--mailbox", "alice@example.org", "--folder", "INBOX"];
    let output = env.run(&ls).expect(0);
    assert_eq!(output.stdout.lines().count(), 10, "a name broke a line: {output}");
}

/// Nothing of it is mail, so no night is incomplete for it, and nothing passes in silence.
#[test]
fn what_no_server_shows_is_named_and_left_out() {
    let env = Env::encrypted();
    let mailbox = alice(&env);
    mailbox.fill("", 4, 1).message("cur/1700000000.empty:2,", b"");
    let before = Tree::read(&env.path("store"));
    symlink("/nowhere", mailbox.path("cur/1.broken:2,S")).unwrap();
    symlink("/etc", mailbox.path("cur/1.etc:2,S")).unwrap();
    fs::create_dir(mailbox.path("cur/1.folder:2,S")).unwrap();
    fs::write(mailbox.path("new/.1.hidden"), "x").unwrap();
    fs::write(mailbox.path("cur/.nfs000001"), "x").unwrap();
    for name in ["cur/1.fifo:2,S", "new/2.fifo", "dovecot-uidlist"] {
        rustix::fs::mknodat(CWD, mailbox.path(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
    }
    let _socket = UnixListener::bind(mailbox.path("cur/1.socket")).unwrap();
    for more in [&["--json"][..], &["--json", "--full"], &["--json", "--rehash"]] {
        let report = env.backup(more).expect(0).json();
        let dot = "mail servers pass over names that begin with a dot";
        let expected = [
            incident("not_a_message", "cur/1.broken:2,S", "a symbolic link"),
            incident("not_a_message", "cur/1.etc:2,S", "a symbolic link"),
            incident("not_a_message", "cur/1.fifo:2,S", "a FIFO"),
            incident("not_a_message", "cur/1.folder:2,S", "a folder"),
            incident("not_a_message", "cur/1.socket", "a socket"),
            incident("not_a_message", "dovecot-uidlist", "neither a file, a folder nor a link"),
            incident("not_a_message", "new/.1.hidden", dot),
            incident("not_a_message", "new/2.fifo", "a FIFO"),
        ];
        assert_eq!(incidents(&report), expected);
        assert_eq!(report["ledger"]["not_messages"], 8);
        assert_eq!(report["totals"]["messages"], 5);
    }
    let output = env.backup(&[]).expect(0);
    let fifo = "cur/1.fifo:2,S: not a message, left out (a FIFO)\n";
    assert!(output.stdout.contains(&format!("ledger     {ALICE}/{fifo}")), "{output}");
    assert!(output.stdout.contains("left out   8 among the messages"), "{output}");
    env.restore("latest", "to").expect(0);
    before.assert_restored(&env.path("to"));
}

/// Dovecot would open it; a backup that runs as root must not, for it could lead to any file.
#[test]
fn a_link_to_a_file_among_messages_is_not_followed_and_what_it_replaced_is_kept() {
    let env = Env::encrypted();
    let mailbox = alice(&env);
    mailbox.fill("", 4, 1);
    let before = Tree::read(&env.path("store"));
    env.backup(&[]).expect(0);
    let moved = mailbox.path("cur/1600000000.M1P0.host:2,S");
    fs::rename(&moved, env.path("away")).unwrap();
    symlink(env.path("away"), &moved).unwrap();
    let other = mailbox.path("cur/1.link:2,S");
    symlink("/etc/passwd", &other).unwrap();
    let reason = "a symbolic link; put the message itself in its place";
    let both = ["cur/1.link:2,S", "cur/1600000000.M1P0.host:2,S"];
    for _ in 0..2 {
        let report = env.backup(&["--json"]).expect(3).json();
        assert_eq!(incidents(&report), both.map(|path| incident("not_followed", path, reason)));
        assert_eq!(report["totals"]["messages"], 4);
    }
    env.restore("latest", "to").expect(0);
    before.assert_restored(&env.path("to"));
    // Where it leads does not matter to what was known.
    fs::remove_file(env.path("away")).unwrap();
    fs::remove_file(&other).unwrap();
    let report = env.backup(&["--json"]).expect(3).json();
    assert_eq!(incidents(&report), [incident("not_followed", both[1], reason)]);
    fs::remove_file(&moved).unwrap();
    assert_eq!(env.backup(&["--json"]).expect(0).json()["totals"]["messages"], 3);
}

#[test]
fn links_out_of_the_store_are_kept_and_not_followed() {
    let env = Env::encrypted();
    let elsewhere = env.path("elsewhere");
    crate::store::Store::at(&elsewhere).mailbox("shared").fill("", 3, 9);
    let mailbox = alice(&env);
    mailbox.fill("", 2, 1);
    symlink(elsewhere.join("shared"), mailbox.path(".Shared")).unwrap();
    symlink("sieve/none.sieve", mailbox.path(".dovecot.sieve")).unwrap();
    let before = Tree::read(&env.path("store"));
    symlink(elsewhere.join("shared"), env.path("store/example.org/eve")).unwrap();
    // Links that stay inside the store, or lead to no mail, are nobody's loss.
    symlink("alice", env.path("store/example.org/alias")).unwrap();
    symlink(env.path("to"), env.path("store/example.org/nothing")).unwrap();
    let report = env.backup(&["--json"]).expect(3).json();
    assert_eq!(report["totals"]["messages"], 2);
    let reason = format!(
        "a link out of the store, to {}: mount that here (`mount --bind`), move it into the store, or \
         back it up as a store of its own",
        elsewhere.join("shared").display()
    );
    let eve = ("not_followed".to_owned(), "example.org/eve".to_owned(), reason.clone());
    assert_eq!(incidents(&report), [incident("not_followed", ".Shared", &reason), eve]);
    env.restore("latest", "to").expect(0);
    before.assert_restored(&env.path("to"));
    assert_eq!(Tree::read(&elsewhere).files(), 3);
}

#[test]
fn an_unreadable_message_is_named_and_the_rest_is_backed_up() {
    let env = Env::encrypted();
    let mailbox = alice(&env);
    mailbox.fill("", 4, 1).fill(".Sent", 4, 2);
    let before = Tree::read(&env.path("store"));
    mailbox.message("cur/1800000000.locked:2,S", b"x");
    set_mode(&mailbox.path("cur/1800000000.locked:2,S"), 0);
    let store = env.path("store");
    let backup = ["backup", env.repo(), text(&store), "--json"];
    let report = env.start_unprivileged(&backup).wait().expect(3).json();
    let reason = "Permission denied (os error 13)";
    let expected = [incident("unreadable", "cur/1800000000.locked:2,S", reason)];
    assert_eq!(incidents(&report), expected);
    env.restore("latest", "to").expect(0);
    assert_eq!(Tree::read(&env.path("to")).files(), before.files());

    set_mode(&mailbox.path("cur/1800000000.locked:2,S"), 0o600);
    let report = env.start_unprivileged(&backup).wait().expect(0).json();
    assert_eq!(report["totals"]["messages"], 9);
}

/// A folder that can be neither listed nor entered, one that can be listed and not entered, on
/// every level from the domain down.
#[test]
fn what_became_unreadable_keeps_what_it_had() {
    let both = ["..", ".", ".Sent"].into_iter().flat_map(|part| [(part, 0), (part, 0o444)]);
    for (part, mode) in both.chain([(".Sent/cur", 0), (".Sent/new", 0)]) {
        let env = Env::encrypted();
        let mailbox = alice(&env);
        mailbox.fill("", 4, 1).fill(".Sent", 4, 2);
        env.store().mailbox("example.org/bob/Maildir").fill("", 2, 3);
        let store = env.path("store");
        let backup = ["backup", env.repo(), text(&store), "--json"];
        env.start_unprivileged(&backup).wait().expect(0);
        let before = Tree::read(&store);
        set_mode(&mailbox.path(part), mode);
        let output = env.start_unprivileged(&backup).wait();
        let again = env.start_unprivileged(&backup).wait();
        set_mode(&mailbox.path(part), 0o700);
        for report in [output.expect(3).json(), again.expect(3).json()] {
            let incidents = incidents(&report);
            assert!(!incidents.is_empty());
            for (kind, path, reason) in incidents {
                assert_eq!(kind, "unreadable");
                assert_eq!(reason, "Permission denied (os error 13)");
                assert!(path.starts_with("example.org/alice"), "{path}");
            }
            assert_eq!(report["totals"]["messages"], 10, "`{part}` with mode {mode:o}: {report}");
            let to = format!("to-{}", report["snapshot"].as_str().unwrap());
            env.restore(report["snapshot"].as_str().unwrap(), &to).expect(0);
            let differences = before.differences(&Tree::read(&env.path(&to)));
            let lost: Vec<_> =
                differences.iter().filter(|line| !line.contains(" is a folder with")).collect();
            assert!(lost.is_empty(), "`{part}` with mode {mode:o}: {lost:#?}");
        }
        let report = env.start_unprivileged(&backup).wait().expect(0).json();
        assert_eq!(report["totals"]["messages"], 10);
    }
}
