//! What is named on the command line and is not there, or is several: each error says what can be
//! named instead, and says it where it was asked.

use std::fs;

use crate::env::{Env, text};
use crate::nights::furnish;
use crate::process::Output;
use crate::store::letter;

const ALICE: &str = "example.org/alice/Maildir";

/// Every command that takes `--mailbox`, with this one.
fn everywhere(env: &Env, mailbox: &str) -> Vec<Output> {
    let repo = env.repo();
    let to = env.path("restored").display().to_string();
    let outputs = [
        &["ls", repo, "latest"][..],
        &["find", repo],
        &["find", repo, "--all"],
        &["diff", repo, "latest", "latest"],
        &["restore", repo, "latest", "--dry-run", "--to", &to],
    ];
    outputs.map(|command| env.run(&[command, &["--mailbox", mailbox]].concat())).into()
}

#[test]
fn a_mailbox_goes_by_its_name_its_path_or_its_id() {
    let env = Env::encrypted();
    furnish(&env);
    env.store().mailbox("team/grace").fill("", 2, 9);
    env.backup(&[]).expect(0);
    let list = env.run(&["ls", env.repo(), "latest", "--json"]).expect(0).json();
    for row in list["mailboxes"].as_array().unwrap() {
        let path = row["path"].as_str().unwrap();
        let (name, id) = (row["name"].as_str().unwrap(), row["id"].as_str().unwrap());
        let short = path.trim_end_matches("/Maildir");
        let names = [name, path, &format!("{path}/"), short, id];
        for name in names {
            let outputs = everywhere(&env, name);
            let same = everywhere(&env, names[0]);
            for (output, same) in outputs.into_iter().zip(same) {
                let counts = |output: Output| {
                    let text = output.expect(0).stdout;
                    text.rsplit_once(" in ").map_or(text.clone(), |(start, _)| start.to_owned())
                };
                assert_eq!(counts(output), counts(same), "{name}");
            }
        }
    }
}

#[test]
fn a_mailbox_or_folder_that_is_not_there_brings_up_those_that_are() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let typed = ["alise@example.org", "example.org/alise/Maildir"];
    for output in typed.map(|name| everywhere(&env, name)).into_iter().flatten() {
        let output = output.expect(1);
        assert!(output.stderr.ends_with("hint: did you mean `alice@example.org`?\n"), "{output}");
    }
    for output in everywhere(&env, "nobody") {
        let output = output.expect(1);
        assert!(
            output.stderr.ends_with("hint: `mailrig ls REPO SNAPSHOT` lists them\n"),
            "{output}"
        );
    }
    let ls = ["ls", env.repo(), "latest", "--mailbox", "alice@example.org", "--folder"];
    let sentence = "the mailbox has no folder `sent` in this snapshot";
    env.run(&[&ls[..], &["sent"]].concat()).expect_error(1, sentence, "did you mean `Sent`?");
    let to = env.path("to").display().to_string();
    let restore = ["restore", env.repo(), "latest", "--to", &to, "--mailbox", ALICE, "--folder"];
    let sentence = "alice@example.org has no folder `Sint` in this snapshot";
    env.run(&[&restore[..], &["Sint"]].concat()).expect_error(1, sentence, "did you mean `Sent`?");
}

#[test]
fn a_tree_goes_by_its_path() {
    let env = Env::plain();
    furnish(&env);
    let tree = env.path("etc");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("main.cf"), "").unwrap();
    env.backup(&["--with", text(&tree)]).expect(0);
    let ls = |path: String| env.run(&["ls", env.repo(), "latest", &path]);
    for path in [tree.display().to_string(), format!("{}/", tree.display())] {
        assert!(ls(path).expect(0).stdout.ends_with("\n1 file.\n"));
    }
    let typo = ls(format!("{}x", tree.display())).expect(1).stderr;
    assert!(typo.contains(" has no mailbox or tree `"), "{typo}");
    assert!(typo.ends_with(&format!("hint: did you mean `{}`?\n", tree.display())), "{typo}");
}

#[test]
fn two_mailboxes_of_one_name_are_told_apart() {
    let env = Env::plain();
    for (path, messages) in [("a/example.org/alice", 2), ("b/example.org/alice", 3)] {
        env.store().mailbox(path).fill("", messages, 1);
    }
    env.backup(&[]).expect(0);
    let ls = |name: &str| env.run(&["ls", env.repo(), "latest", "--mailbox", name]);
    let both = ls("alice@example.org").expect(1).stderr;
    assert!(
        both.starts_with("error: several mailboxes are called `alice@example.org`:\n"),
        "{both}"
    );
    assert!(both.contains("  a/example.org/alice (id ") && both.contains("  b/example"), "{both}");
    assert!(both.ends_with("\nhint: name one by its path or its id\n"), "{both}");
    assert!(ls("b/example.org/alice").expect(0).stdout.contains("1 folder with 3 messages."));
}

/// A snapshot that is asked for by a start that several have, or none.
#[test]
fn candidates_for_a_snapshot_are_listed() {
    let env = Env::plain();
    furnish(&env);
    let backup =
        || env.backup(&["--json"]).expect(0).json()["snapshot"].as_str().unwrap().to_owned();
    let ids = [backup(), backup()];
    let start = &ids[0][..4];
    for command in [&["ls", env.repo(), start][..], &["verify", env.repo(), start]] {
        let error = env.run(command).expect(1).stderr;
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines[0], format!("error: several snapshots begin with `{start}`:"));
        assert!(
            lines[1].trim_start().starts_with(&ids[1]) && lines[1].ends_with(" UTC"),
            "{error}"
        );
        assert!(lines[2].trim_start().starts_with(&ids[0]), "{error}");
        assert_eq!(lines[3..], ["hint: give more of one id"]);
    }
    env.run(&["find", env.repo(), "--snapshot", ""]).expect(1);
}

#[test]
fn an_id_of_no_message_is_refused_by_what_is_wrong_with_it() {
    let env = Env::plain();
    furnish(&env);
    env.backup(&[]).expect(0);
    let found = env.run(&["find", env.repo(), "--json"]).expect(0).json();
    let id = found["messages"][0]["id"].as_str().unwrap();
    let [snapshot, mailbox, hash] = id.split('/').collect::<Vec<_>>().try_into().unwrap();
    let ls = |id: &str| env.run(&["ls", env.repo(), "--message", id]);
    let whole = "give a whole id, as `mailrig find` prints it";
    let other = format!("{snapshot}/{mailbox}/0000000000000000");
    let what = format!("the mailbox {mailbox} has no message {other} in snapshot {snapshot}");
    ls(&other).expect_error(1, &what, whole);
    let cut = format!("{snapshot}/{mailbox}/{}", &hash[..8]);
    let what = format!("the mailbox {mailbox} has no message {cut} in snapshot {snapshot}");
    ls(&cut).expect_error(1, &what, whole);
    let other = format!("{snapshot}/00000000/{hash}");
    let what = format!("snapshot {snapshot} has no mailbox 00000000 (of message {other})");
    ls(&other).expect_error(1, &what, whole);
    let other = format!("20000101T000000000Z-00000000/{mailbox}/{hash}");
    let what = format!("there is no snapshot 20000101T000000000Z-00000000 (of message {other})");
    ls(&other).expect_error(1, &what, "`mailrig snapshots` lists them");
    for id in ["../../x", "", "a/b", &format!("{id}/x")] {
        let output = ls(id).expect(2);
        assert!(output.stderr.contains("SNAPSHOT/MAILBOX/HASH as `find` prints it"), "{output}");
    }
    let twice = env.run(&["ls", env.repo(), "latest", "--message", id]);
    twice.expect_error(2, "--message names its snapshot itself: give REPO alone", "");
    env.run(&["ls", env.repo(), "--message", id, "--json"]).expect(2);
}

/// Two stores in one repository: the newest snapshot is not silently taken for the other store's.
#[test]
fn latest_names_its_store_where_there_are_several() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let (store, other) = (env.path("store"), env.path("other"));
    fs::create_dir(&other).unwrap();
    let mailbox = crate::store::Store::at(&other).mailbox("example.net/zoe");
    mailbox.message("cur/1600000000.M1P1.host:2,S", &letter(1)).fill("", 3, 1);
    let second =
        |code| env.run(&["backup", env.repo(), text(&other), "--json"]).expect(code).json();
    second(0);
    mailbox.remove("cur/1600000000.M1P1.host:2,S");
    let newest = second(0)["snapshot"].as_str().unwrap().to_owned();
    let host = env.run(&["snapshots", env.repo(), "--show", &newest, "--json"]).expect(0).json();
    let host = host["host"].as_str().unwrap();
    let told = format!("`latest` is {newest} of {host}:{}; `latest:{host}:", other.display());
    let to = env.path("to").display().to_string();
    let commands = [
        &["ls", "latest"][..],
        &["find"],
        &["diff", "latest", "latest"],
        &["verify", "latest"],
        &["snapshots", "--show", "latest"],
        &["restore", "latest", "--to", &to, "--dry-run"],
    ];
    for command in commands {
        let run = |more: &[&str], wanted: &str| {
            let rest =
                command[1..].iter().map(|word| if *word == "latest" { wanted } else { word });
            let rest: Vec<&str> = rest.collect();
            env.run(&[&command[..1], &[env.repo()], &rest, more].concat()).expect(0)
        };
        let output = run(&[], "latest");
        assert!((output.stdout.clone() + &output.stderr).contains(&told), "{output}");
        let document = run(&["--json"], "latest").json();
        let notices = [&document["notices"], &document["notes"]].map(ToString::to_string).concat();
        assert!(notices.contains(&told), "{document}");
        if command[0] != "find" {
            let chosen = run(&[], &format!("latest:{}", store.display()));
            assert!(
                !(chosen.stdout.clone() + &chosen.stderr).contains("several stores"),
                "{chosen}"
            );
        }
    }
    // Of each store, what is gone from its own newest snapshot.
    let deleted = env.run(&["find", env.repo(), "--deleted", "--json"]).expect(0).json();
    assert_eq!(deleted["messages"].as_array().unwrap().len(), 1, "{deleted}");
    let latest = format!("latest:{}", store.display());
    let restore = ["restore", env.repo(), &latest, "--at", "0h ago", "--to", &to];
    assert!(env.run(&restore).expect(0).stdout.contains("2 mailboxes"));
    // Not into the store of which it is not.
    let in_place = ["restore", env.repo(), "latest", "--in-place", text(&store)];
    let refused = env.run(&in_place).expect(2).stderr;
    assert!(
        refused.ends_with(&format!(", not of {}: name `{latest}`\n", store.display())),
        "{refused}"
    );
    assert!(!store.join("example.net").exists());
    let nobody = env.run(&["ls", env.repo(), "latest:/srv"]).expect(1).stderr;
    assert!(
        nobody.starts_with(
            "error: the repository has no snapshot of the store `/srv`\nhint: it has `latest:"
        ),
        "{nobody}"
    );
}
