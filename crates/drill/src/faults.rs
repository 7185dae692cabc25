//! Breaks what a scenario says, and mends what it says. How a fault is mended is written down before it is made; a mending
//! step does not strike that out, because mending twice does no harm.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::marked::{self, Begins};
use crate::owned::Owned;
use crate::scenario::{Clock, Fault, Fill, NetworkFault, ProxyFault, Where};
use crate::stack::Stack;
use crate::undo::Undo;
use crate::world::{World, lock};
use crate::{disks, network};

/// Gives what there is to say of it.
pub(crate) async fn fault(
    world: &World,
    stack: &Stack,
    step: &str,
    fault: &Fault,
    begins: Begins<'_>,
) -> Result<String, String> {
    let mut said = String::new();
    match fault {
        Fault::Kill(name) => marked::kill_below(&running(world, name)?, begins).await?,
        Fault::Stop(name) => stop(world, name, begins).await?,
        Fault::Pause(name) => {
            let holder = running(world, name)?;
            stack.arm(step, Undo::Resume(holder.clone())).await?;
            marked::freeze_below(&holder, begins).await?;
        }
        Fault::Resume(name) => {
            begins();
            marked::resume_below(&running(world, name)?).await?;
        }
        Fault::Proxy(fault) => {
            begins();
            proxy(world, fault).await?;
        }
        Fault::Network(fault) => spoil(world, stack, step, fault, begins).await?,
        Fault::Fill(fault) => said = fill(world, stack, step, fault, begins).await?,
        Fault::Empty(folder) => {
            begins();
            let fault = Fill { folder: folder.clone(), ..Fill::default() };
            let dir = disks::filler(&fault, &world.run_id());
            Undo::RemoveFiller { dir }.apply().await?;
        }
        Fault::Clock(clock) => set_clock(world, stack, step, clock, begins).await?,
    }
    Ok(said)
}

fn running(world: &World, name: &str) -> Result<Owned, String> {
    let owned = lock(&world.processes).get(name).cloned();
    owned.filter(Owned::is_there).ok_or_else(|| format!("`{name}` does not run"))
}

/// Ends a process as its administrator would.
pub(crate) async fn stop(world: &World, name: &str, begins: Begins<'_>) -> Result<(), String> {
    let owned = running(world, name)?;
    begins();
    owned.signal(Signal::TERM).map_err(|e| format!("cannot signal `{name}`: {e}"))?;
    while owned.is_there() {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// It is of this process, and ends with it: there is nothing to undo.
async fn proxy(world: &World, fault: &ProxyFault) -> Result<(), String> {
    let proxy = lock(&world.proxies).get(&fault.name).cloned();
    let proxy = proxy.ok_or_else(|| format!("the lab has no proxy `{}`", fault.name))?;
    let set = proxy.set(fault.rules.clone(), fault.mode).await;
    set.map_err(|e| format!("{}: {e}", fault.name))
}

async fn spoil(
    world: &World,
    stack: &Stack,
    step: &str,
    fault: &NetworkFault,
    begins: Begins<'_>,
) -> Result<(), String> {
    let commands = network::commands(fault, &world.scenario, &world.run_id())?;
    let on = world.place(Some(&fault.of));
    let undo = world.undo(&commands.undo, Some(&commands.undone), &Default::default(), &on)?;
    if !stack.has(&undo) {
        stack.arm(step, undo).await?;
    }
    begins();
    for argv in &commands.apply {
        world.must(argv, &on).await?;
    }
    Ok(())
}

async fn fill(
    world: &World,
    stack: &Stack,
    step: &str,
    fault: &Fill,
    begins: Begins<'_>,
) -> Result<String, String> {
    let dir = disks::filler(fault, &world.run_id());
    stack.arm(step, Undo::RemoveFiller { dir: dir.clone() }).await?;
    begins();
    let (fault, journal_dir) = (fault.clone(), world.dir.clone());
    let (is_over, (tell, told)) = (Arc::new(AtomicBool::new(false)), oneshot::channel());
    let over = Arc::clone(&is_over);
    let fill = move || drop(tell.send(disks::fill(&fault, &dir, &journal_dir, &over)));
    let filling = tokio::task::spawn_blocking(fill);
    lock(&world.filling).push(Filling { is_over, filling });
    told.await.map_err(|_| "what fills the disk panicked".to_owned())?
}

/// A disk that is being filled, on a thread that does not end with its step.
pub(crate) struct Filling {
    is_over: Arc<AtomicBool>,
    filling: JoinHandle<()>,
}

/// Before what fills them is removed.
pub(crate) async fn end_filling(world: &World) {
    let all = std::mem::take(&mut *lock(&world.filling));
    for Filling { is_over, filling } in all {
        is_over.store(true, Ordering::Relaxed);
        // If it panicked, it has ended.
        let _ = filling.await;
    }
}

/// Only the processes of the lab that asked for it see it: their library looks into a file.
async fn set_clock(
    world: &World,
    stack: &Stack,
    step: &str,
    clock: &Clock,
    begins: Begins<'_>,
) -> Result<(), String> {
    let path = clock_file(world, &clock.process);
    stack.arm(step, Undo::SetClock { file: path.clone() }).await?;
    begins();
    write_clock(&path, &clock.offset)
}

/// Where a process of the lab reads how wrong its clock is.
pub(crate) fn clock_file(world: &World, process: &str) -> PathBuf {
    world.lab().join(format!(".clock-{process}"))
}

pub(crate) fn write_clock(path: &std::path::Path, offset: &str) -> Result<(), String> {
    let new = path.with_extension("new");
    let written = std::fs::write(&new, format!("{offset}\n"));
    written
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// What a process needs in its environment to see another time.
pub(crate) fn clock_environment(world: &World, name: &str, library: &str) -> [(String, String); 3] {
    let file = clock_file(world, name).to_string_lossy().into_owned();
    [
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// Whether a fault is at a machine that nobody can reach once it is there.
pub(crate) fn cuts_itself_off(fault: &NetworkFault, on: &Where) -> bool {
    let is_remote = matches!(on, Where::Ssh(_));
    is_remote && fault.from.is_empty() && fault.ports.is_empty() && (fault.drop || fault.reset)
}

const PAUSE: Duration = Duration::from_millis(1);
