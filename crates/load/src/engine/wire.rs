//! How sessions speak, and with whom: what is drawn anew for each connection.

use std::net::IpAddr;
use std::sync::Arc;

use smtp::client::{Endpoint, Options, Secure};
use smtp::sasl::{Credentials, Mechanism};

use crate::random::Random;

/// How sessions speak.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Where servers listen, in the order in which a sender tries them; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Addresses to connect from, one after the other; empty: the kernel's choice.
    pub sources: Vec<IpAddr>,
    /// What all connections have in common; its TLS and AUTH are replaced.
    pub options: Options,
    /// TLS, if some connections are to have it.
    pub tls: Option<TlsShares>,
    /// Who we are: one after the other, each with each mechanism; empty: nobody.
    pub auth: Vec<(Mechanism, Credentials)>,
}

/// Which connections have TLS.
#[derive(Debug, Clone)]
pub struct TlsShares {
    /// Of all connections, 0 to 1.
    pub share: f64,
    /// Of those, the ones that resume an earlier session, 0 to 1.
    pub resumed: f64,
    /// For a full handshake: it resumes nothing.
    pub full: Secure,
    /// For one that resumes where the server lets it.
    pub resuming: Secure,
}

/// What a connection is.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) options: Arc<Options>,
    pub(super) source: Option<IpAddr>,
}

/// Draws connections: variants of the options are made once.
#[derive(Debug)]
pub(super) struct Connections {
    /// By TLS (none, full, resuming) and then by who we are.
    variants: [Vec<Arc<Options>>; 3],
    share: f64,
    resumed: f64,
    sources: Vec<IpAddr>,
    random: Random,
    count: usize,
}

impl Connections {
    pub(super) fn new(wire: &Wire, seed: u64, worker: usize) -> Self {
        let secured = |secure: Option<&Secure>| {
            let mut options = wire.options.clone();
            options.tls = secure.cloned();
            let with = |auth: Option<&(Mechanism, Credentials)>| {
                Arc::new(Options { auth: auth.cloned(), ..options.clone() })
            };
            match wire.auth.as_slice() {
                [] => vec![with(None)],
                all => all.iter().map(|one| with(Some(one))).collect(),
            }
        };
        let tls = wire.tls.as_ref();
        Self {
            variants: [
                secured(None),
                secured(tls.map(|tls| &tls.full)),
                secured(tls.map(|tls| &tls.resuming)),
            ],
            share: tls.map_or(0.0, |tls| tls.share),
            resumed: tls.map_or(0.0, |tls| tls.resumed),
            sources: wire.sources.clone(),
            random: Random::new(seed, CONNECTIONS ^ worker as u64),
            // Workers that begin at one place would use the same addresses at the same time.
            count: worker,
        }
    }

    pub(super) fn draw(&mut self) -> Drawn {
        let is_tls = self.random.chance(self.share);
        let kind = match (is_tls, self.random.chance(self.resumed)) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        let variants = &self.variants[kind];
        let options = Arc::clone(&variants[self.count % variants.len()]);
        let sources = self.sources.len().max(1);
        let source = self.sources.get(self.count % sources).copied();
        self.count = self.count.wrapping_add(1);
        Drawn { options, source }
    }
}

/// The stream of random numbers for connections, away from those of messages.
const CONNECTIONS: u64 = 1 << 63;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// To nobody.
    pub(in crate::engine) fn wire() -> Wire {
        let options = Options::new("client.test");
        Wire { endpoints: Vec::new(), sources: Vec::new(), options, tls: None, auth: Vec::new() }
    }

    #[test]
    fn sources_and_users_are_drawn_in_turn() {
        let user =
            |name: &str| Credentials { user: name.into(), secret: "x".into(), authorize_as: None };
        let mut wire = wire();
        wire.sources = vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        wire.auth = vec![(Mechanism::Plain, user("a")), (Mechanism::Login, user("b"))];
        let mut connections = Connections::new(&wire, 1, 0);
        let drawn: Vec<_> = (0..4)
            .map(|_| connections.draw())
            .map(|drawn| {
                (drawn.source, drawn.options.auth.as_ref().map(|auth| auth.1.user.clone()))
            })
            .collect();
        assert_eq!(drawn[0], drawn[2]);
        assert_eq!(drawn[1], drawn[3]);
        assert_ne!(drawn[0].0, drawn[1].0);
        assert_ne!(drawn[0].1, drawn[1].1);
    }
}
