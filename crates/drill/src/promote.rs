//! Lets another role serve: all that a promotion says is turned into commands first, each with its undo, so that a plan
//! shows what a run does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::quoted;
use crate::haproxy;
use crate::scenario::{MovedAddress, Promote, Run, Start};
use crate::stack::Stack;
use crate::undo::Undo;
use crate::world::World;

/// One command of a promotion.
pub(crate) struct Move {
    pub(crate) run: Run,
    /// Whether it lives no longer than its machine runs: what is there after a reboot is not the drill's.
    is_volatile: bool,
}

/// The commands of a promotion, in their order. What it starts or moves by name was seen not to be there first: nothing is
/// taken back that the drill has not done.
pub(crate) fn commands(promote: &Promote) -> Vec<Move> {
    let mut all: Vec<Move> =
        promote.run.iter().cloned().map(|run| Move { run, is_volatile: false }).collect();
    if let Some(moved) = &promote.address {
        all.extend(moves(moved, promote));
    }
    if let Some(start) = &promote.start {
        all.extend(starts(start, &promote.to));
    }
    all
}

fn sh(script: impl Into<String>) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script.into()]
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

/// Where there is nothing to undo.
fn plain(role: &str, argv: Vec<String>) -> Move {
    Move { run: Run { argv, on: Some(role.to_owned()), ..Run::default() }, is_volatile: true }
}

/// `undone` is a condition of the shell.
fn undoable(role: &str, argv: Vec<String>, undo: String, undone: String) -> Move {
    let mut one = plain(role, argv);
    (one.run.undo, one.run.undone) = (Some(sh(undo)), Some(sh(undone)));
    one
}

/// Goes on only where a condition of the shell is not met.
fn unless(role: &str, condition: &str, why: &str) -> Move {
    plain(role, sh(format!("if {condition}; then echo {} >&2; exit 1; fi", quoted(why))))
}

fn moves(moved: &MovedAddress, promote: &Promote) -> Vec<Move> {
    let MovedAddress { address, interface, is_first_dead } = moved;
    let alone = address.split('/').next().unwrap_or(address);
    let (plain_address, plain_interface) = (address, interface);
    let (address, interface) = (quoted(address), quoted(interface));
    let has = format!("test -n \"$(ip -o address show dev {interface} to {})\"", quoted(alone));
    let ip = |verb| words(&["ip", "address", verb, plain_address, "dev", plain_interface]);
    let tell = ["arping", "-U", "-c", "3", "-w", "5", "-I", plain_interface, alone];
    let mut all = Vec::new();
    if let Some(from) = promote.from.as_ref().filter(|_| !is_first_dead) {
        let why = format!("{alone} is not on {plain_interface} of {from}");
        all.push(unless(from, &format!("! {has}"), &why));
        // Who comes later than that tells its neighbours once more, which does no harm.
        let back = format!(
            "{has} || ip address add {address} dev {interface}; if command -v arping >/dev/null; then {}; fi",
            tell.map(quoted).join(" ")
        );
        all.push(undoable(from, ip("del"), back, has.clone()));
    }
    let to = &promote.to;
    let why = format!(
        "{alone} is on {plain_interface} of {to} already: it is not for a drill to take away again"
    );
    all.push(unless(to, &has, &why));
    let gone = format!("if {has}; then ip address del {address} dev {interface}; fi");
    all.push(undoable(to, ip("add"), gone, format!("! {has}")));
    all.push(plain(to, words(&tell)));
    all
}

fn starts(start: &Start, to: &str) -> Vec<Move> {
    let already = |what: &str| format!("{what} runs already: it is not for a drill to stop again");
    match start {
        Start::Postfix(dir) => {
            let quoted = quoted(dir);
            let runs = format!("postfix -c {quoted} status 2>/dev/null");
            let stop = format!("if {runs}; then postfix -c {quoted} stop; fi");
            let start = words(&["postfix", "-c", dir, "start"]);
            vec![
                unless(to, &runs, &already("Postfix")),
                undoable(to, start, stop, format!("! {runs}")),
                plain(to, words(&["postqueue", "-c", dir, "-f"])),
            ]
        }
        Start::Dovecot(file) => {
            let quoted = quoted(file);
            // Nobody can tell where it cannot be read.
            let base = format!("base=$(doveconf -c {quoted} -h base_dir) || exit 1; ");
            let runs = runs("\"$base/master.pid\"", "dovecot");
            let why = already("Dovecot");
            let look = sh(format!(
                "{base}if {runs}; then echo {} >&2; exit 1; fi",
                crate::command::quoted(&why)
            ));
            let stop = format!("{base}if {runs}; then doveadm -c {quoted} stop; fi");
            let start = words(&["dovecot", "-c", file]);
            vec![
                plain(to, look),
                undoable(to, start, stop, base + &soon(&format!("! {{ {runs}; }}"))),
            ]
        }
        Start::Exim(file) => {
            let runs = runs(EXIM_PID, "exim");
            let start = words(&["exim", "-C", file, "-bd", "-q30m", "-oP", EXIM_PID]);
            let stop = format!("if {runs}; then kill \"$pid\"; fi");
            let gone = soon(&format!("! {{ {runs}; }}")) + &format!(" && rm -f {EXIM_PID}");
            vec![
                unless(to, &runs, &already("an Exim of a drill")),
                undoable(to, start, stop, gone),
                plain(to, words(&["exim", "-C", file, "-qff"])),
            ]
        }
    }
}

/// Whether the process of a file with its number runs: that of a program, and none that has ended and waits for its parent
/// (proc(5), `stat`). It sets `pid`.
fn runs(pid_file: &str, program: &str) -> String {
    format!(
        "{{ read -r pid < {pid_file} && read -r stat < \"/proc/$pid/stat\"; }} 2>/dev/null && \
         case $stat in *\") Z \"*) false;; *\" ({program}\"*) true;; *) false;; esac"
    )
}

/// Waits some seconds for a condition of the shell.
fn soon(condition: &str) -> String {
    format!(
        "n=0; until {{ {condition}; }}; do n=$((n + 1)); test $n -lt 100 || exit 1; sleep 0.1; done"
    )
}

/// The number of its process, in a folder that a reboot empties.
const EXIM_PID: &str = "/run/mailrig-drill-exim.pid";

/// Does all of it.
pub(crate) async fn promote(
    world: &World,
    stack: &Stack,
    step: &str,
    promote: &Promote,
    is_back: bool,
    limit: Duration,
) -> Result<(), String> {
    for Move { run, is_volatile } in commands(promote) {
        if is_volatile && run.undo.is_some() {
            let boot_id = boot_id(world, run.on.clone(), limit).await?;
            arm(world, stack, step, &until_boot(&run, &boot_id)).await?;
        } else {
            arm(world, stack, step, &run).await?;
        }
        // What serves again after the drill, unless it has an undo, stays.
        match is_back && run.undo.is_none() {
            true => world.run_lasting(&run, limit).await?,
            false => world.run(&run, limit).await?,
        };
    }
    let Some(told) = &promote.haproxy else { return Ok(()) };
    let states = told.ready.iter().map(|server| (server, "ready"));
    for (server, state) in states.chain(told.maint.iter().map(|server| (server, "maint"))) {
        let was = haproxy::state(&told.socket, server).await.map_err(|e| e.to_string())?;
        let (socket, server) = (told.socket.clone(), server.clone());
        let undo =
            Undo::Haproxy { socket: socket.clone(), server: server.clone(), state: was.into() };
        stack.arm(step, undo).await?;
        haproxy::set(&socket, &server, state).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Of the machine of a role.
async fn boot_id(world: &World, on: Option<String>, limit: Duration) -> Result<String, String> {
    let run = Run { argv: words(&["cat", BOOT_ID]), on, ..Run::default() };
    Ok(world.run(&run, limit).await?.stdout.trim().to_owned())
}

/// Undone only as long as its machine runs.
fn until_boot(run: &Run, boot_id: &str) -> Run {
    let script = format!("test \"$(cat {BOOT_ID})\" != {} || exec \"$@\"", quoted(boot_id));
    let wrap = |argv: &Vec<String>| [sh(&script), words(&["sh"]), argv.clone()].concat();
    let (undo, undone) = (run.undo.as_ref().map(wrap), run.undone.as_ref().map(wrap));
    Run { undo, undone, ..run.clone() }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Writes down how a command is undone.
pub(crate) async fn arm(world: &World, stack: &Stack, step: &str, run: &Run) -> Result<(), String> {
    let Some(undo) = &run.undo else { return Ok(()) };
    let on = world.place(run.on.as_deref());
    let env: &BTreeMap<String, String> = &run.env;
    stack.arm(step, world.undo(undo, run.undone.as_ref(), env, &on)?).await.map(|_| ())
}
