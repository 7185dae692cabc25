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

#[test]
fn scripts_without_a_place_to_go_cost_no_mail_of_a_new_store() {
    let env = Env::plain();
    furnish(&env);
    backup(&env, 0, &[]);
    let (to, scripts) = (env.path("to"), env.path("scripts"));
    fs::create_dir(&scripts).unwrap();
    let sieve = format!("{}/%d/%n", scripts.display());
    for is_made in [false, true] {
        // The folder itself cannot be made, or nothing can be put into it.
        set_mode(&scripts, 0o755);
        if is_made {
            fs::create_dir_all(scripts.join("example.org/alice")).unwrap();
            set_mode(&scripts.join("example.org/alice"), 0o555);
        }
        set_mode(&scripts, 0o555);
        let report = restore(&env, &["--to", text(&to), "--sieve", &sieve]);
        let problems = report["problems"].as_array().unwrap();
        let of = |name: &str| problems.iter().map(|p| p[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((of("messages"), of("files")), (0, 1), "{report}");
        let reason = problems[0]["reason"].as_str().unwrap();
        let place = scripts.join("example.org/alice").display().to_string();
        assert!(reason.contains(&place) && reason.contains("denied"), "{reason}");
        assert_eq!(report["messages"], 6, "{report}");
        assert!(to.join("example.org/alice/Maildir/cur").exists());
        assert!(!to.join("example.org/alice/Maildir/.mailrig-outside").exists());
        fs::remove_dir_all(&to).unwrap();
    }
}

/// Mail without its UIDs would pass for restored, and a second run would leave it so.
#[test]
fn lists_of_uids_without_a_place_to_go_leave_their_mailbox_for_the_next_run() {
    let env = Env::plain();
    furnish(&env);
    backup(&env, 0, &[]);
    let (to, control) = (env.path("to"), env.path("lists"));
    fs::create_dir(&control).unwrap();
    set_mode(&control, 0o555);
    let place = format!("{}/%d/%n", control.display());
    let report = restore(&env, &["--to", text(&to), "--control", &place]);
    let problems = report["problems"].as_array().unwrap();
    let reasons: Vec<_> = problems.iter().map(|p| p["reason"].as_str().unwrap()).collect();
    let named = |word: &str| reasons.iter().any(|r| r.contains(text(&control)) && r.contains(word));
    assert!(named("denied") && named("dovecot-uidlist"), "{reasons:?}");
    assert!(!to.join("example.org/alice/Maildir").exists());
    assert!(to.join("example.org/bob/Maildir/cur").exists(), "others are restored");
    set_mode(&control, 0o755);
    let again = ["restore", env.repo(), "latest", "--to", text(&to), "--control", &place, "--json"];
    let report = env.start_unprivileged(&again).wait().expect(3).json();
    assert_eq!(report["mailboxes"][0]["name"], "alice@example.org", "{report}");
    assert!(control.join("example.org/alice/.INBOX/dovecot-uidlist").exists());
}
