//! `drill plan`: what a scenario would do, step by step, with what undoes it, and what it would touch.

use anyhow::Result;
use drill::plan::Part;
use drill::safety::{check_protected, foreign_hosts};
use drill::scenario::{Loaded, Process, Scenario, Step};
use serde::Serialize;

use crate::exit::Exit;
use crate::ui::{Ui, cell};

#[derive(Serialize)]
struct Plan {
    title: String,
    touches: Vec<String>,
    /// What `--yes-affect` is to be given.
    to_be_said: Option<String>,
    /// Why a run would be refused.
    refused: Option<String>,
    steps: Vec<Planned>,
}

#[derive(Serialize)]
struct Planned {
    name: String,
    does: String,
    parts: Vec<PlannedPart>,
}

#[derive(Serialize)]
struct PlannedPart {
    on: String,
    does: String,
    undo: Option<String>,
}

pub(super) fn run(loaded: &Loaded, name: &str, ui: &Ui) -> Result<Exit> {
    let scenario = &loaded.scenario;
    let mut steps: Vec<Planned> =
        block("the lab", "made before the first step", drill::plan::before(scenario));
    steps.extend(scenario.lab.processes.iter().map(of_lab));
    steps.extend(scenario.steps.iter().map(|step| planned(step, scenario)));
    steps.extend(block("at the end", "whatever has happened", drill::plan::at_the_end(scenario)));
    let is_said = !foreign_hosts(loaded).is_empty();
    let plan = Plan {
        title: scenario.title.clone(),
        touches: drill::plan::touches(loaded),
        to_be_said: is_said.then(|| name.to_owned()),
        refused: check_protected(loaded).err().map(|e| e.to_string()),
        steps,
    };
    ui.result("drill_plan", &plan, || text(&plan))?;
    Ok(Exit::Done)
}

fn block(name: &str, does: &str, parts: Vec<Part>) -> Vec<Planned> {
    if parts.is_empty() {
        return Vec::new();
    }
    let parts = parts.into_iter().map(shown).collect();
    vec![Planned { name: name.into(), does: does.into(), parts }]
}

fn shown(part: Part) -> PlannedPart {
    PlannedPart { on: part.on, does: part.does, undo: part.undo }
}

fn of_lab((name, process): (&String, &Process)) -> Planned {
    let on = process.node.as_ref().map_or("here".to_owned(), |node| format!("node {node}"));
    let undo = Some("end it, with all that it started".into());
    let does = process.run.join(" ");
    let when = if process.starts { "of the lab, from the start" } else { "of the lab, by a step" };
    let parts = vec![PlannedPart { on, does, undo }];
    Planned { name: name.clone(), does: when.into(), parts }
}

fn planned(step: &Step, scenario: &Scenario) -> Planned {
    let parts = drill::plan::parts(step, scenario).into_iter().map(shown).collect();
    Planned { name: step.name.clone(), does: step.action.to_string(), parts }
}

/// A block a step: commands are long, and people copy them.
fn text(plan: &Plan) -> String {
    let mut text = format!("{}\n\n", cell(&plan.title));
    for step in &plan.steps {
        text.push_str(&format!("{}\n", cell(&step.name)));
        for part in &step.parts {
            text.push_str(&format!("  {}: {}\n", cell(&part.on), cell(&part.does)));
            if let Some(undo) = &part.undo {
                text.push_str(&format!("    undo: {}\n", cell(undo)));
            }
        }
    }
    let touches = match plan.touches.as_slice() {
        [] => {
            "As far as its commands show, it touches nothing but what it makes itself.".to_owned()
        }
        some => format!("As far as its commands show, it touches {}.", some.join(", ")),
    };
    let condition = match (&plan.refused, &plan.to_be_said) {
        (Some(why), _) => format!(" A run would be refused: {why}."),
        (None, Some(name)) => format!(" A run wants --yes-affect {name}."),
        (None, None) => String::new(),
    };
    text + &format!("\n{}{} Nothing was done.\n", cell(&touches), cell(&condition))
}
