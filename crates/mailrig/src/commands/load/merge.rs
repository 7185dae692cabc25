//! `load merge`: the results of shards become one, and are judged as one.

use std::time::Duration;

use anyhow::Result;
use load::hlog::Facts;
use load::result::{Document, Shard, merge};

use super::args::MergeArgs;
use super::{output, page, result};
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
    let (mut record, measures) = merge(parts, &without)?;
    if let Some(expect) = &args.expect {
        record.expect.clone_from(expect);
    }
    let document =
        Document::new(record, &measures).map_err(|e| UsageError(format!("--expect: {e}")))?;
    let folder = match &args.out {
        Some(dir) => {
            let facts = Facts {
                plan: document.record.plan.digest.clone(),
                shard: 0,
                shards: 1,
                run: document.record.run.clone(),
            };
            let mut folder = output::Folder::create(dir, &facts)?;
            folder.add_measures(Duration::from_micros(document.record.elapsed_us), &measures);
            Some(folder)
        }
        None => None,
    };
    let extra = page::Extra { command: page::command_line(), ..page::Extra::default() };
    super::deliver(&document, &measures, extra, args.html.as_deref(), folder, ui)?;
    Ok(super::exit(&document))
}
