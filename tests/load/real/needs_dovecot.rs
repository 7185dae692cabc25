//! Dovecot as the target itself, over LMTP: what `load` counts is what it logged and what lies in its mailboxes.

use std::fs;

use super::agree::{is_whole, kept, load, number};
use super::mail::dovecot::Dovecot;
use crate::env::{Env, text};

#[test]
fn what_it_took_over_lmtp_is_in_its_log_and_in_the_mailboxes() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let env = Env::new();
    let targets = [
        format!("lmtp://127.0.0.1:{}", dovecot.lmtp_port),
        format!("unix:{}", text(&dovecot.lmtp_socket())),
    ];
    let place = format!("maildir:{}", text(&dovecot.mail()));
    let mut copies = 0;
    for target in targets {
        let document = load(
            &env,
            &[
                &[&target, "--rate", "30/s", "--for", "2s", "--messages-per-connection", "4"],
                &[
                    "--recipients",
                    "a@x.test,ann@x.test,b@x.test",
                    "--recipients-per-message",
                    "1-3",
                ],
                &["--deliver", &place, "--deliver-wait", "60s"],
            ],
        );
        is_whole(&document, 60);
        copies += number(&document, "recipients_accepted");
        // Each recipient has a reply.
        let replies = document["replies"].as_array().unwrap().iter();
        let said = replies.filter(|row| row["phase"] == "body" && row["code"] == 250);
        let said: u64 = said.map(|row| row["count"].as_u64().unwrap()).sum();
        assert_eq!(said, number(&document, "recipients_accepted"));
    }
    let kept = kept(&dovecot.mail());
    let mut saved = dovecot.saved();
    let mut found: Vec<_> =
        kept.iter().map(|kept| (kept.mailbox.clone(), kept.message_id().to_owned())).collect();
    saved.sort();
    found.sort();
    assert_eq!(saved, found);
    assert_eq!(found.len() as u64, copies);
    assert_eq!(dovecot.complaints(&[]), [""; 0]);
}

/// Though nothing else of the run has TLS.
#[test]
fn what_it_took_is_seen_over_imap_with_tls() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let env = Env::new();
    let password = env.path("password");
    fs::write(&password, "secret\n").unwrap();
    let target = format!("lmtp://127.0.0.1:{}", dovecot.lmtp_port);
    let place = format!("imaps://ann@127.0.0.1:{}", dovecot.imaps_port);
    let document = load(
        &env,
        &[
            &[&target, "--rate", "20/s", "--for", "2s", "--recipients", "ann@x.test"],
            &["--deliver", &place, "--deliver-password-file", text(&password), "--tls-any"],
            &["--deliver-wait", "60s"],
        ],
    );
    is_whole(&document, 40);
    let log = dovecot.log();
    let is_secured = |line: &&str| line.contains("Login: user=<ann>") && line.contains(", TLS");
    assert_eq!(log.lines().filter(is_secured).count(), 1, "{log}");
    assert_eq!(dovecot.complaints(&[]), [""; 0]);
}
