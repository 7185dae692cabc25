//! How hard a server may be loaded without saying so twice: a typing error in a rate should cost nobody their evening.

use std::time::Duration;

use super::{Reach, Refusal};

/// What a plan asks of a server at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// Arrivals per second at its highest; `None` is as fast as it goes.
    pub peak_per_s: Option<f64>,
    /// How long; `None` is until a number of messages is through.
    pub duration: Option<Duration>,
    /// Connections at a time.
    pub connections: u64,
}

/// Whether a plan is small enough to be no accident. This machine only hurts itself, and benches need its full throttle;
/// another host is shared with others more often than its owner thinks. `yes_really` lifts every ceiling.
pub fn check_ceiling(ask: &Ask, reach: Reach, yes_really: bool) -> Result<(), Refusal> {
    if yes_really {
        return Ok(());
    }
    let ceiling = match reach {
        Reach::Loopback => &ON_LOOPBACK,
        Reach::Owned => &ELSEWHERE,
    };
    let refuse = |asked: String, most: String| {
        Err(Refusal::Ceiling { asked, ceiling: most, place: ceiling.place })
    };
    let most = || format!("{}/s", ceiling.per_s);
    match ask.peak_per_s {
        None if !ceiling.is_open_ended_fine => {
            return refuse("as fast as it goes".to_owned(), most());
        }
        Some(peak) if peak.is_nan() || peak > ceiling.per_s => {
            return refuse(format!("{peak}/s"), most());
        }
        _ => {}
    }
    let most = || format!("{} h", ceiling.hours);
    match ask.duration {
        None if !ceiling.is_open_ended_fine => {
            return refuse("a run without an end in time".to_owned(), most());
        }
        Some(duration) if duration > Duration::from_secs(ceiling.hours * 3600) => {
            return refuse(format!("{:.1} h", duration.as_secs_f64() / 3600.0), most());
        }
        _ => {}
    }
    if ask.connections > ceiling.connections {
        let most = format!("{} connections", ceiling.connections);
        return refuse(format!("{} connections", ask.connections), most);
    }
    Ok(())
}

/// The highest rate without saying so twice.
pub fn most_per_s(reach: Reach) -> f64 {
    match reach {
        Reach::Loopback => ON_LOOPBACK.per_s,
        Reach::Owned => ELSEWHERE.per_s,
    }
}

struct Ceiling {
    per_s: f64,
    hours: u64,
    connections: u64,
    is_open_ended_fine: bool,
    place: &'static str,
}

const ON_LOOPBACK: Ceiling = Ceiling {
    per_s: 100_000.0,
    hours: 24,
    connections: 25_000,
    is_open_ended_fine: true,
    place: " on this machine",
};

const ELSEWHERE: Ceiling = Ceiling {
    per_s: 500.0,
    hours: 4,
    connections: 1_000,
    is_open_ended_fine: false,
    place: " for another host",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_lower_elsewhere_and_lifted_on_request() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let ask = |peak_per_s, duration, connections| Ask { peak_per_s, duration, connections };
        for (ask, here, elsewhere) in [
            (ask(Some(500.0), hours(4), 1_000), true, true),
            (ask(Some(500.1), hours(4), 1_000), true, false),
            (ask(Some(500.0), hours(5), 1_000), true, false),
            (ask(Some(500.0), hours(4), 1_001), true, false),
            (ask(None, hours(1), 10), true, false),
            (ask(Some(1.0), None, 10), true, false),
            (ask(Some(100_000.0), hours(24), 25_000), true, false),
            (ask(Some(100_001.0), hours(1), 10), false, false),
            (ask(Some(1.0), Some(Duration::MAX), 10), false, false),
            (ask(Some(1.0), hours(1), u64::MAX), false, false),
            (ask(Some(f64::NAN), hours(1), 10), false, false),
            (ask(Some(f64::INFINITY), hours(1), 10), false, false),
        ] {
            let is_fine = |reach| check_ceiling(&ask, reach, false).is_ok();
            assert_eq!(
                (is_fine(Reach::Loopback), is_fine(Reach::Owned)),
                (here, elsewhere),
                "{ask:?}"
            );
            assert!(check_ceiling(&ask, Reach::Owned, true).is_ok());
        }
        let over = check_ceiling(&ask(Some(501.0), hours(1), 1), Reach::Owned, false).unwrap_err();
        assert_eq!(
            over.to_string(),
            "501/s is above the ceiling of 500/s for another host; ask for less, or add --yes-really"
        );
    }
}
