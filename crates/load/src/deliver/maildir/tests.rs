//! Deliveries by other threads into mailboxes that are watched: each message is seen once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::noting::{Noted, note};
use super::reading::{Over, Reading};
use super::{wake_up, watch};
use crate::deliver::tests::{judge, ours};
use crate::deliver::{Account, Judged, Seen, Sight, Watch, WatchError, What};

fn make(mailbox: &Path) {
    for name in ["tmp", "new", "cur"] {
        fs::create_dir_all(mailbox.join(name)).unwrap();
    }
}

/// As servers do.
fn deliver(mailbox: &Path, to: &str, name: &str, text: &str) {
    let tmp = mailbox.join("tmp").join(name);
    fs::write(&tmp, text).unwrap();
    fs::rename(tmp, mailbox.join(to).join(name)).unwrap();
}

/// Takes so many; a minute is too long for any of them.
async fn take(watch: &mut Watch, count: usize) -> Vec<What> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = timeout(Duration::from_secs(60), watch.next()).await;
        seen.push(next.expect("nothing new for a minute").unwrap().what);
    }
    seen
}

/// Stops, and takes the rest.
async fn rest(mut watch: Watch) -> (Vec<What>, Result<Sight, WatchError>) {
    watch.stop();
    let mut seen = Vec::new();
    while let Some(Seen { what, .. }) = watch.next().await {
        seen.push(what);
    }
    (seen, watch.end().await)
}

#[tokio::test]
async fn all_that_many_threads_deliver_is_seen_once_while_others_move_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mailboxes: Vec<_> = (0..4).map(|n| root.join(format!("x.test/u{n}"))).collect();
    // The last comes during the run.
    mailboxes[..3].iter().for_each(|mailbox| make(mailbox));
    let mut watch = watch(&root, judge()).await.unwrap();
    let (start, mut account) = (Instant::now(), Account::default());
    let (threads, each) = (4u64, 500u64);
    for index in 0..threads * each {
        account.accepted(index, 1, start);
    }
    let writers: Vec<_> = (0..threads)
        .map(|thread| {
            let mailboxes = mailboxes.clone();
            std::thread::spawn(move || {
                for n in 0..each {
                    let (index, name) = (thread * each + n, format!("{n}.t{thread}.x"));
                    let mailbox = &mailboxes[(index % 4) as usize];
                    make(mailbox);
                    deliver(
                        mailbox,
                        if n % 3 == 0 { "cur" } else { "new" },
                        &name,
                        &format!("ours {index}\n"),
                    );
                    if n % 3 == 1 {
                        // A reader takes it at once, and flags it.
                        let seen = mailbox.join("cur").join(format!("{name}:2,"));
                        fs::rename(mailbox.join("new").join(&name), &seen).unwrap();
                        fs::rename(&seen, mailbox.join("cur").join(format!("{name}:2,S"))).unwrap();
                    }
                }
            })
        })
        .collect();
    while account.missing() > 0 {
        let next = timeout(Duration::from_secs(60), watch.next()).await;
        let seen = next.expect("nothing new for a minute").unwrap();
        let took = account.take(&seen);
        assert!(took.is_some_and(|took| took <= start.elapsed()), "{seen:?}");
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let (late, sight) = rest(watch).await;
    assert_eq!(late, []);
    assert_eq!(sight.unwrap(), Sight::default());
    let delivery = account.finish();
    assert_eq!((delivery.delivered, delivery.doubled), (threads * each, 0));
}

#[tokio::test]
async fn mailboxes_are_found_where_they_are_and_where_they_come() {
    let dir = tempfile::tempdir().unwrap();
    for (place, is_found) in [
        ("", true),
        ("user", true),
        ("x.test/user", true),
        ("x.test/user/Maildir", true),
        ("x.test/user/Maildir/.Sent", true),
        ("a/x.test/user/Maildir/.Sent", false),
    ] {
        for is_there_before in [true, false] {
            let name = format!("{}-{is_there_before}", place.replace('/', "_"));
            let root = dir.path().join(name);
            let mailbox = root.join(place);
            fs::create_dir_all(&root).unwrap();
            if is_there_before {
                make(&mailbox);
                deliver(&mailbox, "new", "old", "ours 1\n");
                deliver(&mailbox, "cur", "older:2,S", "ours 1\n");
            }
            let watch = watch(&root, judge()).await.unwrap();
            make(&mailbox);
            deliver(&mailbox, "new", "one", "ours 2\n");
            deliver(&mailbox, "cur", "two:2,", "broken 3\n");
            deliver(&mailbox, "new", ".hidden", "ours 4\n");
            if is_there_before {
                fs::rename(mailbox.join("new/old"), mailbox.join("cur/old:2,S")).unwrap();
            }
            let (mut seen, sight) = rest(watch).await;
            seen.sort_by_key(|what| format!("{what:?}"));
            let broken = What::Message(Judged::Ours { index: 3, sum_ok: false });
            let expected = if is_found { vec![ours(2), broken] } else { vec![] };
            assert_eq!(seen, expected, "{place:?} {is_there_before}");
            assert_eq!(sight.unwrap(), Sight::default());
        }
    }
}

#[tokio::test]
async fn the_same_name_in_two_mailboxes_is_two_copies_and_a_mailbox_may_be_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    make(&a);
    make(&b);
    let mut watch = watch(dir.path(), judge()).await.unwrap();
    deliver(&a, "new", "name", "ours 1\n");
    fs::hard_link(a.join("new/name"), b.join("new/name")).unwrap();
    assert_eq!(take(&mut watch, 2).await, [ours(1), ours(1)]);
    let c = dir.path().join("c");
    fs::rename(&a, &c).unwrap();
    deliver(&c, "new", "next", "ours 2\n");
    let (seen, _) = rest(watch).await;
    assert_eq!(seen, [ours(2)]);
}

#[tokio::test]
async fn what_is_no_message_of_ours_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let new = dir.path().join("new");
    let mut watch = watch(dir.path(), judge()).await.unwrap();
    deliver(dir.path(), "new", "1", "theirs\n");
    deliver(dir.path(), "new", "2", "Subject: a bounce\n");
    symlink("/dev/zero", new.join("3")).unwrap();
    let large = fs::File::create(dir.path().join("tmp/4")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    fs::rename(dir.path().join("tmp/4"), new.join("4")).unwrap();
    let seen = take(&mut watch, 4).await;
    assert_eq!(seen[..2], [What::Message(Judged::Foreign), What::Message(Judged::Other)]);
    for (what, reason) in seen[2..].iter().zip(["new/3: ", "new/4: larger than 64 MiB"]) {
        assert!(matches!(what, What::Unreadable(why) if why.contains(reason)), "{what:?}");
    }
}

#[tokio::test]
async fn a_place_that_is_none_is_named_and_a_watch_that_nobody_wants_ends() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = watch(&missing, judge()).await.err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot watch {}: No such file", missing.display())),
        "{error}"
    );
    make(dir.path());
    let watch = watch(dir.path(), judge()).await.unwrap();
    for n in 0..5000 {
        deliver(dir.path(), "new", &n.to_string(), "ours 1\n");
    }
    assert_eq!(watch.end().await.unwrap(), Sight::default());
}

/// Plays what the kernel tells, by hand.
struct Played {
    dir: tempfile::TempDir,
    inotify: Arc<OwnedFd>,
    seen: mpsc::Receiver<Seen>,
}

impl Played {
    fn each(
        act: impl FnOnce(&mut Self, &mut Reading<'_>) -> Result<(), Over>,
    ) -> BTreeMap<u64, usize> {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let (to, seen) = mpsc::channel(100);
        let inotify = Arc::new(init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap());
        let mut reading = Reading::new(dir.path().to_owned(), &inotify, judge(), to);
        let mut played = Self { dir, inotify: Arc::clone(&inotify), seen };
        reading.start().unwrap();
        act(&mut played, &mut reading).unwrap();
        reading.finish().unwrap();
        drop(reading);
        let mut copies = BTreeMap::new();
        while let Some(seen) = played.seen.blocking_recv() {
            let index = match seen.what {
                What::Message(Judged::Ours { index, .. }) => index,
                What::Unreadable(_) => GONE,
                other => panic!("{other:?}"),
            };
            *copies.entry(index).or_default() += 1;
        }
        copies
    }

    fn deliver(&self, index: u64) {
        deliver(self.dir.path(), "new", &index.to_string(), &format!("ours {index}\n"));
    }

    fn came(&self, name: &str) -> Noted {
        // Whoever watches a folder again gets the watch that it has.
        let new = self.dir.path().join("new");
        let watch = add_watch(&self.inotify, new, WatchFlags::CREATE).unwrap();
        Noted::Came { watch, name: name.into(), is_folder: false, at: Instant::now() }
    }
}

const GONE: u64 = u64::MAX;

#[test]
fn nothing_is_missed_or_seen_twice_when_events_are_lost() {
    let copies = Played::each(|played, reading| {
        (0..5).for_each(|index| played.deliver(index));
        reading.take(played.came("2"))?;
        reading.take(Noted::Lost(Instant::now()))?;
        // Told late, or again.
        reading.take(played.came("4"))?;
        let (new, cur) = (played.dir.path().join("new/1"), played.dir.path().join("cur/1:2,S"));
        fs::rename(new, cur).unwrap();
        played.deliver(5);
        reading.take(Noted::Lost(Instant::now()))?;
        assert_eq!(reading.sight.overflows, 2);
        Ok(())
    });
    assert_eq!(copies, (0..6).map(|index| (index, 1)).collect());
}

#[test]
fn a_message_that_moves_before_it_is_read_is_seen_and_one_that_goes_is_counted() {
    let copies = Played::each(|played, reading| {
        (0..2).for_each(|index| played.deliver(index));
        fs::rename(played.dir.path().join("new/0"), played.dir.path().join("cur/0:2,S")).unwrap();
        fs::remove_file(played.dir.path().join("new/1")).unwrap();
        reading.take(played.came("0"))?;
        reading.take(played.came("1"))
    });
    assert_eq!(copies, BTreeMap::from([(0, 1), (GONE, 1)]));
}

#[test]
fn a_queue_that_overflows_is_noted() {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = text.trim().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    add_watch(&inotify, dir.path(), WatchFlags::MOVED_TO).unwrap();
    let names = [dir.path().join("a"), dir.path().join("b")];
    fs::write(&names[0], "").unwrap();
    for n in 0..=most {
        fs::rename(&names[n % 2], &names[(n + 1) % 2]).unwrap();
    }
    wake_up(&wake);
    let (to, notes) = sync_channel(most + 2);
    note(&inotify, &wake, &to).unwrap();
    drop(to);
    let notes: Vec<Noted> = notes.iter().collect();
    assert_eq!(notes.len(), most + 1);
    assert!(matches!(notes[0], Noted::Came { ref name, .. } if name == "b"), "{:?}", notes[0]);
    assert!(matches!(notes[most], Noted::Lost(_)), "{:?}", notes[most]);
}
