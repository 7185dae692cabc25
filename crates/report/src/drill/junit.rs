//! The record as JUnit XML: the suite is the drill, each criterion a case. A verdict that no
//! criterion explains is a case of its own, so that a server never shows green for it.

use super::{Criterion, MOST_STEPS, Page, Word};
use crate::html::text;
use crate::human;

pub(super) fn write(page: &Page) -> String {
    let explained = page.criteria.iter().any(|criterion| criterion.word == page.verdict.word);
    let mut cases = page.criteria.clone();
    if page.verdict.word != Word::Pass && !explained {
        cases.push(Criterion {
            name: "verdict".to_owned(),
            asked: Word::Pass.raw().to_owned(),
            measured: page.verdict.sentence.clone(),
            word: page.verdict.word,
        });
    }
    let count = |word: Word| cases.iter().filter(|criterion| criterion.word == word).count();
    let (failures, errors) = (count(Word::Fail), count(Word::Unknown));
    let (name, time) = (text(&page.title()), page.identity.duration_us as f64 / 1e6);
    let totals = format!("tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\"", cases.len());
    let timestamp = match page.identity.started.as_str() {
        "" => String::new(),
        started => format!(" timestamp=\"{}\"", text(started)),
    };
    let class = match page.identity.scenario.as_str() {
        "" => "drill".to_owned(),
        scenario => format!("drill.{}", text(scenario)),
    };
    let cases: String = cases.iter().map(|criterion| case(&class, criterion)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {totals} time=\"{time}\">\n\
         <testsuite name=\"{name}\" {totals} skipped=\"0\" time=\"{time}\"{timestamp}>\n\
         <properties>\n{}</properties>\n{cases}<system-out>{}</system-out>\n</testsuite>\n\
         </testsuites>\n",
        properties(page),
        text(&page.verdict.sentence),
    )
}

fn case(class: &str, criterion: &Criterion) -> String {
    let head = format!("<testcase name=\"{}\" classname=\"{class}\"", text(&criterion.name));
    let said = format!("asked: {}; measured: {}", criterion.asked, criterion.measured);
    let (said, word) = (text(&said), criterion.word.raw());
    match criterion.word {
        Word::Pass => format!("{head} />\n"),
        Word::Fail => {
            format!(
                "{head}><failure message=\"{said}\" type=\"{word}\">{said}</failure></testcase>\n"
            )
        }
        Word::Unknown => {
            format!("{head}><error message=\"{said}\" type=\"{word}\">{said}</error></testcase>\n")
        }
    }
}

/// Which run it was, and its steps.
fn properties(page: &Page) -> String {
    let mut written = String::new();
    let mut property = |name: &str, value: &str| {
        let (name, value) = (text(name), text(value));
        written.push_str(&format!("<property name=\"{name}\" value=\"{value}\" />\n"));
    };
    for (name, value) in super::head::named(&page.identity) {
        property(&name.to_lowercase().replace(' ', "_"), value);
    }
    for (index, step) in page.steps.iter().take(MOST_STEPS).enumerate() {
        let word = if step.is_failed { "failed" } else { "done" };
        let word = if step.duration_us.is_none() { "never ended" } else { word };
        let at = human::us(step.at_us);
        let value = format!("+{at} {}: {word} {}", step.name, step.result);
        property(&format!("step.{}", index + 1), value.trim_end());
    }
    if let more @ 1.. = page.steps.len().saturating_sub(MOST_STEPS) {
        property("steps.more", &more.to_string());
    }
    written
}
