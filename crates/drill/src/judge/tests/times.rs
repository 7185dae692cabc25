//! When a service went and came back, and how late mail was, as a whole history tells.

use super::*;

#[test]
fn how_late_mail_is_nobody_knows_who_did_not_see_it_come() {
    let judged = |seen: bool, late: u64| {
        let mut begin = begin(2);
        begin.objectives = Objectives { late_us: Some(2), late, ..Objectives::default() };
        let mut events = [attempt(1, 0, 1, Ended::Ok), attempt(2, 0, 1, Ended::Ok)].concat();
        events.extend(
            (1..=if seen { 2 } else { 1 }).map(|m| Event::Seen(Seen { m, r: Some(0), p: MAIL })),
        );
        events.extend(survey(Moment::Final, &[copy(1, 0, MAIL), copy(2, 0, MAIL)], PLACES));
        events.push(Event::End);
        let criteria = judge(&begin, &events).criteria;
        criteria.into_iter().find(|criterion| criterion.name == "late").unwrap().word
    };
    assert_eq!(
        [judged(true, 2), judged(true, 1), judged(true, 0)],
        [Word::Pass, Word::Pass, Word::Fail]
    );
    // One was late; of the other one nobody knows.
    assert_eq!([judged(false, 1), judged(false, 0)], [Word::Unknown, Word::Fail]);
}

#[test]
fn who_is_away_again_at_the_end_did_not_come_back() {
    let mut events = vec![Event::Incident { name: "x".into(), asked: false }];
    events.extend(ends(0..1, Ended::Fail));
    events.extend(ends(1..30, Ended::Ok));
    assert_eq!(judge(&shortly_stable(), &events).rto[0].rto_us, Some(4));
    events.extend(ends(30..40, Ended::Fail));
    assert_eq!(judge(&shortly_stable(), &events).rto[0].rto_us, None);
}

#[test]
fn an_incident_that_somebody_was_asked_for_happened_at_the_first_failure_or_when_he_says_so() {
    let asked = || Event::Incident { name: "x".into(), asked: true };
    let happened = || Event::Happened { name: "x".into() };
    let judged = |events: &[Event]| {
        let rto = judge(&shortly_stable(), events).rto.remove(0);
        (rto.marks.fault_us, rto.rto_us)
    };
    let mut events = ends(0..5, Ended::Ok);
    events.push(asked());
    events.extend(ends(5..10, Ended::Ok));
    let noticed = events.len() as u64 + 1;
    events.extend(ends(10..12, Ended::Fail));
    events.extend(ends(12..40, Ended::Ok));
    events.push(happened());
    assert_eq!(judged(&events), (noticed, Some(4)));
    let said = 21;
    let quiet = [ends(0..5, Ended::Ok), vec![asked()], ends(5..10, Ended::Ok), vec![happened()]];
    events = [quiet.concat(), ends(10..40, Ended::Ok)].concat();
    assert_eq!(judged(&events), (said, Some(0)));
    events = [quiet.concat(), ends(10..11, Ended::Fail), ends(11..40, Ended::Ok)].concat();
    assert_eq!(judged(&events), (said, Some(4)));
}

#[test]
fn who_was_cut_off_in_the_midst_has_noticed_and_who_was_let_through_has_not() {
    let probe = |t_us: u64, failed: bool| {
        (t_us, Event::Probe { s: 0, failed: failed.then(|| "cut".to_owned()), took: 10 })
    };
    let judged = |failed: bool| {
        let mut judge = Judge::new(&shortly_stable());
        judge.take(5, &Event::Incident { name: "x".into(), asked: false });
        std::iter::once(probe(0, failed))
            .chain((1..9).map(|n| probe(n * 20, false)))
            .for_each(|(t_us, event)| judge.take(t_us, &event));
        judge.result().rto.remove(0)
    };
    assert_eq!((judged(true).marks.detected_us, judged(true).rto_us), (Some(10), Some(25)));
    assert_eq!((judged(false).marks.successes, judged(false).rto_us), (8, Some(0)));
}

#[test]
fn who_was_not_back_when_a_run_was_cut_short_may_have_been_in_time() {
    let judged = |away_us: u64, last: Option<Event>| {
        let mut begin = shortly_stable();
        begin.objectives.rto_us = vec![Some(1_000)];
        let mut judge = Judge::new(&begin);
        let events = attempt(0, 0, 1, Ended::Ok).into_iter().chain(attempt(1, 0, 1, Ended::Ok));
        events.for_each(|event| judge.take(0, &event));
        judge.take(10, &Event::Incident { name: "x".into(), asked: false });
        for event in attempt(2, 0, 1, Ended::Fail) {
            judge.take(10 + away_us, &event);
        }
        last.iter().for_each(|event| judge.take(10 + away_us, event));
        judge.take(9_000, &Event::Undone { id: 1, failed: None });
        let criteria = judge.result().criteria;
        criteria.into_iter().find(|one| one.name.starts_with("rto")).unwrap().word
    };
    assert_eq!(judged(500, None), Word::Unknown);
    assert_eq!(judged(1_001, None), Word::Fail);
    assert_eq!(judged(500, Some(Event::Aborted { why: "enough".into() })), Word::Unknown);
    // Whoever comes to his end had the time that he gave himself.
    assert_eq!(judged(500, Some(Event::End)), Word::Fail);
}

fn ends(range: std::ops::Range<u64>, ended: Ended) -> Vec<Event> {
    range.flat_map(move |m| attempt(m, 0, 1, ended)).collect()
}

/// Where events lie a microsecond apart.
fn shortly_stable() -> Begin {
    let objectives = Objectives { stable_count: 3, stable_us: 5, ..Objectives::default() };
    Begin { objectives, ..begin(2) }
}
