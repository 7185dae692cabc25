//! Exim: what `load` counts is what it logged and what lies in its mailboxes.

use std::fs;

use super::agree::{Kind, Server, is_whole, kept, load, number};
use super::mail::exim::Exim;
use crate::env::{Env, text};

#[test]
fn what_it_took_is_in_its_log_and_in_the_mailboxes() {
    let Some(exim) = Exim::start(None) else { return };
    let env = Env::new().with("PATH", &exim.path());
    let (target, place) = (format!("127.0.0.1:{}", exim.port), place(&exim));
    let document = load(
        &env,
        &[
            &[&target, "--rate", "30/s", "--for", "4s", "--messages-per-connection", "5"],
            &["--recipients", "a@x.test,b@x.test", "--recipients-per-message", "1-2", "--bdat"],
            &["--deliver", &place, "--deliver-wait", "60s", "--queue", "exim"],
        ],
    );
    is_whole(&document, 120);
    let log = Server::read(Kind::Exim, &exim.log());
    log.agrees(&document, &kept(&exim.mail()));
    log.has_rate(&document, 30.0, 0.01);
    assert!(number(&document, "queue/samples") >= 3, "{document:#}");
    assert!(!exim.has_panicked());
}

#[test]
fn tls_and_who_logs_in_are_as_its_log_has_them() {
    let Some(exim) = Exim::start(None) else { return };
    let env = Env::new();
    let (ca, users) = (exim.authority.write(&env.path("")), env.path("users"));
    fs::write(&users, "ann:secret\n").unwrap();
    let place = place(&exim);
    for (scheme, port, tls) in
        [("smtp", exim.port, &["--tls", "starttls"][..]), ("smtps", exim.tls_port, &[])]
    {
        let before = Server::read(Kind::Exim, &exim.log());
        let target = format!("{scheme}://127.0.0.1:{port}");
        let document = load(
            &env,
            &[
                &[&target, "--rate", "20/s", "--for", "2s", "--tls-resumed", "70"],
                tls,
                &["--tls-ca", text(&ca), "--tls-name", "mx.test"],
                &["--auth", "PLAIN,CRAM-MD5", "--users", text(&users)],
                &["--recipients", "a@x.test", "--deliver", &place, "--deliver-wait", "60s"],
            ],
        );
        is_whole(&document, 40);
        let log = Server::read(Kind::Exim, &exim.log());
        let phase = |name: &str| document["phases"][name]["count"].as_u64().unwrap_or(0);
        let said = |words: &str| log.said(words) - before.said(words);
        assert!(phase("tls_resumed") > 0 && phase("tls_full") > 0, "{document:#}");
        assert_eq!((phase("tls_full") + phase("tls_resumed"), phase("auth")), (40, 40));
        assert_eq!(phase("starttls"), if scheme == "smtp" { 40 } else { 0 });
        // A message a connection; a star marks a session that was resumed.
        assert_eq!((said(" X=TLS1.3"), said("* CV=")), (40, phase("tls_resumed")));
        let used = [said(" A=plain:ann"), said(" A=cram:ann")];
        assert!(used[0] + used[1] == 40 && used[0] > 0 && used[1] > 0, "{used:?}");
    }
    assert_eq!(kept(&exim.mail()).len(), 80);
    assert!(!exim.has_panicked());
}

#[test]
fn its_log_is_sent_again() {
    let Some(exim) = Exim::start(None) else { return };
    let env = Env::new();
    let (target, place) = (format!("127.0.0.1:{}", exim.port), place(&exim));
    let recipients = ["--recipients", "a@x.test,b@x.test", "--recipients-per-message", "2"];
    let watched = ["--deliver", &place, "--deliver-wait", "60s"];
    let first = [&target, "--rate", "20/s", "--for", "2s"];
    is_whole(&load(&env, &[&first, &recipients, &watched]), 40);
    let (first, log) = (Server::read(Kind::Exim, &exim.log()), env.path("mainlog"));
    fs::write(&log, &first.log).unwrap();
    let again = ["replay", text(&log), &target, "--speed", "2", "--drain", "60s"];
    let again = load(&env, &[&again, &recipients, &watched]);
    is_whole(&again, 40);
    first.is_replayed(&again, 2.0);
    assert_eq!(kept(&exim.mail()).len(), 160);
}

fn place(exim: &Exim) -> String {
    format!("maildir:{}", text(&exim.mail()))
}
