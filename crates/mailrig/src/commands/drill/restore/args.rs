//! Arguments of `mailrig drill restore`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::{IdentityArgs, S3Args};
use crate::time;

/// Restore some mailboxes to a scratch folder, and hold them against the snapshot
///
/// What comes back is read again and compared with what the snapshot's catalogs say: every message by its hash, and
/// flags, INTERNALDATE, UIDs. Where Dovecot is installed a scratch one serves it on loopback, and the same is asked over
/// IMAP. The store itself is not touched.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// The repository
    #[arg(value_name = "REPO")]
    pub(super) repo: Option<String>,
    /// Which snapshot
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub(super) snapshot: String,
    /// How many mailboxes, chosen at random
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) mailboxes: u32,
    /// The choice of another drill again: the number that it told
    #[arg(long, value_name = "NUMBER")]
    pub(super) seed: Option<u32>,
    /// All mailboxes
    #[arg(long, conflicts_with_all = ["mailboxes", "seed", "mailbox"])]
    pub(super) all: bool,
    /// This mailbox: its name, its path in the store, or its id
    #[arg(long, value_name = "NAME", conflicts_with_all = ["mailboxes", "seed"])]
    pub(super) mailbox: Option<String>,
    /// Folder to restore into, new or empty [default: a new one in the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(super) scratch: Option<PathBuf>,
    /// Leave what was restored where it is
    #[arg(long)]
    pub(super) keep: bool,
    /// Do not serve what was restored
    #[arg(long)]
    pub(super) no_dovecot: bool,
    /// Fail if restoring the whole store would take longer, by the speed of the sample: 30m, 4h
    #[arg(long, value_name = "TIME", value_parser = time::span)]
    pub(super) rto: Option<Duration>,
    /// Fail if the snapshot is older: 24h, 2d
    #[arg(long, value_name = "TIME", value_parser = time::span)]
    pub(super) rpo: Option<Duration>,
    /// Folder that gets result.json; made if need be
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) identity: IdentityArgs,
    #[command(flatten)]
    pub(super) s3: S3Args,
}

const EXAMPLES: &str = "\
Examples:
  mailrig drill restore s3://backups/mail                                three mailboxes, chosen at random
  mailrig drill restore s3://backups/mail --seed 1234                    the same three again
  mailrig drill restore s3://backups/mail --all --rto 4h --rpo 24h --out drill
  mailrig drill restore s3://backups/mail --mailbox alice@example.org --no-dovecot";
