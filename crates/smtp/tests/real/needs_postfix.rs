//! Postfix: as the server of our client, with every SASL mechanism that Dovecot behind it has; and as a client of our
//! server, which hands on what it took, whatever goes wrong meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use smtp::client::{Endpoint, Options, Protocol};
use smtp::server::Certificate;
use smtp::{Outcome, Phase};

use super::letters::{Letter, arrived, letter, letters};
use super::suite::{Peer, at, connect, extensions, handshakes, mechanisms, send, transactions};
use crate::mail::dovecot::{Dovecot, MECHANISMS, secret};
use crate::mail::postfix::{Postfix, Task};
use crate::mail::programs::{installed, must};
use crate::process::is_skipped;
use crate::scripted::options;
use crate::world::{Plan, World, envelope, envelope_from, eventually};

#[tokio::test]
async fn letters_arrive() {
    let Some(postfix) = Postfix::start(&Task::default()) else { return };
    let peer = Peer::esmtp(postfix.port, postfix.mail());
    let offered = transactions(&peer).await;
    assert!(offered.pipelining && offered.chunking && offered.dsn && offered.smtputf8);
    assert_eq!(postfix.complaints(&[]), [""; 0]);
}

#[tokio::test]
async fn what_a_message_says_of_itself_is_understood() {
    let Some(postfix) = Postfix::start(&Task::default()) else { return };
    let peer = Peer::esmtp(postfix.port, postfix.mail());
    extensions(&peer).await;
    assert_eq!(postfix.said("from=<gr\u{fc}\u{df}e@client.test>"), 1);
    assert_eq!(postfix.complaints(&[]), [""; 0]);
}

/// After some errors Postfix says 421 and goes, while commands that went together still wait for their replies.
#[tokio::test]
async fn a_server_that_has_enough_in_the_midst_of_a_group_has_taken_nothing() {
    for pipelining in [true, false] {
        let more = "smtpd_hard_error_limit = 20\nsmtpd_soft_error_limit = 100";
        let Some(postfix) = Postfix::start(&Task { more, ..Task::default() }) else { return };
        let options = Options { pipelining, ..options(true, Protocol::Esmtp) };
        let mut client = connect(&at(postfix.port), &options).await;
        let strangers: Vec<String> = (0..250).map(|number| format!("{number}@x.test")).collect();
        let to: Vec<&str> =
            ["a@x.test"].into_iter().chain(strangers.iter().map(String::as_str)).collect();
        let outcomes = send(&mut client, &envelope(&to), &letter("never", b"x\r\n")).await;
        assert_eq!(outcomes.len(), to.len());
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Refused(Phase::Rcpt, _))));
        // Whom it has refused by then is not worth another attempt.
        let refused = |outcome: &&Outcome| outcome.reply().is_some_and(|reply| reply.code == 550);
        assert_eq!(outcomes.iter().filter(refused).count(), 20);
        assert!(outcomes[0].is_transient());
        assert!(!client.is_open());
        eventually("it says why", 1, || postfix.said("too many errors")).await;
        assert!(!postfix.mail().join("a").exists());
    }
}

#[tokio::test]
async fn who_submits_is_known_by_every_mechanism_of_needs_dovecot() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let auth = Some(dovecot.auth_socket());
    let Some(postfix) = Postfix::start(&Task { auth, ..Task::default() }) else { return };
    for (port, is_implicit) in [(postfix.submission_port, false), (postfix.submissions_port, true)]
    {
        let peer = Peer::esmtp(port, postfix.mail());
        let tls = postfix.authority.secure(is_implicit, None);
        mechanisms(&peer, &tls, &MECHANISMS, secret).await;
        handshakes(&peer, is_implicit, &postfix.authority, true).await;
    }
    // Each mechanism and handshake at each port; and each mechanism with a wrong secret.
    assert_eq!(postfix.said("sasl_method="), 20);
    assert_eq!(postfix.said("authentication failed"), 16);
    assert_eq!(postfix.complaints(&["authentication failed", "SSL alert number"]), [""; 0]);
    assert_eq!(dovecot.complaints(&[]), [""; 0]);
}

/// How Postfix names where a server of ours listens. All users may reach its socket from then on.
fn route(world: &World) -> String {
    match &world.endpoint {
        Endpoint::Tcp(address, _) => format!("smtp:[{}]:{}", address.ip(), address.port()),
        Endpoint::Unix(path) => {
            let open = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
            open(world.dir.path(), 0o755).unwrap();
            open(path, 0o777).unwrap();
            format!("lmtp:unix:{}", path.display())
        }
    }
}

/// The messages of a mailbox of `smtp-source`'s: how many copies there are of each, by Message-ID.
fn copies(world: &World, mailbox: &str) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for text in world.messages(mailbox) {
        let id = text.lines().find_map(|line| line.strip_prefix("Message-Id: ")).unwrap();
        *copies.entry(id.to_owned()).or_default() += 1;
    }
    copies
}

#[tokio::test]
async fn letters_that_it_hands_on_arrive_as_they_were_sent() {
    for is_lmtp in [false, true] {
        let certificate = Some(Certificate::self_signed("mx.test").unwrap());
        let world = World::start(Plan { is_lmtp, certificate, ..Plan::default() }).await;
        let more = "smtp_tls_security_level = encrypt";
        let onward = vec![("x.test", route(&world))];
        let Some(postfix) = Postfix::start(&Task { onward, more, ..Task::default() }) else {
            return;
        };
        let mut client = connect(&at(postfix.port), &options(true, Protocol::Esmtp)).await;
        let mut letters = letters("handed on");
        // Our server takes no more than this here.
        letters.retain(|letter| letter.bytes.len() < 200_000);
        for letter in &letters {
            let outcomes = send(&mut client, &envelope(&["a@x.test", "b@x.test"]), letter).await;
            assert!(outcomes.iter().all(Outcome::is_accepted), "{outcomes:?}");
        }
        client.quit().await;
        let letters: Vec<&Letter> = letters.iter().collect();
        for mailbox in ["a", "b"] {
            arrived(&world.mail().join(mailbox), &letters).await;
        }
        assert_eq!(postfix.complaints(&[]), [""; 0]);
        let events = world.stop().await;
        assert!(is_lmtp || events.iter().all(|event| event.tls));
    }
}

#[tokio::test]
async fn each_message_that_it_took_is_in_the_mailbox_whatever_our_server_does() {
    for is_lmtp in [false, true] {
        let world = World::start(Plan { is_lmtp, rules: RULES, ..Plan::default() }).await;
        let onward = vec![("x.test", route(&world))];
        let Some(postfix) = Postfix::start(&Task { onward, more: IMPATIENT, ..Task::default() })
        else {
            return;
        };
        let server = format!("127.0.0.1:{}", postfix.port);
        let source = ["smtp-source", "-s", "5", "-m", "200", "-l", "3000", "-f", "s@client.test"];
        must(&[&source[..], &["-t", "a@x.test", &server]].concat()).await;
        tokio::select! {
            () = eventually("gone from the queue", 200, || postfix.said(": removed")) => {}
            _ = postfix.keep_trying() => {}
        }
        let copies = copies(&world, "x.test/a");
        assert_eq!(copies.len(), 200);
        assert_eq!(postfix.said("status=sent"), 200);
        let events = world.stop().await;
        let lost = events.iter().filter(|event| event.faults == ["lose_reply at end"]).count();
        assert_eq!(copies.values().sum::<usize>(), 200 + lost);
        for fault in ["lose_reply at end", "reply at end", "reply at rcpt", "drop at data"] {
            assert!(events.iter().any(|event| event.faults == [fault]), "{fault}");
        }
        assert_eq!(postfix.complaints(&[]), [""; 0]);
    }
}

#[tokio::test]
async fn what_our_server_hands_on_is_there_or_comes_back() {
    let domain = Some("y.test");
    let Some(postfix) = Postfix::start(&Task { domain, ..Task::default() }) else { return };
    let relay = Some(([127, 0, 0, 1], postfix.port).into());
    let world = World::start(Plan { relay, ..Plan::default() }).await;
    let mut client = connect(&world.endpoint, &options(true, Protocol::Esmtp)).await;
    let letter = letter("handed on", b".\r\n..\r\n");
    let envelope = envelope_from("b@x.test", &["a@y.test", "nobody@y.test", "a@x.test"]);
    let outcomes = send(&mut client, &envelope, &letter).await;
    assert!(outcomes.iter().all(Outcome::is_accepted), "{outcomes:?}");
    client.quit().await;
    world.drained().await;
    arrived(&postfix.mail().join("a"), &[&letter]).await;
    arrived(&world.mail().join("a"), &[&letter]).await;
    let bounces = world.messages("x.test/b");
    assert_eq!(bounces.len(), 1);
    for part in
        ["Final-Recipient: rfc822; nobody@y.test", "Action: failed", "550 5.1.1", "handed on"]
    {
        assert!(bounces[0].contains(part), "{part}: {}", bounces[0]);
    }
    assert_eq!(postfix.complaints(&[]), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn all_that_smtp_source_sends_is_there() {
    if is_skipped("postfix") {
        return;
    }
    installed("postfix", "/usr/sbin/smtp-source");
    for is_lmtp in [false, true] {
        let world = World::start(Plan { is_lmtp, ..Plan::default() }).await;
        let server = match &world.endpoint {
            Endpoint::Tcp(address, _) => address.to_string(),
            Endpoint::Unix(path) => format!("unix:{}", path.display()),
        };
        let source = ["smtp-source", "-s", "20", "-m", "300", "-l", "5000", "-f", "s@client.test"];
        let source = [&source[..], &["-t", "a@x.test"]].concat();
        let lmtp: &[&str] = if is_lmtp { &["-L"] } else { &[] };
        // A session for each message, and one for many.
        must(&[&source[..], lmtp, &[&server]].concat()).await;
        must(&[&source[..], lmtp, &["-d", &server]].concat()).await;
        assert_eq!(world.messages("x.test/a").len(), 600);
        world.assert_clean();
        assert_eq!(world.stop().await.len(), 600);
    }
}

/// Failures, of which there are many here, are no reason to leave a server alone for a while.
const IMPATIENT: &str = "default_destination_concurrency_failed_cohort_limit = 0";

const RULES: &str = "
[[rule]]
at = 'end'
every = 7
reply = '451 4.3.0 later'

[[rule]]
at = 'end'
every = 11
lose_reply = true

[[rule]]
at = 'data'
every = 13
drop = true

[[rule]]
at = 'rcpt'
every = 17
reply = '450 4.2.0 later'
";
