//! Which snapshot people mean: by its id, the start of one, `latest`, or `latest:STORE` where a
//! repository has several stores. Ids tell stores apart, so that no manifest is read to find out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::layout::{id_time, store_tag, time_of_id};
use crate::manifest::{Manifest, ids};
use crate::store::Store;

/// A snapshot that was chosen.
#[derive(Debug)]
pub struct Chosen {
    /// Its manifest.
    pub manifest: Manifest,
    /// What a person should know of the choice.
    pub notice: Option<String>,
}

/// Whether that means the newest snapshot, perhaps of one store.
pub fn is_latest(wanted: &str) -> bool {
    wanted.strip_prefix(LATEST).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Finds the snapshot that `wanted` names; `at` limits `latest` to that time.
pub fn choose(store: &dyn Store, wanted: &str, at: Option<Timestamp>) -> Result<Chosen> {
    let mut ids = ids(store)?;
    let oldest = ids.first().cloned().ok_or_else(no_snapshot)?;
    if !is_latest(wanted) {
        let manifest = Manifest::read(store, one(&ids, wanted)?)?;
        return Ok(Chosen { manifest, notice: None });
    }
    if let Some(at) = at {
        let end = id_time(at);
        ids.retain(|id| id.get(..end.len()).is_some_and(|time| time <= end.as_str()));
    }
    let newest = newest(&ids);
    let Some(id) = ids.last() else {
        let what = "no snapshot is as old as that time";
        return Err(Error::choice(what, format!("the oldest is {oldest}")));
    };
    if let Some((_, of_store)) = wanted.split_once(':') {
        return Ok(Chosen { manifest: of(store, &newest, of_store)?, notice: None });
    }
    let manifest = Manifest::read(store, id)?;
    let others = newest.iter().filter(|(tag, _)| **tag != store_tag(id)).map(|(_, id)| *id);
    let notice = notice(store, &manifest, &others.collect::<Vec<_>>());
    Ok(Chosen { manifest, notice })
}

/// The error for a repository without any.
pub fn no_snapshot() -> Error {
    Error::choice("the repository has no snapshot yet", "make one with `mailrig backup`")
}

/// The newest snapshot of the store that `manifest` is of.
pub(crate) fn newest_beside(store: &dyn Store, manifest: &Manifest) -> Result<Manifest> {
    let ids = ids(store)?;
    let newest = newest(&ids);
    Manifest::read(store, newest.get(&store_tag(&manifest.id)).copied().unwrap_or(&manifest.id))
}

/// The id that begins with `wanted`, or whose random part does: people see and type that.
fn one<'i>(ids: &'i [String], wanted: &str) -> Result<&'i str> {
    let matches = |id: &&String| {
        id.starts_with(wanted) || id.split('-').nth(1).is_some_and(|r| r.starts_with(wanted))
    };
    let found: Vec<&String> = ids.iter().filter(matches).collect();
    match found.as_slice() {
        _ if wanted.is_empty() => Err(Error::choice("the id of the snapshot is empty", HINT)),
        [] => Err(Error::choice(format!("no snapshot begins with `{wanted}`"), HINT)),
        [id] => Ok(id),
        found => {
            let line = |id: &&String| match time_of_id(id) {
                Some(time) => format!("\n  {id}  {}", time.strftime("%Y-%m-%d %H:%M:%S UTC")),
                None => format!("\n  {id}"),
            };
            let mut what = format!("several snapshots begin with `{wanted}`:");
            what.extend(found.iter().rev().take(SHOWN).map(line));
            if let Some(more) = found.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                what.push_str(&format!("\n  and {more} more"));
            }
            Err(Error::choice(what, "give more of one id"))
        }
    }
}

/// The newest id of each store, by the store's tag; ids without one are one store's.
fn newest(ids: &[String]) -> BTreeMap<Option<&str>, &str> {
    ids.iter().map(|id| (store_tag(id), id.as_str())).collect()
}

/// The newest snapshot of the store `wanted`: its path, or with its host as `HOST:PATH`.
fn of(store: &dyn Store, newest: &BTreeMap<Option<&str>, &str>, wanted: &str) -> Result<Manifest> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    let mut failure = None;
    for id in newest.values() {
        match Manifest::read(store, id) {
            Ok(manifest) => {
                let name = name(&manifest);
                if [manifest.store.as_str(), &name].contains(&wanted.trim_end_matches('/')) {
                    found.push(manifest);
                }
                names.push(name);
            }
            Err(e) if e.is_local_to_object() => failure = Some(e),
            Err(e) => return Err(e),
        }
    }
    let list = |names: Vec<String>| {
        let more = names.len().saturating_sub(SHOWN);
        let mut words: Vec<String> =
            names.iter().take(SHOWN).map(|name| format!("`{LATEST}:{name}`")).collect();
        words.extend((more > 0).then(|| format!("{more} more")));
        words.join(", ")
    };
    match (found.len(), failure) {
        (0, Some(failure)) => Err(failure),
        (0, None) => {
            let what = format!("the repository has no snapshot of the store `{wanted}`");
            Err(Error::choice(what, format!("it has {}", list(names))))
        }
        (1, _) => Ok(found.remove(0)),
        _ => {
            let names = found.iter().map(name).collect();
            let what = format!("several stores are called `{wanted}`");
            Err(Error::choice(what, format!("name one of {}", list(names))))
        }
    }
}

/// What to say if there are others than the newest snapshot's store.
fn notice(store: &dyn Store, manifest: &Manifest, others: &[&str]) -> Option<String> {
    let show = |id: &&str| match Manifest::read(store, id) {
        Ok(other) => format!("`{LATEST}:{}` is {id}", name(&other)),
        Err(_) => format!("the newest of another is {id}"),
    };
    let mut words: Vec<String> = others.iter().take(STORES_NAMED).map(show).collect();
    if let Some(more) = others.len().checked_sub(STORES_NAMED).filter(|more| *more > 0) {
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| {
        format!(
            "the repository holds several stores: `{LATEST}` is {} of {}; {}",
            manifest.id,
            name(manifest),
            words.join(", ")
        )
    })
}

fn name(manifest: &Manifest) -> String {
    format!("{}:{}", manifest.host, manifest.store)
}

/// The word for the newest snapshot.
pub const LATEST: &str = "latest";

/// The next step after a snapshot that is not there.
pub(crate) const HINT: &str = "`mailrig snapshots` lists them";

/// Candidates that are listed.
const SHOWN: usize = 10;

/// Other stores that a notice names, each of which takes a request.
const STORES_NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::snapshot_key;
    use crate::manifest::{LedgerCounts, Totals};
    use crate::store::memory::Memory;

    /// A snapshot of a store, `minute` minutes after midnight.
    fn add(objects: &Memory, host: &str, path: &str, minute: u32) -> String {
        let time: Timestamp = format!("2026-11-21T00:{minute:02}:00Z").parse().unwrap();
        let manifest = Manifest {
            snapshot: 1,
            id: crate::layout::new_snapshot_id(time, host, path),
            time,
            host: host.into(),
            store: path.into(),
            tool: "mailrig".into(),
            mailboxes: BTreeMap::new(),
            totals: Totals::default(),
            ledger: LedgerCounts::default(),
            incidents: None,
        };
        objects.put(&snapshot_key(&manifest.id), manifest.encode().unwrap()).unwrap();
        manifest.id
    }

    fn told(objects: &Memory, wanted: &str) -> (String, String) {
        let error = choose(objects, wanted, None).unwrap_err();
        (error.to_string(), error.hint().unwrap())
    }

    #[test]
    fn several_candidates_are_listed_the_newest_first_and_never_too_many() {
        let objects = Memory::default();
        assert!(told(&objects, "latest").0.contains("no snapshot yet"));
        let ids: Vec<String> = (0..13).map(|minute| add(&objects, "mx", "/v", minute)).collect();
        let (what, hint) = told(&objects, "20261121");
        let lines: Vec<&str> = what.lines().collect();
        assert_eq!(lines[0], "several snapshots begin with `20261121`:");
        assert_eq!(lines[1], format!("  {}  2026-11-21 00:12:00 UTC", ids[12]));
        assert_eq!(
            (lines.len(), lines[11], hint.as_str()),
            (12, "  and 3 more", "give more of one id")
        );
        for wanted in ["nonsense", "", "latestx"] {
            assert_eq!(told(&objects, wanted).1, HINT, "{wanted}");
        }
        for (wanted, id) in [("latest", &ids[12]), (&ids[3], &ids[3]), (&ids[3][20..], &ids[3])] {
            let chosen = choose(&objects, wanted, None).unwrap();
            assert_eq!((&chosen.manifest.id, chosen.notice), (id, None));
        }
        let early = Some("2020-01-01T00:00:00Z".parse().unwrap());
        let error = choose(&objects, "latest", early).unwrap_err();
        assert_eq!(error.hint().unwrap(), format!("the oldest is {}", ids[0]));
    }

    #[test]
    fn the_newest_of_several_stores_is_told_and_each_can_be_named() {
        let objects = Memory::default();
        let one = add(&objects, "mx1", "/var/vmail", 1);
        let same_path = add(&objects, "mx2", "/var/vmail", 2);
        add(&objects, "mx2", "/home", 3);
        let newest = add(&objects, "mx2", "/home", 4);
        let chosen = choose(&objects, "latest", None).unwrap();
        assert_eq!(chosen.manifest.id, newest);
        let notice = chosen.notice.unwrap();
        let parts = [
            format!("`latest` is {newest} of mx2:/home; "),
            format!("`latest:mx1:/var/vmail` is {one}"),
            format!("`latest:mx2:/var/vmail` is {same_path}"),
        ];
        assert!(parts.iter().all(|part| notice.contains(part)), "{notice}");
        for (wanted, id) in [
            ("latest:/home", &newest),
            ("latest:/home/", &newest),
            ("latest:mx1:/var/vmail", &one),
            ("latest:mx2:/var/vmail", &same_path),
        ] {
            let chosen = choose(&objects, wanted, None).unwrap();
            assert_eq!((&chosen.manifest.id, chosen.notice), (id, None), "{wanted}");
        }
        let (what, hint) = told(&objects, "latest:/var/vmail");
        assert_eq!(what, "several stores are called `/var/vmail`");
        assert!(
            hint.contains("`latest:mx1:/var/vmail`") && hint.contains("`latest:mx2:"),
            "{hint}"
        );
        assert!(told(&objects, "latest:/var/mail").1.contains("`latest:mx2:/home`"));
        let early = Some("2026-11-21T00:01:30Z".parse().unwrap());
        assert_eq!(choose(&objects, "latest", early).unwrap().manifest.id, one);
        assert_eq!(
            newest_beside(&objects, &choose(&objects, &one, None).unwrap().manifest).unwrap().id,
            one
        );
    }
}
