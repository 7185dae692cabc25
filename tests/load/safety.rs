//! What load may do to whom: nothing to a server that is not said to be ours, nothing to people, and no more than an
//! accident should.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use rustix::process::Signal;

use super::apart::{Apart, SERVER};
use super::common::{ended, letters};
use crate::env::{Env, text, wait_until};
use crate::serving::Serving;

/// A run that would begin at once if it were allowed.
fn refused(env: &Env, targets: &str, more: &[&str], sentence: &str) {
    let plan: &[&str] = if more.iter().any(|word| word.starts_with("--closed") || *word == "--rate")
    {
        &[]
    } else {
        &["--rate", "1/s", "--for", "1s"]
    };
    let output = env.run(&[&["load", targets], plan, more].concat());
    output.expect_error(2, sentence, "");
}

fn not_owned(host: &str, address: &str) -> String {
    format!(
        "{host} is at {address}, which is not this machine: only a server that is yours may be loaded; if it is, \
         say so with --i-own {host}"
    )
}

#[test]
fn other_machines_are_loaded_only_by_whoever_types_their_name_twice() {
    let env = Env::new();
    for address in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "10.0.0.1", "169.254.1.1"] {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        for owned in [&[][..], &["--i-own", "192.0.2.2"], &["--i-own", "mx.example.org"]] {
            refused(&env, &format!("{host}:2525"), owned, &not_owned(address, address));
        }
    }
    // Each of several, and whatever the scheme.
    for targets in ["127.0.0.1:1,192.0.2.1:25", "192.0.2.1:25,127.0.0.1:1", "lmtp://192.0.2.1:24"] {
        refused(&env, targets, &[], &not_owned("192.0.2.1", "192.0.2.1"));
    }
    let two = ["--i-own", "192.0.2.1"];
    refused(&env, "192.0.2.1,192.0.2.9", &two, &not_owned("192.0.2.9", "192.0.2.9"));
    for address in ["0.0.0.0:25", "[::]:25"] {
        let output = env.run(&["load", address, "--rate", "1/s"]).expect(2);
        assert!(output.stderr.contains("names no machine"), "{output}");
    }
}

#[test]
fn mail_goes_to_nobody_whose_domain_was_not_named() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let address = server.address();
    let may_be_people = |domain: &str| {
        format!(
            "recipients at {domain} may be people: only reserved domains (RFC 2606: example.com, .test and so on) \
             get load without asking; if it is yours, add --recipient-domain {domain}"
        )
    };
    for (recipients, allowed, domain) in [
        ("ann@gmail.com", &[][..], "gmail.com"),
        ("9*ann@example.org,bob@corp.example.net.evil.com", &[], "corp.example.net.evil.com"),
        ("user{1..9}@a.ours.org", &["--recipient-domain", "ours.org"], "a.ours.org"),
        ("ann@ours.org", &["--recipient-domain", "*.ours.org"], "ours.org"),
    ] {
        let to = ["--recipients", recipients];
        refused(&env, &address, &[&to, allowed].concat(), &may_be_people(domain));
    }
    let list = env.path("list");
    std::fs::write(&list, "ann@example.org\nbob@gmail.com\n").unwrap();
    refused(&env, &address, &["--recipients", text(&list)], &may_be_people("gmail.com"));
    let everybody =
        env.run(&["load", &address, "--rate", "1/s", "--recipient-domain", "*"]).expect(2);
    assert!(
        everybody.stderr.contains("--recipient-domain * is neither a domain nor"),
        "{everybody}"
    );
    // What is said to be ours gets its mail, and nothing above reached the server.
    let letters = letters(&env);
    let run =
        ["load", &address, "--rate", "9/s", "--for", "1s", "--corpus", text(&letters), "--json"];
    let ours = ["--recipients", "ann@ours.org", "--recipient-domain", "ours.org"];
    assert_eq!(ended(&env.run(&[&run[..], &ours].concat()))["accepted"], 9);
    let counts = server.stop();
    assert_eq!(
        (&counts["counts"]["accepted"], &counts["counts"]["connections"]),
        (&9.into(), &9.into())
    );
}

#[test]
fn ceilings_are_there_and_lower_elsewhere() {
    let env = Env::new();
    let above = |asked: &str, ceiling: &str| {
        format!("{asked} is above the ceiling of {ceiling}; ask for less, or add --yes-really")
    };
    for (more, asked, ceiling) in [
        (&["--rate", "100001/s"][..], "100001/s", "100000/s"),
        (&["--rate", "1/s", "--for", "25h"], "25.0 h", "24 h"),
        (&["--rate", "1/s", "--connections", "25001"], "25001 connections", "25000 connections"),
        (
            &["--rate", "1/s", "--idle-connections", "24901"],
            "25001 connections",
            "25000 connections",
        ),
    ] {
        refused(&env, "127.0.0.1:1", more, &above(asked, &format!("{ceiling} on this machine")));
    }
    for (more, asked, ceiling) in [
        (&["--rate", "501/s"][..], "501/s", "500/s"),
        (&["--rate", "1/s", "--for", "5h"], "5.0 h", "4 h"),
        (&["--rate", "1/s", "--messages", "20000"], "5.6 h", "4 h"),
        (&["--rate", "1/s", "--connections", "1001"], "1001 connections", "1000 connections"),
        (&["--closed", "2"], "as fast as it goes", "500/s"),
    ] {
        let more = [more, &["--i-own", "192.0.2.1"]].concat();
        refused(&env, "192.0.2.1", &more, &above(asked, &format!("{ceiling} for another host")));
    }
}

mod needs_namespaces {
    use super::*;

    #[test]
    fn a_server_that_is_not_said_to_be_ours_sees_no_connection() {
        let env = Env::new();
        let Some(apart) = Apart::new(1) else { return };
        let (server, address) = apart.serve(&env, &["--sink"]);
        let letters = letters(&env);
        let run = ["load", &address, "--corpus", text(&letters), "--json"];
        let start = |more: &[&str]| apart.start(&env, 1, &[&run[..], more].concat()).wait();
        let slow = ["--rate", "9/s", "--for", "1s"];
        for owned in [&[][..], &["--i-own", "192.0.2.2"], &["--i-own", "localhost"]] {
            let error = start(&[&slow, owned].concat()).expect(2).error();
            assert_eq!(error["message"], not_owned(SERVER, SERVER));
        }
        let fast = ["--i-own", SERVER, "--rate", "501/s", "--for", "1s"];
        start(&fast).expect(2);
        start(&["--i-own", SERVER, "--closed", "3"]).expect(2);
        let owned = ended(&start(&[&slow[..], &["--i-own", SERVER]].concat()));
        assert_eq!(owned["accepted"], 9);
        let really = ended(&start(&[&fast[..], &["--yes-really"]].concat()));
        assert_eq!(really["offered"], 501);
        server.signal(Signal::TERM);
        let counts = server.wait().expect(0).json();
        let sent = 9 + really["accepted"].as_u64().unwrap();
        assert_eq!(counts["counts"]["accepted"], sent);
        assert_eq!(counts["counts"]["connections"], 9 + really["connections"].as_u64().unwrap());
    }
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let env = Env::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let letters = letters(&env);
    let plan =
        ["load", &address, "--closed", "1", "--for", "1h", "--timeout", "1h", "--drain", "1h"];
    let mut running = env.start(&[&plan[..], &["--corpus", text(&letters)]].concat());
    // It takes a message and never says what became of it: what is under way does not end.
    let mut client = BufReader::new(server.accept().unwrap().0);
    let mut line = String::new();
    for reply in ["220 hello", "250 hello", "250 mail", "250 rcpt", "354 go on"] {
        client.get_mut().write_all(format!("{reply}\r\n").as_bytes()).unwrap();
        client.read_line(&mut line).unwrap();
    }
    wait_until("it has ended", || {
        let is_ended = running.child.try_wait().unwrap().is_some();
        if !is_ended {
            running.signal(Signal::INT);
        }
        is_ended
    });
    let output = running.wait().expect(130);
    // One interrupt lets what is under way end, and reports; two do not.
    assert!(output.stdout.is_empty(), "{output}");
}
