//! Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed, unless nohup(1) has it ignored: the first asks the running
//! operation to stop at the next safe place, the second ends the process at once, which loses nothing that is in a
//! snapshot either.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use snapshot::progress::Progress;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Watches for signals from a thread of its own.
pub(crate) fn watch(progress: &Arc<Progress>) {
    watch_all(vec![Arc::clone(progress)]);
}

/// Watches for signals while several operations run one after the other: all are asked to stop.
pub(crate) fn watch_all(operations: Vec<Arc<Progress>>) {
    on_signal(move || operations.iter().for_each(|progress| progress.stop()));
}

/// Watches for signals: `stop` is called at the first.
pub(crate) fn on_signal(stop: impl Fn() + Send + 'static) {
    on_each_signal(move |attempt| {
        if attempt > 0 {
            std::process::exit(i32::from(crate::exit::Exit::Interrupted as u8));
        }
        stop();
    });
}

/// Watches for signals: `act` is called at each, with its number from 0 on. When this returns, none ends the process by
/// itself any more.
pub(crate) fn on_each_signal(act: impl Fn(u32) + Send + 'static) {
    let (ready, is_ready) = sync_channel(1);
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            let mut hangup =
                if ignores_hangup() { None } else { signal(SignalKind::hangup()).ok() };
            // Somebody waits for it.
            let _ = ready.send(());
            for attempt in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    Some(()) = next(&mut hangup) => {}
                }
                act(attempt);
            }
        });
    });
    // Where none can be watched for, each has its usual effect.
    let _ = is_ready.recv();
}

/// The next one, if any is watched for.
async fn next(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// Whether whoever started this process wants it to outlive its terminal, as nohup(1) does.
fn ignores_hangup() -> bool {
    const HANGUP_BIT: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP_BIT != 0)
}
