//! Every scenario that ships passes, and its broken twin fails with the class that it is to show; nothing is left of
//! either, and the journal alone gives the same verdict.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{drill, of_class, processes_of};
use crate::env::{Env, text};
use crate::process::Output;

/// What a run must keep to whatever its verdict is.
#[track_caller]
fn assert_whole(env: &Env, out: &Path, document: &Value) {
    let messages = &document["messages"];
    let by_class = messages["by_class"].as_object().unwrap();
    let sum: u64 = by_class.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(messages["sent"], sum, "{document}");
    assert!(messages["accepted"].as_u64().unwrap() > 50, "{document}");
    assert_eq!((messages["never_sent"].as_u64(), messages["foreign"].as_u64()), (Some(0), Some(0)));
    assert_eq!(document["left"], serde_json::json!([]), "{document}");
    assert_eq!(processes_of(document["run"].as_str().unwrap()), Vec::<String>::new());
    assert!(!out.join("lab").exists());
    assert_listed(out);
    let again = env.run(&["drill", "analyze", text(out), "--json"]).json();
    for key in ["verdict", "criteria", "messages", "rto", "rpo", "examples"] {
        assert_eq!(again[key], document[key], "{key}");
    }
}

/// The manifest lists every file as it is.
#[track_caller]
fn assert_listed(out: &Path) {
    let manifest: Value =
        serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    for file in files {
        let bytes = fs::read(out.join(file["path"].as_str().unwrap())).unwrap();
        let sum =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            (&file["size_bytes"], &file["sha256"]),
            (&bytes.len().into(), &sum.into()),
            "{file}"
        );
    }
    for name in ["journal.jsonl", "result.json", "scenario.toml"] {
        assert!(files.iter().any(|file| file["path"] == name), "{name}: {manifest}");
    }
}

#[track_caller]
pub(super) fn passes(name: &str) -> Value {
    passes_in(&Env::new(), name, &|env, scenario, out| drill(env, scenario, out, &[]))
}

/// Runs a scenario that ships into a folder.
pub(super) type Run<'r> = &'r dyn Fn(&Env, &str, &Path) -> Output;

#[track_caller]
pub(super) fn passes_in(env: &Env, name: &str, run: Run<'_>) -> Value {
    let out = env.path("drill");
    let document = run(env, name, &out).expect(0).json();
    assert_eq!(document["verdict"], "pass", "{document}");
    assert_whole(env, &out, &document);
    document
}

/// The criterion that must fail is a class, or what IMAP promises.
#[track_caller]
pub(super) fn fails(name: &str, class: &str) -> Value {
    fails_in(&Env::new(), name, class, &|env, scenario, out| drill(env, scenario, out, &[]))
}

#[track_caller]
pub(super) fn fails_in(env: &Env, name: &str, class: &str, run: Run<'_>) -> Value {
    let out = env.path("drill");
    let document = run(env, &format!("broken/{name}"), &out).expect(4).json();
    assert_eq!(document["verdict"], "fail", "{document}");
    let criteria = document["criteria"].as_array().unwrap();
    let failed = criteria.iter().filter(|criterion| criterion["word"] == "fail");
    let failed: Vec<&Value> = failed.map(|criterion| &criterion["name"]).collect();
    assert!(failed.contains(&&Value::from(class)), "{failed:?}");
    assert_whole(env, &out, &document);
    document
}

#[test]
fn a_primary_that_is_killed_loses_nothing_and_a_backup_that_drops_is_found_out() {
    let document = passes("primary-killed");
    assert_eq!(document["messages"]["accepted"], of_class(&document, "delivered"));
    let outages = document["rto"].as_array().unwrap();
    let of = |service: &str| outages.iter().find(|outage| outage["service"] == service).unwrap();
    // With a backup hardly anybody waits; the primary itself was away as long as the scenario says.
    assert!(of("mail")["rto_us"].as_u64().unwrap() < of("primary")["rto_us"].as_u64().unwrap());
    assert!(of("primary")["rto_us"].as_u64().unwrap() > 2_000_000, "{document}");
    let document = fails("primary-killed", "lost");
    let lost = of_class(&document, "lost");
    assert_eq!(document["rpo"]["final"]["messages"], lost);
    assert!(document["examples"][0]["found"] == "nowhere" && lost > 10, "{document}");
}

#[test]
fn a_reply_that_is_lost_brings_copies_that_are_explained_and_a_lie_is_found_out() {
    let document = passes("reply-lost");
    let copies = document["messages"]["explained_copies"].as_u64().unwrap();
    assert!(copies > 10 && of_class(&document, "duplicate") == 0, "{document}");
    let attempts = document["messages"]["attempts"].as_u64().unwrap();
    assert!(attempts >= document["messages"]["sent"].as_u64().unwrap() + copies, "{document}");
    fails("reply-lost", "delivered_after_reject");
}

#[test]
fn a_primary_that_freezes_loses_nothing_and_one_that_answers_before_it_keeps_does() {
    let document = passes("slow-death");
    assert!(document["messages"]["attempts"].as_u64() > document["messages"]["sent"].as_u64());
    fails("slow-death", "lost");
}

#[test]
fn a_queue_outlives_its_process_and_one_that_does_not_is_found_out() {
    let document = passes("queue-survives");
    assert_eq!(of_class(&document, "pending"), 0);
    fails("queue-survives", "lost");
}

#[test]
fn a_standby_on_the_same_store_leaves_nothing_behind_and_one_with_its_own_does() {
    let document = passes("shared-store");
    assert_eq!(document["rpo"]["promotion"]["messages"], 0);
    fails("shared-store", "stranded");
}

#[test]
fn a_store_comes_back_with_its_uids_and_one_without_them_is_found_out() {
    let document = passes("total-loss");
    assert!(document["continuity"]["looks"].as_u64().unwrap() > 20, "{document}");
    let lost = of_class(&document, "lost");
    assert_eq!((document["rpo"]["final"]["messages"].as_u64(), lost > 0), (Some(lost), true));
    // Nothing else brought anything back; what was accepted while it died does not count for a snapshot.
    let snapshot = |key: &str| document["rpo"]["snapshot"][key].as_u64().unwrap();
    assert!((1..=lost).contains(&snapshot("messages")), "{document}");
    assert!(snapshot("accepted") > lost, "{document}");
    let document = fails("total-loss", "imap_breaches");
    assert!(document["continuity"]["breaches"].as_u64().unwrap() > 10, "{document}");
}

#[test]
fn a_dead_relays_queue_is_brought_over_and_one_that_nobody_looks_at_is_stranded() {
    let document = passes("salvage");
    let at_promotion = document["rpo"]["promotion"]["messages"].as_u64().unwrap();
    assert_eq!(document["rpo"]["salvage"]["messages"], 0, "{document}");
    let document = fails("salvage", "stranded");
    assert!(of_class(&document, "stranded") > 20 && of_class(&document, "lost") == 0, "{document}");
    assert!(at_promotion < of_class(&document, "stranded"), "{document}");
}

#[test]
fn a_partition_loses_nothing_and_a_split_brain_is_found_out() {
    let document = passes("partition");
    assert!(document["messages"]["explained_copies"].as_u64().unwrap() > 0, "{document}");
    fails("partition", "stranded");
}

#[test]
fn a_journal_that_somebody_changed_is_no_evidence() {
    let env = Env::new();
    let out = env.path("drill");
    drill(&env, "primary-killed", &out, &[]).expect(0);
    let path = out.join("journal.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let output = env.run(&["drill", "analyze", text(&out)]).expect(1);
    assert!(output.stderr.contains("journal.jsonl: line "), "{output}");
}
