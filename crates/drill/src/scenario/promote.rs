//! How another role comes to serve: commands, an address that moves, a proxy that is told, a server that is started.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::Run;

/// Another role serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// Who serves from now on.
    pub to: String,
    /// Who does not any more.
    pub from: Option<String>,
    /// What makes it so, one after the other.
    #[serde(default)]
    pub run: Vec<Run>,
    /// An address that moves.
    pub address: Option<MovedAddress>,
    /// A proxy in front of both that is to send people elsewhere.
    pub haproxy: Option<Haproxy>,
    /// A mail server that is to run there.
    pub start: Option<Start>,
    /// Whether to look at all places then; what is out of sight is what RPO counts.
    #[serde(default = "yes")]
    pub survey: bool,
}

/// An address that goes from one role's machine to another's: it is taken away from the first, if that is named, given to
/// the second, and its neighbours are told (gratuitous ARP, by arping(8)).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MovedAddress {
    /// With its bits: `10.77.0.100/24`; of IPv4, whose neighbours arping(8) can tell.
    pub address: String,
    /// The interface, on both machines; a node's is `eth0`.
    #[serde(default = "interface")]
    pub interface: String,
    /// Whether the first one is out of reach, so that nothing is taken away from it.
    #[serde(default)]
    pub is_first_dead: bool,
}

impl MovedAddress {
    /// Whether it is one, where that is known already.
    pub(super) fn check(&self) -> Result<(), String> {
        let address = &self.address;
        let parts = address.split_once('/');
        let is_address = parts.is_some_and(|(alone, bits)| {
            alone.parse::<Ipv4Addr>().is_ok()
                && bits.parse().is_ok_and(|bits: u8| (1..=32).contains(&bits))
        });
        if is_address || address.contains("${") {
            return Ok(());
        }
        Err(format!("`{address}` is no IPv4 address with its bits, like 10.77.0.100/24"))
    }
}

/// A haproxy that is told by its admin socket who is to get connections.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Haproxy {
    /// Its admin socket: a path, or `HOST:PORT`.
    pub socket: String,
    /// Servers that get connections, as `BACKEND/SERVER`.
    #[serde(default)]
    pub ready: Vec<String>,
    /// Servers that get no more; those that are there are closed.
    #[serde(default)]
    pub maint: Vec<String>,
}

/// A mail server that is to run on the machine of the new role; it is stopped again at the end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Start {
    /// Postfix, with this configuration folder; what waits in its queue is tried at once.
    Postfix(String),
    /// Dovecot, with this configuration file.
    Dovecot(String),
    /// Exim, with this configuration file; what waits in its queue is tried at once.
    Exim(String),
}

fn interface() -> String {
    crate::nodes::INTERFACE.into()
}

fn yes() -> bool {
    true
}
