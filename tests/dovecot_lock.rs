//! `--dovecot-lock`: held while a folder is listed and not while its messages are read; one that stays
//! with its holder is waited for, and told. The kernel's notices (inotify) say what came before what.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::process::Signal;
use serde_json::json;

use crate::env::{Env, text, wait_until};
use crate::store::{Mailbox, set_mode};

const ALICE: &str = "example.org/alice/Maildir";
const LOCK: &str = "dovecot-uidlist.lock";

/// What was done in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Lock,
    /// The lock was looked at.
    Ask,
    Unlock,
    List,
    Read,
}

/// Looks on at a folder and the place of its list of UIDs.
struct Watch {
    inotify: OwnedFd,
    /// Whether it is `new` or `cur`.
    watches: HashMap<i32, bool>,
}

impl Watch {
    fn new(folder: &Path, list: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let flags = WatchFlags::OPEN | WatchFlags::CREATE | WatchFlags::DELETE;
        let add = |path: &Path| inotify::add_watch(&inotify, path, flags).unwrap();
        let subdirs = ["new", "cur"].map(|subdir| (add(&folder.join(subdir)), true));
        let watches = subdirs.into_iter().chain([(add(list), false)]).collect();
        Self { inotify, watches }
    }

    /// What was done since the last call, in order.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let is = |flag| event.events().contains(flag);
            let name = event.file_name().map(CStr::to_bytes);
            let is_of_messages = self.watches[&event.wd()];
            steps.extend(match (is_of_messages, name) {
                (true, None) if is(ReadFlags::OPEN) => Some(Step::List),
                (true, Some(_)) if is(ReadFlags::OPEN) => Some(Step::Read),
                (false, Some(name)) if name == LOCK.as_bytes() => Some(match () {
                    () if is(ReadFlags::CREATE) => Step::Lock,
                    () if is(ReadFlags::DELETE) => Step::Unlock,
                    () => Step::Ask,
                }),
                _ => None,
            });
        }
        steps
    }
}

/// Listings without the lock, and messages read under it.
fn wrong(steps: &[Step]) -> Vec<(usize, Step)> {
    let mut is_held = false;
    let mut wrong = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Lock => is_held = true,
            Step::Unlock => is_held = false,
            Step::List if !is_held => wrong.push((at, *step)),
            Step::Read if is_held => wrong.push((at, *step)),
            _ => {}
        }
    }
    wrong
}

/// Five messages in INBOX and three in Sent, with lists of UIDs.
fn furnish(env: &Env) -> Mailbox {
    let alice = env.store().mailbox(ALICE);
    alice.fill("", 5, 1).fill(".Sent", 3, 2);
    for folder in ["", ".Sent"] {
        fs::write(alice.path(folder).join("dovecot-uidlist"), "3 V1 N9\n").unwrap();
    }
    alice
}

/// A lock as this process would hold it.
fn held_here() -> String {
    let uname = rustix::system::uname();
    format!("{}:{}", std::process::id(), uname.nodename().to_str().unwrap())
}

#[test]
fn a_folder_is_listed_under_the_lock_and_read_without() {
    let env = Env::plain();
    let alice = furnish(&env);
    let control = env.path("control/example.org/alice/.INBOX");
    fs::create_dir_all(&control).unwrap();
    fs::write(control.join("dovecot-uidlist"), "3 V1 N9\n").unwrap();
    let pattern = format!("{}/%d/%n", env.path("control").display());
    let table: [(PathBuf, &[&str]); 2] =
        [(alice.path(""), &[]), (control, &["--control", &pattern])];
    for (list, places) in table {
        let watch = Watch::new(&alice.path(""), &list);
        let run = |lock: &[&str]| {
            env.backup(&[&["--rehash"][..], places, lock].concat()).expect(0);
            watch.steps()
        };
        let steps = run(&["--dovecot-lock"]);
        let count = |wanted| steps.iter().filter(|step| **step == wanted).count();
        assert!(count(Step::List) >= 2 && count(Step::Read) >= 5, "{steps:?}");
        assert_eq!((wrong(&steps), count(Step::Lock)), (vec![], count(Step::Unlock)), "{steps:?}");
        // The twin: without the option nobody is locked out.
        let steps = run(&[]);
        assert!(!steps.contains(&Step::Lock) && wrong(&steps).len() >= 2, "{steps:?}");
    }
}

#[test]
fn a_lock_that_is_released_is_taken() {
    let env = Env::plain();
    let alice = furnish(&env);
    let lock = alice.path(LOCK);
    fs::write(&lock, held_here()).unwrap();
    let watch = Watch::new(&alice.path(""), &alice.path(""));
    let store = env.path("store");
    let run = env.start(&["backup", env.repo(), text(&store), "--dovecot-lock", "--json"]);
    let mut steps = Vec::new();
    wait_until("the lock is asked for", || {
        steps.extend(watch.steps());
        steps.contains(&Step::Ask)
    });
    assert!(!steps.contains(&Step::List), "{steps:?}");
    fs::remove_file(&lock).unwrap();
    assert_eq!(run.wait().expect(0).json()["notices"], json!([]));
    steps.extend(watch.steps());
    let released = steps.iter().position(|step| *step == Step::Unlock).unwrap();
    assert!(steps[released..].contains(&Step::Lock), "{steps:?}");
    assert_eq!(wrong(&steps), [], "{steps:?}");
}

#[test]
fn a_wait_for_a_lock_ends_on_a_signal() {
    let env = Env::plain();
    let alice = furnish(&env);
    fs::write(alice.path(LOCK), held_here()).unwrap();
    let watch = Watch::new(&alice.path(""), &alice.path(""));
    let store = env.path("store");
    let started = Instant::now();
    let run = env.start(&["backup", env.repo(), text(&store), "--dovecot-lock"]);
    wait_until("the lock is asked for", || watch.steps().contains(&Step::Ask));
    run.signal(Signal::TERM);
    run.wait().expect(130);
    assert!(started.elapsed() < Duration::from_secs(9), "the wait went on to its end");
    assert_eq!(env.keys("snapshots/"), [""; 0]);
}

/// As where the store is a read-only snapshot of its file system.
#[test]
fn locks_that_nobody_may_take_are_one_warning() {
    let env = Env::plain();
    let alice = furnish(&env);
    let bob = env.store().mailbox("example.org/bob/Maildir");
    bob.fill("", 1, 3);
    fs::write(bob.path("dovecot-uidlist"), "3 V1 N9\n").unwrap();
    for mailbox in [&alice, &bob] {
        set_mode(&mailbox.path(""), 0o555);
    }
    let store = env.path("store");
    let backup = ["backup", env.repo(), text(&store), "--dovecot-lock", "--json"];
    let report = env.start_unprivileged(&backup).wait().expect(0).json();
    let unlocked = [&alice, &bob].map(|mailbox| {
        let lock = mailbox.path(LOCK);
        format!("lock {}: Permission denied (os error 13)", lock.display())
    });
    assert_eq!(report["unlocked"], json!(unlocked));
    let notice = format!(
        "2 mailboxes were listed without Dovecot's lock, the first because of: {}",
        unlocked[0]
    );
    assert_eq!(report["notices"], json!([notice]));
}

#[test]
fn a_lock_that_stays_is_waited_for_once_and_told() {
    let env = Env::plain();
    let alice = furnish(&env);
    let locks = ["", ".Sent"].map(|folder| alice.path(folder).join(LOCK));
    locks.iter().for_each(|lock| fs::write(lock, held_here()).unwrap());
    let [inbox, sent] = ["", ".Sent"].map(|folder| {
        let folder = alice.path(folder);
        Watch::new(&folder, &folder)
    });
    let started = Instant::now();
    let report = env.backup(&["--dovecot-lock", "--json"]).expect(0).json();
    assert!(started.elapsed() >= Duration::from_secs(10));
    let notice = format!(
        "listed without Dovecot's lock: lock {}: held by {}",
        locks[0].display(),
        held_here()
    );
    assert_eq!((&report["notices"], &report["messages"]["read"]), (&json!([notice]), &json!(8)));
    assert!(inbox.steps().contains(&Step::Ask));
    // One wait a mailbox.
    let steps = sent.steps();
    assert!(steps.contains(&Step::List) && !steps.contains(&Step::Ask), "{steps:?}");
    for lock in &locks {
        assert_eq!(fs::read_to_string(lock).unwrap(), held_here(), "it is its holder's");
    }
}
