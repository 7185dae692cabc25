//! mailrig is killed at any moment of a drill: `recover` leaves no fault behind, which is seen by looking at rules,
//! processes, addresses, mounts and files. `MAILRIG_KILLS=200` is the long form, for each of the scenarios.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::processes_of;
use crate::env::{Env, text, wait_until};
use crate::store::Random;

/// Proxies, processes that freeze and die, and commands that leave something behind.
const EMBEDDED: &str = r#"
[lab]
ports = ["way", "primary", "backup"]
folders = ["store"]
[lab.proxies.way]
listen = "127.0.0.1:${port.way}"
to = "127.0.0.1:${port.primary}"
[lab.processes.primary]
run = ["mailrig", "serve", "--smtp", "127.0.0.1:${port.primary}", "--store", "${lab}/store", "--create", "--quiet"]
ready = { smtp = "127.0.0.1:${port.primary}" }
[lab.processes.backup]
run = ["mailrig", "serve", "--smtp", "127.0.0.1:${port.backup}", "--store", "${lab}/store", "--create", "--quiet"]
ready = { smtp = "127.0.0.1:${port.backup}" }
starts = false

[roles.primary]
smtp = "127.0.0.1:${port.way}"
store = { maildirs = "${lab}/store" }
serves = true
[roles.backup]
smtp = "127.0.0.1:${port.backup}"
store = { maildirs = "${lab}/store" }

[[steps]]
name = "break the way"
fault = { proxy = { name = "way", rules = [{ at = "end", every = 5, cut_after = true }] } }
[[steps]]
name = "freeze"
fault = { pause = "primary" }
[[steps]]
name = "leave a file, slowly"
run = { argv = ["sh", "-c", "sleep 0.2; touch FLAGS/slow"], undo = ["rm", "-f", "FLAGS/slow"], undone = ["test", "!", "-e", "FLAGS/slow"] }
[[steps]]
name = "leave a folder"
run = { argv = ["mkdir", "FLAGS/quick"], undo = ["sh", "-c", "rmdir FLAGS/quick || ! test -e FLAGS/quick"] }
[[steps]]
name = "go on"
fault = { resume = "primary" }
[[steps]]
name = "kill"
fault = { kill = "primary" }
[[steps]]
name = "start the standby"
start = "backup"
[[steps]]
name = "promote"
promote = { to = "backup", from = "primary" }
"#;

/// A network and a disk of the drill's own, rules and addresses in a node, and a disk that is full.
const APART: &str = r#"
[lab]
network = "10.77.0.1/24"
nodes = { primary = ["10.77.0.2"] }
disks = { mail = { size = "16M" } }
folders = ["mail/store"]
[lab.processes.primary]
node = "primary"
run = ["mailrig", "serve", "--smtp", "10.77.0.2:2525", "--store", "${lab}/mail/store", "--create", "--quiet"]
ready = { smtp = "10.77.0.2:2525" }

[roles.primary]
on = { node = "primary" }
smtp = "10.77.0.2:2525"
store = { maildirs = "${lab}/mail/store" }
serves = true

[[steps]]
name = "lose packets"
fault = { network = { of = "primary", loss_percent = 20 } }
[[steps]]
name = "a rule in the node"
run = { on = "primary", argv = ["nft", "add table inet mailrig_test"], undo = ["nft", "add table inet mailrig_test; delete table inet mailrig_test"], undone = ["sh", "-c", "! nft list table inet mailrig_test"] }
[[steps]]
name = "an address in the node"
run = { on = "primary", argv = ["ip", "address", "add", "10.77.0.99/24", "dev", "eth0"], undo = ["sh", "-c", "ip address del 10.77.0.99/24 dev eth0 || true"] }
[[steps]]
name = "an address of the drill itself"
run = { argv = ["ip", "address", "add", "10.77.0.98/24", "dev", "drill"], undo = ["sh", "-c", "ip link show > FLAGS/links; ip address del 10.77.0.98/24 dev drill || true"] }
[[steps]]
name = "leave a file, slowly"
run = { argv = ["sh", "-c", "sleep 0.2; touch FLAGS/slow"], undo = ["rm", "-f", "FLAGS/slow"] }
[[steps]]
name = "fill the disk"
fault = { fill = { folder = "${lab}/mail" } }
[[steps]]
name = "cut it off"
after = "100ms"
fault = { network = { of = "primary", drop = true } }
[[steps]]
name = "give it room"
after = "100ms"
fault = { empty = "${lab}/mail" }
[[steps]]
name = "mend it"
fault = { network = { of = "primary" } }
"#;

const TRAFFIC: &str = r#"
[traffic]
rate = "40/s"
recipients = "u{1..5}@drill.test"
to = ["primary"]
patience = "300ms"
baseline = "200ms"
recovered = "100ms"
drain = "300ms"
"#;

/// What a kill came to, counted.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    ended: u64,
    /// After how many a look found something before `recover`.
    dirty: u64,
    /// The last event of each journal.
    fell_at: BTreeMap<String, u64>,
    verdicts: BTreeMap<String, u64>,
}

/// A world for one drill.
struct Killed {
    env: Env,
    out: PathBuf,
    flags: PathBuf,
    scenario: PathBuf,
}

impl Killed {
    fn new(scenario: &str) -> Self {
        let env = Env::new();
        let (out, flags) = (env.path("drill"), env.path("flags"));
        let path = env.path("killed.toml");
        fs::create_dir(&flags).unwrap();
        let whole = format!("version = 1\ntitle = \"Killed\"\n{scenario}{TRAFFIC}");
        fs::write(&path, whole.replace("FLAGS", text(&flags))).unwrap();
        Self { env, out, flags, scenario: path }
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.out.join("journal.jsonl")).unwrap_or_default()
    }

    /// Everything of the drill that is still there.
    fn found(&self, run: &str, network: Option<&Path>) -> Vec<String> {
        let mut found = if run.is_empty() { Vec::new() } else { processes_of(run) };
        found.extend(seen_by_processes(&self.env.path(""), network));
        for name in ["lab", "lab.new"] {
            found.extend(self.out.join(name).exists().then(|| name.to_owned()));
        }
        for entry in fs::read_dir(&self.flags).unwrap().flatten() {
            let name = entry.file_name();
            // What an undo saw is no rest.
            found.extend((name != "links").then(|| format!("the step's {}", name.display())));
        }
        for entry in fs::read_dir(self.env.path("tmp")).unwrap().flatten() {
            found.push(entry.path().display().to_string());
        }
        if let Ok(locks) = fs::read_dir(self.env.path("state/drills")) {
            found.extend(locks.flatten().map(|entry| entry.path().display().to_string()));
        }
        found
    }
}

/// Processes that know the folder, or live in the network, and mounts below the folder, whoever sees them.
fn seen_by_processes(folder: &Path, network: Option<&Path>) -> Vec<String> {
    let mut found = Vec::new();
    let folder = text(folder).trim_end_matches('/');
    for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
        let read = |name: &str| {
            let bytes = fs::read(process.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let words = read("cmdline").replace('\0', " ");
        if words.contains(folder) {
            found.push(format!("{}: {words}", process.display()));
        }
        if process.join("cwd").read_link().is_ok_and(|cwd| cwd.starts_with(folder)) {
            found.push(format!("{} is in the folder: {words}", process.display()));
        }
        if read("mountinfo").contains(folder) {
            found.push(format!("{} sees a mount: {words}", process.display()));
        }
        let its = fs::read_link(process.join("ns/net")).ok();
        if network.is_some() && its.as_deref() == network {
            found.push(format!("{} is in the network: {words}", process.display()));
        }
    }
    found
}

/// Rules, links and addresses of this machine that are a drill's.
fn network_rests() -> Vec<String> {
    let mut found = Vec::new();
    for argv in [&["nft", "list", "tables"][..], &["ip", "-o", "address"], &["ip", "netns"]] {
        let output = Command::new(argv[0]).args(&argv[1..]).output();
        let lines = output.map(|output| output.stdout).unwrap_or_default();
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let is_ours = |line: &&str| line.contains("mailrig") || line.contains(" 10.77.0.");
        found.extend(lines.lines().filter(is_ours).map(str::to_owned));
    }
    let links = fs::read_to_string("/proc/net/dev").unwrap();
    let is_ours = |line: &&str| line.contains("drill:") || line.contains("node0:");
    found.extend(links.lines().filter(is_ours).map(str::to_owned));
    found
}

/// The network of a process, if it is not ours.
fn network_of(pid: u32) -> Option<PathBuf> {
    let ours = fs::read_link("/proc/self/ns/net").ok();
    let its = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    if its == ours { None } else { its }
}

fn run_of(journal: &str) -> String {
    let after = journal.split("\"run\":\"").nth(1).unwrap_or_default();
    after.split('"').next().unwrap_or_default().to_owned()
}

/// The kind of the last whole line, and of a phase, step or undo its name.
fn last_event(journal: &str) -> String {
    let mut lines = journal.lines().rev();
    let Some(last) = lines.find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
    else {
        return "no line".into();
    };
    match &last["e"] {
        serde_json::Value::Object(kinds) => kinds.keys().next().cloned().unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default().to_owned(),
    }
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum At {
    /// So long after the start.
    Start(Duration),
    /// So long after the first line of the journal.
    Line(Duration),
}

fn kill_once(scenario: &str, at: At, tally: &mut Tally) {
    let killed = Killed::new(scenario);
    let (env, out) = (&killed.env, &killed.out);
    let running =
        env.start(&["drill", "run", text(&killed.scenario), "--out", text(out), "--json"]);
    let moment = match at {
        At::Start(moment) => moment,
        At::Line(moment) => {
            wait_until("the journal begins", || killed.journal().contains('\n'));
            moment
        }
    };
    // The moment is what this is about.
    thread::sleep(moment);
    let network = network_of(running.child.id());
    running.signal(Signal::KILL);
    let output = running.wait();
    let has_ended = output.code.is_some();
    let journal = killed.journal();
    let run = run_of(&journal);
    let fell_at = last_event(&journal);
    let context = format!("{at:?}, {fell_at}: {output}");
    tally.dirty += u64::from(!killed.found(&run, network.as_deref()).is_empty());

    let has_begun = !run.is_empty();
    let recovered = env.run(&["drill", "recover", text(out)]);
    if out.join("journal.jsonl").exists() {
        let undone = recovered.expect(0);
        assert!(undone.stdout.contains("undo"), "{undone}{context}");
        let again = env.run(&["drill", "recover", text(out)]).expect(0);
        assert_eq!(again.stdout, "There was nothing to undo.\n", "{again}{context}");
    } else {
        let told = recovered.expect(1);
        let sentence = if out.exists() { "has no journal" } else { "No such file or directory" };
        assert!(told.stderr.contains(sentence), "{told}{context}");
    }
    let left = [killed.found(&run, network.as_deref()), network_rests()].concat();
    assert_eq!(left, Vec::<String>::new(), "{context}\n{journal}");
    // What was done in the drill's own network was undone there, and not in this machine's.
    let links = fs::read_to_string(killed.flags.join("links")).unwrap_or_default();
    assert!(links.is_empty() || links.contains("drill:"), "{links}{context}");

    let analyzed = env.run(&["drill", "analyze", text(out), "--json"]);
    let verdict = if has_begun {
        let document = analyzed.json();
        let verdict = document["verdict"].as_str().unwrap().to_owned();
        let code =
            [("pass", 0), ("fail", 4), ("unknown", 6)].into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(analyzed.code, code.get(verdict.as_str()).copied(), "{analyzed}{context}");
        let has_end = journal.contains("\"e\":\"end\"");
        assert!(verdict == "unknown" || has_end, "{analyzed}{context}");
        verdict
    } else {
        let told = analyzed.expect(1);
        assert!(told.stderr.contains("journal"), "{told}{context}");
        "none".to_owned()
    };
    tally.kills += u64::from(!has_ended);
    tally.ended += u64::from(has_ended);
    *tally.fell_at.entry(fell_at).or_default() += 1;
    *tally.verdicts.entry(verdict).or_default() += 1;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How long a run takes that nobody kills, and which leaves nothing: to the first line of its journal, and from there.
fn whole_run(scenario: &str) -> [Duration; 2] {
    let whole = Killed::new(scenario);
    let begun = Instant::now();
    let run = ["drill", "run", text(&whole.scenario), "--out", text(&whole.out)];
    let running = whole.env.start(&run);
    wait_until("the journal begins", || whole.journal().contains('\n'));
    let first_line = begun.elapsed();
    let output = running.wait();
    let (length, journal) = (begun.elapsed(), whole.journal());
    assert!(journal.contains("\"e\":\"end\"") && !journal.contains("\"aborted\""), "{output}");
    assert_eq!(whole.found(&run_of(&journal), None), Vec::<String>::new(), "{output}");
    [first_line, length - first_line]
}

/// Kills runs of a scenario at moments that a seed says, over the length that a whole one takes. `MAILRIG_KILLS` counts
/// those that did not end before.
fn kill_at_any_moment(scenario: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("MAILRIG_SEED").unwrap_or(now);
    println!("MAILRIG_SEED={seed}");
    let mut random = Random(seed);
    // The first one warms things up.
    let [before, after] = [(); 2].map(|()| whole_run(scenario))[1];
    let mut tally = Tally::default();
    let kills = number("MAILRIG_KILLS").unwrap_or(KILLS);
    let mut below =
        |length: Duration| Duration::from_micros(random.below(length.as_micros().max(1) as u64));
    while tally.kills < kills {
        assert!(tally.ended <= 2 * kills, "most runs end before they are killed: {tally:?}");
        let attempt = tally.kills + tally.ended;
        let at = if attempt % EARLY == EARLY - 1 {
            At::Start(below(before))
        } else {
            // Somewhere in each part of its length: a few kills see all of it, too.
            let part = after / kills as u32;
            At::Line(part * (attempt % kills) as u32 + below(part))
        };
        kill_once(scenario, at, &mut tally);
    }
    println!("{before:?}, {after:?}: {tally:#?}");
    // Without `recover`, the looking finds what a kill leaves.
    assert!(tally.dirty > 0, "nothing was shown: {tally:?}");
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_that_recover_does_not_undo() {
    kill_at_any_moment(EMBEDDED);
}

mod needs_namespaces {
    use super::*;

    #[test]
    fn a_kill_at_any_moment_leaves_no_rule_no_address_and_no_disk() {
        kill_at_any_moment(APART);
    }
}

/// Of each scenario, in the short form.
const KILLS: u64 = 6;
/// One in so many falls before the journal begins.
const EARLY: u64 = 6;
