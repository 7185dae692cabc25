//! Which snapshot a run builds on: the last one of its state, or, where that is lost, of its store. That
//! another store goes into the same repository is told every time, because `latest` may be its; an id tells
//! so without its manifest.

use std::path::Path;
use std::time::Duration;

use super::Options;
use crate::error::Result;
use crate::layout::{id_time, store_tag, tag_of_store};
use crate::manifest::{self, Manifest};
use crate::repository::Repository;
use crate::state::State;

/// Options for a run after the last one: its snapshot must sort after that one's, and if the
/// repository has lost that one, nothing that the state says of it can be relied on.
pub(crate) fn resume(
    repository: &Repository,
    state: &State,
    root: &Path,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<Options> {
    let mut options = options.clone();
    let Some((last, last_time)) = state.last_run() else { return Ok(options) };
    // Ids hold milliseconds.
    if last_time.as_millisecond() >= options.time.as_millisecond() {
        notices.push(format!("the clock was ahead when snapshot {last} was made"));
        options.time = last_time + Duration::from_millis(1);
    }
    let first = last.clone().min(begin(&options));
    let mut ids = manifest::ids_from(repository.store(), &first)?;
    if ids.binary_search(&last).is_err() {
        notices.push(format!(
            "snapshot {last}, the last one of this host, is not in the repository any more: \
             what it had is looked for and stored again where it is missing"
        ));
        options.rebase = true;
        ids = manifest::ids(repository.store())?;
    }
    let own = tag_of_store(&options.host, &root.to_string_lossy());
    let is_own = |id: &&String| store_tag(id).is_none_or(|tag| tag == own);
    if let Some(newest) = ids.last().filter(|newest| **newest > last).filter(is_own) {
        match Manifest::read(repository.store(), newest) {
            Ok(manifest) if is_of(&manifest, root, &options) => notices.push(format!(
                "the repository's newest snapshot {newest} is of this store, and was made with \
                 another state: what two states know is stored twice; use one --state"
            )),
            Ok(_) => notices.push(of_another_store(newest, root, &options)),
            Err(e) if e.is_local_to_object() => {}
            Err(e) => return Err(e),
        }
    }
    tell_other_store(repository, &ids, root, &options, notices)?;
    Ok(options)
}

/// Tells of another store that backs up into the repository, or did last.
fn tell_other_store(
    repository: &Repository,
    ids: &[String],
    root: &Path,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<()> {
    let own = tag_of_store(&options.host, &root.to_string_lossy());
    let Some(other) = ids.iter().rev().find(|id| store_tag(id) != Some(&own)) else {
        return Ok(());
    };
    if *other < begin(options) && ids.last() != Some(other) {
        return Ok(());
    }
    let is_other = store_tag(other).is_some()
        || match Manifest::read(repository.store(), other) {
            Ok(manifest) => !is_of(&manifest, root, options),
            Err(e) if e.is_local_to_object() => false,
            Err(e) => return Err(e),
        };
    let notice = of_another_store(other, root, options);
    if is_other && !notices.contains(&notice) {
        notices.push(notice);
    }
    Ok(())
}

/// The newest snapshot of this store; another store is told.
pub(crate) fn newest_of(
    repository: &Repository,
    root: &Path,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<Option<Manifest>> {
    let ids = manifest::ids(repository.store())?;
    tell_other_store(repository, &ids, root, options, notices)?;
    let own = tag_of_store(&options.host, &root.to_string_lossy());
    for id in ids.iter().rev().filter(|id| store_tag(id).is_none_or(|tag| tag == own)) {
        match Manifest::read(repository.store(), id) {
            Ok(manifest) if is_of(&manifest, root, options) => return Ok(Some(manifest)),
            Ok(_) => {}
            Err(e) if e.is_local_to_object() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

fn is_of(manifest: &Manifest, root: &Path, options: &Options) -> bool {
    manifest.host == options.host && manifest.store == root.to_string_lossy()
}

fn of_another_store(other: &str, root: &Path, options: &Options) -> String {
    let (host, store) = (&options.host, root.display());
    format!(
        "the repository has snapshot {other} of another store: `latest` is whichever was made last, and \
         `latest:{host}:{store}` the newest of this one; better give each store a repository of its own"
    )
}

/// Where the ids begin of stores that are still backed up.
fn begin(options: &Options) -> String {
    id_time(options.time.saturating_sub(ONE_THAT_GOES_ON).unwrap_or(options.time))
}

/// A store with no snapshot for longer is no longer backed up here, or goes by another name.
const ONE_THAT_GOES_ON: Duration = Duration::from_hours(8 * 24);
