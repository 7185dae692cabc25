//! `drill plan`: what a scenario would do, step by step, with what undoes it.

use anyhow::Result;
use drill::plan::Part;
use drill::scenario::{Loaded, Process, Scenario, Step};
use serde::Serialize;

use crate::exit::Exit;
use crate::ui::{Ui, cell};

#[derive(Serialize)]
struct Plan {
    title: String,
    touches: Vec<String>,
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

pub(super) fn run(loaded: &Loaded, ui: &Ui) -> Result<Exit> {
    let scenario = &loaded.scenario;
    let mut steps: Vec<Planned> = scenario.lab.processes.iter().map(of_lab).collect();
    steps.extend(scenario.steps.iter().map(|step| planned(step, scenario)));
    let plan =
        Plan { title: scenario.title.clone(), touches: drill::plan::touches(scenario), steps };
    ui.result("drill_plan", &plan, || text(&plan))?;
    Ok(Exit::Done)
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
    let part = |part: Part| PlannedPart { on: part.on, does: part.does, undo: part.undo };
    let parts = drill::plan::parts(step, scenario).into_iter().map(part).collect();
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
        [] => "It touches nothing but what it makes itself.".to_owned(),
        some => format!("It touches {}.", some.join(", ")),
    };
    text + &format!("\n{touches} Nothing was done.\n")
}
