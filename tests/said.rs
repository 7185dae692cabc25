//! What is printed: nothing that mail or a repository holds steers the terminal or makes lines of its
//! own; errors say where; what cannot be written is no success.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use crate::env::{Env, text};
use crate::nights::furnish;
use crate::process::Output;

/// No control character but the ends of lines and, between fields, tabs.
#[track_caller]
fn assert_harmless(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let steers = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!text.contains(steers), "{output:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{output:?}");
    }
}

#[test]
fn names_and_headers_neither_steer_a_terminal_nor_make_lines() {
    let env = Env::encrypted();
    let evil = "example.org/ev\x1b[2J\nforged il";
    let mailbox = env.store().mailbox(evil);
    let mail = b"From: \x1b]0;title\x07\nSubject: =?utf-8?Q?=1B]52;c;x=07=E2=80=AEab?=\n\nx";
    mailbox.message("cur/1.a:2,S", mail);
    mailbox.message(".Bad\x1b[31m\nforged folder/cur/2.b:2,S", b"Subject: \x9b31m\n\nx");
    std::os::unix::fs::symlink("/etc/passwd", mailbox.path("cur/3.\x1b\nforged c")).unwrap();
    let backup = env.backup(&[]);
    assert_harmless(&backup);
    let first = env.run(&["snapshots", env.repo(), "--json"]).expect(0).json();
    let first = first["snapshots"][0]["id"].as_str().unwrap();
    mailbox.remove("cur/1.a:2,S");
    env.backup(&[]);
    let (to, store) = (env.path("to").display().to_string(), env.path("store"));
    let name = "ev\x1b[2J\nforged il@example.org";
    for arguments in [
        &["ls", "latest"][..],
        &["ls", "latest", "--mailbox", name],
        &["ls", "latest", "--mailbox", name, "--folder", "INBOX"],
        &["ls", "latest", "--mailbox", "forged il"],
        &["ls", "latest", "--mailbox", name, "--folder", "forged folder"],
        &["find", "--all"],
        &["diff", first, "latest", "--names"],
        &["snapshots", "--show", "latest"],
        &["restore", "latest", "--in-place", text(&store)],
        &["restore", "latest", "--to", &to],
        &["verify", "--level", "content"],
    ] {
        assert_harmless(&env.run(&[&arguments[..1], &[env.repo()], &arguments[1..]].concat()));
    }
    let pack = env.keys(".tar.").remove(0);
    fs::remove_file(env.path("repo").join(pack)).unwrap();
    assert_harmless(&env.run(&["restore", env.repo(), "latest", "--to", &(to + "2")]).expect(3));
}

/// Names are shown with replaced bytes, and taken so.
#[test]
fn a_folder_that_is_not_utf_8_goes_by_what_is_shown() {
    use std::os::unix::ffi::OsStrExt;
    let env = Env::plain();
    let mailbox = env.store().mailbox("example.org/alice");
    mailbox.message(std::ffi::OsStr::from_bytes(b".Z\xff/cur/1.a:2,S"), b"x");
    env.backup(&[]).expect(0);
    let ls = ["ls", env.repo(), "latest", "--mailbox", "alice@example.org", "--folder"];
    for folder in ["Z\u{fffd}", ".Z\u{fffd}"] {
        let output = env.run(&[&ls[..], &[folder]].concat()).expect(0);
        assert!(output.stdout.ends_with("\n1 message.\n"), "{output}");
    }
}

#[test]
fn errors_of_places_and_arguments_say_what_is_wrong_with_them() {
    let env = Env::plain();
    env.run(&["find", env.repo(), "--all"]).expect_error(
        1,
        "the repository has no snapshot yet",
        "make one with `mailrig backup`",
    );
    furnish(&env);
    env.backup(&[]).expect(0);
    let file = env.path("file");
    fs::write(&file, "").unwrap();
    let sentence =
        format!("read {}/repository.json: Not a directory (os error 20)", file.display());
    env.run(&["ls", text(&file), "latest"]).expect_error(1, &sentence, "");
    let (below, identity) = (file.join("repo"), env.path("new-identity"));
    let sentence = format!("write {}: Not a directory (os error 20)", below.display());
    let init = ["init", text(&below), "--identity-out", text(&identity)];
    env.run(&init).expect_error(1, &sentence, "");
    assert!(!identity.exists(), "it opens nothing");
    let repository = env.path("repo/repository.json");
    let description = fs::read(&repository).unwrap();
    fs::write(&repository, "{").unwrap();
    let output = env.run(&["snapshots", env.repo()]).expect(1);
    assert!(
        output.stderr.ends_with("hint: put it back from a copy; docs/format.md has its form\n")
    );
    fs::write(&repository, description).unwrap();
    let days = ["--since", "2026-11-02", "--before", "2026-11-01"];
    let sentence = "--since must lie before --before";
    env.run(&[&["find", env.repo()], &days[..]].concat()).expect_error(2, sentence, "");
    let to = env.path("to").display().to_string();
    for time in ["yesterday", "2026-13-01", "2026-11-22 25:00"] {
        let restore = ["restore", env.repo(), "--to", &to, "--at", time];
        let output = env.run(&restore).expect(2);
        assert!(output.stderr.contains("expected 2026-11-21, '2026-11-21 03:00'"), "{output}");
    }
    // A name alone is a repository, as for all other commands.
    let name = Path::new(env.repo()).file_name().unwrap().to_str().unwrap();
    env.run(&["restore", name, "--to", &to, "--at", "0h ago", "--dry-run"]).expect(0);
    let restore = ["restore", env.repo(), "--to", &to, "--messages", "/dev/null"];
    let output = env.run(&restore).expect(1);
    assert!(output.stderr.contains("/dev/null: it is empty; `find` found nothing?"), "{output}");
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let env = Env::plain();
    furnish(&env);
    env.backup(&[]).expect(0);
    let found = env.run(&["find", env.repo(), "--json"]).expect(0).json();
    let id = found["messages"][0]["id"].as_str().unwrap();
    for arguments in [&["ls", "latest"][..], &["find"], &["ls", "--message", id]] {
        let mut command = env.command();
        command.arg(arguments[0]).arg(env.repo()).args(&arguments[1..]);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let sentence = "error: writing the result to standard output: No space left on device";
        assert!(stderr.contains(sentence), "{stderr}");
    }
}

/// As `2>&1 | head -1` or a terminal that went away leave it.
#[test]
fn nobody_has_to_read_what_is_said() {
    let env = Env::plain();
    furnish(&env);
    env.backup(&[]).expect(0);
    let store = env.path("store");
    let store = text(&store);
    for (code, arguments) in [
        (0, &["backup", env.repo(), store, "--identity", "/nonexistent", "-v"][..]),
        (0, &["find", env.repo()]),
        (1, &["ls", env.repo(), "nonsense"]),
        (1, &["ls", env.repo(), "nonsense", "--json"]),
        (2, &["ls", env.repo(), "--nonsense"]),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = env.command();
        command.args(arguments).env("MAILRIG_LOG", "debug");
        let output = command.stdout(Stdio::null()).stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
