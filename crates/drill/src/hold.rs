//! A process that stands above each server of a lab: whatever the server starts stays below it, and is found there. Some
//! servers wipe the environment that they were started with, and the drill's mark with it; this one keeps its own.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use crate::marked;

/// Runs a program, and waits until nothing of it is left. Gives its exit code. `each_signal` has to call what it is given
/// whenever somebody asks this process to end; that is passed on.
pub fn hold(
    argv: &[String],
    each_signal: impl FnOnce(Box<dyn Fn() + Send>),
) -> std::io::Result<u8> {
    let (program, arguments) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    set_child_subreaper(Some(getpid()))?;
    // What ends this one from a terminal does not end it: whoever holds it does.
    let child = Command::new(program).args(arguments).process_group(0).spawn()?;
    let first = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    each_signal(Box::new(move || end(first)));
    let mut code = 0;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == first => {
                let status = ExitStatus::from_raw(status.as_raw());
                let of_signal = || status.signal().map_or(1, |signal| 128 + signal);
                code = status.code().unwrap_or_else(of_signal);
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => std::thread::sleep(PAUSE),
            // There is nobody left to wait for.
            Err(_) => return Ok(u8::try_from(code).unwrap_or(1)),
        }
    }
}

/// Asks the program to end; one that has left others behind cannot be asked, and they are.
fn end(first: Option<Pid>) {
    if first.is_some_and(|first| kill_process(first, Signal::TERM).is_ok()) {
        return;
    }
    for one in marked::below(getpid().as_raw_nonzero().get()) {
        let _ = one.signal(Signal::TERM);
    }
}

const PAUSE: Duration = Duration::from_millis(10);
