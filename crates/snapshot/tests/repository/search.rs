//! Finding messages and printing one: what is found across nights, and what it costs in requests and
//! in bytes.

use std::fs::{self, File};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use snapshot::compare::{self, Change};
use snapshot::contents;
use snapshot::find::{self, Options, Query, Scope, Text};
use snapshot::manifest;
use snapshot::progress::Progress;
use snapshot::repository::Repository;
use snapshot::store::memory::Memory;
use snapshot::store::{Body, Object, Put, Requests, Result, Store};

use super::world::{World, keys};

const ALICE: &str = "example.org/alice";

fn mail(from: &str, subject: &str) -> Vec<u8> {
    format!("From: {from}\nSubject: {subject}\nMessage-ID: <{subject}@x>\n\nbody\n").into_bytes()
}

/// Delivers a message that was received some hours ago: clocks of files tick so slowly that those
/// written now may have one time, and come in the order of their mailboxes and folders then.
fn deliver_earlier(world: &World, mailbox: &str, name: &str, body: &[u8], hours: u64) -> PathBuf {
    let path = world.deliver(mailbox, name, body);
    let received = SystemTime::now() - Duration::from_secs(3600 * hours);
    File::options().write(true).open(&path).unwrap().set_modified(received).unwrap();
    path
}

fn options() -> Options {
    let scope = Scope::One("latest".into());
    Options { mailbox: None, scope, deleted: false, query: Query::default(), threads: 2 }
}

fn from(text: &str) -> Query {
    Query { from: Some(Text::new(text)), ..Query::default() }
}

fn search(world: &World, objects: impl Store + 'static, options: &Options) -> find::Report {
    let repository = Repository::open(Box::new(objects)).unwrap();
    find::run(&repository, Some(&world.identity()), options, &Progress::default()).unwrap()
}

fn subjects(report: &find::Report) -> Vec<&str> {
    assert_eq!(report.problems, []);
    report.messages.iter().map(|found| found.headers.subject.as_deref().unwrap()).collect()
}

#[test]
fn what_is_found_across_nights() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    deliver_earlier(&world, ALICE, "cur/1.a:2,S", &mail("Bob", "stays"), 9);
    let goes = deliver_earlier(&world, ALICE, "cur/2.a:2,S", &mail("Bob", "goes"), 8);
    let moves = deliver_earlier(&world, ALICE, "cur/3.a:2,S", &mail("Bob", "moves"), 7);
    let mail_of_bob = mail("Bob", "whole mailbox");
    deliver_earlier(&world, "example.org/bob", "cur/4.a:2,S", &mail_of_bob, 6);
    world.deliver("example.org/carol", "cur/5.a:2,S", &mail("Carol", "other"));
    world.backup(Arc::clone(&objects)).unwrap();
    let first = manifest::ids(&*objects).unwrap().remove(0);
    fs::remove_file(goes).unwrap();
    let trash = world.folder(ALICE, ".Trash");
    fs::rename(moves, trash.join("cur/33.a:2,ST")).unwrap();
    fs::remove_dir_all(world.store().join("example.org/bob")).unwrap();
    world.deliver(ALICE, "new/6.a", &mail("Bob", "comes"));
    // Enough nights that the first pack is folded: what it held is elsewhere then.
    for night in 0..9 {
        world.deliver(ALICE, &format!("new/7.{night}"), &mail("Dave", &format!("night {night}")));
        world.backup(Arc::clone(&objects)).unwrap();
    }
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = Options { query: from("bob"), ..options() };
        change(&mut options);
        search(&world, Arc::clone(&objects), &options)
    };
    assert_eq!(subjects(&with(&|_| {})), ["stays", "moves", "comes"]);
    let all = with(&|options| options.scope = Scope::All);
    assert_eq!(subjects(&all), ["stays", "goes", "moves", "whole mailbox", "comes"]);
    let moved = &all.messages[2];
    assert_eq!((moved.folder.as_str(), moved.flags.as_str()), (".Trash", "ST"));
    assert_eq!(moved.first_snapshot, first);
    let deleted = with(&|options| (options.scope, options.deleted) = (Scope::All, true));
    assert_eq!(subjects(&deleted), ["goes", "whole mailbox"]);
    assert_eq!(deleted.messages[0].snapshot, first);
    let deleted = with(&|options| {
        options.deleted = true;
        options.scope = Scope::One(first.clone());
    });
    assert_eq!(subjects(&deleted), ["goes", "whole mailbox"]);
    let in_alice = with(&|options| {
        options.scope = Scope::All;
        options.mailbox = Some(ALICE.replace("example.org/alice", "alice@example.org"));
    });
    assert_eq!(subjects(&in_alice), ["stays", "goes", "moves", "comes"]);
    let by_id = with(&|options| {
        options.query = Query::default();
        options.query.set_message_id("<goes@x>");
        options.scope = Scope::All;
    });
    assert_eq!(subjects(&by_id), ["goes"]);

    let repository = Repository::open(Box::new(Arc::clone(&objects))).unwrap();
    for found in all.messages {
        let mut source = Vec::new();
        let id = found.id.parse().unwrap();
        let printed = contents::message(&repository, Some(&world.identity()), &id, &mut source);
        printed.unwrap().unwrap();
        let subject = found.headers.subject.unwrap();
        let from = found.headers.from.unwrap();
        assert_eq!(source, mail(&from, &subject));
    }
}

/// File systems and tools give many messages one time; the order must not depend on chance.
#[test]
fn messages_of_one_time_come_by_mailbox_and_folder() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    let received = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    for mailbox in ["example.org/bob", ALICE] {
        world.folder(mailbox, ".Sent");
        for name in ["new/1.a", "cur/2.a:2,S", ".Sent/cur/3.a:2,S"] {
            let path = world.deliver(mailbox, name, &mail(mailbox, name));
            File::options().write(true).open(path).unwrap().set_modified(received).unwrap();
        }
    }
    world.backup(Arc::clone(&objects)).unwrap();
    let report = search(&world, Arc::clone(&objects), &options());
    let places: Vec<_> = report.messages.iter().map(|m| (&*m.mailbox, &*m.folder)).collect();
    let expected = ["alice@example.org", "bob@example.org"]
        .map(|mailbox| [(mailbox, ".Sent"), (mailbox, "INBOX"), (mailbox, "INBOX")]);
    assert_eq!(places, expected.concat());
    assert_eq!(report.messages, search(&world, Arc::clone(&objects), &options()).messages);
}

#[test]
fn an_index_that_is_missing_or_damaged_is_named() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    for mailbox in [ALICE, "example.org/bob", "example.org/carol"] {
        world.deliver(mailbox, "cur/1.a:2,S", &mail("Bob", mailbox));
    }
    world.backup(Arc::clone(&objects)).unwrap();
    let indexes = keys(&objects, ".idx.");
    objects.delete(&indexes[0]).unwrap();
    objects.corrupt(&indexes[1], |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = search(&world, Arc::clone(&objects), &options());
    assert_eq!((report.messages.len(), report.problems.len()), (1, 2));
    assert!(report.is_incomplete);
    for problem in report.problems {
        assert!(problem.what.ends_with("@example.org"), "{problem:?}");
        assert!(problem.reason.contains("indexes/"), "{problem:?}");
    }
}

#[test]
fn a_diff_after_a_fold_still_knows_what_moved() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    let moves = world.deliver(ALICE, "cur/1.a:2,S", &mail("Bob", "moves"));
    world.deliver(ALICE, "cur/2.a:2,S", &mail("Bob", "stays"));
    world.backup(Arc::clone(&objects)).unwrap();
    fs::rename(moves, world.folder(ALICE, ".Trash").join("cur/11.a:2,S")).unwrap();
    for night in 0..9 {
        world.deliver(ALICE, &format!("new/7.{night}"), &mail("Dave", &format!("night {night}")));
        world.backup(Arc::clone(&objects)).unwrap();
    }
    let repository = Repository::open(Box::new(Arc::clone(&objects))).unwrap();
    let ids = manifest::ids(&*objects).unwrap();
    let read = |id: &String| manifest::Manifest::read(&*objects, id).unwrap();
    let options = compare::Options { mailbox: None, names: true, threads: 1 };
    let (first, last) = (read(&ids[0]), read(ids.last().unwrap()));
    let identity = world.identity();
    let progress = Progress::default();
    let report =
        compare::run(&repository, &first, &last, Some(&identity), &options, &progress).unwrap();
    let counts = (report.totals.delivered, report.totals.moved, report.totals.expunged);
    assert_eq!(counts, (9, 1, 0));
    let messages = report.messages.unwrap();
    let moved = messages.iter().find(|message| message.change == Change::Moved).unwrap();
    assert_eq!(moved.subject.as_deref(), Some("moves"));
    assert_eq!(
        (moved.from_folder.as_deref(), moved.to_folder.as_deref()),
        (Some("INBOX"), Some(".Trash"))
    );
}

/// A mailbox of some dozen packs and a dozen nights beside others: what is promised for S3.
#[test]
fn finding_by_sender_takes_no_more_requests_than_packs_and_three() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    for nth in 0..40 {
        let mut large = mail("Bob", &format!("large {nth}"));
        large.resize(4 << 20, b'x');
        // Above 4 MiB a content has a pack of its own.
        large.push(b'\n');
        world.deliver(ALICE, &format!("cur/1.{nth}:2,S"), &large);
    }
    for other in 0..5 {
        world.deliver(&format!("example.org/other{other}"), "cur/1.a:2,", &mail("Carol", "x"));
    }
    for night in 0..12 {
        world.deliver(ALICE, &format!("new/2.{night}"), &mail("Bob", &format!("night {night}")));
        world.backup(Arc::clone(&objects)).unwrap();
    }
    let alice =
        Options { mailbox: Some("alice@example.org".into()), query: from("bob"), ..options() };
    let before = objects.requests().total();
    let report = search(&world, Arc::clone(&objects), &alice);
    let requests = objects.requests().total() - before;
    assert_eq!(report.messages.len(), 52);
    let packs = keys(&objects, ".tar.").len() as u64;
    eprintln!("{requests} requests, {packs} packs in the repository");
    assert!(requests <= 40 + 3, "{requests} requests");
}

/// Counts the bytes that are read.
struct Metered {
    objects: Arc<Memory>,
    packs: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
}

impl Metered {
    fn count(&self, key: &str, bytes: Vec<u8>) -> Vec<u8> {
        self.all.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if key.contains(".tar.") {
            self.packs.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        bytes
    }
}

impl Store for Metered {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        self.objects.put(key, body)
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        Ok(self.count(key, self.objects.get(key, limit_bytes)?))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        Ok(self.count(key, self.objects.get_range(key, range)?))
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.objects.size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        self.objects.list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.objects.delete(key)
    }

    fn sync(&self) -> Result<()> {
        self.objects.sync()
    }

    fn requests(&self) -> Requests {
        self.objects.requests()
    }

    fn display(&self) -> String {
        self.objects.display()
    }
}

/// Mail that no compressor makes smaller is the worst case: every frame is as large as frames get.
#[test]
fn one_message_costs_at_most_four_mib_to_read() {
    let (world, objects) = (World::new(), Arc::new(Memory::default()));
    world.init(Arc::clone(&objects));
    let mut seed = 7_u64;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u8
        };
        std::iter::repeat_with(next).take(bytes).collect()
    };
    let mut expected = Vec::new();
    for nth in 0..100 {
        let size = if nth % 30 == 0 { 2_500_000 } else { 60_000 + nth * 100 };
        let body = noise(size);
        world.deliver(ALICE, &format!("cur/1.{nth:03}:2,S"), &body);
        expected.push(body);
    }
    world.deliver(ALICE, "cur/9.large:2,S", &noise(9 << 20));
    world.backup(Arc::clone(&objects)).unwrap();
    let report = search(&world, Arc::clone(&objects), &options());
    assert_eq!(report.messages.len(), 101);
    let (packs, all): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
    let metered =
        Metered { objects: Arc::clone(&objects), packs: Arc::clone(&packs), all: Arc::clone(&all) };
    let repository = Repository::open(Box::new(metered)).unwrap();
    let mut most = (0, 0);
    for found in report.messages {
        let (packs_before, all_before) =
            (packs.load(Ordering::Relaxed), all.load(Ordering::Relaxed));
        let mut source = Vec::new();
        let id = found.id.parse().unwrap();
        let printed = contents::message(&repository, Some(&world.identity()), &id, &mut source);
        printed.unwrap().unwrap();
        if source.len() <= 4 << 20 {
            assert!(expected.contains(&source), "{id}");
            most.0 = most.0.max(packs.load(Ordering::Relaxed) - packs_before);
            most.1 = most.1.max(all.load(Ordering::Relaxed) - all_before);
        }
    }
    eprintln!("at most {} bytes of a pack, {} in all", most.0, most.1);
    assert!(most.1 <= 4 << 20, "{} bytes", most.1);

    // The twin: what is not what was stored is not printed.
    for key in keys(&objects, ".tar.") {
        objects.corrupt(&key, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }
    let report = search(&world, Arc::clone(&objects), &options());
    let failed = report.messages.iter().filter(|found| {
        let mut source = Vec::new();
        let id = found.id.parse().unwrap();
        let printed = contents::message(&repository, Some(&world.identity()), &id, &mut source);
        assert!(printed.is_ok() || source.is_empty());
        printed.is_err()
    });
    assert!(failed.count() > 1);
}
