//! The one retry policy of the S3 store: every attempt has a deadline that grows with the bytes it
//! moves, and passing failures are tried again after a growing, jittered wait. The SDK's own retries
//! are off, because they cover neither the body of an answer nor the 409 of a conditional write.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::failure::Call;
use crate::store::{Error, Result};

/// How long to wait and how often to try.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For an answer to begin, and between two pieces of it.
    pub answer: Duration,
    /// The slowest transfer worth waiting for; gives large objects more time than small ones.
    pub slowest_bytes_per_second: u64,
    /// Tries of one request, at least 1.
    pub attempts: u32,
    /// Longest wait before the second try; it doubles with each further one, up to 20 s.
    pub first_wait: Duration,
    /// No further try begins later than this after the first.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            slowest_bytes_per_second: 64 << 10,
            attempts: 5,
            first_wait: Duration::from_secs(1),
            total: Duration::from_secs(15 * 60),
        }
    }
}

impl Patience {
    /// Runs `attempt` with its number, from 1, until it succeeds, fails for good, or patience ends.
    /// Each attempt moves about `size_bytes`.
    pub(super) async fn retry<T, F>(
        &self,
        call: Call<'_>,
        size_bytes: u64,
        mut attempt: impl FnMut(u32) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let mut number = 1;
        loop {
            let error = match self.in_time(call, size_bytes, attempt(number)).await {
                Err(error) if error.is_transient() => error,
                settled => return settled,
            };
            let wait = self.wait(number);
            if number >= self.attempts || started.elapsed() + wait > self.total {
                return Err(after(error, number));
            }
            tracing::debug!(%error, attempt = number, ?wait, "trying again");
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    /// `work`, or [`Error::Unavailable`] when it takes longer than moving `size_bytes` may.
    pub(super) async fn in_time<T>(
        &self,
        call: Call<'_>,
        size_bytes: u64,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let transfer = size_bytes / self.slowest_bytes_per_second.max(1);
        let limit = self.connect + self.answer + Duration::from_secs(transfer);
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(call.unavailable(
                format!("no answer within {}", seconds(limit)),
                "check the network and the load of the server",
            )),
        }
    }

    /// Half of the wait is fixed and half is chance, so that clients do not come back in step.
    fn wait(&self, number: u32) -> Duration {
        let longest = self.first_wait * 2_u32.pow((number - 1).min(8));
        let longest = longest.min(Duration::from_secs(20));
        longest / 2 + longest.mul_f64(chance() / 2.0)
    }
}

/// Tells how often a failed request was tried.
fn after(error: Error, attempts: u32) -> Error {
    match error {
        Error::Unavailable { action, key, reason, hint } if attempts > 1 => Error::Unavailable {
            action,
            key,
            reason: format!("{reason} (tried {attempts} times)"),
            hint,
        },
        other => other,
    }
}

/// A number in 0..1.
fn chance() -> f64 {
    f64::from(random() as u32) / (f64::from(u32::MAX) + 1.0)
}

/// A number for jitter and for names of probe objects; not for secrets.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// `30 s`, `0.3 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 10.0).round() / 10.0)
}
