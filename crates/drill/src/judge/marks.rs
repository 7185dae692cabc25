//! When a service went, and when it came back: recovery time (RTO) by its definition, from the successes and failures
//! of probes and senders in the order of their time.

use serde::{Deserialize, Serialize};

/// The marks of one service after one incident, in microseconds from the start of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The incident.
    pub fault_us: u64,
    /// The first failure after it; none: nobody noticed.
    pub detected_us: Option<u64>,
    /// When whoever took over was ready; none: nobody did.
    pub promoted_us: Option<u64>,
    /// The first success after the first failure.
    pub first_ok_us: Option<u64>,
    /// The start of the first row of successes that was long enough.
    pub stable_us: Option<u64>,
    /// The last failure before it was stable.
    pub last_failure_us: Option<u64>,
    /// The last success.
    pub last_ok_us: Option<u64>,
    /// Failures after the incident.
    pub failures: u64,
    /// Successes after it.
    pub successes: u64,
}

impl Marks {
    /// From the incident until it was stable. A service that never failed took no time; one that was never asked, or did
    /// not come back, has none.
    pub fn rto_us(&self) -> Option<u64> {
        match self.detected_us {
            Some(_) => Some(self.stable_us?.saturating_sub(self.fault_us)),
            None if self.successes > 0 => Some(0),
            None => None,
        }
    }

    /// When it last answered, if nobody looked long enough after that to call it stable.
    pub fn answering_us(&self) -> Option<u64> {
        let last_ok_us = self.last_ok_us.filter(|_| self.stable_us.is_none())?;
        (Some(last_ok_us) > self.last_failure_us).then_some(last_ok_us)
    }
}

/// How long a row of successes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stable {
    /// So many.
    pub count: u32,
    /// And from the first to the last so long, in microseconds.
    pub length_us: u64,
}

/// Makes marks of what is told in the order of time.
#[derive(Debug, Clone)]
pub struct Clock {
    stable: Stable,
    marks: Marks,
    row_start_us: Option<u64>,
    row: u32,
    /// Failures since the last success.
    failing: u32,
    /// The last of all failures.
    failed_us: Option<u64>,
}

impl Clock {
    /// From an incident on.
    pub fn new(fault_us: u64, stable: Stable) -> Self {
        let marks = Marks { fault_us, ..Marks::default() };
        Self { stable, marks, row_start_us: None, row: 0, failing: 0, failed_us: None }
    }

    /// The incident happened later than it was asked for.
    pub fn happened(&mut self, fault_us: u64) {
        self.marks.fault_us = fault_us;
    }

    /// Somebody else serves; the first time counts.
    pub fn promoted(&mut self, t_us: u64) {
        self.marks.promoted_us.get_or_insert(t_us);
    }

    /// The service did what it is for, or did not.
    pub fn take(&mut self, t_us: u64, is_ok: bool) {
        let marks = &mut self.marks;
        if !is_ok {
            marks.failures += 1;
            self.failed_us = Some(t_us);
            marks.detected_us.get_or_insert(t_us);
            if marks.stable_us.is_none() {
                marks.last_failure_us = Some(t_us);
            }
            (self.row_start_us, self.row) = (None, 0);
            self.failing = self.failing.saturating_add(1);
            return;
        }
        marks.successes += 1;
        marks.last_ok_us = Some(t_us);
        self.failing = 0;
        if marks.detected_us.is_none() {
            return;
        }
        marks.first_ok_us.get_or_insert(t_us);
        let start_us = *self.row_start_us.get_or_insert(t_us);
        self.row = self.row.saturating_add(1);
        let is_long = t_us.saturating_sub(start_us) >= self.stable.length_us;
        if self.row >= self.stable.count && is_long {
            marks.stable_us.get_or_insert(start_us);
        }
    }

    /// What it came to. Who is away again at the end did not come back.
    pub fn marks(&self) -> Marks {
        let is_away = self.failing >= self.stable.count.max(2);
        match is_away {
            true => Marks { stable_us: None, last_failure_us: self.failed_us, ..self.marks },
            false => self.marks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STABLE: Stable = Stable { count: 3, length_us: 100 };

    fn marks(events: &[(u64, bool)]) -> Marks {
        let mut clock = Clock::new(1000, STABLE);
        events.iter().for_each(|(t, is_ok)| clock.take(*t, *is_ok));
        clock.marks()
    }

    #[test]
    fn a_service_that_flaps_is_stable_when_it_stays() {
        let marks = marks(&[
            (1010, true),
            (1020, false),
            (1200, true),
            (1210, true),
            (1220, false),
            (1300, true),
            (1350, true),
            (1400, true),
            (1500, true),
        ]);
        assert_eq!(marks.detected_us, Some(1020));
        assert_eq!(marks.first_ok_us, Some(1200));
        assert_eq!(marks.last_failure_us, Some(1220));
        assert_eq!((marks.stable_us, marks.rto_us()), (Some(1300), Some(300)));
        assert_eq!((marks.failures, marks.successes), (2, 7));
    }

    #[test]
    fn a_row_must_be_long_in_number_and_in_time() {
        for (row, is_stable) in [
            (&[(1200, true), (1400, true)][..], false),
            (&[(1200, true), (1210, true), (1220, true)], false),
            (&[(1200, true), (1210, true), (1300, true)], true),
        ] {
            let events = [&[(1100, false)], row].concat();
            assert_eq!(marks(&events).rto_us().is_some(), is_stable, "{row:?}");
        }
    }

    #[test]
    fn who_answers_again_and_is_not_stable_yet_is_told_apart_from_who_is_away() {
        let stable = [(1100, false), (1200, true), (1210, true), (1300, true)];
        assert_eq!(marks(&stable).answering_us(), None);
        assert_eq!(marks(&stable[..3]).answering_us(), Some(1210));
        assert_eq!(marks(&stable[..1]).answering_us(), None);
        let away = [&stable[..], &[(1400, false), (1410, false), (1420, false)]].concat();
        let marks = marks(&away);
        assert_eq!((marks.rto_us(), marks.answering_us()), (None, None));
        assert_eq!(marks.last_failure_us, Some(1420));
    }

    #[test]
    fn who_never_failed_took_no_time_and_who_was_never_asked_has_none() {
        assert_eq!(marks(&[(1100, true)]).rto_us(), Some(0));
        assert_eq!(marks(&[]).rto_us(), None);
        assert_eq!(marks(&[(1100, false)]).rto_us(), None);
    }

    #[test]
    fn a_failure_after_it_was_stable_does_not_move_the_mark() {
        let mut events = vec![(1100, false)];
        events.extend((0..30).map(|n| (1200 + n * 10, true)));
        events.push((1600, false));
        let marks = marks(&events);
        assert_eq!((marks.stable_us, marks.last_failure_us), (Some(1200), Some(1100)));
        assert_eq!(marks.failures, 2);
    }
}
