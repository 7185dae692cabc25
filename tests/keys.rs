//! Identities that are wrong or missing, repositories of a newer format, places that are taken:
//! refused with a sentence and a next step.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::env::{Env, text};
use crate::nights::furnish;

const NAME_THE_FILE: &str =
    "name the file with the recovery identity: --identity FILE or MAILRIG_IDENTITY";

#[test]
fn a_wrong_identity_is_told_from_damage() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let other = Env::encrypted();
    fs::copy(other.identity(), env.identity()).unwrap();
    let key = env.keys("keys/").remove(0);
    let refused = |arguments: &[&str]| {
        let output = env.run(arguments).expect(1);
        let start = "error: the identity does not open this repository (keys/";
        assert!(output.stderr.starts_with(start), "{output}");
        let end = format!(" is sealed to another)\nhint: {NAME_THE_FILE}\n");
        assert!(output.stderr.ends_with(&end), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    };
    assert!(key.ends_with(".age"));
    let to = env.path("to");
    refused(&["restore", env.repo(), "latest", "--to", text(&to)]);
    refused(&[
        "restore",
        env.repo(),
        "latest",
        "--to",
        text(&to),
        "--mailbox",
        "alice@example.org",
    ]);
    refused(&["ls", env.repo(), "latest"]);
    refused(&["verify", env.repo(), "--level", "content"]);
    assert!(!to.exists());
}

#[test]
fn reading_without_an_identity_is_refused_and_writing_is_not() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let moved = env.path("moved");
    fs::rename(env.identity(), &moved).unwrap();
    let sentence = format!(
        "read identity {}: No such file or directory (os error 2)",
        env.identity().display()
    );
    env.restore("latest", "to").expect_error(1, &sentence, NAME_THE_FILE);
    let output = env.backup(&[]).expect(0);
    assert_eq!(output.stderr, format!("warning: {sentence}\n"), "{output}");
    env.run(&["snapshots", env.repo()]).expect(0);
    env.run(&["verify", env.repo(), "--level", "stored"]).expect(0);
    let restore = ["restore", env.repo(), "latest", "--to", "to", "--identity", text(&moved)];
    env.run(&restore).expect(0);

    // No option, no variable, and nothing where `init` would have put it. As `nobody`, whose
    // place for it is in the test's folder; root's is not.
    let env = env.without_variable("MAILRIG_IDENTITY");
    let restore = ["restore", env.repo(), "latest", "--to", "other"];
    let sentence = "the repository is encrypted and no identity was given";
    env.start_unprivileged(&restore).wait().expect_error(1, sentence, NAME_THE_FILE);

    let identity = env.identity();
    let restore = ["restore", env.repo(), "latest", "--to", "other", "--identity", text(&identity)];
    for (content, reason) in [
        ("nonsense\n", ""),
        ("age-encryption.org/v1\n", "it is encrypted itself; decrypt it with `age -d` first\n"),
        ("age1qqqq\n", "it is the public key; the identity begins with AGE-SECRET-KEY-\n"),
    ] {
        fs::write(&identity, content).unwrap();
        let output = env.run(&restore).expect(1);
        let shown = identity.display();
        let start = format!("error: read identity {shown}: not an age identity: {reason}");
        assert!(output.stderr.starts_with(&start), "{output}");
    }
}

#[test]
fn a_sealed_repository_is_written_without_and_read_with_the_secret() {
    let other = Env::encrypted();
    let identity = fs::read_to_string(other.identity()).unwrap();
    let recipient = identity.lines().find_map(|line| line.split("public key: ").nth(1)).unwrap();
    let env = Env::new();
    env.run(&["init", env.repo(), "--recipient", recipient]).expect(0);
    assert!(!env.identity().exists());
    furnish(&env);
    env.backup(&[]).expect(0);
    fs::copy(other.identity(), env.identity()).unwrap();
    env.restore("latest", "to").expect(0);
    crate::tree::Tree::read(&env.path("store")).assert_restored(&env.path("to"));
}

#[test]
fn a_newer_repository_is_refused() {
    let env = Env::plain();
    furnish(&env);
    env.backup(&[]).expect(0);
    let description = Path::new(env.repo()).join("repository.json");
    let json = fs::read_to_string(&description).unwrap();
    let newer = json.replacen("\"repository\": 1", "\"repository\": 2", 1);
    assert_ne!(json, newer);
    fs::write(&description, newer).unwrap();
    let sentence = "repository.json has format version 2; this mailrig reads up to 1";
    let hint = "use a newer mailrig";
    let before = env.objects();
    env.backup(&[]).expect_error(1, sentence, hint);
    env.restore("latest", "to").expect_error(1, sentence, hint);
    env.run(&["snapshots", env.repo()]).expect_error(1, sentence, hint);
    env.run(&["verify", env.repo()]).expect_error(1, sentence, hint);
    assert_eq!(env.objects(), before);
}

#[test]
fn a_newer_snapshot_is_refused_and_older_ones_are_read() {
    let env = Env::plain();
    furnish(&env);
    env.backup(&[]).expect(0);
    let first = env.keys("snapshots/").remove(0);
    env.store().mailbox("example.org/alice/Maildir").message("new/1.x", b"more");
    env.backup(&[]).expect(0);
    let newest = env.keys("snapshots/").remove(1);
    let path = Path::new(env.repo()).join(&newest);
    let json = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
    let json = String::from_utf8(json).unwrap();
    let newer = json.replacen("\"snapshot\":1", "\"snapshot\":2", 1);
    assert_ne!(json, newer);
    fs::write(&path, zstd::encode_all(newer.as_bytes(), 3).unwrap()).unwrap();
    let sentence = format!("{newest} has format version 2; this mailrig reads up to 1");
    env.restore("latest", "to").expect_error(1, &sentence, "use a newer mailrig");
    let first = first.trim_start_matches("snapshots/").trim_end_matches(".json.zst");
    env.restore(first, "first").expect(0);
    let list = env.run(&["snapshots", env.repo(), "--json"]).expect(3).json();
    assert_eq!(list["damaged"][0]["reason"], sentence);
    // What this mailrig cannot read is no reason not to look at the rest.
    let report = env.run(&["verify", env.repo(), "--json"]).expect(4).json();
    assert_eq!(report["problems"][0]["reason"], sentence);
    assert_eq!((&report["mailboxes"], &report["snapshots"][0]), (&2.into(), &first.into()));
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let sentence = format!("{} exists and is not overwritten", env.identity().display());
    env.init(&[]).expect_error(2, &sentence, "");
    let identity = env.path("other");
    let again = ["init", env.repo(), "--identity-out", text(&identity)];
    let sentence = format!("{} is a repository already", env.repo());
    env.run(&again).expect_error(1, &sentence, "back up into it with `mailrig backup`");
    assert!(!identity.exists());
    env.restore("latest", "to").expect(0);
    let output = env.restore("latest", "to").expect(1);
    let hint = "exists and is not empty\nhint: restore into an empty folder; or, if an earlier";
    assert!(output.stderr.contains(hint), "{output}");
    // Which is how to know that one was complete.
    let (repo, to) = (env.repo(), env.path("to"));
    let look = ["restore", repo, "latest", "--in-place", text(&to), "--dry-run", "--json"];
    let report = env.run(&look).expect(0).json();
    assert_eq!((&report["messages"], report["there"].as_u64() > Some(0)), (&0.into(), true));
    // A restore that was interrupted goes on with what is not there yet, and says what was.
    fs::remove_dir_all(env.path("to/example.org/bob")).unwrap();
    let output = env.restore("latest", "to").expect(3);
    assert!(output.stdout.contains("Restored 1 mailbox "), "{output}");
    assert!(output.stdout.contains("exists and is not empty; left as it is"), "{output}");
    assert!(env.path("to/example.org/bob/Maildir/cur").is_dir());
    let sentence = "there is no repository at /nonexistent";
    env.run(&["snapshots", "/nonexistent"]).expect_error(
        1,
        sentence,
        "make one with `mailrig init`",
    );
}

/// `mailrig ls | head -0` is no failure, and no noise.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let env = Env::encrypted();
    furnish(&env);
    env.backup(&[]).expect(0);
    let mut command = env.command();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.args(["ls", env.repo(), "latest"]).stdout(writer).stderr(Stdio::piped());
    let output = Command::output(&mut command).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
