//! A limit on each of a session's waits, with one timer for all of them. A timer for each wait is work twice for each
//! command, and one that is due before those that are set wakes the runtime to be told of it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a session. It rings now and then although nothing is due, so that it need not be set anew.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
}

/// The limit is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl Deadline {
    /// Waits, and no longer than the limit.
    pub(crate) async fn limit<T>(
        &mut self,
        limit: Duration,
        wait: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let mut wait = pin!(wait);
        let mut due = None;
        poll_fn(|cx| {
            if let Poll::Ready(done) = wait.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let now = Instant::now();
            let due = *due.get_or_insert_with(|| due_at(now, limit));
            self.poll_due(cx, now, due).map(Err)
        })
        .await
    }

    fn poll_due(&mut self, cx: &mut Context<'_>, mut now: Instant, due: Instant) -> Poll<Elapsed> {
        loop {
            // Looked at here and not left to the timer, which does not ring for a task that is never at rest.
            if now >= due {
                return Poll::Ready(Elapsed);
            }
            let next = due.min(now + LONGEST_SLEEP);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.is_elapsed() || timer.deadline() > due {
                timer.as_mut().reset(next);
            }
            ready!(timer.as_mut().poll(cx));
            now = Instant::now();
        }
    }
}

fn due_at(now: Instant, limit: Duration) -> Instant {
    now.checked_add(limit).unwrap_or_else(|| now + FOR_EVER)
}

/// A little less than the shortest of the usual limits.
const LONGEST_SLEEP: Duration = Duration::from_secs(4);

/// For limits that no clock can hold.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let (mut deadline, started) = (Deadline::default(), Instant::now());
        let never = std::future::pending::<()>;
        let waits_ms = [50, 7_000, 20, 3_999, 4_000, 60_000, 1];
        let mut sum_ms = 0;
        for limit_ms in waits_ms {
            let limit = Duration::from_millis(limit_ms);
            assert_eq!(deadline.limit(limit, never()).await, Err(Elapsed));
            sum_ms += limit_ms;
            // The timer's own steps are milliseconds.
            let late = started.elapsed() - Duration::from_millis(sum_ms);
            assert!(late < Duration::from_millis(20), "{limit_ms} ms: {late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_time_is_not_cut_short() {
        let mut deadline = Deadline::default();
        for wait_ms in [0, 10, 4_500, 100_000] {
            let wait = tokio::time::sleep(Duration::from_millis(wait_ms));
            let limit = Duration::from_millis(wait_ms + 5);
            assert_eq!(deadline.limit(limit, wait).await, Ok(()), "{wait_ms} ms");
        }
        assert_eq!(deadline.limit(Duration::MAX, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_task_that_is_never_at_rest_is_stopped_too() {
        let restless = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let limit = Duration::from_millis(30);
        assert_eq!(Deadline::default().limit(limit, restless).await, Err(Elapsed));
    }
}
