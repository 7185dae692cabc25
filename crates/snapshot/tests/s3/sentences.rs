//! Each way that a server refuses gives one clear sentence and a next step.

use snapshot::store::s3::{S3, S3Options};
use snapshot::store::{Body, Store};

use super::peer::{Peer, answer, refusal};
use super::{options, told};
use crate::servers::garage::Garage;
use crate::servers::moto::Moto;
use crate::servers::{Access, BUCKET, http};

/// The sentence for a put of `key`.
pub(super) fn put(store: &S3) -> String {
    told(&store.put("key", Body::from_bytes(b"bytes".to_vec())).unwrap_err())
}

pub(super) fn open(access: &Access, change: impl FnOnce(&mut S3Options)) -> S3 {
    let mut options = options(access);
    options.patience.attempts = 1;
    change(&mut options);
    S3::open(BUCKET, "", &options).unwrap()
}

/// The sentence when a put gets this answer.
fn put_refused(status: u16, code: &str, message: &str) -> String {
    let peer = Peer::start(vec![refusal(status, code, message)]);
    put(&open(&peer.access, |_| ()))
}

const UNKNOWN_KEY: &str = "write key: the server does not know the access key\n\
     hint: check AWS_ACCESS_KEY_ID, or which profile AWS_PROFILE names";
const WRONG_SECRET: &str = "write key: the secret key does not fit the access key\n\
     hint: check AWS_SECRET_ACCESS_KEY for a missing or changed character";

#[test]
fn wrong_bucket() {
    let Some(server) = Moto::start() else { return };
    let store = S3::open("volt", "", &options(&server.access)).unwrap();
    let sentence = format!(
        "there is no bucket `volt` at {}\n\
         hint: create the bucket, or check its name, the endpoint and the region",
        server.access.endpoint
    );
    assert_eq!(put(&store), format!("write key: {sentence}"));
    let error = store.get("key", 9).unwrap_err();
    assert_eq!(told(&error), format!("read key: {sentence}"));
    let error = store.list("", &mut |_| ()).unwrap_err();
    assert_eq!(told(&error), format!("list the repository: {sentence}"));
}

/// moto speaks AWS's words once it has a user and was told to look.
#[test]
fn credentials_that_aws_would_refuse() {
    let Some(server) = Moto::start() else { return };
    let iam = |action: &str| {
        let body = format!("Action={action}&UserName=backup&Version=2010-05-08");
        http(
            server.port,
            &format!(
                "POST / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/\
                 iam/aws4_request, SignedHeaders=host, Signature=x\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    iam("CreateUser");
    let made = iam("CreateAccessKey");
    let part = |name: &str| {
        let text = made.split_once(&format!("<{name}>")).expect("a key was made").1;
        text.split_once('<').unwrap().0.to_owned()
    };
    let good = Access {
        id: part("AccessKeyId"),
        secret: part("SecretAccessKey"),
        ..server.access.clone()
    };
    server.require_auth();

    assert_eq!(put(&open(&server.access, |_| ())), UNKNOWN_KEY);
    let wrong = Access { secret: "wrong".into(), ..good.clone() };
    assert_eq!(put(&open(&wrong, |_| ())), WRONG_SECRET);
    let store = open(&good, |_| ());
    assert_eq!(
        put(&store),
        "write key: access is denied\n\
         hint: the access key needs s3:PutObject and s3:AbortMultipartUpload on the prefix"
    );
    // A HEAD is answered without a reason; the store must find it all the same.
    assert_eq!(
        told(&store.size("key").unwrap_err()),
        "read key: access is denied\n\
         hint: the access key needs s3:GetObject on the prefix, and s3:ListBucket on the bucket: \
         without it missing objects are answered in this way too"
    );
    assert_eq!(
        told(&store.list("", &mut |_| ()).unwrap_err()),
        "list the repository: access is denied\n\
         hint: the access key needs s3:ListBucket on the bucket"
    );
}

#[test]
fn credentials_that_garage_refuses() {
    let Some(server) = Garage::start() else { return };
    let good = &server.access;
    let unknown = Access { id: "GK000000000000000000000000".into(), ..good.clone() };
    assert_eq!(put(&open(&unknown, |_| ())), UNKNOWN_KEY);
    let wrong = Access { secret: "0".repeat(64), ..good.clone() };
    assert_eq!(put(&open(&wrong, |_| ())), WRONG_SECRET);
    let elsewhere = Access { region: "eu-west-9", ..good.clone() };
    assert_eq!(
        put(&open(&elsewhere, |_| ())),
        "write key: the bucket `vault` is not in the region eu-west-9\n\
         hint: set AWS_REGION=garage"
    );
    server.command(&["bucket", "deny", "--write", "--key", &good.id, BUCKET]);
    assert_eq!(
        put(&open(good, |_| ())),
        "write key: access is denied: Forbidden: Operation is not allowed for this key.\n\
         hint: the access key needs s3:PutObject and s3:AbortMultipartUpload on the prefix"
    );
}

#[test]
fn quota() {
    let Some(server) = Garage::start() else { return };
    server.command(&["bucket", "set-quotas", BUCKET, "--max-size", "3B"]);
    let full = "write key: no space left at the repository\n\
         hint: free space there and run again: what is stored is kept and not uploaded twice";
    assert_eq!(put(&open(&server.access, |_| ())), full);
    assert_eq!(put_refused(507, "InsufficientStorage", ""), full);
    assert_eq!(put_refused(403, "QuotaExceeded", "Over."), full);
}

#[test]
fn expired_token() {
    for (status, code) in [(400, "ExpiredToken"), (403, "ExpiredTokenException")] {
        assert_eq!(
            put_refused(status, code, "The provided token has expired."),
            "write key: the session token of the credentials has expired\n\
             hint: get new credentials and run again: what is stored is not uploaded twice"
        );
    }
    // On a HEAD the code is only in the answer to the GET that follows.
    let expired = refusal(400, "ExpiredToken", "The provided token has expired.");
    let peer = Peer::start(vec![answer(400, "", ""), expired]);
    assert_eq!(
        open(&peer.access, |_| ()).size("key").unwrap_err().to_string(),
        "read key: the session token of the credentials has expired"
    );
}

#[test]
fn token_of_another_key() {
    assert_eq!(
        put_refused(400, "InvalidToken", "The provided token is malformed."),
        "write key: the session token does not fit the access key\n\
         hint: check AWS_SESSION_TOKEN; unset it if the access key is a permanent one"
    );
}

#[test]
fn clock() {
    assert_eq!(
        put_refused(403, "RequestTimeTooSkewed", "The difference is too large."),
        "write key: the clocks of this host and of the server differ too much\n\
         hint: set the clock of this host (`timedatectl set-ntp true`)"
    );
}

#[test]
fn region_of_aws() {
    let header = "x-amz-bucket-region: eu-central-1\r\nContent-Type: application/xml\r\n";
    let text = "<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>";
    let wrong = "write key: the bucket `vault` is not in the region us-east-1\n\
         hint: set AWS_REGION=eu-central-1";
    let peer = Peer::start(vec![answer(301, header, text)]);
    assert_eq!(put(&open(&peer.access, |_| ())), wrong);
    let text = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The region is wrong\
                </Message><Region>eu-central-1</Region></Error>";
    let peer = Peer::start(vec![answer(400, "Content-Type: application/xml\r\n", text)]);
    assert_eq!(put(&open(&peer.access, |_| ())), wrong);
}

#[test]
fn archived_object() {
    let peer = Peer::start(vec![refusal(403, "InvalidObjectState", "The operation is not valid")]);
    assert_eq!(
        told(&open(&peer.access, |_| ()).get("key", 9).unwrap_err()),
        "read key: the object is in an archive storage class\n\
         hint: bring it back first with `aws s3api restore-object`"
    );
}

#[test]
fn bytes_damaged_on_the_way() {
    assert_eq!(
        put_refused(400, "BadDigest", "The SHA256 you specified did not match"),
        "write key: the bytes did not arrive as they were sent\n\
         hint: check the network and what stands in between: a proxy, a tunnel"
    );
}

/// A stranger's words are cut and kept on one line.
#[test]
fn unknown_refusals_keep_the_words_of_the_server() {
    let words = format!("No&#10;way. {}", "x".repeat(1000));
    let sentence = put_refused(400, "Odd", &words);
    let (first, hint) = sentence.split_once('\n').unwrap();
    assert!(first.starts_with("write key: the server answered 400 Odd: No way. xxx"), "{first}");
    assert!(first.len() < 260, "{first}");
    assert_eq!(hint, "hint: check bucket, endpoint and region");
}

#[test]
fn a_web_server_is_not_an_s3_server() {
    let page = "<!doctype html><title>Welcome</title>";
    let peer = Peer::start(vec![answer(200, "Content-Type: text/html\r\n", page)]);
    let endpoint = &peer.access.endpoint;
    assert_eq!(
        told(&open(&peer.access, |_| ()).list("", &mut |_| ()).unwrap_err()),
        format!(
            "list the repository: the answer of {endpoint} is not one of S3\n\
             hint: check the endpoint: a web console or a proxy may listen there"
        )
    );
}
