//! Restores of single messages by their ids, from several snapshots, and into folders beside the
//! live ones.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::env::{Env, text};
use crate::in_place::messages;
use crate::process::Output;
use crate::store::letter;
use crate::tree::Tree;

const ALICE: &str = "example.org/alice/Maildir";

/// The id of a message as `find` prints it.
fn id(env: &Env, snapshot: &str, folder: &str, base: &str) -> String {
    let list = env.run(&["ls", env.repo(), snapshot, "--json"]).expect(0).json();
    let rows = list["mailboxes"].as_array().unwrap();
    let alice = rows.iter().find(|row| row["path"] == ALICE).unwrap();
    let mailbox = alice["id"].as_str().unwrap();
    snapshot::message_id::MessageId::new(snapshot, mailbox, folder, base).to_string()
}

/// Two nights; a message of each is gone now. Gives the snapshots.
fn nights(env: &Env) -> [String; 2] {
    let alice = env.store().mailbox(ALICE);
    env.store().mailbox("example.org/bob").fill("", 3, 3);
    alice.message("cur/1500000001.M1P1.host:2,S", &letter(1)).fill("", 5, 1);
    alice.message(".Sent/cur/1600000002.M2P1.host:2,Sa", &letter(2));
    alice.message(".Sent/dovecot-keywords", b"0 todo\n");
    let first = env.backup(&["--json"]).expect(0).json();
    alice.remove("cur/1500000001.M1P1.host:2,S");
    alice.message(".Sent/cur/1600000003.M3P1.host:2,S", &letter(3));
    let second = env.backup(&["--json"]).expect(0).json();
    fs::remove_dir_all(alice.path(".Sent")).unwrap();
    [first, second].map(|report| report["snapshot"].as_str().unwrap().to_owned())
}

fn run(env: &Env, ids: &str, more: &[&str]) -> Output {
    let list = env.path("ids");
    fs::write(&list, ids).unwrap();
    env.run(&[&["restore", env.repo(), "--messages", text(&list), "--json"], more].concat())
}

#[test]
fn messages_of_several_snapshots_come_back_and_no_others() {
    let env = Env::encrypted();
    let [first, second] = nights(&env);
    let ids = [
        id(&env, &first, "", "1500000001.M1P1.host"),
        id(&env, &second, ".Sent", "1600000002.M2P1.host"),
        id(&env, &first, ".Sent", "1600000002.M2P1.host"),
    ];
    let table = format!(
        "MESSAGE  RECEIVED\n{}  x\n{}  y/z\n{} y\n2 messages found in 1 mailbox of 2 snapshots in 0.1 s.\n",
        ids[0], ids[1], ids[2]
    );
    let rows: Vec<_> = ids.iter().map(|id| json!({"id": id, "subject": "x"})).collect();
    let document = json!({"type": "find", "messages": rows}).to_string();
    let store = env.path("store");
    let before = Tree::read(&store);
    for (text_of_ids, to) in [(&table, "a"), (&document, "b")] {
        let report = run(&env, text_of_ids, &["--to", text(&env.path(to))]).expect(0).json();
        assert_eq!(report["messages"], 2, "{report}");
        assert_eq!(report["snapshots"], json!([first, second]));
        let alice = env.path(to).join(ALICE);
        assert_eq!(messages(&alice).len(), 1);
        assert_eq!(messages(&alice.join(".Sent"))["1600000002.M2P1.host"], ("cur", "Sa".into()));
        assert!(!env.path(to).join("example.org/bob").exists());
    }
    let live = ["--in-place", text(&store)];
    let dry = run(&env, &table, &[&live[..], &["--dry-run"]].concat()).expect(0).json();
    assert_eq!(dry["messages"], 2);
    assert_eq!(run(&env, &table, &live).expect(0).json()["messages"], 2);
    let changed = before.differences(&Tree::read(&store));
    assert_eq!(changed.len(), 7, "a message; a folder with three, keywords and one: {changed:#?}");
    let again = run(&env, &document, &live).expect(0).json();
    assert_eq!((&again["messages"], &again["there"]), (&0.into(), &2.into()));
}

#[test]
fn unknown_ids_are_named_and_the_rest_is_restored() {
    let env = Env::plain();
    let [first, second] = nights(&env);
    let known = id(&env, &first, "", "1500000001.M1P1.host");
    let gone = id(&env, &second, "", "1500000001.M1P1.host");
    let [snapshot, mailbox, _] = known.split('/').collect::<Vec<_>>().try_into().unwrap();
    let ids =
        format!("{known}\n{gone}\n{snapshot}/00000000/1\n20000101T000000000Z-1/{mailbox}/1\n");
    let output = run(&env, &ids, &["--to", text(&env.path("to"))]).expect(3);
    let report = output.json();
    assert_eq!(report["messages"], 1, "{report}");
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 3, "{report}");
    let hash = gone.rsplit('/').next().unwrap();
    for part in [hash, "00000000/1", "20000101T000000000Z-1"] {
        let is_named = |p: &serde_json::Value| p["reason"].as_str().unwrap().contains(part);
        assert!(problems.iter().any(is_named), "{part}: {report}");
    }
    let nothing = run(&env, "0 messages.\n", &["--to", text(&env.path("no"))]).expect(1);
    assert!(nothing.error()["message"].as_str().unwrap().starts_with("no ids of messages in "));
    // A snapshot may be named if the ids agree.
    fs::write(env.path("one"), &known).unwrap();
    let arguments = |snapshot| {
        let to = env.path(&format!("to-{snapshot}")).display().to_string();
        env.run(&["restore", env.repo(), snapshot, "--messages", "one", "--to", &to])
    };
    arguments(&first).expect(0);
    assert!(arguments(&second).expect(2).stderr.contains("name none"));
}

#[test]
fn everything_can_go_to_folders_beside_the_live_ones() {
    let env = Env::encrypted();
    nights(&env);
    let alice = env.store().mailbox(ALICE);
    alice.message("subscriptions", b"Sent\n");
    let store = env.path("store").display().to_string();
    let before = Tree::read(&env.path("store"));
    let folder = ["--in-place", &store, "--mailbox", "alice@example.org", "--as-folder"];
    let run = |name: &str, more: &[&str]| {
        let start = ["restore", env.repo(), "latest", "--json"];
        env.run(&[&start[..], &folder, &[name], more].concat())
    };
    let report = run("Zurück", &[]).expect(0).json();
    assert_eq!(report["messages"], 7, "{report}");
    assert_eq!(report["mailboxes"][0]["path"], format!("{ALICE}/.Zur&APw-ck"));
    assert_eq!(messages(&alice.path(".Zur&APw-ck")).len(), 5);
    let sent = messages(&alice.path(".Zur&APw-ck.Sent"));
    assert_eq!(sent["1600000002.M2P1.host"], ("cur", "Sa".into()));
    assert_eq!(fs::read(alice.path(".Zur&APw-ck.Sent/dovecot-keywords")).unwrap(), b"0 todo\n");
    assert!(alice.path(".Zur&APw-ck/maildirfolder").exists());
    let subscriptions = fs::read_to_string(alice.path("subscriptions")).unwrap();
    assert_eq!(subscriptions, "Sent\nZur&APw-ck\nZur&APw-ck.Sent\n");
    let after = Tree::read(&env.path("store")).without("Zur&APw-ck").without("subscriptions");
    assert_eq!(before.clone().without("subscriptions").differences(&after), [""; 0]);

    alice.remove(".Zur&APw-ck.Sent/cur/1600000002.M2P1.host:2,Sa");
    let again = run("Zurück", &[]).expect(0).json();
    assert_eq!((&again["messages"], &again["there"]), (&1.into(), &6.into()), "it completes");
    let sent = run("Sent-only", &["--folder", "sent"]).expect(1);
    assert!(sent.error()["message"].as_str().unwrap().contains("has no folder `sent`"));
    assert_eq!(run("Sent-only", &["--folder", "Sent"]).expect(0).json()["messages"], 2);
    assert!(!alice.path(".Sent-only").exists() && alice.path(".Sent-only.Sent").exists());
    for name in ["INBOX", "a//b", "../x"] {
        run(name, &[]).expect(1);
    }
    // The table shows the folder on the disk.
    let start = ["restore", env.repo(), "latest", "--dry-run"];
    let dry = env.run(&[&start[..], &folder, &["Back/v1.2"]].concat()).expect(0);
    assert!(dry.stdout.contains(&format!("{ALICE}/.Back.v1_2\n")), "{dry}");
}

/// Letters mean what the list of the folder's server says, wherever that lies.
#[test]
fn keywords_keep_their_meaning_where_control_files_lie_elsewhere() {
    let env = Env::encrypted();
    let alice = env.store().mailbox(ALICE);
    alice.message("cur/1600000001.M1P1.host:2,Sab", &letter(1));
    alice.message(".Sent/cur/1600000002.M2P1.host:2,Sa", &letter(2));
    let control = env.path("control/example.org/alice");
    let keywords = |folder: &str| control.join(folder).join("dovecot-keywords");
    for (folder, words) in [(".INBOX", "0 urgent\n1 todo\n"), (".Sent", "0 todo\n")] {
        fs::create_dir_all(control.join(folder)).unwrap();
        fs::write(control.join(folder).join("dovecot-uidlist"), "3 V1500000000 N9\n").unwrap();
        fs::write(keywords(folder), words).unwrap();
    }
    let pattern = format!("{}/%d/%n", env.path("control").display());
    let places = ["--control", &pattern];
    let report = env.backup(&[&places[..], &["--json"]].concat()).expect(0).json();
    let snapshot = report["snapshot"].as_str().unwrap();
    let ids = [("", "1600000001.M1P1.host"), (".Sent", "1600000002.M2P1.host")]
        .map(|(folder, base)| id(&env, snapshot, folder, base) + "\n")
        .concat();
    alice.remove("cur/1600000001.M1P1.host:2,Sab").remove(".Sent/cur/1600000002.M2P1.host:2,Sa");
    // The words came in another order since.
    fs::write(keywords(".INBOX"), "0 later\n1 todo\n").unwrap();
    fs::write(keywords(".Sent"), "0 later\n").unwrap();
    let store = env.path("store");
    let to = ["--in-place", text(&store)];
    run(&env, &ids, &[&to[..], &places].concat()).expect(0);
    let flags = |folder: &str, base: &str| messages(&alice.path(folder))[base].1.clone();
    assert_eq!(flags("", "1600000001.M1P1.host"), "Sbc");
    assert_eq!(flags(".Sent", "1600000002.M2P1.host"), "Sb");
    let words = |folder: &str| fs::read_to_string(keywords(folder)).unwrap();
    assert_eq!(words(".INBOX"), "0 later\n1 todo\n2 urgent\n");
    assert_eq!(words(".Sent"), "0 later\n1 todo\n");

    run(&env, &ids, &[&to[..], &places, &["--as-folder", "Back"]].concat()).expect(0);
    assert_eq!(flags(".Back", "1600000001.M1P1.host"), "Sab");
    assert_eq!(flags(".Back.Sent", "1600000002.M2P1.host"), "Sa");
    assert_eq!(words(".Back"), "0 urgent\n1 todo\n");
    assert_eq!(words(".Back.Sent"), "0 todo\n");
    assert!(!alice.path(".Back/dovecot-keywords").exists());
}

/// procmail's names come again, and files are overwritten in place.
#[test]
fn messages_of_one_name_and_other_content_are_all_restored() {
    let env = Env::encrypted();
    let alice = env.store().mailbox(ALICE);
    alice.message("cur/1500000001.M1P1.host:2,S", b"Subject: always the same\n\nx");
    alice.fill(".Sent", 30, 1);
    let night = |content: &[u8; 2]| {
        let _ = fs::remove_file(alice.path("cur/msg.aB3:2,S"));
        alice.message("cur/msg.aB3:2,S", &[b"Subject: same size\n\n", &content[..]].concat());
        let received = UNIX_EPOCH + Duration::from_secs(1_500_000_000 + u64::from(content[0]));
        let file = fs::File::open(alice.path("cur/msg.aB3:2,S")).unwrap();
        file.set_modified(received).unwrap();
        let report = env.backup(&["--json"]).expect(0).json();
        report["snapshot"].as_str().unwrap().to_owned()
    };
    let snapshots = [b"1\n", b"2\n", b"3\n"].map(night);
    let bases = ["msg.aB3", "1500000001.M1P1.host"];
    let ids = snapshots.iter().flat_map(|s| bases.map(|base| id(&env, s, "", base)));
    let ids: Vec<String> = ids.collect();
    for to in ["--to", "--in-place"] {
        if to == "--in-place" {
            alice.remove("cur/msg.aB3:2,S").remove("cur/1500000001.M1P1.host:2,S");
        }
        let place = if to == "--to" { env.path("to") } else { env.path("store") };
        let report = run(&env, &ids.join("\n"), &[to, text(&place)]).expect(0).json();
        assert_eq!(report["messages"], 4, "{report}");
        let cur = place.join(ALICE).join("cur");
        let files = fs::read_dir(&cur).unwrap().map(|entry| fs::read(entry.unwrap().path()));
        let ends = files.map(|bytes| bytes.unwrap().iter().rev().nth(1).copied().unwrap());
        let ends: std::collections::BTreeSet<u8> = ends.collect();
        assert_eq!(ends, b"123\n".iter().copied().collect(), "{to}");
        assert_eq!(fs::read(cur.join("msg.aB3:2,S")).unwrap().last_chunk(), Some(b"3\n"));
        assert!(messages(&place.join(ALICE)).values().all(|m| *m == ("cur", "S".into())));
    }
    let store = env.path("store");
    let again = run(&env, &ids.join("\n"), &["--in-place", text(&store)]).expect(0).json();
    assert_eq!((&again["messages"], &again["there"]), (&0.into(), &4.into()));
}

/// A folder that was deleted and made again gives its letters to other words.
#[test]
fn keywords_of_several_snapshots_keep_their_meaning() {
    let env = Env::encrypted();
    let alice = env.store().mailbox(ALICE);
    let night = |name: &str, words: &str| {
        alice.message(format!("cur/{name}"), &letter(1));
        alice.message("dovecot-keywords", words.as_bytes());
        let report = env.backup(&["--json"]).expect(0).json();
        alice.remove(&format!("cur/{name}"));
        let base = name.split(':').next().unwrap();
        id(&env, report["snapshot"].as_str().unwrap(), "", base)
    };
    let ids = [
        night("1500000001.M1P1.host:2,Sabc", "0 todo\n1 urgent\n2 old\n"),
        night("1500000002.M1P1.host:2,Sab", "0 urgent\n1 todo\n"),
    ];
    let to = env.path("to");
    let report = run(&env, &ids.join("\n"), &["--to", text(&to)]).expect(0).json();
    let found = messages(&to.join(ALICE));
    assert_eq!(found["1500000001.M1P1.host"], ("cur", "Sab".into()));
    assert_eq!(found["1500000002.M1P1.host"], ("cur", "Sab".into()));
    assert_eq!(fs::read(to.join(ALICE).join("dovecot-keywords")).unwrap(), b"0 urgent\n1 todo\n");
    let notes = report["notes"].as_array().unwrap();
    assert!(
        notes.iter().any(|n| n.as_str().unwrap().contains("1 message lost keywords")),
        "{report}"
    );
}

/// The older snapshot's file of keywords comes along, and names none of the newer one's letters.
#[test]
fn letters_that_name_nothing_do_not_get_the_names_of_an_older_snapshot() {
    let env = Env::encrypted();
    let alice = env.store().mailbox(ALICE);
    let night = |base: &str| {
        let report = env.backup(&["--json"]).expect(0).json();
        id(&env, report["snapshot"].as_str().unwrap(), "", base)
    };
    alice.message("cur/1500000001.M1P1.host:2,Sab", &letter(1));
    alice.message("dovecot-keywords", b"0 todo\n1 urgent\n");
    let older = night("1500000001.M1P1.host");
    alice.message("cur/1500000002.M1P1.host:2,Sab", &letter(2));
    alice.remove("dovecot-keywords");
    let newer = night("1500000002.M1P1.host");
    let to = env.path("to");
    let ids = format!("{older}\n{newer}");
    let report = run(&env, &ids, &["--to", text(&to)]).expect(0).json();
    let found = messages(&to.join(ALICE));
    assert_eq!(found["1500000001.M1P1.host"], ("cur", "Sab".into()));
    assert_eq!(found["1500000002.M1P1.host"], ("cur", "S".into()));
    let notes = report["notes"].to_string();
    assert!(notes.contains("1 message lost letters of keywords"), "{report}");
    // Alone it is as it was.
    let to = env.path("alone");
    run(&env, &newer, &["--to", text(&to)]).expect(0);
    assert_eq!(messages(&to.join(ALICE))["1500000002.M1P1.host"], ("cur", "Sab".into()));
}

/// As administrators type it: `find --deleted | restore --messages -`.
#[test]
fn what_find_finds_is_restored_through_a_pipe() {
    let env = Env::encrypted();
    nights(&env);
    env.backup(&[]).expect(0);
    let alice = env.store().mailbox(ALICE);
    for json in [&[][..], &["--json"]] {
        let find = ["find", env.repo(), "--mailbox", "alice@example.org", "--deleted"];
        let found = env.run(&[&find[..], json].concat()).expect(0);
        fs::write(env.path("found"), &found.stdout).unwrap();
        let mut command = env.command();
        command.args(["restore", env.repo(), "--messages", "-", "--in-place"]);
        command.arg(env.path("store")).stdin(fs::File::open(env.path("found")).unwrap());
        let output = crate::process::Running::start(command).wait().expect(0);
        assert!(output.stdout.contains("with 3 messages "), "{found}{output}");
        assert_eq!(messages(&alice.path("")).len(), 6);
        assert_eq!(messages(&alice.path(".Sent")).len(), 2);
        alice.remove("cur/1500000001.M1P1.host:2,S");
        fs::remove_dir_all(alice.path(".Sent")).unwrap();
    }
}

#[test]
fn lines_that_are_no_ids_make_a_restore_incomplete() {
    let env = Env::plain();
    let [first, _] = nights(&env);
    let known = id(&env, &first, "", "1500000001.M1P1.host");
    let ids = format!("{known}\nsomething else\n{}\n", &known[..known.len() - 20]);
    let report = run(&env, &ids, &["--to", text(&env.path("to"))]).expect(3).json();
    assert_eq!((&report["messages"], &report["is_incomplete"]), (&1.into(), &true.into()));
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{report}");
    assert_eq!(problems[0]["reason"], "line 2 begins with `something`, which is no id");
    run(&env, "something else\n", &["--to", text(&env.path("none"))]).expect(1);
}
