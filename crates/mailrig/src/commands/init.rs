//! `init`: make a repository, and the one secret that opens it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use snapshot::crypt;
use snapshot::repository::{Description, Repository};

use crate::cli::S3Args;
use crate::exit::{Exit, UsageError};
use crate::repository::{default_identity_path, open_store, split_repo};
use crate::ui::Ui;

/// Make a repository
///
/// Writes a recovery identity to a file on this host and tells where: without it nothing can be
/// restored, so keep a copy elsewhere. With --recipient the repository is sealed: no secret is made,
/// and this host can write backups and read none of them.
#[derive(Debug, clap::Args)]
#[command(override_usage = "mailrig init [OPTIONS] [REPO]")]
#[command(after_help = "Examples:
  mailrig init /srv/backup/mail
  mailrig init s3://backups/mail --identity-out /media/usb/mail.identity
  mailrig init s3://backups/mail --recipient age1...     sealed: the secret is elsewhere")]
pub(crate) struct InitArgs {
    /// REPO: path, file:///path or s3://bucket/prefix
    #[arg(value_name = "REPO", num_args = 0..=1)]
    positional: Vec<String>,
    /// age recipient that can open the backups; several times for several
    #[arg(long = "recipient", value_name = "AGE1...")]
    recipients: Vec<String>,
    /// Encryption of the repository; cannot be changed later
    #[arg(long, value_enum, default_value_t = EncryptionArg::Age)]
    encryption: EncryptionArg,
    /// Where to write the recovery identity [default: /etc/mailrig or ~/.config/mailrig]
    #[arg(long, value_name = "FILE", conflicts_with = "recipients")]
    identity_out: Option<PathBuf>,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EncryptionArg {
    Age,
    None,
}

#[derive(Serialize)]
struct InitReport {
    repository: String,
    id: String,
    encryption: &'static str,
    sealed: bool,
    /// Whether the store refuses to replace objects.
    conditional_create: bool,
    recipients: Vec<String>,
    identity_file: Option<PathBuf>,
}

pub(crate) fn run(args: &InitArgs, ui: &Ui) -> Result<Exit> {
    let (location, _) = split_repo(&args.positional, &[])?;
    if args.encryption == EncryptionArg::None {
        if !args.recipients.is_empty() || args.identity_out.is_some() {
            let reason = "--encryption none goes with neither --recipient nor --identity-out";
            return Err(UsageError(reason.into()).into());
        }
        ui.warning("the repository will not be encrypted: who can read it can read all mail");
    }
    let store = open_store(&location, &args.s3)?;
    let (recipients, secret) = match args.encryption {
        EncryptionArg::None => (Vec::new(), None),
        EncryptionArg::Age if !args.recipients.is_empty() => (args.recipients.clone(), None),
        EncryptionArg::Age => {
            let (recipient, identity) = crypt::generate();
            (vec![recipient.to_string()], Some(identity))
        }
    };
    let sealed = !args.recipients.is_empty();
    if let Some(path) = &args.identity_out
        && path.exists()
    {
        let reason = format!("{} exists and is not overwritten", path.display());
        return Err(UsageError(reason).into());
    }
    let conditional_create = store.probe_conditional_create().map_err(snapshot::Error::from)?;
    if !conditional_create {
        ui.warning(
            "this server lets objects be replaced (it ignores If-None-Match); mailrig never does \
             so, but whoever has the key can: consider versioning",
        );
    }
    let description = Description::new(&recipients, sealed);
    let id = description.id.clone();
    // The identity first: nothing is ever sealed to one that was not written down.
    let identity_file = match &secret {
        Some(secret) => {
            let path = match &args.identity_out {
                Some(path) => path.clone(),
                None => default_identity_path(&id)?,
            };
            write_identity(&path, secret, &recipients[0], &location)?;
            Some(path)
        }
        None => None,
    };
    let repository = Repository::init(store, description).inspect_err(|error| {
        let Some(path) = &identity_file else { return };
        if matches!(error, snapshot::Error::AlreadyRepository { .. }) {
            // It was just made, and opens nothing.
            let _ = std::fs::remove_file(path);
        } else {
            // The repository may be there all the same: an answer was lost, a sync failed.
            ui.warning(format!(
                "the recovery identity was written to {}; keep it until you know \
                 that there is no repository",
                path.display()
            ));
        }
    })?;
    let report = InitReport {
        repository: repository.store().display(),
        id,
        encryption: if recipients.is_empty() { "none" } else { "age" },
        sealed,
        conditional_create,
        recipients,
        identity_file,
    };
    ui.result("init", &report, || text(&report))?;
    Ok(Exit::Done)
}

fn text(report: &InitReport) -> String {
    let repository = &report.repository;
    match &report.identity_file {
        Some(path) => format!(
            "Made an encrypted repository at {repository}.\n\
             The recovery identity is in {0}. Without it nothing can be restored:\n\
             copy it to a safe place that is not this host, now.\n",
            path.display()
        ),
        None if report.sealed => format!(
            "Made a sealed repository at {repository}: this host can back up and read nothing.\n\
             Whoever holds the identity of {} can restore.\n",
            report.recipients.join(" or ")
        ),
        None => format!("Made an unencrypted repository at {repository}.\n"),
    }
}

/// Writes a new identity for people to keep.
pub(crate) fn write_identity(
    path: &Path,
    secret: &str,
    recipient: &str,
    location: &str,
) -> Result<()> {
    let context = || format!("writing the recovery identity to {}", path.display());
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(context)?;
    }
    let text = format!(
        "# mailrig recovery identity of {location}\n# created: {}\n# public key: {recipient}\n{secret}\n",
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(context)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).with_context(context)
}
