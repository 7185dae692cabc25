//! Exim: BDAT and TLS by other hands (GnuTLS), and the mechanisms that it has itself.

use smtp::Outcome;
use smtp::client::Protocol;
use smtp::sasl::Mechanism;
use smtp::server::Verdict;

use super::letters::{Letter, arrived, letters};
use super::suite::{
    Peer, at, connect, extensions, external, handshakes, mechanisms, send, transactions,
};
use crate::mail::exim::Exim;
use crate::scripted::options;
use crate::world::{Plan, World, envelope, eventually};

#[tokio::test]
async fn letters_arrive() {
    let Some(exim) = Exim::start(None) else { return };
    let offered = transactions(&Peer::esmtp(exim.port, exim.mail())).await;
    assert!(offered.pipelining && offered.chunking && offered.eight_bit_mime, "{offered:?}");
    assert!(!exim.has_panicked());
}

#[tokio::test]
async fn what_a_message_says_of_itself_is_understood() {
    let Some(exim) = Exim::start(None) else { return };
    extensions(&Peer::esmtp(exim.port, exim.mail())).await;
}

/// It uses BDAT (`K` in its log), also for a message that all its recipients were refused.
#[tokio::test]
async fn letters_that_it_hands_on_arrive_as_they_were_sent() {
    let world = World::start(Plan::default()).await;
    let Some(exim) = Exim::start(Some(world.address().port())) else { return };
    let mut client = connect(&at(exim.port), &options(true, Protocol::Esmtp)).await;
    let mut letters = letters("handed on");
    // Our server takes no more than this here.
    letters.retain(|letter| letter.bytes.len() < 200_000);
    for letter in &letters {
        let to = ["nobody@x.test", "a@x.test", "b@x.test"];
        let outcomes = send(&mut client, &envelope(&to), letter).await;
        assert!(outcomes.iter().all(Outcome::is_accepted), "{outcomes:?}");
        let outcomes = send(&mut client, &envelope(&to[..1]), letter).await;
        assert!(outcomes[0].is_accepted(), "{outcomes:?}");
    }
    client.quit().await;
    let count = letters.len();
    eventually("handed on or refused", 2 * count, || exim.said("Completed")).await;
    let letters: Vec<&Letter> = letters.iter().collect();
    for mailbox in ["a", "b"] {
        arrived(&world.mail().join(mailbox), &letters).await;
    }
    assert_eq!(exim.said("** nobody@x.test"), 2 * count);
    assert_eq!(exim.said(" K C=\"250"), 2 * count);
    assert!(!exim.has_panicked());
    let events = world.stop().await;
    assert_eq!(events.iter().filter(|event| event.outcome == Verdict::Accepted).count(), count);
}

#[tokio::test]
async fn who_submits_is_known_by_every_mechanism() {
    let Some(exim) = Exim::start(None) else { return };
    for (port, is_implicit) in [(exim.port, false), (exim.tls_port, true)] {
        let peer = Peer::esmtp(port, exim.mail());
        let tls = exim.authority.secure(is_implicit, None);
        let expected = [Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login];
        mechanisms(&peer, &tls, &expected, |_| "secret".to_owned()).await;
        external(&peer, is_implicit, &exim.authority).await;
        handshakes(&peer, is_implicit, &exim.authority, true).await;
    }
    for (authenticator, count) in [("cram", 2), ("login", 2), ("plain", 2 + 4), ("external", 4)] {
        assert_eq!(exim.said(&format!("A={authenticator}:ann")), count, "{authenticator}");
    }
    assert!(!exim.has_panicked());
}
