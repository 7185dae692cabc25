//! Postfix: as the server of our client, and with Dovecot behind it every SASL mechanism.

use smtp::client::Protocol;

use super::dovecot::{Dovecot, MECHANISMS, secret};
use super::postfix::{Postfix, Task};
use super::suite::{Peer, at, handshakes, mechanisms, transactions};

#[tokio::test]
async fn letters_arrive() {
    let Some(postfix) = Postfix::start(&Task::default()) else { return };
    let peer = Peer { endpoint: at(postfix.port), protocol: Protocol::Esmtp, mail: postfix.mail() };
    let offered = transactions(&peer).await;
    assert!(offered.pipelining && offered.chunking && offered.dsn && offered.smtputf8);
    assert_eq!(postfix.complaints(&[]), [""; 0]);
}

#[tokio::test]
async fn who_submits_is_known_by_every_mechanism_of_needs_dovecot() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let auth = Some(dovecot.auth_socket());
    let Some(postfix) = Postfix::start(&Task { auth, ..Task::default() }) else { return };
    for (port, is_implicit) in [(postfix.submission_port, false), (postfix.submissions_port, true)]
    {
        let peer = Peer { endpoint: at(port), protocol: Protocol::Esmtp, mail: postfix.mail() };
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
