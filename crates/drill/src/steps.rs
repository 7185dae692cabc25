//! Does the steps, one after the other. A step that fails ends them: what comes after it was meant for a world in which
//! it had not.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::caught::planted;
use crate::journal::{Event, Moment};
use crate::salvage::Salvaged;
use crate::scenario::{Action, Manual, Promote, RestoreCheck, Run, Salvage, Step, WaitUntil};
use crate::stack::Stack;
use crate::survey::{Readable, Reading};
use crate::world::{Ours, World, lock};
use crate::{faults, lab, named, promote};

/// Looks at all places.
pub(crate) struct Surveyor<'s> {
    pub(crate) reading: &'s Reading,
    pub(crate) places: &'s [Readable],
}

impl Surveyor<'_> {
    pub(crate) async fn survey(&self, world: &World, moment: Moment) {
        let serving = lock(&world.serving).clone();
        self.reading.survey(world, self.places, moment, serving).await;
    }
}

/// Why a step failed.
struct Failed {
    why: String,
    /// Whether that is an answer to what the drill asks, and not a drill that went wrong.
    is_answer: bool,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, is_answer: false }
    }
}

pub(crate) async fn all(
    world: &World,
    stack: &Stack,
    surveyor: &Surveyor<'_>,
) -> Result<(), String> {
    let texts = world.tree.get("steps").and_then(toml::Value::as_array);
    for text in texts.into_iter().flatten() {
        let mut text = text.clone();
        lock(&world.values).fill(&mut text, &|_| false).map_err(|e| e.to_string())?;
        // What an earlier step has found out may be anything.
        if let Some(host) = named::protected_in_step(&text, &world.scenario.protected) {
            let name = text.get("name").and_then(toml::Value::as_str).unwrap_or_default();
            return Err(format!("step `{name}` names {host}, which is protected"));
        }
        let step: Step = text.try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
        paused(world, stack, surveyor, &step).await?;
    }
    Ok(())
}

/// A step of several, after the pause that it wants.
async fn paused(
    world: &World,
    stack: &Stack,
    surveyor: &Surveyor<'_>,
    step: &Step,
) -> Result<(), String> {
    if let Some(after) = step.after
        && !world.stop.sleep(after.0).await
    {
        return Err(world.stop.reason().unwrap_or_default());
    }
    one(world, stack, surveyor, step).await
}

async fn one(
    world: &World,
    stack: &Stack,
    surveyor: &Surveyor<'_>,
    step: &Step,
) -> Result<(), String> {
    planted(world, "a step");
    let name = step.name.clone();
    let who = match &step.action {
        Action::Manual(manual) => manual.who.clone(),
        _ => String::new(),
    };
    world.journal.note(Event::Step { name: name.clone(), does: step.action.to_string(), who });
    let mut doing = Doing { world, stack, surveyor, step };
    let done = tokio::select! {
        done = tokio::time::timeout(step.timeout.0 + doing.grace(), doing.act()) => done,
        () = world.stop.asked() => Ok(Err(world.stop.reason().unwrap_or_default().into())),
    };
    let done = done.unwrap_or_else(|_| {
        Err(Failed::from(format!("it took longer than {}", crate::human(step.timeout.0))))
    });
    let (failed, said) = match done {
        Ok(said) => (None, world.masked(&said)),
        Err(failed) => (Some(failed), String::new()),
    };
    let is_answer = failed.as_ref().is_some_and(|failed| failed.is_answer);
    let why = failed.map(|failed| world.masked(&failed.why));
    let end = Event::StepEnd { name: name.clone(), failed: why.clone(), judged: is_answer, said };
    world.journal.note(end);
    match why {
        // The drill did what it was to do, and has its answer.
        Some(_) if is_answer => Ok(()),
        Some(why) => Err(format!("step `{name}`: {why}")),
        None => Ok(()),
    }
}

struct Doing<'d> {
    world: &'d World,
    stack: &'d Stack,
    surveyor: &'d Surveyor<'d>,
    step: &'d Step,
}

impl Doing<'_> {
    /// A wait ends by itself when its time is over.
    fn grace(&self) -> Duration {
        if matches!(self.step.action, Action::WaitUntil(_)) {
            Duration::from_secs(10)
        } else {
            Duration::ZERO
        }
    }

    /// Gives what was said.
    async fn act(&mut self) -> Result<String, Failed> {
        match &self.step.action {
            Action::Run(run) => {
                promote::arm(self.world, self.stack, &self.step.name, run).await?;
                Ok(self.run(run).await?)
            }
            Action::Mailrig(args) => {
                self.incident_if(self.step.is_incident);
                self.ours(args).await
            }
            Action::Fault(fault) => {
                let begins = || self.incident_if(self.step.is_incident);
                let name = &self.step.name;
                Ok(faults::fault(self.world, self.stack, name, fault, &begins).await?)
            }
            Action::Restart(name) => {
                faults::stop(self.world, name, &|| self.incident_if(self.step.is_incident)).await?;
                self.start(name).await
            }
            Action::Start(name) => self.start(name).await,
            Action::Promote(promote) => {
                let is_first = !*lock(&self.world.had_incident);
                self.promote(promote, is_first, Moment::Promotion).await?;
                Ok(String::new())
            }
            Action::Failback(promote) => {
                self.promote(promote, true, Moment::Between).await?;
                Ok(String::new())
            }
            Action::WaitUntil(wait) => {
                let took = self.wait_until(wait).await?;
                Ok(format!("after {}", crate::human(took)))
            }
            Action::Expect(probe) => match self.world.ask(probe, self.step.timeout.0).await {
                Ok(()) => Ok(String::new()),
                Err(why) => Err(Failed { why, is_answer: true }),
            },
            Action::Survey(moment) => {
                self.surveyor.survey(self.world, *moment).await;
                Ok(String::new())
            }
            Action::Salvage(salvage) => Ok(self.salvage(salvage).await?),
            Action::RestoreCheck(check) => self.restore_check(check).await,
            Action::Manual(manual) => Ok(self.manual(manual).await?),
            Action::Parallel(steps) => self.parallel(steps).await,
        }
    }

    async fn start(&self, name: &str) -> Result<String, Failed> {
        let process = self.world.scenario.lab.processes.get(name);
        let process = process.ok_or_else(|| format!("the lab has no process `{name}`"))?;
        lab::start(self.world, self.stack, name, process).await?;
        Ok(String::new())
    }

    /// Each begins at once; what they are to undo is undone in the order in which they wrote it down.
    async fn parallel(&self, steps: &[Step]) -> Result<String, Failed> {
        let (world, stack, surveyor) = (self.world, self.stack, self.surveyor);
        let mut open: Vec<_> =
            steps.iter().map(|step| Some(Box::pin(paused(world, stack, surveyor, step)))).collect();
        let mut failed = Vec::new();
        poll_fn(|context| {
            for slot in &mut open {
                let Some(step) = slot else { continue };
                if let Poll::Ready(result) = step.as_mut().poll(context) {
                    failed.extend(result.err());
                    *slot = None;
                }
            }
            if open.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        match failed.is_empty() {
            true => Ok(format!("{} steps", steps.len())),
            false => Err(failed.join("; ").into()),
        }
    }

    /// A person's time has no limit but the step's. Nobody can be stopped from thinking: the thread that waits for him is
    /// left to itself.
    async fn manual(&self, manual: &Manual) -> Result<String, String> {
        self.incident_if(self.step.is_incident);
        let (answer_to, answer) = tokio::sync::oneshot::channel();
        let (person, manual) = (self.world.person, manual.clone());
        let ask = move || drop(answer_to.send(person(&manual)));
        let thread = std::thread::Builder::new().name("person".into()).spawn(ask);
        thread.map_err(|e| e.to_string())?;
        let said = answer.await.map_err(|_| "nobody answered".to_owned())??;
        if self.step.is_incident {
            self.world.journal.note(Event::Happened { name: self.step.name.clone() });
        }
        Ok(said)
    }

    /// As an administrator would type it. That what came back is not what was kept is an answer.
    async fn restore_check(&self, check: &RestoreCheck) -> Result<String, Failed> {
        let count = check.mailboxes.to_string();
        let words = ["drill", "restore", &check.repository, "--mailboxes", &count];
        let args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        self.ours(&[args, check.args.clone()].concat()).await
    }

    /// A command of this program. A verdict that is negative is an answer, and no drill that went wrong.
    async fn ours(&self, args: &[String]) -> Result<String, Failed> {
        let (name, limit) = (&self.step.name, self.step.timeout.0);
        let Ours { code, sentence, complaint, document, kept } =
            self.world.run_ours(name, args, limit).await?;
        if document.len() <= LONGEST_WORD {
            lock(&self.world.values).set(format!("steps.{name}.stdout"), document.trim());
        }
        let with_place = |said: &str| format!("{said} ({kept})");
        match code {
            Some(0) => Ok(sentence.as_deref().map_or(kept.clone(), with_place)),
            Some(NEGATIVE) => {
                let why = with_place(sentence.as_deref().unwrap_or(&complaint));
                Err(Failed { why, is_answer: true })
            }
            _ => Err(complaint.into()),
        }
    }

    async fn salvage(&self, salvage: &Salvage) -> Result<String, String> {
        let roles = &self.world.scenario.roles;
        let queue = roles.get(&salvage.from).and_then(|role| role.queue.as_ref());
        let queue = queue.ok_or_else(|| format!("{} has no queue", salvage.from))?;
        let to = roles.get(&salvage.to).and_then(|role| role.smtp.as_ref());
        let to = to.ok_or_else(|| format!("{} takes no mail", salvage.to))?;
        let salvaged = crate::salvage::salvage(queue, to, self.step.timeout.0).await?;
        self.surveyor.survey(self.world, Moment::Salvage).await;
        match salvaged {
            Salvaged { accepted, left: 0 } => Ok(format!("{accepted} brought over")),
            Salvaged { accepted, left } => {
                Err(format!("{accepted} brought over, {left} not accepted"))
            }
        }
    }

    /// From here on recovery is timed: just before anything is broken, whatever that takes.
    fn incident_if(&self, is_incident: bool) {
        if is_incident {
            *lock(&self.world.had_incident) = true;
            let asked = matches!(self.step.action, Action::Manual(_));
            self.world.journal.note(Event::Incident { name: self.step.name.clone(), asked });
        }
    }

    async fn run(&self, run: &Run) -> Result<String, String> {
        self.incident_if(self.step.is_incident);
        let ran = self.world.run(run, self.step.timeout.0).await?;
        let mut values = lock(&self.world.values);
        values.set(format!("steps.{}.stdout", self.step.name), ran.stdout.trim());
        drop(values);
        Ok(shortened(ran.stdout.trim()))
    }

    async fn promote(
        &mut self,
        promote: &Promote,
        is_incident: bool,
        moment: Moment,
    ) -> Result<(), String> {
        self.incident_if(self.step.incident.unwrap_or(is_incident));
        let (name, limit) = (&self.step.name, self.step.timeout.0);
        let is_back = matches!(self.step.action, Action::Failback(_));
        promote::promote(self.world, self.stack, name, promote, is_back, limit).await?;
        let role = |name: &String| {
            self.world.role(name).ok_or_else(|| format!("there is no role `{name}`"))
        };
        let (from, to) = (promote.from.as_ref().map(role).transpose()?, role(&promote.to)?);
        self.world.serves(from, to);
        self.world.journal.note(Event::Promoted { name: self.step.name.clone() });
        if promote.survey {
            self.surveyor.survey(self.world, moment).await;
        }
        Ok(())
    }

    async fn wait_until(&self, wait: &WaitUntil) -> Result<Duration, Failed> {
        let begun = Instant::now();
        let (mut row, mut no) = (0, None);
        loop {
            let left = wait.within.0.saturating_sub(begun.elapsed());
            let answer = self.world.ask(&wait.probe, left.max(PAUSE).min(QUESTION)).await;
            row = if answer.is_ok() { row + 1 } else { 0 };
            if left >= FAIR || no.is_none() {
                no = answer.err();
            }
            if row >= wait.times {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() >= wait.within.0 {
                let why = no.unwrap_or_else(|| "it was true, and not often enough".into());
                let why = format!("not within {}: {why}", crate::human(wait.within.0));
                return Err(Failed { why, is_answer: true });
            }
            tokio::time::sleep(wait.every.0).await;
        }
    }
}

/// Its beginning, and that there was more.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SAID) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\n[the rest left out]", &text[..at]),
    }
}

/// What a journal keeps of what a step prints, in characters.
const SAID: usize = 2000;
/// What Linux takes as one argument of a command (execve(2)), and a little less: a later step may be given it.
const LONGEST_WORD: usize = 120 << 10;
/// The exit code of a verdict that is no pass.
const NEGATIVE: i32 = 4;
const PAUSE: Duration = Duration::from_millis(1);
/// Whoever has less time to answer says only that he had too little.
const FAIR: Duration = Duration::from_millis(500);
const QUESTION: Duration = Duration::from_secs(5);
