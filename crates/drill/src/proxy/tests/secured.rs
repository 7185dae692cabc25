//! STARTTLS and AUTH through the proxy.

use smtp::client::{Client, Options, Secure};
use smtp::sasl::{Credentials, Mechanism};
use smtp::server::OFFERED;
use smtp::tls::{Tls, Trust};

use super::*;

fn secure() -> Options {
    let tls = Tls::new(&Trust::Anybody, false, None).unwrap();
    let tls = Some(Secure { tls, is_implicit: false, server_name: "mx.test".into() });
    Options { tls, ..options() }
}

fn certificate() -> Option<Certificate> {
    Some(Certificate::self_signed("mx.test").unwrap())
}

#[tokio::test]
async fn tls_passes_and_hides_what_rules_wait_for() {
    for (options, told, kept) in [(secure(), "accepted 250", 1), (options(), "unknown", 0)] {
        let rules = "[[rule]]\nat = 'end'\ncut = true\n";
        let plan = Plan { certificate: certificate(), rules, ..Plan::default() };
        let world = World::start(plan).await;
        assert_eq!(world.send(&options, LETTER).await, [told; 2]);
        assert_eq!(world.stop().await.len(), kept);
    }
}

#[tokio::test]
async fn starttls_is_stripped_refused_or_cut() {
    for (rule, in_tls, in_clear) in [
        ("at = 'ehlo'\nstrip_starttls = true", "no session", "accepted 250"),
        ("at = 'starttls'\nreply = '454 4.7.0 x'", "no session 454", "accepted 250"),
        ("at = 'starttls'\ncut = true", "no session", "accepted 250"),
        ("at = 'starttls'\ncut_after = true", "no session", "accepted 250"),
        ("at = 'starttls'\ncut_in_the_middle = true", "no session", "accepted 250"),
        ("at = 'starttls'\nhold_ms = 10", "accepted 250", "accepted 250"),
    ] {
        let plan = Plan { certificate: certificate(), ..Plan::default() };
        let world = World::start(plan).await;
        let rules = rules(&format!("[[rule]]\n{rule}\n"));
        world.proxy.set(rules, crate::proxy::Mode::Pass).await.unwrap();
        assert_eq!(world.send(&secure(), LETTER).await[0], in_tls, "{rule}");
        assert_eq!(world.send(&options(), LETTER).await[0], in_clear, "{rule}");
        world.stop().await;
    }
}

#[tokio::test]
async fn what_else_is_offered_stays() {
    let plan = Plan { certificate: certificate(), ..Plan::default() };
    let world = World::start(plan).await;
    let plain = Client::connect(&world.endpoint(), &options()).await.unwrap();
    let before = plain.capabilities().clone();
    assert!(before.starttls && before.pipelining && before.chunking);
    let rules = rules("[[rule]]\nat = 'ehlo'\nstrip_starttls = true\n");
    world.proxy.set(rules, crate::proxy::Mode::Pass).await.unwrap();
    let stripped = Client::connect(&world.endpoint(), &options()).await.unwrap();
    let after = stripped.capabilities().clone();
    assert!(!after.starttls && after.pipelining && after.chunking);
    drop((plain, stripped));
    world.stop().await;
}

#[tokio::test]
async fn every_mechanism_passes_and_can_be_broken() {
    for name in OFFERED {
        for (rule, told) in [
            ("", "accepted 250"),
            ("[[rule]]\nat = 'auth'\nhold_ms = 5\n", "accepted 250"),
            ("[[rule]]\nat = 'auth'\nreply = '454 4.7.0 x'\n", "no session 454"),
            ("[[rule]]\nat = 'auth'\ncut = true\n", "no session"),
        ] {
            let world =
                World::start(Plan { users: "ann:pass word\n", rules: rule, ..Plan::default() })
                    .await;
            let credentials =
                Credentials { user: "ann".into(), secret: "pass word".into(), authorize_as: None };
            let auth = Some((Mechanism::parse(name).unwrap(), credentials));
            let options = Options { auth, is_plaintext_allowed: true, ..options() };
            assert_eq!(world.send(&options, LETTER).await[0], told, "{name} {rule}");
            world.stop().await;
        }
    }
}
