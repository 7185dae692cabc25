//! What a scenario can break: processes, proxies, networks, disks and clocks of its own or of its roles. Each is mended at
//! the end, and can be mended before.

use serde::Deserialize;

use super::Span;
use crate::proxy::{Mode, Rule};

/// Something that is broken. Each is mended at the end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Kills a process of the lab with all that it has started (SIGKILL), as when its machine loses power.
    Kill(String),
    /// Ends a process of the lab as its administrator would.
    Stop(String),
    /// Freezes a process of the lab with all that it has started (SIGSTOP): it listens, and answers nothing.
    #[serde(alias = "freeze")]
    Pause(String),
    /// Lets a frozen process go on.
    Resume(String),
    /// Lets a proxy of the lab break what its rules say, or takes that back.
    Proxy(ProxyFault),
    /// Spoils the network of a role or node, or takes that back.
    Network(NetworkFault),
    /// Fills the disk of a folder.
    Fill(Fill),
    /// Takes away what fills the disk of a folder.
    Empty(String),
    /// Sets the clock that a process of the lab sees.
    Clock(Clock),
}

/// What is wrong with a network from now on; nothing of what was before is left, and without anything it is mended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkFault {
    /// The role or node at whose machine.
    pub of: String,
    /// Roles, nodes or addresses at the other end; none: everybody.
    #[serde(default)]
    pub from: Vec<String>,
    /// Ports, of either end; none: all. `[53]` is a DNS that fails.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Nothing passes.
    #[serde(default)]
    pub drop: bool,
    /// So many of 100 packets do not pass.
    pub loss_percent: Option<u8>,
    /// TCP connections are reset.
    #[serde(default)]
    pub reset: bool,
    /// What is sent leaves so much later (tc-netem(8)).
    pub latency: Option<Span>,
    /// By so much more or less.
    pub jitter: Option<Span>,
    /// The way out of that machine; a node's is `eth0`.
    pub interface: Option<String>,
}

impl NetworkFault {
    /// Whether packets take longer.
    pub(crate) fn breaks_time(&self) -> bool {
        self.latency.is_some() || self.jitter.is_some()
    }

    /// Whether all is well again.
    pub fn is_mended(&self) -> bool {
        !self.drop && !self.reset && self.loss_percent.is_none() && !self.breaks_time()
    }
}

/// A disk that is full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// A folder on it, in the file system of the drill.
    pub folder: String,
    /// What is left of it, in bytes (`64K`), or in files.
    #[serde(default = "nothing")]
    pub leave: String,
    /// Whether files run out, not bytes.
    #[serde(default)]
    pub inodes: bool,
}

/// A clock that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The process of the lab, which must have `clock`.
    pub process: String,
    /// From now on it is so much ahead, as libfaketime takes it: `+1h`, `-2d`, `+0`.
    pub offset: String,
}

/// What a proxy does from now on; nothing of what it did before is left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProxyFault {
    /// Which.
    pub name: String,
    /// What it breaks; none: nothing.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What becomes of connections.
    #[serde(default)]
    pub mode: Mode,
}

impl ProxyFault {
    /// Whether all passes again.
    pub fn is_mended(&self) -> bool {
        self.rules.is_empty() && self.mode == Mode::Pass
    }
}

impl Fault {
    /// Whether it is none that mends.
    pub(super) fn breaks(&self) -> bool {
        match self {
            Fault::Resume(_) | Fault::Empty(_) => false,
            Fault::Proxy(fault) => !fault.is_mended(),
            Fault::Network(fault) => !fault.is_mended(),
            Fault::Clock(clock) => clock.offset != "+0",
            Fault::Kill(_) | Fault::Stop(_) | Fault::Pause(_) | Fault::Fill(_) => true,
        }
    }
}

impl std::fmt::Display for Fault {
    /// For people, without what stands in variables.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Kill(name) => write!(f, "kill {name}"),
            Fault::Stop(name) => write!(f, "stop {name}"),
            Fault::Pause(name) => write!(f, "freeze {name}"),
            Fault::Resume(name) => write!(f, "let {name} go on"),
            Fault::Proxy(fault) if fault.is_mended() => {
                write!(f, "let all pass at {} again", fault.name)
            }
            Fault::Proxy(ProxyFault { name, mode: Mode::Down, .. }) => {
                write!(f, "refuse connections at {name}")
            }
            Fault::Proxy(ProxyFault { name, mode: Mode::BlackHole, .. }) => {
                write!(f, "let nothing pass at {name}")
            }
            Fault::Proxy(fault) => write!(f, "break what passes at {}", fault.name),
            Fault::Network(fault) => write!(f, "{fault}"),
            Fault::Fill(fill) => {
                let what = if fill.inodes { "use up the files of" } else { "fill" };
                write!(f, "{what} the disk of {}", fill.folder)
            }
            Fault::Empty(folder) => write!(f, "give the disk of {folder} its room again"),
            Fault::Clock(clock) => {
                write!(f, "set the clock of {} to {}", clock.process, clock.offset)
            }
        }
    }
}

impl std::fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = if self.from.is_empty() { "all others".into() } else { self.from.join(" and ") };
        if self.is_mended() {
            return write!(f, "let the network of {} work again", self.of);
        }
        if self.reset {
            write!(f, "reset connections between {} and {from}", self.of)?;
        } else if self.drop {
            write!(f, "cut {} off from {from}", self.of)?;
        } else if let Some(percent) = self.loss_percent {
            write!(f, "lose {percent} % of what passes between {} and {from}", self.of)?;
        }
        if let Some(latency) = self.latency {
            let is_more = self.reset || self.drop || self.loss_percent.is_some();
            let and = if is_more { ", and " } else { "" };
            write!(f, "{and}let {} answer {} later", self.of, crate::human(latency.0))?;
        }
        if !self.ports.is_empty() {
            let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
            write!(f, ", at port {}", ports.join(", "))?;
        }
        Ok(())
    }
}

fn nothing() -> String {
    "0".into()
}
