//! `drill runbook`: the scenario as instructions for people, in Markdown: what to do, how to tell that it worked, and how
//! to take it back.

use std::fmt::Write as _;

use anyhow::Result;
use drill::plan::{Part, at_the_end, parts};
use drill::scenario::{Action, Fault, Loaded, Scenario, Step};

use crate::exit::Exit;
use crate::ui::{Ui, cell};

#[derive(serde::Serialize)]
struct Runbook {
    title: String,
    markdown: String,
}

pub(super) fn run(loaded: &Loaded, ui: &Ui) -> Result<Exit> {
    let scenario = &loaded.scenario;
    let runbook = Runbook { title: scenario.title.clone(), markdown: markdown(scenario)? };
    ui.result("drill_runbook", &runbook, || runbook.markdown.clone())?;
    Ok(Exit::Done)
}

fn markdown(scenario: &Scenario) -> Result<String> {
    let mut text = format!("# {}\n\n", cell(&scenario.title));
    if !scenario.description.is_empty() {
        writeln!(text, "{}\n", scenario.description.trim())?;
    }
    writeln!(
        text,
        "## Who takes part\n\n| role | where | mail | serves at the beginning |\n|---|---|---|---|"
    )?;
    for (name, role) in &scenario.roles {
        let (name, on) = (cell(name), role.on.to_string());
        let mail = cell(role.smtp.as_deref().unwrap_or("-"));
        let serves = if role.serves { "yes" } else { "no" };
        writeln!(text, "| {name} | {} | {mail} | {serves} |", cell(&on))?;
    }
    writeln!(text, "\n## Before\n")?;
    writeln!(text, "- [ ] Mail flows, to {}.", scenario.traffic.to.join(", then "))?;
    for probe in &scenario.steady {
        writeln!(text, "- [ ] {}", cell(&probe.to_string()))?;
    }
    writeln!(text, "- [ ] Note the time: ____")?;
    writeln!(text, "\n## Steps\n")?;
    for (at, step) in scenario.steps.iter().enumerate() {
        one(&mut text, at + 1, step, scenario)?;
    }
    writeln!(text, "\n## Back to normal\n")?;
    writeln!(text, "In this order, whether the drill went well or not:\n")?;
    for step in scenario.steps.iter().rev() {
        for (on, undo) in undos(step, scenario) {
            let (name, on, undo) = (cell(&step.name), cell(&on), cell(&undo));
            writeln!(text, "- [ ] take back “{name}”, {on}: `{undo}`")?;
        }
    }
    for name in scenario.lab.processes.keys() {
        writeln!(text, "- [ ] end `{name}`")?;
    }
    for last in at_the_end(scenario) {
        writeln!(text, "- [ ] at the end, {}: `{}`", cell(&last.on), cell(&last.does))?;
    }
    writeln!(text, "\n## Account\n")?;
    writeln!(text, "- [ ] Every message that was answered with 250 is found, once.")?;
    for (service, span) in &scenario.objectives.rto {
        writeln!(text, "- [ ] `{service}` was away no longer than {:?}: ____", span.0)?;
    }
    writeln!(text, "- [ ] Lost: ____ (at most {})", scenario.objectives.lost)?;
    writeln!(
        text,
        "\nDone by ____________________  on ____________  seen by ____________________"
    )?;
    Ok(text)
}

fn one(text: &mut String, number: usize, step: &Step, scenario: &Scenario) -> Result<()> {
    if let Some(after) = step.after {
        writeln!(text, "   *Let it go on for {:?}.*\n", after.0)?;
    }
    let (name, does) = (cell(&step.name), step.action.to_string());
    writeln!(text, "{number}. [ ] **{name}**: {}  (time: ____)", cell(&does))?;
    if is_of_commands(step) {
        for part in parts(step, scenario) {
            writeln!(text, "\n   ```sh\n   # {}\n   {}\n   ```\n", part.on, part.does)?;
        }
    }
    if let Action::WaitUntil(wait) = &step.action {
        writeln!(
            text,
            "   At most {:?}; if it does not come true, go on with “Back to normal”.",
            wait.within.0
        )?;
    }
    Ok(())
}

/// Whether what it does is to be typed, and not already told.
fn is_of_commands(step: &Step) -> bool {
    matches!(
        &step.action,
        Action::Run(_)
            | Action::Mailrig(_)
            | Action::Promote(_)
            | Action::Failback(_)
            | Action::Parallel(_)
    ) || matches!(&step.action, Action::Fault(Fault::Network(_)))
}

fn undos(step: &Step, scenario: &Scenario) -> impl Iterator<Item = (String, String)> {
    let with_undo = |part: Part| Some((part.on, part.undo?));
    parts(step, scenario).into_iter().rev().filter_map(with_undo)
}
