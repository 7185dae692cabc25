//! What a run came to, as JSON: the verdict, and what happened when. The schema is docs/schema/drill.json.

use drill::Analysis;
use drill::scenario::Report;
use drill::story::{Phase, Second, Told, Undo};
use serde::Serialize;

/// What is printed, and written into the folder of the run.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    version: u32,
    scenario: String,
    scenario_sha256: String,
    pub(super) title: String,
    pub(super) run: String,
    /// What the wall clock showed at the microsecond 0.
    started: String,
    host: String,
    tool_version: String,
    report: Report,
    #[serde(flatten)]
    pub(super) result: drill::judge::Result,
    phases: Vec<Phase>,
    steps: Vec<Told>,
    undos: Vec<Undo>,
    seconds: Vec<InSecond>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct InSecond {
    second: u64,
    #[serde(flatten)]
    counts: Second,
}

impl Document {
    pub(super) fn new(analysis: &Analysis) -> Self {
        let Analysis { begin, result, story, .. } = analysis;
        let in_second =
            |(second, counts): (&u64, &Second)| InSecond { second: *second, counts: *counts };
        Self {
            version: 1,
            scenario: begin.scenario.clone(),
            scenario_sha256: begin.scenario_sha256.clone(),
            title: begin.title.clone(),
            run: begin.run.clone(),
            started: begin.at.clone(),
            host: begin.host.clone(),
            tool_version: begin.tool_version.clone(),
            report: begin.report.clone(),
            result: result.clone(),
            phases: story.phases.clone(),
            steps: story.steps.clone(),
            undos: story.undos.clone(),
            seconds: story.seconds.iter().map(in_second).collect(),
            notes: story.notes.clone(),
        }
    }
}
