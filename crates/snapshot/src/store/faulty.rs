//! A store that fails on demand, for tests: the n-th call goes wrong, before or after its effect, or
//! the whole store dies with it. Run a job once to learn how many calls it makes, then once for each.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Body, Error, Object, Put, Requests, Result, Store};

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The call that fails, counted from 1 among the calls of `kind`.
    pub call: u64,
    /// The calls that count; `None` counts all.
    pub kind: Option<Kind>,
    /// How it fails.
    pub mode: Mode,
}

/// The calls of a [`Store`] that touch its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the calls")]
pub enum Kind {
    Delete,
    Get,
    GetRange,
    List,
    Put,
    Size,
    Sync,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The effect happens and the answer is lost; later calls work.
    After,
    /// Nothing happens; later calls work.
    Before,
    /// Nothing happens, then or later, whatever the kind: the process or the network is dead.
    Crash,
}

/// A store with at most one [`Fault`] in it. Failures are [`Error::Unavailable`].
#[derive(Debug)]
pub struct Faulty<S> {
    store: S,
    fault: Option<Fault>,
    calls: AtomicU64,
    counted: AtomicU64,
    dead: AtomicBool,
}

impl<S: Store> Faulty<S> {
    /// `store` with `fault`, or one that only counts its calls.
    pub fn new(store: S, fault: Option<Fault>) -> Self {
        let (calls, counted, dead) = Default::default();
        Self { store, fault, calls, counted, dead }
    }

    /// Calls of all kinds so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether the fault has come up: a test that never met it proves nothing.
    pub fn has_failed(&self) -> bool {
        self.fault.is_some_and(|fault| self.counted.load(Ordering::SeqCst) >= fault.call)
    }

    /// The store inside, as the next run finds it.
    pub fn into_inner(self) -> S {
        self.store
    }

    /// Runs `call`, unless its turn to fail has come.
    fn call<T>(&self, kind: Kind, key: &str, call: impl FnOnce(&S) -> Result<T>) -> Result<T> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let failed = || Error::Unavailable {
            action: action(kind),
            key: key.to_owned(),
            reason: "a fault was injected".to_owned(),
            hint: None,
        };
        if self.dead.load(Ordering::SeqCst) {
            return Err(failed());
        }
        match self.fault {
            Some(fault) if fault.kind.is_none_or(|only| only == kind) => {
                if self.counted.fetch_add(1, Ordering::SeqCst) + 1 != fault.call {
                    return call(&self.store);
                }
                match fault.mode {
                    Mode::After => {
                        call(&self.store)?;
                    }
                    Mode::Before => {}
                    Mode::Crash => self.dead.store(true, Ordering::SeqCst),
                }
                Err(failed())
            }
            _ => call(&self.store),
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        self.call(Kind::Put, key, |store| store.put(key, body))
    }

    fn put_durably(&self, key: &str, body: Body) -> Result<Put> {
        self.call(Kind::Put, key, |store| store.put_durably(key, body))
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        self.call(Kind::Get, key, |store| store.get(key, limit_bytes))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.call(Kind::GetRange, key, |store| store.get_range(key, range))
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.call(Kind::Size, key, |store| store.size(key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        self.call(Kind::List, prefix, |store| store.list(prefix, each))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.call(Kind::Delete, key, |store| store.delete(key))
    }

    fn sync(&self) -> Result<()> {
        self.call(Kind::Sync, "the repository", Store::sync)
    }

    fn requests(&self) -> Requests {
        self.store.requests()
    }

    fn can_tear(&self) -> bool {
        self.store.can_tear()
    }

    fn display(&self) -> String {
        self.store.display()
    }
}

fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::Delete => "delete",
        Kind::Get | Kind::GetRange | Kind::Size => "read",
        Kind::List => "list",
        Kind::Put | Kind::Sync => "write",
    }
}
