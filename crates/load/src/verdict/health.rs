//! Whether the generator was the bottleneck: then the numbers say nothing of the server. A limit of connections is none
//! of its faults, since senders have one too; it is the plan's, what waits for it counts against the server, and only
//! advice is given.

use serde::Serialize;

/// How the generator did. What is not known is zero or empty, and not judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Health {
    /// Arrivals that had a planned start; zero in the closed mode, which cannot be late.
    pub planned: u64,
    /// What 99 % of the arrivals were not later than, microseconds from the planned start until the generator came to it.
    pub lateness_p99_us: Option<u64>,
    /// Share of its core's time, 0 to 1, that each worker used.
    pub cpu_shares: Vec<f64>,
    /// Open files at most.
    pub descriptors_used: u64,
    /// How many there may be.
    pub descriptors_limit: u64,
    /// Times there were none left (EMFILE, ENFILE).
    pub descriptors_exhausted: u64,
    /// Times no source port was left (EADDRNOTAVAIL).
    pub ports_exhausted: u64,
    /// Connections at most at a time.
    pub connections_used: u64,
    /// How many the plan allows; zero for no limit.
    pub connections_limit: u64,
}

/// The server's side of it, which tells whether a symptom matters.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Context {
    /// Median response time, microseconds.
    pub response_p50_us: Option<u64>,
    /// Median service time, microseconds.
    pub service_p50_us: Option<u64>,
    /// What 99 % of the arrivals did not wait longer than for a connection, microseconds.
    pub queue_wait_p99_us: Option<u64>,
    /// Arrivals that could not start.
    pub not_started: u64,
}

/// Something about the generator, and what helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What was seen.
    pub reason: String,
    /// What to do.
    pub advice: String,
    /// Whether it makes the result invalid.
    pub is_invalid: bool,
}

impl Health {
    /// What is to be said, the worst first.
    pub fn judge(&self, context: &Context) -> Vec<Advice> {
        let mut all: Vec<Advice> = [
            self.lateness(context.response_p50_us),
            self.cpu(),
            self.descriptors(),
            self.ports(),
            self.connections(context),
        ]
        .into_iter()
        .flatten()
        .collect();
        all.sort_by_key(|advice| !advice.is_invalid);
        all
    }

    /// Late is what shows in the result: 10 ms do anywhere, less where responses are short themselves.
    fn lateness(&self, response_p50_us: Option<u64>) -> Option<Advice> {
        let late_us = self.lateness_p99_us.filter(|_| self.planned > 0)?;
        let is_visible = response_p50_us.is_some_and(|p50| late_us > p50 / 10);
        let is_late = late_us > LATE_US || (late_us > LATE_IF_VISIBLE_US && is_visible);
        is_late.then(|| Advice {
            reason: format!(
                "the generator could not keep its plan: messages began {} late or more, and not just a few",
                super::text::time(late_us as f64)
            ),
            advice: "ask for a lower rate or fewer TLS handshakes (--messages-per-connection), or \
                     divide the plan among machines (--shard)"
                .to_owned(),
            is_invalid: true,
        })
    }

    fn cpu(&self) -> Option<Advice> {
        let worst = self.cpu_shares.iter().copied().filter(|share| share.is_finite());
        let worst = worst.fold(0.0, f64::max);
        (worst > BUSY_SHARE).then(|| Advice {
            reason: format!(
                "a worker of the generator was busy {:.0} % of the time",
                (worst * 100.0).min(100.0)
            ),
            advice: "give it more cores, or divide the plan among machines (--shard)".to_owned(),
            is_invalid: true,
        })
    }

    fn descriptors(&self) -> Option<Advice> {
        let Self { descriptors_used: used, descriptors_limit: limit, .. } = *self;
        let is_invalid = self.descriptors_exhausted > 0;
        let is_near = limit > 0 && used as f64 >= NEAR_SHARE * limit as f64;
        (is_invalid || is_near).then(|| Advice {
            reason: if is_invalid {
                format!(
                    "there were no open files left {} times (the limit is {limit})",
                    self.descriptors_exhausted
                )
            } else {
                format!("{used} of {limit} open files were in use")
            },
            advice: "raise the limit (ulimit -n), or ask for fewer --connections".to_owned(),
            is_invalid,
        })
    }

    /// A few among very many do not move what is judged.
    fn ports(&self) -> Option<Advice> {
        let count = self.ports_exhausted;
        let bearable = self.planned as f64 * BEARABLE_SHARE;
        (count > 0).then(|| Advice {
            reason: format!("there was no source port left {count} times"),
            advice: "send more on each connection (--messages-per-connection), or from more \
                     addresses (--source)"
                .to_owned(),
            is_invalid: count as f64 > bearable,
        })
    }

    fn connections(&self, context: &Context) -> Option<Advice> {
        let Self { connections_used: used, connections_limit: limit, .. } = *self;
        let is_at_limit = limit > 0 && used >= limit;
        // Waiting for a connection longer than a message takes on one.
        let least_us = context.service_p50_us.unwrap_or(0).max(LATE_US);
        let is_waiting = context.queue_wait_p99_us.is_some_and(|us| us > least_us);
        (is_at_limit && (is_waiting || context.not_started > 0)).then(|| Advice {
            reason: format!(
                "messages waited for one of the {limit} connections, or did not get one ({} of them)",
                context.not_started
            ),
            advice: "this counts against the server, as it would for a sender with as many; if \
                     yours have more, allow more --connections"
                .to_owned(),
            is_invalid: false,
        })
    }
}

const LATE_US: u64 = 10_000;
/// Where it is more than a tenth of the median response time.
const LATE_IF_VISIBLE_US: u64 = 2_000;
const BUSY_SHARE: f64 = 0.9;
const NEAR_SHARE: f64 = 0.95;
/// Of the planned arrivals.
const BEARABLE_SHARE: f64 = 0.0001;

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        Health {
            planned: 100_000,
            lateness_p99_us: Some(500),
            cpu_shares: vec![0.4, 0.6],
            descriptors_used: 300,
            descriptors_limit: 1024,
            descriptors_exhausted: 0,
            ports_exhausted: 0,
            connections_used: 50,
            connections_limit: 100,
        }
    }

    /// `None` if nothing was said, otherwise whether it makes the result invalid.
    fn judged(health: &Health, context: &Context) -> Option<bool> {
        let all = health.judge(context);
        assert!(all.len() <= 1, "{all:?}");
        all.first().map(|advice| advice.is_invalid)
    }

    #[test]
    fn each_symptom_has_its_threshold() {
        let p50 = |us| Context { response_p50_us: Some(us), ..Context::default() };
        let late = |us| Health { lateness_p99_us: Some(us), ..healthy() };
        let none = Context::default();
        let cpu = |share| Health { cpu_shares: vec![0.1, share], ..healthy() };
        let files = |used, limit, exhausted| Health {
            descriptors_used: used,
            descriptors_limit: limit,
            descriptors_exhausted: exhausted,
            ..healthy()
        };
        let ports = |ports_exhausted| Health { ports_exhausted, ..healthy() };
        for (what, health, context, expected) in [
            ("healthy", healthy(), p50(1_000), None),
            ("late by 10 ms", late(10_000), p50(1_000_000), None),
            ("late by more", late(10_001), p50(1_000_000), Some(true)),
            ("late beside short responses", late(2_001), p50(20_000), Some(true)),
            ("late beside long ones", late(2_001), p50(20_010), None),
            ("hardly late beside very short ones", late(2_000), p50(100), None),
            ("late without responses", late(9_000), none, None),
            ("closed", Health { planned: 0, ..late(1_000_000) }, none, None),
            ("not known", Health::default(), none, None),
            ("busy", cpu(0.91), none, Some(true)),
            ("not busy", cpu(0.9), none, None),
            ("no number", cpu(f64::NAN), none, None),
            ("files near their end", files(973, 1024, 0), none, Some(false)),
            ("files enough", files(972, 1024, 0), none, None),
            ("files exhausted", files(1024, 1024, 1), none, Some(true)),
            ("ports exhausted", ports(11), none, Some(true)),
            ("a port or two", ports(10), none, Some(false)),
        ] {
            assert_eq!(judged(&health, &context), expected, "{what}");
        }
        assert_eq!(judged(&Health { planned: 0, ..ports(1) }, &none), Some(true));
    }

    #[test]
    fn a_limit_of_connections_is_part_of_the_plan() {
        let full = Health { connections_used: 100, ..healthy() };
        let context = |wait, not_started| Context {
            response_p50_us: Some(60_000),
            service_p50_us: Some(20_000),
            queue_wait_p99_us: Some(wait),
            not_started,
        };
        for (health, context, expected) in [
            (&full, context(20_001, 0), Some(false)),
            (&full, context(20_000, 0), None),
            (&full, context(0, 5), Some(false)),
            (&healthy(), context(900_000, 5), None),
            (&Health { connections_limit: 0, ..full.clone() }, context(900_000, 5), None),
        ] {
            assert_eq!(judged(health, &context), expected, "{health:?} {context:?}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_options_are_named() {
        let health = Health {
            descriptors_used: 1000,
            ports_exhausted: 1000,
            lateness_p99_us: Some(50_000),
            ..healthy()
        };
        let all = health.judge(&Context::default());
        assert_eq!(all.iter().map(|a| a.is_invalid).collect::<Vec<_>>(), [true, true, false]);
        assert!(all[0].reason.contains("50.0 ms") && all[0].advice.contains("--shard"), "{all:?}");
        assert!(all[1].advice.contains("--source"), "{all:?}");
    }
}
