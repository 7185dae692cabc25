//! Results that earlier runs wrote, read again.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use load::hlog;
use load::measure::Measures;
use load::result::{Part, Record, Shard};

use super::output::{HLOG, RESULT};

/// Reads what `--out` wrote.
pub(super) fn read(place: &Path) -> Result<Part> {
    let dir = folder(place);
    let record = record(dir)?;
    let measures = measures(dir, &record)?;
    Ok(Part { name: dir.display().to_string(), record, measures })
}

/// As [`read`]. Of a shard that is left out nothing but its record is looked at: it may be sick.
pub(super) fn read_unless(place: &Path, without: &[Shard]) -> Result<Part> {
    let dir = folder(place);
    let record = record(dir)?;
    let is_out = record.plan.shard.is_some_and(|shard| without.contains(&shard));
    let measures = if is_out { Measures::default() } else { measures(dir, &record)? };
    Ok(Part { name: dir.display().to_string(), record, measures })
}

/// A result is a folder; its log of histograms stands for it.
fn folder(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if place.file_name().is_some_and(|name| name == HLOG) => parent,
        _ => place,
    }
}

fn record(dir: &Path) -> Result<Record> {
    let path = dir.join(RESULT);
    let file = fs::metadata(&path).with_context(|| {
        format!(
            "{} has no {RESULT}; is it a folder that --out wrote, of a run that has ended?",
            dir.display()
        )
    })?;
    if file.len() > MOST_BYTES {
        bail!("{} is larger than any result", path.display());
    }
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let record: Record = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no result", path.display()))?;
    if record.version != 1 {
        bail!("{} is of a newer version of mailrig", path.display());
    }
    Ok(record)
}

fn measures(dir: &Path, record: &Record) -> Result<Measures> {
    let path = dir.join(HLOG);
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let log = hlog::read(BufReader::new(file)).with_context(|| format!("in {}", path.display()))?;
    if log.is_cut {
        let next = match record.plan.shard {
            Some(shard) => format!("leave the shard out with --without {shard}"),
            None => "send again".to_owned(),
        };
        bail!("{} is cut off: its last line is not complete; {next}", path.display());
    }
    let is_its = log.facts.as_ref().is_some_and(|facts| facts.run == record.run);
    if !is_its {
        bail!("{} is of another run than the {RESULT} beside it", path.display());
    }
    Ok(log.measures())
}

/// A thousand kinds of replies and all else are less.
const MOST_BYTES: u64 = 16 << 20;
