//! `load merge`: the results of shards become one, and are judged as one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use load::hlog::Facts;
use load::result::{Document, Part, Shard, merge};

use super::args::MergeArgs;
use super::{output, page, result, series};
use crate::exit::{Exit, UsageError};
use crate::ui::Ui;

pub(super) fn run(args: &MergeArgs, ui: &Ui) -> Result<Exit> {
    let mut without = Vec::new();
    for text in &args.without {
        let shard: Shard =
            text.parse().map_err(|e| UsageError(format!("--without {text}: {e}")))?;
        without.push(shard);
    }
    output::check_place(args.html.as_deref())?;
    let parts = args.dirs.iter().map(|dir| result::read_unless(dir, &without));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let kept = kept(&parts, &without);
    let (mut record, measures) = merge(parts, &without)?;
    if let Some(expect) = &args.expect {
        record.expect.clone_from(expect);
    }
    let mut document =
        Document::new(record, &measures).map_err(|e| UsageError(format!("--expect: {e}")))?;
    let mut folder = match &args.out {
        Some(dir) => {
            let facts = Facts {
                plan: document.record.plan.digest.clone(),
                shard: 0,
                shards: 1,
                run: document.record.run.clone(),
            };
            Some(output::Folder::create(dir, &facts)?)
        }
        None => None,
    };
    let mut intervals = Vec::new();
    let is_watched = document.record.delivery.is_some();
    match series::add_up(&kept) {
        Ok(lines) => series::measured(lines, &kept, |line, slice| {
            intervals.push(line.for_page(slice, is_watched));
            if let Some(folder) = &mut folder {
                folder.add(line, slice);
            }
        })?,
        Err(e) => {
            ui.warning(format!("there is no time series of all: {e:#}"));
            if let Some(folder) = &mut folder {
                let length = Duration::from_micros(document.record.elapsed_us);
                folder.add_measures(length, &measures);
            }
        }
    }
    document.remarks.clone_from(&ui.warnings());
    let extra = page::Extra { intervals, command: page::command_line(), place: None };
    super::deliver(&document, &measures, extra, args.html.as_deref(), folder, ui)?;
    Ok(super::exit(&document))
}

/// The folders of the shards that are not left out.
fn kept(parts: &[Part], without: &[Shard]) -> Vec<PathBuf> {
    let is_kept = |part: &&Part| !part.record.plan.shard.is_some_and(|it| without.contains(&it));
    parts.iter().filter(is_kept).map(|part| PathBuf::from(&part.name)).collect()
}
