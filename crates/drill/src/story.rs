//! What happened when, for a reader of the report: traffic second by second, phases, steps, undos. It takes the same events
//! as the judge, and decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use crate::journal::Event;

/// What happened when.
#[derive(Debug, Default)]
pub struct Story {
    /// By second of the run.
    pub seconds: BTreeMap<u64, Second>,
    /// The parts of the traffic, in their order.
    pub phases: Vec<Phase>,
    /// In their order.
    pub steps: Vec<Told>,
    /// In the order in which they were written down.
    pub undos: Vec<Undo>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// From the start of an attempt to its end, in microseconds, of those that were accepted, by phase.
    pub latency: BTreeMap<String, Histogram<u64>>,
    /// When attempts began that have not ended.
    open: HashMap<(u64, u32), u64>,
}

/// How attempts ended in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// With a complete 2yz.
    pub accepted: u64,
    /// With anything that says no, and no other server was tried at once.
    pub failed: u64,
    /// Nobody knows how.
    pub in_doubt: u64,
}

/// A part of the traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its start.
    pub from_us: u64,
    /// Its end.
    pub to_us: u64,
}

/// A step that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// What it does, for people.
    pub does: String,
    /// Its start.
    pub from_us: u64,
    /// Its end; none: it had none.
    pub to_us: Option<u64>,
    /// Why it failed.
    pub failed: Option<String>,
    /// What it said.
    pub said: String,
    /// Whether recovery is timed from it.
    pub is_incident: bool,
    /// Who did it; empty: the drill.
    pub who: String,
}

/// An undo that was written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Undo {
    /// The step that needed it.
    pub step: String,
    /// What a person would type.
    pub by_hand: String,
    /// Whether it was done and worked; none: it was not done.
    pub is_done: Option<bool>,
    /// Why it did not work.
    pub why: String,
    #[serde(skip)]
    number: u32,
}

impl Story {
    /// The next event.
    pub fn take(&mut self, t_us: u64, event: &Event) {
        if let Some(phase) = self.phases.last_mut() {
            phase.to_us = phase.to_us.max(t_us);
        }
        match event {
            Event::Intent(intent) => drop(self.open.insert((intent.m, intent.a), t_us)),
            Event::Done(done) => {
                let second = self.seconds.entry(t_us / 1_000_000).or_default();
                if !done.ok.is_empty() {
                    second.accepted += 1;
                } else if !done.info.is_empty() {
                    second.in_doubt += 1;
                } else if !done.more {
                    second.failed += 1;
                }
                let began_us = self.open.remove(&(done.m, done.a));
                if let Some(began_us) = began_us.filter(|_| !done.ok.is_empty()) {
                    self.took(t_us.saturating_sub(began_us));
                }
            }
            Event::Phase { name } => {
                self.phases.push(Phase { name: name.clone(), from_us: t_us, to_us: t_us });
            }
            Event::Step { name, does, who } => self.steps.push(Told {
                name: name.clone(),
                does: does.clone(),
                who: who.clone(),
                from_us: t_us,
                ..Told::default()
            }),
            Event::StepEnd { name, failed, said, .. } => {
                if let Some(step) = self.step(name) {
                    step.to_us = Some(t_us);
                    (step.failed, step.said) = (failed.clone(), said.clone());
                }
            }
            Event::Incident { name, .. } => {
                if let Some(step) = self.step(name) {
                    step.is_incident = true;
                }
            }
            Event::Armed(armed) => self.undos.push(Undo {
                step: armed.step.clone(),
                by_hand: armed.by_hand.clone(),
                number: armed.id,
                ..Undo::default()
            }),
            Event::Undone { id, failed } => {
                if let Some(undo) = self.undos.iter_mut().rev().find(|undo| undo.number == *id) {
                    undo.is_done = Some(failed.is_none());
                    undo.why = failed.clone().unwrap_or_default();
                }
            }
            Event::Note { text } if self.notes.len() < MOST_NOTES => self.notes.push(text.clone()),
            _ => {}
        }
    }

    /// Latencies as a histogram log (V2, deflated) that other tools read: an interval a phase, tagged with its name, in
    /// microseconds.
    pub fn latency_log(&self) -> Vec<u8> {
        let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let mut builder = IntervalLogWriterBuilder::new();
        let writer = builder.with_max_value_divisor(1e6);
        // Nothing is refused by memory.
        let Ok(mut writer) = writer.begin_log_with(&mut log, &mut serializer) else {
            return Vec::new();
        };
        for phase in &self.phases {
            let Some(histogram) = self.latency.get(&phase.name) else { continue };
            let micros = Duration::from_micros;
            let (start, length) = (micros(phase.from_us), micros(phase.to_us - phase.from_us));
            let _ = writer.write_histogram(histogram, start, length, Tag::new(&phase.name));
        }
        log
    }

    fn step(&mut self, name: &str) -> Option<&mut Told> {
        self.steps.iter_mut().rev().find(|step| step.name == name)
    }

    fn took(&mut self, us: u64) {
        let phase = self.phases.last().map_or("", |phase| phase.name.as_str());
        if !self.latency.contains_key(phase) {
            let Ok(new) = Histogram::new_with_bounds(1, HIGHEST_US, 3) else { return };
            self.latency.insert(phase.to_owned(), new);
        }
        if let Some(histogram) = self.latency.get_mut(phase) {
            histogram.saturating_record(us.max(1));
        }
    }
}

/// Of a run that goes wrong again and again, the first ones tell enough.
const MOST_NOTES: usize = 200;
/// An hour: nobody waits longer for an answer.
const HIGHEST_US: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Done, Intent};

    #[test]
    fn attempts_are_counted_where_they_end_and_their_length_in_their_phase() {
        let mut story = Story::default();
        let done = |m, ok: &[u32], more| {
            Event::Done(Done { m, a: 1, ok: ok.to_vec(), more, ..Done::default() })
        };
        story.take(0, &Event::Phase { name: "baseline".into() });
        for m in 0..3 {
            story.take(900_000, &Event::Intent(Intent { m, a: 1, ..Intent::default() }));
        }
        story.take(950_000, &done(0, &[1], false));
        story.take(1_000_000, &done(1, &[], true));
        story.take(1_100_000, &done(2, &[], false));
        let second = |accepted, failed| Second { accepted, failed, in_doubt: 0 };
        assert_eq!(story.seconds, BTreeMap::from([(0, second(1, 0)), (1, second(0, 1))]));
        let latency = &story.latency["baseline"];
        assert!(latency.len() == 1 && latency.max().abs_diff(50_000) < 50, "{}", latency.max());
        assert_eq!(story.phases[0].to_us, 1_100_000);
        assert!(story.open.is_empty());
        let log = load::hlog::read(&story.latency_log()[..]).unwrap();
        assert_eq!(log.tags["baseline"].histogram.len(), 1);
    }

    #[test]
    fn steps_and_undos_are_told_with_their_ends() {
        let mut story = Story::default();
        let step =
            |name: &str| Event::Step { name: name.into(), does: "it".into(), who: String::new() };
        let armed = |id| {
            let by_hand = format!("undo {id}");
            let undo = serde_json::Value::Null;
            Event::Armed(crate::journal::Armed { id, step: "kill".into(), undo, by_hand })
        };
        story.take(1, &step("kill"));
        story.take(2, &armed(1));
        story.take(2, &armed(2));
        story.take(3, &Event::Incident { name: "kill".into(), asked: false });
        let end = |failed: Option<&str>| Event::StepEnd {
            name: "kill".into(),
            failed: failed.map(str::to_owned),
            judged: false,
            said: "x".into(),
        };
        story.take(4, &end(None));
        story.take(5, &Event::Undone { id: 2, failed: Some("why".into()) });
        let told = &story.steps[0];
        assert_eq!((told.from_us, told.to_us, told.is_incident), (1, Some(4), true));
        let undos: Vec<_> =
            story.undos.iter().map(|undo| (undo.is_done, undo.why.as_str())).collect();
        assert_eq!(undos, [(None, ""), (Some(false), "why")]);
    }
}
