//! Which snapshot a run builds on: the last one of its state, or, where that is lost, of its store. That
//! another store goes into the same repository is told every time, because `latest` may be its.

use std::path::Path;
use std::time::Duration;

use super::Options;
use crate::error::Result;
use crate::layout::{store_tag, tag_of_store, time_of_id};
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
    let ids = manifest::ids(repository.store())?;
    if ids.binary_search(&last).is_err() {
        notices.push(format!(
            "snapshot {last}, the last one of this host, is not in the repository any more: \
             what it had is looked for and stored again where it is missing"
        ));
        options.rebase = true;
    }
    let own = tag_of_store(&options.host, &root.to_string_lossy());
    let is_own = |id: &&String| store_tag(id).is_none_or(|tag| tag == own);
    if let Some(newest) = ids.last().filter(|newest| **newest > last).filter(is_own) {
        match Manifest::read(repository.store(), newest) {
            Ok(manifest) if is_of(&manifest, root, &options) => notices.push(format!(
                "the repository's newest snapshot {newest} is of this store, and was made with \
                 another state: what two states know is stored twice; use one --state"
            )),
            Ok(_) => {}
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
    let age = |id: &String| Some(options.time.duration_since(time_of_id(id)?));
    let goes_on = age(other).is_some_and(|age| age.unsigned_abs() <= ONE_THAT_GOES_ON);
    if !goes_on && ids.last() != Some(other) {
        return Ok(());
    }
    match Manifest::read(repository.store(), other) {
        Ok(other) if !is_of(&other, root, options) => {
            let notice = of_another_store(&other);
            if !notices.contains(&notice) {
                notices.push(notice);
            }
            Ok(())
        }
        Err(e) if !e.is_local_to_object() => Err(e),
        _ => Ok(()),
    }
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

fn of_another_store(other: &Manifest) -> String {
    let Manifest { id, host, store, .. } = other;
    format!(
        "the repository has snapshot {id} of another store, {host}:{store}: `latest` is \
         whichever was made last, and `latest:{host}:{store}` the newest of that one; better give each \
         store a repository of its own"
    )
}

/// A store with no snapshot for longer is no longer backed up here, or goes by another name.
const ONE_THAT_GOES_ON: Duration = Duration::from_hours(8 * 24);
