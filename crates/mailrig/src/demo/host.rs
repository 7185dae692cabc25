//! The demo's host: what the commands do, by the same library calls, on its own repository, identity
//! and state. What goes wrong short of a failure is collected, for the verdict.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use snapshot::backup::{self, Alarm, Proof, Trust};
use snapshot::crypt::{self, Unseal};
use snapshot::manifest::Manifest;
use snapshot::progress::Progress;
use snapshot::repository::{Description, Repository, read_identity};
use snapshot::state::State;
use snapshot::store::local::Local;
use snapshot::{restore, verify};

use super::report::{Snapshot, Verified, milliseconds};
use super::workplace::{IDENTITY, REPOSITORY, STATE, STORE, Workplace};
use crate::commands::init::write_identity;
use crate::commands::threads;
use crate::repository::host_name;
use crate::ui::{plural, size};

/// What an administrator's host has: a store, a repository, an identity and a state.
pub(crate) struct Host {
    root: PathBuf,
    repository: PathBuf,
    state: PathBuf,
    identity: Unseal,
}

impl Host {
    /// Makes the repository and its identity.
    pub(crate) fn set_up(workplace: &Workplace) -> Result<Self> {
        let (repository, identity) = (workplace.join(REPOSITORY), workplace.join(IDENTITY));
        let (recipient, secret) = crypt::generate();
        let recipient = recipient.to_string();
        write_identity(&identity, &secret, &recipient, &repository.display().to_string())?;
        Repository::init(
            Box::new(Local::open(&repository)),
            Description::new(&[recipient], false),
        )?;
        Ok(Self {
            root: workplace.join(STORE),
            repository,
            state: workplace.join(STATE),
            identity: read_identity(&identity)?,
        })
    }

    /// Opened anew each time, as each night does.
    fn open(&self) -> Result<Repository> {
        Ok(Repository::open(Box::new(Local::open(&self.repository)))?)
    }

    /// A line of the ledger is a problem here: nobody else touches this store.
    pub(crate) fn backup(
        &self,
        problems: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<(Snapshot, String)> {
        let started = Instant::now();
        let repository = self.open()?;
        let state = State::open(&self.state, &repository.description().id, &self.root)?;
        let options = backup::Options {
            mailboxes: Vec::new(),
            with: Vec::new(),
            outside: backup::Outside::default(),
            trust: Trust::BaseName,
            proof: Proof::Times,
            dovecot_lock: false,
            alarm: Alarm::default(),
            rebase: false,
            dry_run: false,
            time: Timestamp::now(),
            host: host_name(),
            threads: threads(),
        };
        let done = backup::run(&repository, &state, &self.root, None, &options, progress)?;
        let ledger = done.incidents.iter().map(|entry| {
            format!(
                "backup: {} {:?} {}",
                entry.path,
                entry.incident,
                entry.reason.as_deref().unwrap_or("")
            )
        });
        problems.extend(ledger);
        let mut told = format!(
            "{} read, {} stored, {}",
            size(done.messages.read_bytes),
            size(done.stored_bytes),
            plural(done.requests.total, "request")
        );
        done.notices.iter().for_each(|notice| told.push_str(&format!("; {notice}")));
        Ok((Snapshot::of(done, started.elapsed()), told))
    }

    /// Opens and hashes everything that the snapshots need.
    pub(crate) fn verify(
        &self,
        ids: &[String],
        problems: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<(Verified, String)> {
        let started = Instant::now();
        let repository = self.open()?;
        let manifests: Vec<Manifest> = ids
            .iter()
            .map(|id| Manifest::read(repository.store(), id))
            .collect::<snapshot::Result<_>>()?;
        let level = verify::Level::Content;
        let options = verify::Options { level, sample_percent: 100.0, seed: 0, threads: threads() };
        let identity = Some(&self.identity);
        let found = verify::run(&repository, &manifests, identity, &options, progress)?;
        let damage = found.problems.iter();
        problems
            .extend(damage.map(|damage| format!("verify: {} {}", damage.object, damage.reason)));
        let told = format!(
            "{} opened, {} hashed",
            plural(found.objects, "object"),
            plural(found.messages, "message")
        );
        let verified = Verified {
            objects: found.objects,
            messages: found.messages,
            read_bytes: found.bytes_read,
            elapsed_ms: milliseconds(started.elapsed()),
        };
        Ok((verified, told))
    }

    /// Restores a whole snapshot.
    pub(crate) fn restore(
        &self,
        snapshot: &mut Snapshot,
        to: PathBuf,
        problems: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<((), String)> {
        let started = Instant::now();
        let repository = self.open()?;
        let manifest = Manifest::read(repository.store(), &snapshot.id)?;
        // The comparison is one of bytes, also of the lists of UIDs.
        let uids = Some(restore::Uids::Exact);
        let options = restore::Options { uids, threads: threads(), ..restore::Options::all(to) };
        let identity = Some(&self.identity);
        let done = restore::run(&repository, &[manifest], identity, &options, progress)?;
        problems
            .extend(done.problems.iter().map(|p| format!("restore: {} {}", p.mailbox, p.reason)));
        snapshot.restore_ms = milliseconds(started.elapsed());
        Ok(((), format!("{}, {}", plural(done.messages, "message"), size(done.bytes))))
    }
}
