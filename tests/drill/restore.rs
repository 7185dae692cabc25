//! `mailrig drill restore`: passes on a sound repository, and fails, naming what is wrong, on its broken twins. Whatever
//! ends it, nothing of it is left.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::env::{Env, text, wait_until};
use crate::process::Output;
use crate::store::set_mode;

/// Two mailboxes, of which one was served by Dovecot: with UIDs, a keyword, and a folder that has mail in `new`.
fn backed_up() -> Env {
    let env = unserved();
    let alice = env.path("store/example.org/alice/Maildir");
    let names = |folder: &str| -> Vec<String> {
        let entries = ["cur", "new"].map(|dir| fs::read_dir(alice.join(folder).join(dir)).unwrap());
        let entries = entries.into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    for (folder, validity) in [("", 1234), (".Sent", 1240)] {
        let mut list = format!("3 V{validity} N900 G3085f01b7f11094c501100008c4a{validity}\n");
        for (number, name) in (1..).zip(names(folder)) {
            list.push_str(&format!("{} :{}\n", number * 3, name.split(':').next().unwrap()));
        }
        fs::write(alice.join(folder).join("dovecot-uidlist"), list).unwrap();
    }
    env.backup(&[]).expect(0);
    env
}

/// The store alone, without lists of UIDs.
fn unserved() -> Env {
    let env = Env::encrypted();
    // As root a server's processes belong to others, who must get to what is theirs.
    set_mode(&env.path("."), 0o755);
    let store = env.store();
    let alice = store.mailbox("example.org/alice/Maildir");
    alice.fill("", 20, 1).fill(".Sent", 7, 2);
    alice.message("cur/1500000000.M1P1.host:2,FSa", b"Subject: x\n\nwithout a carriage return\n");
    alice.message("dovecot-keywords", b"0 todo\n");
    store.mailbox("example.org/bob/Maildir").fill("", 4, 3);
    env
}

fn drill(env: &Env, more: &[&str]) -> Output {
    env.run(&[&["drill", "restore", env.repo(), "--json"][..], more].concat())
}

/// How the criterion of this name went.
#[track_caller]
fn word<'d>(document: &'d Value, name: &str) -> &'d str {
    let all = document["criteria"].as_array().unwrap();
    let found = all.iter().find(|criterion| criterion["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: {document}"))["word"].as_str().unwrap()
}

fn names(document: &Value) -> Vec<&str> {
    let all = document["mailboxes"].as_array().unwrap().iter();
    all.map(|mailbox| mailbox["name"].as_str().unwrap()).collect()
}

/// Nothing is left among the temporary files.
#[track_caller]
fn assert_clean(env: &Env) {
    let left = fs::read_dir(env.path("tmp")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.collect::<Vec<_>>(), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(processes_at(&env.path("tmp")), [""; 0]);
}

/// Processes with this path in their command lines.
fn processes_at(path: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text(path))).collect()
}

#[test]
fn a_sound_repository_passes_and_what_was_not_asked_is_said() {
    let env = backed_up();
    let out = env.path("out");
    let asked = ["--no-dovecot", "--rto", "4h", "--rpo", "24h", "--out", text(&out)];
    let document = drill(&env, &asked).expect(0).json();
    for name in ["restored", "messages", "content", "flags", "dates", "uids", "rto", "rpo"] {
        assert_eq!(word(&document, name), "pass", "{name}: {document}");
    }
    assert_eq!(word(&document, "imap"), "skipped");
    let sentence = document["sentence"].as_str().unwrap();
    assert!(sentence.ends_with("; not checked: imap (--no-dovecot)"), "{sentence}");
    assert_eq!(document["rto"]["sample_messages"], 32);
    assert_eq!(document["rto"]["store_messages"], 32);
    let written: Value =
        serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!(written["sentence"], document["sentence"]);
    assert_clean(&env);

    let told = env.run(&["drill", "restore", env.repo(), "--no-dovecot", "--quiet"]).expect(0);
    let last = told.stdout.lines().last().unwrap();
    assert!(last.starts_with("PASS: 32 messages "), "{told}");
}

#[test]
fn the_same_seed_chooses_the_same_mailboxes() {
    let env = Env::plain();
    for number in 0..12 {
        env.store().mailbox(&format!("m{number}/Maildir")).fill("", 2, number);
    }
    env.backup(&[]).expect(0);
    let one = |more: &[&str]| drill(&env, &[&["--no-dovecot"][..], more].concat()).expect(0).json();
    let first = one(&[]);
    assert_eq!(names(&first).len(), 3);
    let seed = first["seed"].to_string();
    assert_eq!(names(&one(&["--seed", &seed])), names(&first));
    let others: Vec<Value> =
        ["1", "2", "3", "4"].map(|seed| one(&["--seed", seed, "--mailboxes", "2"])).into();
    assert!(others.iter().any(|other| names(other) != names(&others[0])), "{others:?}");
    assert_eq!(names(&one(&["--all"])).len(), 12);
    let named = one(&["--mailbox", "m7"]);
    assert_eq!((names(&named), &named["seed"]), (vec!["m7"], &Value::Null));
}

#[test]
fn a_damaged_pack_fails_and_its_messages_are_named() {
    let env = backed_up();
    for pack in env.keys(".tar.") {
        let path = Path::new(env.repo()).join(pack);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let document = drill(&env, &["--no-dovecot", "--all"]).expect(4).json();
    assert_eq!(document["verdict"], "fail");
    assert_eq!(word(&document, "messages"), "fail");
    let named = document["differences"].as_array().unwrap().iter().any(|one| {
        let message = one["message"].as_str().unwrap();
        one["what"] == "missing" && message.starts_with("cur/1600000") && one["folder"] == "INBOX"
    });
    assert!(named, "{document}");
    assert_clean(&env);
}

#[test]
fn without_lists_of_uids_it_says_that_none_were_compared() {
    let env = unserved();
    env.backup(&[]).expect(0);
    let document = drill(&env, &["--no-dovecot"]).expect(0).json();
    assert_eq!(word(&document, "uids"), "skipped");
    let sentence = document["sentence"].as_str().unwrap();
    let said = "not comparable in 3 folders: the snapshot has no list of UIDs there";
    assert!(sentence.contains(said), "{sentence}");
}

#[test]
fn an_objective_that_is_not_met_fails() {
    let env = backed_up();
    for (option, name) in [("--rpo", "rpo"), ("--rto", "rto")] {
        let document = drill(&env, &["--no-dovecot", option, "1ms"]).expect(4).json();
        assert_eq!((word(&document, name), word(&document, "content")), ("fail", "pass"));
    }
}

#[test]
fn an_empty_snapshot_is_no_pass() {
    let env = Env::encrypted();
    set_mode(&env.path("."), 0o755);
    env.store().mailbox("example.org/dora/Maildir");
    env.backup(&[]).expect(0);
    let document = drill(&env, &[]).expect(6).json();
    assert_eq!((&document["verdict"], &document["rto"]), (&"unknown".into(), &Value::Null));
    assert_clean(&env);
}

#[test]
fn a_scratch_folder_is_new_or_empty_and_is_left_as_it_was() {
    let env = backed_up();
    let scratch = env.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let here = ["--no-dovecot", "--scratch", text(&scratch)];
    drill(&env, &here).expect(0);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    fs::write(scratch.join("mine"), "x").unwrap();
    let refused = drill(&env, &here).expect(2).error();
    let expected = format!("{} is not empty: name a new folder", scratch.display());
    assert_eq!(refused["message"], expected);
    assert_eq!(fs::read(scratch.join("mine")).unwrap(), b"x");
    let kept = env.path("kept");
    drill(&env, &["--no-dovecot", "--keep", "--scratch", text(&kept)]).expect(0);
    assert!(kept.join("mail/example.org/bob/Maildir/cur").is_dir());
}

#[test]
fn interrupted_while_it_restores_it_leaves_nothing() {
    let env = backed_up();
    env.store().mailbox("example.org/carol/Maildir").fill("", 3000, 9);
    env.backup(&[]).expect(0);
    let scratch = env.path("scratch");
    let running =
        env.start(&["drill", "restore", env.repo(), "--all", "--scratch", text(&scratch)]);
    wait_until("it restores", || scratch.join("restore.json").exists());
    running.signal(Signal::TERM);
    running.wait().expect(130);
    assert!(!scratch.exists());
    assert_eq!(processes_at(&scratch), [""; 0]);
}

/// The runner leaves these out where Dovecot is not there.
mod needs_dovecot {
    use super::*;
    use crate::dovecot_restore::Office;
    use crate::servers::process::is_skipped;

    #[test]
    fn a_scratch_dovecot_shows_what_the_snapshot_has() {
        if is_skipped("dovecot") {
            return;
        }
        let env = backed_up();
        let document = drill(&env, &["--all"]).expect(0).json();
        assert_eq!(word(&document, "imap"), "pass", "{document}");
        let all = document["criteria"].as_array().unwrap();
        let imap = all.iter().find(|criterion| criterion["name"] == "imap").unwrap();
        assert_eq!(imap["actual"], "all of 32 messages, 28 by UID");
        assert_clean(&env);
    }

    /// With what only a server writes: keywords, folders in modified UTF-7, UIDs with gaps, dates of APPEND.
    #[test]
    fn a_mailbox_that_dovecot_made_is_shown_as_it_was() {
        let Some(office) = Office::open() else { return };
        set_mode(&office.env.path("."), 0o755);
        office.back_up_with(&[]);
        let document = drill(&office.env, &["--all"]).expect(0).json();
        for name in ["flags", "dates", "uids", "imap"] {
            assert_eq!(word(&document, name), "pass", "{name}: {document}");
        }
    }

    /// Where control files lie apart from the mail, they are restored beside it.
    #[test]
    fn uids_that_lie_apart_from_the_mail_are_compared() {
        let more = |env: &Env| format!(":CONTROL={}/%d/%n", text(&env.path("control")));
        let Some(office) = Office::open_with(more) else { return };
        set_mode(&office.env.path("."), 0o755);
        let control = format!("{}/%d/%n", text(&office.env.path("control")));
        office.back_up_with(&["--control", &control]);
        let document = drill(&office.env, &["--all"]).expect(0).json();
        for name in ["uids", "imap"] {
            assert_eq!(word(&document, name), "pass", "{name}: {document}");
        }
    }

    #[test]
    fn without_root_it_serves_as_well() {
        if is_skipped("dovecot") {
            return;
        }
        let env = backed_up();
        let drill = ["drill", "restore", env.repo(), "--json"];
        let document = env.start_unprivileged(&drill).wait().expect(0).json();
        assert_eq!(word(&document, "imap"), "pass", "{document}");
        assert_clean(&env);
    }

    #[test]
    fn folders_in_folders_and_names_in_utf8_are_served() {
        if is_skipped("dovecot") {
            return;
        }
        let env = Env::plain();
        set_mode(&env.path("."), 0o755);
        let nested = env.store().mailbox("nested/Maildir");
        nested.fill("", 3, 1).fill("Archive/2025", 4, 2).fill("Sent", 2, 3);
        env.store().mailbox("utf8/Maildir").fill(".Müll", 5, 4);
        env.backup(&[]).expect(0);
        let document = drill(&env, &["--all"]).expect(0).json();
        assert_eq!(word(&document, "imap"), "pass", "{document}");
    }

    /// The twin: where a file's name has a size that is not the file's, Dovecot ends the sessions of clients.
    #[test]
    fn what_a_client_sees_wrongly_fails_although_the_files_are_right() {
        if is_skipped("dovecot") {
            return;
        }
        let env = unserved();
        let alice = env.store().mailbox("example.org/alice/Maildir");
        alice.message("cur/1500000001.M2P2.host,S=9,W=9:2,S", b"Subject: x\r\n\r\nlonger\r\n");
        env.backup(&[]).expect(0);
        let document = drill(&env, &["--all"]).expect(4).json();
        assert_eq!((word(&document, "content"), word(&document, "imap")), ("pass", "fail"));
        let all = document["differences"].as_array().unwrap();
        let [one] = &all[..] else { panic!("{document}") };
        let actual = one["actual"].as_str().unwrap();
        assert!(one["what"] == "folder" && actual.contains("1500000001.M2P2"), "{document}");
        assert_clean(&env);
    }

    #[test]
    fn interrupted_while_it_serves_it_leaves_nothing() {
        if is_skipped("dovecot") {
            return;
        }
        let env = backed_up();
        for signal in [Signal::INT, Signal::TERM] {
            let scratch = env.path("scratch");
            let running = env.start(&["drill", "restore", env.repo(), "--scratch", text(&scratch)]);
            wait_until("it serves", || scratch.join("dovecot/output").exists());
            running.signal(signal);
            running.wait().expect(130);
            assert!(!scratch.exists());
            assert_eq!(processes_at(&scratch), [""; 0]);
        }
    }

    /// Nobody can remove the folder then; the server ends all the same.
    #[test]
    fn killed_while_it_serves_it_leaves_no_server() {
        if is_skipped("dovecot") {
            return;
        }
        let env = backed_up();
        let scratch = env.path("scratch");
        let mut running = env.start(&["drill", "restore", env.repo(), "--scratch", text(&scratch)]);
        wait_until("it serves", || scratch.join("dovecot/log").exists());
        running.child.kill().unwrap();
        running.wait();
        wait_until("the server ended", || processes_at(&scratch).is_empty());
    }
}
