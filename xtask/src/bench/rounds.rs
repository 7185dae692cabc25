//! One round: first backups of one state by every tool, a night, the night's backups, restores,
//! and the proof that what was restored is the store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::letters::Letters;
use super::measure::{self, Cost};
use super::night;
use super::store::Store;
use super::tools::{Repository, Tool};
use super::verify;
use super::{Plan, remove_tree};

/// A real night comes hours after the last change. Without a pause every folder would look as if
/// it might still be changing.
const SETTLE: Duration = Duration::from_secs(3);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    First,
    Night,
    Restore,
}

/// A night as mailrig's own report tells it; what the report lacks is none.
pub(super) struct ReportedNight {
    pub(super) requests: Option<u64>,
    pub(super) mailboxes_changed: Option<u64>,
    /// What the night's maker knows.
    pub(super) mailboxes_truly_changed: usize,
}

/// All measurements, one entry a round.
#[derive(Default)]
pub(super) struct Results {
    pub(super) store_bytes: u64,
    pub(super) costs: BTreeMap<(Step, Tool), Vec<Cost>>,
    /// In the repository after the first backup, and after the night.
    pub(super) stored_bytes: BTreeMap<(Step, Tool), Vec<u64>>,
    pub(super) real_bytes: BTreeMap<Tool, u64>,
    pub(super) nights: Vec<ReportedNight>,
}

pub(super) fn run(
    plan: &Plan,
    work: &Path,
    store: &Store,
    letters: &Letters,
    round: usize,
    results: &mut Results,
) -> Result<()> {
    let mut tools = plan.tools.clone();
    let first_tool = round % tools.len();
    tools.rotate_left(first_tool);
    let mut repositories = Vec::new();
    for tool in tools {
        repositories.push(Repository::create(
            tool,
            folder(work, tool, "backup", round),
            &store.root,
        )?);
    }
    store.bytes_on_disk()?;
    thread::sleep(SETTLE);

    for repository in &repositories {
        back_up(plan, repository, Step::First, results)?;
    }
    let night = night::apply(store, letters, plan.seed, round)?;
    thread::sleep(SETTLE);
    for repository in repositories.iter().filter(|repository| repository.tool.is_incremental()) {
        let report = back_up(plan, repository, Step::Night, results)?;
        if repository.tool == Tool::Mailrig {
            results.nights.push(ReportedNight {
                requests: report.pointer("/requests/total").and_then(Value::as_u64),
                mailboxes_changed: report.pointer("/mailboxes/changed").and_then(Value::as_u64),
                mailboxes_truly_changed: night.changed_mailboxes,
            });
        }
    }
    let before = store.message_count();
    let after = before + night.new_messages();
    for repository in &repositories {
        let to = folder(work, repository.tool, "restored", round);
        fs::create_dir(&to)?;
        let what = repository.restore(&to);
        let (cost, _) = measure::run(what, &repository.logs(), plan.run_limit())?;
        note(results, Step::Restore, repository.tool, cost);
        // tar has no night: its archive is the state before it.
        let is_after_night = repository.tool.is_incremental();
        let expected = if is_after_night { after } else { before };
        verify::same_messages(&store.root, &to, expected, is_after_night)
            .with_context(|| format!("{} did not restore the store", repository.tool.name()))?;
    }
    night.undo()?;
    forget_round(plan, work, round)
}

/// Removes what a round left, unless it is to be kept. Nothing is removed while measurements are
/// still to come in the round.
fn forget_round(plan: &Plan, work: &Path, round: usize) -> Result<()> {
    if !plan.is_kept {
        for tool in &plan.tools {
            remove_tree(&folder(work, *tool, "restored", round))?;
            remove_tree(&folder(work, *tool, "backup", round))?;
        }
    }
    Ok(())
}

/// A name of its own each time: the filesystem picks the place of a folder by its name, and one
/// where files were removed a moment ago is slow (see `WorkDir`).
fn folder(work: &Path, tool: Tool, what: &str, round: usize) -> PathBuf {
    work.join(format!("{}-{what}-{round}-{}", tool.name(), std::process::id()))
}

/// Bytes that a first backup stores for the real messages.
pub(super) fn store_real_messages(
    plan: &Plan,
    work: &Path,
    real: &Store,
    results: &mut Results,
) -> Result<()> {
    thread::sleep(SETTLE);
    for tool in &plan.tools {
        let repository = Repository::create(*tool, folder(work, *tool, "real", 0), &real.root)?;
        measure::run(repository.backup(), &repository.logs(), plan.run_limit())?;
        results.real_bytes.insert(*tool, measure::bytes_below(&repository.repo())?);
    }
    Ok(())
}

/// Backs up and returns the report, where the tool prints one.
fn back_up(
    plan: &Plan,
    repository: &Repository<'_>,
    step: Step,
    results: &mut Results,
) -> Result<Value> {
    let (cost, stdout) = measure::run(repository.backup(), &repository.logs(), plan.run_limit())?;
    note(results, step, repository.tool, cost);
    let bytes = measure::bytes_below(&repository.repo())?;
    results.stored_bytes.entry((step, repository.tool)).or_default().push(bytes);
    let report = fs::read(&stdout).unwrap_or_default();
    Ok(serde_json::from_slice(&report).unwrap_or_default())
}

fn note(results: &mut Results, step: Step, tool: Tool, cost: Cost) {
    eprintln!(
        "  {step:?} {}: {:.2} s, CPU {:.2} s, peak {:.0} MB",
        tool.name(),
        cost.wall_s,
        cost.cpu_s,
        cost.peak_mb
    );
    results.costs.entry((step, tool)).or_default().push(cost);
}
