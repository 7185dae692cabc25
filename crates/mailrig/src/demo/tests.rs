//! The store is the same from the same seed and is mail as servers keep it; the comparison finds
//! what it is there to find.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mail_parser::{MessageParser, MimeHeaders};
use snapshot::progress::Progress;
use walkdir::WalkDir;

use super::inventory::{Difference, Inventory};
use super::night::Night;
use super::report::{Drilled, Report, Snapshot, StoreCounts, Verified};
use super::store::Store;

fn make(root: &Path, seed: u64) -> Store {
    Store::make(root, seed, 300, &Progress::default()).unwrap()
}

fn take(root: &Path) -> Inventory {
    Inventory::take(root, &Progress::default()).unwrap()
}

fn messages(root: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(root).into_iter().map(|entry| entry.unwrap().into_path());
    let is_in = |path: &Path, dir: &str| path.parent().is_some_and(|parent| parent.ends_with(dir));
    entries.filter(|path| is_in(path, "new") || is_in(path, "cur")).collect()
}

#[test]
fn a_seed_makes_the_same_store_and_the_same_night() {
    let dirs = [1, 1, 2].map(|seed| {
        let dir = tempfile::tempdir().unwrap();
        let mut store = make(dir.path(), seed);
        Night::pass(&mut store, &Progress::default()).unwrap();
        dir
    });
    let [first, second, other] = [0, 1, 2].map(|i| take(dirs[i].path()));
    // Control files are written now, as a server does; messages have the time of their arrival.
    let is_control_time = |difference: &Difference| {
        let Difference { path, reason } = difference;
        reason.starts_with("has the time") && !path.contains("/cur/") && !path.contains("/new/")
    };
    let mut differences = first.differences(&second);
    differences.retain(|difference| !is_control_time(difference));
    assert_eq!(differences, []);
    assert!(!first.differences(&other).is_empty());
}

#[test]
fn every_message_parses_and_every_charset_decodes() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), 7);
    let (mut charsets, mut attachments, mut multiparts) = (BTreeSet::new(), 0, 0);
    for path in messages(dir.path()) {
        let bytes = fs::read(&path).unwrap();
        let message = MessageParser::new().parse(&bytes).unwrap();
        let told = path.display();
        assert!(message.from().is_some() && message.to().is_some(), "{told}");
        assert!(message.message_id().is_some() && message.date().is_some(), "{told}");
        let subject = message.subject().unwrap_or_default();
        assert!(!subject.is_empty() && !subject.contains("=?"), "{told}: {subject}");
        let text = message.body_text(0).unwrap_or_default();
        assert!(!format!("{subject}{text}").contains('\u{fffd}'), "{told}: {subject} {text}");
        for part in &message.parts {
            let charset = part.content_type().and_then(|kind| kind.attribute("charset"));
            charsets.extend(charset.map(str::to_owned));
        }
        attachments += message.attachment_count();
        multiparts += usize::from(message.parts.len() > 1);
        assert!(!bytes.contains(&b'\r'), "{told}");
    }
    let expected =
        ["gb2312", "iso-2022-jp", "iso-8859-1", "iso-8859-2", "koi8-r", "us-ascii", "utf-8"];
    assert_eq!(charsets.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(attachments > 20 && multiparts > 50, "{attachments} {multiparts}");
}

#[test]
fn names_are_dovecots_and_the_uidlist_has_what_is_in_cur() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = make(dir.path(), 3);
    let night = Night::pass(&mut store, &Progress::default()).unwrap();
    let kinds = [night.delivered, night.seen, night.flagged, night.moved, night.copied];
    assert!(kinds.iter().all(|count| *count > 0) && night.deleted > 0, "{night:?}");
    let paths = messages(dir.path());
    assert_eq!(paths.len() as u64, store.messages());
    for path in paths {
        let name = path.file_name().unwrap().as_encoded_bytes();
        let base = maildir::base_name(name);
        assert!(maildir::is_unique_name(base), "{path:?}");
        assert!(maildir::flags(name).is_sorted(), "{path:?}");
        let size = format!(",S={},W=", fs::metadata(&path).unwrap().len());
        assert!(String::from_utf8_lossy(base).contains(&size), "{path:?}");
    }
    for mailbox in &store.mailboxes {
        for folder in &mailbox.folders {
            let path = mailbox.dir.join(folder.path).join("dovecot-uidlist");
            let uidlist = fs::read_to_string(path).unwrap();
            let listed: Vec<&str> =
                uidlist.lines().skip(1).map(|line| line.split_once(' ').unwrap().1).collect();
            let known: Vec<String> = folder
                .mails
                .iter()
                .filter(|mail| mail.uid.is_some())
                .map(|mail| format!(":{}:2,", mail.base))
                .collect();
            assert_eq!(listed, known);
        }
    }
}

/// Every way in which a restore could be wrong is tried on a copy that was right before.
#[test]
fn the_comparison_names_each_kind_of_difference() {
    type Damage = fn(&Path);
    let table: [(Damage, &str, &str); 8] = [
        (|dir| fs::write(dir.join("cur/a"), b"Xne").unwrap(), "cur/a", "has other bytes"),
        (|dir| fs::write(dir.join("cur/a"), b"on").unwrap(), "cur/a", "has 2 bytes instead of 3"),
        (
            |dir| set_time(&dir.join("cur/a"), 1001),
            "cur/a",
            "has the time 1001.000000000 instead of 1000.000000000",
        ),
        (
            |dir| fs::set_permissions(dir.join("cur/a"), Permissions::from_mode(0o640)).unwrap(),
            "cur/a",
            "has the mode 0640 instead of 0600",
        ),
        (|dir| fs::remove_file(dir.join("cur/a")).unwrap(), "cur/a", "is missing"),
        (|dir| fs::write(dir.join("cur/b"), b"").unwrap(), "cur/b", "should not be there"),
        (
            |dir| fs::set_permissions(dir.join("tmp"), Permissions::from_mode(0o755)).unwrap(),
            "tmp",
            "has the mode 0755 instead of 0700",
        ),
        (
            |dir| {
                fs::remove_file(dir.join("link")).unwrap();
                std::os::unix::fs::symlink("cur/b", dir.join("link")).unwrap();
            },
            "link",
            "points to cur/b instead of cur/a",
        ),
    ];
    let wanted = small_tree();
    for (damage, path, reason) in table {
        let found = small_tree();
        assert_eq!(take(wanted.path()).differences(&take(found.path())), []);
        damage(found.path());
        // A rewritten file has its old time again: only the damage in question is left.
        if reason.contains("bytes") {
            set_time(&found.path().join("cur/a"), 1000);
        }
        let expected = Difference { path: path.into(), reason: reason.into() };
        assert_eq!(take(wanted.path()).differences(&take(found.path())), [expected]);
    }
}

#[test]
fn a_report_names_the_files_that_differ() {
    let (wanted, found) = (small_tree(), small_tree());
    fs::remove_file(found.path().join("cur/a")).unwrap();
    let snapshot = |found: &Path| {
        let mut snapshot = Snapshot { messages: 1, ..Snapshot::default() };
        snapshot.compare(&take(wanted.path()), &take(found));
        snapshot
    };
    let mut report = Report {
        seed: 1,
        folder: None,
        store: StoreCounts::default(),
        night: Night::default(),
        snapshots: vec![snapshot(wanted.path()), snapshot(wanted.path())],
        verified: Verified::default(),
        problems: Vec::new(),
        drill: Drilled { verdict: "pass".into(), ..Drilled::default() },
        is_equal: false,
        elapsed_ms: 0,
    };
    report.judge();
    assert!(report.is_well() && report.text().contains("All 4 files came back"));
    report.drill.verdict = "fail".into();
    assert!(!report.is_well() && report.text().contains("NOT PASSED: the drill is fail"));
    report.snapshots[1] = snapshot(found.path());
    report.judge();
    let text = report.text();
    assert!(
        !report.is_equal && text.contains("NOT EQUAL: 1 difference, 4 files compared"),
        "{text}"
    );
    assert!(text.contains("differs    morning: cur/a is missing"), "{text}");
    report.snapshots[1] = snapshot(wanted.path());
    report.problems = vec!["verify: x is damaged".into()];
    report.judge();
    assert!(!report.is_equal && report.text().contains("problem    verify: x is damaged"));
}

fn small_tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cur", "tmp"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o700)).unwrap();
    }
    let file = dir.path().join("cur/a");
    fs::write(&file, b"one").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    set_time(&file, 1000);
    std::os::unix::fs::symlink("cur/a", dir.path().join("link")).unwrap();
    dir
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
