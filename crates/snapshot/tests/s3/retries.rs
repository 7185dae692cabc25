//! Passing failures are tried again and counted; lasting ones are not, and nothing waits for ever.

use std::time::{Duration, Instant};

use snapshot::store::{Body, Put, Requests, Store};

use super::peer::{Peer, Step, answer, done, refusal};
use super::told;

fn body() -> Body {
    Body::from_bytes(b"some bytes".to_vec())
}

#[test]
fn a_put_sends_its_checksum_and_creates_only() {
    let peer = Peer::start(vec![done()]);
    assert_eq!(peer.store().put("key", body()).unwrap(), Put::Created);
    let requests = peer.requests();
    assert!(requests[0].starts_with("put /vault/key"), "{requests:?}");
    assert!(requests[0].contains("\r\nif-none-match: *\r\n"));
    let sum = "\r\nx-amz-checksum-sha256: DSLNzBDm0Enb4a9RI9UIc/38Gk9YMG5Yy2JBvpRyAU0=\r\n";
    assert!(requests[0].contains(&sum.to_lowercase()), "{requests:?}");
    assert!(!requests[0].contains("aws-chunked"));
}

#[test]
fn slow_down_is_tried_again_and_counted() {
    let slow = || refusal(503, "SlowDown", "Please reduce your request rate.");
    let peer = Peer::start(vec![slow(), slow(), done()]);
    let store = peer.store();
    assert_eq!(store.put("key", body()).unwrap(), Put::Created);
    assert_eq!(store.requests(), Requests { put: 3, ..Requests::default() });
}

#[test]
fn patience_ends_and_tells_the_last_failure() {
    let slow = refusal(503, "SlowDown", "Please reduce your request rate.");
    let peer = Peer::start(vec![slow; 9]);
    let error = peer.store().put("key", body()).unwrap_err();
    assert!(error.is_transient());
    assert_eq!(
        told(&error),
        "write key: the server answered 503 SlowDown (tried 5 times)\n\
         hint: the server is overloaded or in trouble: look at it, and run again later"
    );
    assert_eq!(peer.requests().len(), 5);
}

#[test]
fn a_lasting_failure_is_not_tried_again() {
    let peer = Peer::start(vec![refusal(403, "AccessDenied", "Access Denied")]);
    assert!(!peer.store().put("key", body()).unwrap_err().is_transient());
    assert_eq!(peer.requests().len(), 1);
}

#[test]
fn a_conflict_of_two_writers_is_tried_again() {
    let conflict = refusal(409, "ConditionalRequestConflict", "Try again.");
    let peer = Peer::start(vec![conflict, done()]);
    assert_eq!(peer.store().put("key", body()).unwrap(), Put::Created);
}

#[test]
fn an_object_in_place_is_left_alone() {
    let peer = Peer::start(vec![refusal(412, "PreconditionFailed", "At least one failed")]);
    assert_eq!(peer.store().put("key", body()).unwrap(), Put::Exists);
    assert_eq!(peer.requests().len(), 1);
}

/// The first try stored the object and its answer was lost; the second finds it. Its bytes tell
/// whether it is ours.
#[test]
fn a_lost_answer_still_means_created() {
    let taken = || refusal(412, "PreconditionFailed", "At least one failed");
    let peer = Peer::start(vec![Step::Hang, taken(), answer(200, "", "some bytes")]);
    assert_eq!(peer.store().put("key", body()).unwrap(), Put::Created);
    let peer = Peer::start(vec![Step::Hang, taken(), answer(200, "", "more bytes")]);
    assert_eq!(peer.store().put("key", body()).unwrap(), Put::Exists);
}

#[test]
fn a_server_without_conditional_writes_is_asked_first() {
    let unknown = refusal(501, "NotImplemented", "A header you provided is not implemented.");
    let peer = Peer::start(vec![unknown, answer(404, "", ""), done(), answer(404, "", ""), done()]);
    let store = peer.store();
    assert_eq!(store.put("key", body()).unwrap(), Put::Created);
    assert_eq!(store.put("other", body()).unwrap(), Put::Created);
    let requests = peer.requests();
    let asked: Vec<_> = requests.iter().map(|head| head.split(' ').next().unwrap()).collect();
    assert_eq!(asked, ["put", "head", "put", "head", "put"]);
    assert!(!requests[2].contains("if-none-match"));
    assert_eq!(store.requests(), Requests { put: 3, head: 2, ..Requests::default() });
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_again() {
    let cut = |length: usize| {
        Step::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nsome"))
    };
    let peer = Peer::start(vec![Step::Hang, cut(10), answer(200, "", "some bytes")]);
    let store = peer.store();
    assert_eq!(store.get("key", 100).unwrap(), b"some bytes");
    assert_eq!(store.requests(), Requests { get: 3, ..Requests::default() });
    let peer = Peer::start(vec![cut(10); 5]);
    assert_eq!(
        told(&peer.store().get("key", 100).unwrap_err()),
        "read key: the connection broke in the middle of the answer (tried 5 times)\n\
         hint: check the network between this host and the server"
    );
}

/// Neither before the answer begins nor in the middle of it.
#[test]
fn nobody_waits_for_a_silent_server() {
    let peer = Peer::start(vec![Step::Silence, Step::Silence, Step::Silence, Step::Silence]);
    let store = peer.store_with(|options| {
        options.patience.connect = Duration::from_millis(100);
        options.patience.answer = Duration::from_millis(200);
        options.patience.attempts = 2;
    });
    let started = Instant::now();
    let sentence = "no answer within 0.3 s (tried 2 times)\n\
                    hint: check the network and the load of the server";
    let error = store.put("key", body()).unwrap_err();
    assert_eq!(told(&error), format!("write key: {sentence}"));
    let error = store.get("key", 100).unwrap_err();
    assert_eq!(told(&error), format!("read key: {sentence}"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn no_try_begins_after_the_time_for_all_of_them() {
    let peer = Peer::start(vec![refusal(500, "InternalError", "We are sorry"); 9]);
    let store = peer.store_with(|options| {
        options.patience.first_wait = Duration::from_secs(60);
        options.patience.total = Duration::from_secs(1);
    });
    let error = store.delete("key").unwrap_err();
    assert_eq!(error.to_string(), "delete key: the server answered 500 InternalError");
    assert_eq!(peer.requests().len(), 1);
}

#[test]
fn a_limit_stops_a_large_answer_before_it_is_read() {
    // The body never comes: a reader that waited for it would fail.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    let peer = Peer::start(vec![Step::Answer(head.into())]);
    let error = peer.store().get("key", 1000).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key has 99999999999 bytes, more than the 1000 that such an object may have"
    );
}

#[test]
fn a_server_that_ignores_ranges_is_found_out() {
    let peer = Peer::start(vec![answer(200, "", "some bytes")]);
    let error = peer.store().get_range("key", 2..4).unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "read key: {} ignores byte ranges\n\
             hint: use a server that has them: restores read small parts of large objects",
            peer.access.endpoint
        )
    );
}
