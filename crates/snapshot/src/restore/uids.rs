//! Lists of UIDs that are safe to serve: no UID of a folder may ever name two messages, whatever
//! clients saw between the backup and now. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use maildir::{UidRecord, Uidlist};

use super::options::Uids;

/// What a folder holds now, and what its server's list says.
pub(crate) struct Present<'p> {
    /// Whether a message with this base name is there.
    pub(crate) has: &'p dyn Fn(&[u8]) -> bool,
    /// Number of messages.
    pub(crate) messages: u64,
    /// The list that is there.
    pub(crate) list: Option<&'p [u8]>,
    /// The highest UIDVALIDITY that the mailbox's server gave.
    pub(crate) highest: u32,
}

/// A list for a folder, and what was found on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) list: Vec<u8>,
    /// Messages that keep their UIDs.
    pub(crate) kept: u64,
    /// Messages that the server will give new ones.
    pub(crate) new: u64,
    /// Lines that were broken, or had a UID that another message has.
    pub(crate) unusable: u64,
    pub(crate) uid_validity: u32,
    /// Whether UIDVALIDITY is another one than the snapshot's.
    pub(crate) is_bumped: bool,
    /// Whether the list that is there says all of this already, so that it can stay.
    pub(crate) is_there: bool,
}

/// When a restore is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Since 1970.
    pub(crate) now_seconds: u32,
    /// Since the snapshot.
    pub(crate) age_seconds: u32,
}

/// Merges the snapshot's list into a folder. `None` if the snapshot's list says nothing.
pub(crate) fn settle(
    snapshot: &[u8],
    present: &Present<'_>,
    uids: Uids,
    clock: Clock,
) -> Option<Settled> {
    let is_courier = snapshot.first() == Some(&b'1');
    let mut list = Uidlist::parse(snapshot)?;
    let target = present.list.and_then(Uidlist::parse);
    let same = target.as_ref().filter(|target| target.uid_validity == list.uid_validity);
    let mut records: BTreeMap<u32, UidRecord<'_>> = BTreeMap::new();
    let living = same.iter().flat_map(|target| &target.records);
    records.extend(living.filter(|r| (present.has)(r.base())).map(|r| (r.uid, *r)));
    let listed: HashSet<&[u8]> = records.values().map(UidRecord::base).collect();
    // Clients may know also what is gone by its UID.
    let known = same.iter().flat_map(|target| &target.records);
    let known: HashMap<u32, &[u8]> = known.map(|record| (record.uid, record.base())).collect();
    let mut unusable = list.broken_lines as u64;
    for record in &list.records {
        if listed.contains(record.base()) || !(present.has)(record.base()) {
            continue;
        }
        match known.get(&record.uid) {
            Some(base) if *base != record.base() => unusable += 1,
            _ => drop(records.insert(record.uid, *record)),
        }
    }
    let is_there = uids == Uids::Keep
        && target.as_ref().is_some_and(|target| {
            let known: HashSet<(u32, &[u8])> =
                target.records.iter().map(|record| (record.uid, record.base())).collect();
            target.next_uid >= list.next_uid
                && records.values().all(|record| known.contains(&(record.uid, record.base())))
        });
    let before = list.uid_validity;
    let next_uid = list.next_uid.max(same.map_or(0, |target| target.next_uid));
    // Clients know UIDs of this validity up to some number that nobody kept.
    let is_unseen = uids == Uids::New || (target.is_some() && same.is_none());
    match next_uid.checked_add(clock.margin()).filter(|_| !is_unseen) {
        Some(raised) => list.next_uid = raised,
        None => {
            let highest = before.max(target.as_ref().map_or(0, |target| target.uid_validity));
            list.uid_validity = above(highest.max(present.highest), clock.now_seconds);
            list.next_uid = next_uid;
        }
    }
    list.records = records.into_values().collect();
    if list.guid.is_none() {
        list.guid = target.as_ref().and_then(|target| target.guid);
    }
    let kept = list.records.len() as u64;
    Some(Settled {
        list: if is_courier { list.encode_version_1() } else { list.encode() },
        kept,
        new: present.messages.saturating_sub(kept),
        unusable,
        uid_validity: list.uid_validity,
        is_bumped: list.uid_validity != before,
        is_there,
    })
}

/// The list of a folder in use with a new UIDVALIDITY, and that: its messages in their order, each with
/// a UID that none had before. So a session that has the folder open finds no other message under a
/// number of its own. `None` if the list says nothing.
pub(crate) fn renumber(
    list: &[u8],
    has: impl Fn(&[u8]) -> bool,
    highest: u32,
    now_seconds: u32,
) -> Option<(Vec<u8>, u32)> {
    let mut list = Uidlist::parse(list)?;
    list.records.retain(|record| has(record.base()));
    let count = u32::try_from(list.records.len()).ok()?;
    // Dovecot knows no UID 2^32 - 1.
    let last = list.next_uid.checked_add(count).filter(|next| *next < u32::MAX);
    let first = if last.is_some() { list.next_uid } else { 1 };
    for (uid, record) in (first..).zip(&mut list.records) {
        record.uid = uid;
    }
    list.next_uid = first + count;
    list.uid_validity = above(list.uid_validity.max(highest), now_seconds);
    Some((list.encode(), list.uid_validity))
}

/// A UIDVALIDITY that is higher than `highest`, as long as there is one.
fn above(highest: u32, now_seconds: u32) -> u32 {
    now_seconds.max(highest.saturating_add(1))
}

impl Clock {
    /// How far the next UID is raised: beyond what clients may have seen since the snapshot, also of what
    /// came after an earlier restore of the same snapshot, of which nothing else is left to tell.
    fn margin(self) -> u32 {
        MARGIN.saturating_add(self.age_seconds.saturating_mul(UIDS_A_SECOND))
    }
}

/// More than a folder gets at once, and little enough for thousands of restores.
const MARGIN: u32 = 1_000_000;

/// More than a folder gets for long.
const UIDS_A_SECOND: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEW: Clock = Clock { now_seconds: 500, age_seconds: 0 };

    fn run(snapshot: &str, target: Option<&str>, files: &[&str], uids: Uids) -> (String, Settled) {
        let has = |base: &[u8]| files.iter().any(|file| file.as_bytes() == base);
        let list = target.map(str::as_bytes);
        let present = Present { has: &has, messages: files.len() as u64, list, highest: 0 };
        let settled = settle(snapshot.as_bytes(), &present, uids, NEW).unwrap();
        (String::from_utf8(settled.list.clone()).unwrap(), settled)
    }

    #[test]
    fn lists_keep_uids_and_never_go_back() {
        const GUID: &str = "3085f01b7f11094c501100008c4a11c1";
        let snapshot = format!("3 V100 N9 G{GUID}\n2 W5 :a:2,S\n4 :gone\n7 :b\n");
        let table = [
            // Into a new place: the next UID is out of reach of what clients saw.
            (Uids::Keep, None, format!("3 V100 N1000009 G{GUID}\n2 W5 :a\n7 :b\n"), (2, 1, 0)),
            // The same list, longer: what is there keeps its own, a taken UID is not given twice.
            (
                Uids::Keep,
                Some("3 V100 N40\n7 :c\n30 :d\n"),
                format!("3 V100 N1000040 G{GUID}\n2 W5 :a\n7 :c\n"),
                (2, 1, 1),
            ),
            // Another list: clients saw its UIDs, so that neither may be used on.
            (
                Uids::Keep,
                Some("3 V900 N4\n1 :c\n"),
                format!("3 V901 N9 G{GUID}\n2 W5 :a\n7 :b\n"),
                (2, 1, 0),
            ),
            (
                Uids::Keep,
                Some("3 V50 N4\n1 :c\n"),
                format!("3 V500 N9 G{GUID}\n2 W5 :a\n7 :b\n"),
                (2, 1, 0),
            ),
            (Uids::New, None, format!("3 V500 N9 G{GUID}\n2 W5 :a\n7 :b\n"), (2, 1, 0)),
        ];
        for (uids, target, expected, counts) in table {
            let (list, settled) = run(&snapshot, target, &["a", "b", "c"], uids);
            assert_eq!(list, expected);
            assert_eq!((settled.kept, settled.new, settled.unusable), counts, "{expected}");
            assert_eq!(settled.is_bumped, !list.starts_with("3 V100 "));
        }
    }

    /// What came after the first restore had UIDs, and is gone without a trace.
    #[test]
    fn a_second_restore_of_a_snapshot_gives_no_uid_again() {
        let present = Present { has: &|_| true, messages: 1, list: None, highest: 0 };
        let next_uid = |age_seconds| {
            let clock = Clock { age_seconds, ..NEW };
            let settled = settle(b"3 V100 N9\n2 :a\n", &present, Uids::Keep, clock).unwrap();
            Uidlist::parse(&settled.list).unwrap().next_uid
        };
        assert_eq!(next_uid(0), 1_000_009);
        assert!(next_uid(7_200) > next_uid(3_600) + 3_600);
    }

    #[test]
    fn a_list_that_says_all_of_it_is_known_as_such() {
        let snapshot = "3 V100 N9\n2 :a\n7 :b\n";
        let table = [
            (Some("3 V100 N9\n2 :a\n"), Uids::Keep, true),
            (Some("3 V100 N40\n2 :a\n30 :c\n"), Uids::Keep, true),
            // As the first of two restores left it.
            (Some("3 V901 N9\n2 :a\n"), Uids::Keep, true),
            (Some("3 V901 N9\n3 :a\n"), Uids::Keep, false),
            (Some("3 V100 N8\n2 :a\n"), Uids::Keep, false),
            (Some("3 V100 N9\n7 :b\n"), Uids::Keep, false),
            (Some("3 V100 N9\n2 :a\n"), Uids::New, false),
            (None, Uids::Keep, false),
        ];
        for (target, uids, is_there) in table {
            let (_, settled) = run(snapshot, target, &["a", "c"], uids);
            assert_eq!(settled.is_there, is_there, "{target:?}");
        }
    }

    #[test]
    fn numbers_that_end_bump_the_validity_and_couriers_list_stays_couriers() {
        let (list, settled) = run("3 V600 N4294900000\n1 :a\n", None, &["a"], Uids::Keep);
        assert_eq!(list, "3 V601 N4294900000\n1 :a\n");
        assert!(settled.is_bumped);
        let (list, _) = run("1 100 3\n1 a\n2 b:2,S\n", None, &["b"], Uids::Keep);
        assert_eq!(list, "1 100 1000003\n2 b\n");
    }

    #[test]
    fn a_folder_in_use_is_numbered_afresh_above_all_that_was_seen() {
        let table = [
            ("3 V100 N9 Gx\n2 W5 :a:2,S\n4 :gone\n7 :b\n", 0, "3 V500 N11\n9 W5 :a\n10 :b\n"),
            ("3 V600 N9\n7 :b\n", 0, "3 V601 N10\n9 :b\n"),
            ("3 V100 N9\n7 :b\n", 900, "3 V901 N10\n9 :b\n"),
            ("3 V100 N9\n", 0, "3 V500 N9\n"),
            ("3 V1 N4294967294\n5 :a\n6 :b\n", 0, "3 V500 N3\n1 :a\n2 :b\n"),
        ];
        for (list, highest, expected) in table {
            let has = |base: &[u8]| [&b"a"[..], b"b"].contains(&base);
            let (list, validity) = renumber(list.as_bytes(), has, highest, 500).unwrap();
            assert_eq!(String::from_utf8(list).unwrap(), expected);
            assert!(expected.starts_with(&format!("3 V{validity} ")), "{validity}");
        }
        assert_eq!(renumber(b"junk", |_| true, 0, 500), None);
    }

    proptest! {
        /// Whatever is merged: a UID of one validity that was ever listed names the same message.
        #[test]
        fn no_uid_names_two_messages(
            ours in prop::collection::btree_map(1..40_u32, 0..20_u8, 0..20),
            theirs in prop::collection::btree_map(1..40_u32, 0..20_u8, 0..20),
            validities in (1..4_u32, 1..4_u32),
            files in prop::collection::btree_set(0..20_u8, 0..20),
        ) {
            // A list has a message once.
            let once = |records: BTreeMap<u32, u8>| {
                let by_file: BTreeMap<u8, u32> = records.iter().map(|(uid, f)| (*f, *uid)).collect();
                by_file.into_iter().map(|(file, uid)| (uid, file)).collect::<BTreeMap<_, _>>()
            };
            let (ours, theirs) = (once(ours), once(theirs));
            let text = |validity: u32, records: &BTreeMap<u32, u8>| {
                let lines = records.iter().map(|(uid, file)| format!("{uid} :f{file}\n"));
                format!("3 V{validity} N41\n{}", lines.collect::<String>())
            };
            let names: Vec<String> = files.iter().map(|file| format!("f{file}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (snapshot, target) = (text(validities.0, &ours), text(validities.1, &theirs));
            let (list, settled) = run(&snapshot, Some(&target), &names, Uids::Keep);
            let list = Uidlist::parse(list.as_bytes()).unwrap();
            prop_assert_eq!(list.broken_lines, 0);
            prop_assert!(list.next_uid >= 41);
            prop_assert!(list.uid_validity >= validities.0.max(validities.1));
            if !settled.is_bumped {
                prop_assert!(list.next_uid > MARGIN);
                for record in &list.records {
                    if let Some(file) = theirs.get(&record.uid) {
                        let name = format!("f{file}");
                        prop_assert_eq!(record.base(), name.as_bytes());
                    }
                }
            }
        }
    }
}
