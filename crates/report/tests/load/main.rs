//! The page of a load test as a whole: well-formed, loading nothing, saying the numbers it was
//! given, and unharmed by hostile texts and by what is no number.

mod made;
mod markup;

use report::load::{Curve, Fact, Interval, Limit, Page, Phase, Reply, Step, Value, html};

#[test]
fn pages_are_well_formed_and_load_nothing() {
    let pages =
        [made::met(120), made::met(1), made::limit_found(), made::invalid(), Page::default()];
    for page in pages {
        let html = html(&page);
        markup::check(&html);
        for forbidden in ["<script", "http://", "https://", "url(", "@import", "src=", "<iframe"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf%"));
    }
}

#[test]
fn the_numbers_are_those_that_were_given() {
    let page = made::met(120);
    let values = markup::values(&html(&page));
    let mut asked: Vec<(String, String)> = vec![
        ("verdict".into(), "met".into()),
        ("objectives.0.is_met".into(), "true".into()),
        ("offered".into(), "24000".into()),
        ("accepted".into(), "23950".into()),
        ("refused".into(), "6".into()),
        ("deferred".into(), "41".into()),
        ("unknown".into(), "1".into()),
        ("not_started".into(), "2".into()),
        ("asked_per_s".into(), "200".into()),
        ("achieved_per_s".into(), "199.583333".into()),
        ("bytes".into(), "1294336512".into()),
        ("connections".into(), "2412".into()),
        ("queue.slope.per_s".into(), "-0.021".into()),
        ("delivery.delivered".into(), "23941".into()),
        ("delivery.lost".into(), "9".into()),
        ("failed".into(), "3".into()),
        ("not_retried".into(), "5".into()),
        ("generator.cpu_share".into(), "0.183".into()),
        ("lateness_us.p99".into(), "412".into()),
        ("lateness_us.max".into(), "2067".into()),
        ("seed".into(), "42".into()),
    ];
    let mut all = |key: &str, us: &report::load::Percentiles| {
        let parts =
            [("p50", us.p50), ("p90", us.p90), ("p99", us.p99), ("p999", us.p999), ("max", us.max)];
        asked.extend(parts.map(|(part, us)| (format!("{key}.{part}"), us.to_string())));
    };
    all("response_us", &page.response_us.unwrap());
    all("service_us", &page.service_us.unwrap());
    all("delivery_us", &page.delivery.as_ref().unwrap().us.unwrap());
    for phase in &page.phases {
        all(&phase.key, &phase.us);
    }
    for (index, reply) in page.replies.iter().enumerate() {
        asked.push((format!("replies.{index}.count"), reply.count.to_string()));
    }
    for pair in asked {
        assert_eq!(values.iter().filter(|value| value.0 == pair.0).count(), 1, "{pair:?}");
        assert!(values.contains(&pair), "{pair:?}");
    }
}

#[test]
fn the_limit_is_said() {
    let html = html(&made::limit_found());
    let values = markup::values(&html);
    for (key, raw) in [("limit.highest_held_per_s", "450"), ("limit.first_broken.per_s", "475")] {
        assert!(values.contains(&(key.into(), raw.into())), "{key}");
    }
    assert_eq!(html.matches("class=\"mark good\"").count(), 5);
    assert_eq!(html.matches("class=\"mark bad\"").count(), 4);
    assert!(html.contains("queue grows by 74.2/s"));
}

#[test]
fn advice_is_first_where_the_result_is_invalid() {
    let html = html(&made::invalid());
    let advice = html.find("--shard 1/2").unwrap();
    assert!(advice < html.find("Key figures").unwrap());
}

#[test]
fn parts_without_data_are_left_out() {
    let html = html(&Page::default());
    for id in ["percentiles", "phases", "replies", "limit", "delivery", "generator", "objectives"] {
        assert!(!html.contains(&format!("<section id={id}>")), "{id}");
    }
    assert!(!html.contains("<figure") && !html.contains("over time"));
    assert!(html.contains("Nothing accepted"));
}

#[test]
fn hostile_texts_stay_texts() {
    let evil = "\"'><script>alert(1)</script><img src=x onerror=y>&\0\x1b[2J\u{202e}</style>";
    let mut page = made::met(30);
    page.limit = made::limit_found().limit;
    for text in texts(&mut page) {
        *text = evil.into();
    }
    let html = html(&page);
    markup::check(&html);
    assert_eq!(html.matches("</style>").count(), 1);
    for forbidden in ["<script", "<img", "\0", "\x1b", "\u{202e}"] {
        assert!(!html.contains(forbidden), "{forbidden:?}");
    }
}

/// Every text of a page that somebody else may have written.
fn texts(page: &mut Page) -> Vec<&mut String> {
    let run = &mut page.run;
    let mut texts = vec![
        &mut page.title,
        &mut page.verdict.sentence,
        &mut run.target,
        &mut run.id,
        &mut run.started,
        &mut run.command,
        &mut run.plan_digest,
        &mut run.version,
    ];
    texts.extend(run.more.iter_mut().flat_map(|(name, value)| [name, value]));
    texts.extend(
        page.objectives.iter_mut().flat_map(|objective| {
            [&mut objective.name, &mut objective.asked, &mut objective.actual]
        }),
    );
    texts.extend(&mut page.remarks);
    let facts = page.counts.more.iter_mut().chain(&mut page.generator.facts);
    texts.extend(facts.flat_map(|fact| [&mut fact.key, &mut fact.label, &mut fact.note]));
    texts.extend(page.spectrum.iter_mut().map(|curve| &mut curve.name));
    texts.extend(page.stages.iter_mut().map(|stage| &mut stage.name));
    texts.extend(page.queue.as_mut().map(|queue| &mut queue.source));
    texts.extend(page.phases.iter_mut().map(|phase| &mut phase.name));
    texts.extend(
        page.replies
            .iter_mut()
            .flat_map(|reply| [&mut reply.phase, &mut reply.enhanced, &mut reply.text]),
    );
    let steps = page.limit.iter_mut().flat_map(|limit| &mut limit.steps);
    texts.extend(steps.map(|step| &mut step.reason));
    texts.extend(page.delivery.as_mut().map(|delivery| &mut delivery.place));
    texts.extend(&mut page.generator.advice);
    texts
}

#[test]
fn what_is_no_number_breaks_nothing() {
    for wild in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        let mut page = made::met(20);
        page.counts.achieved_per_s = wild;
        page.counts.more = vec![Fact { value: Value::Share(wild), ..Fact::default() }];
        page.spectrum = vec![
            Curve { name: "a".into(), points: vec![(wild, u64::MAX), (0.5, 0)] },
            Curve::default(),
        ];
        let row = Interval {
            at_s: wild,
            asked_per_s: Some(wild),
            delivered_per_s: Some(wild),
            max_us: Some(u64::MAX),
            queue: Some(u64::MAX),
            ..Interval::default()
        };
        page.intervals = vec![row; 3];
        page.stages[0].to_s = wild;
        page.queue.as_mut().unwrap().slope_per_s = wild;
        let mut phase = Phase::default();
        (phase.us.count, phase.us.mean, phase.us.p50) = (u64::MAX, wild, u64::MAX);
        page.phases = vec![phase];
        page.replies = vec![Reply { first_s: Some(wild), count: u64::MAX, ..Reply::default() }];
        let step = Step { asked_per_s: wild, p99_us: Some(0), ..Step::default() };
        page.limit = Some(Limit { holds_per_s: Some(wild), breaks_per_s: None, steps: vec![step] });
        let html = html(&page);
        markup::check(&html);
        assert!(!html.contains("NaN"), "{wild}");
    }
}

#[test]
fn an_hour_of_seconds_stays_small() {
    let mut page = made::met(3_600);
    page.intervals[1_801].max_us = Some(3_599_000_000);
    let reply = page.replies[0].clone();
    page.replies = vec![reply; 5_000];
    let html = html(&page);
    markup::check(&html);
    assert!(html.len() < 500_000, "{} bytes", html.len());
    assert!(html.contains("59 min 59 s"), "the longest is in the table");
    assert!(html.contains("And 4,800 more kinds"));
}
