//! What IMAP clients of a real Dovecot see after a restore: the mailbox of the snapshot, with the UIDs
//! that their caches know; and of a mailbox that they use meanwhile, nothing but what was missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::delivered::make_vmail;
use crate::dovecot::Dovecot;
use crate::env::{Env, text};
use crate::process::Output;
use crate::store::letter;
use crate::tree::Tree;

pub(crate) const USER: &str = "alice@example.org";
pub(crate) const HOME: &str = "vmail/example.org/alice";
/// Where the server writes mail and what belongs to it.
const ROOTS: [&str; 3] = ["vmail", "control", "index"];
const SIEVE: [&str; 4] = ["--sieve", "~/sieve", "--sieve", "~/.dovecot.sieve"];

/// A mailbox that a client has used, with Sieve scripts beside the mail.
pub(crate) struct Office {
    pub(crate) env: Env,
    pub(crate) dovecot: Dovecot,
    /// Letters that were delivered so far.
    letters: u64,
    /// The end of `mail_location`.
    places: String,
}

impl Office {
    pub(crate) fn open() -> Option<Self> {
        Self::open_with(|_| String::new())
    }

    /// With more in `mail_location`; below `vmail`, `control` and `index` Dovecot may write.
    pub(crate) fn open_with(places: impl FnOnce(&Env) -> String) -> Option<Self> {
        let env = Env::encrypted();
        ROOTS.iter().for_each(|root| make_vmail(&env.path(root)));
        let places = places(&env);
        let store = env.path("vmail");
        let dovecot = Dovecot::start_with(&env.path("dovecot"), &store, &places)?;
        let mut office = Self { env, dovecot, letters: 0, places };
        office.deliver(60);
        office.dovecot.use_mailbox(USER);
        let home = office.env.path(HOME);
        fs::create_dir(home.join("sieve")).unwrap();
        fs::write(home.join("sieve/rules.sieve"), "keep;\n").unwrap();
        std::os::unix::fs::symlink("sieve/rules.sieve", home.join(".dovecot.sieve")).unwrap();
        Some(office)
    }

    pub(crate) fn deliver(&mut self, count: u64) {
        let folder = self.env.path("letters");
        fs::create_dir_all(&folder).unwrap();
        let write = |number: u64| -> (PathBuf, &str) {
            let path = folder.join(number.to_string());
            fs::write(&path, letter(number)).unwrap();
            (path, USER)
        };
        let letters: Vec<_> = (self.letters..self.letters + count).map(write).collect();
        self.letters += count;
        self.dovecot.deliver(&letters);
    }

    fn back_up(&self) {
        self.back_up_with(&SIEVE);
    }

    pub(crate) fn back_up_with(&self, more: &[&str]) {
        let store = self.env.path("vmail");
        self.env.run(&[&["backup", self.env.repo(), text(&store)][..], more].concat()).expect(0);
    }

    pub(crate) fn restore(&self, more: &[&str]) -> Output {
        self.env.run(&[&["restore", self.env.repo(), "latest", "--json"][..], more].concat())
    }

    pub(crate) fn restore_in_place(&self, more: &[&str]) -> Output {
        self.restore(&[&["--in-place", text(&self.env.path("vmail"))][..], more].concat())
    }

    /// All mail is lost with its server; `restore` brings it to where it was.
    pub(crate) fn lose_all(mut self, restore: impl FnOnce(&Self)) -> Self {
        assert_eq!(self.dovecot.complaints(), [""; 0]);
        ROOTS.iter().for_each(|root| fs::remove_dir_all(self.env.path(root)).unwrap());
        restore(&self);
        let (folder, store) = (self.env.path("after"), self.env.path("vmail"));
        self.dovecot = Dovecot::start_with(&folder, &store, &self.places).unwrap();
        self
    }
}

pub(crate) fn folders(dump: &Value) -> &Map<String, Value> {
    dump["folders"].as_object().unwrap()
}

pub(crate) fn messages(folder: &Value) -> &Map<String, Value> {
    folder["messages"].as_object().unwrap()
}

pub(crate) fn number(folder: &Value, name: &str) -> u64 {
    folder[name].as_u64().unwrap()
}

/// What a client with a cache of `before` would stumble over.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let names = |dump| folders(dump).keys().cloned().collect::<Vec<_>>();
    if (names(before), &before["subscribed"]) != (names(after), &after["subscribed"]) {
        return vec![format!("{:?} became {:?}", names(before), names(after))];
    }
    for (name, folder) in folders(before) {
        let other = &after["folders"][name];
        if folder["uidvalidity"] != other["uidvalidity"] {
            lines.push(format!("{name} has another UIDVALIDITY"));
        }
        let (all, others) = (messages(folder), messages(other));
        let all = all.iter().filter(|(uid, message)| others.get(*uid) != Some(*message));
        lines.extend(
            all.map(|(uid, message)| format!("{name} {uid} {message}: {:?}", others.get(uid))),
        );
        let more = others.keys().filter(|uid| !messages(folder).contains_key(*uid));
        lines.extend(more.map(|uid| format!("{name} {uid} is too much")));
    }
    lines
}

/// A letter is known by its bytes in a folder: message by letter.
fn by_letter(folder: &Value) -> BTreeMap<&str, &Value> {
    let letters: BTreeMap<_, _> = messages(folder)
        .values()
        .map(|message| (message["sha256"].as_str().unwrap(), message))
        .collect();
    assert_eq!(letters.len(), messages(folder).len(), "a letter is there twice");
    letters
}

/// Of a message that Dovecot keeps in `cur/` of this Maildir. Names tell no order: their microseconds have
/// no leading zeros.
fn file_of(maildir: &Path, uid: u64) -> PathBuf {
    let list = fs::read_to_string(maildir.join("dovecot-uidlist")).unwrap();
    let record = list.lines().skip(1).find(|line| line.starts_with(&format!("{uid} ")));
    let (_, name) = record.unwrap().split_once(" :").unwrap();
    let base = name.split(':').next().unwrap();
    let files = fs::read_dir(maildir.join("cur")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|path| text(path.file_name().unwrap().as_ref()).starts_with(base));
    files.next().unwrap()
}

fn is_seen(flags: &Value) -> bool {
    flags.as_array().unwrap().iter().any(|flag| flag == "\\Seen")
}

/// Backed up, used on, lost and restored: clients see what the snapshot has, and what comes next gets UIDs
/// that no client saw.
pub(crate) fn loses_nothing(
    mut office: Office,
    back_up: impl FnOnce(&Office),
    restore: impl FnOnce(&Office),
) -> Office {
    let served = office.dovecot.dump(USER);
    back_up(&office);
    // Clients see more than the snapshot has.
    office.deliver(20);
    office.dovecot.command(USER, &["SELECT INBOX", "STORE 1:* +FLAGS.SILENT (later)"]);
    let seen = office.dovecot.dump(USER);
    assert_ne!(differences(&served, &seen), [""; 0]);

    let mut office = office.lose_all(restore);
    let restored = office.dovecot.dump(USER);
    assert_eq!(differences(&served, &restored), [""; 0]);
    for mark in [r"\\Seen", r"\\Flagged", r"\\Draft", r"\\Deleted", "$Forwarded", "todo"] {
        assert!(served.to_string().contains(mark), "{mark}: nothing was shown");
    }

    office.deliver(3);
    let appends = folders(&served).keys().filter(|name| *name != "INBOX");
    let copies: Vec<String> = appends.map(|name| format!("COPY 1:2 {name}")).collect();
    let commands = ["SELECT INBOX"].into_iter().chain(copies.iter().map(String::as_str));
    office.dovecot.command(USER, &commands.collect::<Vec<_>>());
    let after = office.dovecot.dump(USER);
    for (name, folder) in folders(&after) {
        let unseen = number(&seen["folders"][name], "uidnext");
        let is_new = |uid: &&String| !messages(&restored["folders"][name]).contains_key(*uid);
        let new: Vec<u64> =
            messages(folder).keys().filter(is_new).map(|uid| uid.parse().unwrap()).collect();
        assert!(new.len() >= 2 && new.iter().all(|uid| *uid >= unseen), "{name}: {new:?}");
    }
    assert_eq!(office.dovecot.complaints(), [""; 0]);
    office
}

/// The runner leaves these out where Dovecot is not there.
mod needs_dovecot {
    use super::*;

    fn after_total_loss(restore: impl FnOnce(&Office)) {
        let Some(office) = Office::open() else { return };
        let scripts = Tree::read(&office.env.path(HOME).join("sieve"));
        let office = loses_nothing(office, Office::back_up, restore);
        let home = office.env.path(HOME);
        assert_eq!(scripts.differences(&Tree::read(&home.join("sieve"))), [""; 0]);
        let active = fs::read_link(home.join(".dovecot.sieve")).unwrap();
        assert_eq!(active.to_str(), Some("sieve/rules.sieve"));
        assert!(!home.join("Maildir/mailrig.outside").exists());
    }

    #[test]
    fn a_lost_store_is_served_again_from_a_restore_to_its_place() {
        after_total_loss(|office| {
            let to = office.env.path("vmail");
            office.restore(&[&["--to", text(&to)][..], &SIEVE].concat()).expect(0);
        });
    }

    #[test]
    fn a_lost_store_is_served_again_from_a_restore_into_an_empty_one() {
        after_total_loss(|office| {
            make_vmail(&office.env.path("vmail"));
            office.restore_in_place(&SIEVE).expect(0);
        });
    }

    /// The twin of both.
    #[test]
    fn a_restore_without_its_list_of_uids_is_told_from_a_whole_one() {
        let Some(office) = Office::open() else { return };
        let served = office.dovecot.dump(USER);
        office.back_up();
        let office = office.lose_all(|office| {
            office.restore(&["--to", text(&office.env.path("vmail"))]).expect(0);
            fs::remove_file(office.env.path(HOME).join("Maildir/dovecot-uidlist")).unwrap();
        });
        let differences = differences(&served, &office.dovecot.dump(USER));
        assert!(differences.iter().all(|line| line.starts_with("INBOX ")), "{differences:#?}");
        assert!(differences.len() > 10, "{differences:#?}");
    }

    /// Expunged, read, re-flagged, delivered, lost behind the server's back, while a client waits.
    #[test]
    fn a_mailbox_in_use_gets_exactly_what_it_lacks() {
        let Some(mut office) = Office::open() else { return };
        office.back_up();
        let kept = office.dovecot.dump(USER);
        let mut idler = office.dovecot.idle(USER);
        let acts = [
            "SELECT INBOX",
            "STORE 2:5 +FLAGS.SILENT (\\Deleted)",
            "EXPUNGE",
            "STORE 12:* +FLAGS.SILENT (\\Seen later)",
            "STORE 8:10 -FLAGS.SILENT ($Forwarded \\Flagged)",
        ];
        office.dovecot.command(USER, &acts);
        office.deliver(7);
        let used = office.dovecot.dump(USER);
        // The newest of the snapshot, which has other flags by now.
        let uids = messages(&kept["folders"]["INBOX"]).keys().map(|uid| uid.parse().unwrap());
        let newest: u64 = uids.max().unwrap();
        let [old, live] = [&kept, &used].map(|dump| &dump["folders"]["INBOX"]["messages"]);
        assert_ne!(old[newest.to_string()]["flags"], live[newest.to_string()]["flags"]);
        fs::remove_file(file_of(&office.env.path(HOME).join("Maildir"), newest)).unwrap();

        let report = office.restore_in_place(&[]).expect(0).json();
        let restored = office.dovecot.dump(USER);
        let [kept, used, restored] = [&kept, &used, &restored].map(folders);
        let mut added = 0;
        for (name, folder) in restored {
            let [old, live] = [&kept[name], &used[name]];
            let [old_letters, live_letters, letters] = [old, live, folder].map(by_letter);
            assert_eq!(live["uidvalidity"], folder["uidvalidity"]);
            let next = number(live, "uidnext");
            for (uid, message) in messages(folder) {
                // What clients did to a message stands; what is added has the flags of the snapshot.
                let expected = if uid.parse::<u64>().unwrap() < next {
                    messages(live).get(uid)
                } else {
                    added += 1;
                    old_letters.get(message["sha256"].as_str().unwrap()).copied()
                };
                assert_eq!(expected, Some(message), "{name} {uid}");
            }
            let all: BTreeSet<_> = old_letters.keys().chain(live_letters.keys()).collect();
            assert_eq!(all.len(), letters.len(), "{name}");
        }
        // Four, the one that was marked before, and the file.
        assert_eq!((&report["messages"], added), (&6.into(), 6), "{report}");

        let total = messages(&restored["INBOX"]).len();
        let view: Value = serde_json::from_str(&idler.ask(&total.to_string())).unwrap();
        let (before, after) = (view["before"].as_object().unwrap(), &view["after"]);
        assert_eq!(after.as_object().unwrap().len(), total);
        let unread = before.iter().filter(|(uid, flags)| {
            is_seen(flags) && after.get(uid.as_str()).is_some_and(|flags| !is_seen(flags))
        });
        assert_eq!(unread.count(), 0);

        let now = office.dovecot.dump(USER);
        assert_eq!(office.restore_in_place(&[]).expect(0).json()["messages"], 0);
        assert_eq!(differences(&now, &office.dovecot.dump(USER)), [""; 0]);
        drop(idler);
        assert_eq!(office.dovecot.complaints(), [""; 0]);
    }

    #[test]
    fn a_folder_beside_the_live_ones_has_the_mail_of_the_snapshot() {
        let Some(office) = Office::open() else { return };
        office.back_up();
        let before = office.dovecot.dump(USER);
        let as_folder = ["--mailbox", USER, "--as-folder", "Restored"];
        office.restore_in_place(&as_folder).expect(0);
        let mut after = office.dovecot.dump(USER);
        let subscribed = after["subscribed"].as_array_mut().unwrap();
        let count = subscribed.len();
        subscribed.retain(|name| !name.as_str().unwrap().starts_with("Restored"));
        assert_eq!(count - subscribed.len(), folders(&before).len(), "users see all of it");
        for (name, folder) in folders(&before) {
            let beside = match name.as_str() {
                "INBOX" => "Restored".to_owned(),
                name => format!("Restored.{name}"),
            };
            let restored = after["folders"].as_object_mut().unwrap().remove(&beside);
            assert_eq!(by_letter(folder), by_letter(&restored.unwrap()), "{beside}");
        }
        assert_eq!(differences(&before, &after), [""; 0]);
        assert_eq!(office.dovecot.complaints(), [""; 0]);
    }

    #[test]
    fn clients_that_are_to_download_again_see_a_greater_uidvalidity() {
        let Some(office) = Office::open() else { return };
        office.back_up();
        let before = office.dovecot.dump(USER);
        let office = office.lose_all(|office| {
            let to = office.env.path("vmail");
            office.restore(&["--to", text(&to), "--uids", "new"]).expect(0);
        });
        let after = office.dovecot.dump(USER);
        assert_eq!(before["subscribed"], after["subscribed"]);
        assert!(folders(&before).keys().eq(folders(&after).keys()));
        for (name, folder) in folders(&before) {
            let other = &after["folders"][name];
            let [old, new] = [folder, other].map(|folder| number(folder, "uidvalidity"));
            assert!(old < new, "{name}: {old}, {new}");
            assert_eq!(by_letter(folder), by_letter(other), "{name}");
        }
        office.dovecot.command(USER, &["CREATE Later"]);
        let later = number(&office.dovecot.dump(USER)["folders"]["Later"], "uidvalidity");
        let given = folders(&after).values().map(|folder| number(folder, "uidvalidity"));
        assert!(given.max() < Some(later), "{later}");
        assert_eq!(office.dovecot.complaints(), [""; 0]);
    }

    #[test]
    fn folders_in_use_get_a_greater_uidvalidity_and_no_uid_names_another_message() {
        let Some(office) = Office::open() else { return };
        office.back_up();
        let before = office.dovecot.dump(USER);
        let acts = ["SELECT INBOX", "STORE 2:5 +FLAGS.SILENT (\\Deleted)", "EXPUNGE"];
        office.dovecot.command(USER, &acts);
        let used = office.dovecot.dump(USER);
        let mut holder = office.dovecot.hold(USER);
        let named: Value = serde_json::from_str(&holder.ask("before")).unwrap();
        assert_eq!(named.as_object().unwrap().len(), messages(&used["folders"]["INBOX"]).len());
        let report = office.restore_in_place(&["--uids", "new"]).expect(0).json();
        assert_eq!(report["messages"], 5, "{report}");
        // Dovecot ends the session, or says nothing of what is under other numbers now.
        let after: Value = serde_json::from_str(&holder.ask("after")).unwrap();
        for (uid, sum) in after.as_object().unwrap() {
            assert_eq!(&named[uid], sum, "{uid}");
        }
        drop(holder);
        office.dovecot.command(USER, &["CREATE Later"]);
        let restored = office.dovecot.dump(USER);
        let mut validities = BTreeSet::new();
        for (name, folder) in folders(&used) {
            let other = &restored["folders"][name];
            let [old, new] = [folder, other].map(|folder| number(folder, "uidvalidity"));
            assert!(old < new && validities.insert(new), "{name}: {old}, {new}");
            let next = number(folder, "uidnext");
            assert!(
                messages(other).keys().all(|uid| uid.parse::<u64>().unwrap() >= next),
                "{name}"
            );
            let snapshot = &before["folders"][name];
            assert_eq!(by_letter(snapshot), by_letter(other), "{name}");
        }
        let later = number(&restored["folders"]["Later"], "uidvalidity");
        assert!(validities.iter().all(|validity| *validity < later), "{validities:?}, {later}");
        assert_eq!(office.dovecot.complaints(), [""; 0]);
    }

    #[test]
    fn what_is_added_can_be_marked_as_read_and_what_is_there_stays_unread() {
        let Some(office) = Office::open() else { return };
        office.back_up();
        let kept = office.dovecot.dump(USER);
        let acts = ["SELECT INBOX", "STORE 20:22 +FLAGS.SILENT (\\Deleted)", "EXPUNGE"];
        office.dovecot.command(USER, &acts);
        let used = office.dovecot.dump(USER);
        office.restore_in_place(&["--flags", "seen"]).expect(0);
        let restored = office.dovecot.dump(USER);
        let [kept, used, restored] =
            [&kept, &used, &restored].map(|dump| by_letter(&dump["folders"]["INBOX"]));
        let mut unread = (0, 0);
        for (letter, message) in &restored {
            match used.get(letter) {
                Some(live) => {
                    assert_eq!(live, message);
                    unread.0 += u32::from(!is_seen(&message["flags"]));
                }
                None => {
                    assert!(is_seen(&message["flags"]), "{message}");
                    unread.1 += u32::from(!is_seen(&kept[letter]["flags"]));
                }
            }
        }
        assert_eq!(restored.len(), kept.len());
        assert!(unread.0 > 0 && unread.1 > 0, "{unread:?}: nothing was shown");
        assert_eq!(office.dovecot.complaints(), [""; 0]);
    }
}
