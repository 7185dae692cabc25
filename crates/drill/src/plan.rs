//! What a scenario would do, command by command and machine by machine, and how each is taken back: the same commands that
//! a run makes, from the same places, so that nobody is shown something else than what happens.

use crate::command::line;
use crate::scenario::{Action, Fault, Loaded, Run, Scenario, Step};
use crate::{network, promote, safety};

/// One thing that is done on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The machine.
    pub on: String,
    /// What a person would type, or do.
    pub does: String,
    /// What takes it back; none: nothing has to be.
    pub undo: Option<String>,
}

impl Part {
    fn here(does: String, undo: Option<&str>) -> Self {
        Self { on: "here".into(), does, undo: undo.map(str::to_owned) }
    }
}

/// All that a step does.
pub fn parts(step: &Step, scenario: &Scenario) -> Vec<Part> {
    match &step.action {
        Action::Run(run) => vec![part(run, scenario)],
        Action::Mailrig(args) => vec![Part::here(format!("mailrig {}", line(args)), None)],
        Action::Fault(fault) => of_fault(fault, scenario),
        Action::Promote(promote) | Action::Failback(promote) => {
            let commands = promote::commands(promote);
            let mut parts: Vec<Part> =
                commands.iter().map(|one| part(&one.run, scenario)).collect();
            if let Some(told) = &promote.haproxy {
                let all = told.ready.iter().map(|server| (server, "ready"));
                for (server, state) in all.chain(told.maint.iter().map(|server| (server, "maint")))
                {
                    let does = format!(
                        "echo 'set server {server} state {state}' | socat stdio {}",
                        told.socket
                    );
                    parts.push(Part::here(does, Some("the same with the state in which it was")));
                }
            }
            parts
        }
        Action::Parallel(steps) => steps.iter().flat_map(|step| parts(step, scenario)).collect(),
        other => vec![Part::here(other.to_string(), None)],
    }
}

/// What is made before the first step, besides processes.
pub fn before(scenario: &Scenario) -> Vec<Part> {
    let lab = &scenario.lab;
    let mut parts = Vec::new();
    if let Some(network) = &lab.network {
        let does = format!("a network of its own, {network}, in namespaces that have no way out");
        parts.push(Part::here(does, Some("it ends with the drill")));
    }
    for (name, addresses) in &lab.nodes {
        let does = format!("the node `{name}` with {}", addresses.join(", "));
        parts.push(Part::here(does, Some("it ends with the drill")));
    }
    for (name, disk) in &lab.disks {
        let does = format!("a disk of {} in the folder `{name}`", disk.size);
        parts.push(Part::here(does, Some("unmount it")));
    }
    let run = |argv: &Vec<String>| part(&Run { argv: argv.clone(), ..Run::default() }, scenario);
    parts.extend(lab.prepare.iter().map(run));
    for (name, proxy) in &lab.proxies {
        let does = format!("the proxy `{name}` at {}, before {}", proxy.listen, proxy.to);
        parts.push(Part::here(does, Some("it ends with the drill")));
    }
    parts
}

/// What is undone after all else.
pub fn at_the_end(scenario: &Scenario) -> Vec<Part> {
    scenario.undo.iter().map(|run| part(run, scenario)).collect()
}

/// What the run touches besides its own lab: hosts, and stores that outlive it.
pub fn touches(loaded: &Loaded) -> Vec<String> {
    safety::targets(loaded)
}

fn part(run: &Run, scenario: &Scenario) -> Part {
    Part {
        on: machine(run.on.as_deref(), scenario),
        does: line(&run.argv),
        undo: run.undo.as_deref().map(line),
    }
}

fn machine(name: Option<&str>, scenario: &Scenario) -> String {
    let Some(name) = name else { return "here".into() };
    match scenario.roles.get(name) {
        Some(role) => role.on.to_string(),
        None => format!("node {name}"),
    }
}

fn of_fault(fault: &Fault, scenario: &Scenario) -> Vec<Part> {
    let does = fault.to_string();
    let undo = match fault {
        Fault::Network(fault) => {
            let on = machine(Some(&fault.of), scenario);
            // Addresses that the run gives out are not known yet.
            let Ok(commands) = network::commands(fault, scenario, "RUN") else {
                return vec![Part { on, does, undo: Some("remove the drill's own rules".into()) }];
            };
            let does = commands.apply.iter().map(|argv| line(argv)).collect::<Vec<_>>().join("; ");
            return vec![Part { on, does, undo: Some(line(&commands.undo)) }];
        }
        Fault::Pause(_) => Some("let it go on"),
        Fault::Fill(_) => Some("remove what fills it"),
        Fault::Clock(_) => Some("set it right"),
        // What is killed is started again by a step; the lab ends with the run, and its proxies with it.
        Fault::Kill(_) | Fault::Stop(_) | Fault::Resume(_) | Fault::Proxy(_) | Fault::Empty(_) => {
            None
        }
    };
    vec![Part::here(does, undo)]
}
