//! OpenSMTPD, which has neither PIPELINING nor BDAT.

use smtp::Phase;
use smtp::client::{Client, Options, Protocol};
use smtp::sasl::Mechanism;

use super::suite::{Peer, extensions, handshakes, mechanisms, transactions};
use crate::mail::opensmtpd::OpenSmtpd;
use crate::scripted::options;

#[tokio::test]
async fn letters_arrive() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    let offered = transactions(&Peer::esmtp(opensmtpd.port, opensmtpd.mail())).await;
    assert!(!offered.pipelining && !offered.chunking && offered.dsn, "{offered:?}");
    assert_eq!(opensmtpd.complaints(), [""; 0]);
}

#[tokio::test]
async fn what_a_message_says_of_itself_is_understood() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    extensions(&Peer::esmtp(opensmtpd.port, opensmtpd.mail())).await;
}

#[tokio::test]
async fn who_submits_is_known_by_every_mechanism_or_nothing_is_said_without_tls() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    for (port, is_implicit) in [(opensmtpd.port, false), (opensmtpd.tls_port, true)] {
        let peer = Peer::esmtp(port, opensmtpd.mail());
        let tls = opensmtpd.authority.secure(is_implicit, None);
        if opensmtpd.has_tls() {
            let expected = [Mechanism::Plain, Mechanism::Login];
            mechanisms(&peer, &tls, &expected, |_| "secret".to_owned()).await;
            handshakes(&peer, is_implicit, &opensmtpd.authority, false).await;
        } else {
            let options = Options { tls: Some(tls), ..options(true, Protocol::Esmtp) };
            let refused = Client::connect(&peer.endpoint, &options).await.err().unwrap();
            assert!(refused.phase == Phase::Tls, "{refused}");
        }
    }
}
