//! `mailrig serve` and `mailrig control`, with Python's `smtplib` as the client, because nobody here wrote it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::env::{Env, text, wait_until};
use crate::serving::Serving;

/// Sends messages by `smtplib`, `count` from `first` on, each with its number as subject, to `to`. Gives the numbers that
/// were answered with 250; ends at the first failure.
fn send(server: &str, to: &str, first: u32, count: u32, is_tls: bool) -> Vec<u32> {
    let script = "import smtplib, ssl, sys\n\
        host, port = sys.argv[1].rsplit(':', 1)\n\
        to, first, count, tls = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == 'true'\n\
        try:\n\
        \x20   s = smtplib.SMTP(host, int(port), timeout=30)\n\
        \x20   if tls: s.starttls(context=ssl._create_unverified_context())\n\
        \x20   for n in range(first, first + count):\n\
        \x20       s.sendmail('s@client.test', [to], f'Subject: {n}\\r\\n\\r\\n.dot\\r\\n')\n\
        \x20       print(n, flush=True)\n\
        \x20   s.quit()\n\
        except (OSError, smtplib.SMTPException) as e:\n\
        \x20   print(e, file=sys.stderr)\n";
    let arguments = [server, to, &first.to_string(), &count.to_string(), &is_tls.to_string()];
    let mut python = Command::new("python3");
    let output =
        python.arg("-c").arg(script).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.parse().unwrap()).collect()
}

/// The subjects of the messages in a mailbox, which are numbers.
fn subjects(mailbox: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(mailbox.join("new")) else { return Vec::new() };
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let number = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
        subject.parse().unwrap()
    };
    let mut numbers: Vec<u32> = paths.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn mail_is_kept_in_mailboxes_that_come_with_it_and_a_backup_has_them() {
    let env = Env::plain();
    let (store, control) = (env.path("store"), env.path("control"));
    let arguments = ["--store", text(&store), "--create", "--tls", "--smtp", "127.0.0.1:0"];
    let more = ["--lmtp", text(&env.path("lmtp")).to_owned().leak(), "--control", text(&control)];
    let serving = Serving::start(&env, "one", &[&arguments[..], &more].concat());
    assert_eq!(serving.ready["certificate_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(send(&serving.address(), "Ann@Example.org", 1, 3, true), [1, 2, 3]);
    let counts = env.run(&["control", text(&control), "counts", "--json"]).expect(0).json();
    assert_eq!(
        (&counts["counts"]["accepted"], &counts["counts"]["connections"]),
        (&3.into(), &1.into())
    );
    let table = env.run(&["control", text(&control), "counts"]).expect(0).stdout;
    assert!(table.contains("accepted") && table.lines().count() > 5, "{table}");
    assert_eq!(subjects(&store.join("example.org/ann")), [1, 2, 3]);
    let done = serving.stop();
    assert_eq!(done["counts"]["accepted"], 3);
    assert!(!control.exists() && !env.path("lmtp").exists());
    env.backup(&[]).expect(0);
    let listed = env.run(&["ls", env.repo(), "latest"]).expect(0).stdout;
    assert!(listed.contains("ann@example.org"), "{listed}");
}

#[test]
fn what_a_backup_server_took_is_on_the_primary_whenever_the_backup_was_killed() {
    let env = Env::new();
    let store = env.path("store");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let primary_at = dead.local_addr().unwrap().to_string();
    drop(dead);
    let (queue, control) = (env.path("queue"), env.path("control"));
    let relay = [
        "--smtp",
        "127.0.0.1:0",
        "--relay",
        &primary_at,
        "--queue",
        text(&queue),
        "--retry",
        "50ms",
    ];
    let arguments = [&relay[..], &["--control", text(&control)]].concat();
    let mut accepted = Vec::new();
    for round in 0..4 {
        let backup = Serving::start(&env, "backup", &arguments);
        let address = backup.address();
        let sender =
            std::thread::spawn(move || send(&address, "a@x.test", round * 1000, 1000, false));
        // In the midst of it.
        wait_until("messages wait", || {
            fs::read_dir(&queue).unwrap().count() > 20 * (round as usize + 1)
        });
        backup.running.signal(Signal::KILL);
        backup.running.wait();
        let sent = sender.join().unwrap();
        assert!(sent.len() < 1000, "it was killed when all was over");
        accepted.extend(sent);
    }
    assert!(!accepted.is_empty());
    let backup = Serving::start(&env, "backup", &arguments);
    let waiting = env.run(&["control", text(&control), "queue", "--json"]).expect(0).json();
    assert!(waiting["waiting"].as_u64().unwrap() >= accepted.len() as u64, "{waiting}");
    let shown = env.run(&["control", text(&control), "queue"]).expect(0).stdout;
    assert!(shown.contains("a@x.test") && shown.contains("messages wait"), "{shown}");
    let primary = Serving::start(
        &env,
        "primary",
        &["--store", text(&store), "--create", "--smtp", &primary_at],
    );
    let flushed = env.run(&["control", text(&control), "flush"]).expect(0).stdout;
    assert!(flushed.starts_with("It tries ") && flushed.ends_with(" messages now\n"), "{flushed}");
    wait_until("the queue is empty", || {
        let waiting = env.run(&["control", text(&control), "queue", "--json"]).expect(0).json();
        waiting["waiting"] == 0
    });
    let found: BTreeSet<u32> = subjects(&store.join("x.test/a")).into_iter().collect();
    let lost: Vec<&u32> = accepted.iter().filter(|number| !found.contains(number)).collect();
    assert!(lost.is_empty(), "{lost:?} of {}", accepted.len());
    // At most the one in each round that nobody was told of is there beside them.
    assert!(found.len() <= accepted.len() + 4, "{} of {}", found.len(), accepted.len());
    assert_eq!(backup.stop()["waiting"], 0);
    primary.stop();
}

#[test]
fn rules_are_followed_from_the_start_and_changed_while_it_serves() {
    let env = Env::new();
    let (store, control) = (env.path("store"), env.path("control"));
    let (rules, log) = (env.path("rules.toml"), env.path("log"));
    fs::write(&rules, "[[rule]]\nat = 'end'\nevery = 2\nreply = '451 4.7.1 later'\n").unwrap();
    let arguments = ["--store", text(&store), "--create", "--smtp", "127.0.0.1:0"];
    let more = ["--rules", text(&rules), "--log", text(&log), "--control", text(&control)];
    let serving = Serving::start(&env, "one", &[&arguments[..], &more].concat());
    assert_eq!(send(&serving.address(), "a@x.test", 1, 3, false), [1]);
    fs::write(&rules, "").unwrap();
    let told = env.run(&["control", text(&control), "rules", text(&rules), "--json"]);
    assert_eq!(told.expect(0).json()["rules"], 0);
    assert_eq!(send(&serving.address(), "a@x.test", 2, 3, false), [2, 3, 4]);
    fs::write(&rules, "[[rule]]\nat = 'end'\n").unwrap();
    let refused = env.run(&["control", text(&control), "rules", text(&rules)]).expect(1);
    assert!(refused.stderr.contains("rule 1: it takes one of"), "{}", refused.stderr);
    let done = serving.stop();
    assert_eq!((&done["counts"]["accepted"], &done["counts"]["refused"]), (&4.into(), &1.into()));
    let log = fs::read_to_string(log).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&str> =
        events.iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "refused", "accepted", "accepted", "accepted"]);
    assert_eq!(events[1]["faults"][0], "reply at end");
    for event in &events {
        let violations = crate::documents::violations(event);
        assert!(violations.is_empty(), "{violations:#?} {event}");
    }
}

#[test]
fn mailboxes_that_are_made_are_for_their_owner_only() {
    let env = Env::new();
    let store = env.path("store");
    let arguments = ["--store", text(&store), "--create", "--smtp", "127.0.0.1:0"];
    let serving = Serving::start(&env, "one", &arguments);
    assert_eq!(send(&serving.address(), "a@x.test", 1, 1, false), [1]);
    serving.stop();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mailbox = store.join("x.test/a");
    let message = fs::read_dir(mailbox.join("new")).unwrap().next().unwrap().unwrap().path();
    let folders = [&store.join("x.test"), &mailbox, &mailbox.join("new"), &mailbox.join("cur")];
    assert_eq!(folders.map(|folder| mode(folder)), [0o700; 4]);
    assert_eq!(mode(&message), 0o600);
}

#[test]
fn a_queue_has_one_server_and_a_second_signal_waits_for_nobody() {
    let env = Env::new();
    let (queue, log) = (env.path("queue"), env.path("log"));
    fs::write(&log, "half a li").unwrap();
    let relay = ["--relay", "127.0.0.1:9", "--queue", text(&queue), "--smtp", "127.0.0.1:0"];
    let first = Serving::start(&env, "one", &[&relay[..], &["--log", text(&log)]].concat());
    let second = env.run(&[&["serve"], &relay[..]].concat()).expect(1);
    assert!(second.stderr.contains("another server has it open"), "{}", second.stderr);
    // Somebody who is in the midst of a message, and stays there.
    let mut client = TcpStream::connect(first.address()).unwrap();
    client.write_all(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n").unwrap();
    let mut replies = BufReader::new(client).lines();
    assert!(replies.any(|line| line.unwrap().starts_with("354 ")));
    first.running.signal(Signal::TERM);
    first.running.signal(Signal::INT);
    first.running.wait().expect(130);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().next(), Some("half a li"));
    assert!(fs::read_to_string(&log).unwrap().ends_with('\n'));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_next_step() {
    let env = Env::new();
    let store = env.path("store");
    let error = |arguments: &[&str], code: i32, part: &str| {
        let output = env.run(&[&["serve"], arguments].concat()).expect(code);
        assert!(output.stderr.contains(part), "{arguments:?}: {}", output.stderr);
    };
    error(&[], 2, "Name a --store, a --relay, or --sink");
    error(&["--relay", "127.0.0.1:25"], 2, "--relay needs a --queue");
    error(&["--sink", "--submission", "127.0.0.1:0"], 2, "need --users");
    error(&["--sink", "--store", "x"], 2, "cannot be used with");
    error(&["--sink", "--create"], 2, "cannot be used with");
    let relay = ["--relay", "127.0.0.1:9", "--queue", "q"];
    let create = [&relay[..], &["--store", text(&store), "--create"]].concat();
    error(&create, 2, "needs a --relay-domain");
    error(&[&relay[..], &["--retry", "5s,0s"]].concat(), 2, "more than 0");
    error(&["--store", text(&store), "--layout", "%x"], 2, "%x is not known here");
    error(&["--store", "nowhere"], 1, "cannot open nowhere; is it the folder");
    error(&["--sink", "--smtp", "localhost:25"], 2, "names are not looked up");
    error(&["--sink", "--max-size", "50 apples"], 2, "such as 52428800 or 50M");
    error(&["--sink", "--host", "two words"], 2, "--host is one word");
    error(&["--sink", "--lmtp", text(&env.path("no/lmtp"))], 1, "cannot listen on");
    fs::write(env.path("users"), "ann\n").unwrap();
    error(
        &["--sink", "--users", "users", "--smtp", "127.0.0.1:0"],
        1,
        "line 1 is not USER:PASSWORD",
    );
    fs::write(env.path("cert"), "no certificate").unwrap();
    error(&["--sink", "--tls-cert", "cert", "--tls-key", "cert"], 1, "it has no certificate");
    error(&["--sink", "--tls-cert", "cert"], 2, "--tls-key");
    fs::write(env.path("rules"), "[[rule]]\n").unwrap();
    error(
        &["--sink", "--rules", "rules", "--smtp", "127.0.0.1:0"],
        1,
        "in rules: TOML parse error",
    );
    let nobody = env.run(&["control", text(&env.path("none")), "counts"]).expect(1);
    assert!(nobody.stderr.contains("does it run?"), "{}", nobody.stderr);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    error(&["--sink", "--smtp", &taken.local_addr().unwrap().to_string()], 1, "cannot listen on");
}
