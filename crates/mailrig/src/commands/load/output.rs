//! Files of a run: `run.hlog` and `series.csv` grow with it, `result.json` is written whole at its end. That a file
//! cannot be written ends no run: the result says so, and the command fails afterwards.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use load::engine::Slice;
use load::hlog::{Facts, Writer};
use load::measure::Measures;
use load::result::Document;

use super::series::{COLUMNS, Line};

/// The name of the document in a result's folder.
pub(super) const RESULT: &str = "result.json";
/// The name of the log of histograms.
pub(super) const HLOG: &str = "run.hlog";
/// The name of the time series.
pub(super) const SERIES: &str = "series.csv";

/// A folder that is written.
pub(super) struct Folder {
    dir: PathBuf,
    growing: Option<Growing>,
    /// The first thing that went wrong.
    failed: Option<anyhow::Error>,
}

struct Growing {
    log: Writer<BufWriter<File>>,
    series: BufWriter<File>,
}

impl Folder {
    /// Makes the folder, and begins the files that grow. One with a result in it is left alone.
    pub(super) fn create(dir: &Path, facts: &Facts) -> Result<Self> {
        if dir.exists() && !dir.is_dir() {
            bail!("--out {} is a file; name a folder", dir.display());
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        check_free(dir)?;
        let create = |name: &str| {
            let path = dir.join(name);
            File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))
        };
        let log = Writer::new(BufWriter::new(create(HLOG)?), facts, SystemTime::now());
        let log = log.with_context(|| format!("cannot write {}", dir.join(HLOG).display()))?;
        let mut series = BufWriter::new(create(SERIES)?);
        writeln!(series, "{COLUMNS}")
            .with_context(|| format!("cannot write {}", dir.join(SERIES).display()))?;
        Ok(Self { dir: dir.to_owned(), growing: Some(Growing { log, series }), failed: None })
    }

    /// Appends histograms that are no part of the series: what was measured before the start.
    pub(super) fn add_measures(&mut self, length: Duration, measures: &Measures) {
        let Some(growing) = &mut self.growing else { return };
        if let Err(e) = growing.log.interval(Duration::ZERO, length, false, measures) {
            self.fail(e.into());
        }
    }

    /// Appends an interval.
    pub(super) fn add(&mut self, line: &Line, slice: &Slice) {
        let Some(growing) = &mut self.growing else { return };
        if let Err(e) = growing.add(line, slice) {
            self.fail(e.into());
        }
    }

    fn fail(&mut self, e: anyhow::Error) {
        let e = e.context(format!("cannot write {} to its end", self.dir.display()));
        self.failed.get_or_insert(e);
        self.growing = None;
    }

    /// Writes the document, and sees to it that all is on disk.
    pub(super) fn finish(mut self, document: &Document) -> Result<()> {
        if let Some(growing) = self.growing.take()
            && let Err(e) = growing.finish()
        {
            self.fail(e);
        }
        let text = serde_json::to_vec_pretty(document)?;
        write_whole(&self.dir.join(RESULT), &text)?;
        self.failed.map_or(Ok(()), Err)
    }
}

impl Growing {
    fn add(&mut self, line: &Line, slice: &Slice) -> std::io::Result<()> {
        for (side, is_warmup) in [(&slice.warmup, true), (&slice.main, false)] {
            self.log.interval(line.start, line.length, is_warmup, &side.measures)?;
        }
        line.write(&slice.main.measures, &mut self.series)?;
        // Whoever looks at a run that goes on sees whole lines.
        self.series.flush()
    }

    fn finish(self) -> Result<()> {
        let log = self.log.into_inner().into_inner().map_err(|e| anyhow!(e.to_string()))?;
        log.sync_all()?;
        let series = self.series.into_inner().map_err(|e| anyhow!(e.to_string()))?;
        series.sync_all()?;
        Ok(())
    }
}

/// That a page cannot be written is told before a run, and not after it.
pub(super) fn check_place(page: Option<&Path>) -> Result<()> {
    let Some(path) = page else { return Ok(()) };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if path.is_dir() || dir.is_some_and(|dir| !dir.is_dir()) {
        bail!("cannot write {}: name a file in a folder that is there", path.display());
    }
    Ok(())
}

/// A folder with a result in it is left alone.
pub(super) fn check_free(dir: &Path) -> Result<()> {
    if dir.join(RESULT).exists() || dir.join(HLOG).exists() {
        bail!("{} has a result already; choose another folder", dir.display());
    }
    Ok(())
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = File::create(&name).with_context(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(e) = written.and_then(|()| fs::rename(&name, path)) {
        // What is half written helps nobody.
        let _ = fs::remove_file(&name);
        return Err(e).with_context(failed);
    }
    Ok(())
}

/// Longer runs have longer intervals, so that no series has more than some thousand lines.
pub(super) fn interval(length: Option<Duration>) -> Duration {
    let seconds = length.map_or(1, |length| length.as_secs().div_ceil(MOST_INTERVALS));
    Duration::from_secs(seconds.max(1))
}

const MOST_INTERVALS: u64 = 3600;
