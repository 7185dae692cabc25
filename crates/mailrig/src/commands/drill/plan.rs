//! `drill plan`: what a scenario would do, step by step, with what undoes it.

use anyhow::Result;
use drill::scenario::{Action, Loaded, Run, Step};
use serde::Serialize;

use crate::exit::Exit;
use crate::ui::{Ui, table};

#[derive(Serialize)]
struct Plan {
    title: String,
    steps: Vec<Planned>,
}

#[derive(Serialize)]
struct Planned {
    name: String,
    does: String,
    undo: String,
}

pub(super) fn run(loaded: &Loaded, ui: &Ui) -> Result<Exit> {
    let scenario = &loaded.scenario;
    let mut steps = Vec::new();
    for (name, process) in &scenario.lab.processes {
        let does = format!("start {}", process.run.join(" "));
        steps.push(Planned {
            name: name.clone(),
            does,
            undo: "end it, with all that it started".into(),
        });
    }
    steps.extend(scenario.steps.iter().map(planned));
    let plan = Plan { title: scenario.title.clone(), steps };
    ui.result("drill_plan", &plan, || {
        let row = |step: &Planned| vec![step.name.clone(), step.does.clone(), step.undo.clone()];
        let rows: Vec<_> = plan.steps.iter().map(row).collect();
        format!("{}\n\n{}", plan.title, table(&["Step", "Does", "Undo"], &rows))
    })?;
    Ok(Exit::Done)
}

fn planned(step: &Step) -> Planned {
    let of_run = |run: &Run| run.undo.as_ref().map(|undo| undo.join(" "));
    let undo = match &step.action {
        Action::Run(run) => of_run(run),
        Action::Promote(promote) | Action::Failback(promote) => {
            let undos: Vec<String> = promote.run.iter().rev().filter_map(of_run).collect();
            (!undos.is_empty()).then(|| undos.join("; "))
        }
        _ => None,
    };
    Planned {
        name: step.name.clone(),
        does: step.action.to_string(),
        undo: undo.unwrap_or_else(|| "-".into()),
    }
}
