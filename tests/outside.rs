//! Control, index and Sieve files that lie outside a mailbox: kept with it, restored beside its mail,
//! and noticed when they change or are missing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use maildir::Uidlist;
use serde_json::{Value, json};

use crate::env::{Env, is_raised, text};
use crate::store::set_mode;
use crate::tree::Tree;

/// A store with two mailboxes, of which alice has control, index and Sieve files as Dovecot keeps them.
pub(crate) fn furnish(env: &Env) {
    let control = env.path("control/example.org/alice");
    for folder in [".INBOX", ".Sent"] {
        fs::create_dir_all(control.join(folder)).unwrap();
        fs::write(control.join(folder).join("dovecot-uidlist"), "3 V1 N5 G1\n").unwrap();
        fs::write(control.join(folder).join("dovecot-uidlist.lock"), "").unwrap();
    }
    fs::write(control.join("subscriptions"), "Sent\n").unwrap();
    fs::write(control.join("dovecot-uidvalidity"), "1").unwrap();
    let index = env.path("index/alice@example.org/.INBOX");
    fs::create_dir_all(&index).unwrap();
    for name in ["dovecot.index.cache", "dovecot.index.log", "other"] {
        fs::write(index.join(name), name).unwrap();
    }
    env.store().mailbox("example.org/alice/Maildir").fill("", 3, 1).fill(".Sent", 2, 2);
    env.store().mailbox("example.org/bob/Maildir").fill("", 1, 3);
    let home = env.path("store/example.org/alice");
    fs::create_dir_all(home.join("sieve/tmp")).unwrap();
    fs::write(home.join("sieve/rules.sieve"), "keep;").unwrap();
    symlink("sieve/rules.sieve", home.join(".dovecot.sieve")).unwrap();
}

/// `backup` with the options that fit to [`furnish`].
pub(crate) fn backup(env: &Env, code: i32, more: &[&str]) -> Value {
    let control = format!("{}/%d/%n", env.path("control").display());
    let index = format!("{}/%{{user}}", env.path("index").display());
    let places = ["--control", &control, "--index", &index, "--sieve", "~/sieve"];
    let more = [&places[..], &["--sieve", "~/.dovecot.sieve", "--json"], more].concat();
    env.backup(&more).expect(code).json()
}

#[test]
fn files_outside_a_mailbox_are_kept_with_it_and_restored_beside_its_mail() {
    let env = Env::encrypted();
    furnish(&env);
    let report = backup(&env, 0, &[]);
    let bob = env.path("control/example.org/bob").display().to_string();
    let missing = format!("1 mailbox has no control folder where --control says: {bob}");
    assert_eq!(report["notices"], json!([missing]));
    env.restore("latest", "to").expect(0);
    let restored = env.path("to/example.org/alice/Maildir/mailrig.outside");
    let control = env.path("control/example.org/alice");
    Tree::read(&control).without(".lock").assert_restored(&restored.join("control"));
    let index = Tree::read(&env.path("index/alice@example.org")).without("dovecot.index");
    index.assert_restored(&restored.join("index"));
    let sieve = Tree::read(&env.path("store/example.org/alice/sieve")).without("tmp");
    sieve.assert_restored(&restored.join("sieve"));
    let link = fs::read_link(restored.join("sieve-2")).unwrap();
    assert_eq!(link, Path::new("sieve/rules.sieve"));
    assert!(!env.path("to/example.org/bob/Maildir/mailrig.outside").exists());

    // Nothing changed; then one file, while the folder of mail stands still.
    assert_eq!(backup(&env, 0, &[])["mailboxes"]["changed"], 0);
    fs::write(control.join(".Sent/dovecot-uidlist"), "3 V1 N6 G1\n").unwrap();
    assert_eq!(backup(&env, 0, &[])["mailboxes"]["changed"], 1);
    env.restore("latest", "again").expect(0);
    let uidlist = "again/example.org/alice/Maildir/mailrig.outside/control/.Sent/dovecot-uidlist";
    assert_eq!(fs::read_to_string(env.path(uidlist)).unwrap(), "3 V1 N6 G1\n");
}

/// Lists of UIDs that mean something: for what [`furnish`] makes.
fn lists(env: &Env) {
    let control = env.path("control/example.org/alice");
    let list = "3 V1500000000 N9 G1\n1 :1600000000.M1P0.host\n4 :1600000001.M1P1.host\n6 :1600000002.M1P2.host\n";
    fs::write(control.join(".INBOX/dovecot-uidlist"), list).unwrap();
    fs::remove_file(control.join(".INBOX/dovecot-uidlist.lock")).unwrap();
    let list = "3 V1500000001 N3 G2\n1 :1600000000.M2P0.host\n2 :1600000001.M2P1.host\n";
    fs::write(control.join(".Sent/dovecot-uidlist"), list).unwrap();
    fs::remove_file(control.join(".Sent/dovecot-uidlist.lock")).unwrap();
}

/// `restore` with the patterns of [`backup`], its control and index folders below `base`.
fn restore(env: &Env, place: &[&str], base: &str) -> Value {
    let control = format!("{}/control/%d/%n", env.path(base).display());
    let index = format!("{}/index/%{{user}}", env.path(base).display());
    let places = ["--control", &control, "--index", &index, "--sieve", "~/sieve"];
    let more = ["--sieve", "~/.dovecot.sieve", "--json"];
    env.run(&[&["restore", env.repo(), "latest"], place, &places, &more].concat()).expect(0).json()
}

#[test]
fn files_outside_go_where_the_server_looks() {
    let env = Env::encrypted();
    furnish(&env);
    lists(&env);
    backup(&env, 0, &[]);
    // Without options they stay, and a sentence a kind says so.
    let to = env.path("beside");
    let beside = ["restore", env.repo(), "latest", "--to", text(&to), "--json"];
    let notes = env.run(&beside).expect(0).json()["notes"].to_string();
    let was = env.path("control/example.org/alice").display().to_string();
    let note = format!(
        "control files of 1 mailbox are in mailrig.outside beside the mail, where no server looks; \
         with --control they go to their place, which was {was}"
    );
    assert!(notes.contains(&note), "{notes}");
    assert!(notes.contains("with --index") && notes.contains("with --sieve"), "{notes}");

    fs::create_dir(env.path("new")).unwrap();
    let to = env.path("to");
    let report = restore(&env, &["--to", text(&to)], "new");
    assert_eq!((&report["notes"], &report["mailboxes"][0]["uids_kept"]), (&json!([]), &json!(5)));
    let home = to.join("example.org/alice");
    assert!(!home.join("Maildir/mailrig.outside").exists());
    assert!(!home.join("Maildir/.mailrig-outside").exists());
    let control = env.path("new/control/example.org/alice");
    let list = fs::read_to_string(control.join(".INBOX/dovecot-uidlist")).unwrap();
    let head = Uidlist::parse(list.as_bytes()).unwrap();
    assert!(head.uid_validity == 1_500_000_000 && is_raised(9, head.next_uid), "{list}");
    assert!(list.contains("\n1 :1600000000.M1P0.host\n4 :"), "{list}");
    assert_eq!(fs::read_to_string(control.join("subscriptions")).unwrap(), "Sent\n");
    assert!(env.path("new/index/alice@example.org/.INBOX/other").exists());
    assert_eq!(fs::read_to_string(home.join("sieve/rules.sieve")).unwrap(), "keep;");
    assert_eq!(fs::read_link(home.join(".dovecot.sieve")).unwrap(), Path::new("sieve/rules.sieve"));
}

/// As where `/home` is a link to another disk.
#[test]
fn links_of_an_administrator_are_followed_and_those_of_users_are_not() {
    let env = Env::encrypted();
    furnish(&env);
    lists(&env);
    fs::rename(env.path("control"), env.path("real-control")).unwrap();
    symlink("real-control", env.path("control")).unwrap();
    backup(&env, 0, &[]);
    fs::create_dir(env.path("disk")).unwrap();
    symlink("disk", env.path("new")).unwrap();
    let report = restore(&env, &["--to", text(&env.path("to"))], "new");
    assert_eq!(report["mailboxes"][0]["uids_kept"], 5, "{report}");
    assert!(env.path("disk/control/example.org/alice/.INBOX/dovecot-uidlist").exists());
    assert!(env.path("disk/index/alice@example.org/.INBOX/other").exists());

    let run = |base: &str, to: &str| {
        let control = format!("{}/control/%d/%n", env.path(base).display());
        let to = env.path(to).display().to_string();
        let place = ["--to", &to, "--control", &control, "--json"];
        env.run(&[&["restore", env.repo(), "latest"][..], &place].concat())
    };
    symlink("nowhere", env.path("dangling")).unwrap();
    let failure = run("dangling", "none").expect(1).error();
    assert!(failure["message"].as_str().unwrap().contains("dangling"), "{failure}");
    assert!(!env.path("none").exists());
    fs::create_dir_all(env.path("theirs/control")).unwrap();
    symlink(env.path("disk"), env.path("theirs/control/example.org")).unwrap();
    let output = run("theirs", "other");
    assert_ne!(output.code, Some(0), "{output}");
    assert!(output.to_string().contains("links are not followed"), "{output}");
    assert!(!env.path("disk/alice").exists());
}

#[test]
fn one_folder_brings_its_own_control_folder_only() {
    let env = Env::encrypted();
    furnish(&env);
    lists(&env);
    backup(&env, 0, &[]);
    fs::create_dir(env.path("new")).unwrap();
    let to = env.path("to");
    let one = ["--to", text(&to), "--mailbox", "alice@example.org", "--folder", "Sent"];
    let report = restore(&env, &one, "new");
    assert_eq!(report["messages"], 2, "{report}");
    let control = env.path("new/control/example.org/alice");
    assert!(control.join(".Sent/dovecot-uidlist").exists());
    let found =
        Tree::read(&env.path("new")).0.into_keys().filter(|path| path.components().count() > 3);
    let found: Vec<_> = found.map(|path| path.display().to_string()).collect();
    let sent = "control/example.org/alice/.Sent";
    assert_eq!(found, [sent.to_owned(), format!("{sent}/dovecot-uidlist")]);
    assert!(!env.path("new/index").exists());
}

/// In place, the lists in the control folder say what is in use and what clients know.
#[test]
fn live_lists_outside_are_merged_and_never_go_back() {
    let env = Env::encrypted();
    furnish(&env);
    lists(&env);
    backup(&env, 0, &[]);
    let store = env.path("store");
    let place = ["--in-place", text(&store)];
    let alice = env.store().mailbox("example.org/alice/Maildir");
    let list = env.path("control/example.org/alice/.INBOX/dovecot-uidlist");
    let before = fs::read_to_string(&list).unwrap();
    // In use: the message comes under another name, as the server knows its own as expunged.
    alice.remove("cur/1600000000.M1P0.host:2,S");
    let report = restore(&env, &place, ".");
    assert_eq!(report["mailboxes"][0]["renamed"], 1, "{report}");
    assert_eq!(fs::read_to_string(&list).unwrap(), before);
    let stale = env.path("index/alice@example.org/.INBOX/dovecot.index.log");
    assert!(stale.exists());
    // All of it anew: the record of what Dovecot gave lies with the lists.
    let report = restore(&env, &[&place[..], &["--uids", "new"]].concat(), ".");
    assert!(report["notes"].to_string().contains("INBOX has the new UIDVALIDITY"), "{report}");
    let renumbered = fs::read_to_string(&list).unwrap();
    let validity: u32 = renumbered[3..].split(' ').next().unwrap().parse().unwrap();
    assert!(renumbered.ends_with(" N11\n9 :1600000001.M1P1.host\n10 :1600000002.M1P2.host\n"));
    let control = env.path("control/example.org/alice");
    let record = fs::read_to_string(control.join("dovecot-uidvalidity")).unwrap();
    // `.Sent` came after INBOX.
    assert_eq!(record, format!("{:08x}", validity + 1));
    assert!(control.join(format!("dovecot-uidvalidity.{record}")).exists());
    assert!(!store.join("example.org/alice/Maildir/dovecot-uidvalidity").exists());
    assert!(!stale.exists());
    fs::write(&list, &before).unwrap();
    fs::write(&stale, "x").unwrap();
    // The mail is lost, the control folder is not: clients may have seen more than the snapshot.
    fs::remove_dir_all(store.join("example.org/alice")).unwrap();
    fs::write(&list, before.replace("N9", "N70")).unwrap();
    let report = restore(&env, &place, ".");
    assert_eq!(report["mailboxes"][0]["messages"], 5, "{report}");
    let after = fs::read_to_string(&list).unwrap();
    let head = Uidlist::parse(after.as_bytes()).unwrap();
    assert!(head.uid_validity == 1_500_000_000 && is_raised(70, head.next_uid), "{after}");
    assert!(after.contains("\n1 :1600000000.M1P0.host\n"), "{after}");
    assert!(!stale.exists());
    let home = store.join("example.org/alice");
    assert_eq!(fs::read_to_string(home.join("sieve/rules.sieve")).unwrap(), "keep;");
}

#[test]
fn control_files_that_vanish_are_told_and_what_was_known_of_them_is_kept() {
    let env = Env::encrypted();
    furnish(&env);
    backup(&env, 0, &[]);
    fs::rename(env.path("control"), env.path("unmounted")).unwrap();
    for _ in 0..2 {
        let report = backup(&env, 3, &[]);
        let control = env.path("control/example.org/alice").display().to_string();
        assert_eq!(report["incidents"][0]["path"], json!(control), "{report}");
    }
    env.restore("latest", "to").expect(0);
    let uidlist = "to/example.org/alice/Maildir/mailrig.outside/control/.INBOX/dovecot-uidlist";
    assert!(env.path(uidlist).exists());
    // Scripts are their owner's to remove.
    fs::rename(env.path("unmounted"), env.path("control")).unwrap();
    fs::remove_dir_all(env.path("store/example.org/alice/sieve")).unwrap();
    backup(&env, 0, &[]);
    env.restore("latest", "without").expect(0);
    let outside = env.path("without/example.org/alice/Maildir/mailrig.outside");
    assert!(outside.join("control").exists() && !outside.join("sieve").exists());
}

#[test]
fn a_control_folder_that_cannot_be_read_is_an_incident() {
    let env = Env::encrypted();
    furnish(&env);
    backup(&env, 0, &[]);
    let inbox = env.path("control/example.org/alice/.INBOX");
    set_mode(&inbox, 0);
    let control = format!("{}/%d/%n", env.path("control").display());
    let store = env.path("store");
    let backup = ["backup", env.repo(), text(&store), "--json", "--control", &control];
    let report = env.start_unprivileged(&backup).wait().expect(3).json();
    assert_eq!(report["incidents"][0]["path"], text(&inbox), "{report}");
    set_mode(&inbox, 0o700);
    env.restore("latest", "to").expect(0);
    let uidlist = "to/example.org/alice/Maildir/mailrig.outside/control/.INBOX/dovecot-uidlist";
    assert!(env.path(uidlist).exists());
}

/// A control folder has the files by which a mailbox is recognised; a restore leaves a folder that is
/// none of the mailbox's.
#[test]
fn what_lies_outside_is_no_mailbox_and_what_a_restore_left_no_mail() {
    let env = Env::encrypted();
    furnish(&env);
    let control = env.path("store/control");
    fs::rename(env.path("control"), &control).unwrap();
    let pattern = format!("{}/%d/%n", control.display());
    let report = env.backup(&["--json", "--control", &pattern]).expect(0).json();
    assert_eq!(
        (&report["totals"]["mailboxes"], &report["totals"]["messages"]),
        (&json!(2), &json!(6))
    );
    // The twin: without the option nothing tells that it is none.
    assert_eq!(env.backup(&["--json"]).expect(0).json()["totals"]["mailboxes"], 3);

    let left = env.path("store/example.org/bob/Maildir/mailrig.outside");
    fs::create_dir_all(left.join("cur")).unwrap();
    fs::write(left.join("cur/1.a:2,"), "x").unwrap();
    let report = env.backup(&["--json", "--mailbox", "bob*"]).expect(0).json();
    assert_eq!(report["totals"]["messages"], 6);
    let sentence =
        "1 mailbox has files of a restore that are not kept; move them where they belong";
    let notice = format!("{sentence}: example.org/bob/Maildir/mailrig.outside");
    assert_eq!(report["notices"], json!([notice]));
}

#[test]
fn a_variable_that_nobody_knows_is_a_usage_error() {
    let env = Env::encrypted();
    furnish(&env);
    let output = env.backup(&["--control", "/ctl/%s/%u"]).expect(2);
    assert!(output.stderr.contains("%s is not known here; known are %u %n %d"), "{output}");
    let output = env.backup(&["--sieve", "sieve/%u"]).expect(2);
    assert!(output.stderr.contains("it must begin with / or ~/"), "{output}");
}

#[test]
fn options_left_out_are_noticed_once() {
    let env = Env::encrypted();
    furnish(&env);
    backup(&env, 0, &[]);
    let notices = |report: Value| report["notices"].to_string();
    assert!(!notices(backup(&env, 0, &[])).contains("any more"));
    let said = notices(env.backup(&["--sieve", "~/sieve", "--json"]).expect(0).json());
    for option in ["--control", "--index", "--sieve"] {
        let sentence = format!("not in the snapshots any more: no {option} leads to them");
        assert!(said.contains(&sentence), "{said}");
    }
    let said = notices(env.backup(&["--sieve", "~/sieve", "--json"]).expect(0).json());
    assert!(!said.contains("any more"), "{said}");
}

#[test]
fn a_pattern_that_is_the_same_for_all_is_refused() {
    let env = Env::encrypted();
    furnish(&env);
    for option in ["--control", "--index", "--sieve", "--attributes"] {
        let output = env.backup(&[option, text(&env.path("control"))]).expect(2);
        let right = format!("such as {option} {}/%d/%n", env.path("control").display());
        assert!(output.stderr.contains(&right), "{}", output.stderr);
    }
    // Of a single mailbox, it is its own.
    fs::remove_dir_all(env.path("store/example.org/bob")).unwrap();
    let control = env.path("control/example.org/alice");
    env.backup(&["--control", text(&control)]).expect(0);
}

/// In a restore as in a backup, and before anything is written.
#[test]
fn a_restore_of_several_mailboxes_to_one_place_is_refused() {
    let env = Env::encrypted();
    furnish(&env);
    backup(&env, 0, &[]);
    let (to, shared) = (env.path("to").display().to_string(), env.path("shared"));
    let restore = |option: &str, place: &str, more: &[&str]| {
        let start = ["restore", env.repo(), "latest", "--to", &to, option, place];
        env.run(&[&start[..], more].concat())
    };
    for option in ["--control", "--index", "--sieve", "--attributes"] {
        for place in [text(&shared).to_owned(), format!("{}/%d", shared.display())] {
            let output = restore(option, &place, &[]).expect(2);
            assert!(output.stderr.contains(&format!("such as {option} ")), "{output}");
            assert!(!env.path("to").exists() && !shared.exists(), "{output}");
        }
    }
    restore("--control", text(&shared), &["--mailbox", "alice@example.org"]).expect(0);
    assert!(shared.join(".Sent/dovecot-uidlist").exists());
}
