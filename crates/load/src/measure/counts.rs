//! How often things happened. Plain data that adds up.

use serde::{Deserialize, Serialize};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often things happened.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Adds others; a count that would overflow stays at its limit.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }
    };
}

counts! {
    /// Messages whose first attempt began.
    started,
    /// Messages that a server took for at least one recipient.
    accepted,
    /// Messages that were refused for good.
    refused,
    /// Messages that were put off until no attempt was left.
    deferred,
    /// Messages that no server answered.
    failed,
    /// Messages whose end was sent and not answered: none or one may be there.
    unknown,
    /// Attempts after the first.
    retried,
    /// Recipients that a server took a message for.
    recipients_accepted,
    /// Recipients that were refused or put off, once for each attempt.
    recipients_refused,
    /// Recipients that may have the message, or not.
    recipients_unknown,
    /// Copies that were seen where mail arrives.
    delivered,
    /// Bytes of the messages that were taken.
    bytes,
    /// Connections that came to be.
    connections,
    /// Connections that did not, or whose session ended before it could take mail.
    connections_failed,
    /// Times that this machine had no port left for a connection.
    ports_exhausted,
    /// Times that it had no descriptor left.
    descriptors_exhausted,
    /// Connections that had ended when the next message was to go over them.
    reconnects,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_adds_up_and_none_overflows() {
        let one = serde_json::to_value(Counts::default()).unwrap();
        let names: Vec<String> = one.as_object().unwrap().keys().cloned().collect();
        for name in names {
            let with = |n: u64| {
                let mut counts = one.clone();
                counts[&name] = n.into();
                serde_json::from_value::<Counts>(counts).unwrap()
            };
            for (a, b, sum) in [(2, 3, 5), (u64::MAX, 1, u64::MAX)] {
                let mut counts = with(a);
                counts.add(&with(b));
                assert_eq!(counts, with(sum), "{name}");
            }
        }
    }
}
