//! Lets another role serve: all that a promotion says is turned into commands first, each with its undo, so that a plan
//! shows what a run does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::haproxy;
use crate::scenario::{MovedAddress, Promote, Run, Start};
use crate::stack::Stack;
use crate::undo::Undo;
use crate::world::World;

/// The commands of a promotion, in their order.
pub(crate) fn commands(promote: &Promote) -> Vec<Run> {
    let mut all = promote.run.clone();
    if let Some(moved) = &promote.address {
        all.extend(moves(moved, promote));
    }
    if let Some(start) = &promote.start {
        all.extend(starts(start, &promote.to));
    }
    all
}

fn on(role: &str, argv: &[&str], undo: Option<&[&str]>) -> Run {
    let words = |argv: &[&str]| argv.iter().map(|word| (*word).to_owned()).collect();
    Run { argv: words(argv), on: Some(role.to_owned()), undo: undo.map(words), ..Run::default() }
}

fn moves(moved: &MovedAddress, promote: &Promote) -> Vec<Run> {
    let MovedAddress { address, interface, is_first_dead } = moved;
    let add = ["ip", "address", "replace", address, "dev", interface];
    // Who has lost it already has nothing to lose.
    let gone = format!("ip address del {address} dev {interface} 2>/dev/null || true");
    let del = ["ip", "address", "del", address, "dev", interface];
    let alone = address.split('/').next().unwrap_or(address);
    let tell = ["arping", "-U", "-c", "3", "-w", "5", "-I", interface, alone];
    let first = promote.from.as_ref().filter(|_| !is_first_dead);
    let mut all: Vec<Run> = first.map(|from| on(from, &del, Some(&add))).into_iter().collect();
    all.push(on(&promote.to, &add, Some(&["sh", "-c", &gone])));
    all.push(on(&promote.to, &tell, None));
    all
}

fn starts(start: &Start, to: &str) -> Vec<Run> {
    match start {
        Start::Postfix(dir) => {
            let stop = format!(
                "postfix -c {0} status 2>/dev/null && postfix -c {0} stop || true",
                crate::command::quoted(dir)
            );
            vec![
                on(to, &["postfix", "-c", dir, "start"], Some(&["sh", "-c", &stop])),
                on(to, &["postqueue", "-c", dir, "-f"], None),
            ]
        }
        Start::Dovecot(file) => {
            let stop = format!("doveadm -c {} stop || true", crate::command::quoted(file));
            vec![on(to, &["dovecot", "-c", file], Some(&["sh", "-c", &stop]))]
        }
        Start::Exim(file) => {
            // The number of its process is in a file that a reboot takes away.
            let stop = format!(
                "if read pid < {EXIM_PID} 2>/dev/null; then kill $pid; rm -f {EXIM_PID}; fi"
            );
            let start = ["exim", "-C", file, "-bd", "-q30m", "-oP", EXIM_PID];
            vec![
                on(to, &start, Some(&["sh", "-c", &stop])),
                on(to, &["exim", "-C", file, "-qff"], None),
            ]
        }
    }
}

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
    for run in commands(promote) {
        arm(world, stack, step, &run).await?;
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

/// Writes down how a command is undone.
pub(crate) async fn arm(world: &World, stack: &Stack, step: &str, run: &Run) -> Result<(), String> {
    let Some(undo) = &run.undo else { return Ok(()) };
    let on = world.place(run.on.as_deref());
    let env: &BTreeMap<String, String> = &run.env;
    stack.arm(step, world.undo(undo, run.undone.as_ref(), env, &on)?).await.map(|_| ())
}
