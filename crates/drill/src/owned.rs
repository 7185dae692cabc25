//! Processes that the drill started or touched, known for certain: a number alone may name another one after a while, or
//! after a reboot.

use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process, and no other one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owned {
    /// Its number.
    pub(crate) pid: i32,
    /// When it started, in the kernel's ticks since the boot (proc(5), field 22 of `stat`).
    pub(crate) started: u64,
    /// The boot.
    pub(crate) boot_id: String,
}

impl Owned {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, started: started(pid)?, boot_id: boot_id()? })
    }

    /// Whether it is still there, not as a zombie.
    pub(crate) fn is_there(&self) -> bool {
        let is_same = started(self.pid).is_ok_and(|started| started == self.started);
        is_same && boot_id().is_ok_and(|boot| boot == self.boot_id) && state(self.pid) != Some('Z')
    }

    /// Sends a signal; false: it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_there()) else {
            return Ok(false);
        };
        match kill_process(pid, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether it is frozen.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_there() && state(self.pid) == Some('T')
    }
}

/// Of the running kernel.
pub(crate) fn boot_id() -> io::Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    Ok(KNOWN.get_or_init(|| read).clone())
}

/// The fields of `stat` after the name, which may hold anything.
fn fields(pid: i32) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn started(pid: i32) -> io::Result<u64> {
    // The third field is the first of the rest.
    let fields = fields(pid)?;
    fields
        .get(19)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Who started it, or took it over.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    fields(pid).ok()?.get(1)?.parse().ok()
}

/// The leaders of its process group and of its session; 0: one in another PID namespace, as where a container was entered
/// from outside.
pub(crate) fn group_and_session(pid: i32) -> Option<(i32, i32)> {
    let fields = fields(pid).ok()?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

fn state(pid: i32) -> Option<char> {
    fields(pid).ok()?.first()?.chars().next()
}
