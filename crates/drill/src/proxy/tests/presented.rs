//! Certificates with a flaw: what a client that looks says of each, what one that does not look delivers, and that what
//! is inside TLS is followed like the rest.

use smtp::client::{Client, Options, Secure};
use smtp::tls::{Tls, Trust};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{CertificateError, Error};

use super::*;

fn options_of(trust: &Trust, server_name: &str) -> Options {
    let tls = Tls::new(trust, false, None).unwrap();
    let server_name = server_name.into();
    Options { tls: Some(Secure { tls, is_implicit: false, server_name }), ..options() }
}

fn present(flaw: &str) -> String {
    format!("[[rule]]\nat = 'starttls'\npresent_certificate = '{flaw}'\n")
}

async fn world(rules: &'static str) -> (World, CertificateDer<'static>) {
    let certificate = Certificate::self_signed("mx.test").unwrap();
    let der = certificate.der().unwrap().clone();
    let plan = Plan { certificate: Some(certificate), rules, ..Plan::default() };
    (World::start(plan).await, der)
}

/// A session whose STARTTLS was answered, said with what follows it at once.
async fn begun(world: &World, after: &str) -> TcpStream {
    let stream = TcpStream::connect(world.proxy.address()).await.unwrap();
    let mut stream = BufReader::new(stream);
    for (command, last) in [("", "220 "), ("EHLO c\r\n", "250 "), ("STARTTLS\r\n", "220 ")] {
        let more = if command.starts_with("START") { after } else { "" };
        stream.write_all(format!("{command}{more}").as_bytes()).await.unwrap();
        let mut line = String::new();
        while !line.starts_with(last) {
            line.clear();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "{command}");
        }
    }
    assert!(stream.buffer().is_empty());
    stream.into_inner()
}

/// The certificate that a client sees, as it is trusted and whose name it wants.
async fn seen(
    world: &World,
    trust: &Trust,
    server_name: &str,
) -> Result<CertificateDer<'static>, Error> {
    let tls = Tls::new(trust, false, None).unwrap();
    let connected = tls.connect(server_name, begun(world, "").await).await;
    let connected =
        connected.map_err(|e| e.downcast::<Error>().expect("it is what TLS has to say"))?;
    Ok(connected.get_ref().1.peer_certificates().unwrap()[0].clone())
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { .. }) => "expired",
        Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }) => "not_yet_valid",
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => "other_name",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "self_signed",
        _ => "other",
    }
}

#[tokio::test]
async fn who_looks_sees_the_flaw_and_nothing_else() {
    let (world, servers_own) = world("").await;
    for flaw in ["expired", "not_yet_valid", "other_name", "self_signed"] {
        world.proxy.set(rules(&present(flaw)), crate::proxy::Mode::Pass).await.unwrap();
        let shown = seen(&world, &Trust::Anybody, "x.test").await.unwrap();
        assert_ne!(shown, servers_own);
        let trust = match flaw {
            "self_signed" => Trust::Roots(vec![servers_own.clone()]),
            _ => Trust::Roots(vec![shown.clone()]),
        };
        for name in ["proxy.drill.test", "localhost", "127.0.0.1"] {
            let error = seen(&world, &trust, name).await.unwrap_err();
            assert_eq!(kind(&error), flaw, "{name}: {error}");
        }
        if flaw == "self_signed" {
            let trust = Trust::Roots(vec![shown.clone()]);
            assert_eq!(seen(&world, &trust, "localhost").await.unwrap(), shown);
        }
        assert!(world.proxy.counts().acted[0] >= 4);
    }
    assert!(world.stop().await.is_empty());
}

#[tokio::test]
async fn without_the_rule_the_servers_own_is_seen() {
    let (world, servers_own) = world("").await;
    let trust = Trust::Roots(vec![servers_own.clone()]);
    assert_eq!(seen(&world, &trust, "mx.test").await.unwrap(), servers_own);
    assert_eq!(world.send(&options_of(&trust, "mx.test"), LETTER).await, ["accepted 250"; 2]);
    assert_eq!(world.stop().await.len(), 1);
}

#[tokio::test]
async fn who_looks_goes_away_unharmed_and_who_does_not_delivers_the_whole() {
    let (world, servers_own) =
        world("[[rule]]\nat = 'starttls'\npresent_certificate = 'expired'\n").await;
    let careful = options_of(&Trust::Roots(vec![servers_own]), "localhost");
    let careless = options_of(&Trust::Anybody, "localhost");
    let long = format!("Subject: x\r\n\r\n{}", ".a line of many\r\n".repeat(40_000));
    assert_eq!(world.send(&careful, LETTER).await, ["no session"]);
    assert_eq!(world.send(&careless, &long).await, ["accepted 250"; 2]);
    assert_eq!(world.send(&options(), LETTER).await, ["accepted 250"; 2]);
    let client = Client::connect(&world.endpoint(), &careless).await.unwrap();
    assert!(!client.capabilities().starttls && client.capabilities().pipelining);
    drop(client);
    let kept = world.stop().await;
    assert_eq!(kept.len(), 2);
    // The server's own Received comes first.
    assert!(kept[0].ends_with(&long) && kept[1].ends_with(LETTER));
}

#[tokio::test]
async fn rules_act_on_what_is_inside() {
    for (rule, told, kept) in [
        ("at = 'end'\nreply = '451 4.3.0 x'", "refused 451", 0),
        ("at = 'end'\ncut_after = true", "unknown", 1),
        ("at = 'end'\nreset = true", "unknown", 0),
        ("at = 'mail'\ncut = true", "failed", 0),
        ("at = 'data'\nhold_ms = 5", "accepted 250", 1),
    ] {
        let (world, _) = world("").await;
        let both = format!("{}[[rule]]\n{rule}\n", present("expired"));
        world.proxy.set(rules(&both), crate::proxy::Mode::Pass).await.unwrap();
        let careless = options_of(&Trust::Anybody, "localhost");
        assert_eq!(world.send(&careless, LETTER).await[0], told, "{rule}");
        assert_eq!(world.proxy.counts().acted, [1, 1], "{rule}");
        assert_eq!(world.stop().await.len(), kept, "{rule}");
    }
}

#[tokio::test]
async fn what_was_said_in_the_clear_is_forgotten_and_no_tls_comes_in_tls() {
    let (world, _) = world("[[rule]]\nat = 'starttls'\npresent_certificate = 'expired'\n").await;
    let stream = begun(&world, "NOOP\r\nQUIT\r\n").await;
    let tls = Tls::new(&Trust::Anybody, false, None).unwrap();
    let mut tls = tls.connect("localhost", stream).await.unwrap();
    tls.write_all(b"STARTTLS\r\nEHLO c\r\nQUIT\r\n").await.unwrap();
    let mut said = String::new();
    // A server that says good-bye and closes without the end of TLS is usual.
    let _ = tls.read_to_string(&mut said).await;
    assert!(said.starts_with("503 ") && said.contains("\r\n250"), "{said}");
    assert!(said.contains("\r\n221") && !said.contains("STARTTLS"), "{said}");
    world.stop().await;
}

#[tokio::test]
async fn who_says_no_tls_at_all_is_closed() {
    let (world, _) = world("[[rule]]\nat = 'starttls'\npresent_certificate = 'expired'\n").await;
    let mut stream = begun(&world, "").await;
    stream.write_all(b"EHLO again\r\nMAIL FROM:<>\r\n").await.unwrap();
    let mut said = Vec::new();
    // An alert of TLS may come first, and the end may be a reset.
    let _ = stream.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"250"));
    assert!(world.stop().await.is_empty());
}

#[tokio::test]
async fn who_says_nothing_at_all_is_closed_after_a_while() {
    let (world, _) = world("[[rule]]\nat = 'starttls'\npresent_certificate = 'expired'\n").await;
    let mut stream = begun(&world, "").await;
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    let waited_s = before.elapsed().as_secs();
    tokio::time::resume();
    assert!(said.is_empty() && (9..15).contains(&waited_s), "{waited_s} s");
    assert!(world.stop().await.is_empty());
}
