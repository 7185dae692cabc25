//! The real thing: real mail, delivered by a real Dovecot, backed up to a real S3 server, restored
//! elsewhere, and served by Dovecot again, as if nothing had happened.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dovecot::Dovecot;
use crate::env::{Env, is_raised, text};
use crate::servers::garage::Garage;
use crate::servers::process::{cache, is_skipped};
use crate::servers::{Access, BUCKET};

const USERS: [&str; 3] = ["alice@example.org", "bob@example.org", "carol@example.net"];

/// The SpamAssassin corpus: real mail, broken in every way that real mail is.
fn corpus() -> Option<Vec<PathBuf>> {
    if is_skipped("corpus") {
        return None;
    }
    let folder = cache().join("spam-assassin-0.2.3");
    let mut letters = Vec::new();
    for part in fs::read_dir(&folder).into_iter().flatten() {
        for letter in fs::read_dir(part.unwrap().path()).unwrap() {
            letters.push(letter.unwrap().path());
        }
    }
    letters.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    letters.sort();
    assert_eq!(
        letters.len(),
        6_046,
        "no corpus in {}: run `cargo xtask corpus`, or leave it out with MAILRIG_TEST_SKIP=corpus",
        folder.display()
    );
    Some(letters)
}

/// An environment whose repository lies in a bucket.
pub(crate) fn in_bucket(access: &Access) -> Env {
    Env::new()
        .at(format!("s3://{BUCKET}/mail"))
        .with("AWS_ENDPOINT_URL_S3", &access.endpoint)
        .with("AWS_REGION", access.region)
        .with("AWS_ACCESS_KEY_ID", &access.id)
        .with("AWS_SECRET_ACCESS_KEY", &access.secret)
}

pub(crate) fn make_vmail(store: &Path) {
    fs::create_dir_all(store).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(store, Some(crate::dovecot::VMAIL), Some(crate::dovecot::VMAIL))
            .unwrap();
    }
}

/// The runner leaves these out where what they need is not there.
mod needs_dovecot_needs_garage_needs_corpus {
    use super::*;

    #[test]
    fn mail_that_dovecot_delivered_is_served_again_from_a_restored_backup() {
        let (Some(letters), Some(garage)) = (corpus(), Garage::start()) else { return };
        let env = in_bucket(&garage.access);
        let store = env.path("vmail");
        make_vmail(&store);
        let Some(dovecot) = Dovecot::start(&env.path("first"), &store) else { return };
        let letters: Vec<_> = letters.into_iter().zip(USERS.into_iter().cycle()).collect();
        dovecot.deliver(&letters);
        env.init(&[]).expect(0);
        env.run(&["backup", env.repo(), text(&store)]).expect(0);
        for user in USERS {
            dovecot.use_mailbox(user);
        }
        let served = USERS.map(|user| dovecot.dump(user));
        let report = env.run(&["backup", env.repo(), text(&store), "--json"]).expect(0).json();
        assert_eq!(report["mailboxes"]["found"], 3);
        assert_eq!(report["ledger"]["duplicate_names"], 0);
        env.run(&["verify", env.repo(), "--level", "content"]).expect(0);
        assert_eq!(dovecot.complaints(), [""; 0]);
        drop(dovecot);

        let to = env.path("restored");
        env.run(&["restore", env.repo(), "latest", "--to", text(&to)]).expect(0);
        let Some(dovecot) = Dovecot::start(&env.path("second"), &to) else { return };
        for (user, before) in USERS.into_iter().zip(&served) {
            let after = dovecot.dump(user);
            let folders = before["folders"].as_object().unwrap();
            let names: Vec<_> = folders.keys().map(String::as_str).collect();
            assert_eq!(names, ["Archive", "Archive.2025", "INBOX", "M&APw-ll", "Sent"]);
            assert_eq!(before["subscribed"], after["subscribed"]);
            for (name, folder) in folders {
                let other = &after["folders"][name];
                assert_eq!(folder["uidvalidity"], other["uidvalidity"], "{name} of {user}");
                // Out of reach of the UIDs that clients saw after the backup.
                let next =
                    |folder: &Value| u32::try_from(folder["uidnext"].as_u64().unwrap()).unwrap();
                assert!(is_raised(next(folder), next(other)), "{name} of {user}");
                let (messages, others) = (&folder["messages"], &other["messages"]);
                for (uid, message) in messages.as_object().unwrap() {
                    assert_eq!(message, &others[uid], "UID {uid} of {name} of {user}");
                }
                assert_eq!(messages.as_object().unwrap().len(), others.as_object().unwrap().len());
            }
            let all = before.to_string();
            for mark in [r"\\Seen", r"\\Flagged", r"\\Draft", r"\\Deleted", "$Forwarded", "todo"] {
                assert!(all.contains(mark), "no message has {mark}: the test shows little");
            }
        }
        assert_eq!(dovecot.complaints(), [""; 0]);
        drop(dovecot);

        // Without the list of UIDs the comparison would not have passed.
        let to = env.path("without");
        let alice = ["restore", env.repo(), "latest", "--mailbox", USERS[0], "--to", text(&to)];
        env.run(&alice).expect(0);
        fs::remove_file(to.join("example.org/alice/Maildir/dovecot-uidlist")).unwrap();
        let Some(dovecot) = Dovecot::start(&env.path("third"), &to) else { return };
        let [before, after] = [&served[0], &dovecot.dump(USERS[0])]
            .map(|dump| dump["folders"]["INBOX"]["messages"].clone());
        assert_eq!(before.as_object().unwrap().len(), after.as_object().unwrap().len());
        assert_ne!(before, after);
    }
}
