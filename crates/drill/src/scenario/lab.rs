//! The lab of a scenario: servers, disks and a network that the drill makes for itself, and which end with it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Probe;

/// Servers that the drill makes for itself, in a folder of its own: `${lab}`. They end with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Lab {
    /// The drill's own address in a network that it makes for itself and its nodes: `10.77.0.1/24`. Needs root.
    pub network: Option<String>,
    /// Machines in that network, by name, with their addresses: the first is its own, others may move.
    #[serde(default)]
    pub nodes: BTreeMap<String, Vec<String>>,
    /// Disks of its own, by the name of their folder in it: they can be full without harm. Needs root.
    #[serde(default)]
    pub disks: BTreeMap<String, Disk>,
    /// Whether servers of other users must be able to reach it: then no folder above it may be closed to them.
    #[serde(default)]
    pub shared: bool,
    /// Ports that the kernel chooses: `${port.NAME}`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Folders in it, by their path.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Files in it, by their path. `$${` in them is a `${` for whoever reads them.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Proxies that can break what passes through them, by name. They are of this process, and need no root.
    #[serde(default)]
    pub proxies: BTreeMap<String, ProxyAt>,
    /// Programs that prepare it, one after the other.
    #[serde(default)]
    pub prepare: Vec<Vec<String>>,
    /// Programs that run as long as it does, by name.
    #[serde(default)]
    pub processes: BTreeMap<String, Process>,
}

/// A small disk, in memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// As `load --size` takes it: `64M`.
    pub size: String,
    /// How many files it can hold.
    pub inodes: Option<u64>,
}

impl Lab {
    /// Whether it lives in a network and among disks that this machine does not see, which only root can make.
    pub fn is_apart(&self) -> bool {
        self.network.is_some() || !self.nodes.is_empty() || !self.disks.is_empty()
    }
}

/// Where a proxy stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProxyAt {
    /// Where it listens: `ADDRESS:PORT`.
    pub listen: String,
    /// Whom it calls: `ADDRESS:PORT`.
    pub to: String,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// It and its arguments; `mailrig` is this program.
    pub run: Vec<String>,
    /// The node in which it runs; without it: beside the drill.
    pub node: Option<String>,
    /// Its environment besides.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The library of libfaketime, when a step is to set the clock that it sees.
    pub clock: Option<String>,
    /// It is there when this is true.
    pub ready: Probe,
    /// Whether it starts with the lab; otherwise a step starts it.
    #[serde(default = "yes")]
    pub starts: bool,
    /// What ends it, at the end.
    #[serde(default = "terminate")]
    pub stop: Signal,
}

/// A signal that ends a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Signal {
    /// It may end what it is at.
    #[serde(rename = "TERM")]
    Term,
    /// As at a terminal.
    #[serde(rename = "INT")]
    Int,
    /// At once.
    #[serde(rename = "KILL")]
    Kill,
}

fn yes() -> bool {
    true
}

fn terminate() -> Signal {
    Signal::Term
}
