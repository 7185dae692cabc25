//! Finding messages by their fields, whatever charset they are in and whatever they try with the
//! terminal, comparing nights, and printing one message.

use std::fs;

use crate::env::{Env, text};
use crate::nights::{furnish, pass_a_night};

const MAILBOX: &str = "example.org/alice/Maildir";

/// From, Subject, and what `find` must make of them.
const MAIL: [(&str, &str, &str, &str); 8] = [
    ("bob@example.net", "plain", "bob@example.net", "plain"),
    (
        "=?utf-8?Q?J=C3=BCrgen?= <j@x.net>",
        "=?UTF-8?B?8J+OiQ==?= party",
        "Jürgen <j@x.net>",
        "🎉 party",
    ),
    ("x@x.net", "=?iso-8859-1?Q?caf=E9_au_lait?=", "x@x.net", "café au lait"),
    ("x@x.net", "=?koi8-r?B?8NLJ18XU?=", "x@x.net", "Привет"),
    ("x@x.net", "=?iso-2022-jp?B?GyRCRnxLXDhsGyhC?=", "x@x.net", "日本語"),
    ("x@x.net", "=?gb2312?B?1tDOxA==?=", "x@x.net", "中文"),
    ("x@x.net", "=?utf-8?Q?two_?=\r\n =?utf-8?Q?parts?=", "x@x.net", "two parts"),
    ("x@x.net", "raw \u{fc}ml\u{e4}ut", "x@x.net", "raw ümläut"),
];

fn mailbox_of_charsets(env: &Env) {
    let mailbox = env.store().mailbox(MAILBOX);
    for (nth, (from, subject, ..)) in MAIL.iter().enumerate() {
        let mail = format!(
            "Received: by mx\r\nFrom: {from}\r\nTo: list{nth}@example.org\r\nSubject: {subject}\r\n\
             Message-ID: <{nth}@example.net>\r\nDate: Sat, 21 Nov 2026 03:15:00 +0000\r\n\r\nbody\r\n"
        );
        mailbox.message(format!("cur/1.{nth}.host:2,S"), mail.as_bytes());
    }
}

fn find(env: &Env, conditions: &[&str]) -> Vec<(String, String, String)> {
    let arguments = [&["find", env.repo(), "--json"], conditions].concat();
    let document = env.run(&arguments).expect(0).json();
    let messages = document["messages"].as_array().unwrap();
    let field =
        |message: &serde_json::Value, name: &str| message[name].as_str().unwrap().to_owned();
    let row = |m: &serde_json::Value| (field(m, "id"), field(m, "from"), field(m, "subject"));
    messages.iter().map(row).collect()
}

#[test]
fn each_field_is_found_decoded_and_in_any_case() {
    let env = Env::encrypted();
    mailbox_of_charsets(&env);
    env.backup(&[]).expect(0);
    for (nth, (.., from, subject)) in MAIL.iter().enumerate() {
        let upper = subject.to_uppercase();
        let to = format!("LIST{nth}@");
        for conditions in [["--subject", &upper], ["--to", &to]] {
            let found = find(&env, &conditions);
            assert_eq!(found.len(), 1, "{conditions:?}: {found:?}");
            assert_eq!((found[0].1.as_str(), found[0].2.as_str()), (*from, *subject));
        }
    }
    assert_eq!(find(&env, &["--from", "JÜRGEN"]).len(), 1);
    assert_eq!(find(&env, &["--from", "x@X.net"]).len(), 6);
    assert_eq!(find(&env, &["--from", "x@x.net", "--subject", "café"]).len(), 1);
    assert_eq!(find(&env, &["--message-id", "3@example.net"])[0].2, "Привет");
    assert_eq!(find(&env, &["--message-id", "<3@example.net>"])[0].2, "Привет");
    assert_eq!(find(&env, &["--message-id", "3@example"]), []);
    assert_eq!(find(&env, &["--mailbox", "alice@example.org"]).len(), 8);
    // The files' times lie between 2014 and 2017.
    assert_eq!(find(&env, &["--since", "2014-01-01", "--before", "2018-01-01"]).len(), 8);
    assert_eq!(find(&env, &["--since", "7d"]), []);
    let nothing = env.run(&["find", env.repo(), "--from", "nobody"]).expect(0);
    assert_eq!(nothing.stdout, "");
    assert!(
        nothing.stderr.starts_with("No message found in 1 mailbox of 1 snapshot in "),
        "{nothing}"
    );
}

#[test]
fn a_message_is_printed_byte_for_byte() {
    for env in [Env::encrypted(), Env::plain()] {
        mailbox_of_charsets(&env);
        env.backup(&[]).expect(0);
        for nth in 0..MAIL.len() {
            let (id, ..) = find(&env, &["--message-id", &format!("{nth}@example.net")]).remove(0);
            let printed = env.run(&["ls", env.repo(), "--message", &id]).expect(0);
            let file = env.path("store").join(MAILBOX).join(format!("cur/1.{nth}.host:2,S"));
            assert_eq!(printed.stdout.as_bytes(), fs::read(file).unwrap());
            assert_eq!(printed.stderr, "");
        }
    }
}

#[test]
fn lines_for_a_pipe_have_six_fields_and_no_control_characters() {
    let env = Env::plain();
    let mailbox = env.store().mailbox(MAILBOX);
    let hostile =
        "From: a\tb\x1b[2J\r\nSubject: =?utf-8?Q?one=0Atwo=1B]0;x=07=E2=80=AEdlo=09?=\r\n\r\n";
    mailbox.message("cur/1.a.host:2,S", hostile.as_bytes());
    mailbox.message("cur/2.b.host:2,S", b"no header at all");
    mailbox.message(".Od\td\x1b/cur/3.c.host:2,S", b"Subject: in an odd folder\n\n");
    env.backup(&[]).expect(0);
    let output = env.run(&["find", env.repo()]).expect(0);
    assert_eq!(output.stdout.lines().count(), 3, "{output}");
    for line in output.stdout.lines() {
        assert_eq!(line.split('\t').count(), 6, "{line:?}");
        assert!(
            !line.contains(|c: char| c != '\t' && (c.is_control() || c == '\u{202e}')),
            "{line:?}"
        );
    }
    assert!(output.stderr.starts_with("3 messages found in 1 mailbox"), "{output}");
    env.run(&["find", env.repo(), "--json"]).expect(0).json();
}

#[test]
fn what_was_deleted_is_found_and_what_changed_is_told() {
    let env = Env::encrypted();
    furnish(&env);
    let first = env.backup(&["--json"]).expect(0).json();
    pass_a_night(&env);
    env.backup(&[]).expect(0);
    let all = find(&env, &["--all", "--from", "sender"]);
    let latest = find(&env, &["--from", "sender"]);
    let deleted = find(&env, &["--deleted", "--from", "sender"]);
    assert_eq!((all.len(), latest.len(), deleted.len()), (latest.len() + 1, 85, 1));
    let printed = env.run(&["ls", env.repo(), "--message", &deleted[0].0]).expect(0);
    assert!(printed.stdout.contains(&deleted[0].2), "{printed}");

    let first = first["snapshot"].as_str().unwrap();
    let diff = ["diff", env.repo(), first, "latest"];
    let document = env.run(&[&diff[..], &["--json", "--names"]].concat()).expect(0).json();
    let totals = serde_json::json!({"delivered": 6, "expunged": 1, "moved": 1, "reflagged": 2});
    assert_eq!(document["totals"], totals, "{document}");
    assert_eq!(document["messages"].as_array().unwrap().len(), 10);
    let output = env.run(&[&diff[..], &["--mailbox", "alice@example.org"]].concat()).expect(0);
    let lines: Vec<&str> = output.stdout.lines().map(str::trim_end).collect();
    assert!(lines[0].starts_with("MAILBOX"), "{output}");
    assert!(lines.iter().any(|line| line.contains(".Travel (new)")), "{output}");
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("4 messages delivered, 1 expunged, 1 moved, 2 re-flagged"),
        "{output}"
    );
    let same = env.run(&["diff", env.repo(), "latest", "latest"]).expect(0);
    assert!(same.stdout.starts_with("0 messages delivered"), "{same}");
}

#[test]
fn an_index_that_is_gone_makes_the_search_incomplete() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let index = env.keys(".idx.").remove(0);
    fs::remove_file(env.path("repo").join(&index)).unwrap();
    let output = env.run(&["find", env.repo()]).expect(3);
    assert!(output.stderr.contains(&index) && output.stderr.contains("see above"), "{output}");
    assert!(!output.stdout.is_empty());
    let document = env.run(&["find", env.repo(), "--json"]).expect(3).json();
    assert_eq!(document["problems"].as_array().unwrap().len(), 1);
    let to = env.path("to");
    env.run(&["restore", env.repo(), "latest", "--to", text(&to)]).expect(0);
}
