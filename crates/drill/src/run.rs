//! A run from its beginning to its end: the lab, the traffic, the steps, the last look, and then everything undone,
//! whatever became of the rest.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use load::letters::Letters;
use load::plan::Plan;

use crate::caught::{caught, guarded};
use crate::journal::{
    self, Begin, Event, Journal, JournalFailed, Moment, Objectives, Place, PlaceKind,
};
use crate::reach::Reading;
use crate::scenario::{self, Loaded, Manual, Queue, Scenario, Store, Values};
use crate::stack::{Left, Stack};
use crate::story::Story;
use crate::survey::{self, Readable, Source, mailboxes};
use crate::traffic::Traffic;
use crate::world::{COMMANDS, Stop, World, lock};
use crate::{faults, lab, marked, owned, readers, ready, secrets, services, steps, watch};

/// What a run needs besides its scenario.
pub struct Setup {
    /// The folder of the run, which must not be there yet, or be empty.
    pub dir: PathBuf,
    /// The name of the scenario.
    pub name: String,
    /// The run's id, which all its messages carry.
    pub run: u64,
    /// Its messages.
    pub letters: Arc<Letters>,
    /// Who they are for, all of them.
    pub recipients: Vec<String>,
    /// When they are sent.
    pub plan: Plan,
    /// This program: what `mailrig` in a command means on this machine.
    pub program: PathBuf,
    /// Looks up a variable of the environment, for secrets.
    pub variable: fn(&str) -> Option<String>,
    /// Of mailrig.
    pub tool_version: String,
    /// Asks a person to do something, and waits for the answer: what was said, or why it was not done.
    pub person: fn(&Manual) -> Result<String, String>,
    /// Told of what happens, but not of messages; who does not listen misses it.
    pub told: Option<SyncSender<(u64, Event)>>,
}

/// A run that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunFailed {
    /// The folder.
    #[error("cannot use {} for the run: {why}", dir.display())]
    Dir {
        /// Which.
        dir: PathBuf,
        /// What is the matter.
        why: String,
    },
    /// There is no journal.
    #[error(
        "{} has no journal: either its run had not begun, and there is nothing to undo or to judge, or it is no run's",
        .0.display()
    )]
    NoJournal(PathBuf),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
    /// The scenario.
    #[error("{0}")]
    Scenario(String),
}

/// Where in the folder of a run servers of the lab write what they do.
pub(crate) const LOGS: &str = "logs";
/// The name of the journal in the folder of a run.
pub const JOURNAL: &str = "journal.jsonl";

/// Runs a scenario. Gives what could not be undone.
pub async fn run(loaded: Loaded, setup: Setup, stop: Stop) -> Result<Vec<Left>, RunFailed> {
    let secrets = secrets::read(&loaded.scenario, setup.variable, &stop).await;
    let secrets = secrets.map_err(RunFailed::Scenario)?;
    let dir = absolute(&setup.dir)?;
    let dir_failed =
        |why: std::io::Error| RunFailed::Dir { dir: dir.clone(), why: why.to_string() };
    fs::create_dir_all(&dir).map_err(dir_failed)?;
    if fs::read_dir(&dir).map_err(dir_failed)?.next().is_some() {
        let why = "it is not empty; each run has a folder of its own".to_owned();
        return Err(RunFailed::Dir { dir, why });
    }
    fs::create_dir(dir.join(LOGS)).map_err(dir_failed)?;
    let text = toml::to_string(&loaded.tree).map_err(|e| RunFailed::Scenario(e.to_string()))?;
    fs::write(dir.join("scenario.toml"), &text).map_err(dir_failed)?;
    let (start, at) = (Instant::now(), Timestamp::now());
    let (journal, writer) = Journal::create(&dir.join(JOURNAL), start).map_err(dir_failed)?;
    let journal = journal.told(setup.told.clone());
    let (world, ports) =
        world(loaded, &setup, dir, &journal, stop, secrets).map_err(RunFailed::Scenario)?;
    let places = places(&world, &setup.recipients).map_err(RunFailed::Scenario)?;
    let begin = begin(&world, &setup, at, &places, &text).map_err(RunFailed::Scenario)?;
    journal.commit(Event::Begin(Box::new(begin))).await?;
    let world = Arc::new(world);
    let stack = Stack::new(journal.clone());
    let limit = tokio::spawn(guarded(Arc::clone(&world), limit(Arc::clone(&world))));
    let abort = tokio::spawn(guarded(Arc::clone(&world), services::abort(Arc::clone(&world))));
    let done = caught(all(&world, &stack, ports, &setup, &places)).await;
    if let Err(why) = done.and_then(|done| done) {
        journal.note(Event::Aborted { why });
        // What was cut off in the midst must not go on while it is undone; what is left of it is left for its undo.
        let _ = marked::end_commands(&world.mark(COMMANDS)).await;
    }
    faults::end_filling(&world).await;
    limit.abort();
    abort.abort();
    let left = stack.undo_all().await;
    let ended = journal.commit(Event::End).await;
    drop((world, stack, journal));
    let written = tokio::task::spawn_blocking(move || writer.finish()).await;
    if left.is_empty() {
        ended?;
        written.map_err(|e| RunFailed::Scenario(e.to_string()))??;
    }
    // Somebody must be told of it, whatever became of the journal.
    Ok(left)
}

fn absolute(dir: &Path) -> Result<PathBuf, RunFailed> {
    std::path::absolute(dir).map_err(|e| RunFailed::Dir { dir: dir.to_owned(), why: e.to_string() })
}

/// Ends a run that takes too long.
async fn limit(world: Arc<World>) {
    let most = world.scenario.max_duration.0;
    tokio::time::sleep(most).await;
    world.stop.stop(&format!("it took longer than max_duration, {}", crate::human(most)));
}

pub(crate) fn world(
    loaded: Loaded,
    setup: &Setup,
    dir: PathBuf,
    journal: &Journal,
    stop: Stop,
    secrets: BTreeMap<String, String>,
) -> Result<(World, lab::Ports), String> {
    let recipients = setup.recipients.iter().cloned().zip(0..).collect::<HashMap<_, _>>();
    let mut values = Values::default();
    values.set("lab", dir.join("lab").to_string_lossy());
    values.set("logs", dir.join(LOGS).to_string_lossy());
    values.set("mailrig", setup.program.to_string_lossy());
    let Loaded { scenario, tree } = loaded;
    let (ports, mut values) = lab::ports(&scenario, values)?;
    for (name, value) in &secrets {
        values.set(format!("secret.{name}"), value.as_str());
    }
    // What steps print comes later, and what processes are called.
    let mut filled = tree.clone();
    let is_later = |name: &str| name.starts_with("steps.") || name.starts_with("process.");
    values.fill(&mut filled, &is_later).map_err(|e| e.to_string())?;
    let scenario: Scenario =
        filled.try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let roles: Vec<String> = scenario.roles.keys().cloned().collect();
    let serving = (0..).zip(scenario.roles.values()).filter(|(_, role)| role.serves);
    let serving = serving.map(|(at, _)| at).collect();
    let world = World {
        scenario,
        tree,
        values: Mutex::new(values),
        dir,
        program: setup.program.to_string_lossy().into_owned(),
        run: setup.run,
        journal: journal.clone(),
        stop,
        processes: Mutex::new(BTreeMap::new()),
        nodes: Mutex::default(),
        proxies: Mutex::default(),
        person: setup.person,
        secrets: secrets.into_values().collect(),
        away: Mutex::default(),
        had_incident: Mutex::new(false),
        filling: Mutex::new(Vec::new()),
        documents: Mutex::new(0),
        serving: Mutex::new(serving),
        roles,
        recipients: Arc::new(recipients),
    };
    Ok((world, ports))
}

/// Where copies may lie.
fn places(world: &World, recipients: &[String]) -> Result<Vec<Readable>, String> {
    let mut places = Vec::new();
    for (role, (name, facts)) in (0..).zip(&world.scenario.roles) {
        let mut add = |what: &str, kind, source: Source| {
            // Two roles that share a store have the same copies, and so have a store and who lets people read it.
            let is_read = |other: &&Readable| {
                let is_imap = matches!(source, Source::Imap { .. });
                is_imap
                    && (other.place.role, other.place.kind) == (role, PlaceKind::Mailbox)
                    && matches!(other.source, Source::Store { .. })
            };
            // An address in front of two of them shows now the one, now the other: what a role's own store is comes first.
            let is_same = |other: &&Readable| other.source.is_same(&source);
            let same = places.iter().find(is_read).or_else(|| places.iter().find(is_same));
            let store = same.map_or(places.len() as u16, |other| other.place.store);
            let place = Place { name: format!("{name} {what}"), role, kind, store };
            places.push(Readable { place, source });
        };
        let stores = [
            ("store", PlaceKind::Mailbox, &facts.store),
            ("snapshot", PlaceKind::Snapshot, &facts.snapshot),
        ];
        for (what, kind, store) in stores {
            let Some(Store { maildirs, layout }) = store else { continue };
            let mailboxes = Arc::new(mailboxes(maildirs, layout, recipients)?);
            add(what, kind, Source::Store { root: maildirs.into(), mailboxes });
        }
        if facts.imap.is_some() {
            let reading = Reading::of(name, &world.scenario, &lock(&world.values))?;
            let people = (0..).zip(recipients.iter().cloned()).collect();
            add("imap", PlaceKind::Mailbox, Source::Imap { reading, people: Arc::new(people) });
        }
        if let Some(queue) = &facts.queue {
            let source = match queue {
                Queue::Command(argv) => Source::Asked(argv.clone(), facts.on.clone()),
                files => Source::Queue(files.clone()),
            };
            add("queue", PlaceKind::Queue, source);
        }
        if let Some(dir) = &facts.quarantine {
            add("quarantine", PlaceKind::Quarantine, Source::Files(dir.into()));
        }
    }
    Ok(places)
}

fn begin(
    world: &World,
    setup: &Setup,
    at: Timestamp,
    places: &[Readable],
    text: &str,
) -> Result<Begin, String> {
    let services: Vec<String> = [scenario::MAIL.to_owned()]
        .into_iter()
        .chain(world.scenario.services.keys().cloned())
        .chain(world.scenario.traffic.readers.as_ref().map(|_| scenario::READING.to_owned()))
        .collect();
    Ok(Begin {
        version: 1,
        run: format!("{:016x}", world.run),
        scenario: setup.name.clone(),
        title: world.scenario.title.clone(),
        description: world.scenario.description.clone(),
        report: world.scenario.report.clone(),
        host: fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        scenario_sha256: journal::hash(text.as_bytes()),
        tool_version: setup.tool_version.clone(),
        at: at.to_string(),
        boot_id: owned::boot_id().map_err(|e| e.to_string())?,
        seed: world.scenario.traffic.seed,
        roles: world.roles.clone(),
        recipients: setup.recipients.clone(),
        places: places.iter().map(|readable| readable.place.clone()).collect(),
        objectives: objectives(&world.scenario, &services),
        services,
        servers: {
            let traffic = &world.scenario.traffic;
            let submission = traffic.submit_to.iter().map(|role| format!("{role} submission"));
            traffic.to.iter().cloned().chain(submission).collect()
        },
    })
}

fn objectives(scenario: &Scenario, services: &[String]) -> Objectives {
    let asked = &scenario.objectives;
    let us = |span: &scenario::Span| span.0.as_micros() as u64;
    Objectives {
        rto_us: services.iter().map(|service| asked.rto.get(service).map(us)).collect(),
        lost: asked.lost,
        rpo_messages: asked.rpo_messages,
        rpo_us: asked.rpo_time.as_ref().map(us),
        duplicates: asked.duplicates,
        resurrected: asked.resurrected,
        stranded: Some(asked.stranded),
        pending: asked.pending,
        error_share: asked.errors,
        late_us: asked.late.as_ref().map(|late| us(&late.after)),
        late: asked.late.as_ref().map_or(0, |late| late.messages),
        stable_count: asked.stable.successes,
        stable_us: us(&asked.stable.length),
    }
}

/// Everything but undoing.
async fn all(
    world: &Arc<World>,
    stack: &Stack,
    ports: lab::Ports,
    setup: &Setup,
    places: &[Readable],
) -> Result<(), String> {
    // What is written down first is undone last.
    for run in &world.scenario.undo {
        let on = world.place(run.on.as_deref());
        let undo = world.undo(&run.argv, run.undone.as_ref(), &run.env, &on)?;
        stack.arm("undo", undo).await?;
    }
    lab::build(world, stack, ports).await?;
    tokio::select! {
        is_ready = is_ready(world) => is_ready.map_err(|why| format!("before the first step: {why}"))?,
        () = world.stop.asked() => stopped(world, false)?,
    }
    let reading = survey::Reading {
        run: world.run,
        recipients: Arc::clone(&world.recipients),
        journal: world.journal.clone(),
    };
    let surveyor = steps::Surveyor { reading: &reading, places };
    phase(world, "baseline");
    let mut traffic = Traffic::start(world, Arc::clone(&setup.letters), &setup.plan)?;
    let mut asking = services::start(world);
    // They come after all other services.
    readers::start(world, places, world.scenario.services.len() as u16 + 1, &mut asking)?;
    let watching = watch::start(world, places).await;
    let done = in_traffic(world, stack, &surveyor).await;
    phase(world, "drain");
    let drain = match done {
        Ok(()) => world.scenario.traffic.drain.0,
        Err(_) => HASTE,
    };
    let begun = Instant::now();
    if !traffic.drain(drain).await {
        let text = "some messages were still on their way when the time to drain was over";
        world.journal.note(Event::Note { text: text.into() });
    }
    asking.finish().await;
    queues_empty(world, drain.saturating_sub(begun.elapsed())).await;
    drop(watching);
    surveyor.survey(world, Moment::Final).await;
    done
}

async fn is_ready(world: &World) -> Result<(), String> {
    ready::check(world).await?;
    for probe in &world.scenario.steady {
        world.ask(probe, STEADY).await?;
    }
    Ok(())
}

/// What happens while mail is sent.
async fn in_traffic(
    world: &World,
    stack: &Stack,
    surveyor: &steps::Surveyor<'_>,
) -> Result<(), String> {
    let traffic = &world.scenario.traffic;
    stopped(world, world.stop.sleep(traffic.baseline.0).await)?;
    phase(world, "fault");
    steps::all(world, stack, surveyor).await?;
    phase(world, "recovered");
    stopped(world, world.stop.sleep(traffic.recovered.0).await)
}

fn stopped(world: &World, goes_on: bool) -> Result<(), String> {
    if goes_on { Ok(()) } else { Err(world.stop.reason().unwrap_or_default()) }
}

fn phase(world: &World, name: &str) {
    world.journal.note(Event::Phase { name: name.into() });
}

/// Waits until nothing is on its way any more, at most so long. Who cannot be asked keeps nobody waiting.
async fn queues_empty(world: &World, limit: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        let mut waiting = 0;
        // Nobody waits for what a dead one will never deliver.
        let serving = lock(&world.serving).clone();
        let roles = (0..).zip(world.scenario.roles.values());
        for (_, role) in roles.filter(|(at, _)| serving.contains(at)) {
            if let Some(queue) = &role.queue {
                waiting += crate::survey::queue_length(world, queue, &role.on).await.unwrap_or(0);
            }
        }
        if waiting == 0 || !world.stop.sleep(PAUSE).await {
            return;
        }
    }
}

/// Where the journal of a run is.
pub fn journal_of(dir: &Path) -> PathBuf {
    dir.join(JOURNAL)
}

/// Why the journal of a run cannot be read.
pub(crate) fn not_opened(dir: &Path, error: &std::io::Error) -> RunFailed {
    if error.kind() == ErrorKind::NotFound && dir.is_dir() {
        return RunFailed::NoJournal(dir.to_owned());
    }
    RunFailed::Dir { dir: dir.to_owned(), why: format!("{}: {error}", journal_of(dir).display()) }
}

/// What a journal tells.
pub struct Analysis {
    /// What the run was.
    pub begin: Begin,
    /// What it came to.
    pub result: crate::judge::Result,
    /// What happened when.
    pub story: Story,
    /// Whether the last line of the journal is cut.
    pub is_cut: bool,
}

/// Reads a journal, and judges what it tells.
pub fn analyze(dir: &Path) -> Result<Analysis, RunFailed> {
    let path = journal_of(dir);
    let failed = |why: String| RunFailed::Dir { dir: dir.to_owned(), why };
    let file = File::open(&path).map_err(|e| not_opened(dir, &e))?;
    let mut reader = journal::Reader::new(std::io::BufReader::with_capacity(1 << 20, file));
    let bad = |e: journal::BadJournal| failed(format!("{}: {e}", path.display()));
    let Some((_, Event::Begin(begin))) = reader.next_event().map_err(bad)? else {
        return Err(failed(format!("{}: it does not begin as a journal does", path.display())));
    };
    let mut judge = crate::judge::Judge::new(&begin);
    let mut story = Story::default();
    while let Some((t_us, event)) = reader.next_event().map_err(bad)? {
        judge.take(t_us, &event);
        story.take(t_us, &event);
    }
    Ok(Analysis { begin: *begin, result: judge.result(), story, is_cut: reader.is_cut() })
}

const STEADY: Duration = Duration::from_secs(10);
/// To drain when the run is given up.
const HASTE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
