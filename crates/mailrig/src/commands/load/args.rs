//! The arguments of `load`; their comments are the help.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use load::plan::parse_rate;

use crate::time::span;

/// Find out how much mail a server takes, and what its senders feel meanwhile
///
/// Sends messages when a plan says so, whether or not the server keeps up, and measures from that instant: a server
/// that stalls is seen in every message that had to wait. TARGET is HOST or HOST:PORT, smtp://HOST, smtps://HOST,
/// lmtp://HOST:PORT or unix:PATH; several with commas are tried in order by each connection. Loopback is loaded without asking,
/// anything else only with --i-own.
#[derive(Debug, clap::Args)]
#[command(
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  mailrig serve --sink --smtp 127.0.0.1:2525 &                      something to try it on
  mailrig load 127.0.0.1:2525 --rate 200/s --for 1m                 does it hold 200 a second?
  mailrig load 127.0.0.1:2525 --find-limit --html limit.html        how many does it hold?
  mailrig load lmtp://127.0.0.1:24 --rate 50/s --deliver maildir:/var/vmail --expect 'lost<=0'
  mailrig load mx.example.org --i-own mx.example.org --tls starttls --profile day.toml
  mailrig load replay /var/log/mail.log 127.0.0.1:2525 --speed 10   last night, ten times as fast
  mailrig load merge shard1 shard2 shard3                           three machines, one result
  mailrig load compare before after                                 what has changed

Exit codes: 0 objectives met, 1 failed, 2 usage, 4 objectives missed, 6 no verdict (the generator
was the limit, or nothing was accepted), 130 interrupted"
)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    pub(super) command: Option<LoadCommand>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum LoadCommand {
    /// Bring the results of shards together, without loss
    Merge(MergeArgs),
    /// Tell what differs between two results
    Compare(CompareArgs),
    /// Send what a mail log shows, when it shows it
    Replay(ReplayArgs),
}

/// Bring the results of shards together, without loss
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// Folders that `--out` wrote, one a shard, or the run.hlog in each
    #[arg(value_name = "DIR|FILE", required = true)]
    pub(super) dirs: Vec<PathBuf>,
    /// Leave out this shard, which was sick; several times for several
    #[arg(long = "without", value_name = "I/N")]
    pub(super) without: Vec<String>,
    /// What must hold [default: what the shards were judged by]
    #[arg(long, value_name = "OBJECTIVES")]
    pub(super) expect: Option<String>,
    /// Write the merged result into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write a page for people
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// Tell what differs between two results
#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// A folder that `--out` wrote: the one before
    #[arg(value_name = "A")]
    pub(super) before: PathBuf,
    /// The one after
    #[arg(value_name = "B")]
    pub(super) after: PathBuf,
    /// By how much more a percentile counts as worse (exit code 4)
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    pub(super) tolerance: f64,
}

/// Send what a mail log shows, when it shows it
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Log of Postfix or Exim, or what `mailrig serve --log` wrote
    #[arg(value_name = "MAILLOG")]
    pub(super) log: PathBuf,
    /// How many times as fast as it was
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(super) speed: f64,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Server, or servers in the order in which to try them
    #[arg(value_name = "TARGET", required = true, value_delimiter = ',')]
    pub(super) target: Vec<String>,
    /// The host of TARGET, to say that it is yours; several times for several
    #[arg(long, value_name = "HOST", help_heading = "Safety")]
    pub(super) i_own: Vec<String>,
    /// Recipients may be in this domain, beside those that nobody has (example.org, *.test)
    #[arg(long = "recipient-domain", value_name = "DOMAIN", help_heading = "Safety")]
    pub(super) recipient_domains: Vec<String>,
    /// Go beyond the ceilings of rate and duration
    #[arg(long, help_heading = "Safety")]
    pub(super) yes_really: bool,

    /// Messages a second (200/s), minute or hour
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with_all = ["profile", "find_limit", "closed"], help_heading = "When to send")]
    pub(super) rate: Option<f64>,
    /// A plan with phases (TOML; see docs/load.md and scenarios/load)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["find_limit", "closed"], help_heading = "When to send")]
    pub(super) profile: Option<PathBuf>,
    /// Search the highest rate that meets the objectives
    #[arg(long, conflicts_with_all = ["closed", "messages", "start_at"], help_heading = "When to send")]
    pub(super) find_limit: bool,
    /// No plan: so many sessions send one message after the other, as fast as the server answers
    #[arg(long, value_name = "N", help_heading = "When to send")]
    pub(super) closed: Option<usize>,
    /// Arrivals at random (Poisson), as mail of many senders has, and not evenly spaced
    #[arg(long, conflicts_with_all = ["profile", "closed"], help_heading = "When to send")]
    pub(super) poisson: bool,
    /// How long, after the warm-up [default: 1m; a step of --find-limit: 10s]
    #[arg(long = "for", value_name = "TIME", value_parser = span, conflicts_with = "profile", help_heading = "When to send")]
    pub(super) duration: Option<Duration>,
    /// How many messages at most, those of the warm-up not counted
    #[arg(long, value_name = "N", conflicts_with = "find_limit", help_heading = "When to send")]
    pub(super) messages: Option<u64>,
    /// How long to send before anything counts [default: not at all; in a step of --find-limit: 3s]
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "profile", help_heading = "When to send")]
    pub(super) warmup: Option<Duration>,
    /// How long what waits or is under way may take when the plan has ended
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s", help_heading = "When to send")]
    pub(super) drain: Duration,
    /// Seed of all that is drawn: the same gives the same plan and messages
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "When to send")]
    pub(super) seed: u64,
    /// Send every Nth message of the plan only, from the Ith on: other machines send the rest
    #[arg(long, value_name = "I/N", requires = "start_at", conflicts_with_all = ["closed", "find_limit"], help_heading = "When to send")]
    pub(super) shard: Option<String>,
    /// Begin at this time, such as 2026-11-21T03:00:00Z [default: at once]
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse, help_heading = "When to send")]
    pub(super) start_at: Option<jiff::Timestamp>,

    /// Connections at one time [default: 100, or what the profile says]
    #[arg(long, value_name = "N", conflicts_with = "closed", help_heading = "Sessions")]
    pub(super) connections: Option<usize>,
    /// Messages on a connection before it is closed [default: 1, or what the profile says]
    #[arg(long, value_name = "N", help_heading = "Sessions")]
    pub(super) messages_per_connection: Option<u64>,
    /// Connections that are held open beside, and say no more than hello
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Sessions")]
    pub(super) idle_connections: usize,
    /// How long a connection without a message stays open
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5s", help_heading = "Sessions")]
    pub(super) idle: Duration,
    /// Speak LMTP
    #[arg(long, help_heading = "Sessions")]
    pub(super) lmtp: bool,
    /// Wait for each reply, also where the server takes commands together
    #[arg(long, help_heading = "Sessions")]
    pub(super) no_pipelining: bool,
    /// Send with BDAT where the server has CHUNKING
    #[arg(long, help_heading = "Sessions")]
    pub(super) bdat: bool,
    /// Our name in EHLO
    #[arg(long, value_name = "NAME", help_heading = "Sessions")]
    pub(super) hello: Option<String>,
    /// Addresses to connect from, in turn
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', help_heading = "Sessions")]
    pub(super) source: Vec<IpAddr>,
    /// Say who the client is, as a balancer does: v1 or v2, and the address that it has
    #[arg(long, value_name = "VERSION:ADDRESS", help_heading = "Sessions")]
    pub(super) proxy: Option<String>,
    /// How long to wait before each further attempt after a 4xx reply [default: no further attempt]
    #[arg(long, value_name = "TIMES", value_parser = span, value_delimiter = ',', help_heading = "Sessions")]
    pub(super) retry: Vec<Duration>,
    /// How long to wait for any reply
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s", help_heading = "Sessions")]
    pub(super) timeout: Duration,

    /// TLS: starttls, or implicit
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "TLS and AUTH")]
    pub(super) tls: Option<TlsKind>,
    /// Percent of the connections that have it [default: 100]
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = "TLS and AUTH")]
    pub(super) tls_share: Option<f64>,
    /// Percent of those that resume an earlier session [default: 0]
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = "TLS and AUTH")]
    pub(super) tls_resumed: Option<f64>,
    /// Take any certificate, as senders of mail mostly do [default: one that the system's authorities vouch for]
    #[arg(long, conflicts_with_all = ["tls_ca", "tls_pin"], help_heading = "TLS and AUTH")]
    pub(super) tls_any: bool,
    /// Trust these authorities and no others (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "tls_pin", help_heading = "TLS and AUTH")]
    pub(super) tls_ca: Option<PathBuf>,
    /// Trust the certificate with this SHA-256 and no other
    #[arg(long, value_name = "SHA256", help_heading = "TLS and AUTH")]
    pub(super) tls_pin: Option<String>,
    /// The name that the certificate must have [default: the host of TARGET]
    #[arg(long, value_name = "NAME", help_heading = "TLS and AUTH")]
    pub(super) tls_name: Option<String>,
    /// SASL mechanism, such as PLAIN or SCRAM-SHA-256; several with commas are used in turn
    #[arg(
        long,
        value_name = "MECHANISM",
        value_delimiter = ',',
        requires = "users",
        help_heading = "TLS and AUTH"
    )]
    pub(super) auth: Vec<String>,
    /// Users in turn, a USER:PASSWORD on each line of this file
    #[arg(long, value_name = "FILE", requires = "auth", help_heading = "TLS and AUTH")]
    pub(super) users: Option<PathBuf>,
    /// AUTH without TLS, too: passwords go in plain text
    #[arg(long, requires = "auth", help_heading = "TLS and AUTH")]
    pub(super) plain_auth: bool,

    /// Size of messages: bytes (4K), a range (1K-64K), or lognormal:MEDIAN,SIGMA [default: 4K]
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["mix", "corpus"], help_heading = "Messages")]
    pub(super) size: Option<String>,
    /// A mix of sizes: office, isp2001, domino or mstone (see docs/load.md)
    #[arg(long, value_name = "NAME", conflicts_with = "corpus", help_heading = "Messages")]
    pub(super) mix: Option<String>,
    /// Send the messages below this folder
    #[arg(long, value_name = "DIR", help_heading = "Messages")]
    pub(super) corpus: Option<PathBuf>,
    /// Text alone: no HTML, no attachments
    #[arg(long, conflicts_with = "corpus", help_heading = "Messages")]
    pub(super) plain: bool,
    /// Recipients: patterns such as user{1..500}@example.test with weights (3*a@x.test), or a file of them
    #[arg(
        long,
        value_name = "PATTERN|FILE",
        default_value = "user{1..100}@example.test",
        help_heading = "Messages"
    )]
    pub(super) recipients: String,
    /// Recipients of a message: a number or a range [default: 1; replay: as many as in the log]
    #[arg(long, value_name = "N|N-M", help_heading = "Messages")]
    pub(super) recipients_per_message: Option<String>,
    /// Senders, as --recipients
    #[arg(
        long,
        value_name = "PATTERN|FILE",
        default_value = "sender{1..100}@example.com",
        help_heading = "Messages"
    )]
    pub(super) senders: String,
    /// Sign with DKIM as this domain and selector
    #[arg(long, value_name = "SELECTOR@DOMAIN", requires = "dkim_key", help_heading = "Messages")]
    pub(super) dkim: Option<String>,
    /// Its key (PEM, PKCS #8)
    #[arg(long, value_name = "FILE", requires = "dkim", help_heading = "Messages")]
    pub(super) dkim_key: Option<PathBuf>,

    /// What must hold: 'p99<500ms,errors<0.1%,delivery_p95<60s,rate>=200/s'
    #[arg(long, value_name = "OBJECTIVES", help_heading = "What is judged")]
    pub(super) expect: Option<String>,
    /// Where accepted mail is to appear: maildir:DIR, sink:ADDRESS:PORT (a server of our own), imap://USER@HOST
    #[arg(long, value_name = "WHERE", help_heading = "What is judged")]
    pub(super) deliver: Option<String>,
    /// File with the password for IMAP [env: MAILRIG_IMAP_PASSWORD]
    #[arg(long, value_name = "FILE", requires = "deliver", help_heading = "What is judged")]
    pub(super) deliver_password_file: Option<PathBuf>,
    /// How long to wait for it when all is sent
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s", help_heading = "What is judged")]
    pub(super) deliver_wait: Duration,
    /// How long the server's queue is: postfix, exim, or a command that prints a number
    #[arg(long, value_name = "HOW", help_heading = "What is judged")]
    pub(super) queue: Option<String>,

    /// Write result.json, run.hlog and series.csv into this folder
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) out: Option<PathBuf>,
    /// Write a page for people
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) html: Option<PathBuf>,
    /// Threads that hold sessions [default: one a processor]
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub(super) workers: Option<usize>,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum TlsKind {
    /// After STARTTLS
    Starttls,
    /// Before the greeting
    Implicit,
}

fn rate(text: &str) -> Result<f64, String> {
    let per_s = parse_rate(text).map_err(|e| e.to_string())?;
    if per_s == 0.0 {
        return Err("a rate of zero sends nothing: expected more, such as 200/s".to_owned());
    }
    Ok(per_s)
}

/// 0 to 1, of percent.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse::<f64>().ok();
    let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| "expected 0 to 100".to_owned())
}
