//! How much one client may send: messages a minute, and connections at one time, by its address. A bucket that
//! fills slowly, so that a burst of a minute's worth is let through.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What one client may do; `None`: as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages a minute.
    pub messages_per_minute: Option<u32>,
    /// Connections at one time.
    pub connections: Option<u32>,
}

/// What clients have done.
#[derive(Debug)]
pub(super) struct Clients {
    rates: Rates,
    clients: Mutex<HashMap<IpAddr, Client>>,
}

#[derive(Debug)]
struct Client {
    /// Messages that it may send now.
    messages: f64,
    at: Instant,
    connections: u32,
}

impl Clients {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, clients: Mutex::default() }
    }

    /// Counts a connection, unless it is one too many.
    pub(super) fn connects(&self, peer: IpAddr) -> bool {
        let Some(most) = self.rates.connections else { return true };
        self.with(peer, |client| {
            let is_allowed = client.connections < most;
            client.connections += u32::from(is_allowed);
            is_allowed
        })
    }

    /// One that was counted is over.
    pub(super) fn disconnects(&self, peer: IpAddr) {
        if self.rates.connections.is_some() {
            self.with(peer, |client| client.connections = client.connections.saturating_sub(1));
        }
    }

    /// Counts a message, unless it is one too many.
    pub(super) fn sends(&self, peer: IpAddr) -> bool {
        let Some(most) = self.rates.messages_per_minute.map(f64::from) else { return true };
        self.with(peer, |client| {
            let now = Instant::now();
            let filled = now.duration_since(client.at).as_secs_f64() / 60.0 * most;
            client.messages = (client.messages + filled).min(most);
            client.at = now;
            let is_allowed = client.messages >= 1.0;
            client.messages -= f64::from(u8::from(is_allowed));
            is_allowed
        })
    }

    fn with<T>(&self, peer: IpAddr, act: impl FnOnce(&mut Client) -> T) -> T {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS_MAX {
            // Who has been away for a minute may send as much as one who was never here.
            clients
                .retain(|_, client| client.connections > 0 || client.at.elapsed().as_secs() < 60);
        }
        let messages = f64::from(self.rates.messages_per_minute.unwrap_or_default());
        let new = || Client { messages, at: Instant::now(), connections: 0 };
        act(clients.entry(peer).or_insert_with(new))
    }
}

/// When so many are known, those that have gone are forgotten.
const CLIENTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_measure() {
        let rates = Rates { messages_per_minute: Some(3), connections: Some(2) };
        let clients = Clients::new(rates);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        assert_eq!([(); 4].map(|()| clients.sends(one)), [true, true, true, false]);
        assert!(clients.sends(other));
        assert_eq!([(); 3].map(|()| clients.connects(one)), [true, true, false]);
        clients.disconnects(one);
        assert!(clients.connects(one) && clients.connects(other));
        let free = Clients::new(Rates::default());
        assert!((0..1000).all(|_| free.sends(one) && free.connects(one)));
    }

    #[test]
    fn who_waits_may_send_again() {
        let clients = Clients::new(Rates { messages_per_minute: Some(60_000), connections: None });
        let one = "192.0.2.1".parse().unwrap();
        while clients.sends(one) {}
        let start = Instant::now();
        while !clients.sends(one) {
            assert!(start.elapsed().as_secs() < 10, "never again");
        }
    }
}
