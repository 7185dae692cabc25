//! OpenSMTPD, which has neither PIPELINING nor BDAT: what `load` counts is what it logged and what lies in its mailboxes.

use std::fs;

use super::agree::{Kind, Server, is_whole, kept, load, number};
use super::mail::opensmtpd::OpenSmtpd;
use crate::env::{Env, text};

#[test]
fn what_it_took_is_in_its_log_and_in_the_mailboxes() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    let env = Env::new();
    let target = format!("127.0.0.1:{}", opensmtpd.port);
    let place = format!("maildir:{}", text(&opensmtpd.mail()));
    let document = load(
        &env,
        &[
            &[&target, "--rate", "30/s", "--for", "4s", "--messages-per-connection", "3"],
            &["--recipients", "a@x.test,b@x.test", "--recipients-per-message", "1-2", "--bdat"],
            &["--deliver", &place, "--deliver-wait", "60s"],
        ],
    );
    is_whole(&document, 120);
    Server::read(Kind::OpenSmtpd, &opensmtpd.log()).agrees(&document, &kept(&opensmtpd.mail()));
    assert_eq!(opensmtpd.complaints(), [""; 0]);
}

#[test]
fn tls_and_who_logs_in_are_as_its_log_has_them() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    let env = Env::new();
    let (ca, users) = (opensmtpd.authority.write(&env.path("")), env.path("users"));
    fs::write(&users, "ann:secret\n").unwrap();
    let place = format!("maildir:{}", text(&opensmtpd.mail()));
    for (port, tls) in [(opensmtpd.port, "starttls"), (opensmtpd.tls_port, "implicit")] {
        let target = format!("127.0.0.1:{port}");
        let before = Server::read(Kind::OpenSmtpd, &opensmtpd.log());
        let document = load(
            &env,
            &[
                &[&target, "--rate", "20/s", "--for", "2s", "--tls", tls, "--tls-resumed", "100"],
                &["--tls-ca", text(&ca), "--tls-name", "mx.test"],
                &["--auth", "PLAIN,LOGIN", "--users", text(&users)],
                &["--recipients", "a@x.test", "--deliver", &place, "--deliver-wait", "60s"],
            ],
        );
        let phase = |name: &str| document["phases"][name]["count"].as_u64().unwrap_or(0);
        if !opensmtpd.has_tls() {
            let [offered, accepted] = ["offered", "accepted"].map(|name| number(&document, name));
            assert_eq!((offered, accepted, number(&document, "failed")), (40, 0, 40));
            assert_eq!(
                (document["verdict"].as_str(), phase("mail")),
                (Some("nothing_accepted"), 0)
            );
            let replies = document["replies"].as_array().unwrap().iter();
            let said = replies.filter(|row| row["phase"] == "tls");
            let said: u64 = said.map(|row| row["count"].as_u64().unwrap()).sum();
            assert_eq!(said, 40, "{document:#}");
            continue;
        }
        is_whole(&document, 40);
        // It remembers no sessions.
        assert_eq!([phase("tls_full"), phase("tls_resumed"), phase("auth")], [40, 0, 40]);
        let log = Server::read(Kind::OpenSmtpd, &opensmtpd.log());
        let said = |words: &str| log.said(words) - before.said(words);
        assert_eq!(said(" smtp authentication user=ann "), 40);
    }
    if opensmtpd.has_tls() {
        assert_eq!(kept(&opensmtpd.mail()).len(), 80);
    }
}
