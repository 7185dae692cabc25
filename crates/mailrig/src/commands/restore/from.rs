//! Which snapshots to restore from: the one that is named, or those that the ids of messages name.

use std::path::Path;

use anyhow::Result;
use snapshot::choose::{self, LATEST};
use snapshot::manifest::{self, Manifest};
use snapshot::message_id::MessageId;
use snapshot::repository::Repository;

use super::RestoreArgs;
use crate::exit::UsageError;
use crate::repository::choose;
use crate::ui::Ui;

/// The snapshots to restore from; with messages, those that their ids name.
pub(super) fn manifests(
    args: &RestoreArgs,
    repository: &Repository,
    snapshot: Option<&str>,
    messages: Option<&[MessageId]>,
    (ui, notes): (&Ui, &mut Vec<String>),
) -> Result<Vec<Manifest>> {
    let store = repository.store();
    let Some(messages) = messages else {
        let wanted = snapshot.unwrap_or(LATEST);
        let manifest = choose(repository, wanted, args.at, ui, notes)?;
        if !notes.is_empty() {
            check_store(args, repository, &manifest)?;
        }
        return Ok(vec![manifest]);
    };
    let mut ids: Vec<&str> = messages.iter().map(|id| id.snapshot.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if let Some(snapshot) = snapshot {
        let only = choose::choose(store, snapshot, None)?.manifest;
        if let Some(other) = ids.iter().find(|id| **id != only.id) {
            let text = format!("a message is of snapshot {other}, not of {}; name none", only.id);
            return Err(UsageError(text).into());
        }
        return Ok(vec![only]);
    }
    let known = manifest::ids(store)?;
    let known = ids.into_iter().filter(|id| known.iter().any(|known| known == id));
    known.map(|id| Ok(Manifest::read(store, id)?)).collect()
}

/// Refuses to put the newest snapshot into a store of which it is not, if that has others.
fn check_store(args: &RestoreArgs, repository: &Repository, manifest: &Manifest) -> Result<()> {
    let Some(store) = args.in_place.as_ref().and_then(|store| store.canonicalize().ok()) else {
        return Ok(());
    };
    let own = format!("{LATEST}:{}", store.display());
    if Path::new(&manifest.store) == store
        || choose::choose(repository.store(), &own, args.at).is_err()
    {
        return Ok(());
    }
    let text = format!(
        "`{LATEST}` is a snapshot of {}:{}, not of {}: name `{own}`",
        manifest.host,
        manifest.store,
        store.display()
    );
    Err(UsageError(text).into())
}
