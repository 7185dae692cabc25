//! A drill where something is not as it should be: hosts that are not there, ssh that wants a password, output without
//! end, a disk that is full, a clock that is wrong, a kernel that cannot do it. Each is told, and undone.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{of_class, processes_of};
use crate::env::{Env, text};
use crate::process::Output;

pub(super) const LAB: &str = r#"version = 1
title = "Odd"
[lab]
ports = ["a"]
folders = ["store"]
[lab.processes.a]
run = ["mailrig", "serve", "--smtp", "127.0.0.1:${port.a}", "--store", "${lab}/store", "--create", "--quiet"]
ready = { smtp = "127.0.0.1:${port.a}" }
[roles.a]
smtp = "127.0.0.1:${port.a}"
store = { maildirs = "${lab}/store" }
serves = true
[traffic]
rate = "20/s"
recipients = "u{1..3}@drill.test"
to = ["a"]
baseline = "200ms"
recovered = "100ms"
drain = "2s"
"#;

fn write(env: &Env, scenario: &str) -> PathBuf {
    let path = env.path("odd.toml");
    fs::write(&path, scenario).unwrap();
    path
}

pub(super) fn run(env: &Env, scenario: &str, out: &Path) -> Output {
    let path = write(env, scenario);
    env.run(&["drill", "run", text(&path), "--out", text(out), "--json"])
}

pub(super) fn journal(out: &Path) -> String {
    fs::read_to_string(out.join("journal.jsonl")).unwrap()
}

fn run_of(out: &Path) -> String {
    journal(out).split("\"run\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[track_caller]
pub(super) fn assert_gone(out: &Path) {
    assert_eq!(processes_of(&run_of(out)), Vec::<String>::new());
    assert!(!out.join("lab").exists() && !out.join("lab.new").exists());
}

/// A program that stands before others of its name.
pub(super) fn put(env: &Env, name: &str, script: &str) {
    let dir = env.path("bin");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Its programs come first.
pub(super) fn with_bin() -> Env {
    let env = Env::new();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", env.path("bin").display());
    env.with("PATH", &path)
}

#[test]
fn a_scenario_that_cannot_be_is_refused_before_anything_is_made() {
    let env = Env::new();
    let out = env.path("out");
    for (added, exit, expected) in [
        (
            "[[steps]]\nname = \"x\"\nundo = [\"true\"]\n",
            2,
            "an `undo` undoes what stands beside it",
        ),
        (
            "[[steps]]\nname = \"x\"\nrun = { undo = [\"true\"] }\n",
            2,
            "`argv` is missing here: the command that is run, and that an `undo` undoes",
        ),
        (
            "[[steps]]\nname = \"x\"\nrun = { argv = [\"echo\", \"${steps.y.stdout}\"] }\n\
             [[steps]]\nname = \"y\"\nrun = { argv = [\"echo\", \"${steps.x.stdout}\"] }\n",
            2,
            "step `y` comes later, or is this one",
        ),
        (
            "[roles.b]\n[[steps]]\nname = \"x\"\nexpect = { smtp = \"127.0.0.1:${port.b}\" }\n",
            2,
            "there is no port `b`",
        ),
        // What the scenario cannot help.
        (
            "[secrets]\nkey = { env = \"NOT_SET_ANYWHERE\" }\n",
            1,
            "the secret `key`: the environment has no NOT_SET_ANYWHERE",
        ),
        ("[secrets]\nkey = { command = [\"true\"] }\n", 1, "the secret `key`: it is empty"),
    ] {
        let refused = run(&env, &format!("{LAB}{added}"), &out).expect(exit);
        assert!(refused.stderr.contains(expected), "{refused}");
        assert!(!out.exists());
    }
}

/// Whoever asks what it would do hears what is wrong with it, and where.
#[test]
fn a_plan_refuses_what_a_run_refuses() {
    let env = Env::new();
    for (from, to, expected) in [
        ("rate = \"20/s\"", "rate = \"many\"", "odd.toml: traffic.rate: `many` is no rate"),
        ("u{1..3}@drill.test", "u@drill.invalid.com", "odd.toml: traffic.recipients: "),
        ("rate = \"20/s\"", "rate = \"20/s\"\nsize = \"big\"", "odd.toml: traffic.size: "),
    ] {
        assert!(LAB.contains(from));
        let path = write(&env, &LAB.replacen(from, to, 1));
        for what in ["plan", "runbook", "rehearse", "run"] {
            let refused = env.run(&["drill", what, text(&path)]).expect(2);
            assert!(refused.stderr.contains(expected), "{what}: {refused}");
        }
    }
    let path = env.path("odd.toml");
    fs::write(&path, b"version = 1\ntitle = \"caf\xe9\"\n").unwrap();
    let refused = env.run(&["drill", "plan", text(&path)]).expect(2);
    assert!(refused.stderr.contains("odd.toml:2: it is no UTF-8, and so no scenario"), "{refused}");
    let refused = env.run(&["drill", "plan", "/dev/zero"]).expect(2);
    assert!(refused.stderr.contains("/dev/zero: it is longer than 1 MiB"), "{refused}");
}

#[test]
fn a_server_that_is_not_there_is_named_before_the_first_step() {
    let env = Env::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let role = format!("[roles.b]\nsmtp = \"{nobody}\"\n");
    let step = "[[steps]]\nname = \"first\"\nrun = { argv = [\"true\"] }\n";
    let out = env.path("out");
    run(&env, &format!("{LAB}{role}{step}"), &out).expect(0);
    let journal = journal(&out);
    let said = journal.find(&format!("role `b` takes no mail at {nobody}")).unwrap();
    assert!(said < journal.find("\"first\"").unwrap(), "{journal}");
    assert!(!journal.contains("role `a` takes no mail"), "{journal}");
    assert_gone(&out);
}

/// Without `BatchMode` it would wait for somebody to type; it says so by its own code.
const PASSWORD: &str = r#"case "$*" in
*ConnectTimeout=*) ;;
*) exit 97;;
esac
case "$*" in
*BatchMode=yes*) echo "nobody@127.0.0.1: Permission denied (publickey,password)." >&2; exit 255;;
esac
exit 98"#;

#[test]
fn a_host_that_ssh_does_not_let_us_into_is_told_with_what_to_do() {
    let role = "[roles.b]\nsmtp = \"127.0.0.1:${port.a}\"\non = { ssh = \"nobody@127.0.0.1\" }\n";
    let flag = "[[steps]]\nname = \"first\"\nrun = { argv = [\"touch\", \"first\"] }\n";
    let closed = "echo 'ssh: connect to host 127.0.0.1 port 22: Connection refused' >&2; exit 255";
    for (ssh, said) in [
        (PASSWORD, "Permission denied (publickey,password)"),
        (closed, "port 22: Connection refused"),
    ] {
        let env = with_bin();
        put(&env, "ssh", ssh);
        let out = env.path("out");
        let document = run(&env, &format!("{LAB}{role}{flag}"), &out).expect(6).json();
        let why = document["aborted"].as_str().unwrap();
        assert!(why.starts_with("before the first step: role `b` runs no commands: "), "{why}");
        let next = "see that `ssh -o BatchMode=yes nobody@127.0.0.1 true` works";
        assert!(why.contains(said) && why.contains(next), "{why}");
        assert!(!env.path("first").exists());
        assert_gone(&out);
        let rehearsed = env.run(&["drill", "rehearse", "odd.toml", "--json"]).expect(4).json();
        let failed = rehearsed["answers"][0]["failed"].as_str().unwrap();
        assert!(failed.contains(said) && failed.contains(next), "{rehearsed}");
    }
    // One who is let in.
    let env = with_bin();
    put(&env, "ssh", "for last; do :; done; exec sh -c \"$last\"");
    run(&env, &format!("{LAB}{role}{flag}"), &env.path("out")).expect(0);
    assert!(env.path("first").exists());
}

#[test]
fn a_step_that_prints_a_gigabyte_takes_no_memory() {
    let env = Env::new();
    let out = env.path("out");
    let step = "[[steps]]\nname = \"loud\"\ntimeout = \"90s\"\n\
                run = { argv = [\"sh\", \"-c\", \"head -c 1000000000 /dev/zero | tr '\\\\0' x\"] }\n";
    let path = write(&env, &format!("{LAB}{step}"));
    let mut running = env.start(&["drill", "run", text(&path), "--out", text(&out), "--json"]);
    let status = format!("/proc/{}/status", running.child.id());
    let mut peak_kib = 0;
    while running.child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::yield_now();
    }
    running.wait().expect(0);
    assert!((1..200 << 10).contains(&peak_kib), "{peak_kib} KiB");
    let journal = journal(&out);
    assert!(journal.contains("xxx\\n[the rest left out]"), "{} bytes", journal.len());
    assert!(journal.len() < 1 << 20, "{}", journal.len());
    assert_gone(&out);
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

mod needs_faketime {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_seen_by_its_process_alone_and_set_right() {
        let env = Env::new();
        let out = env.path("out");
        let clock = format!("clock = \"{FAKETIME}\"\n[roles.a]");
        let look = |name: &str| {
            format!(
                "[[steps]]\nname = \"{name}\"\nafter = \"500ms\"\n\
                 run = {{ argv = [\"sh\", \"-c\", \"ls -t $(find ${{lab}}/store -path '*/new/*') | head -1 | xargs cat > {}; date +%s > {}.now\"] }}\n",
                env.path(name).display(),
                env.path(name).display(),
            )
        };
        let set = |offset: &str| {
            format!(
                "[[steps]]\nname = \"{offset}\"\nfault = {{ clock = {{ process = \"a\", offset = \"{offset}\" }} }}\n"
            )
        };
        let steps = [look("before"), set("+1h"), look("wrong"), set("+0"), look("after")].concat();
        let scenario = format!("{}{steps}", LAB.replacen("[roles.a]", &clock, 1));
        let document = run(&env, &scenario, &out).expect(0).json();
        assert!(of_class(&document, "delivered") > 10, "{document}");
        for (name, ahead_s) in [("before", 0), ("wrong", 3600), ("after", 0)] {
            // Letters come in many character sets.
            let message = fs::read(env.path(name)).unwrap();
            let received = received_s(&String::from_utf8_lossy(&message));
            let now = fs::read_to_string(env.path(&format!("{name}.now"))).unwrap();
            let now: i64 = now.trim().parse().unwrap();
            assert!((received - now - ahead_s).abs() < 60, "{name}: {received} {now}");
        }
        assert_gone(&out);
    }

    /// When the server took a message, in seconds.
    fn received_s(message: &str) -> i64 {
        let header = message.split("Received:").nth(1).unwrap();
        let date = header.split(';').nth(1).unwrap().trim_start().lines().next().unwrap();
        let parsed = jiff::fmt::rfc2822::parse(date.trim()).unwrap();
        parsed.timestamp().as_second()
    }
}

mod needs_namespaces {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_make_packets_late_is_told_before_the_first_step() {
        let lab = LAB
            .replace(
                "ports = [\"a\"]",
                "network = \"10.77.0.1/24\"\nnodes = { a = [\"10.77.0.2\"] }",
            )
            .replace("127.0.0.1:${port.a}", "10.77.0.2:2525")
            .replace("[lab.processes.a]", "[lab.processes.a]\nnode = \"a\"")
            .replace("[roles.a]", "[roles.a]\non = { node = \"a\" }");
        let steps = "[[steps]]\nname = \"first\"\nrun = { argv = [\"touch\", \"first\"] }\n\
                     [[steps]]\nname = \"slow\"\nfault = { network = { of = \"a\", latency = \"50ms\" } }\n";
        let scenario = format!("{lab}{steps}");
        let env = with_bin();
        put(&env, "tc", "echo 'Error: Specified qdisc kind is unknown.' >&2; exit 2");
        let out = env.path("out");
        let document = run(&env, &scenario, &out).expect(6).json();
        let why = document["aborted"].as_str().unwrap();
        let sentence = "before the first step: step `slow` makes packets late, for which the kernel of `a` needs netem";
        assert!(why.starts_with(sentence) && why.contains("qdisc kind is unknown"), "{why}");
        assert!(!env.path("first").exists());
        assert_gone(&out);
        // Where the kernel says yes, the steps begin.
        put(&env, "tc", "exit 0");
        let out = env.path("other");
        run(&env, &scenario, &out);
        assert!(env.path("first").exists(), "{}", journal(&out));
        assert_gone(&out);
    }
}

mod needs_tmpfs {
    use super::*;
    use crate::full_disk::Tmpfs;

    #[test]
    fn a_disk_that_fills_while_the_journal_is_written_ends_the_drill_and_all_is_undone() {
        let env = Env::new();
        let Some(disk) = Tmpfs::mount(env.path("disk"), "8m") else { return };
        let (out, flag) = (disk.path().join("out"), env.path("flag"));
        let steps = format!(
            "[[steps]]\nname = \"leave a file\"\nrun = {{ argv = [\"touch\", \"{0}\"], undo = [\"rm\", \"-f\", \"{0}\"] }}\n\
             [[steps]]\nname = \"full\"\nrun = {{ argv = [\"sh\", \"-c\", \"head -c 9M /dev/zero > {1}/filler; true\"] }}\n\
             [[steps]]\nname = \"long\"\nrun = {{ argv = [\"sleep\", \"600\"] }}\ntimeout = \"10m\"\n",
            flag.display(),
            disk.path().display()
        );
        let full = run(&env, &format!("{LAB}{steps}"), &out).expect(1);
        assert!(full.stderr.contains("journal.jsonl: No space left on device"), "{full}");
        assert!(full.stderr.contains("free some space or choose another --out"), "{full}");
        assert!(!flag.exists());
        assert_gone(&out);
        fs::remove_file(disk.path().join("filler")).unwrap();
        env.run(&["drill", "recover", text(&out)]).expect(0);
        let document = env.run(&["drill", "analyze", text(&out), "--json"]).expect(6).json();
        assert_eq!(document["verdict"], "unknown", "{document}");
    }

    #[test]
    fn a_disk_that_fills_with_the_report_has_undone_all_and_has_its_journal() {
        let env = Env::new();
        let Some(disk) = Tmpfs::mount(env.path("disk"), "8m") else { return };
        let out = disk.path().join("out");
        let undo = format!(
            "[[undo]]\nargv = [\"sh\", \"-c\", \"cd {} && head -c 9M /dev/zero > filler; truncate -s -8192 filler\"]\n",
            disk.path().display()
        );
        let full = run(&env, &format!("{LAB}{undo}"), &out).expect(1);
        assert!(full.stderr.contains("No space left on device"), "{full}");
        assert_gone(&out);
        fs::remove_file(disk.path().join("filler")).unwrap();
        env.run(&["drill", "analyze", text(&out), "--json"]).expect(0);
    }
}
