//! What makes no sense, or cannot be had: refused before the first message, with what it is, why, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::apart::{Apart, SERVER};
use super::common::{ended, letters};
use crate::env::{Env, text};
use crate::full_disk::Tmpfs;
use crate::process::{Output, Running};
use crate::serving::Serving;

/// Words as a shell would take them, and what is said of them.
const ARGUMENTS: &[(&str, &str)] = &[
    (
        "",
        "how much is to be sent? Give a --rate such as 200/s, a --profile, --find-limit, or --closed",
    ),
    (
        "--rate 0/s",
        "invalid value '0/s' for '--rate <RATE>': a rate of zero sends nothing: expected more, such as 200/s",
    ),
    (
        "--rate 10",
        "invalid value '10' for '--rate <RATE>': `10` is no rate: it is such as 200/s, 12000/min or 1e3/h",
    ),
    ("--rate -1/s", "unexpected argument '-1' found"),
    (
        "--rate=-1/s",
        "invalid value '-1/s' for '--rate <RATE>': the rate `-1/s` is not from 0 to 10000000/s",
    ),
    ("--rate 0.001/s --for 1s", "the plan has no arrivals: raise the rate or the duration"),
    ("--rate 9/s --for 0s", "--for: expected more than 0, such as 1m"),
    (
        "--rate 9/s --for 10",
        "invalid value '10' for '--for <TIME>': expected a time such as 500ms, 30s, 5m, 2h or 5d",
    ),
    (
        "--rate 9/s --for 400d",
        "the plan lasts longer than 366 days: shorten a phase, or replay faster",
    ),
    ("--rate 9/s --messages 0", "--messages: expected 1 or more"),
    ("--closed 2 --messages 0", "--messages: expected 1 or more"),
    ("--closed 2 --for 0s", "--for: expected more than 0, such as 1m"),
    ("--closed 0", "--closed: expected 1 or more"),
    ("--rate 9/s --connections 0", "--connections: expected 1 or more"),
    ("--rate 9/s --messages-per-connection 0", "--messages-per-connection: expected 1 or more"),
    ("--rate 9/s --closed 2", "the argument '--rate <RATE>' cannot be used with '--closed <N>'"),
    (
        "--rate 9/s --profile x.toml",
        "the argument '--rate <RATE>' cannot be used with '--profile <FILE>'",
    ),
    (
        "--profile x.toml --for 1s",
        "the argument '--profile <FILE>' cannot be used with '--for <TIME>'",
    ),
    (
        "--find-limit --messages 9",
        "the argument '--find-limit' cannot be used with '--messages <N>'",
    ),
    (
        "--find-limit --shard 1/2 --start-at 2030-01-01",
        "the argument '--find-limit' cannot be used with:",
    ),
    ("--rate 9/s --shard 1/2", "the following required arguments were not provided:"),
    (
        "--rate 9/s --shard 3/2 --start-at 2030-01-01",
        "--shard: a shard is I/N, such as 1/3, 2/3 and 3/3, of 1000 at most",
    ),
    (
        "--rate 9/s --shard 0/2 --start-at 2030-01-01",
        "--shard: a shard is I/N, such as 1/3, 2/3 and 3/3, of 1000 at most",
    ),
    (
        "--rate 9/s --start-at 2020-01-01",
        "--start-at 2020-01-01T00:00:00Z is over; all shards begin at one time to come",
    ),
    (
        "--rate 9/s --start-at 9999-01-01",
        "--start-at 9999-01-01T00:00:00Z is more than a year away",
    ),
    (
        "--rate 9/s --size huge",
        "--size huge: huge is no size: expected bytes such as 4096, 4K or 50M, a range such as 4K-1M",
    ),
    ("--rate 9/s --size 300G", "--size 300G needs 300.0 GiB in memory; 256 MiB are the most"),
    ("--rate 9/s --recipients bob", "--recipients: `bob`: an address is LOCAL@DOMAIN"),
    (
        "--rate 9/s --recipients u{9..1}@x.test",
        "--recipients: `u{9..1}@x.test`: braces hold a range of numbers from less to more",
    ),
    ("--rate 9/s --recipients-per-message 101", "a message cannot have 101 recipients of 100"),
    (
        "--rate 9/s --recipients-per-message 0",
        "--recipients-per-message: expected recipients per message from 1 to 1000, such as 3 or 1-5",
    ),
    ("--rate 9/s --timeout 0s", "--timeout: expected more than 0"),
    ("--rate 9/s --proxy v3:1", "--proxy is v1 or v2 and an address: v2:192.0.2.1:1234"),
    (
        "--rate 9/s --tls starttls --tls-pin abc",
        "--tls-pin is the SHA-256 of a certificate: 64 hexadecimal digits",
    ),
    (
        "--rate 9/s --source 192.0.2.7",
        "--source 192.0.2.7: Cannot assign requested address (os error 99); it must be an address of this machine",
    ),
    (
        "--rate 9/s --tls-any",
        "options of TLS need TLS: give --tls starttls, --tls implicit or smtps://",
    ),
    (
        "--rate 9/s --tls starttls --tls-share 101",
        "invalid value '101' for '--tls-share <PERCENT>': expected 0 to 100",
    ),
    ("--rate 9/s --users users --auth ROT13", "--auth ROT13: expected one of SCRAM-SHA-256, "),
    ("--rate 9/s --dkim s1 --dkim-key users", "--dkim is SELECTOR@DOMAIN, such as s1@example.org"),
    (
        "--rate 9/s --expect p99<",
        "--expect: \"\" in \"p99<\" is not a time below an hour with its unit us, ms, s or m, as 500ms or 1.5s",
    ),
    ("--rate 9/s --expect p98<1s,", "--expect: "),
    (
        "--rate 9/s --deliver nowhere",
        "--deliver is maildir:DIR, sink:ADDRESS:PORT, or imap://USER@HOST[:PORT][/FOLDER]",
    ),
    (
        "--rate 9/s --deliver imap://ann@127.0.0.1",
        "--deliver imap:// needs --deliver-password-file, or MAILRIG_IMAP_PASSWORD",
    ),
];

#[test]
fn arguments_that_make_no_sense_are_refused_with_one_sentence() {
    let env = Env::new();
    fs::write(env.path("users"), "ann:secret\n").unwrap();
    let letters = letters(&env);
    for (words, sentence) in ARGUMENTS {
        let mut words: Vec<&str> = words.split_whitespace().collect();
        if !words.contains(&"--size") {
            words.extend(["--corpus", text(&letters)]);
        }
        let output = env.run(&[&["load", "127.0.0.1:1"], &words[..]].concat()).expect(2);
        assert!(output.stderr.starts_with(&format!("error: {sentence}")), "{output}");
        let document = env.run(&[&["load", "127.0.0.1:1", "--json"], &words[..]].concat());
        let message = document.error()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(sentence) && document.stdout.is_empty(), "{document}");
    }
}

#[test]
fn targets_are_as_people_write_them_or_refused() {
    let env = Env::new();
    let expected = "expected HOST[:PORT], smtp://HOST, smtps://HOST, lmtp://HOST:PORT or unix:PATH";
    for target in ["http://localhost", "localhost:0", "ann@localhost", "unix:"] {
        let output = env.run(&["load", target, "--rate", "1/s"]);
        output.expect_error(2, &format!("{target}: {expected}"), "");
    }
    let both = env.run(&["load", "smtps://127.0.0.1", "--rate", "1/s", "--tls", "starttls"]);
    both.expect_error(2, "smtps:// has TLS before the greeting, and no STARTTLS", "");
    let unknown = env.run(&["load", "nohost.invalid", "--rate", "1/s"]).expect(1);
    let sentence =
        "error: cannot look up nohost.invalid; is the name right, and does the resolver answer?: ";
    assert!(unknown.stderr.starts_with(sentence), "{unknown}");
}

/// A command that cannot begin because of a file.
#[test]
fn files_that_cannot_be_used_are_named_with_the_place_in_them() {
    let env = Env::new();
    let file = |name: &str, content: &str| {
        fs::write(env.path(name), content).unwrap();
        env.path(name).display().to_string()
    };
    let typo = file("typo.toml", "arrivals = 'even'\n[[phase]]\nduration = '1m'\n  rat = '9/s'\n");
    let users = file("users", "# ours\nann:secret\nbob\n");
    let nobody = file("nobody", "# nobody\n");
    let here = file("here", "x");
    let letters = letters(&env);
    let none = env.path("none").display().to_string();
    let missing = "No such file or directory (os error 2)";
    for (words, sentence) in [
        (
            ["--profile", &typo],
            format!("{typo}: line 4, column 3: unknown field `rat`, expected one of"),
        ),
        (["--profile", &none], format!("cannot read {none}: {missing}")),
        (["--users", &users], format!("{users}: line 3: expected USER:PASSWORD")),
        (
            ["--users", &nobody],
            format!("{nobody} names no user; expected a USER:PASSWORD on each line"),
        ),
        (["--users", &none], format!("cannot read {none}: {missing}")),
        (["--corpus", &none], format!("reading the corpus {none}: {missing}")),
        (
            ["--tls-ca", &here],
            format!("cannot use {here}: there is no certificate in it (BEGIN CERTIFICATE)"),
        ),
        (
            ["--dkim-key", &here],
            format!("cannot sign with {here}: the DKIM key is no PEM file with a PRIVATE KEY"),
        ),
        (["--out", &here], format!("--out {here} is a file; name a folder")),
        (
            ["--html", "none/page.html"],
            "cannot write none/page.html: name a file in a folder that is there".to_owned(),
        ),
        (["--deliver", &format!("maildir:{none}")], format!("cannot watch {none}: {missing}")),
    ] {
        let more = match words[0] {
            "--profile" => &[][..],
            "--users" => &["--rate", "9/s", "--auth", "PLAIN"],
            "--tls-ca" => &["--rate", "9/s", "--tls", "starttls"],
            "--dkim-key" => &["--rate", "9/s", "--dkim", "s1@example.org"],
            _ => &["--rate", "9/s"],
        };
        let corpus = ["--corpus", text(&letters)];
        let corpus = if words[0] == "--corpus" { &[][..] } else { &corpus };
        let output =
            env.run(&[&["load", "127.0.0.1:1"], &words[..], more, corpus].concat()).expect(1);
        assert!(output.stderr.starts_with(&format!("error: {sentence}")), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
    let first = ["load", "127.0.0.1:1", "--rate", "9/s", "--for", "1s", "--corpus", text(&letters)];
    let out = env.path("out");
    let again = [&first[..], &["--out", text(&out)]].concat();
    env.run(&again).expect(6);
    let sentence = format!("{} has a result already; choose another folder", out.display());
    env.run(&again).expect_error(1, &sentence, "");
}

#[test]
fn unreadable_files_of_a_corpus_are_named_and_the_others_sent() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let dir = letters(&env);
    fs::write(dir.join("2.eml"), "Subject: two\n\nNobody may read this.\n").unwrap();
    fs::set_permissions(dir.join("2.eml"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(dir.join("3.eml"), "\nno header\n").unwrap();
    let address = server.address();
    let run = ["load", &address, "--rate", "9/s", "--for", "1s", "--corpus", text(&dir)];
    let output = env.start_unprivileged(&run).wait();
    assert!([Some(0), Some(4), Some(6)].contains(&output.code), "{output}");
    assert!(output.stdout.contains("Messages: 9 offered, 9 accepted"), "{output}");
    let warning = format!("2 of 3 files in {} cannot be used: ", dir.display());
    let reason = format!("{}: Permission denied", dir.join("2.eml").display());
    assert!(output.stderr.contains(&warning) && output.stderr.contains(&reason), "{output}");
    fs::remove_file(dir.join("1.eml")).unwrap();
    let output = env.start_unprivileged(&run).wait().expect(1);
    let sentence = format!("{} has no message that could be used: {}", dir.display(), reason);
    assert!(output.stderr.starts_with(&format!("error: {sentence}")), "{output}");
}

/// `mailrig` with limits of open files, soft and hard.
fn with_files(env: &Env, soft: u32, hard: u32, arguments: &[&str]) -> Output {
    let mailrig = env.command();
    let script = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$@\"");
    let mut command = env.isolated(Command::new("sh"));
    command.args(["-c", &script, "sh"]).arg(mailrig.get_program()).args(arguments);
    Running::start(command).wait()
}

#[test]
fn open_files_are_raised_to_the_hard_limit_and_too_few_are_told_at_once() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let (address, letters) = (server.address(), letters(&env));
    let run = ["load", &address, "--rate", "20/s", "--for", "1s", "--corpus", text(&letters)];
    let enough = ended(&with_files(&env, 40, 400, &[&run[..], &["--json"]].concat()));
    assert_eq!(enough["generator"]["descriptors_limit"], 400);
    assert_eq!((&enough["offered"], &enough["accepted"]), (&20.into(), &20.into()));
    let sentence = "100 connections need 164 open files, and this process may have 120; raise the hard limit \
                    (ulimit -Hn, LimitNOFILE=), or take fewer --connections";
    with_files(&env, 40, 120, &run).expect_error(1, sentence, "");
    let near = with_files(&env, 40, 170, &run);
    assert!(
        near.stderr.contains("164 of 170 open files may be needed: that is nearly all"),
        "{near}"
    );
    let fewer = with_files(&env, 40, 120, &[&run[..], &["--connections", "20", "--json"]].concat());
    assert_eq!(ended(&fewer)["accepted"], 20);
}

#[test]
fn a_rate_that_the_machine_cannot_make_is_never_met() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let (address, letters) = (server.address(), letters(&env));
    let plan = ["load", &address, "--rate", "100000/s", "--for", "1s", "--drain", "500ms"];
    let how = ["--connections", "2", "--corpus", text(&letters), "--json"];
    let output = env.run(&[&plan[..], &how].concat());
    assert!([Some(4), Some(6)].contains(&output.code), "{output}");
    let document = output.json();
    let count = |key: &str| document[key].as_u64().unwrap();
    assert_eq!(count("offered"), 100_000);
    let ends = ["accepted", "refused", "deferred", "failed", "unknown", "not_started"];
    assert_eq!(ends.map(count).iter().sum::<u64>(), 100_000, "{document}");
    assert!(count("not_started") > 0, "{document}");
    assert_eq!(server.stop()["counts"]["accepted"], document["accepted"]);
}

mod needs_namespaces {
    use super::*;

    #[test]
    fn ports_that_ran_out_are_counted_and_make_the_run_invalid() {
        let env = Env::new();
        let Some(apart) = Apart::new(1) else { return };
        let (_server, address) = apart.serve(&env, &["--sink"]);
        let ports = "echo '40000 40009' > /proc/sys/net/ipv4/ip_local_port_range";
        let set = apart.command(&env, 1, &["sh", "-c", ports]).status().unwrap();
        assert!(set.success());
        let letters = letters(&env);
        let run = ["load", &address, "--i-own", SERVER, "--rate", "200/s", "--for", "1s"];
        // Each connection is kept: ten have a port, and no other gets one.
        let how = ["--idle-connections", "40", "--corpus", text(&letters), "--json"];
        let output = apart.start(&env, 1, &[&run[..], &how].concat()).wait().expect(6);
        let document = output.json();
        assert!(document["ports_exhausted"].as_u64().unwrap() > 20, "{document}");
        let advice = document["advice"].as_array().unwrap().iter();
        let mut ports =
            advice.filter(|one| one["reason"].as_str().unwrap().contains("no source port"));
        let ports = ports.next().unwrap_or_else(|| panic!("{document}"));
        assert!(ports["advice"].as_str().unwrap().contains("--source"), "{document}");
    }
}

mod needs_tmpfs {
    use super::*;

    #[test]
    fn a_full_disk_ends_no_run_and_the_result_is_told() {
        let env = Env::new();
        let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
        let Some(disk) = Tmpfs::mount(env.path("disk"), "16k") else { return };
        let (address, letters) = (server.address(), letters(&env));
        let out = disk.path().join("out");
        let run = ["load", &address, "--rate", "50/s", "--for", "4s", "--corpus", text(&letters)];
        let output = env.run(&[&run[..], &["--out", text(&out), "--json"]].concat()).expect(1);
        let document = output.json();
        assert_eq!((&document["offered"], &document["accepted"]), (&200.into(), &200.into()));
        let error: serde_json::Value = serde_json::from_str(&output.stderr).unwrap();
        let message = error["message"].as_str().unwrap();
        let is_told =
            message.starts_with("cannot write ") && message.contains("No space left on device");
        assert!(is_told && message.contains(text(&out)), "{output}");
        assert!(!Path::new(&out).join("result.json").exists(), "half a result");
    }
}
