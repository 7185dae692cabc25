//! The AWS conventions: where credentials, region and endpoint come from when no option names them.
//! They are read from the environment, so each case runs this test binary again with one of its own.

use std::env;
use std::path::Path;
use std::process::Command;

use snapshot::store::s3::{S3, S3Options};
use snapshot::store::{Body, Store};

use super::peer::{Peer, answer, done};
use super::{options, told};
use crate::servers::moto::Moto;
use crate::servers::process::free_port;
use crate::servers::{Access, BUCKET};

/// In the child: opens a store by the conventions alone and puts an object.
#[test]
fn child() {
    if env::var_os("MAILRIG_TEST_CHILD").is_none() {
        return;
    }
    let put = S3::open(BUCKET, "", &S3Options::default())
        .and_then(|store| store.put("key", Body::from_bytes(b"bytes".to_vec())));
    let told = put.map_or_else(|error| told(&error), |put| format!("{put:?}"));
    println!("{BEGIN}{told}{END}");
}

const BEGIN: &str = "<told>";
const END: &str = "</told>";

/// What the child told, run with these variables and none besides.
fn told_with(home: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "s3::conventions::child", "--nocapture"])
        .env_clear()
        .env("MAILRIG_TEST_CHILD", "1")
        .env("PATH", env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = output.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    told.unwrap_or_else(|| panic!("{output}")).0.to_owned()
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

#[test]
fn nothing_is_set() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(
        told_with(home.path(), &[]),
        "open s3://vault: no region is set\n\
         hint: set AWS_REGION, or `region` in the profile, to the region of the bucket"
    );
    assert_eq!(
        told_with(home.path(), &[("AWS_REGION", "eu-central-1")]),
        "open s3://vault: no AWS credentials were found\n\
         hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile that \
         has them"
    );
}

/// The chain asks the instance last. Where that is no EC2 host, or forbids it, nobody had a key.
#[test]
fn the_instance_has_no_credentials_either() {
    let home = tempfile::tempdir().unwrap();
    let nothing = format!("http://127.0.0.1:{}", free_port());
    let forbids = Peer::start(vec![answer(403, "", ""); 9]);
    for endpoint in [&nothing, &forbids.access.endpoint] {
        let variables = [
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint),
            ("AWS_REGION", "eu-central-1"),
        ];
        let told = told_with(home.path(), &variables);
        assert!(told.starts_with("open s3://vault: no AWS credentials were found"), "{told}");
    }
    assert!(!forbids.requests().is_empty());
}

#[test]
fn a_command_that_brings_no_keys() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let profile = "[default]\nregion = x\ncredential_process = false\n";
    std::fs::write(home.path().join(".aws/config"), profile).unwrap();
    let told = told_with(home.path(), &[]);
    let reason = "open s3://vault: the AWS credentials could not be loaded: Error retrieving \
                  credentials: external process exited with code exit status: 1.";
    assert!(told.starts_with(reason), "{told}");
    let hint = "hint: check AWS_PROFILE and the files ~/.aws/config and ~/.aws/credentials";
    assert!(told.ends_with(hint), "{told}");
}

#[test]
fn endpoint_and_keys_from_the_environment() {
    let home = tempfile::tempdir().unwrap();
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let peer = Peer::start(vec![done()]);
        let mut variables = KEYS.to_vec();
        variables.push((name, &peer.access.endpoint));
        assert_eq!(told_with(home.path(), &variables), "Created", "{name}");
        let request = peer.requests().remove(0);
        assert!(request.starts_with("put /vault/key?"), "path style: {request}");
        assert!(request.contains("/us-east-1/s3/aws4_request"), "{request}");
    }
}

#[test]
fn a_profile_brings_everything() {
    let home = tempfile::tempdir().unwrap();
    let peer = Peer::start(vec![done()]);
    let folder = home.path().join(".aws");
    std::fs::create_dir(&folder).unwrap();
    let keys = r#"{"Version":1,"AccessKeyId":"from-a-command","SecretAccessKey":"secret"}"#;
    let script = home.path().join("keys");
    std::fs::write(&script, format!("#!/bin/sh\necho '{keys}'\n")).unwrap();
    let profile = format!(
        "[profile backup]\nregion = eu-west-9\nendpoint_url = {}\ncredential_process = sh {}\n",
        peer.access.endpoint,
        script.display()
    );
    std::fs::write(folder.join("config"), profile).unwrap();
    assert_eq!(told_with(home.path(), &[("AWS_PROFILE", "backup")]), "Created");
    let request = peer.requests().remove(0);
    assert!(request.contains("credential=from-a-command/"), "{request}");
    assert!(request.contains("/eu-west-9/s3/aws4_request"), "{request}");
    let absent = told_with(home.path(), &[("AWS_PROFILE", "absent"), ("AWS_REGION", "x")]);
    assert!(absent.starts_with("open s3://vault: no AWS credentials were found"), "{absent}");
}

/// The hint that errors about certificates give must help.
#[test]
fn an_authority_of_ones_own() {
    let home = tempfile::tempdir().unwrap();
    let Some(server) = Moto::start_tls_signed() else { return };
    let mut variables = KEYS.to_vec();
    variables.push(("AWS_ENDPOINT_URL", &server.access.endpoint));
    let told = told_with(home.path(), &variables);
    assert!(told.contains("is not trusted: UnknownIssuer"), "{told}");
    let authority = server.folder.path().join("authority.pem");
    variables.push(("SSL_CERT_FILE", authority.to_str().unwrap()));
    let told = told_with(home.path(), &variables);
    assert!(told.contains("there is no bucket `vault`"), "{told}");
}

/// Some servers begin at the beginning all the same.
#[test]
fn a_listing_begins_where_it_is_told_to() {
    let rows = ["snapshots/1", "snapshots/2", "snapshots/3"]
        .map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>"));
    let body = format!("<ListBucketResult>{}</ListBucketResult>", rows.concat());
    let peer = Peer::start(vec![answer(200, "Content-Type: application/xml\r\n", &body)]);
    let mut keys = Vec::new();
    peer.store()
        .list_after("snapshots/", "snapshots/1", &mut |object| keys.push(object.key))
        .unwrap();
    assert_eq!(keys, ["snapshots/2", "snapshots/3"]);
    let request = peer.requests().remove(0);
    assert!(request.contains("start-after=snapshots%2f1"), "{request}");
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let access = Access {
        endpoint: "http://127.0.0.1:1".into(),
        region: "x",
        id: "visible".into(),
        secret: "hidden".into(),
    };
    let options = options(&access);
    let shown = format!("{options:?} {:?}", S3::open(BUCKET, "a/b", &options).unwrap());
    assert!(shown.contains("visible") && shown.contains("s3://vault/a/b"), "{shown}");
    assert!(!shown.contains("hidden"), "{shown}");
}
