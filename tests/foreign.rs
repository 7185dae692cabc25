//! Mailboxes that are no Maildirs: refused by name where there is nothing else, an incident where
//! there are Maildirs beside them.

use std::fs;

use serde_json::json;

use crate::env::Env;

const HINT: &str =
    "copy it to Maildirs with `doveadm backup -u USER maildir:FOLDER`, and back those up";

fn write(env: &Env, path: &str, content: &str) {
    let path = env.path("store").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_store_of_other_formats_is_refused_by_their_names() {
    let index = "its index files hold data that is nowhere else";
    let mbox = "one file holds all messages and changes under its reader";
    for (files, path, format, reason) in [
        (&["al/mdbox/storage/m.1", "al/mdbox/mailboxes/x"][..], "al/mdbox", "mdbox", index),
        (&["al/sdbox/mailboxes/INBOX/dbox-Mails/u.1"], "al/sdbox", "sdbox", index),
        (&["al"], "al", "mbox", mbox),
    ] {
        let env = Env::encrypted();
        files.iter().for_each(|file| write(&env, file, "From a@b Sat Nov 21\n"));
        let store = env.path("store").canonicalize().unwrap();
        let (shown, path) = (store.display(), store.join(path));
        let path = path.display();
        let sentence = format!("no Maildir found in {shown}: {path} is {format}, and {reason}");
        env.backup(&[]).expect_error(1, &sentence, HINT);
        assert_eq!(env.keys("snapshots/"), [""; 0]);
    }
}

#[test]
fn beside_maildirs_each_is_an_incident() {
    let env = Env::encrypted();
    env.store().mailbox("example.org/alice/Maildir").fill("", 3, 1);
    write(&env, "example.org/bob/mdbox/storage/m.1", "2 M1e");
    write(&env, "example.org/bob/mdbox/mailboxes/INBOX/dbox-Mails/dovecot.index.log", "");
    write(&env, "example.org/carol/mbox", "From a@b Sat Nov 21\n");
    for _ in 0..2 {
        let report = env.backup(&["--json"]).expect(3).json();
        assert_eq!(report["totals"]["messages"], 3);
        assert_eq!(report["ledger"]["foreign_formats"], 2);
        let paths: Vec<_> =
            report["incidents"].as_array().unwrap().iter().map(|i| &i["path"]).collect();
        assert_eq!(paths, [&json!("example.org/bob/mdbox"), &json!("example.org/carol/mbox")]);
    }
    let output = env.backup(&[]).expect(3);
    let line =
        "problem    example.org/bob/mdbox: no Maildir, not backed up (mdbox: its index files";
    assert!(output.stdout.contains(line), "{output}");
}
