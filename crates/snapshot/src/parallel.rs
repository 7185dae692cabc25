//! Work on many things at once on plain threads, results in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// `work` on each of `items`, on at most `threads` threads.
pub(crate) fn map<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    *results[at].lock().expect("no holder panics") = Some(work(item));
                }
            });
        }
    });
    let result = |slot: Mutex<Option<R>>| slot.into_inner().expect("no holder panics");
    results.into_iter().map(|slot| result(slot).expect("every item was worked on")).collect()
}

/// Threads that wait for a store rather than for a processor.
pub(crate) const WAITING: usize = 8;
