//! haproxy in front of our server: the client is who haproxy says, and haproxy's own probes are answered.

use smtp::client::{Endpoint, Protocol};

use super::letters::letter;
use super::suite::{connect, send};
use crate::mail::jail::Home;
use crate::mail::programs::installed;
use crate::process::{Process, free_port, is_skipped};
use crate::scripted::options;
use crate::world::{Plan, World, envelope, eventually};

#[tokio::test]
async fn the_client_is_who_haproxy_says() {
    if is_skipped("haproxy") {
        return;
    }
    installed("haproxy", "/usr/sbin/haproxy");
    for version in ["send-proxy", "send-proxy-v2"] {
        let world = World::start(Plan { is_proxied: true, ..Plan::default() }).await;
        let home = Home::new();
        let (port, server) = (free_port(), world.address());
        let configuration = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 30s\n  \
             timeout server 30s\nlisten mail\n  bind 127.0.0.1:{port}\n  option smtpchk EHLO probe.test\n  \
             server mx {server} {version} check inter 50ms fall 1 rise 1\n"
        );
        let configuration = home.write("configuration", &configuration);
        let mut command = std::process::Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(configuration);
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(port);
        let endpoint = Endpoint::Tcp(([127, 0, 0, 1], port).into(), Some([127, 0, 0, 2].into()));
        for number in 0..3 {
            let mut client = connect(&endpoint, &options(true, Protocol::Esmtp)).await;
            let letter = letter(&format!("{version} {number}"), b".\r\n");
            let outcomes = send(&mut client, &envelope(&["a@x.test"]), &letter).await;
            assert!(outcomes[0].is_accepted(), "{outcomes:?}");
            client.quit().await;
        }
        eventually("haproxy probes", 11, || {
            usize::try_from(world.server.counts().connections).unwrap()
        })
        .await;
        assert_eq!(home.complaints("output", &["DOWN", "ALERT"], &[]), [""; 0]);
        assert!(world.messages("x.test/a").iter().all(|text| text.contains("[127.0.0.2]")));
        let events = world.stop().await;
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|event| event.peer.as_deref() == Some("127.0.0.2")));
    }
}
