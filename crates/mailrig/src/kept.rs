//! Options that say what else than mailboxes a backup keeps, and what of it makes no sense.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use maildir::Pattern;
use snapshot::backup::Outside;
use snapshot::store::Location;

use crate::doveconf::{self, Keys, Places};
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
    /// File with the mailbox's attributes, where mail_crypt has folder keys (mail_attribute_dict)
    #[arg(long, value_name = "PATTERN")]
    attributes: Option<Pattern>,
    /// Ask Dovecot for these four, by running `doveconf -n`; what is given here as well wins
    #[arg(long)]
    from_doveconf: bool,
    /// The doveconf to run [default: the one in PATH, /usr/bin or /usr/sbin]
    #[arg(long, value_name = "FILE", requires = "from_doveconf")]
    doveconf: Option<PathBuf>,
}

/// What mailboxes keep outside their folders, and how that was found out.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) outside: Outside,
    /// What Dovecot said, in a sentence.
    pub(crate) used: Option<String>,
    /// What a person should know.
    pub(crate) notices: Vec<String>,
}

impl KeptArgs {
    /// What mailboxes keep outside their folders; `trees` go along.
    pub(crate) fn outside(&self, trees: &[PathBuf]) -> Result<Asked> {
        let mut asked = Asked::default();
        let mut said = Places::default();
        if self.from_doveconf {
            let dovecot = doveconf::ask(self.doveconf.as_deref())?;
            said = dovecot.places;
            asked.used = Some(match said.used.as_slice() {
                [] => format!("Dovecot {} keeps nothing outside mailboxes", dovecot.version),
                used => format!("Dovecot {} says: {}", dovecot.version, used.join(", ")),
            });
            let open = said.notices.iter().map(|notice| format!("of Dovecot's settings, {notice}"));
            asked.notices.extend(open);
            asked.notices.extend(shared_left_out(&said.shared, trees));
            asked.notices.extend(keys_left_out(&said.keys, trees, &dovecot.configuration));
        }
        asked.outside = Outside {
            home: said.home,
            control: self.control.clone().or(said.control),
            index: self.index.clone().or(said.index),
            attributes: self.attributes.clone().or(said.attributes),
            sieve: if self.sieve.is_empty() { said.sieve } else { self.sieve.clone() },
        };
        Ok(asked)
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

/// What is one for several users, and no tree brings: a sentence each.
fn shared_left_out(shared: &[(String, PathBuf)], trees: &[PathBuf]) -> Vec<String> {
    let is_kept = |path: &Path| trees.iter().any(|tree| path.starts_with(tree));
    let sentence = |(setting, path): &(String, PathBuf)| {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        format!(
            "of Dovecot's settings, {setting} is one for several users, and kept with no mailbox: keep \
             it with --with {}",
            folder.display()
        )
    };
    shared.iter().filter(|(_, path)| !is_kept(path)).map(sentence).collect()
}

/// Keys of mail_crypt that no tree brings: a sentence each.
fn keys_left_out(keys: &[Keys], trees: &[PathBuf], configuration: &Path) -> Vec<String> {
    let is_kept = |path: &Path| trees.iter().any(|tree| path.starts_with(tree));
    let warning = |place: String, option: String| {
        format!(
            "mail_crypt's keys are in {place}: without them the mail in this snapshot is unreadable; {option}"
        )
    };
    let sentence = |key: &Keys| match key {
        Keys::File(file) if is_kept(file) => None,
        Keys::File(file) => {
            let folder = file.parent().unwrap_or(file).display();
            Some(warning(file.display().to_string(), format!("keep them with --with {folder}")))
        }
        Keys::Hidden if is_kept(configuration) => None,
        Keys::Hidden => {
            let option =
                format!("keep them with --with {}, or where they are", configuration.display());
            Some(warning("Dovecot's configuration".into(), option))
        }
        Keys::Dict(dict) => {
            let option = "back that up by its own means".to_owned();
            Some(warning(format!("the dict {dict}"), option))
        }
    };
    keys.iter().filter_map(sentence).collect()
}

/// The path without links, as far as it exists.
fn absolute(path: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => std::path::absolute(path)
            .with_context(|| format!("finding out where {} is", path.display())),
    }
}
