//! What a run takes of its own machine: processor, descriptors, retransmissions. A generator that does not watch itself
//! measures itself.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Watches from its start on.
#[derive(Debug)]
pub struct Own {
    cpu: Duration,
    retransmitted: Option<u64>,
    descriptors_most: u64,
}

/// What was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Processor time of this process, in microseconds.
    pub cpu_us: u64,
    /// Descriptors that were open at most when somebody looked.
    pub descriptors_most: u64,
    /// How many may be.
    pub descriptors_limit: u64,
    /// TCP segments that this machine sent again, for whatever connection; `None` where the kernel does not tell.
    pub retransmitted: Option<u64>,
}

impl Own {
    /// Begins to watch.
    pub fn start() -> Self {
        let (cpu, retransmitted) = (process_cpu(), retransmitted());
        Self { cpu, retransmitted, descriptors_most: descriptors() }
    }

    /// Looks how many descriptors are open.
    pub fn look(&mut self) {
        self.descriptors_most = self.descriptors_most.max(descriptors());
    }

    /// What was taken since the start.
    pub fn used(&self) -> Used {
        let since = |before: u64| retransmitted().map(|now| now.saturating_sub(before));
        Used {
            cpu_us: process_cpu().saturating_sub(self.cpu).as_micros() as u64,
            descriptors_most: self.descriptors_most,
            descriptors_limit: descriptors_limit(),
            retransmitted: self.retransmitted.and_then(since),
        }
    }
}

/// Lets this process have as many descriptors as it may (getrlimit(2)); gives how many that are.
pub fn raise_descriptors() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(descriptors_limit())
}

/// How many descriptors this process may have.
pub fn descriptors_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Linux tells since 6.2 without listing them, which takes milliseconds where there are tens of thousands.
fn descriptors() -> u64 {
    let told = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    if told > 0 {
        return told;
    }
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// `RetransSegs` of proc_net_snmp(5), for this network namespace.
fn retransmitted() -> Option<u64> {
    retransmitted_in(&fs::read_to_string("/proc/self/net/snmp").ok()?)
}

fn retransmitted_in(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "RetransSegs")?;
    values.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_are_found_by_name() {
        let snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
                    Tcp: RtoAlgorithm OutSegs RetransSegs InErrs\nTcp: 1 500 42 0\n";
        assert_eq!(retransmitted_in(snmp), Some(42));
        for bad in ["", "Tcp: RetransSegs\n", "Tcp: A B\nTcp: 1 2\n", "Tcp: RetransSegs\nTcp: x\n"]
        {
            assert_eq!(retransmitted_in(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_open_and_worked_is_seen() {
        let mut own = Own::start();
        let files: Vec<_> = (0..20).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        own.look();
        let mut work = 0u64;
        while own.used().cpu_us < 1000 {
            work = work.wrapping_mul(31).wrapping_add(1);
        }
        assert!(own.used().descriptors_most >= files.len() as u64, "{work}");
        assert!(own.used().descriptors_limit > 20);
    }
}
