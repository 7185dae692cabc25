//! Asks everything that can be asked of what is there already, whatever a run would ask it for: whether hosts run commands
//! without a password, servers answer, places can be read, and what must be true is true. Nothing is changed, and what
//! the lab would make is not there yet.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use crate::journal::Journal;
use crate::ready;
use crate::run::{Setup, world};
use crate::scenario::{Loaded, Probe, Role, Scenario, Where};
use crate::secrets;
use crate::survey;
use crate::world::{Stop, World};

/// What was asked, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The question.
    pub question: String,
    /// Why the answer is no; none: it is yes.
    pub failed: Option<String>,
}

/// Asks.
pub async fn rehearse(loaded: Loaded, setup: &Setup) -> Vec<Rehearsed> {
    let planned = loaded.scenario.clone();
    let mut answers = Answers::default();
    let stop = Stop::default();
    let made = match secrets::read(&planned, setup.variable, &stop).await {
        Err(why) => Err(("secrets can be read", why)),
        // The lab's ports are free again, and nobody listens there.
        Ok(secrets) => {
            let made = world(loaded, setup, setup.dir.clone(), &Journal::nowhere(), stop, secrets);
            made.map_err(|why| ("the scenario holds with all its values", why))
        }
    };
    let world = match made {
        Ok((world, _)) => world,
        Err((question, why)) => {
            answers.add(question.into(), Err(why));
            return answers.0;
        }
    };
    programs(&planned, setup, &mut answers);
    for (name, role) in &planned.roles {
        of_role(name, role, &world, &mut answers).await;
    }
    let mut asked = BTreeSet::new();
    let services = planned.services.values().map(|service| &service.probe);
    for probe in planned.steady.iter().chain(services) {
        if !is_there(probe, &planned) || !asked.insert(probe.to_string()) {
            continue;
        }
        answers.add(probe.to_string(), world.ask(probe, LIMIT).await);
    }
    answers.0
}

#[derive(Default)]
struct Answers(Vec<Rehearsed>);

impl Answers {
    fn add(&mut self, question: String, answer: Result<(), String>) {
        self.0.push(Rehearsed { question, failed: answer.err() });
    }
}

/// Whether nothing of it is made by the lab. A secret is there already.
fn is_there_already<T: Debug>(what: &T) -> bool {
    !format!("{what:?}").replace("${secret.", "").contains("${")
}

fn is_there(probe: &Probe, scenario: &Scenario) -> bool {
    let roles: Vec<&String> = match probe {
        Probe::Submission(role) | Probe::Imap(role) | Probe::Queue { of: role, .. } => vec![role],
        Probe::Lag { of, behind, .. } => vec![of, behind],
        Probe::Command(run) => run.on.iter().collect(),
        _ => Vec::new(),
    };
    let is_in_lab = |role: &Role| matches!(role.on, Where::Node(_)) || !is_there_already(role);
    let mut roles = roles.into_iter().filter_map(|role| scenario.roles.get(role));
    is_there_already(probe) && !roles.any(is_in_lab)
}

/// Programs of the lab that this machine must have.
fn programs(scenario: &Scenario, setup: &Setup, answers: &mut Answers) {
    let path = (setup.variable)("PATH").unwrap_or_default();
    let all = scenario.lab.processes.values().filter_map(|process| process.run.first());
    let wanted: BTreeSet<&String> =
        all.filter(|program| *program != "mailrig" && is_there_already(program)).collect();
    for program in wanted {
        let mut folders = path.split(':').map(Path::new);
        let is_found = if program.contains('/') {
            Path::new(program).is_file()
        } else {
            folders.any(|folder| folder.join(program).is_file())
        };
        let answer = is_found.then_some(()).ok_or_else(|| "no such program in PATH".to_owned());
        answers.add(format!("{program} is installed"), answer);
    }
}

async fn of_role(name: &str, role: &Role, world: &World, answers: &mut Answers) {
    if matches!(role.on, Where::Node(_)) {
        return;
    }
    if role.on != Where::Local && is_there_already(&role.on) {
        answers.add(format!("{name} runs commands"), ready::runs_commands(&role.on).await);
    }
    if let Some(address) = role.smtp.as_ref().filter(is_there_already) {
        answers.add(format!("{name} takes mail at {address}"), ready::takes_mail(address).await);
    }
    if role.submission.as_ref().is_some_and(is_there_already) {
        let probe = Probe::Submission(name.to_owned());
        answers.add(probe.to_string(), world.ask(&probe, LIMIT).await);
    }
    if role.imap.as_ref().is_some_and(is_there_already) {
        let probe = Probe::Imap(name.to_owned());
        answers.add(probe.to_string(), world.ask(&probe, LIMIT).await);
    }
    let store = role.store.as_ref().map(|store| &store.maildirs);
    for (what, folder) in [("store", store), ("quarantine", role.quarantine.as_ref())] {
        let Some(folder) = folder.filter(is_there_already) else { continue };
        let readable = tokio::fs::read_dir(folder).await.map(drop);
        let question = format!("the {what} of {name} can be read in {folder}");
        answers.add(question, readable.map_err(|e| e.to_string()));
    }
    if let Some(queue) = role.queue.as_ref().filter(is_there_already) {
        let length = survey::queue_length(world, queue, &role.on).await.map(drop);
        answers.add(format!("the queue of {name} can be read"), length);
    }
}

/// Of one question.
const LIMIT: Duration = Duration::from_secs(15);
