//! Whether the parts of a scenario fit together: names that nothing has, circles, roles without what a step needs of them.

mod faults;

use std::collections::BTreeSet;

use toml::Value;

use super::parse::hint;
use super::{Action, MovedAddress, Probe, Queue, Run, Scenario, Step, Where, vars};
use crate::journal::Moment;

pub(super) fn check(scenario: &Scenario, tree: &Value) -> Result<(), String> {
    let check = Check { scenario };
    check.whole()?;
    check.later(tree)?;
    check.shown(tree, "")?;
    let mut names = BTreeSet::new();
    check.steps(&scenario.steps, &mut names)
}

struct Check<'s> {
    scenario: &'s Scenario,
}

impl Check<'_> {
    fn whole(&self) -> Result<(), String> {
        let Self { scenario } = self;
        if scenario.version != 1 {
            return Err(format!(
                "version {} is not known here; this mailrig reads version 1",
                scenario.version
            ));
        }
        if scenario.roles.len() > MOST_ROLES {
            return Err(format!("{MOST_ROLES} roles are the most"));
        }
        if !scenario.roles.values().any(|role| role.serves) {
            return Err(
                "no role serves; write `serves = true` for the one whose mailboxes users see"
                    .into(),
            );
        }
        for to in scenario.traffic.to.iter().chain(&scenario.traffic.submit_to) {
            let role = self.role(to, "traffic")?;
            let is_submitted = scenario.traffic.submit_to.contains(to);
            if is_submitted && self.scenario.roles[role].submission.is_none() {
                return Err(format!(
                    "role `{to}` has no `submission`, and traffic is submitted to it"
                ));
            }
            let is_listed = scenario.traffic.to.contains(to);
            if is_listed && self.scenario.roles[role].smtp.is_none() {
                return Err(format!(
                    "role `{to}` has no address: traffic goes to it, so it needs `smtp`"
                ));
            }
        }
        if let Some(readers) = &scenario.traffic.readers {
            let role = self.role(&readers.of, "traffic.readers")?;
            if self.scenario.roles[role].imap.is_none() {
                return Err(format!("role `{role}` has no `imap`, and people are to read there"));
            }
        }
        self.secrets()?;
        let connections = scenario.traffic.connections;
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            return Err(format!(
                "traffic.connections: {connections} is not from 1 to {MOST_CONNECTIONS}"
            ));
        }
        if let Some(readers) = &scenario.traffic.readers
            && !(1..=MOST_READERS).contains(&readers.clients)
        {
            return Err(format!(
                "traffic.readers.clients: {} is not from 1 to {MOST_READERS}",
                readers.clients
            ));
        }
        if scenario.traffic.to.is_empty() {
            return Err("traffic goes nowhere; name roles in `to`".into());
        }
        for service in scenario.objectives.rto.keys() {
            let readers = scenario.traffic.readers.as_ref().map(|_| READING);
            let known = scenario.services.keys().map(String::as_str).chain([MAIL]).chain(readers);
            let mut known = known.collect::<Vec<_>>().into_iter();
            if !known.clone().any(|name| name == service) {
                let hint = hint(service, &mut known);
                return Err(format!("there is no service `{service}` to have an RTO{hint}"));
            }
        }
        for taken in [MAIL, READING] {
            if scenario.services.contains_key(taken) {
                return Err(format!(
                    "the service `{taken}` is the traffic itself; call this one otherwise"
                ));
            }
        }
        for abort in &scenario.abort_if {
            if ![MAIL, READING].contains(&abort.service.as_str())
                && !scenario.services.contains_key(&abort.service)
            {
                let hint = hint(&abort.service, scenario.services.keys().map(String::as_str));
                return Err(format!("abort_if: there is no service `{}`{hint}", abort.service));
            }
        }
        let probes = scenario.services.values().map(|service| &service.probe);
        let ready = scenario.lab.processes.values().map(|process| &process.ready);
        for probe in probes.chain(ready).chain(&scenario.steady) {
            self.probe(probe, "a probe")?;
        }
        self.lab()?;
        for run in &scenario.undo {
            self.run(run, "undo")?;
            if run.undo.is_some() || run.env.values().any(|value| value.contains("${secret.")) {
                let name = crate::command::line(&run.argv);
                return Err(format!(
                    "undo: `{name}` has an `undo` of its own, or a secret: it can have neither"
                ));
            }
        }
        for path in
            scenario.lab.files.keys().chain(&scenario.lab.folders).chain(scenario.lab.disks.keys())
        {
            if !is_inside(path) {
                return Err(format!("lab.files: `{path}` leads out of the lab's folder"));
            }
        }
        Ok(())
    }

    /// Passwords are named, and stand elsewhere.
    fn secrets(&self) -> Result<(), String> {
        let Scenario { roles, secrets, .. } = self.scenario;
        for (name, role) in roles {
            let submission = role.submission.as_ref().map(|submission| &submission.password);
            let imap = role.imap.as_ref().map(|imap| &imap.password);
            role.check(name)?;
            for secret in [submission, imap].into_iter().flatten() {
                if !secrets.contains_key(secret) {
                    let hint = hint(secret, secrets.keys().map(String::as_str));
                    return Err(format!(
                        "role `{name}`: `password` is the name of one of [secrets], and there is no `{secret}`{hint}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Its nodes are in its network, and who says that he is in a node is.
    fn lab(&self) -> Result<(), String> {
        let Scenario { lab, roles, .. } = self.scenario;
        for (name, disk) in &lab.disks {
            size(&disk.size, &format!("lab.disks.{name}"))?;
        }
        if let Some((name, _)) = lab.nodes.iter().find(|(_, addresses)| addresses.is_empty()) {
            return Err(format!("lab.nodes.{name} has no address"));
        }
        let addresses =
            lab.nodes.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
        for (name, address) in addresses {
            let Some(network) = &lab.network else {
                return Err("lab.nodes need a `network`, such as \"10.77.0.1/24\"".into());
            };
            match crate::nodes::is_within(network, address) {
                Some(true) => {}
                Some(false) => {
                    return Err(format!("lab.nodes.{name}: {address} is not in {network}"));
                }
                None => {
                    return Err(format!(
                        "lab: `{network}` or `{address}` is no address in a network"
                    ));
                }
            }
        }
        let of_roles = roles.values().filter_map(|role| match &role.on {
            Where::Node(name) => Some(name),
            _ => None,
        });
        let of_processes = lab.processes.values().filter_map(|process| process.node.as_ref());
        for name in of_roles.chain(of_processes) {
            if !lab.nodes.contains_key(name) {
                let hint = hint(name, lab.nodes.keys().map(String::as_str));
                return Err(format!("the lab has no node `{name}`{hint}"));
            }
        }
        Ok(())
    }

    /// What is put in later must come from somewhere: a port, a process, a secret, or a step before this one.
    fn later(&self, tree: &Value) -> Result<(), String> {
        let Self { scenario } = self;
        let mut wrong = None;
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut look = |value: &Value, done: &BTreeSet<&str>, place: &str| {
            vars::names(value, &mut |name| {
                let reason = self.unknown(name, done);
                if let Some(reason) = reason {
                    wrong.get_or_insert(format!("{place}: {reason}"));
                }
            });
        };
        let Some(table) = tree.as_table() else { return Ok(()) };
        for (key, value) in table.iter().filter(|(key, _)| *key != "steps") {
            look(value, &done, key);
        }
        let texts = table.get("steps").and_then(Value::as_array);
        for (text, step) in texts.into_iter().flatten().zip(&scenario.steps) {
            let place = format!("step `{}`", step.name);
            look(text, &done, &place);
            done.extend(step.names());
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Secrets stand in environments, and in files that the lab makes, and nowhere else: all else is shown.
    fn shown(&self, tree: &Value, place: &str) -> Result<(), String> {
        let mut is_shown = false;
        match tree {
            Value::Table(table) => {
                for (key, value) in table {
                    let inner =
                        if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    // A process may be called so.
                    let is_env = key == "env"
                        && value.as_table().is_some_and(|env| env.values().all(Value::is_str));
                    if !is_env && inner != "lab.files" {
                        self.shown(value, &inner)?;
                    }
                }
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.shown(item, place))?,
            text => vars::names(text, &mut |name| is_shown |= name.starts_with("secret.")),
        }
        match is_shown {
            false => Ok(()),
            true => Err(format!(
                "{place}: a secret here is seen by everybody on that machine, or stands in the journal; put it into `env`"
            )),
        }
    }

    /// Why a name that is put in later will not be there.
    fn unknown(&self, name: &str, done: &BTreeSet<&str>) -> Option<String> {
        let Scenario { lab, secrets, steps, .. } = self.scenario;
        let (kind, rest) = name.split_once('.')?;
        let missing = |known: &mut dyn Iterator<Item = &str>, what: &str| {
            let known: Vec<&str> = known.collect();
            let is_known = known.contains(&rest);
            (!is_known).then(|| {
                format!("${{{name}}}: there is no {what} `{rest}`{}", hint(rest, known.into_iter()))
            })
        };
        match kind {
            "port" => missing(&mut lab.ports.iter().map(String::as_str), "port"),
            "secret" => missing(&mut secrets.keys().map(String::as_str), "secret"),
            "process" => missing(&mut lab.processes.keys().map(String::as_str), "process"),
            _ => {
                let step = rest.rsplit_once('.').map_or(rest, |(step, _)| step);
                let is_ever = steps.iter().flat_map(Step::names).any(|name| name == step);
                match (done.contains(step), is_ever) {
                    (true, _) => None,
                    (false, true) => Some(format!(
                        "${{{name}}}: step `{step}` comes later, or is this one: its output is not there yet"
                    )),
                    (false, false) => {
                        let hint = hint(step, steps.iter().flat_map(Step::names));
                        Some(format!("${{{name}}}: there is no step `{step}`{hint}"))
                    }
                }
            }
        }
    }

    fn steps<'t>(&self, steps: &'t [Step], names: &mut BTreeSet<&'t str>) -> Result<(), String> {
        for step in steps {
            if step.name.is_empty() || !names.insert(&step.name) {
                return Err(format!(
                    "two steps are called `{}`: each needs a name of its own",
                    step.name
                ));
            }
            let place = format!("step `{}`", step.name);
            match &step.action {
                Action::Run(run) => self.run(run, &place)?,
                Action::Fault(fault) => self.fault(fault, &place)?,
                Action::Start(name) | Action::Restart(name) => self.process(name, &place)?,
                Action::Promote(promote) | Action::Failback(promote) => {
                    self.role(&promote.to, &place)?;
                    promote.from.iter().try_for_each(|from| self.role(from, &place).map(drop))?;
                    if let Some(told) = &promote.haproxy {
                        let all = told.ready.iter().chain(&told.maint);
                        if let Some(bad) = { all }.find(|server| !server.contains('/')) {
                            return Err(format!("{place}: `{bad}` is no BACKEND/SERVER"));
                        }
                    }
                    let moved = promote.address.iter().try_for_each(MovedAddress::check);
                    moved.map_err(|why| format!("{place}: {why}"))?;
                    promote.run.iter().try_for_each(|run| self.run(run, &place))?;
                }
                Action::WaitUntil(wait) => self.probe(&wait.probe, &place)?,
                Action::Expect(probe) => self.probe(probe, &place)?,
                Action::Salvage(salvage) => {
                    let from = self.role(&salvage.from, &place)?;
                    self.role(&salvage.to, &place)?;
                    match self.scenario.roles[from].queue {
                        None => {
                            return Err(format!(
                                "{place}: role `{from}` has no `queue` to salvage"
                            ));
                        }
                        Some(Queue::Command(_)) => {
                            return Err(format!(
                                "{place}: the queue of `{from}` is asked by a command; to salvage it, name its folder"
                            ));
                        }
                        Some(_) => {}
                    }
                }
                Action::Mailrig(args) if args.is_empty() => {
                    return Err(format!(
                        "{place}: mailrig needs a command, such as [\"backup\", …]"
                    ));
                }
                Action::Parallel(steps) if steps.is_empty() => {
                    return Err(format!("{place}: `parallel` has no steps"));
                }
                Action::Parallel(steps) => self.steps(steps, names)?,
                Action::Survey(Moment::Snapshot)
                    if self.scenario.roles.values().all(|role| role.snapshot.is_none()) =>
                {
                    return Err(format!(
                        "{place}: no role has a `snapshot`, the folder that one was restored to"
                    ));
                }
                Action::Mailrig(_)
                | Action::Survey(_)
                | Action::RestoreCheck(_)
                | Action::Manual(_) => {}
            }
        }
        Ok(())
    }

    fn run(&self, run: &Run, place: &str) -> Result<(), String> {
        if run.argv.is_empty() {
            return Err(format!("{place}: `argv` is empty: it needs a program"));
        }
        if run.undone.is_some() && run.undo.is_none() {
            return Err(format!(
                "{place}: `undone` looks whether an undo worked, and there is no `undo`"
            ));
        }
        let on =
            run.on.as_ref().and_then(|role| self.scenario.roles.get(role)).map(|role| &role.on);
        if on.is_some_and(|on| !on.is_here())
            && run.env.values().any(|value| value.contains("${secret."))
        {
            return Err(format!(
                "{place}: a secret in `env` of a command on another machine is seen by everybody on both; have it read \
                 there, from a file"
            ));
        }
        if run.undo.is_some() && run.env.values().any(|value| value.contains("${secret.")) {
            return Err(format!(
                "{place}: a command with a secret can have no `undo`: it would stand in the journal, from which \
                 `recover` undoes"
            ));
        }
        match &run.on {
            Some(name) if self.scenario.lab.nodes.contains_key(name) => Ok(()),
            Some(role) => self.role(role, place).map(drop),
            None => Ok(()),
        }
    }

    fn probe(&self, probe: &Probe, place: &str) -> Result<(), String> {
        match probe {
            Probe::Command(run) => self.run(run, place),
            Probe::Queue { of, .. } => {
                let role = self.role(of, place)?;
                let has_queue = self.scenario.roles[role].queue.is_some();
                has_queue
                    .then_some(())
                    .ok_or_else(|| format!("{place}: role `{role}` has no `queue`"))
            }
            Probe::Lag { of, behind, .. } => {
                let (of, behind) = (self.role(of, place)?, self.role(behind, place)?);
                let both = |has: fn(&super::Role) -> bool| {
                    [of, behind].iter().all(|role| has(&self.scenario.roles[*role]))
                };
                if both(|role| role.store.is_some()) || both(|role| role.imap.is_some()) {
                    return Ok(());
                }
                Err(format!(
                    "{place}: to compare `{of}` with `{behind}`, both need a `store` or both `imap`"
                ))
            }
            Probe::Imap(name) => {
                let role = self.role(name, place)?;
                let has = self.scenario.roles[role].imap.is_some();
                has.then_some(()).ok_or_else(|| format!("{place}: role `{role}` has no `imap`"))
            }
            Probe::Submission(name) => {
                let role = self.role(name, place)?;
                let has = self.scenario.roles[role].submission.is_some();
                has.then_some(())
                    .ok_or_else(|| format!("{place}: role `{role}` has no `submission`"))
            }
            Probe::Disk { free, .. } => size(free, place),
            Probe::Tcp(_)
            | Probe::Smtp(_)
            | Probe::File(_)
            | Probe::Dns { .. }
            | Probe::Certificate { .. }
            | Probe::Snapshot { .. } => Ok(()),
        }
    }

    fn role<'n>(&self, name: &'n str, place: &str) -> Result<&'n str, String> {
        let roles = &self.scenario.roles;
        if roles.contains_key(name) {
            return Ok(name);
        }
        let hint = hint(name, roles.keys().map(String::as_str));
        Err(format!("{place}: there is no role `{name}`{hint}"))
    }

    fn process(&self, name: &str, place: &str) -> Result<(), String> {
        let processes = &self.scenario.lab.processes;
        if processes.contains_key(name) {
            return Ok(());
        }
        let hint = hint(name, processes.keys().map(String::as_str));
        Err(format!("{place}: the lab has no process `{name}`{hint}"))
    }
}

/// A size, where it is known already: a typo is no news for the midst of a drill.
fn size(text: &str, place: &str) -> Result<(), String> {
    match load::letters::parse_bytes(text) {
        Err(why) if !text.contains("${") => Err(format!("{place}: `{text}`: {why}")),
        _ => Ok(()),
    }
}

fn is_inside(path: &str) -> bool {
    let path = std::path::Path::new(path);
    let is_plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    path.components().next().is_some() && path.components().all(is_plain)
}

/// What the traffic is called among services.
pub(crate) const MAIL: &str = "mail";

/// What people who read are called among services.
pub(crate) const READING: &str = "reading";

const MOST_ROLES: usize = 8;
/// Of traffic, at one time.
const MOST_CONNECTIONS: u32 = 10_000;
/// At one time.
const MOST_READERS: u32 = 200;
