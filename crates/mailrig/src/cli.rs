//! The command line: global options, the repository's options, and one struct a command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    backup, control, demo, diff, drill, find, init, load, ls, restore, serve, snapshots, verify,
};

/// Backups of Maildir stores and load for mail servers, with every message accounted for
///
/// REPO is a path, file:///path or s3://bucket/prefix; MAILRIG_REPO stands in for it where it is
/// left out. SNAPSHOT is an id, a unique start of one or of its second half, `latest`, or `latest:STORE` where
/// the repository has several stores.
#[derive(Debug, Parser)]
#[command(name = "mailrig", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print one JSON document instead of text (schemas: docs/schema)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no status, only the result, warnings and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Log more to stderr
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

/// How to reach a repository in S3. Credentials, region and endpoint follow the AWS conventions:
/// environment, profile, AWS_ENDPOINT_URL_S3.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Repository options")]
pub(crate) struct S3Args {
    /// S3 endpoint, for servers other than AWS
    #[arg(long, value_name = "URL")]
    pub(crate) s3_endpoint: Option<String>,
    /// S3 region
    #[arg(long, value_name = "NAME")]
    pub(crate) s3_region: Option<String>,
    /// Profile in ~/.aws/config and ~/.aws/credentials
    #[arg(long, value_name = "NAME")]
    pub(crate) s3_profile: Option<String>,
    /// Bucket in the path (true) or in the host name (false) [default: true with an endpoint]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) s3_path_style: Option<bool>,
}

/// The identity that opens an encrypted repository.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Repository options")]
pub(crate) struct IdentityArgs {
    /// File with the age identity that opens the repository [env: MAILRIG_IDENTITY] [default: where `init` put it]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Backup(backup::BackupArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Ls(ls::LsArgs),
    Find(find::FindArgs),
    Diff(diff::DiffArgs),
    Restore(restore::RestoreArgs),
    Verify(verify::VerifyArgs),
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Control(control::ControlArgs),
    Load(Box<load::LoadArgs>),
    Drill(drill::DrillArgs),
}

const EXAMPLES: &str = "\
Examples:
  mailrig demo                                       see all of it on made-up mail
  mailrig init s3://backups/mail                     make a repository and a recovery identity
  mailrig backup s3://backups/mail /var/vmail        one night
  mailrig serve --store /srv/mail --create           a mail server to try things on
  mailrig load 127.0.0.1:2525 --rate 50/s --for 1m   does it take 50 messages a second?
  mailrig drill run scenarios/primary-killed.toml    kill a server, and count its mail
  mailrig restore s3://backups/mail latest --to /srv/restored --mailbox alice@example.org

Exit codes: 0 done, 1 failed, 2 usage, 3 finished but incomplete, 4 damage found or
objectives missed, 5 something is not undone, 6 no verdict, 130 interrupted";
