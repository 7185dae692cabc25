//! A restore into a live mailbox that loses its repository midway: what came before is there, and it is
//! the newest mail.

use std::fs;
use std::sync::Arc;

use snapshot::store::faulty::{Fault, Faulty, Mode};
use snapshot::store::memory::Memory;

use super::world::World;

const ALICE: &str = "example.org/alice";

#[test]
fn the_newest_mail_comes_first() {
    let world = World::new();
    let objects = Arc::new(Memory::default());
    world.deliver(ALICE, "cur/1.old:2,S", b"stays");
    world.init(Arc::clone(&objects));
    // A pack a night; the oldest mail came last, as it does when old mail is imported.
    let nights = [("2020.b", 2020), ("2030.c", 2030), ("2010.a", 2010)];
    for (name, year) in nights {
        let path = world.deliver(ALICE, &format!("cur/{name}:2,"), name.as_bytes());
        let time =
            std::time::UNIX_EPOCH + std::time::Duration::from_secs((year - 1970) * 31_556_952);
        fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        world.backup(Arc::clone(&objects)).unwrap();
    }
    let cur = world.folder(ALICE, "").join("cur");
    let clear = || {
        nights.iter().for_each(|(name, _)| drop(fs::remove_file(cur.join(format!("{name}:2,")))));
    };
    let there = || {
        let names =
            fs::read_dir(&cur).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("20")).collect();
        names.sort();
        names
    };
    world.deliver(ALICE, "new/3.new", b"came since");
    let mut states: Vec<Vec<String>> = Vec::new();
    for call in 1.. {
        clear();
        let fault = Fault { call, kind: None, mode: Mode::Crash };
        let is_done =
            world.restore_in_place(Faulty::new(Arc::clone(&objects), Some(fault))).is_ok();
        if states.last() != Some(&there()) {
            states.push(there());
        }
        assert!(!world.folder(ALICE, "").join("tmp/mailrig-restore").exists());
        if is_done {
            break;
        }
    }
    let expected: [&[&str]; 4] = [
        &[],
        &["2030.c:2,"],
        &["2020.b:2,", "2030.c:2,"],
        &["2010.a:2,", "2020.b:2,", "2030.c:2,"],
    ];
    assert_eq!(states, expected);
}
