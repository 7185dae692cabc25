//! Every store and every S3 server that the suite runs on.

use snapshot::store::faulty::Faulty;
use snapshot::store::local::Local;
use snapshot::store::memory::Memory;
use snapshot::store::s3::S3;
use snapshot::store::{Body, Put, Store};

use super::{Traits, conformance, pattern};
use crate::s3::open;
use crate::s3s_server::S3s;
use crate::servers::Access;
use crate::servers::garage::Garage;
use crate::servers::moto::Moto;

const LOCAL: Traits = Traits { atomic: true, many_objects: true };

#[test]
fn memory() {
    conformance(&Memory::default(), LOCAL);
}

#[test]
fn faulty_without_a_fault() {
    let store = Faulty::new(Memory::default(), None);
    conformance(&store, LOCAL);
    assert!(store.calls() > 1000);
    assert!(!store.has_failed());
}

#[test]
fn local() {
    let dir = tempfile::tempdir().unwrap();
    conformance(&Local::open(&dir.path().join("made/on/demand")), LOCAL);
}

#[test]
fn s3_on_s3s() {
    let server = S3s::start();
    on_server(&server.access, ATOMIC);
}

#[test]
fn s3_on_moto() {
    let Some(server) = Moto::start() else { return };
    on_server(&server.access, CHECKS_FIRST);
}

#[test]
fn s3_on_garage() {
    let Some(server) = Garage::start() else { return };
    on_server(&server.access, IGNORES);
}

#[test]
fn s3_on_three_garage_nodes() {
    let Some(mut server) = Garage::start_three() else { return };
    on_server(&server.access, IGNORES);
    // Two of three nodes still acknowledge, and still have what all three had.
    server.kill(2);
    let store = open(&server.access, "some/prefix");
    store.set_conditional_create(false);
    assert_eq!(store.put("later", Body::from_bytes(vec![1; 1000])).unwrap(), Put::Created);
    assert_eq!(store.get("later", 1000).unwrap(), [1; 1000]);
    assert_eq!(store.get("large/file", 32 << 20).unwrap(), pattern(20 << 20));
}

/// What was seen of a server: what the probe says, and whether that holds for writers that meet.
#[derive(Debug, Clone, Copy)]
struct Seen {
    probe: bool,
    atomic: bool,
}

/// As AWS does it. Here s3s-fs 0.14.1, made to take one request at a time.
const ATOMIC: Seen = Seen { probe: true, atomic: true };
/// moto 5.2.5 looks for the object and stores it in two steps that threads may interleave.
const CHECKS_FIRST: Seen = Seen { probe: true, atomic: false };
/// Garage 2.5.0 ignores `If-None-Match` on writes and replaces the object.
const IGNORES: Seen = Seen { probe: false, atomic: false };

/// Runs the suite as `init` would set the store up.
fn on_server(access: &Access, seen: Seen) {
    let store: S3 = open(access, "some/prefix");
    assert_eq!(store.probe_conditional_create().unwrap(), seen.probe, "the probe");
    store.set_conditional_create(seen.probe);
    conformance(&store, Traits { atomic: seen.atomic, many_objects: true });
    // The other way must work everywhere.
    let store = open(access, "unconditional");
    store.set_conditional_create(false);
    conformance(&store, Traits { atomic: false, many_objects: false });
}
