//! What a generator may claim, by what its peer saw. The peer cannot know what a command took on its way, but it knows
//! between which two of its own instants all of it lay: bounds that hold however busy the machine is, and that are as
//! close together as the machine is quiet.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::peer::{Phase, Session};

/// For each of a number of waits the least and the most that it can have taken.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    least: Vec<Duration>,
    most: Vec<Duration>,
}

impl Bounds {
    pub(crate) fn add(&mut self, least: Duration, most: Duration) {
        self.least.push(least);
        self.most.push(most);
    }

    /// Of all exchanges of a kind: from the answer before to the command after there is no more than the wait itself and
    /// what both were on their way. `after` is when the last exchange of a session was over for certain.
    pub(crate) fn of(phase: Phase, sessions: &[Session], after: Instant) -> Self {
        let mut bounds = Self::default();
        for (at, session) in sessions.iter().enumerate() {
            let next = sessions.get(at + 1).map_or(after, |next| next.exchanges[0].heard);
            for (at, exchange) in session.exchanges.iter().enumerate().skip(1) {
                if exchange.phase == phase {
                    let before = session.exchanges[at - 1].said;
                    let after = session.exchanges.get(at + 1).map_or(next, |after| after.heard);
                    bounds.add(exchange.said - exchange.heard, after - before);
                }
            }
        }
        bounds
    }

    /// From MAIL to the answer to the body, as [`Bounds::of`].
    pub(crate) fn of_service(sessions: &[Session], after: Instant) -> Self {
        let mut bounds = Self::default();
        for session in sessions {
            let exchanges = &session.exchanges;
            let mut begun = 0;
            for (at, exchange) in exchanges.iter().enumerate() {
                match exchange.phase {
                    Phase::Mail => begun = at,
                    Phase::Body => bounds.add(
                        exchange.said - exchanges[begun].heard,
                        exchanges.get(at + 1).map_or(after, |after| after.heard)
                            - exchanges[begun - 1].said,
                    ),
                    _ => {}
                }
            }
        }
        bounds
    }

    pub(crate) fn count(&self) -> usize {
        self.least.len()
    }

    /// The least that the share's percentile can be.
    pub(crate) fn least_at(&self, share: f64) -> Duration {
        percentile(&self.least, share)
    }

    /// Insists that a summary (microseconds) lies within, at every percentile and in the mean.
    #[track_caller]
    pub(crate) fn hold(&self, summary: &Value, what: &str) {
        assert_eq!(summary["count"], self.count(), "{what}");
        for (name, share) in SHARES {
            let claimed = summary[name].as_f64().unwrap();
            Self::hold_one(
                claimed,
                percentile(&self.least, share),
                percentile(&self.most, share),
                &format!("{what} {name}"),
            );
        }
        let mean = |all: &[Duration]| all.iter().sum::<Duration>() / all.len() as u32;
        let claimed = summary["mean"].as_f64().unwrap();
        Self::hold_one(claimed, mean(&self.least), mean(&self.most), &format!("{what} mean"));
    }

    #[track_caller]
    fn hold_one(claimed_us: f64, least: Duration, most: Duration, what: &str) {
        let (least, most) = (us(least), us(most));
        // Three digits are what histograms keep, and whole microseconds.
        let is_within = claimed_us >= least * 0.999 - 1.0 && claimed_us <= most * 1.001 + 1.0;
        assert!(is_within, "{what}: {claimed_us} us is claimed, it was {least} to {most} us");
        let error = (claimed_us - least).abs();
        // Shown where the test fails.
        eprintln!(
            "{what}: {claimed_us} us, {:.3} % ({error:.0} us) off",
            error / least.max(1.0) * 100.0
        );
    }
}

/// The nearest rank.
pub(crate) fn percentile(all: &[Duration], share: f64) -> Duration {
    let mut all = all.to_vec();
    all.sort_unstable();
    all[(share * all.len() as f64).ceil() as usize - 1]
}

pub(crate) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) const SHARES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];
