//! Replays the seeds of the fuzz targets, which found what they hold once: the checks must hold.

#[path = "../fuzz/src/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it from outside")]
mod checks;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for seed in fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 3, "few seeds");
}

#[test]
fn uidlists_hold_what_they_must() {
    replay("uidlist", checks::uidlist);
}

#[test]
fn base_names_hold_what_they_must() {
    replay("base-name", checks::base_name);
}

#[test]
fn catalogs_hold_what_they_must() {
    replay("catalog", checks::catalog);
}

#[test]
fn manifests_hold_what_they_must() {
    replay("manifest", checks::manifest);
}

#[test]
fn replies_hold_what_they_must() {
    replay("reply", checks::reply);
}

#[test]
fn commands_hold_what_they_must() {
    replay("command", checks::command);
}

#[test]
fn bodies_hold_what_they_must() {
    replay("unstuff", checks::unstuff);
}

#[test]
fn mail_logs_hold_what_they_must() {
    replay("mail-log", checks::mail_log);
}

#[test]
fn logs_of_histograms_hold_what_they_must() {
    replay("histogram-log", checks::histogram_log);
}

#[test]
fn profiles_hold_what_they_must() {
    replay("profile", checks::profile);
}

#[test]
fn scenarios_hold_what_they_must() {
    replay("scenario", checks::scenario);
}

#[test]
fn journals_of_drills_hold_what_they_must() {
    replay("drill-journal", checks::drill_journal);
}

#[test]
fn files_of_queues_hold_what_they_must() {
    replay("queue-file", checks::queue_file);
}

#[test]
fn dialogues_hold_what_they_must() {
    replay("proxy-dialogue", checks::proxy_dialogue);
}

#[test]
#[should_panic(expected = "assertion")]
fn a_check_that_does_not_hold_is_noticed() {
    replay("base-name", |name| assert_eq!(maildir::base_name(name), name));
}
