//! The reports of a drill: from what its journal tells to a page for people, Markdown, JUnit and Prometheus text, and the
//! latencies as histograms that other tools read.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use drill::Analysis;
use drill::journal::Moment;
use drill::judge::{self, Class};
use jiff::{Timestamp, ToSpan};
use report::drill as page;
use sha2::{Digest, Sha256};

use crate::commands::load::write_whole;

/// Writes all of them into the folder of the run.
pub(super) fn write(dir: &Path, analysis: &Analysis) -> Result<()> {
    write_whole(&dir.join(LATENCY), &analysis.story.latency_log())?;
    let page = made(dir, analysis)?;
    for (name, text) in [
        ("report.html", page::html(&page)),
        ("report.md", page::markdown(&page)),
        ("junit.xml", page::junit(&page)),
        ("metrics.prom", page::prometheus(&page)),
    ] {
        write_whole(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

fn made(dir: &Path, analysis: &Analysis) -> Result<page::Page> {
    let Analysis { begin, result, story, is_cut } = analysis;
    let start = begin.at.parse::<Timestamp>().ok();
    let at = |us: u64| {
        let at = start.and_then(|start| start.checked_add((us as i64).microseconds()).ok());
        at.map(|at| format!("{at:.3}")).unwrap_or_default()
    };
    let report = &begin.report;
    let identity = page::Identity {
        drill: begin.run.clone(),
        scenario: begin.scenario.clone(),
        scenario_sha256: begin.scenario_sha256.clone(),
        tool_version: begin.tool_version.clone(),
        host: begin.host.clone(),
        operator: report.operator.clone(),
        approver: report.approver.clone(),
        ticket: report.ticket.clone(),
        reference: report.reference.clone(),
        started: begin.at.clone(),
        end_unix_s: start
            .and_then(|start| u64::try_from(start.as_second()).ok())
            .map(|start| start + result.length_us / 1_000_000),
        duration_us: result.length_us,
        aborted: result.aborted.clone().unwrap_or_default(),
    };
    let mut remarks = Vec::new();
    if *is_cut {
        remarks.push("The last line of the journal is not complete: the drill was killed.".into());
    }
    remarks.extend(story.notes.iter().cloned());
    let signature = |role: &str, name: &str| page::Signature {
        role: role.into(),
        name: name.into(),
        date: String::new(),
    };
    Ok(page::Page {
        verdict: page::Verdict { word: word(result.verdict), sentence: result.sentence.clone() },
        identity,
        description: format!("{}\n{}", begin.title, begin.description.trim()).trim().to_owned(),
        remarks,
        seconds: story.seconds.iter().map(second).collect(),
        phases: story.phases.iter().map(phase).collect(),
        criteria: result.criteria.iter().map(criterion).collect(),
        messages: messages(&result.messages),
        examples: result.examples.iter().map(example).collect(),
        outages: outages(result),
        losses: losses(result),
        continuity: continuity(&result.continuity),
        steps: story.steps.iter().map(|step| self::step(step, at(step.from_us))).collect(),
        undos: story.undos.iter().map(undo).collect(),
        evidence: evidence(dir)?,
        signatures: vec![
            signature("created", &report.operator),
            signature("reviewed", ""),
            signature("acknowledged", &report.approver),
        ],
    })
}

fn word(word: judge::Word) -> page::Word {
    match word {
        judge::Word::Pass => page::Word::Pass,
        judge::Word::Fail => page::Word::Fail,
        judge::Word::Unknown => page::Word::Unknown,
    }
}

fn second((at_s, second): (&u64, &drill::story::Second)) -> page::Second {
    let drill::story::Second { accepted, failed, in_doubt } = *second;
    page::Second { at_us: at_s * 1_000_000, accepted, failed, in_doubt }
}

fn phase(phase: &drill::story::Phase) -> page::Phase {
    page::Phase { name: phase.name.clone(), from_us: phase.from_us, to_us: phase.to_us }
}

fn criterion(criterion: &judge::Criterion) -> page::Criterion {
    page::Criterion {
        name: criterion.name.clone(),
        asked: criterion.asked.clone(),
        measured: criterion.actual.clone(),
        word: word(criterion.word),
    }
}

fn messages(messages: &judge::Messages) -> page::Messages {
    let by_class = messages.by_class.iter();
    page::Messages {
        sent: messages.sent,
        accepted: messages.accepted,
        attempts: messages.attempts,
        by_class: by_class.map(|(class, count)| (class.name().to_owned(), *count)).collect(),
        never_sent: messages.never_sent,
        foreign: messages.foreign,
        explained_copies: messages.explained_copies,
        lost_bound_ppm: messages.lost_share_bound.map(|share| (share * 1e6).ceil() as u64),
    }
}

fn example(example: &judge::Example) -> page::Example {
    page::Example {
        message: example.message,
        recipient: example.recipient.clone(),
        class: Class::name(example.class).to_owned(),
        accepted_us: example.accepted_us,
        found: example.found.clone(),
    }
}

fn outages(result: &judge::Result) -> Vec<page::Outage> {
    let outage = |outage: &judge::Outage| page::Outage {
        incident: outage.incident.clone(),
        service: outage.service.clone(),
        rto_us: outage.rto_us,
        objective_us: outage.objective_us,
        fault_us: outage.marks.fault_us,
        noticed_us: outage.marks.detected_us,
        promoted_us: outage.marks.promoted_us,
        first_ok_us: outage.marks.first_ok_us,
        stable_us: outage.marks.stable_us,
        failures: outage.marks.failures,
        successes: outage.marks.successes,
    };
    result.rto.iter().map(outage).collect()
}

fn losses(result: &judge::Result) -> Vec<page::Loss> {
    let name = |moment: &Moment| match moment {
        Moment::Promotion => Some("promotion"),
        Moment::Salvage => Some("salvage"),
        Moment::Snapshot => Some("snapshot"),
        Moment::Final => Some("final"),
        Moment::Between => None,
    };
    let named = result.rpo.iter().filter_map(|(moment, loss)| Some((name(moment)?, loss)));
    let loss = |(moment, loss): (&str, &judge::Loss)| page::Loss {
        moment: moment.into(),
        accepted: loss.accepted,
        messages: loss.messages,
        bytes: loss.bytes,
        age_us: loss.age_us,
        unread: loss.unread.clone(),
    };
    named.map(loss).collect()
}

fn continuity(continuity: &judge::Continuity) -> Option<page::Continuity> {
    (continuity.looks > 0).then(|| page::Continuity {
        looks: continuity.looks,
        breaches: continuity.breaches,
        examples: continuity.examples.iter().map(ToString::to_string).collect(),
    })
}

fn step(step: &drill::story::Told, utc: String) -> page::Step {
    let result = step.failed.as_ref().unwrap_or(&step.said);
    let who = step.who.as_str();
    page::Step {
        at_us: step.from_us,
        utc,
        name: step.name.clone(),
        what: step.does.clone(),
        result: result.clone(),
        is_failed: step.failed.is_some(),
        is_fault: step.is_incident,
        duration_us: step.to_us.map(|to_us| to_us.saturating_sub(step.from_us)),
        who: who.to_owned(),
    }
}

fn undo(undo: &drill::story::Undo) -> page::Undo {
    let not_done = "it was not done".to_owned();
    page::Undo {
        what: undo.step.clone(),
        is_done: undo.is_done == Some(true),
        why: if undo.is_done.is_none() { not_done } else { undo.why.clone() },
        by_hand: undo.by_hand.clone(),
    }
}

/// What was there before the reports: they cannot hold their own sums.
fn evidence(dir: &Path) -> Result<Vec<page::Evidence>> {
    let mut all = Vec::new();
    for name in [drill::JOURNAL, "scenario.toml", LATENCY] {
        let path = dir.join(name);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (mut sum, mut reader) = (Sha256::new(), BufReader::with_capacity(1 << 20, file));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut buffer);
            match count.with_context(|| format!("cannot read {}", path.display()))? {
                0 => break,
                count => sum.update(&buffer[..count]),
            }
        }
        let sha256 = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(page::Evidence { file: name.into(), sha256 });
    }
    Ok(all)
}

const LATENCY: &str = "latency.hlog";
