//! Servers that the drill makes for itself: a folder, ports, files and processes. All of it has a mark, by which it is
//! found and ended, whoever started what.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::marked::{self, MARK};
use crate::owned::{self, Owned};
use crate::proxy::Proxy;
use crate::run::LOGS;
use crate::scenario::{Process, Scenario, Values, Where, unescaped};
use crate::stack::Stack;
use crate::undo::{Undo, make_dir};
use crate::world::{COMMANDS, World, lock, resolve};
use crate::{disks, faults, nodes};

/// Ports that nobody else gets as long as these are held.
pub(crate) type Ports = Vec<TcpListener>;

/// Chooses ports. They stay taken until the first process starts.
pub(crate) fn ports(scenario: &Scenario, mut values: Values) -> Result<(Ports, Values), String> {
    let mut listeners = Vec::new();
    for name in &scenario.lab.ports {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(|e| format!("no port for `{name}`: {e}"))?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        values.set(format!("port.{name}"), port.to_string());
        listeners.push(listener);
    }
    Ok((listeners, values))
}

/// Makes the folder, its files and its first processes.
pub(crate) async fn build(world: &World, stack: &Stack, ports: Ports) -> Result<(), String> {
    let dir = world.lab();
    if world.scenario.lab.shared {
        reachable(&dir)?;
    }
    let run = world.run_id();
    stack.arm("lab", Undo::RemoveDir { dir: dir.clone(), run: run.clone() }).await?;
    let failed = |e: std::io::Error| format!("cannot make {}: {e}", dir.display());
    make_dir(&dir, &run).map_err(failed)?;
    let boot_id = owned::boot_id().map_err(failed)?;
    stack.arm("commands", Undo::EndMarked { mark: world.mark(COMMANDS), boot_id }).await?;
    nodes::build(world, stack).await?;
    disks::build(world, stack).await?;
    for path in &world.scenario.lab.folders {
        fs::create_dir_all(dir.join(path)).map_err(failed)?;
    }
    for (path, text) in &world.scenario.lab.files {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(&path, unescaped(text))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    for argv in &world.scenario.lab.prepare {
        let run = crate::scenario::Run { argv: argv.clone(), ..Default::default() };
        world.run(&run, PREPARE).await?;
    }
    drop(ports);
    for (name, place) in &world.scenario.lab.proxies {
        let failed = |why: String| format!("the proxy `{name}`: {why}");
        let listen = resolve(&place.listen).map_err(failed)?;
        let to = resolve(&place.to).map_err(failed)?;
        let proxy =
            Proxy::start(listen, to, Vec::new()).await.map_err(|e| failed(e.to_string()))?;
        lock(&world.proxies).insert(name.clone(), Arc::new(proxy));
    }
    for (name, process) in &world.scenario.lab.processes {
        if process.starts {
            start(world, stack, name, process).await?;
        }
    }
    Ok(())
}

/// Whether users other than ours can reach a folder. Which of them there are nobody knows before servers start.
fn reachable(dir: &Path) -> Result<(), String> {
    for above in dir.ancestors().skip(1) {
        let facts =
            fs::metadata(above).map_err(|e| format!("cannot look at {}: {e}", above.display()))?;
        if facts.permissions().mode() & 0o001 == 0 {
            return Err(format!(
                "servers of the lab have users of their own, and {} is closed to them; choose another folder with \
                 --out, such as one in /var/tmp",
                above.display()
            ));
        }
    }
    Ok(())
}

/// Starts a process, and waits until it is ready.
pub(crate) async fn start(
    world: &World,
    stack: &Stack,
    name: &str,
    process: &Process,
) -> Result<(), String> {
    let mark = world.mark(name);
    let boot_id = owned::boot_id().map_err(|e| e.to_string())?;
    let is_running = lock(&world.processes).get(name).is_some_and(Owned::is_there);
    if is_running {
        return Err(format!("the process `{name}` runs already"));
    }
    // A restart has the undo of the first start.
    let undo = Undo::EndMarked { mark: mark.clone(), boot_id };
    if !stack.has(&undo) {
        stack.arm(name, undo).await?;
    }
    let path = world.dir.join(LOGS).join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(&path);
    let log = log.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    let on = process.node.clone().map_or(Where::Local, Where::Node);
    let mut env = process.env.clone();
    if let Some(library) = &process.clock {
        faults::write_clock(&faults::clock_file(world, name), "+0")?;
        env.extend(faults::clock_environment(world, name, library));
    }
    let command = world.command(&process.run, &env, &on).held(&world.program);
    let mut builder = command.process();
    builder
        .env(MARK, &mark)
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .kill_on_drop(false);
    let mut child =
        builder.spawn().map_err(|e| format!("cannot start `{}`: {e}", command.by_hand()))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let owned = pid.and_then(|pid| Owned::of(pid).ok());
    let owned = owned.ok_or_else(|| format!("`{name}` ended at once: see {}", path.display()))?;
    lock(&world.processes).insert(name.to_owned(), owned.clone());
    // Somebody must take what is left of it when it ends.
    tokio::spawn(async move { child.wait().await });
    let is_ready = ready(world, name, process, &owned).await;
    is_ready.map_err(|e| match last_line(&path) {
        Some(said) => format!("{e}; it said: {said} (all of it: {})", path.display()),
        None => format!("{e}; it said nothing"),
    })?;
    // What a scenario wants to know is the server's number, not that of who stands above it.
    let is_first = |one: &Owned| owned::parent(one.pid) == Some(owned.pid);
    if let Some(server) = marked::below(owned.pid).into_iter().find(is_first) {
        lock(&world.values).set(format!("process.{name}"), server.pid.to_string());
    }
    Ok(())
}

/// What a process said last, as far as one line can hold it.
fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(length.saturating_sub(LINE))).ok()?;
    let mut bytes = Vec::new();
    file.take(LINE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().take(300).collect())
}

async fn ready(world: &World, name: &str, process: &Process, owned: &Owned) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let Err(why) = world.ask(&process.ready, PROBE).await else { return Ok(()) };
        if !owned.is_there() {
            return Err(format!("`{name}` ended before it was ready"));
        }
        if begun.elapsed() > READY {
            return Err(format!("`{name}` was not ready after {}: {why}", crate::human(READY)));
        }
        if !world.stop.sleep(PAUSE).await {
            return Err("the drill stops".into());
        }
    }
}

/// Of a log, its end.
const LINE: u64 = 4096;
const PREPARE: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
