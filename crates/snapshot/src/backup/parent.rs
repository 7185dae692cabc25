//! Which snapshot a run builds on: the last one of its state, or, where that is lost, of its store. Others
//! in the repository are told when one of them is newer, because `latest` means that one then. An id
//! that shows that its snapshot is of another store saves reading that one's manifest.

use std::path::Path;
use std::time::Duration;

use super::Options;
use crate::error::Result;
use crate::layout::{store_tag, tag_of_store};
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
    let ids = manifest::ids_from(repository.store(), &last)?;
    if ids.binary_search(&last).is_err() {
        notices.push(format!(
            "snapshot {last}, the last one of this host, is not in the repository any more: \
             what it had is looked for and stored again where it is missing"
        ));
        options.rebase = true;
    }
    if let Some(newest) = ids.last().filter(|newest| **newest > last) {
        if !may_be_of(newest, root, &options) {
            notices.push(of_another_store(newest, root, &options));
            return Ok(options);
        }
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
        let is_other = !may_be_of(id, root, options)
            || match Manifest::read(repository.store(), id) {
                Ok(manifest) if is_of(&manifest, root, options) => return Ok(Some(manifest)),
                Ok(_) => true,
                Err(e) if e.is_local_to_object() => false,
                Err(e) => return Err(e),
            };
        if is_other && is_newest {
            notices.push(of_another_store(id, root, options));
            is_newest = false;
        }
    }
    Ok(None)
}

/// Whether a snapshot's id does not show that it is of another store.
fn may_be_of(id: &str, root: &Path, options: &Options) -> bool {
    store_tag(id).is_none_or(|tag| tag == tag_of_store(&options.host, &root.to_string_lossy()))
}

fn is_of(manifest: &Manifest, root: &Path, options: &Options) -> bool {
    manifest.host == options.host && manifest.store == root.to_string_lossy()
}

fn of_another_store(newest: &str, root: &Path, options: &Options) -> String {
    let (host, store) = (&options.host, root.display());
    format!(
        "the repository's newest snapshot {newest} is of another store: `latest` is whichever was made \
         last, and `latest:{host}:{store}` the newest of this one; better give each store a \
         repository of its own"
    )
}
