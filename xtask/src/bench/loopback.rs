//! What the benchmarks over loopback have in common: the sinks, how messages are sent, and Postfix's smtp-source.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::tools;

/// How messages are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) sessions: u32,
    pub(super) is_reused: bool,
}

/// Who takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Postfix,
    Ours,
}

/// A server that is killed at the end.
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) port: u16,
}

impl Server {
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a sink; `more` are options of our own.
pub(super) fn serve(sink: Sink, more: &[&str], work: &Path) -> Result<Server> {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let command = match sink {
        Sink::Postfix => {
            let mut command = Command::new("/usr/sbin/smtp-sink");
            // It wants to know whom to become, and how many may wait to be let in.
            command.args(["-u", "nobody", "-c", &address, "1000"]);
            command
        }
        Sink::Ours => {
            let mut command = Command::new(tools::program());
            command.args(["serve", "--quiet", "--sink", "--smtp", &address]).args(more);
            command
        }
    };
    start(command, port, work)
}

pub(super) fn start(mut command: Command, port: u16, work: &Path) -> Result<Server> {
    let output = fs::File::create(work.join("server"))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let mut server = Server { child, port };
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = server.child.try_wait()? {
            let said = fs::read_to_string(work.join("server")).unwrap_or_default();
            bail!("{command:?} ended: {status}\n{said}");
        }
        ensure!(started.elapsed() < Duration::from_secs(20), "{command:?} does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}

/// The most memory that a running process has had, in MB.
pub(super) fn peak_mb(server: &Server) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak_kb = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).context("no VmHWM")?;
    Ok(peak_kb.trim().parse::<f64>()? / 1024.0)
}

/// smtp-source with 4 KiB of text in each message.
pub(super) fn smtp_source(load: Load, server: &Server, messages: u32) -> Vec<OsString> {
    let (sessions, count) = (load.sessions.to_string(), messages.to_string());
    let mut args = vec!["/usr/sbin/smtp-source", "-s", &sessions, "-m", &count];
    args.extend(["-l", "4096", "-f", "from@source.test", "-t", "to@sink.test"]);
    args.extend(load.is_reused.then_some("-d"));
    let address = format!("inet:{}", server.address());
    args.push(&address);
    args.into_iter().map(OsString::from).collect()
}

pub(super) fn logs(work: &Path) -> Result<PathBuf> {
    let logs = work.join("logs");
    fs::create_dir_all(&logs)?;
    Ok(logs)
}

pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

pub(super) fn describe(load: Load) -> String {
    let Load { sessions, is_reused } = load;
    let kind = if is_reused { "reused" } else { "fresh" };
    format!("{sessions} {}, {kind}", if sessions == 1 { "session" } else { "sessions" })
}

pub(super) const LOADS: [Load; 6] = [
    Load { sessions: 1, is_reused: false },
    Load { sessions: 1, is_reused: true },
    Load { sessions: 10, is_reused: false },
    Load { sessions: 10, is_reused: true },
    Load { sessions: 50, is_reused: false },
    Load { sessions: 50, is_reused: true },
];
