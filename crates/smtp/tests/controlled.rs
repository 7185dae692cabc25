//! The control socket: what a running server is asked and told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use smtp::Content;
use smtp::client::{Client, Protocol};
use smtp::server::{Reply, Request, ask, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::scripted::options;
use crate::world::{Plan, World, codes, envelope};

#[tokio::test]
async fn a_running_server_is_asked_and_told_by_its_owner_alone() {
    let world = World::start(Plan::default()).await;
    let path = world.dir.path().join("control");
    let (listener, bound) = bind(&path, 0o600).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let control = tokio::spawn(Arc::clone(&world.server).control(listener));
    let send = async || {
        let options = options(true, Protocol::Esmtp);
        let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
        codes(&client.send(&envelope(&["a@x.test"]), &[&Content::new(b"x\r\n")], None).await)
    };
    let rules = |toml: &str| Request::Rules { toml: toml.into() };
    let full = rules("[[rule]]\nat = 'end'\nreply = '452 4.2.2 full'\n");
    assert_eq!(send().await, [250]);
    assert_eq!(ask(&path, &full).await.unwrap(), Reply::Rules(1));
    assert_eq!(send().await, [452]);
    // Rules that make no sense change none.
    let refused = ask(&path, &rules("[[rule]]\nat = 'end'\n")).await.unwrap();
    assert!(matches!(&refused, Reply::Error(why) if why.contains("rule 1")), "{refused:?}");
    assert_eq!(send().await, [452]);
    assert_eq!(ask(&path, &rules("")).await.unwrap(), Reply::Rules(0));
    assert_eq!(send().await, [250]);
    let Reply::Counts(counts) = ask(&path, &Request::Counts).await.unwrap() else { panic!() };
    assert_eq!((counts.accepted, counts.refused, counts.transactions), (2, 2, 4));
    let queue = ask(&path, &Request::Queue).await.unwrap();
    assert_eq!(queue, Reply::Queue { total: 0, oldest: vec![] });
    assert_eq!(ask(&path, &Request::Flush).await.unwrap(), queue);
    for nonsense in ["{}\n", "\n", "{\"do\":\"dance\"}\n", "\u{0}"] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("{\"error\":\"this is no request"), "{nonsense:?}: {reply}");
    }
    // Nobody takes a socket away from who serves it.
    assert!(bind(&path, 0o600).await.unwrap_err().to_string().contains("another server"));
    assert_eq!(ask(&path, &Request::Stop).await.unwrap(), Reply::Stopping);
    control.await.unwrap();
    drop(bound);
    assert!(!path.exists());
    world.stop().await;
}

#[tokio::test]
async fn a_socket_that_a_kill_left_is_replaced_and_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (_listener, bound) = bind(&path, 0o600).await.unwrap();
    drop(bound);
    fs::write(&path, "mine").unwrap();
    assert!(bind(&path, 0o600).await.unwrap_err().to_string().contains("no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
