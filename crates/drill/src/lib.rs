//! Failover drills: a scenario becomes steps, faults and traffic; what happens becomes a journal; that becomes a verdict
//! on every message. The journal comes first: what is not on disk has not happened, and can be undone.

mod ask;
mod caught;
mod command;
mod dead_man;
mod disks;
mod faults;
mod haproxy;
mod hold;
pub mod journal;
pub mod judge;
mod lab;
mod lag;
mod lock;
mod marked;
mod named;
mod network;
mod nodes;
mod owned;
pub mod plan;
mod promote;
pub mod proxy;
mod reach;
mod readers;
mod ready;
mod recover;
mod rehearse;
mod run;
pub mod safety;
mod salvage;
pub mod scenario;
mod secrets;
mod services;
mod stack;
mod steps;
pub mod story;
mod survey;
pub mod targets;
mod traffic;
mod undo;
mod watch;
mod world;

pub use self::dead_man::watch;
pub use self::hold::hold;
pub use self::recover::{Recovered, is_clean, recover};
pub use self::rehearse::{Rehearsed, rehearse};
pub use self::run::{Analysis, JOURNAL, RunFailed, Setup, analyze, journal_of, run};
pub use self::stack::Left;
#[doc(hidden)]
pub use self::survey::{exim_files, postfix_file};
pub use self::world::Stop;

/// A length of time for people.
fn human(length: std::time::Duration) -> String {
    let seconds = length.as_secs_f64();
    if seconds < 60.0 {
        format!("{} s", (seconds * 1000.0).round() / 1000.0)
    } else {
        format!("{:.1} min", seconds / 60.0)
    }
}
