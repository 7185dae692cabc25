//! Postfix, alone and with Dovecot behind it: what `load` counts is what both logged and what lies in mailboxes.

use std::collections::BTreeSet;
use std::fs;

use super::agree::{Kept, Kind, Server, is_whole, kept, load, number};
use super::mail::dovecot::Dovecot;
use super::mail::postfix::{Postfix, Task};
use super::process::free_port;
use crate::env::{Env, text};

#[test]
fn what_it_took_is_in_its_log_and_in_the_mailboxes() {
    let Some(postfix) = Postfix::start(&Task::default()) else { return };
    let env = Env::new();
    let (target, place) = (target(&postfix), place(&postfix));
    let queue = format!("postqueue -c {} -j | wc -l", text(&postfix.etc()));
    let document = load(
        &env,
        &[
            &[&target, "--rate", "30/s", "--for", "4s", "--size", "1K-20K", "--bdat"],
            &["--recipients", "a@x.test,b@x.test", "--recipients-per-message", "1-2"],
            &["--deliver", &place, "--deliver-wait", "60s", "--queue", &queue],
        ],
    );
    is_whole(&document, 120);
    assert!(number(&document, "recipients_accepted") > 120, "{document:#}");
    let log = Server::read(Kind::Postfix, &postfix.log());
    log.agrees(&document, &kept(&postfix.mail()));
    log.has_rate(&document, 30.0, 1.0);
    assert!(number(&document, "queue/samples") >= 3, "{document:#}");
    assert_eq!(postfix.complaints(&[]), [""; 0]);
}

/// It throws some of them away, hands some to another person as well, and changes some.
#[test]
fn what_it_loses_doubles_and_changes_is_told() {
    let Some(postfix) = Postfix::start(&Task { more: UNFAITHFUL, ..Task::default() }) else {
        return;
    };
    let env = Env::new();
    let (target, place) = (target(&postfix), place(&postfix));
    let corpus = env.path("corpus");
    fs::create_dir(&corpus).unwrap();
    for (name, body) in [("1.eml", "Keep me.\n"), ("2.eml", "Keep me.\nCHANGE ME\n")] {
        let header = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain\n";
        fs::write(corpus.join(name), format!("{header}\n{body}")).unwrap();
    }
    let document = load(
        &env,
        &[
            &[&target, "--rate", "20/s", "--for", "3s", "--corpus", text(&corpus)],
            &["--recipients", "b@x.test", "--deliver", &place, "--deliver-wait", "8s"],
            &["--expect", "lost<=0,doubled<=0,corrupted<=0"],
        ],
    );
    assert_eq!((number(&document, "offered"), number(&document, "accepted")), (60, 60));
    let missed = document["objectives"].as_array().unwrap();
    assert!(missed.iter().all(|judged| judged["is_met"] == false), "{document:#}");
    let (log, kept) = (Server::read(Kind::Postfix, &postfix.log()), kept(&postfix.mail()));
    let ending = |digit| (0..60).filter(move |index| index % 10 == digit).collect::<Vec<u64>>();
    let sample = |kind: &str| {
        let sample = document["delivery"]["samples"][kind].as_array().unwrap();
        sample.iter().map(|index| index.as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((sample("lost"), sample("doubled")), (ending(7), ending(3)));
    assert_eq!((number(&document, "delivery/lost"), log.said(": discard: header ")), (6, 6));
    let copies: BTreeSet<u64> =
        kept.iter().filter(|kept| kept.mailbox == "a").map(|kept| kept.index).collect();
    assert_eq!(copies.into_iter().collect::<Vec<_>>(), ending(3));
    assert_eq!(number(&document, "delivery/doubled"), 6);
    let changed: Vec<&Kept> = kept.iter().filter(|kept| kept.text.contains("CHANGED")).collect();
    assert!(!changed.is_empty());
    assert_eq!(number(&document, "delivery/corrupted"), changed.len() as u64);
    assert_eq!(kept.len(), 60);
    assert_eq!(number(&document, "delivery/delivered"), 54);
}

#[test]
fn what_it_hands_on_to_needs_dovecot_is_in_both_logs_and_in_the_mailboxes() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let onward = vec![("x.test", format!("lmtp:unix:{}", text(&dovecot.lmtp_socket())))];
    let Some(postfix) = Postfix::start(&Task { onward, ..Task::default() }) else { return };
    let env = Env::new();
    let (target, place) = (target(&postfix), format!("maildir:{}", text(&dovecot.mail())));
    let document = load(
        &env,
        &[
            &[&target, "--rate", "30/s", "--for", "4s", "--messages-per-connection", "5"],
            &["--recipients", "a@x.test,ann@x.test,b@x.test", "--recipients-per-message", "1-3"],
            &["--deliver", &place, "--deliver-wait", "60s", "--poisson"],
        ],
    );
    let offered = number(&document, "offered");
    assert!(offered > 60, "{document:#}");
    is_whole(&document, offered);
    let kept = kept(&dovecot.mail());
    Server::read(Kind::Postfix, &postfix.log()).agrees(&document, &kept);
    let mut saved = dovecot.saved();
    let mut found: Vec<_> =
        kept.iter().map(|kept| (kept.mailbox.clone(), kept.message_id().to_owned())).collect();
    saved.sort();
    found.sort();
    assert_eq!(saved, found);
    assert_eq!((postfix.complaints(&[]), dovecot.complaints(&[])), (vec![], vec![]));
}

#[test]
fn what_it_hands_on_to_needs_dovecot_is_seen_over_imap() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let onward = vec![("x.test", format!("lmtp:inet:127.0.0.1:{}", dovecot.lmtp_port))];
    let Some(postfix) = Postfix::start(&Task { onward, ..Task::default() }) else { return };
    let env = Env::new();
    let password = env.path("password");
    fs::write(&password, "secret\n").unwrap();
    let (target, place) = (target(&postfix), format!("imap://ann@127.0.0.1:{}", dovecot.imap_port));
    let document = load(
        &env,
        &[
            &[&target, "--rate", "30/s", "--for", "3s", "--recipients", "ann@x.test"],
            &["--deliver", &place, "--deliver-password-file", text(&password)],
            &["--deliver-wait", "60s"],
        ],
    );
    is_whole(&document, 90);
    Server::read(Kind::Postfix, &postfix.log()).agrees(&document, &kept(&dovecot.mail()));
    assert_eq!((postfix.complaints(&[]), dovecot.complaints(&[])), (vec![], vec![]));
}

#[test]
fn what_it_hands_on_to_a_sink_is_seen() {
    let port = free_port();
    let onward = vec![("x.test", format!("smtp:[127.0.0.1]:{port}"))];
    let Some(postfix) = Postfix::start(&Task { onward, ..Task::default() }) else { return };
    let env = Env::new();
    let (target, place) = (target(&postfix), format!("sink:127.0.0.1:{port}"));
    let document = load(
        &env,
        &[
            &[&target, "--rate", "30/s", "--for", "3s", "--deliver", &place],
            &["--recipients", "user{1..50}@x.test", "--recipients-per-message", "1-3"],
            &["--deliver-wait", "60s"],
        ],
    );
    is_whole(&document, 90);
    let log = Server::read(Kind::Postfix, &postfix.log());
    let sent = log.sent();
    assert_eq!(sent.len() as u64, number(&document, "delivery/delivered"));
    let ids: BTreeSet<&str> = sent.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, log.came().into_iter().collect());
    assert_eq!(
        (ids.len(), log.said(&format!(", relay=127.0.0.1[127.0.0.1]:{port}, "))),
        (90, sent.len() as u64)
    );
    assert_eq!(postfix.complaints(&[]), [""; 0]);
}

#[test]
fn tls_and_who_logs_in_are_as_its_log_has_them_with_needs_dovecot() {
    let Some(dovecot) = Dovecot::start(1) else { return };
    let auth = Some(dovecot.auth_socket());
    let more = "smtpd_tls_loglevel = 2";
    let Some(postfix) = Postfix::start(&Task { auth, more, ..Task::default() }) else { return };
    let env = Env::new();
    let (ca, users) = (postfix.authority.write(&env.path("")), env.path("users"));
    fs::write(&users, "ann:secret\n").unwrap();
    let place = place(&postfix);
    let target = format!("127.0.0.1:{}", postfix.submission_port);
    let document = load(
        &env,
        &[
            &[&target, "--rate", "20/s", "--for", "4s", "--messages-per-connection", "2"],
            &[
                "--tls",
                "starttls",
                "--tls-resumed",
                "70",
                "--tls-ca",
                text(&ca),
                "--tls-name",
                "mx.test",
            ],
            &["--auth", "PLAIN,SCRAM-SHA-256", "--users", text(&users)],
            &["--recipients", "a@x.test", "--deliver", &place, "--deliver-wait", "60s"],
        ],
    );
    is_whole(&document, 80);
    let log = Server::read(Kind::Postfix, &postfix.log());
    log.agrees(&document, &kept(&postfix.mail()));
    let phase = |name: &str| number(&document, &format!("phases/{name}/count"));
    let connections = number(&document, "connections");
    assert_eq!((phase("starttls"), phase("auth")), (connections, connections));
    assert!(phase("tls_resumed") > 0 && phase("tls_full") > 0, "{document:#}");
    assert_eq!(phase("tls_full") + phase("tls_resumed"), connections);
    assert_eq!(log.said("TLS connection established"), connections);
    assert_eq!(log.said("eusing old session"), phase("tls_resumed"));
    let used = ["PLAIN", "SCRAM-SHA-256"]
        .map(|name| log.said(&format!("sasl_method={name}, sasl_username=ann")));
    assert!(used[0] + used[1] == 80 && used[0] > 0 && used[1] > 0, "{used:?}");
}

#[test]
fn its_log_is_sent_again() {
    let Some(postfix) = Postfix::start(&Task::default()) else { return };
    let env = Env::new();
    let (target, place) = (target(&postfix), place(&postfix));
    let recipients = ["--recipients", "a@x.test,b@x.test", "--recipients-per-message", "2"];
    let watched = ["--deliver", &place, "--deliver-wait", "60s"];
    let document =
        load(&env, &[&[&target, "--rate", "20/s", "--for", "3s"], &recipients, &watched]);
    is_whole(&document, 60);
    let (first, log) = (Server::read(Kind::Postfix, &postfix.log()), env.path("mail.log"));
    fs::write(&log, &first.log).unwrap();
    let again = ["replay", text(&log), &target, "--speed", "3", "--drain", "60s"];
    let again = load(&env, &[&again, &recipients, &watched]);
    is_whole(&again, 60);
    first.is_replayed(&again, 3.0);
    let kept = kept(&postfix.mail());
    for document in [document, again] {
        let of_run = kept.iter().filter(|kept| document["run"] == kept.run.as_str());
        assert_eq!(of_run.count(), 120);
    }
    assert_eq!(kept.len(), 240);
}

#[test]
fn a_queue_that_grows_is_seen() {
    let more = "defer_transports = virtual";
    let Some(postfix) = Postfix::start(&Task { more, ..Task::default() }) else { return };
    let env = Env::new().with("MAIL_CONFIG", text(&postfix.etc()));
    let target = target(&postfix);
    let document = load(
        &env,
        &[
            &[&target, "--rate", "20/s", "--for", "10s", "--recipients", "a@x.test"],
            &["--queue", "postfix"],
        ],
    );
    assert_eq!((number(&document, "offered"), number(&document, "accepted")), (200, 200));
    assert_eq!(document["queue"]["slope"]["is_growing"], true, "{document:#}");
    // What it has at the end, it was asked for a moment before.
    let (last, log) =
        (number(&document, "queue/last"), Server::read(Kind::Postfix, &postfix.log()));
    assert!((1..=200).contains(&last) && last == number(&document, "queue/max"), "{document:#}");
    assert_eq!(log.came().len(), 200);
    let judged = document["objectives"].as_array().unwrap();
    let slope = judged.iter().find(|one| one["objective"].as_str().unwrap().contains("queue"));
    assert_eq!(slope.unwrap()["is_met"], false, "{document:#}");
}

fn target(postfix: &Postfix) -> String {
    format!("127.0.0.1:{}", postfix.port)
}

fn place(postfix: &Postfix) -> String {
    format!("maildir:{}", text(&postfix.mail()))
}

/// By the last digit of a message's number, and by a line that it has.
const UNFAITHFUL: &str = "
header_checks = regexp:{ {/^X-Mailrig-Load: [0-9a-f]+ [0-9]*7 / DISCARD}, {/^X-Mailrig-Load: [0-9a-f]+ [0-9]*3 / BCC a@x.test} }
body_checks = regexp:{ {/^CHANGE ME/ REPLACE CHANGED} }
";
