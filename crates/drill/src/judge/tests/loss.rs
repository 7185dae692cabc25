//! What is out of sight at a promotion, and what a snapshot alone gives back: RPO, as a whole history tells.

use super::*;

#[test]
fn what_is_out_of_sight_at_promotion_is_told_apart_from_what_is_lost() {
    let mut begin = begin(1);
    begin.objectives = Objectives { rpo_messages: Some(1), ..Objectives::default() };
    let mut events: Vec<Event> = (0..4).flat_map(|m| attempt(m, 0, 1, Ended::Ok)).collect();
    events.push(Event::Incident { name: "kill".into(), asked: false });
    // After the incident: nothing that could have been lost by it.
    events.extend(attempt(4, 0, 1, Ended::Ok));
    let at_promotion =
        [copy(0, 0, MAIL), copy(1, 0, DEAD_QUEUE), copy(2, 0, QUEUE), copy(3, 0, DEAD_MAIL)];
    events.extend(survey(Moment::Promotion, &at_promotion, PLACES));
    let at_the_end: Vec<Found> = (0..5).map(|m| copy(m, 0, MAIL)).collect();
    events.extend(survey(Moment::Final, &at_the_end, PLACES));
    events.push(Event::End);
    let result = judge(&begin, &events);
    let at_promotion = &result.rpo[&Moment::Promotion];
    assert_eq!((at_promotion.accepted, at_promotion.messages, at_promotion.bytes), (4, 2, 200));
    assert_eq!((at_promotion.oldest_us, at_promotion.age_us), (Some(3), Some(5)));
    assert_eq!((result.rpo[&Moment::Final].messages, result.verdict), (0, Word::Fail));
    assert_eq!(result.criteria[0].name, "rpo_messages");
}

#[test]
fn what_a_snapshot_gives_back_is_no_place_where_mail_is() {
    let mut begin = begin(1);
    let snapshot = Place {
        name: "primary snapshot".into(),
        role: PRIMARY,
        kind: PlaceKind::Snapshot,
        store: 2,
    };
    begin.places.push(snapshot);
    let mut events: Vec<Event> = (0..4).flat_map(|m| attempt(m, 0, 1, Ended::Ok)).collect();
    events.push(Event::Incident { name: "kill".into(), asked: false });
    let of = |moment, found: &[Found], places: std::ops::Range<u16>| {
        let mut look = survey(moment, &[], 0);
        look.splice(
            1..1,
            places.flat_map(|p| {
                let found = found.iter().filter(move |it| it.p == p).cloned().map(Event::Found);
                let end = Event::ReadEnd { p, failed: None, foreign: 0 };
                std::iter::once(Event::Read { p }).chain(found).chain([end]).collect::<Vec<_>>()
            }),
        );
        look
    };
    events.extend(of(Moment::Snapshot, &[copy(0, 0, PLACES)], PLACES..PLACES + 1));
    events.extend(of(Moment::Final, &[copy(1, 0, MAIL), copy(2, 0, MAIL)], 0..PLACES));
    events.push(Event::End);
    let result = judge(&begin, &events);
    let snapshot = &result.rpo[&Moment::Snapshot];
    assert_eq!((snapshot.accepted, snapshot.messages), (4, 3), "{snapshot:?}");
    assert!(snapshot.unread.is_empty() && result.rpo[&Moment::Final].unread.is_empty());
    let by_class = |class| result.messages.by_class[&class];
    assert_eq!((by_class(Class::Delivered), by_class(Class::Lost)), (2, 2), "{result:?}");
    assert_eq!(result.verdict, Word::Fail);
}

#[test]
fn what_was_asked_for_holds_at_each_promotion() {
    let all = (0..4).flat_map(|m| attempt(m, 0, 1, Ended::Ok));
    let all: Vec<Event> =
        all.chain([Event::Incident { name: "kill".into(), asked: false }]).collect();
    let at_the_end: Vec<Found> = (0..4).map(|m| copy(m, 0, MAIL)).collect();
    // Out of sight at a promotion: the first so many.
    let promoted =
        |out: usize, places| survey(Moment::Promotion, &at_the_end[out.min(4)..], places);
    // The oldest one is away, and the others are not.
    let old = || survey(Moment::Promotion, &at_the_end[1..], PLACES);
    let young = || survey(Moment::Promotion, &at_the_end[..2], PLACES);
    for (promotions, expected) in [
        ([promoted(0, PLACES), promoted(0, PLACES)], [Word::Pass, Word::Pass]),
        ([promoted(0, 3), promoted(0, PLACES)], [Word::Unknown, Word::Unknown]),
        ([promoted(0, PLACES), promoted(0, 3)], [Word::Unknown, Word::Unknown]),
        ([promoted(4, PLACES), promoted(0, 3)], [Word::Fail, Word::Fail]),
        ([old(), young()], [Word::Fail, Word::Fail]),
        ([young(), old()], [Word::Fail, Word::Fail]),
        ([young(), promoted(0, PLACES)], [Word::Fail, Word::Pass]),
        ([old(), promoted(0, PLACES)], [Word::Pass, Word::Fail]),
    ] {
        let mut begin = begin(1);
        begin.objectives =
            Objectives { rpo_messages: Some(1), rpo_us: Some(5), ..Objectives::default() };
        let mut events = [all.clone(), promotions.concat()].concat();
        events.extend(survey(Moment::Final, &at_the_end, PLACES));
        events.push(Event::End);
        let criteria = judge(&begin, &events).criteria;
        let word = |name: &str| criteria.iter().find(|one| one.name == name).unwrap().word;
        assert_eq!([word("rpo_messages"), word("rpo_time")], expected, "{promotions:?}");
    }
}
