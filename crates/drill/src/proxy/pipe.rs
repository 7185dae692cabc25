//! One direction of a session on its way out: bytes that wait for their time. Bounded by whoever asks for room first.
//! It has no clock of its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that wait to be written.
#[derive(Debug)]
pub(super) struct Pipe {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// How much of the first piece has been written.
    written: usize,
    queued_bytes: usize,
    latency: Duration,
    bytes_per_s: Option<u32>,
    /// When the rate allows the next byte.
    next: Option<Instant>,
    /// Whether nothing more comes.
    pub(super) is_ending: bool,
}

/// What can be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due<'p> {
    /// Nothing is there.
    Nothing,
    /// Nothing before this time.
    At(Instant),
    /// These.
    Now(&'p [u8]),
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            latency: Duration::ZERO,
            bytes_per_s: None,
            next: None,
            is_ending: false,
        }
    }

    /// From now on.
    pub(super) fn delay(&mut self, latency: Duration) {
        self.latency = latency;
    }

    /// From now on, also for what waits.
    pub(super) fn throttle(&mut self, bytes_per_s: u32) {
        self.bytes_per_s = Some(bytes_per_s.max(1));
    }

    /// Whether more should be added.
    pub(super) fn has_room(&self) -> bool {
        self.queued_bytes < QUEUED_BYTES && self.pieces.len() < PIECES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued_bytes == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        self.queued_bytes += bytes.len();
        let due = now + self.latency;
        match self.pieces.back_mut() {
            // No byte overtakes another when the latency changes.
            Some((at, last)) if *at >= due => last.extend_from_slice(bytes),
            _ => self.pieces.push_back((due, bytes.to_vec())),
        }
    }

    /// What can be written now.
    pub(super) fn due(&self, now: Instant) -> Due<'_> {
        let Some((at, piece)) = self.pieces.front() else { return Due::Nothing };
        let at = self.next.map_or(*at, |next| next.max(*at));
        if at > now {
            return Due::At(at);
        }
        let rest = &piece[self.written..];
        let most = self.bytes_per_s.map_or(rest.len(), |rate| (rate as usize / SLICES).max(1));
        Due::Now(&rest[..most.min(rest.len())])
    }

    /// So many bytes were written.
    pub(super) fn took(&mut self, bytes: usize, now: Instant) {
        self.queued_bytes -= bytes;
        self.written += bytes;
        if self.pieces.front().is_some_and(|(_, piece)| piece.len() == self.written) {
            self.pieces.pop_front();
            self.written = 0;
        }
        self.next = self
            .bytes_per_s
            .map(|rate| now + Duration::from_secs_f64(bytes as f64 / f64::from(rate)));
    }

    /// Forgets what waits: nobody will read it.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        (self.written, self.queued_bytes) = (0, 0);
    }
}

/// With the largest piece, which is what one read may leave, 64 KiB.
const QUEUED_BYTES: usize = 48 * 1024;

/// Small pieces with a latency have a time each.
const PIECES: usize = 4096;

/// A second of a slow connection has so many writes.
const SLICES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_the_latency_in_their_order() {
        let (mut pipe, now, ms) = (Pipe::new(), Instant::now(), Duration::from_millis);
        assert_eq!(pipe.due(now), Due::Nothing);
        pipe.delay(ms(20));
        pipe.push(b"ab", now);
        assert_eq!(pipe.due(now), Due::At(now + ms(20)));
        pipe.delay(ms(0));
        pipe.push(b"c", now + ms(5));
        assert_eq!(pipe.due(now + ms(20)), Due::Now(b"abc"));
        pipe.took(2, now + ms(20));
        assert_eq!(pipe.due(now + ms(20)), Due::Now(b"c"));
        pipe.took(1, now + ms(20));
        assert!(pipe.is_empty() && pipe.due(now + ms(30)) == Due::Nothing);
    }

    #[test]
    fn a_rate_is_kept() {
        let (mut pipe, start) = (Pipe::new(), Instant::now());
        pipe.throttle(1000);
        pipe.push(&[b'x'; 500], start);
        let mut now = start;
        loop {
            match pipe.due(now) {
                Due::Nothing => break,
                Due::At(at) => now = at,
                Due::Now(bytes) => {
                    let length = bytes.len();
                    assert_eq!(length, 50);
                    pipe.took(length, now);
                }
            }
        }
        assert_eq!((now - start).as_millis(), 450);
    }

    #[test]
    fn what_waits_is_bounded_for_who_asks() {
        let (mut pipe, now) = (Pipe::new(), Instant::now());
        let mut bytes = 0;
        while pipe.has_room() {
            pipe.push(&[b'x'; 1000], now);
            bytes += 1000;
        }
        assert!(bytes < QUEUED_BYTES + 1000);
        pipe.clear();
        assert!(pipe.has_room() && pipe.is_empty());
    }
}
