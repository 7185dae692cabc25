//! Histories whose truth is known, thousands of them: what the judge says must be that truth, and never a pass where
//! something could not be seen.

mod loss;
mod times;

use std::collections::BTreeMap;

use super::*;
use crate::journal::{Found, Imap, Objectives, Place, Seen};

const PRIMARY: u16 = 0;
const BACKUP: u16 = 1;
/// Places by number.
const MAIL: u16 = 0;
const IMAP: u16 = 1;
const DEAD_QUEUE: u16 = 2;
const DEAD_MAIL: u16 = 3;
const QUEUE: u16 = 4;
const ASIDE: u16 = 5;
const DEAD_ASIDE: u16 = 6;
const PLACES: u16 = 7;

fn begin(recipients: u32) -> Begin {
    let place = |name: &str, role, kind, store| Place { name: name.into(), role, kind, store };
    Begin {
        version: 1,
        roles: vec!["primary".into(), "backup".into()],
        recipients: (0..recipients).map(|n| format!("u{n}@drill.test")).collect(),
        places: vec![
            place("backup maildir", BACKUP, PlaceKind::Mailbox, 0),
            place("backup imap", BACKUP, PlaceKind::Mailbox, 0),
            place("primary queue", PRIMARY, PlaceKind::Queue, 1),
            place("primary maildir", PRIMARY, PlaceKind::Mailbox, 2),
            place("backup queue", BACKUP, PlaceKind::Queue, 3),
            place("quarantine", BACKUP, PlaceKind::Quarantine, 4),
            place("primary quarantine", PRIMARY, PlaceKind::Quarantine, 5),
        ],
        services: vec!["mail".into()],
        servers: vec!["primary".into(), "backup".into()],
        objectives: Objectives { late_us: Some(1_000_000), ..Objectives::default() },
        ..Begin::default()
    }
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// How an attempt ends, as the journal says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Ok,
    Info,
    Fail,
    Rejected,
    /// The drill died before it could write it down.
    Never,
}

const ENDS: [Ended; 5] = [Ended::Ok, Ended::Info, Ended::Fail, Ended::Rejected, Ended::Never];

fn attempt(m: u64, r: u32, a: u32, ended: Ended) -> Vec<Event> {
    let intent = Intent { m, a, s: 0, to: vec![r], bytes: 100 };
    let mut done = Done { m, a, ..Done::default() };
    match ended {
        Ended::Ok => done.ok.push(r),
        Ended::Info => done.info.push(r),
        Ended::Fail => done.fail.push(r),
        Ended::Rejected => done.rejected.push(r),
        Ended::Never => return vec![Event::Intent(intent)],
    }
    vec![Event::Intent(intent), Event::Done(done)]
}

/// A copy where it is told to be.
fn copy(m: u64, r: u32, p: u16) -> Found {
    Found { m, r: Some(r), p, ..Found::default() }
}

/// What happens to one message, what is found of it, and what that is.
struct Story {
    events: Vec<Event>,
    found: Vec<Found>,
    class: Class,
}

fn story(random: &mut Random, m: u64, recipients: u32) -> Story {
    let r = random.below(u64::from(recipients)) as u32;
    let other = (r + 1) % recipients;
    let attempts = |ends: &[Ended]| -> Vec<Event> {
        (1..).zip(ends).flat_map(|(a, ended)| attempt(m, r, a, *ended)).collect()
    };
    let at = |places: &[u16]| -> Vec<Found> { places.iter().map(|p| copy(m, r, *p)).collect() };
    let (ends, found, class): (&[Ended], Vec<Found>, Class) = match random.below(26) {
        0 | 1 => (&[Ended::Ok], at(&[MAIL]), Class::Delivered),
        // The same store, read twice.
        2 => (&[Ended::Ok], at(&[MAIL, IMAP]), Class::Delivered),
        3 => (&[Ended::Fail, Ended::Ok], at(&[IMAP]), Class::Delivered),
        4 => (&[Ended::Ok], vec![], Class::Lost),
        5 => (&[Ended::Ok, Ended::Info], vec![], Class::Lost),
        6 => (&[Ended::Ok], at(&[MAIL, MAIL]), Class::Duplicate),
        7 => (&[Ended::Info, Ended::Ok], at(&[MAIL, MAIL, IMAP]), Class::Delivered),
        8 => (&[Ended::Never, Ended::Ok], at(&[MAIL, MAIL, MAIL]), Class::Duplicate),
        9 => (&[Ended::Info], vec![], Class::NotAccepted),
        10 => (&[Ended::Never], at(&[MAIL]), Class::Recovered),
        11 => (&[Ended::Fail, Ended::Rejected], vec![], Class::Refused),
        12 => (&[Ended::Rejected], at(&[MAIL]), Class::DeliveredAfterReject),
        13 => (&[Ended::Fail], at(&[DEAD_QUEUE]), Class::DeliveredAfterReject),
        14 => (&[Ended::Ok], at(&[DEAD_QUEUE]), Class::Stranded),
        15 => (&[Ended::Ok], at(&[DEAD_MAIL]), Class::Stranded),
        16 => (&[Ended::Ok], at(&[QUEUE]), Class::Pending),
        17 => (&[Ended::Ok], at(&[ASIDE]), Class::Quarantined),
        18 => (&[Ended::Ok], vec![copy(m, other, MAIL)], Class::Misdelivered),
        19 => (&[Ended::Ok], vec![Found { r: None, ..copy(m, r, MAIL) }], Class::Misdelivered),
        20 => (&[Ended::Ok], vec![Found { bad: true, ..copy(m, r, MAIL) }], Class::Corrupt),
        21 => (&[Ended::Ok], at(&[MAIL, DEAD_MAIL]), Class::Delivered),
        22 => (&[Ended::Ok], vec![], Class::Bounced),
        // What is put aside need not say whom it was for.
        23 => (&[Ended::Ok], vec![Found { r: None, ..copy(m, r, ASIDE) }], Class::Quarantined),
        24 => (&[Ended::Ok], at(&[DEAD_ASIDE]), Class::Stranded),
        _ => (&[Ended::Ok], vec![], Class::Expunged),
    };
    let mut events = attempts(ends);
    match class {
        Class::Bounced => events.push(Event::Bounced { m, r: Some(r), p: Some(MAIL) }),
        Class::Expunged => {
            events.push(Event::Seen(Seen { m, r: Some(r), p: MAIL }));
            events.push(Event::Expunging { m, r });
            // That its answer is lost is as good.
            if random.below(4) > 0 {
                events.push(Event::Expunged { m, r });
            }
        }
        Class::Delivered | Class::Duplicate => {
            events.push(Event::Seen(Seen { m, r: Some(r), p: MAIL }));
        }
        _ => {}
    }
    let (found, class) = match (class, random.below(3)) {
        // What was removed comes back, or was not removed after all.
        (Class::Expunged, 0) => {
            let is_certain = events.iter().any(|event| matches!(event, Event::Expunged { .. }));
            (at(&[MAIL]), if is_certain { Class::Resurrected } else { Class::Delivered })
        }
        _ => (found, class),
    };
    Story { events, found, class }
}

/// A round of reading, in which everything is found in any order.
fn survey(moment: Moment, found: &[Found], places: u16) -> Vec<Event> {
    let mut events = vec![Event::Survey(Survey { moment, serving: vec![BACKUP] })];
    for p in 0..places {
        events.push(Event::Read { p });
        events.extend(found.iter().filter(|it| it.p == p).cloned().map(Event::Found));
        events.push(Event::ReadEnd { p, failed: None, foreign: 0 });
    }
    events.push(Event::SurveyEnd { moment });
    events
}

struct History {
    begin: Begin,
    events: Vec<Event>,
    truth: BTreeMap<Class, u64>,
}

/// Messages whose stories run into each other.
fn history(seed: u64) -> History {
    let mut random = Random(seed);
    let recipients = 2 + random.below(5) as u32;
    let mut truth: BTreeMap<Class, u64> = Class::ALL.into_iter().map(|class| (class, 0)).collect();
    let mut stories = Vec::new();
    for m in 0..random.below(60) {
        // Numbers need not be in a row.
        let m = if random.below(20) == 0 { m + (1 << 40) } else { m };
        let story = story(&mut random, m, recipients);
        *truth.entry(story.class).or_default() += 1;
        stories.push(story);
    }
    let mut found: Vec<Found> = stories.iter().flat_map(|story| story.found.clone()).collect();
    let mut left: Vec<std::vec::IntoIter<Event>> =
        stories.into_iter().map(|story| story.events.into_iter()).collect();
    let mut events = Vec::new();
    // What an earlier reading showed does not count at the end.
    let between = random.below(30);
    while !left.is_empty() {
        let at = random.below(left.len() as u64) as usize;
        match left[at].next() {
            Some(event) => events.push(event),
            None => drop(left.swap_remove(at)),
        }
        if events.len() as u64 == between {
            events.extend(survey(Moment::Between, &found, PLACES));
        }
    }
    for at in (1..found.len()).rev() {
        found.swap(at, random.below(at as u64 + 1) as usize);
    }
    // A bounce is found, as all else is, by the last look.
    let (bounces, mut events): (Vec<Event>, Vec<Event>) =
        events.into_iter().partition(|event| matches!(event, Event::Bounced { .. }));
    let mut last = survey(Moment::Final, &found, PLACES);
    last.splice(1..1, bounces);
    events.extend(last);
    events.push(Event::End);
    History { begin: begin(recipients), events, truth }
}

#[test]
fn what_lies_in_a_mailbox_and_is_not_shown_over_imap_is_hidden() {
    let known = |p: u16, folder: &str| {
        let imap = Imap { folder: folder.into(), validity: 7, uid: 1, ..Imap::default() };
        Found { imap: Some(imap), ..copy(1, 0, p) }
    };
    for (found, expected) in [
        (&[known(MAIL, "INBOX")][..], Word::Fail),
        (&[known(MAIL, "INBOX"), known(IMAP, "INBOX")], Word::Pass),
        // What has no UID yet may have come since, and other folders are not asked for.
        (&[copy(1, 0, MAIL)], Word::Pass),
        (&[known(MAIL, "Junk")], Word::Pass),
        (&[known(IMAP, "INBOX")], Word::Pass),
    ] {
        let mut events = attempt(1, 0, 1, Ended::Ok);
        events.push(Event::Seen(Seen { m: 1, r: Some(0), p: MAIL }));
        events.extend(survey(Moment::Final, found, PLACES));
        events.push(Event::End);
        assert_eq!(judge(&begin(2), &events).verdict, expected, "{found:?}");
    }
}

#[test]
fn a_bounce_counts_where_somebody_reads_it_and_as_long_as_it_is_there() {
    let bounce = |p: u16| Event::Bounced { m: 1, r: Some(0), p: Some(p) };
    let class = |between: &[Event], last: &[Event]| {
        let mut events = attempt(1, 0, 1, Ended::Ok);
        for (moment, bounces) in [(Moment::Between, between), (Moment::Final, last)] {
            let mut look = survey(moment, &[], PLACES);
            look.splice(1..1, bounces.iter().cloned());
            events.extend(look);
        }
        events.push(Event::End);
        let by_class = judge(&begin(2), &events).messages.by_class;
        by_class.into_iter().find(|(_, count)| *count > 0).map(|(class, _)| class)
    };
    assert_eq!(class(&[], &[bounce(MAIL)]), Some(Class::Bounced));
    assert_eq!(class(&[], &[bounce(DEAD_MAIL)]), Some(Class::Lost));
    assert_eq!(class(&[bounce(MAIL)], &[]), Some(Class::Lost));
    // As long as it waits itself, nobody was told; where nobody serves, nobody ever will be.
    assert_eq!(class(&[], &[bounce(QUEUE)]), Some(Class::Pending));
    assert_eq!(class(&[bounce(QUEUE)], &[]), Some(Class::Lost));
    assert_eq!(class(&[], &[bounce(DEAD_QUEUE)]), Some(Class::Lost));
}

fn judge(begin: &Begin, events: &[Event]) -> Result {
    let mut judge = Judge::new(begin);
    (0..).zip(events).for_each(|(t, event)| judge.take(t, event));
    judge.result()
}

/// Classes that a run may have as many of as it likes.
fn is_harmless(class: Class) -> bool {
    use Class::{
        Bounced, Delivered, Expunged, Late, NotAccepted, Pending, Quarantined, Recovered, Refused,
    };
    matches!(
        class,
        Bounced
            | Delivered
            | Expunged
            | Late
            | NotAccepted
            | Pending
            | Quarantined
            | Recovered
            | Refused
    )
}

#[test]
fn the_judge_tells_the_truth_of_thousands_of_histories() {
    for seed in 0..5000 {
        let History { begin, events, truth } = history(seed);
        let result = judge(&begin, &events);
        assert_eq!(result.messages.by_class, truth, "seed {seed}");
        let is_bad = truth.iter().any(|(class, count)| *count > 0 && !is_harmless(*class));
        let expected = match (is_bad, result.messages.accepted) {
            (true, _) => Word::Fail,
            (false, 0) => Word::Unknown,
            (false, _) => Word::Pass,
        };
        assert_eq!(result.verdict, expected, "seed {seed}: {}", result.sentence);
    }
}

#[test]
fn nothing_passes_where_something_was_not_seen() {
    let mut passed = 0;
    for seed in 0..2000 {
        let History { begin, events, .. } = history(seed);
        let whole = judge(&begin, &events);
        passed += u64::from(whole.verdict == Word::Pass);
        let mut random = Random(!seed);
        let fail = |event: &Event| match event {
            Event::ReadEnd { p, foreign, .. } => Event::ReadEnd {
                p: *p,
                failed: Some("permission denied".into()),
                foreign: *foreign,
            },
            event => event.clone(),
        };
        let last_reads: Vec<usize> = (0..events.len())
            .rev()
            .filter(|at| matches!(events[*at], Event::ReadEnd { .. }))
            .take(6)
            .collect();
        let at = last_reads[random.below(6) as usize];
        let mut unreadable = events.clone();
        unreadable[at] = fail(&events[at]);
        let mut missing = events.clone();
        missing.remove(at);
        // Cut anywhere, also in the middle of the last reading.
        let cut = events[..random.below(events.len() as u64) as usize].to_vec();
        for less in [unreadable, missing, cut] {
            let result = judge(&begin, &less);
            assert_ne!(result.verdict, Word::Pass, "seed {seed}: {}", result.sentence);
        }
    }
    assert!(passed > 0, "no history passes: nothing is shown");
}

/// Two attempts with all ends, and up to three copies: by counting, and not by the table.
#[test]
fn every_interleaving_at_the_dot_is_judged_by_what_can_have_happened() {
    for first in ENDS {
        for second in ENDS {
            for copies in 0..=3 {
                let ends = [first, second];
                let mut events = attempt(0, 0, 1, first);
                events.extend(attempt(0, 0, 2, second));
                events.extend((0..copies).map(|_| Event::Seen(Seen { m: 0, r: Some(0), p: MAIL })));
                events.extend(survey(Moment::Final, &vec![copy(0, 0, MAIL); copies], PLACES));
                events.push(Event::End);
                let result = judge(&begin(1), &events);
                let sure = ends.iter().filter(|end| **end == Ended::Ok).count();
                let open =
                    ends.iter().filter(|end| matches!(end, Ended::Info | Ended::Never)).count();
                // A server may have kept one copy an attempt that it did not refuse; each 250 means at least one.
                let is_possible = copies <= sure + open && (sure == 0 || copies > 0);
                let class =
                    *result.messages.by_class.iter().find(|(_, count)| **count == 1).unwrap().0;
                assert_eq!(is_harmless(class), is_possible, "{ends:?} {copies} {class:?}");
                let word = match (is_possible, sure) {
                    (false, _) => Word::Fail,
                    (true, 0) => Word::Unknown,
                    (true, _) => Word::Pass,
                };
                assert_eq!(result.verdict, word, "{ends:?} {copies}");
            }
        }
    }
}

#[test]
fn an_outage_is_held_against_its_objective() {
    for (limit_us, probes, back, expected) in [
        (Some(2_000_000), 30, true, Word::Pass),
        (Some(500_000), 30, true, Word::Fail),
        (Some(2_000_000), 30, false, Word::Fail),
        (None, 30, false, Word::Pass),
        // Nobody looked long enough.
        (Some(2_000_000), 3, true, Word::Unknown),
        (Some(2_000_000), 3, false, Word::Fail),
        (Some(500_000), 3, true, Word::Fail),
    ] {
        let mut begin = begin(1);
        begin.services.push("smtp".into());
        begin.objectives.rto_us = vec![None, limit_us];
        let mut judge = Judge::new(&begin);
        let probe =
            |failed: bool| Event::Probe { s: 1, failed: failed.then(|| "refused".into()), took: 0 };
        for event in attempt(0, 0, 1, Ended::Ok) {
            judge.take(0, &event);
        }
        judge.take(1, &Event::Seen(Seen { m: 0, r: Some(0), p: MAIL }));
        judge.take(1_000_000, &Event::Incident { name: "kill".into(), asked: false });
        judge.take(1_100_000, &probe(true));
        for step in 0..probes {
            judge.take(2_000_000 + step * 100_000, &probe(!back));
        }
        for event in survey(Moment::Final, &[copy(0, 0, MAIL)], PLACES) {
            judge.take(9_000_000, &event);
        }
        judge.take(9_000_000, &Event::End);
        let result = judge.result();
        assert_eq!(result.verdict, expected, "{limit_us:?} {back}: {}", result.sentence);
        assert_eq!(result.rto[1].rto_us, (back && probes > 3).then_some(1_000_000));
    }
}

#[test]
fn what_makes_no_sense_is_no_pass() {
    let mut events = attempt(0, 0, 1, Ended::Ok);
    events.extend(attempt(0, 0, 1, Ended::Ok).pop());
    events.extend(survey(Moment::Final, &[copy(0, 0, MAIL)], PLACES));
    events.push(Event::End);
    let result = judge(&begin(1), &events);
    assert_eq!(result.verdict, Word::Unknown, "{}", result.sentence);
}

#[test]
fn a_journal_that_makes_no_sense_is_odd_and_takes_nothing_down() {
    let foreign = u64::MAX;
    let read_end = || Event::ReadEnd { p: MAIL, failed: None, foreign };
    let found = |p| Event::Found(Found { m: 0, r: Some(0), p, ..Found::default() });
    let intent = |m| Event::Intent(Intent { m, to: vec![0], ..Intent::default() });
    let survey = Survey { moment: Moment::Final, serving: vec![BACKUP] };
    let sound = [intent(0), Event::Survey(survey), found(MAIL), read_end()];
    for (more, is_odd) in [
        (vec![], false),
        (vec![read_end()], false),
        (vec![found(PLACES)], true),
        (vec![found(u16::MAX)], true),
    ] {
        let mut judge = Judge::new(&begin(1));
        sound.iter().chain(&more).for_each(|event| judge.take(0, event));
        let result = judge.result();
        assert_eq!(result.criteria.iter().any(|c| c.name == "journal"), is_odd, "{more:?}");
    }
}
