//! The names in a run's ledger. They hold addresses, so they are sealed: what happened in a mailbox
//! is in the catalog that the run wrote for it, everything else in a field of the manifest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::backup::{Incident, Ledger, LedgerEntry, NAMED_MAX};
use crate::catalog::{self, Line};
use crate::crypt::{Seal, Unseal};
use crate::error::{Error, Result};
use crate::index::{json_lines, parse};
use crate::layout::{decode_name, encode_name};
use crate::manifest::Manifest;
use crate::repository::Repository;

/// One line of a stored ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedIncident {
    /// What happened, as in [`crate::backup::Incident`].
    pub incident: String,
    /// To what: a path inside the store.
    pub path: String,
    /// Why, where there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A stored ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StoredLedger {
    /// At most [`NAMED_MAX`] of its lines, problems first.
    pub entries: Vec<NamedIncident>,
    /// What could not be read of it.
    pub problems: Vec<String>,
}

/// Whether somebody must look at an incident of this name. What a newer version wrote, and this one does
/// not know, is taken as such.
pub fn is_problem(name: &str) -> bool {
    Incident::of_name(name).is_none_or(Incident::is_problem)
}

impl NamedIncident {
    pub(crate) fn of(entry: &LedgerEntry) -> Self {
        Self {
            incident: entry.incident.name().to_owned(),
            path: encode_name(entry.path.as_bytes()).into_owned(),
            reason: entry.reason.clone(),
        }
    }

    fn readable(self) -> Self {
        let path = decode_name(&self.path)
            .map(|path| String::from_utf8_lossy(&path).into_owned())
            .unwrap_or(self.path);
        Self { path, ..self }
    }
}

/// The manifest's field; `None` for no entries.
pub(crate) fn seal(ledger: &Ledger, seal: &Seal) -> std::io::Result<Option<String>> {
    if ledger.is_empty() {
        return Ok(None);
    }
    let mut lines = Vec::new();
    for entry in ledger.entries() {
        serde_json::to_writer(&mut lines, &NamedIncident::of(entry))?;
        lines.push(b'\n');
    }
    Ok(Some(BASE64.encode(seal.seal(&zstd::bulk::compress(&lines, LEVEL)?))))
}

/// The names in the ledger of the run that made a snapshot.
pub fn read(
    repository: &Repository,
    manifest: &Manifest,
    identity: &Unseal,
) -> Result<StoredLedger> {
    let mut ledger = Gathered::default();
    if let Some(field) = &manifest.incidents {
        let object = crate::layout::snapshot_key(&manifest.id);
        let read = BASE64.decode(field).map_err(|e| Error::damaged(&object, e));
        ledger.take(read.and_then(|sealed| from_manifest(&object, &sealed, identity)))?;
    }
    for (id, catalog) in &manifest.mailboxes {
        if ledger.problems.len() >= NAMED_MAX {
            break;
        }
        if catalog.incidents == 0 {
            continue;
        }
        ledger.take(repository.open_mailbox(id, identity).and_then(|mailbox| {
            let (name, reference) = (&catalog.catalog, &catalog.reference);
            let mut entries = Vec::new();
            catalog::read_lines(
                repository.store(),
                id,
                name,
                reference,
                &mailbox.unseal,
                |line| {
                    if let Line::Incident { incident, path, reason } = line {
                        entries.push(NamedIncident { incident, path, reason });
                    }
                },
            )?;
            Ok(entries)
        }))?;
    }
    Ok(ledger.stored())
}

fn from_manifest(object: &str, sealed: &[u8], identity: &Unseal) -> Result<Vec<NamedIncident>> {
    let mut lines = json_lines(object, sealed, identity)?;
    let (mut line, mut entries) = (Vec::new(), Vec::new());
    while lines.next_into(&mut line)? {
        entries.push(parse(object, &line)?);
    }
    Ok(entries)
}

/// What was read so far.
#[derive(Default)]
struct Gathered {
    problems: Vec<NamedIncident>,
    others: Vec<NamedIncident>,
    unread: Vec<String>,
}

impl Gathered {
    fn take(&mut self, read: Result<Vec<NamedIncident>>) -> Result<()> {
        match read {
            Ok(entries) => {
                for entry in entries {
                    let is_problem = is_problem(&entry.incident);
                    let list = if is_problem { &mut self.problems } else { &mut self.others };
                    if list.len() < NAMED_MAX {
                        list.push(entry.readable());
                    }
                }
            }
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) if e.is_local_to_object() => self.unread.push(e.to_string()),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn stored(self) -> StoredLedger {
        let mut entries = self.problems;
        entries.extend(self.others);
        entries.truncate(NAMED_MAX);
        StoredLedger { entries, problems: self.unread }
    }
}

const LEVEL: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_the_last_mailbox_are_gathered_before_what_is_harmless() {
        let line = |incident: Incident, path: &str| {
            let (incident, path) = (incident.name().to_owned(), path.to_owned());
            NamedIncident { incident, path, reason: None }
        };
        let mut ledger = Gathered::default();
        let came = vec![line(Incident::DeliveredDuringRun, "came"); NAMED_MAX + 1];
        ledger.take(Ok(came)).unwrap();
        ledger.take(Ok(vec![line(Incident::Unresolved, "lost")])).unwrap();
        let entries = ledger.stored().entries;
        assert_eq!((entries[0].path.as_str(), entries.len()), ("lost", NAMED_MAX));
        assert!(is_problem("of a later version"));
    }
}
