//! From what people type to an open repository, its identity and this host's state.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use snapshot::choose;
use snapshot::crypt::Unseal;
use snapshot::manifest::Manifest;
use snapshot::repository::{Repository, read_identity};
use snapshot::store::local::Local;
use snapshot::store::s3::{S3, S3Options};
use snapshot::store::{Location, Store};

use crate::cli::{IdentityArgs, S3Args};
use crate::exit::UsageError;
use crate::ui::Ui;

/// The environment variable that stands in for REPO.
pub(crate) const REPO_VARIABLE: &str = "MAILRIG_REPO";

/// Splits positional arguments into REPO and `names`' values. With `MAILRIG_REPO` set, REPO may be
/// left out.
pub(crate) fn split_repo(given: &[String], names: &[&str]) -> Result<(String, Vec<String>)> {
    match (given, repo_of_environment()) {
        ([repo, rest @ ..], _) if rest.len() == names.len() => Ok((repo.clone(), rest.to_vec())),
        (rest, Some(repo)) if rest.len() == names.len() => Ok((repo, rest.to_vec())),
        _ => {
            let wanted = names.join(" ");
            let reason = match wanted.as_str() {
                "" => format!("expected REPO, or {REPO_VARIABLE} in the environment"),
                wanted => format!(
                    "expected REPO {wanted}, or {wanted} alone with {REPO_VARIABLE} in the environment"
                ),
            };
            Err(UsageError(reason).into())
        }
    }
}

/// The repository that `MAILRIG_REPO` names.
pub(crate) fn repo_of_environment() -> Option<String> {
    std::env::var(REPO_VARIABLE).ok().filter(|value| !value.is_empty())
}

/// The objects at a location.
pub(crate) fn open_store(location: &str, s3: &S3Args) -> Result<Box<dyn Store>> {
    match location.parse::<Location>().map_err(snapshot::Error::from)? {
        Location::Local(path) => Ok(Box::new(Local::open(&path))),
        Location::S3 { bucket, prefix } => open_s3(&bucket, &prefix, s3),
    }
}

fn open_s3(bucket: &str, prefix: &str, args: &S3Args) -> Result<Box<dyn Store>> {
    let options = S3Options {
        endpoint_url: args.s3_endpoint.clone(),
        region: args.s3_region.clone(),
        profile: args.s3_profile.clone(),
        path_style: args.s3_path_style,
        ..S3Options::default()
    };
    Ok(Box::new(S3::open(bucket, prefix, &options).map_err(snapshot::Error::from)?))
}

/// An existing repository.
pub(crate) fn open(location: &str, s3: &S3Args) -> Result<Repository> {
    Ok(Repository::open(open_store(location, s3)?)?)
}

/// The snapshot that `wanted` names; `at` limits `latest`. What a person should know of the choice is
/// said, and added to `notices` for the document.
pub(crate) fn choose(
    repository: &Repository,
    wanted: &str,
    at: Option<Timestamp>,
    ui: &Ui,
    notices: &mut Vec<String>,
) -> Result<Manifest> {
    let chosen = choose::choose(repository.store(), wanted, at)?;
    if let Some(notice) = chosen.notice.filter(|notice| !notices.contains(notice)) {
        ui.warning(&notice);
        notices.push(notice);
    }
    Ok(chosen.manifest)
}

/// The identity: the given one, else the one that `init` left on this host, else none.
pub(crate) fn identity(args: &IdentityArgs, repository: &Repository) -> Result<Option<Unseal>> {
    if !repository.is_encrypted() {
        return Ok(None);
    }
    let variable = std::env::var_os("MAILRIG_IDENTITY").filter(|path| !path.is_empty());
    if let Some(path) = args.identity.clone().or(variable.map(PathBuf::from)) {
        return Ok(Some(read_identity(&path)?));
    }
    let path = default_identity_path(&repository.description().id)?;
    if path.exists() { Ok(Some(read_identity(&path)?)) } else { Ok(None) }
}

/// Where `init` puts an identity that was given no other place.
pub(crate) fn default_identity_path(repository_id: &str) -> Result<PathBuf> {
    let dir = if rustix::process::geteuid().is_root() {
        PathBuf::from("/etc/mailrig")
    } else {
        user_dir("XDG_CONFIG_HOME", ".config")?.join("mailrig")
    };
    Ok(dir.join(format!("{}.identity", &repository_id[..repository_id.len().min(16)])))
}

/// Where state is kept unless `--state` says otherwise.
pub(crate) fn default_state_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("MAILRIG_STATE").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/mailrig"));
    }
    Ok(user_dir("XDG_STATE_HOME", ".local/state")?.join("mailrig"))
}

fn user_dir(variable: &str, below_home: &str) -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(variable).filter(|dir| Path::new(dir).is_absolute()) {
        return Ok(dir.into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set; name the folder by option")?;
    Ok(PathBuf::from(home).join(below_home))
}

/// This host's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
