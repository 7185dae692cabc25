//! The pacer's thread: hands out what is due, and ends the run. It holds no session, so that no handshake and no reply
//! makes it late.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;

use super::Stop;
use super::dispatch::{Dispatch, Paced};

pub(super) fn pace(dispatch: &Dispatch, stop: &Stop) -> Paced {
    // The kernel gives sleepers 50 us more, to wake several at once (prctl(2), PR_SET_TIMERSLACK). Without it they are
    // only late.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    while dispatch.pace_once(|| stop.is_stopped()).is_some() {}
    let paced = dispatch.end();
    // The end of a message may be under way: what is cut off now is unknown for ever.
    dispatch.wait_idle(Instant::now() + LAST_WORDS, || stop.is_stopped());
    dispatch.close();
    paced
}

/// For messages that are under way when nothing new begins any more.
const LAST_WORDS: Duration = Duration::from_secs(10);
