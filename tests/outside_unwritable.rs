//! Places outside mailboxes that a restore may not write to: files that stay away are named as files,
//! and the mail comes back.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::env::{Env, text};
use crate::outside::{backup, furnish};
use crate::store::set_mode;

/// `restore` as a user whom modes bind.
fn restore(env: &Env, more: &[&str]) -> Value {
    let arguments = [&["restore", env.repo(), "latest", "--json"][..], more].concat();
    env.start_unprivileged(&arguments).wait().expect(3).json()
}

/// Of the one problem that is told: messages, files and the reason.
fn problem(report: &Value) -> (u64, u64, &str) {
    let [problem] = &report["problems"].as_array().unwrap()[..] else { panic!("{report}") };
    let number = |name: &str| problem[name].as_u64().unwrap();
    (number("messages"), number("files"), problem["reason"].as_str().unwrap())
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn scripts_without_room_in_a_live_home_cost_no_mail_and_count_as_files() {
    let env = Env::plain();
    furnish(&env);
    backup(&env, 0, &[]);
    let (home, store) = (env.path("store/example.org/alice"), env.path("store"));
    let message = fs::read_dir(home.join("Maildir/cur")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&message).unwrap();
    fs::remove_file(home.join("sieve/rules.sieve")).unwrap();
    set_mode(&home.join("sieve"), 0o555);
    let place = ["--in-place", text(&store), "--sieve", "~/sieve", "--sieve", "~/.dovecot.sieve"];
    let report = restore(&env, &place);
    let (messages, files, reason) = problem(&report);
    assert_eq!((messages, files), (0, 1), "{report}");
    let script = home.join("sieve/rules.sieve").display().to_string();
    assert!(reason.starts_with(&script) && reason.contains("denied"), "{reason}");
    assert_eq!(report["messages"], 1, "{report}");
    assert!(is_file(&message));
    // The same for people, in their words.
    let said = ["restore", env.repo(), "latest"];
    let said = env.start_unprivileged(&[&said[..], &place].concat()).wait().expect(3);
    assert!(said.stdout.contains("(1 file missing)"), "{said}");
}
