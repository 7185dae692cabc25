//! `mailrig drill`, as an administrator would run it: the scenarios that ship and their broken twins, what a kill leaves,
//! and what a journal tells afterwards.

mod any_moment;
mod asked;
mod killed;
mod odd;
mod real;
mod restore;
mod shipped;
mod started;
mod steps;
mod told;
mod undone;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::{Env, text};
use crate::process::Output;

/// A scenario that ships.
fn scenario(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios")).join(format!("{name}.toml"))
}

/// Runs a scenario that ships, into `out`.
fn drill(env: &Env, name: &str, out: &Path, more: &[&str]) -> Output {
    let scenario = scenario(name);
    let run = ["drill", "run", text(&scenario), "--out", text(out), "--json"];
    env.run(&[&run, more].concat())
}

/// How many messages are of a class.
fn of_class(document: &Value, class: &str) -> u64 {
    document["messages"]["by_class"][class]
        .as_u64()
        .unwrap_or_else(|| panic!("{class}: {document}"))
}

/// Processes of a run that are still there.
fn processes_of(run: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mark = format!("MAILRIG_DRILL={run}.");
    let is_its = |path: &PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one.starts_with(mark.as_bytes()))
    };
    let paths = processes.map(|entry| entry.path()).filter(is_its);
    paths.map(|path| path.display().to_string()).collect()
}
