//! What `--json` prints, held against the schemas in `docs/schema`. Every document that any test
//! reads is checked; the tests here see to it that each kind is among them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::env::{Env, text};
use crate::nights::furnish;

/// Why a document is not as its schema says; empty when it is.
pub(crate) fn violations(document: &Value) -> Vec<String> {
    let kind = document["type"].as_str().expect("a document has a type");
    let path = Path::new(SCHEMAS).join(format!("{kind}.json"));
    let schema = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let schema: Value = serde_json::from_str(&schema).unwrap();
    jsonschema::meta::validate(&schema).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(document).map(|e| format!("{} at {}", e, e.instance_path())).collect()
}

#[test]
fn every_command_keeps_to_its_schema() {
    let env = Env::new();
    let kind = |document: Value| document["type"].as_str().unwrap().to_owned();
    assert_eq!(kind(env.init(&["--json"]).expect(0).json()), "init");
    furnish(&env);
    std::os::unix::fs::symlink("/etc/passwd", env.path("store/example.org/alice/Maildir/cur/1.x"))
        .unwrap();
    assert_eq!(kind(env.backup(&["--json", "--dry-run"]).expect(3).json()), "backup");
    assert_eq!(kind(env.backup(&["--json"]).expect(3).json()), "backup");
    let run = |code: i32, arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.insert(1, env.repo());
        arguments.push("--json");
        env.run(&arguments).expect(code).json()
    };
    assert_eq!(kind(run(0, &["snapshots"])), "snapshots");
    assert_eq!(kind(run(0, &["snapshots", "--show", "latest"])), "snapshot");
    let alice = ["--mailbox", "alice@example.org", "--folder", "INBOX"];
    for filter in [&[][..], &alice[..2], &alice] {
        assert_eq!(kind(run(0, &[&["ls", "latest"], filter].concat())), "ls");
    }
    assert_eq!(kind(run(0, &["find", "--all"])), "find");
    assert_eq!(kind(run(0, &["diff", "latest", "latest"])), "diff");
    let pack = env.keys(".tar.").remove(0);
    fs::remove_file(Path::new(env.repo()).join(pack)).unwrap();
    let to = env.path("to");
    let restored = run(3, &["restore", "latest", "--to", text(&to)]);
    assert!(!restored["problems"].as_array().unwrap().is_empty());
    assert_eq!(kind(restored), "restore");
    let verified = run(4, &["verify", "--level", "content"]);
    assert!(!verified["problems"].as_array().unwrap().is_empty());
    assert_eq!(kind(verified), "verify");
    let manifest = env.keys("snapshots/").remove(0);
    fs::write(Path::new(env.repo()).join(manifest), "no manifest").unwrap();
    let demo = env.run(&["demo", "--messages", "200", "--json"]).expect(0).json();
    assert_eq!(demo["is_equal"], true);
    let list = run(3, &["snapshots"]);
    assert!(!list["damaged"].as_array().unwrap().is_empty());
}

#[test]
fn an_error_is_a_document_on_stderr() {
    let env = Env::new();
    let output = env.run(&["backup", env.repo(), text(&env.path("store")), "--json"]).expect(1);
    assert_eq!(output.stdout, "", "{output}");
    let expected = json!({
        "type": "error",
        "exit_code": 1,
        "message": format!("there is no repository at {}", env.repo()),
        "hint": "make one with `mailrig init`",
    });
    assert_eq!(output.error(), expected);
    let usage = env.run(&["ls", "--json", "--no-such-option"]).expect(2).error();
    assert_eq!(usage["message"], "unexpected argument '--no-such-option' found");
}

#[test]
fn a_schema_refuses_what_it_does_not_know() {
    let document = json!({"type": "error", "exit_code": 1, "message": "x"});
    assert_eq!(violations(&document), [""; 0]);
    for (key, value) in [("extra", json!(1)), ("exit_code", json!(9)), ("message", json!(null))] {
        let mut wrong = document.clone();
        wrong[key] = value;
        assert_eq!(violations(&wrong).len(), 1, "{wrong}");
    }
}

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema");
