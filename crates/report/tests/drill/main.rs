//! The record of a drill in its four forms: well-formed, saying the numbers it was given, bounded,
//! and unharmed by hostile texts in every field.

mod made;
#[path = "../load/markup.rs"]
mod markup;

use report::drill::{
    Criterion, Example, Outage, Page, Second, Step, Verdict, Word, html, junit, markdown,
    prometheus,
};

#[test]
fn pages_are_well_formed_and_load_nothing() {
    for page in [made::failed(90), made::failed(9_000), Page::default()] {
        let html = html(&page);
        markup::check(&html);
        for forbidden in ["<script", "http://", "https://", "url(", "@import", "src=", "<a "] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf%"));
        check_xml(&junit(&page));
        check_exposition(&prometheus(&page));
    }
}

#[test]
fn the_numbers_are_those_that_were_given() {
    let page = made::failed(90);
    let values = markup::values(&html(&page));
    let mut asked: Vec<(String, String)> = vec![
        ("verdict".into(), "fail".into()),
        ("duration_us".into(), "90000000".into()),
        ("criteria.0.word".into(), "fail".into()),
        ("criteria.1.word".into(), "unknown".into()),
        ("criteria.2.word".into(), "pass".into()),
        ("messages.sent".into(), "2821".into()),
        ("messages.accepted".into(), "2773".into()),
        ("messages.lost_bound_ppm".into(), "1081".into()),
        ("rto.0.rto_us".into(), "12400000".into()),
        ("rto.1.rto_us".into(), "null".into()),
        ("rpo.promotion.messages".into(), "7".into()),
        ("rpo.snapshot.bytes".into(), "9400320".into()),
        ("rpo.final.age_us".into(), "1900000".into()),
        ("continuity.looks".into(), "4102".into()),
        ("continuity.breaches".into(), "1".into()),
        ("steps.2.at_us".into(), "30000000".into()),
    ];
    for (class, n) in &page.messages.by_class {
        asked.push((format!("messages.by_class.{class}"), n.to_string()));
    }
    for pair in asked {
        assert_eq!(values.iter().filter(|value| **value == pair).count(), 1, "{pair:?}");
    }
}

#[test]
fn other_forms_say_the_same() {
    let page = made::failed(90);
    let markdown = markdown(&page);
    for line in [
        "✗ **fail**: `lost: 3 (asked: at most 0)`",
        "| ✗ fail | `lost` | `at most 0` | `3` |",
        "| `imap` | `kill-primary` | not seen | 30.0 s |",
        "| `promote` | `the address is still there` | `ip addr del 192.0.2.9/32 dev eth0` |",
    ] {
        assert!(markdown.lines().any(|found| found == line), "{line}\n{markdown}");
    }
    let junit = junit(&page);
    assert!(junit.contains("tests=\"3\" failures=\"1\" errors=\"1\""));
    assert_eq!(junit.matches("<failure ").count(), 1);
    assert_eq!(junit.matches("<error ").count(), 1);
    let metrics = prometheus(&page);
    for line in [
        "mailrig_drill_verdict{scenario=\"kill-primary\"} 0",
        "mailrig_drill_messages{scenario=\"kill-primary\",class=\"delivered\"} 2751",
        "mailrig_drill_duration_seconds{scenario=\"kill-primary\"} 90",
        "mailrig_drill_end_timestamp_seconds{scenario=\"kill-primary\"} 1795340000",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    assert!(!metrics.contains("service=\"imap\""), "nobody saw it come back");
}

#[test]
fn a_verdict_without_a_criterion_is_never_green() {
    for (word, failures, errors) in [(Word::Pass, 0, 0), (Word::Fail, 1, 0), (Word::Unknown, 0, 1)]
    {
        let passed = Criterion { word: Word::Pass, ..Criterion::default() };
        let verdict = Verdict { word, ..Verdict::default() };
        let page = Page { verdict, criteria: vec![passed], ..Page::default() };
        let asked = format!("failures=\"{failures}\" errors=\"{errors}\"");
        assert!(junit(&page).contains(&asked), "{word:?}");
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let evil =
        "]]>\"'><script>alert(1)</script><img src=x>&\0\x1b[2J\u{202e}</style>`|\\|@all\n# x\\";
    let mut page = made::failed(60);
    for text in texts(&mut page) {
        *text = evil.into();
    }
    let html = html(&page);
    markup::check(&html);
    assert_eq!(html.matches("</style>").count(), 1);
    let (junit, markdown, metrics) = (junit(&page), markdown(&page), prometheus(&page));
    check_xml(&junit);
    check_exposition(&metrics);
    for (form, text) in
        [("html", &html), ("junit", &junit), ("markdown", &markdown), ("metrics", &metrics)]
    {
        for forbidden in ["\0", "\x1b", "\u{202e}"] {
            assert!(!text.contains(forbidden), "{form} {forbidden:?}");
        }
    }
    assert!(!html.contains("<script") && !html.contains("<img"));
    assert!(!junit.contains("<script"));
    for line in markdown.lines() {
        // What is left of a line without its code spans is ours.
        assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        let ours: String = line.split('`').step_by(2).collect();
        assert!(!ours.contains(['<', '@', '\\']), "{line}");
    }
    let row = markdown.lines().find(|line| line.starts_with("| ✗ fail |")).unwrap();
    let ends = row.match_indices('|').filter(|(at, _)| !row[..*at].ends_with('\\')).count();
    assert_eq!(ends, 5, "four cells: {row}");
    assert!(!row.contains("\\\\|"), "no backslash takes the escape of a bar: {row}");
}

/// Every text of a record.
fn texts(page: &mut Page) -> Vec<&mut String> {
    let id = &mut page.identity;
    let mut texts = vec![&mut page.verdict.sentence, &mut page.description, &mut id.drill];
    texts.extend([&mut id.scenario, &mut id.scenario_sha256, &mut id.tool_version, &mut id.host]);
    texts.extend([&mut id.operator, &mut id.approver, &mut id.ticket, &mut id.reference]);
    texts.extend([&mut id.started, &mut id.aborted]);
    texts.extend(&mut page.remarks);
    texts.extend(page.phases.iter_mut().map(|phase| &mut phase.name));
    texts.extend(
        page.criteria.iter_mut().flat_map(|c| [&mut c.name, &mut c.asked, &mut c.measured]),
    );
    texts.extend(page.messages.by_class.iter_mut().map(|(class, _)| class));
    texts.extend(
        page.examples.iter_mut().flat_map(|e| [&mut e.recipient, &mut e.class, &mut e.found]),
    );
    texts.extend(page.outages.iter_mut().flat_map(|o| [&mut o.incident, &mut o.service]));
    for loss in &mut page.losses {
        texts.push(&mut loss.moment);
        texts.extend(&mut loss.unread);
    }
    texts.extend(page.continuity.iter_mut().flat_map(|continuity| &mut continuity.examples));
    for step in &mut page.steps {
        texts.extend([&mut step.utc, &mut step.name, &mut step.what, &mut step.result]);
        texts.push(&mut step.who);
    }
    texts.extend(page.undos.iter_mut().flat_map(|u| [&mut u.what, &mut u.why, &mut u.by_hand]));
    texts.extend(page.evidence.iter_mut().flat_map(|e| [&mut e.file, &mut e.sha256]));
    texts.extend(page.signatures.iter_mut().flat_map(|s| [&mut s.role, &mut s.name, &mut s.date]));
    texts
}

#[test]
fn whatever_comes_by_the_thousand_is_counted() {
    let mut page = made::failed(86_400);
    page.steps = vec![Step { at_us: 1, ..page.steps[0].clone() }; 10_000];
    page.examples = vec![page.examples[0].clone(); 10_000];
    let html = html(&page);
    markup::check(&html);
    assert!(html.len() < 1_500_000, "{} bytes", html.len());
    for words in ["And 9,500 more", "And 9,800 more"] {
        assert!(html.contains(words), "{words}");
    }

    assert!(markdown(&page).contains("And 9,800 more"));
    assert!(junit(&page).contains("name=\"steps.more\" value=\"9500\""));
}

#[test]
fn the_greatest_numbers_break_nothing() {
    let most = Some(u64::MAX);
    let mut page = made::failed(60);
    page.identity.duration_us = u64::MAX;
    page.seconds =
        vec![Second { at_us: u64::MAX, accepted: u64::MAX, failed: u64::MAX, in_doubt: 1 }; 2];
    page.outages = vec![Outage { rto_us: most, stable_us: most, ..Outage::default() }];
    page.examples = vec![Example { accepted_us: most, ..Example::default() }];
    let html = html(&page);
    markup::check(&html);
    assert!(!html.contains("NaN"));
    check_exposition(&prometheus(&page));
}

#[test]
fn a_record_without_data_says_unknown() {
    let page = Page::default();
    let html = html(&page);
    assert!(html.contains("data-key=\"verdict\" data-value=\"unknown\""));
    for id in ["timeline", "criteria", "examples", "rto", "rpo", "steps", "undo", "evidence"] {
        assert!(!html.contains(&format!("<section id={id}>")), "{id}");
    }
    assert!(html.contains("Acknowledged"), "there are lines to sign on");
    assert!(prometheus(&page).contains("mailrig_drill_verdict{scenario=\"\"} -1"));
}

/// Panics if it is no XML: the rules of `markup`, known entities, no control.
fn check_xml(xml: &str) {
    let body =
        xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("a declaration");
    markup::check(&format!("<!DOCTYPE html>{body}"));
    assert!(!body.contains(|c: char| c.is_control() && c != '\n'));
    assert!(!body.contains("]]>"));
    for (at, _) in body.match_indices('&') {
        let entity = body[at..].split_once(';').map(|(entity, _)| entity);
        assert!(matches!(entity, Some("&amp" | "&lt" | "&gt" | "&quot" | "&#39")), "{entity:?}");
    }
}

/// Panics if a collector would refuse it: a line that is no sample, or a series that comes twice.
fn check_exposition(text: &str) {
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (series, value) = line.rsplit_once("} ").expect(line);
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        assert!(series.starts_with("mailrig_drill_"), "{line}");
        assert!(seen.insert(series), "twice: {line}");
        let values = series.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(values.matches('"').count() % 2, 0, "{line}");
    }
}
