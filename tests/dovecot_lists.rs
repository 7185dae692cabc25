//! A list of UIDs that contradicts its folder, as crashes and copies leave them: what is restored is served
//! without a complaint, and what the list said without contradiction still holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::dovecot_restore::{HOME, Office, USER, messages};
use crate::env::text;

/// Lines that contradict each other and the folder; gives the UID from which on they are as they were.
fn contradict(list: &Path) -> u64 {
    let text = fs::read_to_string(list).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let uid = |line: &str| line.split(' ').next().unwrap().to_owned();
    let name = |line: &str| line.split_once(" :").unwrap().1.to_owned();
    // The next UID is below those that are given.
    let header: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
    lines[0] = header
        .iter()
        .map(|f| if f.starts_with('N') { "N2" } else { f })
        .collect::<Vec<_>>()
        .join(" ");
    let untouched = uid(&lines[7]).parse().unwrap();
    // One UID for two messages, two UIDs for one, a message that is not listed, one that is not there,
    // UIDs that fall, lines that are none.
    lines[1] = format!("{} :{}", uid(&lines[2]), name(&lines[1]));
    lines[4] = format!("{} :{}", uid(&lines[4]), name(&lines[3]));
    lines.remove(5);
    lines[5] = format!("{} :1600000000.M1P1.gone", uid(&lines[5]));
    lines.insert(6, "1 :1600000000.M2P1.fallen".into());
    lines.insert(7, "no line of a list".into());
    lines.insert(8, "70 W1 no name\r".into());
    fs::write(list, lines.join("\n") + "\n4 :cut").unwrap();
    untouched
}

/// Each letter of INBOX with its UID.
fn uids(dump: &Value) -> BTreeMap<String, u64> {
    let inbox = messages(&dump["folders"]["INBOX"]).iter();
    inbox.map(|(uid, message)| (message["sha256"].to_string(), uid.parse().unwrap())).collect()
}

/// What clients saw before the restore and after it.
type Seen = [BTreeMap<String, u64>; 2];

/// The runner leaves these out where Dovecot is not there.
mod needs_dovecot {
    use super::*;

    /// What clients saw before, what they see after a restore, and what the server complains of.
    fn served(how: &[&str]) -> Option<(u64, Seen, Vec<String>)> {
        let office = Office::open()?;
        let before = uids(&office.dovecot.dump(USER));
        let untouched = contradict(&office.env.path(HOME).join("Maildir/dovecot-uidlist"));
        office.back_up_with(&[]);
        let office = office.lose_all(|office| {
            let to = office.env.path("vmail");
            office.restore(&[&["--to", text(&to)][..], how].concat()).expect(0);
        });
        let after = uids(&office.dovecot.dump(USER));
        Some((untouched, [before, after], office.dovecot.complaints()))
    }

    #[test]
    fn a_list_that_contradicts_its_folder_is_set_right() {
        let Some((untouched, [before, after], complaints)) = served(&[]) else { return };
        assert!(before.keys().eq(after.keys()), "every message is there");
        let untouched: Vec<_> = before.iter().filter(|(_, uid)| **uid >= untouched).collect();
        assert!(untouched.len() > 10, "nothing is shown");
        assert!(untouched.into_iter().all(|(letter, uid)| after[letter] == *uid), "{after:?}");
        assert_eq!(complaints, [""; 0]);
    }

    /// The twin.
    #[test]
    fn the_list_as_it_was_is_complained_of() {
        let Some((.., complaints)) = served(&["--uids", "exact"]) else { return };
        assert_ne!(complaints, [""; 0]);
    }
}
