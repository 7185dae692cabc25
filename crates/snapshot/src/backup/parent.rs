//! Which snapshot a run builds on: the last one of its state, or, where that is lost, of its store. Others
//! in the repository are told when one of them is newer, because `latest` means that one then.

use std::path::Path;
use std::time::Duration;

use super::Options;
use crate::error::Result;
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
    if let Some(newest) = ids.last().filter(|newest| **newest > last) {
        match Manifest::read(repository.store(), newest) {
            Ok(manifest) if is_of(&manifest, root, &options) => notices.push(format!(
                "the repository's newest snapshot {newest} is of this store, and was made with \
                 another state: what two states know is stored twice; use one --state"
            )),
            Ok(manifest) => notices.push(of_another_store(&manifest)),
            Err(e) if e.is_local_to_object() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(options)
}

/// The newest snapshot of this store; a notice if the repository's newest is of another one.
pub(crate) fn newest_of(
    repository: &Repository,
    root: &Path,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<Option<Manifest>> {
    let mut is_newest = true;
    for id in manifest::ids(repository.store())?.iter().rev() {
        match Manifest::read(repository.store(), id) {
            Ok(manifest) if is_of(&manifest, root, options) => return Ok(Some(manifest)),
            Ok(other) if is_newest => {
                is_newest = false;
                notices.push(of_another_store(&other));
            }
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

fn of_another_store(newest: &Manifest) -> String {
    let Manifest { id, host, store, .. } = newest;
    format!(
        "the repository's newest snapshot {id} is of another store, {host}:{store}: `latest` is \
         whichever was made last, and `latest:{host}:{store}` the newest of that one; better give each \
         store a repository of its own"
    )
}
