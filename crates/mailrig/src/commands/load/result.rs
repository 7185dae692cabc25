//! Results that earlier runs wrote, read again.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use load::hlog;
use load::result::{Part, Record};

use super::output::{HLOG, RESULT};

/// Reads what `--out` wrote.
pub(super) fn read(dir: &Path) -> Result<Part> {
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
    let path = dir.join(HLOG);
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let log = hlog::read(BufReader::new(file)).with_context(|| format!("in {}", path.display()))?;
    if log.is_cut {
        bail!("{} is cut off: its last line is not complete", path.display());
    }
    let is_its = log.facts.as_ref().is_some_and(|facts| facts.run == record.run);
    if !is_its {
        bail!("{} is of another run than the {RESULT} beside it", path.display());
    }
    Ok(Part { name: dir.display().to_string(), measures: log.measures(), record })
}

/// A thousand kinds of replies and all else are less.
const MOST_BYTES: u64 = 16 << 20;
