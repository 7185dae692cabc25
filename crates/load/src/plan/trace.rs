//! The trace of a mail log: when mail came, how large it was, and for how many. A log is read line by line in bounded
//! memory; its lines may be out of order, and those of one second are spread over it, for nobody sends sixty
//! messages at once because a clock shows no more.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use super::stamp::Calendar;
use super::trace_lines::{self, Said};

/// The arrivals of a log, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// From the first, at zero, on.
    pub arrivals: Vec<TraceArrival>,
    /// Lines that were read or passed over.
    pub lines: u64,
    /// Lines that have no time or are longer than 64 KiB, and were passed over.
    pub unread_lines: u64,
}

/// One message that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceArrival {
    /// Since the first arrival of the trace.
    pub at: Duration,
    /// Its size, where the log says it.
    pub size_bytes: Option<u64>,
    /// How many recipients, 1 and more.
    pub recipients: u32,
}

/// A log that makes no trace.
#[derive(Debug, thiserror::Error)]
pub enum BadTrace {
    /// It cannot be read.
    #[error("the mail log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// More than is kept.
    #[error("the mail log has more than {0} arrivals: split it")]
    TooMany(usize),
    /// Nothing in it is understood as an arrival.
    #[error(
        "no message arrives in the {lines} lines of the mail log ({unread_lines} not understood): it takes \
         the log of Postfix, the main log of Exim or the event log of `mailrig serve`"
    )]
    Empty {
        /// Lines in all.
        lines: u64,
        /// Lines without a time.
        unread_lines: u64,
    },
}

impl Trace {
    /// Reads the log of Postfix, the main log of Exim, or the event log of our own server. Times without a zone are
    /// taken as they stand: where clocks were set forward an hour is empty.
    pub fn read(log: impl BufRead) -> Result<Trace, BadTrace> {
        Self::read_up_to(log, MOST_ARRIVALS)
    }

    fn read_up_to(mut log: impl BufRead, most: usize) -> Result<Trace, BadTrace> {
        let mut reading = Reading::default();
        let (mut lines, mut unread_lines) = (0, 0);
        let mut line = Vec::new();
        while let Some(is_whole) = read_line(&mut log, &mut line)? {
            lines += 1;
            let is_read = is_whole && reading.line(String::from_utf8_lossy(&line).trim_end());
            unread_lines += u64::from(!is_read);
            if reading.came.len() > most {
                return Err(BadTrace::TooMany(most));
            }
        }
        let arrivals = reading.arrivals();
        match arrivals.is_empty() {
            true => Err(BadTrace::Empty { lines, unread_lines }),
            false => Ok(Trace { arrivals, lines, unread_lines }),
        }
    }
}

/// A log that is being read.
#[derive(Debug, Default)]
struct Reading {
    calendar: Calendar,
    came: Vec<Came>,
    /// Messages of which more may be said, by their id.
    open: HashMap<String, Open>,
}

#[derive(Debug, Clone, Copy)]
struct Came {
    time: Time,
    size_bytes: Option<u64>,
    recipients: u32,
}

/// On the scale of the calendar, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    at: i64,
    is_coarse: bool,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    /// Of the first line about it.
    time: Time,
    /// Which one of those that came, once it did.
    came: Option<usize>,
}

impl Reading {
    /// Whether the line could be read.
    fn line(&mut self, line: &str) -> bool {
        let Some((stamp, said)) = trace_lines::read(line) else { return false };
        // Also of lines that say nothing more: they tell when a year ends.
        let time = Time { at: self.calendar.place(stamp), is_coarse: stamp.is_coarse };
        match said {
            Said::Coming(id) => {
                // An id comes again when its message is gone, even if the log does not say so.
                if self.open.get(id).is_none_or(|open| open.came.is_some()) {
                    self.keep(id, Open { time, came: None });
                }
            }
            Said::Queued { id, size_bytes, recipients } => {
                let open = self.open.get(id).copied().unwrap_or(Open { time, came: None });
                if open.came.is_none() {
                    self.keep(id, Open { came: Some(self.came.len()), ..open });
                    self.came.push(Came { time: open.time, size_bytes, recipients });
                }
            }
            Said::Came { id, size_bytes, recipients } => {
                if recipients.is_none() {
                    self.keep(id, Open { time, came: Some(self.came.len()) });
                }
                let recipients = recipients.unwrap_or(0);
                self.came.push(Came { time, size_bytes, recipients });
            }
            Said::Recipient(id) => {
                let came = self.open.get(id).and_then(|open| open.came);
                if let Some(came) = came.and_then(|came| self.came.get_mut(came)) {
                    came.recipients = came.recipients.saturating_add(1);
                }
            }
            Said::Gone(id) => drop(self.open.remove(id)),
            Said::Whole { size_bytes, recipients } => {
                self.came.push(Came { time, size_bytes: Some(size_bytes), recipients });
            }
            Said::Other => {}
        }
        true
    }

    fn keep(&mut self, id: &str, open: Open) {
        // Of what is forgotten a further attempt counts as another message: rare, and better than no memory.
        if self.open.len() >= MOST_OPEN {
            self.open.clear();
        }
        self.open.insert(id.into(), open);
    }

    fn arrivals(self) -> Vec<TraceArrival> {
        let Self { calendar, mut came, .. } = self;
        // Stable: within a second the order of the log stays.
        came.sort_by_key(|came| came.time);
        for second in came.chunk_by_mut(|one, next| one.time == next.time) {
            if second.iter().all(|came| came.time.is_coarse) {
                let count = second.len() as i64;
                for (came, k) in second.iter_mut().zip(0..) {
                    came.time.at += 1_000_000 * k / count;
                }
            }
        }
        came.sort_by_key(|came| came.time.at);
        let first = came.first().map_or(0, |came| came.time.at);
        let arrival = |came: Came| TraceArrival {
            at: Duration::from_micros(calendar.between(first, came.time.at)),
            size_bytes: came.size_bytes,
            recipients: came.recipients.max(1),
        };
        came.into_iter().map(arrival).collect()
    }
}

/// The next line without its end; whether it is all of it. None at the end of the log.
fn read_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if log.by_ref().take(LONGEST_LINE).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let is_whole = line.last() == Some(&b'\n') || (line.len() as u64) < LONGEST_LINE;
    if !is_whole {
        log.skip_until(b'\n')?;
    }
    Ok(Some(is_whole))
}

const MOST_ARRIVALS: usize = 5_000_000;
const MOST_OPEN: usize = 1_000_000;
const LONGEST_LINE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(log: &str) -> Trace {
        Trace::read(log.as_bytes()).unwrap()
    }

    /// Milliseconds, bytes, recipients.
    fn told(trace: &Trace) -> Vec<(u128, u64, u32)> {
        let told = |a: &TraceArrival| (a.at.as_millis(), a.size_bytes.unwrap_or(0), a.recipients);
        trace.arrivals.iter().map(told).collect()
    }

    #[test]
    fn a_message_of_postfix_arrives_once_when_it_came() {
        let found = trace(
            "Nov  2 07:00:00 mx postfix/smtpd[1]: AAAAA: client=x[192.0.2.1]\r\n\
             Nov  2 07:00:02 mx postfix/cleanup[1]: AAAAA: message-id=<1@x.test>\n\
             what is this\n\
             Nov  2 07:00:03 mx postfix/qmgr[1]: AAAAA: from=<a@x.test>, size=10, nrcpt=2 (queue active)\n\
             Nov  2 07:00:04 mx postfix/smtpd[1]: BBBBB: client=gave up[192.0.2.1]\n\
             Nov  2 07:00:05 mx postfix/qmgr[1]: CCCCC: from=<>, size=30, nrcpt=1 (queue active)\n\
             Nov  2 07:05:00 mx postfix/qmgr[1]: AAAAA: from=<a@x.test>, size=10, nrcpt=1 (queue active)\n\
             Nov  2 07:05:01 mx postfix/qmgr[1]: AAAAA: removed\n\
             Nov  2 07:06:00 mx postfix/pickup[1]: AAAAA: uid=0 from=<root>\n\
             Nov  2 07:06:01 mx postfix/qmgr[1]: AAAAA: from=<r@x.test>, size=40, nrcpt=1 (queue active)",
        );
        assert_eq!(told(&found), [(0, 10, 2), (5000, 30, 1), (360_000, 40, 1)]);
        assert_eq!((found.lines, found.unread_lines), (10, 1));
    }

    #[test]
    fn a_message_of_exim_has_the_recipients_of_its_deliveries() {
        let found = trace(
            "2026-11-02 07:00:00.250 1dJ08B-0003oP-5i <= a@x.test P=esmtp S=10\n\
             2026-11-02 07:00:01.250 1dJ08B-0003oP-5i => b@y.test R=r\n\
             2026-11-02 07:00:01.250 1dJ08B-0003oP-5i -> c@y.test R=r\n\
             2026-11-02 07:00:01.250 1dJ08B-0003oP-5i Completed\n\
             2026-11-02 07:00:01.250 1dJ08C-0003oP-5i <= a@x.test P=esmtp S=20 for b@y.test\n\
             2026-11-02 07:00:01.250 1dJ08C-0003oP-5i => b@y.test R=r\n\
             2026-11-02 07:00:00.750 1dJ08D-0003oP-5i <= a@x.test P=esmtp S=30\n",
        );
        assert_eq!(told(&found), [(0, 10, 2), (500, 30, 1), (1000, 20, 1)]);
    }

    #[test]
    fn a_second_is_spread_and_finer_times_are_kept() {
        let line = |second: &str, id: &str| {
            format!("2026-11-02 07:00:{second} 1dJ08{id}-0003oP-5i <= a@x.test S=1 for b@y.test\n")
        };
        let coarse = ["01", "00", "00", "00", "00"].map(|second| line(second, "A")).concat();
        let times = |log: &str| told(&trace(log)).iter().map(|told| told.0).collect::<Vec<_>>();
        assert_eq!(times(&coarse), [0, 250, 500, 750, 1000]);
        let fine = ["00.100", "00.100", "00.400"].map(|second| line(second, "A")).concat();
        assert_eq!(times(&fine), [0, 0, 300]);
    }

    #[test]
    fn our_own_events_make_a_trace() {
        let event = |ms: u64| {
            format!(
                "{{\"type\":\"transaction\",\"to\":[\"a@b.test\"],\"bytes\":{ms},\
                 \"outcome\":\"accepted\",\"began_ms\":{ms}}}\n"
            )
        };
        assert_eq!(told(&trace(&(event(1500) + &event(1000)))), [(0, 1000, 1), (500, 1500, 1)]);
    }

    #[test]
    fn bounds_hold() {
        let line = "2026-11-02 07:00:00 1dJ08B-0003oP-5i <= a@x.test S=1 for b@y.test";
        let log = format!("{line} {}\n{line}\n", "c".repeat(LONGEST_LINE as usize));
        let found = trace(&log);
        assert_eq!((found.arrivals.len(), found.lines, found.unread_lines), (1, 2, 1));
        let two = format!("{line}\n{line}\n");
        assert!(Trace::read_up_to(two.as_bytes(), 2).is_ok());
        assert!(matches!(Trace::read_up_to(two.as_bytes(), 1), Err(BadTrace::TooMany(1))));
        let error = Trace::read(&b"\xff\xfe\n\n"[..]).unwrap_err();
        assert!(matches!(error, BadTrace::Empty { lines: 2, unread_lines: 2 }), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            picks in proptest::collection::vec((0..HOSTILE.len(), 0..HOSTILE.len()), 0..20),
        ) {
            let mut log = bytes;
            for (stamp, text) in picks {
                log.extend_from_slice(format!("{} {}\n", HOSTILE[stamp], HOSTILE[text]).as_bytes());
            }
            if let Ok(trace) = Trace::read(&log[..]) {
                assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at));
                assert!(trace.arrivals.iter().all(|arrival| arrival.recipients > 0));
                let _ = crate::plan::Plan::of_trace(trace.into(), 2.0);
            }
        }
    }

    const HOSTILE: [&str; 13] = [
        "Feb 29 23:59:60",
        "Dec 31 23:59:59",
        "Jan  1 00:00:00",
        "0000-01-01 00:00:00",
        "9999-12-31T23:59:59.999999999+0000",
        "2026-11-02 07:00:00 +2359",
        "Nov  2 07:00:00.5",
        "é",
        "[",
        "1dJ08B-0003oP-5i <= a@x.test S=99999999999999999999 T=\" for",
        "1dJ08B-0003oP-5i => x",
        "mx postfix/qmgr[1]: AAAAA: from=<>, size=-1, nrcpt=99999999999 (queue active)",
        "{\"type\":\"transaction\",\"to\":[],\"outcome\":\"accepted\",\"began_ms\":18446744073709551615}",
    ];
}
