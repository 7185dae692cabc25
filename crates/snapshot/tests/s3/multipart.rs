//! Uploads in parts leave nothing behind: not when they fail, and not for long when they are killed.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use snapshot::store::s3::{S3, S3Options};
use snapshot::store::{Body, Put, Store};

use super::peer::{Peer, Step, answer, done, refusal};
use super::{options, told};
use crate::conformance::{file_body, pattern};
use crate::s3s_server::S3s;
use crate::servers::garage::Garage;
use crate::servers::moto::Moto;
use crate::servers::{Access, BUCKET};

/// Small parts, so that a body of some bytes has several.
fn small(options: &mut S3Options) {
    options.multipart_above_bytes = 8;
    options.part_size_bytes = 4;
    options.parallel_parts = 1;
}

fn begun() -> Step {
    let body = "<InitiateMultipartUploadResult><UploadId>the-upload</UploadId>\
                </InitiateMultipartUploadResult>";
    answer(200, "Content-Type: application/xml\r\n", body)
}

fn completed() -> Step {
    let body = "<CompleteMultipartUploadResult><Key>key</Key></CompleteMultipartUploadResult>";
    answer(200, "Content-Type: application/xml\r\n", body)
}

fn missing() -> Step {
    answer(404, "", "")
}

fn body() -> Body {
    Body::from_bytes(b"some bytes".to_vec())
}

/// `put /vault/key?partnumber=1&uploadid=the-upload` and so on, without what the SDK adds.
fn asked(peer: &Peer) -> Vec<String> {
    let line = |head: &String| {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = query.split('&').filter(|part| !part.starts_with("x-id=")).collect();
        format!("{method} {path} {}", query.join(" ")).trim_end().to_owned()
    };
    peer.requests().iter().map(line).collect()
}

#[test]
fn parts_are_sent_and_completed_under_the_condition() {
    let peer = Peer::start(vec![missing(), begun(), done(), done(), done(), completed()]);
    let store = peer.store_with(small);
    assert_eq!(store.put("key", body()).unwrap(), Put::Created);
    assert_eq!(
        asked(&peer),
        [
            "head /vault/key",
            "post /vault/key uploads",
            "put /vault/key partnumber=1 uploadid=the-upload",
            "put /vault/key partnumber=2 uploadid=the-upload",
            "put /vault/key partnumber=3 uploadid=the-upload",
            "post /vault/key uploadid=the-upload",
        ]
    );
    let last = peer.requests().pop().unwrap();
    assert!(last.contains("\r\nif-none-match: *\r\n"), "{last}");
    assert!(peer.requests()[2].contains("\r\nx-amz-checksum-sha256: "));
}

#[test]
fn a_refused_part_aborts_the_upload_and_is_what_is_told() {
    let denied = refusal(403, "AccessDenied", "Access Denied");
    let peer = Peer::start(vec![missing(), begun(), done(), denied, answer(204, "", "")]);
    let error = peer.store_with(small).put("key", body()).unwrap_err();
    assert_eq!(error.to_string(), "write key: access is denied");
    assert_eq!(asked(&peer).last().unwrap(), "delete /vault/key uploadid=the-upload");
}

#[test]
fn an_object_that_came_in_between_stays_and_the_upload_goes() {
    let taken = refusal(412, "PreconditionFailed", "At least one failed");
    let other = answer(200, "", "more bytes");
    let peer = Peer::start(vec![
        missing(),
        begun(),
        done(),
        done(),
        done(),
        taken,
        answer(204, "", ""),
        other,
    ]);
    assert_eq!(peer.store_with(small).put("key", body()).unwrap(), Put::Exists);
    assert_eq!(asked(&peer)[6], "delete /vault/key uploadid=the-upload");
}

/// The server completed and the answer was lost: the second try finds no upload, but our object.
#[test]
fn a_lost_answer_to_completion_still_means_created() {
    let gone = refusal(404, "NoSuchUpload", "The specified upload does not exist");
    let whole = answer(200, "", "some bytes");
    let head = answer(200, "", "");
    let peer = Peer::start(vec![
        missing(),
        begun(),
        done(),
        done(),
        done(),
        Step::Hang,
        gone,
        missing(),
        head,
        whole,
    ]);
    assert_eq!(peer.store_with(small).put("key", body()).unwrap(), Put::Created);
}

/// S3 does not complete an upload that met another writer; it wants a new one.
#[test]
fn a_conflict_at_completion_begins_the_upload_anew() {
    let conflict = refusal(409, "ConditionalRequestConflict", "Try again.");
    let mut script = vec![missing(), begun(), done(), done(), done(), conflict];
    script.extend([answer(204, "", ""), missing()]);
    script.extend([begun(), done(), done(), done(), completed()]);
    let peer = Peer::start(script);
    assert_eq!(peer.store_with(small).put("key", body()).unwrap(), Put::Created);
    assert_eq!(asked(&peer)[6], "delete /vault/key uploadid=the-upload");
}

#[test]
fn a_failed_upload_leaves_nothing_on_the_server() {
    let Some(server) = Moto::start() else { return };
    let store = S3::open(BUCKET, "some", &options(&server.access)).unwrap();
    let bytes = pattern(17 << 20);
    let mut changed = file_body(&bytes);
    changed.sha256 = [0; 32];
    let error = store.put("changed", changed).unwrap_err();
    assert_eq!(error.to_string(), "write changed");
    let mut short = file_body(&bytes);
    short.size_bytes += 1;
    store.put("short", short).unwrap_err();
    assert_eq!(uploads(&server.access), 0);
    assert!(store.size("changed").unwrap_err().is_not_found());
    // The count can see one: otherwise the zero above proves nothing.
    leave_upload(&server.access, "some/killed");
    assert_eq!(uploads(&server.access), 1);
}

#[test]
fn uploads_of_killed_runs_are_removed_on_moto() {
    let Some(server) = Moto::start() else { return };
    // moto dates every upload 2010.
    removes_stale_uploads(&server.access, None);
}

#[test]
fn uploads_of_killed_runs_are_removed_on_garage() {
    let Some(server) = Garage::start() else { return };
    removes_stale_uploads(&server.access, Some(Duration::from_secs(600)));
}

/// Only those under the prefix, and none that is younger than `young`.
fn removes_stale_uploads(access: &Access, young: Option<Duration>) {
    let store = S3::open(BUCKET, "some", &options(access)).unwrap();
    for key in ["some/one", "some/other", "somewhere/else"] {
        leave_upload(access, key);
    }
    if let Some(young) = young {
        assert_eq!(store.abort_stale_uploads(young).unwrap(), 0);
    }
    assert_eq!(uploads(access), 3);
    assert_eq!(store.abort_stale_uploads(Duration::ZERO).unwrap(), 2);
    assert_eq!(uploads(access), 1);
    assert_eq!(store.abort_stale_uploads(Duration::ZERO).unwrap(), 0);
    assert!(store.requests().delete >= 2);
    assert!(store.requests().list >= 2);
}

/// s3s-fs 0.14.1 cannot list uploads; that must be told and not taken for none.
#[test]
fn a_server_that_cannot_list_uploads_says_so() {
    let server = S3s::start();
    let store = S3::open(BUCKET, "some", &options(&server.access)).unwrap();
    let error = store.abort_stale_uploads(Duration::ZERO).unwrap_err();
    assert_eq!(
        told(&error),
        "list unfinished uploads: the server lacks a part of S3: \
         ListMultipartUploads is not implemented yet\n\
         hint: use another server, or a newer version of this one"
    );
}

fn leave_upload(access: &Access, key: &str) {
    wait(async {
        let upload = client(access).create_multipart_upload().bucket(BUCKET).key(key);
        upload.send().await.unwrap();
    });
}

fn uploads(access: &Access) -> usize {
    wait(async {
        let page = client(access).list_multipart_uploads().bucket(BUCKET).send().await.unwrap();
        page.uploads().len()
    })
}

fn client(access: &Access) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&access.endpoint)
        .region(Region::from_static(access.region))
        .credentials_provider(Credentials::new(&access.id, &access.secret, None, None, "test"))
        .force_path_style(true);
    Client::from_conf(config.build())
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
