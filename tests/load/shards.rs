//! A plan that several machines share: together they send it once, and their results become one without loss.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use super::apart::{Apart, SERVER};
use super::common::{ended, letters};
use crate::env::{Env, text};
use crate::process::{Output, Running};
use crate::serving::Serving;

/// The sum of a number in several documents.
fn sum(documents: &[Value], of: impl Fn(&Value) -> &Value) -> u64 {
    documents.iter().map(|document| of(document).as_u64().unwrap_or_default()).sum()
}

/// All counts of a document that shards add up: what was sent, what was said, and how many times each thing was measured.
fn assert_adds_up(merged: &Value, shards: &[Value]) {
    for key in [
        "offered",
        "accepted",
        "started",
        "not_started",
        "bytes",
        "connections",
        "recipients_accepted",
    ] {
        assert_eq!(merged[key].as_u64().unwrap(), sum(shards, |shard| &shard[key]), "{key}");
    }
    assert_eq!(merged["warmup"]["accepted"], sum(shards, |shard| &shard["warmup"]["accepted"]));
    let times = ["response_us", "service_us", "queue_wait_us", "lateness_us"];
    for key in times {
        let count = merged[key]["count"].as_u64().unwrap_or_default();
        assert_eq!(count, sum(shards, |shard| &shard[key]["count"]), "{key}");
        let extreme = |document: &Value| document[key]["max"].as_u64().unwrap_or_default();
        assert_eq!(extreme(merged), shards.iter().map(extreme).max().unwrap(), "{key}");
    }
    for (phase, times) in merged["phases"].as_object().unwrap() {
        let parts = sum(shards, |shard| &shard["phases"][phase]["count"]);
        assert_eq!(times["count"].as_u64().unwrap(), parts, "{phase}");
    }
    let replies = |document: &Value| -> u64 {
        let rows = document["replies"].as_array().unwrap().iter();
        rows.map(|row| row["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(replies(merged), shards.iter().map(replies).sum::<u64>());
}

/// A column of a result's time series, by the start of the interval.
fn column(dir: &Path, name: &str) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(dir.join("series.csv")).unwrap();
    let mut rows = text.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let at = rows.next().unwrap().iter().position(|column| *column == name).unwrap();
    rows.map(|row| (row[0].to_owned(), row[at].parse().unwrap_or_default())).collect()
}

/// Each interval of the whole is the sum of the shards' intervals, and the slowest of it the slowest of any.
fn assert_same_in_time(merged: &Path, shards: &[&Path]) {
    for (name, is_sum) in [("started", true), ("warmup_accepted", true), ("response_max_us", false)]
    {
        let whole = column(merged, name);
        let mut parts: BTreeMap<String, f64> = BTreeMap::new();
        for shard in shards {
            for (start, number) in column(shard, name) {
                let part = parts.entry(start).or_default();
                *part = if is_sum { *part + number } else { part.max(number) };
            }
        }
        assert!(whole.len() >= 5, "{whole:?}");
        assert_eq!(whole, parts, "{name}");
    }
}

/// When runs are to begin that are started now: each has time to get ready.
fn soon(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// What three machines and one alone came to.
struct Ran {
    shards: Vec<Value>,
    dirs: Vec<PathBuf>,
    /// The whole plan at once.
    alone: Value,
    /// What the server of the three says.
    served: Value,
}

/// Three machines send their part of one plan to one server, 30 a second with a warm-up of a second; beside them one
/// sends the whole plan to another.
fn run_all(env: &Env, apart: &Apart) -> Ran {
    let (server, address) = apart.serve(env, &["--sink"]);
    let other = Serving::start(env, "other", &["--sink", "--smtp", "127.0.0.1:0"]);
    let start_at = soon(8);
    let corpus = letters(env);
    let plan = ["--rate", "30/s", "--for", "4s", "--warmup", "1s", "--poisson", "--seed", "7"];
    let how = ["--start-at", &start_at, "--corpus", text(&corpus), "--json"];
    let dirs: Vec<PathBuf> = (1..=3).map(|n| env.path(&format!("shard{n}"))).collect();
    let start = |machine: u32| -> Running {
        let (shard, out) = (format!("{machine}/3"), text(&dirs[machine as usize - 1]));
        let share = ["load", &address, "--i-own", SERVER, "--shard", &shard, "--out", out];
        apart.start(env, machine, &[&share[..], &plan, &how].concat())
    };
    let running: Vec<Running> = (1..=3).map(start).collect();
    let alone = env.run(&[&["load", &other.address()], &plan[..], &how].concat());
    let shards = running.into_iter().map(Running::wait).map(|output| ended(&output)).collect();
    server.signal(Signal::TERM);
    Ran { shards, dirs, alone: ended(&alone), served: server.wait().expect(0).json() }
}

fn merge(env: &Env, dirs: &[&Path], more: &[&str]) -> Output {
    let dirs: Vec<&str> = dirs.iter().map(|dir| text(dir)).collect();
    env.run(&[&["load", "merge"], &dirs[..], more].concat())
}

mod needs_namespaces {
    use super::*;

    #[test]
    fn three_machines_send_one_plan_once_and_their_results_become_one() {
        let env = Env::new();
        let Some(apart) = Apart::new(3) else { return };
        let Ran { shards, dirs, alone, served } = run_all(&env, &apart);
        let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        let out = env.path("merged");
        let merged = ended(&merge(&env, &dirs, &["--json", "--out", text(&out)]));
        assert_adds_up(&merged, &shards);
        for document in [&merged, &alone] {
            assert_eq!(document["accepted"], document["offered"], "{document}");
        }
        assert_eq!(merged["offered"], alone["offered"]);
        assert_eq!(merged["warmup"]["accepted"], alone["warmup"]["accepted"]);
        assert_eq!(merged["plan"]["digest"], alone["plan"]["digest"]);
        let all = sum(std::slice::from_ref(&merged), |merged| &merged["accepted"])
            + merged["warmup"]["accepted"].as_u64().unwrap();
        assert_eq!(served["counts"]["accepted"], all);
        // Each has its own part, and began when the others did.
        for (at, shard) in shards.iter().enumerate() {
            assert_eq!(shard["plan"]["shard"]["index"], at, "{shard}");
            assert_eq!(shard["run"], shards[0]["run"]);
            assert!(shard["offered"].as_u64().unwrap() > 0, "{shard}");
        }
        assert!(merged["plan"]["shard"].is_null() && merged["left_out"].is_null());
        assert_same_in_time(&out, &dirs);
        // What was merged is a result as any other.
        let same = env.run(&["load", "compare", text(&out), text(&out), "--json"]).expect(0).json();
        assert_eq!(same["is_no_worse"], true);

        leaves_out(&env, &dirs, &shards);
    }

    /// A shard that is missing is named; a sick one is left out when that is said, whether its folder is named or not.
    fn leaves_out(env: &Env, dirs: &[&Path], shards: &[Value]) {
        let missing =
            "shards are missing: 2/3; leave them out with --without, or bring their results";
        merge(env, &[dirs[0], dirs[2]], &[]).expect_error(1, missing, "");
        for dirs in [&[dirs[0], dirs[2]][..], dirs] {
            let rest = merge(env, dirs, &["--without", "2/3", "--json"]).json();
            assert_adds_up(&rest, &[shards[0].clone(), shards[2].clone()]);
            assert_eq!(rest["left_out"], serde_json::json!([{"index": 1, "count": 3}]));
        }
        let sick = dirs[1].join("run.hlog");
        let bytes = fs::read(&sick).unwrap();
        fs::write(&sick, &bytes[..bytes.len() - 5]).unwrap();
        let cut = merge(env, dirs, &[]).expect(1);
        let sentence =
            format!("error: {} is cut off: its last line is not complete", sick.display());
        assert!(cut.stderr.starts_with(&sentence) && cut.stderr.contains("--without"), "{cut}");
        let rest = merge(env, dirs, &["--without", "2/3", "--json"]).json();
        assert_adds_up(&rest, &[shards[0].clone(), shards[2].clone()]);
        // Who brings the numbers without their course in time gets the numbers.
        fs::remove_file(dirs[0].join("series.csv")).unwrap();
        let rest = merge(env, dirs, &["--without", "2/3", "--json"]).json();
        let remark = rest["remarks"][0].as_str().unwrap_or_default();
        assert!(remark.contains("there is no time series of all"), "{rest}");
        assert_adds_up(&rest, &[shards[0].clone(), shards[2].clone()]);
    }
}

/// A run of half a second, under way.
fn small(env: &Env, address: &str, out: &Path, rate: &str, more: &[&str]) -> Running {
    let letters = letters(env);
    let plan = ["load", address, "--rate", rate, "--for", "500ms", "--out", text(out), "--json"];
    env.start(&[&plan[..], &["--corpus", text(&letters)], more].concat())
}

#[test]
fn what_looking_up_a_name_took_is_merged_too() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let address = server.address().replace("127.0.0.1", "localhost");
    let start_at = soon(4);
    let dirs = [env.path("one"), env.path("two")];
    let running = [(&dirs[0], "1/2"), (&dirs[1], "2/2")].map(|(dir, shard)| {
        small(&env, &address, dir, "40/s", &["--shard", shard, "--start-at", &start_at])
    });
    let shards = running.map(|running| ended(&running.wait()));
    let merged = ended(&merge(&env, &[&dirs[0], &dirs[1]], &["--json"]));
    assert_adds_up(&merged, &shards);
    assert_eq!((&merged["phases"]["dns"]["count"], &merged["offered"]), (&2.into(), &20.into()));
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let address = server.address();
    let [first, other, parts, single, later] =
        ["first", "other", "parts", "single", "later"].map(|name| env.path(name));
    let (early, late) = (soon(5), soon(6));
    let shard = |dir: &Path, rate: &str, shard: &str, start_at: &str| {
        small(&env, &address, dir, rate, &["--shard", shard, "--start-at", start_at])
    };
    let running = [
        shard(&first, "20/s", "1/2", &early),
        shard(&other, "30/s", "2/2", &early),
        shard(&parts, "20/s", "2/3", &early),
        shard(&later, "20/s", "2/2", &late),
        small(&env, &address, &single, "20/s", &[]),
    ];
    for run in running {
        ended(&run.wait());
    }
    let copy = env.path("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["result.json", "run.hlog"] {
        fs::copy(first.join(name), copy.join(name)).unwrap();
    }
    let [one, two] = [text(&first), text(&copy)];
    let refused = |dirs: &[&PathBuf], sentence: String| {
        let dirs: Vec<&Path> = dirs.iter().map(|dir| dir.as_path()).collect();
        merge(&env, &dirs, &[]).expect_error(1, &sentence, "");
    };
    refused(
        &[&first, &other],
        format!(
            "{one} and {} are of different plans; seed, rate, length and profile must be the same for all shards",
            other.display()
        ),
    );
    refused(
        &[&first, &later],
        format!(
            "{one} and {} are of different runs of one plan; --start-at must be the same for all shards",
            later.display()
        ),
    );
    refused(
        &[&first, &parts],
        format!("{one} is one of 2 shards, and {} one of 3", parts.display()),
    );
    refused(&[&first, &copy], format!("{one} and {two} are both shard 1/2"));
    for dirs in [[&single, &first], [&first, &single]] {
        refused(&dirs, format!("{} is no shard: it was run without --shard", single.display()));
    }
    fs::copy(other.join("run.hlog"), copy.join("run.hlog")).unwrap();
    refused(&[&copy], format!("{two}/run.hlog is of another run than the result.json beside it"));
    fs::remove_file(copy.join("result.json")).unwrap();
    let none = merge(&env, &[&copy], &[]).expect(1);
    let sentence = format!("error: {two} has no result.json; is it a folder that --out wrote");
    assert!(none.stderr.starts_with(&sentence), "{none}");
    let without = merge(&env, &[&first], &["--without", "2/3"]);
    without.expect_error(1, "there is no shard 2/3 to leave out of 2", "");
    let bad = merge(&env, &[&first], &["--without", "0/2"]).expect(2);
    assert!(bad.stderr.starts_with("error: --without 0/2: a shard is I/N"), "{bad}");
}
