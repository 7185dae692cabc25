//! `drill runbook`: the scenario as instructions for people, in Markdown: what to do, how to tell that it worked, and how
//! to take it back.

use std::fmt::Write as _;

use anyhow::Result;
use drill::scenario::{Action, Loaded, Run, Scenario, Step, Where};

use crate::exit::Exit;
use crate::ui::Ui;

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
    let mut text = format!("# {}\n\n", scenario.title);
    if !scenario.description.is_empty() {
        writeln!(text, "{}\n", scenario.description.trim())?;
    }
    writeln!(
        text,
        "## Who takes part\n\n| role | where | mail | serves at the beginning |\n|---|---|---|---|"
    )?;
    for (name, role) in &scenario.roles {
        let mail = role.smtp.as_deref().unwrap_or("-");
        let serves = if role.serves { "yes" } else { "no" };
        writeln!(text, "| {name} | {} | {mail} | {serves} |", place(&role.on))?;
    }
    writeln!(text, "\n## Before\n")?;
    writeln!(text, "- [ ] Mail flows, to {}.", scenario.traffic.to.join(", then "))?;
    for probe in &scenario.steady {
        writeln!(text, "- [ ] {probe}")?;
    }
    writeln!(text, "- [ ] Note the time: ____")?;
    writeln!(text, "\n## Steps\n")?;
    for (at, step) in scenario.steps.iter().enumerate() {
        one(&mut text, at + 1, step, scenario)?;
    }
    writeln!(text, "\n## Back to normal\n")?;
    writeln!(text, "In this order, whether the drill went well or not:\n")?;
    for step in scenario.steps.iter().rev() {
        for undo in undos(step) {
            writeln!(text, "- [ ] take back “{}”: `{undo}`", step.name)?;
        }
    }
    for name in scenario.lab.processes.keys() {
        writeln!(text, "- [ ] end `{name}`")?;
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
    writeln!(text, "{number}. [ ] **{}**: {}  (time: ____)", step.name, step.action)?;
    for run in runs(step) {
        let role = run.on.as_ref().and_then(|role| scenario.roles.get(role));
        let on = role.map_or_else(|| "here".to_owned(), |role| place(&role.on));
        writeln!(text, "\n   ```sh\n   # {on}\n   {}\n   ```\n", run.argv.join(" "))?;
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

fn runs(step: &Step) -> &[Run] {
    match &step.action {
        Action::Run(run) => std::slice::from_ref(run),
        Action::Promote(promote) | Action::Failback(promote) => &promote.run,
        _ => &[],
    }
}

fn undos(step: &Step) -> impl Iterator<Item = String> {
    runs(step).iter().rev().filter_map(|run| run.undo.as_ref().map(|undo| undo.join(" ")))
}

fn place(place: &Where) -> String {
    match place {
        Where::Local => "here".into(),
        Where::Ssh(target) => format!("ssh {target}"),
        Where::Namespace(name) => format!("network namespace {name}"),
        Where::Container(prefix) => prefix.join(" "),
    }
}
