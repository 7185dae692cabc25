//! The faulty store fails where it was told to, and only there.

use snapshot::store::faulty::{Fault, Faulty, Kind, Mode};
use snapshot::store::memory::Memory;
use snapshot::store::{Body, Put, Store};

fn with(call: u64, kind: Option<Kind>, mode: Mode) -> Faulty<Memory> {
    Faulty::new(Memory::default(), Some(Fault { call, kind, mode }))
}

fn put(store: &dyn Store, key: &str) -> bool {
    match store.put(key, Body::from_bytes(key.into())) {
        Ok(put) => put == Put::Created,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            assert_eq!(error.to_string(), format!("write {key}: a fault was injected"));
            false
        }
    }
}

#[test]
fn before_the_effect_nothing_is_stored() {
    let store = with(2, None, Mode::Before);
    assert_eq!(["a", "b", "c"].map(|key| put(&store, key)), [true, false, true]);
    assert!(store.size("b").unwrap_err().is_not_found());
    assert_eq!(store.calls(), 4);
    assert!(store.has_failed());
}

#[test]
fn after_the_effect_only_the_answer_is_lost() {
    let store = with(2, None, Mode::After);
    assert_eq!(["a", "b", "c"].map(|key| put(&store, key)), [true, false, true]);
    assert_eq!(store.get("b", 10).unwrap(), b"b");
}

#[test]
fn after_a_crash_nothing_works_and_the_next_run_finds_what_was_stored() {
    let store = with(2, None, Mode::Crash);
    assert_eq!(["a", "b", "c"].map(|key| put(&store, key)), [true, false, false]);
    assert!(store.size("a").unwrap_err().is_transient());
    assert!(store.list("", &mut |_| ()).is_err());
    assert_eq!(store.calls(), 5);
    let next = store.into_inner();
    assert_eq!(next.get("a", 10).unwrap(), b"a");
    assert!(next.size("b").unwrap_err().is_not_found());
}

#[test]
fn only_calls_of_the_kind_count_but_a_crash_ends_all() {
    let store = with(2, Some(Kind::Size), Mode::Crash);
    assert!(put(&store, "a"));
    assert_eq!(store.size("a").unwrap(), 1);
    assert!(put(&store, "b"));
    assert!(!store.has_failed());
    assert!(store.size("a").unwrap_err().is_transient());
    assert!(store.get("a", 10).unwrap_err().is_transient());
}

#[test]
fn a_call_that_never_comes_never_fails() {
    let store = with(9, None, Mode::Before);
    assert!(put(&store, "a"));
    assert!(!store.has_failed());
}
