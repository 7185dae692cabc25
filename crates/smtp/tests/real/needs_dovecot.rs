//! Dovecot: LMTP, and submission with every mechanism.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use smtp::client::{Endpoint, Options, Protocol};
use smtp::{Outcome, Phase, Refusal};

use super::letters::{Letter, arrived, letter, letters};
use super::suite::{Peer, at, connect, external, handshakes, mechanisms, send, transactions};
use crate::mail::dovecot::{Dovecot, MECHANISMS, secret};
use crate::scripted::options;
use crate::world::{Plan, World, envelope};

#[tokio::test]
async fn letters_arrive_over_lmtp_on_tcp_and_on_a_socket() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    for endpoint in [at(dovecot.lmtp_port), Endpoint::Unix(dovecot.lmtp_socket())] {
        let peer = Peer { endpoint, protocol: Protocol::Lmtp, mail: dovecot.mail() };
        let offered = transactions(&peer).await;
        assert!(offered.pipelining && offered.chunking && offered.eight_bit_mime, "{offered:?}");
        for mailbox in ["a", "b"] {
            fs::remove_dir_all(dovecot.mail().join(mailbox)).unwrap();
        }
    }
    assert_eq!(dovecot.complaints(&[]), [""; 0]);
}

#[tokio::test]
async fn each_recipient_over_lmtp_has_an_outcome_of_its_own() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    // A mailbox that turns out to be of no use when the message is there.
    fs::write(dovecot.mail().join("broken"), "no folder").unwrap();
    for chunking in [false, true] {
        let options = Options { chunking, ..options(true, Protocol::Lmtp) };
        let mut client = connect(&at(dovecot.lmtp_port), &options).await;
        let letter = letter(&format!("chunking {chunking}"), b".\r\n");
        let to = ["nobody@x.test", "a@x.test", "broken@x.test", "b@x.test"];
        let outcomes = send(&mut client, &envelope(&to), &letter).await;
        let phase = |outcome: &Outcome| match outcome {
            Outcome::Refused(phase, Refusal::Reply(_)) => Some(*phase),
            Outcome::Accepted(_) => None,
            _ => panic!("{outcomes:?}"),
        };
        let phases: Vec<Option<Phase>> = outcomes.iter().map(phase).collect();
        assert_eq!(phases, [Some(Phase::Rcpt), None, Some(Phase::Body), None], "{outcomes:?}");
        // The session is in step.
        assert!(send(&mut client, &envelope(&["b@x.test"]), &letter).await[0].is_accepted());
        client.quit().await;
    }
    for (mailbox, count) in [("a", 2), ("b", 4)] {
        let new = dovecot.mail().join(mailbox).join("new");
        assert_eq!(fs::read_dir(new).unwrap().count(), count);
    }
    assert!(!dovecot.complaints(&[]).is_empty());
    assert_eq!(dovecot.complaints(&["broken"]), [""; 0]);
}

#[tokio::test]
async fn lmtp_goes_through_tls_as_well() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let sent = ["TCP", "a socket"].map(|kind| letter(kind, b".\r\n"));
    let endpoints = [at(dovecot.lmtp_port), Endpoint::Unix(dovecot.lmtp_socket())];
    for (endpoint, letter) in endpoints.iter().zip(&sent) {
        let tls = Some(dovecot.authority.secure(false, None));
        let mut client = connect(endpoint, &Options { tls, ..options(true, Protocol::Lmtp) }).await;
        assert!(client.secured().is_some());
        assert!(send(&mut client, &envelope(&["a@x.test"]), letter).await[0].is_accepted());
        client.quit().await;
    }
    arrived(&dovecot.mail().join("a"), &[&sent[0], &sent[1]]).await;
    assert_eq!(dovecot.complaints(&[]), [""; 0]);
}

/// Dovecot believes the sizes in names of messages, and says so if they are wrong when it reads.
#[tokio::test]
async fn what_our_server_kept_dovecot_reads() {
    let world = World::start(Plan::default()).await;
    let Some(dovecot) = Dovecot::start(1) else { return };
    let mut client = connect(&world.endpoint, &options(true, Protocol::Esmtp)).await;
    let mut letters = letters("kept");
    // Of these the text is no text, or our server takes no more.
    letters.retain(|letter| letter.bytes.is_ascii() && letter.bytes.len() < 200_000);
    for letter in &letters {
        let outcomes = send(&mut client, &envelope(&["a@x.test"]), letter).await;
        assert!(outcomes[0].is_accepted(), "{outcomes:?}");
    }
    client.quit().await;
    fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mailbox = world.mail().join("a");
    for Letter { subject, bytes } in &letters {
        let ran = dovecot.fetch(&mailbox, "size.virtual text", subject).await;
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        let (size, text) = ran.said.split_once("\ntext:\n").unwrap();
        let lines = String::from_utf8(bytes.clone()).unwrap().replace('\r', "");
        assert!(text.ends_with(&lines), "{subject}: {text}");
        let with_cr = text.len() + text.matches('\n').count();
        assert_eq!(size, format!("size.virtual: {with_cr}"), "{subject}");
    }
    // A name that is wrong would not have passed.
    fs::write(mailbox.join("new/1.wrong,S=17,W=20"), "Subject: wrong\n\n").unwrap();
    let ran = dovecot.fetch(&mailbox, "text", "wrong").await;
    assert!(ran.code != Some(0) && ran.said.contains("larger than expected"), "{}", ran.said);
    world.stop().await;
}

/// What is submitted is for a server of ours.
#[tokio::test]
async fn who_submits_is_known_by_every_mechanism() {
    let world = World::start(Plan::default()).await;
    let Some(dovecot) = Dovecot::start(world.address().port()) else { return };
    let (authority, mail) = (&dovecot.authority, world.mail());
    for (port, is_implicit) in [(dovecot.submission_port, false), (dovecot.submissions_port, true)]
    {
        let peer = Peer::esmtp(port, mail.clone());
        let tls = authority.secure(is_implicit, None);
        mechanisms(&peer, &tls, &MECHANISMS, secret).await;
        external(&peer, is_implicit, authority).await;
        // Each connection has a process of its own, which knows of no other.
        handshakes(&peer, is_implicit, authority, false).await;
    }
    assert_eq!(dovecot.complaints(&[]), [""; 0]);
    // For each port: eight mechanisms with secrets, EXTERNAL in two ways, two handshakes.
    assert_eq!(world.messages("x.test/a").len(), 24);
    world.stop().await;
}
