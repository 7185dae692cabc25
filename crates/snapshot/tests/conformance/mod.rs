//! One suite for every store: what the trait promises holds for each of them. The S3 servers differ
//! in conditional writes, so the suite takes what the probe said and expects accordingly.

mod faulty;
mod stores;

use std::collections::BTreeMap;
use std::io::Write;
use std::thread;

use snapshot::hash::sha256;
use snapshot::store::{Body, Data, Error, Put, Store};

/// What differs between stores that all conform.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    /// Of writers that meet at one key exactly one is told `Created`.
    pub(crate) atomic: bool,
    /// A listing of more than a thousand objects is cheap enough to make.
    pub(crate) many_objects: bool,
}

/// Goes through all promises on an empty store.
pub(crate) fn conformance(store: &dyn Store, traits: Traits) {
    bytes_come_back(store);
    ranges_are_exact(store);
    limits_hold(store);
    missing_objects_are_told(store);
    the_first_put_stays(store);
    listings_are_complete(store, if traits.many_objects { 1100 } else { 12 });
    large_objects_arrive_whole(store);
    one_of_many_writers_creates(store, traits);
    assert!(store.requests().total() > 0, "requests are counted");
}

fn bytes_come_back(store: &dyn Store) {
    for (key, size) in [("bytes/none", 0), ("bytes/one", 1), ("bytes/some", 70_000)] {
        let bytes = pattern(size);
        assert_eq!(store.put(key, Body::from_bytes(bytes.clone())).unwrap(), Put::Created, "{key}");
        assert_eq!(store.get(key, 1 << 20).unwrap(), bytes, "{key}");
        assert_eq!(store.size(key).unwrap(), size as u64, "{key}");
    }
    let bytes = pattern(5000);
    assert_eq!(store.put("bytes/file", file_body(&bytes)).unwrap(), Put::Created);
    assert_eq!(store.get("bytes/file", 5000).unwrap(), bytes);
    store.sync().unwrap();
}

fn ranges_are_exact(store: &dyn Store) {
    let bytes = pattern(10_000);
    store.put("range", Body::from_bytes(bytes.clone())).unwrap();
    for range in [0..1, 0..10_000, 4321..4322, 9_999..10_000, 17..17, 10_000..10_000] {
        let wanted = &bytes[range.start as usize..range.end as usize];
        assert_eq!(store.get_range("range", range.clone()).unwrap(), wanted, "{range:?}");
    }
    for range in [9_999..10_001, 10_000..10_001, 20_000..20_010, 10_001..10_001] {
        let error = store.get_range("range", range.clone()).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{range:?}: {error}");
    }
}

fn limits_hold(store: &dyn Store) {
    store.put("limit", Body::from_bytes(pattern(1000))).unwrap();
    assert_eq!(store.get("limit", 1000).unwrap().len(), 1000);
    let error = store.get("limit", 999).unwrap_err();
    assert!(matches!(error, Error::TooLarge { size_bytes: 1000, limit_bytes: 999, .. }), "{error}");
}

fn missing_objects_are_told(store: &dyn Store) {
    for error in [
        store.get("none/such", 10).unwrap_err(),
        store.get_range("none/such", 0..1).unwrap_err(),
        store.get_range("none/such", 1..1).unwrap_err(),
        store.size("none/such").unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error}");
        assert_eq!(error.to_string(), "none/such is not in the repository");
    }
    store.delete("none/such").unwrap();
    store.put("none/more", Body::from_bytes(pattern(3))).unwrap();
    store.delete("none/more").unwrap();
    assert!(store.size("none/more").unwrap_err().is_not_found());
    assert!(list(store, "none/").is_empty());
}

fn the_first_put_stays(store: &dyn Store) {
    let (first, second) = (b"the first".to_vec(), b"the second".to_vec());
    assert_eq!(store.put("twice", Body::from_bytes(first.clone())).unwrap(), Put::Created);
    assert_eq!(store.put("twice", Body::from_bytes(second)).unwrap(), Put::Exists);
    assert_eq!(store.put("twice", Body::from_bytes(first.clone())).unwrap(), Put::Exists);
    assert_eq!(store.get("twice", 100).unwrap(), first);
}

/// The keys share a prefix with others that must not be listed, and need several pages on S3.
fn listings_are_complete(store: &dyn Store, count: usize) {
    let wanted: BTreeMap<String, u64> =
        (0..count).map(|n| (format!("list/some/{n:04}"), (n % 3) as u64)).collect();
    let keys: Vec<_> = wanted.iter().collect();
    thread::scope(|scope| {
        for share in keys.chunks(count.div_ceil(4)) {
            scope.spawn(move || {
                for (key, size) in share {
                    store.put(key, Body::from_bytes(pattern(**size as usize))).unwrap();
                }
            });
        }
    });
    store.put("list/sometimes", Body::from_bytes(Vec::new())).unwrap();
    store.put("listed", Body::from_bytes(Vec::new())).unwrap();
    assert_eq!(list(store, "list/some/"), wanted);
    assert_eq!(list(store, "list/some").len(), count + 1);
    assert_eq!(list(store, "list/some/0001").len(), 1);
    assert!(list(store, "").len() > count + 2);
    assert!(list(store, "absent/").is_empty());
    // From a key on, and from between two.
    for (after, left) in
        [("list/some/0001", count - 2), ("list/some/0001.", count - 2), ("list/some/000", count)]
    {
        let mut rows = BTreeMap::new();
        let each = &mut |object: snapshot::store::Object| {
            rows.insert(object.key, object.size_bytes);
        };
        store.list_after("list/some/", after, each).unwrap();
        let expected = wanted.iter().filter(|(key, _)| key.as_str() > after);
        assert!(rows.iter().eq(expected), "after {after}");
        assert_eq!(rows.len(), left, "after {after}");
    }
}

/// 20 MiB are more than one PUT takes: S3 gets them in parts.
fn large_objects_arrive_whole(store: &dyn Store) {
    let bytes = pattern(20 << 20);
    for (key, body) in
        [("large/memory", Body::from_bytes(bytes.clone())), ("large/file", file_body(&bytes))]
    {
        assert_eq!(store.put(key, body).unwrap(), Put::Created, "{key}");
        assert_eq!(store.size(key).unwrap(), 20 << 20, "{key}");
        let back = store.get(key, 32 << 20).unwrap();
        assert_eq!(sha256(&back), sha256(&bytes), "{key}");
        let middle = store.get_range(key, 8_388_600..8_388_620).unwrap();
        assert_eq!(middle, &bytes[8_388_600..8_388_620], "{key}");
        assert_eq!(store.put(key, file_body(&bytes[1..])).unwrap(), Put::Exists, "{key}");
        assert_eq!(store.size(key).unwrap(), 20 << 20, "{key}");
    }
}

/// Every writer brings other bytes; the winner's are stored.
fn one_of_many_writers_creates(store: &dyn Store, traits: Traits) {
    for round in 0..5 {
        let key = &format!("race/{round}");
        let created: Vec<u8> = thread::scope(|scope| {
            let writers: Vec<_> = (0..6_u8)
                .map(|writer| {
                    scope.spawn(move || {
                        let put = store.put(key, Body::from_bytes(vec![writer; 2000])).unwrap();
                        (put == Put::Created).then_some(writer)
                    })
                })
                .collect();
            writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect()
        });
        let stored = store.get(key, 2000).unwrap();
        assert_eq!(stored, vec![stored[0]; 2000], "one writer's bytes, whole");
        if traits.atomic {
            assert_eq!(created, [stored[0]], "exactly one writer creates");
        } else {
            assert!(created.contains(&stored[0]), "the winner was told so");
        }
    }
}

fn list(store: &dyn Store, prefix: &str) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    let each = &mut |object: snapshot::store::Object| {
        let again = rows.insert(object.key.clone(), object.size_bytes);
        assert_eq!(again, None, "{} is listed twice", object.key);
    };
    store.list(prefix, each).unwrap();
    rows
}

/// Bytes without a short period, so that parts in the wrong order do not go unseen.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    let mut state = size as u32 | 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(step).collect()
}

/// A body from an unlinked file whose position is at its end, as after writing.
pub(crate) fn file_body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Body { data: Data::File(file), size_bytes: bytes.len() as u64, sha256: sha256(bytes) }
}
