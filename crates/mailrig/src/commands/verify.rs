//! `verify`: is what was stored still there, and still the same?

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use snapshot::choose::{is_latest, no_snapshot};
use snapshot::manifest::{self, Manifest};
use snapshot::progress::Progress;
use snapshot::verify::{self, Level, Options, Problem};

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{REPO_VARIABLE, choose, identity, open, split_repo};
use crate::ui::{Ui, cell, duration, plural, size};

/// Verify one snapshot, or all
///
/// `listed` asks whether every object is there with its size, `stored` reads and hashes every
/// object, `content` also opens them and hashes every message. Only `content` needs the identity.
#[derive(Debug, clap::Args)]
#[command(override_usage = "mailrig verify [OPTIONS] [REPO] [SNAPSHOT]")]
#[command(after_help = "Examples:
  mailrig verify s3://backups/mail
  mailrig verify s3://backups/mail latest --level content --sample 5")]
pub(crate) struct VerifyArgs {
    /// REPO, and a snapshot [default: all of them]
    #[arg(value_names = ["REPO", "SNAPSHOT"], num_args = 0..=2)]
    positional: Vec<String>,
    /// How closely to look
    #[arg(long, value_enum, default_value_t = LevelArg::Stored)]
    level: LevelArg,
    /// Read only this share of the packs, chosen anew each time
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0, value_parser = parse_percent)]
    sample: f64,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LevelArg {
    Listed,
    Stored,
    Content,
}

#[derive(Serialize)]
struct VerifyReport {
    level: Level,
    sample_percent: f64,
    /// What a person should know of the choice of the snapshot.
    notices: Vec<String>,
    #[serde(flatten)]
    report: verify::Report,
}

pub(crate) fn run(args: &VerifyArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let (location, wanted) = positional(&args.positional)?;
    let repository = open(&location, &args.s3)?;
    let mut problems = Vec::new();
    let (mut manifests, mut notices) = (Vec::new(), Vec::new());
    match wanted {
        Some(wanted) => {
            manifests.push(choose(&repository, &wanted, None, ui, &mut notices)?);
        }
        None => {
            for id in manifest::ids(repository.store())? {
                match Manifest::read(repository.store(), &id) {
                    Ok(manifest) => manifests.push(manifest),
                    Err(e)
                        if e.is_local_to_object()
                            || matches!(e, snapshot::Error::TooNew { .. }) =>
                    {
                        problems.push(Problem {
                            object: snapshot::layout::snapshot_key(&id),
                            reason: reason(e),
                        });
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
    if manifests.is_empty() && problems.is_empty() {
        return Err(no_snapshot().into());
    }
    let level = match args.level {
        LevelArg::Listed => Level::Listed,
        LevelArg::Stored => Level::Stored,
        LevelArg::Content => Level::Content,
    };
    let identity =
        if level == Level::Content { identity(&args.identity, &repository)? } else { None };
    let seed = jiff::Timestamp::now().as_nanosecond() as u64;
    let options = Options { level, sample_percent: args.sample, seed, threads: threads() };
    let progress = Arc::new(Progress::default());
    crate::interrupt::watch(&progress);
    let display = ui.progress(&progress, "mailboxes");
    let report = verify::run(&repository, &manifests, identity.as_ref(), &options, &progress);
    drop(display);
    let mut report = report?;
    problems.append(&mut report.problems);
    report.problems = problems;
    report.is_sound = report.problems.is_empty();
    let report = VerifyReport { level, sample_percent: args.sample, notices, report };
    ui.result("verify", &report, || text(&report, started))?;
    Ok(if report.report.is_sound { Exit::Done } else { Exit::Negative })
}

/// Why a manifest cannot be read; the problem names it already.
fn reason(error: snapshot::Error) -> String {
    match error {
        snapshot::Error::Damaged { reason, .. } => reason,
        other => other.to_string(),
    }
}

/// With `MAILRIG_REPO` set, a lone argument is a snapshot unless it is a place: ids have no slash.
fn positional(given: &[String]) -> Result<(String, Option<String>)> {
    let is_repo_set = std::env::var_os(REPO_VARIABLE).is_some_and(|value| !value.is_empty());
    match given {
        [one] if is_repo_set && (!one.contains('/') || is_latest(one)) => {
            Ok((split_repo(&[], &[])?.0, Some(one.clone())))
        }
        [repo, snapshot] => Ok((repo.clone(), Some(snapshot.clone()))),
        given => Ok((split_repo(given, &[])?.0, None)),
    }
}

fn text(report: &VerifyReport, started: Instant) -> String {
    let inner = &report.report;
    let mut text = String::new();
    for problem in inner.problems.iter().take(SHOWN) {
        let (object, reason) = (cell(&problem.object), cell(&problem.reason));
        text.push_str(&format!("damaged    {object}: {reason}\n"));
    }
    if let Some(more) = inner.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(
            "damaged    and {}, see --json\n",
            plural(more as u64, "more line")
        ));
    }
    let verdict = match inner.problems.len() as u64 {
        0 => "no damage found".to_owned(),
        problems => plural(problems, "problem"),
    };
    let messages = match report.level {
        Level::Content => format!(" and {}", plural(inner.messages, "message")),
        _ => String::new(),
    };
    text.push_str(&format!(
        "Verified {} of {} ({}){messages} in {}: {verdict}.\n",
        plural(inner.objects, "object"),
        plural(inner.snapshots.len() as u64, "snapshot"),
        if report.level == Level::Listed {
            "sizes only".to_owned()
        } else {
            format!("{} read", size(inner.bytes_read))
        },
        duration(started.elapsed())
    ));
    text
}

fn parse_percent(text: &str) -> Result<f64> {
    let wrong = || UsageError("a share lies above 0 and up to 100 percent".into());
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(wrong().into());
    }
    Ok(percent)
}

const SHOWN: usize = 20;
