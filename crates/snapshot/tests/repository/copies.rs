//! Messages with a copy by hard link, which is a second name of the same file, in mailboxes that never
//! rest: neither name stands for the other, whatever happens to one of them at whatever moment.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapshot::store::memory::Memory;

use super::hook::on_listed;
use super::live::{ALICE, restless, unrest, world};
use super::world::World;

/// A message in `from` with a copy by hard link in `.C`, in a mailbox where `.A` never rests. At some
/// listing of `trigger` something is done to one of them. Gives where the snapshot has them.
fn copies(case: &Case, moment: u32) -> Vec<PathBuf> {
    let &Case { trigger, from, copy, act } = case;
    let (world, objects) = world();
    let mailbox = world.store().join(ALICE);
    let message = fs::read_dir(mailbox.join(from).join("cur")).unwrap().next().unwrap().unwrap();
    let message = message.path();
    fs::write(&message, "twice\n").unwrap();
    fs::hard_link(&message, mailbox.join(copy).join("cur/8.copy:2,S")).unwrap();
    for folder in [trigger, ".A", from] {
        fs::write(restless(&mailbox, folder, 1), folder).unwrap();
    }
    let mut listings = 0;
    on_listed(&world.store(), move |listed| {
        if Path::new(listed) != Path::new(ALICE).join(trigger) {
            return;
        }
        listings += 1;
        for folder in BTreeSet::from([trigger, ".A", from]) {
            if folder != from || folder == ".A" || listings <= moment {
                let names = [0, 1].map(|more| restless(&mailbox, folder, listings + more));
                fs::rename(&names[0], &names[1]).unwrap();
            }
        }
        if listings == moment {
            act(&mailbox, &message);
            // Old enough for the next listing to prove what has left.
            std::thread::sleep(2 * maildir::TICK);
        }
    });
    backup(&world, &objects);
    places_of(&world, &objects, b"twice\n")
}

/// What happens to two hard-linked messages, and when.
struct Case {
    /// The folder whose listings are counted.
    trigger: &'static str,
    from: &'static str,
    copy: &'static str,
    act: fn(&Path, &Path),
}

/// Whether the run is right whenever it happens: while folders are followed, and while they are watched.
fn at_any_moment(case: &Case, is_right: impl Fn(&[PathBuf]) -> bool + Sync) {
    at_each_moment(7..=22, |moment| {
        let found = copies(case, moment);
        assert!(is_right(&found), "at listing {moment}: {found:?}");
    });
}

/// A file that is known somewhere may have another name that is nowhere.
#[test]
fn one_of_two_hard_linked_messages_that_moves_to_a_restless_folder_is_not_missed() {
    let act = |mailbox: &Path, message: &Path| {
        fs::rename(message, mailbox.join(".A/cur/9.moved:2,S")).unwrap();
    };
    let case = Case { trigger: ".A", from: ".B", copy: ".C", act };
    at_any_moment(&case, |found| found.len() == 2);
}

#[test]
fn one_of_two_hard_linked_messages_that_moves_to_a_quiet_folder_is_not_missed() {
    let act = |mailbox: &Path, message: &Path| {
        fs::rename(message, mailbox.join(".C/cur/9.moved:2,S")).unwrap();
    };
    let case = Case { trigger: ".A", from: ".A", copy: ".A", act };
    at_any_moment(&case, |found| found.len() == 2);
}

/// The file has one name less: that is the other one.
#[test]
fn a_message_that_stays_is_not_missed_when_its_hard_linked_copy_goes() {
    let act =
        |mailbox: &Path, _: &Path| fs::remove_file(mailbox.join(".C/cur/8.copy:2,S")).unwrap();
    let case = Case { trigger: "", from: ".A", copy: ".C", act };
    at_any_moment(&case, |found| found.contains(&".A/cur/1.m.host:2,S".into()));
}

/// Runs a backup for each of some moments, side by side: mostly they wait for a clock to tick.
fn at_each_moment(moments: RangeInclusive<u32>, run: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for moment in moments {
            let run = &run;
            scope.spawn(move || run(moment));
        }
    });
}

/// A backup that saw the mailbox not rest.
fn backup(world: &World, objects: &Arc<Memory>) {
    let report = world.backup(Arc::clone(objects)).unwrap();
    assert!(report.ledger.unstable_folders > 0, "nothing was shown");
}

/// Where the snapshot has messages with this content.
fn places_of(world: &World, objects: &Arc<Memory>, text: &[u8]) -> Vec<PathBuf> {
    let (restored, _) = world.restore(Arc::clone(objects), "latest").unwrap();
    let found = restored.into_iter().filter(|(_, (content, ..))| content == text);
    found.map(|(path, _)| path.strip_prefix(ALICE).unwrap().to_owned()).collect()
}

/// From then on no listing shows it: there are as many names as the file has links all the same. If none of
/// the last rounds shows it either, it is not told from a link that lies outside the mailbox.
#[test]
fn one_of_two_hard_linked_messages_that_eludes_all_listings_from_some_moment_on_is_not_missed() {
    at_each_moment(10..=32, |moment| {
        let (world, objects) = world();
        let path = |folder: &str| world.folder(ALICE, folder).join("cur/1.m.host:2,S");
        fs::hard_link(path(".A"), path(".C").with_file_name("7.copy.host:2,S")).unwrap();
        let (a, b) = (path(".A"), path(".B"));
        unrest(&world, &[".A", ".B", ".C"], move |folder, count| {
            match folder {
                // It goes behind the listing that has just passed, and comes back behind the next.
                ".A" if count >= moment && b.exists() => fs::rename(&b, &a).unwrap(),
                ".B" if count >= moment && a.exists() => fs::rename(&a, &b).unwrap(),
                _ => {}
            }
        });
        backup(&world, &objects);
        let found = places_of(&world, &objects, b"of folder .A\n");
        assert_eq!(found.len(), 2, "from listing {moment} on: {found:?}");
    });
}

/// Its folder is quiet for long, and when it is not any more, others with the same content have been seen
/// more often.
#[test]
fn a_message_that_stays_where_it_was_quiet_is_not_missed_when_copies_come_and_go() {
    at_each_moment(5..=32, |moment| {
        let (world, objects) = world();
        let mailbox = world.store().join(ALICE);
        let stays = mailbox.join("cur/0.m.host:2,S");
        fs::write(restless(&mailbox, "", 0), "restless").unwrap();
        unrest(&world, &[".A"], move |_, listings| {
            let copy = |name: &str| mailbox.join(".A/cur").join(name);
            if listings == moment {
                fs::hard_link(&stays, copy("7.copy:2,S")).unwrap();
            }
            if listings == moment + 2 {
                fs::hard_link(&stays, copy("8.copy:2,S")).unwrap();
            }
            if listings == moment + 4 {
                fs::rename(restless(&mailbox, "", 0), restless(&mailbox, "", 1)).unwrap();
            }
        });
        backup(&world, &objects);
        let found = places_of(&world, &objects, b"of folder \n");
        let stayed = Path::new("cur/0.m.host:2,S");
        assert!(found.iter().any(|path| path == stayed), "from listing {moment} on: {found:?}");
    });
}

/// As a copy of the store by `cp -al` has it. One that moves in the very last round is kept where it was.
#[test]
fn a_message_with_a_link_outside_the_mailbox_that_moves_is_there_once() {
    at_each_moment(5..=22, |moment| {
        let (world, objects) = world();
        let path = |folder: &str| world.folder(ALICE, folder).join("cur/1.m.host:2,S");
        fs::hard_link(path(".A"), world.dir.path().join("outside")).unwrap();
        let (from, to) = (path(".A"), path(".C").with_file_name("9.moved:2,S"));
        unrest(&world, &[".A", ".B", ".C"], move |folder, count| {
            if folder == ".A" && count == moment {
                fs::rename(&from, &to).unwrap();
            }
        });
        backup(&world, &objects);
        let found = places_of(&world, &objects, b"of folder .A\n");
        assert_eq!(found.len(), 1, "at listing {moment}: {found:?}");
        let is_moved = found[0] == Path::new(".C/cur/9.moved:2,S");
        assert!(is_moved || moment >= LAST_LISTING, "at listing {moment}: {found:?}");
    });
}

/// A readdir may pass over a name that is being changed. Here it lies elsewhere for just one listing, which is
/// the same, while its copy moves on.
#[test]
fn a_message_that_one_listing_passes_over_is_not_missed() {
    at_each_moment(7..=22, |moment| {
        let (world, objects) = world();
        let path = |folder: &str, name: &str| world.folder(ALICE, folder).join("cur").join(name);
        let (stays, hidden) = (path(".C", "8.copy:2,S"), world.dir.path().join("hidden"));
        let (from, to) = (path(".A", "3.m.host:2,S"), path(".B", "9.moved:2,S"));
        fs::write(&from, "twice\n").unwrap();
        fs::hard_link(&from, &stays).unwrap();
        unrest(&world, &[".A", ".B", ".C"], move |folder, count| match folder {
            ".A" if count == moment => fs::rename(&from, &to).unwrap(),
            ".B" if count == moment => fs::rename(&stays, &hidden).unwrap(),
            ".C" if count == moment => fs::rename(&hidden, &stays).unwrap(),
            _ => {}
        });
        backup(&world, &objects);
        let found = places_of(&world, &objects, b"twice\n");
        assert_eq!(found.len(), 2, "at listing {moment}: {found:?}");
        assert!(found.contains(&".C/cur/8.copy:2,S".into()), "at listing {moment}: {found:?}");
        let is_moved = found.contains(&".B/cur/9.moved:2,S".into());
        assert!(is_moved || moment >= LAST_LISTING, "at listing {moment}: {found:?}");
    });
}

/// Something is done to one of two hard-linked messages at some listing of `.A`, where one of them is, in a
/// mailbox where `.A` never rests. Gives where the snapshot has them.
fn of_restless(moment: u32, act: impl Fn(&Path, &Path) + Send + 'static) -> Vec<PathBuf> {
    let (world, objects) = world();
    let path = |folder: &str, name: &str| world.folder(ALICE, folder).join("cur").join(name);
    let message = path(".A", "3.m.host:2,S");
    fs::write(&message, "twice\n").unwrap();
    fs::hard_link(&message, path(".C", "8.copy:2,S")).unwrap();
    let mailbox = world.store().join(ALICE);
    unrest(&world, &[".A"], move |_, count| {
        if count == moment {
            act(&mailbox, &message);
        }
    });
    backup(&world, &objects);
    places_of(&world, &objects, b"twice\n")
}

#[test]
fn a_message_that_moves_to_a_folder_that_was_just_made_is_not_missed() {
    at_each_moment(7..=22, |moment| {
        let found = of_restless(moment, |mailbox, message| {
            for subdir in ["cur", "new", "tmp"] {
                fs::create_dir_all(mailbox.join(".D").join(subdir)).unwrap();
            }
            fs::rename(message, mailbox.join(".D/cur/9.moved:2,S")).unwrap();
        });
        assert_eq!(found.len(), 2, "at listing {moment}: {found:?}");
    });
}

/// Nothing shows that what lies behind the link is gone.
#[test]
fn a_message_in_a_folder_that_cannot_be_listed_any_more_is_not_missed() {
    at_each_moment(7..=22, |moment| {
        let outside = tempfile::tempdir().unwrap();
        let to = outside.path().join("cur");
        let found = of_restless(moment, move |mailbox, _| {
            fs::rename(mailbox.join(".C/cur"), &to).unwrap();
            std::os::unix::fs::symlink(&to, mailbox.join(".C/cur")).unwrap();
        });
        assert_eq!(found.len(), 2, "at listing {moment}: {found:?}");
    });
}

/// As somebody does who corrects what clients show as the date: the messages are the same.
#[test]
fn messages_whose_times_were_set_since_the_last_run_are_there_once_each() {
    at_each_moment(7..=22, |moment| {
        let (world, objects) = world();
        let path = |folder: &str, name: &str| world.folder(ALICE, folder).join("cur").join(name);
        let (single, copy) = (path(".A", "1.m.host:2,S"), path(".B", "2.m.host:2,S"));
        fs::hard_link(&copy, path(".A", "8.copy:2,S")).unwrap();
        world.backup(Arc::clone(&objects)).unwrap();
        for message in [&single, &copy] {
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 30);
            fs::File::options().append(true).open(message).unwrap().set_modified(time).unwrap();
        }
        let moved = path(".B", "9.moved:2,S");
        unrest(&world, &[".A", ".B"], move |folder, count| {
            if folder == ".A" && count == moment {
                fs::rename(&single, &moved).unwrap();
            }
        });
        backup(&world, &objects);
        let found = places_of(&world, &objects, b"of folder .A\n");
        assert_eq!(found.len(), 1, "at listing {moment}: {found:?}");
        let found = places_of(&world, &objects, b"of folder .B\n");
        assert_eq!(found.len(), 2, "at listing {moment}: {found:?}");
    });
}

/// No pass shows it: it is always behind the listing. Then it rests.
#[test]
fn a_message_that_eludes_every_pass_and_then_rests_is_not_missed() {
    at_each_moment(11..=20, |moment| {
        let (world, objects) = world();
        let path = |folder: &str| world.folder(ALICE, folder).join("cur/5.eludes.host:2,S");
        let (a, b) = (path(".A"), path(".B"));
        fs::write(&b, "eludes\n").unwrap();
        unrest(&world, &[".A", ".B"], move |folder, count| match folder {
            ".A" if count < moment => fs::rename(&b, &a).unwrap(),
            ".B" if count < moment => fs::rename(&a, &b).unwrap(),
            _ => {}
        });
        backup(&world, &objects);
        let found = places_of(&world, &objects, b"eludes\n");
        assert_eq!(found.len(), 1, "until listing {moment}: {found:?}");
    });
}

/// Of each restless folder. What moves after it is seen in both places, or moves when all is over.
const LAST_LISTING: u32 = 21;
