//! One huge message, which passes through bounded memory, and one huge folder.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::env::{Env, Output, Running, text};
use crate::store::noise;

/// Runs to the end; gives the peak of resident memory in bytes. The kernel keeps the peak, so
/// that asking now and then misses only what came after the last time.
fn run_measured(run: Running) -> (Output, u64) {
    let status = format!("/proc/{}/status", run.child.id());
    let (peak, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sampler = {
        let (peak, done) = (Arc::clone(&peak), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let status = fs::read_to_string(&status).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
                peak.fetch_max(kib.unwrap_or(0) * 1024, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let output = run.wait();
    done.store(true, Ordering::Relaxed);
    sampler.join().unwrap();
    (output, peak.load(Ordering::Relaxed))
}

#[test]
fn a_message_of_200_mb_passes_through_bounded_memory() {
    let env = Env::encrypted();
    let mailbox = env.store().mailbox("example.org/alice/Maildir");
    mailbox.fill("", 10, 1);
    let path = mailbox.path("cur/1700000000.M1.large:2,S");
    let mut file = File::create(&path).unwrap();
    for part in 0..200 {
        file.write_all(&noise(part, 1_000_000)).unwrap();
    }
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    drop(file);

    let store = env.path("store");
    let backup = env.start(&["backup", env.repo(), text(&store), "--json"]);
    let (output, peak) = run_measured(backup);
    assert_eq!(output.expect(0).json()["totals"]["messages"], 11);
    assert!(peak > 1 << 20 && peak < LIMIT, "backup: {peak} bytes");
    let to = env.path("to");
    let restore = env.start(&["restore", env.repo(), "latest", "--to", text(&to)]);
    let (output, peak) = run_measured(restore);
    output.expect(0);
    assert!(peak > 1 << 20 && peak < LIMIT, "restore: {peak} bytes");
    let verify = env.start(&["verify", env.repo(), "--level", "content"]);
    let (output, peak) = run_measured(verify);
    output.expect(0);
    assert!(peak > 1 << 20 && peak < LIMIT, "verify: {peak} bytes");

    let restored = to.join("example.org/alice/Maildir/cur/1700000000.M1.large:2,S");
    let [before, after] = [&path, &restored].map(|path| path.metadata().unwrap());
    assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()));
    let compared = std::process::Command::new("cmp").args([&path, &restored]).status().unwrap();
    assert!(compared.success());
}

#[test]
fn a_folder_of_300_000_messages_comes_back_whole() {
    const COUNT: u32 = 300_000;
    let env = Env::in_memory(6 << 30);
    env.init(&[]).expect(0);
    let mailbox = env.store().mailbox("example.org/alice/Maildir");
    let name = |number: u32| format!("{}.M{number}.host:2,S", 1_500_000_000 + number);
    thread::scope(|scope| {
        for part in 0..2 {
            let cur = mailbox.path("cur");
            scope.spawn(move || {
                for number in (part..COUNT).step_by(2) {
                    fs::write(cur.join(name(number)), format!("Subject: {number}\n\n")).unwrap();
                }
            });
        }
    });
    let store = env.path("store");
    let backup = ["backup", env.repo(), text(&store), "--json"];
    let report = env.run(&backup).expect(0).json();
    assert_eq!(report["totals"]["messages"], COUNT);
    let to = env.path("to");
    let restore = ["restore", env.repo(), "latest", "--to", text(&to), "--json"];
    assert_eq!(env.run(&restore).expect(0).json()["messages"], COUNT);
    let restored = to.join("example.org/alice/Maildir/cur");
    assert_eq!(fs::read_dir(&restored).unwrap().count(), COUNT as usize);
    for number in 0..COUNT {
        let content = fs::read(restored.join(name(number))).unwrap();
        assert_eq!(content, format!("Subject: {number}\n\n").as_bytes());
    }
}

const LIMIT: u64 = 200_000_000;
