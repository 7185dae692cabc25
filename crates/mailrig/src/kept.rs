//! Options that say what else than mailboxes a backup keeps, and what of it makes no sense.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use maildir::Pattern;
use snapshot::backup::Outside;
use snapshot::store::Location;

use crate::exit::UsageError;

/// What else is kept.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What else is kept")]
pub(crate) struct KeptArgs {
    /// A folder outside STORE that goes along as it is, such as /etc/postfix; may be repeated
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Where Dovecot keeps control files if not in the mailbox (CONTROL=, mail_control_path), such as
    /// /var/lib/dovecot/control/%d/%n; %u %n %d %h ~ and %{user|username} stand for what Dovecot puts there
    #[arg(long, value_name = "PATTERN")]
    control: Option<Pattern>,
    /// Where it keeps index files, of which only what cannot be made anew is kept (INDEX=, mail_index_path)
    #[arg(long, value_name = "PATTERN")]
    index: Option<Pattern>,
    /// Where Sieve scripts, or the link to the active one, lie outside the mailbox, such as ~/sieve; may be
    /// repeated. ~ is the folder above a mailbox called Maildir or mail, else the mailbox
    #[arg(long, value_name = "PATTERN")]
    sieve: Vec<Pattern>,
}

impl KeptArgs {
    /// What mailboxes keep outside their folders.
    pub(crate) fn outside(&self) -> Outside {
        Outside {
            home: None,
            control: self.control.clone(),
            index: self.index.clone(),
            sieve: self.sieve.clone(),
        }
    }

    /// The folders of --with, by the paths under which they are kept.
    pub(crate) fn trees(&self, store: &Path, location: &str, state: &Path) -> Result<Vec<PathBuf>> {
        let mut trees: Vec<PathBuf> = Vec::new();
        for given in &self.with {
            let tree = absolute(given)?;
            let show = given.display();
            let refuse =
                |reason: String| Err(UsageError(format!("--with {show}: {reason}")).into());
            if tree.exists() && !tree.is_dir() {
                return refuse("is no folder: name the one that it lies in".into());
            }
            if tree.starts_with(store) {
                let store = store.display();
                return refuse(format!("lies in the store {store}: --with is for other folders"));
            }
            let mut others = vec![("the store", store.to_owned()), ("the state", absolute(state)?)];
            if let Ok(Location::Local(repository)) = location.parse() {
                others.push(("the repository", absolute(&repository)?));
            }
            if let Some((what, path)) = others.iter().find(|(_, path)| path.starts_with(&tree)) {
                let path = path.display();
                return refuse(format!("holds {what}, {path}: name the folders beside it"));
            }
            if let Some(other) = trees.iter().find(|t| t.starts_with(&tree) || tree.starts_with(t))
            {
                let other = other.display();
                return refuse(format!("overlaps with {other}: name the outer one only"));
            }
            trees.push(tree);
        }
        Ok(trees)
    }
}

/// The path without links, as far as it exists.
fn absolute(path: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => std::path::absolute(path)
            .with_context(|| format!("finding out where {} is", path.display())),
    }
}
