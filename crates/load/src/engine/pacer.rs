//! The pacer's thread: hands out what is due, and ends the run. It holds no session, so that no handshake and no reply
//! makes it late.

use std::time::{Duration, Instant};

use super::Stop;
use super::dispatch::{Dispatch, Paced};

pub(super) fn pace(dispatch: &Dispatch, stop: &Stop) -> Paced {
    while dispatch.pace_once(|| stop.is_stopped()).is_some() {}
    let paced = dispatch.end();
    // The end of a message may be under way: what is cut off now is unknown for ever.
    dispatch.wait_idle(Instant::now() + LAST_WORDS);
    dispatch.close();
    paced
}

/// For messages that are under way when nothing new begins any more.
const LAST_WORDS: Duration = Duration::from_secs(10);
