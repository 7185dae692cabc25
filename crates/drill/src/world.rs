//! What all parts of a run share: names and their numbers, values that steps put in, the journal, and the wish to stop.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use toml::Value;

use crate::command::{Command, Ran};
use crate::faults::Filling;
use crate::journal::Journal;
use crate::marked::MARK;
use crate::owned::Owned;
use crate::proxy::Proxy;
use crate::scenario::{Manual, Scenario, Values, Where};
use crate::undo::Undo;

/// What all parts of a run share.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    /// Its text as a tree, from which steps are made when it is their turn.
    pub(crate) tree: Value,
    pub(crate) values: Mutex<Values>,
    pub(crate) dir: PathBuf,
    /// What `mailrig` means in a command.
    pub(crate) program: String,
    pub(crate) run: u64,
    pub(crate) journal: Journal,
    pub(crate) stop: Stop,
    /// Processes of the lab that were started, by name.
    pub(crate) processes: Mutex<BTreeMap<String, Owned>>,
    /// Nodes of the lab, by name: who holds them.
    pub(crate) nodes: Mutex<BTreeMap<String, Owned>>,
    /// Proxies of the lab, by name.
    pub(crate) proxies: Mutex<BTreeMap<String, Arc<Proxy>>>,
    /// Asks a person.
    pub(crate) person: fn(&Manual) -> Result<String, String>,
    /// Values that nobody may see.
    pub(crate) secrets: Vec<String>,
    /// Services that are away, and since when.
    pub(crate) away: Mutex<HashMap<String, std::time::Instant>>,
    /// Whether anything has happened that recovery runs from.
    pub(crate) had_incident: Mutex<bool>,
    /// Disks that are being filled.
    pub(crate) filling: Mutex<Vec<Filling>>,
    /// How many documents of commands of this program are kept.
    pub(crate) documents: Mutex<u32>,
    /// Roles that serve now.
    pub(crate) serving: Mutex<Vec<u16>>,
    pub(crate) roles: Vec<String>,
    pub(crate) recipients: Arc<HashMap<String, u32>>,
}

/// What a command of this program came to.
pub(crate) struct Ours {
    /// Its exit code; none: a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it says in one sentence, where it does.
    pub(crate) sentence: Option<String>,
    /// What to say when it failed.
    pub(crate) complaint: String,
    pub(crate) document: String,
    /// Where that is kept, in the run's folder.
    pub(crate) kept: String,
}

/// Asks a run to stop: steps and traffic end, undoing begins.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<Option<String>>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Stop {
    /// Stops, for a reason; the first one counts.
    pub fn stop(&self, why: &str) {
        self.0.send_if_modified(|reason| {
            let is_first = reason.is_none();
            reason.get_or_insert_with(|| why.to_owned());
            is_first
        });
    }

    /// Why, if it was asked for.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until it is asked for.
    pub(crate) async fn asked(&self) {
        let mut receiver = self.0.subscribe();
        // The sender is here: it cannot be gone.
        let _ = receiver.wait_for(Option::is_some).await;
    }

    /// Waits so long; false if it was asked to stop meanwhile.
    pub(crate) async fn sleep(&self, length: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(length) => true,
            () = self.asked() => false,
        }
    }
}

impl World {
    /// The number of a role.
    pub(crate) fn role(&self, name: &str) -> Option<u16> {
        let at = self.roles.iter().position(|role| role == name)?;
        u16::try_from(at).ok()
    }

    /// Without the values of secrets, wherever a program has printed them.
    pub(crate) fn masked(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// Another role serves from now on.
    pub(crate) fn serves(&self, from: Option<u16>, to: u16) {
        let mut serving = lock(&self.serving);
        serving.retain(|role| Some(*role) != from && *role != to);
        serving.push(to);
    }

    pub(crate) fn lab(&self) -> PathBuf {
        self.dir.join("lab")
    }

    /// Where commands of a role, or in a node, run.
    pub(crate) fn place(&self, name: Option<&str>) -> Where {
        let Some(name) = name else { return Where::Local };
        match self.scenario.roles.get(name) {
            Some(role) => role.on.clone(),
            None if self.scenario.lab.nodes.contains_key(name) => Where::Node(name.to_owned()),
            None => Where::Local,
        }
    }

    /// The run's id, as it stands in names.
    pub(crate) fn run_id(&self) -> String {
        format!("{:016x}", self.run)
    }

    /// The mark of a process and all that it starts.
    pub(crate) fn mark(&self, name: &str) -> String {
        format!("{:016x}.{name}", self.run)
    }

    /// A command for a role's machine; `mailrig` is this program, and has the scenario's environment.
    pub(crate) fn command(
        &self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        on: &Where,
    ) -> Command {
        let mut env = env.clone();
        if on.is_here() && argv.first().is_some_and(|program| program == "mailrig") {
            for (name, value) in &self.scenario.env {
                env.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        if on.is_here() {
            // What a kill of ours leaves running is found by it.
            env.insert(MARK.to_owned(), self.mark(COMMANDS));
        }
        self.command_with(argv, env, on)
    }

    /// One that puts things right: a server that it starts again stays, and so it has no mark.
    pub(crate) fn lasting(
        &self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        on: &Where,
    ) -> Command {
        let mut command = self.command(argv, env, on);
        command.env.remove(MARK);
        command
    }

    /// With this environment alone: what undoes stands in the journal, and has no secret. It is no command of the drill's
    /// that is ended with it.
    fn command_with(&self, argv: &[String], env: BTreeMap<String, String>, on: &Where) -> Command {
        let mut argv = argv.to_vec();
        if let Some(program) =
            argv.first_mut().filter(|program| on.is_here() && *program == "mailrig")
        {
            program.clone_from(&self.program);
        }
        match on {
            Where::Node(name) => {
                // A process with the number 0 is nobody's: it fails, and says so.
                let pid = lock(&self.nodes).get(name).map_or(0, |node| node.pid).to_string();
                let enter = ["nsenter", "--target", &pid, "--net", "--"];
                Command::new(&argv, &env, &Where::Local).below(&enter)
            }
            on => Command::new(&argv, &env, on),
        }
    }

    /// How a command is undone where it ran.
    pub(crate) fn undo(
        &self,
        undo: &[String],
        undone: Option<&Vec<String>>,
        env: &BTreeMap<String, String>,
        on: &Where,
    ) -> Result<Undo, String> {
        let undo = self.command_with(undo, env.clone(), on);
        let undone = undone.map(|argv| self.command_with(argv, env.clone(), on));
        let Where::Node(name) = on else {
            let is_ours = *on == Where::Local && self.scenario.lab.network.is_some();
            let network = is_ours.then(|| self.network_holder()).transpose()?;
            return Ok(Undo::Run { undo, undone, network });
        };
        let node = lock(&self.nodes).get(name).cloned();
        let node = node.ok_or_else(|| format!("the node `{name}` is not there"))?;
        Ok(Undo::InNode { node, undo, undone })
    }

    /// Who keeps the drill's own network; before there is anybody, the drill itself.
    fn network_holder(&self) -> Result<Owned, String> {
        let holder = lock(&self.nodes).get(OWN).cloned();
        let this = || Owned::of(rustix::process::getpid().as_raw_nonzero().get());
        holder.map_or_else(this, Ok).map_err(|e| e.to_string())
    }

    /// Runs a command that must succeed.
    pub(crate) async fn must(&self, argv: &[String], on: &Where) -> Result<(), String> {
        let command = self.command(argv, &BTreeMap::new(), on);
        let ran = command.run(MUST, self.stop.asked()).await.map_err(|e| e.to_string())?;
        match ran.code {
            Some(0) => Ok(()),
            _ => Err(format!("`{}`: {}", command.by_hand(), ran.last_words())),
        }
    }

    pub(crate) async fn run(
        &self,
        run: &crate::scenario::Run,
        limit: Duration,
    ) -> Result<Ran, String> {
        let command = self.command(&run.argv, &run.env, &self.place(run.on.as_deref()));
        self.must_end_as(run, command, limit).await
    }

    /// The same of one that puts things right.
    pub(crate) async fn run_lasting(
        &self,
        run: &crate::scenario::Run,
        limit: Duration,
    ) -> Result<Ran, String> {
        let command = self.lasting(&run.argv, &run.env, &self.place(run.on.as_deref()));
        self.must_end_as(run, command, limit).await
    }

    async fn must_end_as(
        &self,
        run: &crate::scenario::Run,
        command: Command,
        limit: Duration,
    ) -> Result<Ran, String> {
        let ran = command.run(limit, self.stop.asked()).await.map_err(|e| e.to_string())?;
        if ran.code == Some(run.exit) {
            return Ok(ran);
        }
        let code = ran.code.map_or("no code".to_owned(), |code| format!("code {code}"));
        Err(format!(
            "`{}` ended with {code} instead of {}: {}",
            command.by_hand(),
            run.exit,
            ran.last_words()
        ))
    }

    /// A command of this program, whose document is kept as evidence.
    pub(crate) async fn run_ours(
        &self,
        step: &str,
        args: &[String],
        limit: Duration,
    ) -> Result<Ours, String> {
        let argv = [&["mailrig".to_owned(), "--json".to_owned()], args].concat();
        let command = self.command(&argv, &BTreeMap::new(), &Where::Local);
        let mut document = Vec::new();
        let mut is_whole = true;
        let add = |bytes: &[u8]| {
            let room = LONGEST_DOCUMENT.saturating_sub(document.len()).min(bytes.len());
            document.extend_from_slice(&bytes[..room]);
            is_whole &= room == bytes.len();
        };
        let ended = command.run_with(limit, self.stop.asked(), add).await;
        let document = self.masked(&String::from_utf8_lossy(&document));
        let name = format!("{DOCUMENTS}/{}", self.document_name(step));
        let path = self.dir.join(&name);
        let written = async {
            tokio::fs::create_dir_all(self.dir.join(DOCUMENTS)).await?;
            tokio::fs::write(&path, &document).await
        };
        written.await.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        let ended = ended.map_err(|e| e.to_string())?;
        let value = serde_json::from_str::<serde_json::Value>(&document).ok();
        let sentence = value.as_ref().and_then(|value| value.get("sentence")?.as_str());
        let code = ended.code.map_or("no code".to_owned(), |code| format!("code {code}"));
        let kept = match is_whole {
            true => name,
            false => format!("{name}, cut after {} MiB", LONGEST_DOCUMENT >> 20),
        };
        Ok(Ours {
            code: ended.code,
            sentence: sentence.map(str::to_owned),
            complaint: format!("`{}` ended with {code}: {}", command.by_hand(), ended.last_words()),
            document,
            kept,
        })
    }

    /// In the order in which they were begun.
    fn document_name(&self, step: &str) -> String {
        let mut count = lock(&self.documents);
        *count += 1;
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let step: String = step.chars().map(plain).take(60).collect();
        format!("{count:02}-{}.json", step.trim_matches('-'))
    }
}

/// An address for `HOST:PORT`. Names are looked up each time: that they lead elsewhere may be what a drill is about.
pub(crate) fn resolve(address: &str) -> Result<SocketAddr, String> {
    let mut found = address.to_socket_addrs().map_err(|e| format!("{address}: {e}"))?;
    found.next().ok_or_else(|| format!("{address} has no address"))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the documents of its own commands are, in a run's folder.
const DOCUMENTS: &str = "steps";
const LONGEST_DOCUMENT: usize = 64 << 20;
/// Of a command that the drill needs for itself.
const MUST: Duration = Duration::from_secs(30);
/// Among the nodes, who keeps the drill's own network; no node is called so.
pub(crate) const OWN: &str = "/own";
/// In the marks of those who hold the nodes.
pub(crate) const NODES: &str = "/nodes";
/// In the marks of commands that steps run; no process of a lab is called so.
pub(crate) const COMMANDS: &str = "/commands";
