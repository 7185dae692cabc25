//! The arguments of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use load::letters::parse_bytes;
use maildir::Pattern;

use super::listen::Kind;
use crate::exit::UsageError;
use crate::time::span;

/// Run a mail server for demos, tests and drills
///
/// Speaks SMTP, submission and LMTP, and keeps mail in Maildirs (--store), hands it on to another server (--relay), or drops
/// it (--sink). A message is answered with 250 only when it and its folder are on disk. It has no IMAP: let
/// Dovecot read the store. What shall go wrong is said in --rules, and can be changed over --control.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailrig serve --store /srv/mail --create                     SMTP on 127.0.0.1:2525, mailboxes as mail comes
  mailrig serve --sink --smtp 127.0.0.1:2600                   take and drop mail as fast as it comes
  mailrig serve --relay 127.0.0.1:2525 --queue /var/tmp/q --smtp 127.0.0.1:2526    a backup MX
  mailrig serve --store /srv/mail --lmtp /run/lmtp --rules faults.toml --control /run/ctl
  mailrig control /run/ctl rules other.toml                    other faults, now

Rules (TOML; the first that matches acts):
  [[rule]]
  at = \"end\"                   connect, ehlo, starttls, auth, mail, rcpt, data, end or quit
  recipient = \"*@example.org\"  and sender: patterns with * and ?
  nth = 3                      the third transaction; every = 10, times = 2, or probability = 0.1 with seed = 7
  lose_reply = true            commit, and say nothing; or one of: reply = \"451 4.7.1 later\", delay_ms, stall_ms,
                               drop, hang, garbage, half_line, read_bytes_per_s, greylist_ms")]
pub(crate) struct ServeArgs {
    /// Serve SMTP here; port 0 takes a free one; several times for several [default: 127.0.0.1:2525]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, help_heading = "Where to listen")]
    pub(super) smtp: Vec<SocketAddr>,
    /// Serve submission, for those who AUTH
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, help_heading = "Where to listen")]
    pub(super) submission: Vec<SocketAddr>,
    /// The same with TLS from the first byte
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, help_heading = "Where to listen")]
    pub(super) submissions: Vec<SocketAddr>,
    /// Serve LMTP, on TCP or a socket in the file system
    #[arg(long, value_name = "ADDRESS:PORT|PATH", help_heading = "Where to listen")]
    pub(super) lmtp: Vec<String>,
    /// Clients come through a balancer that says who they are (PROXY protocol 1 or 2)
    #[arg(long, help_heading = "Where to listen")]
    pub(super) proxy_protocol: bool,
    /// Write where it listens to this file, as JSON, when it does
    #[arg(long, value_name = "FILE", help_heading = "Where to listen")]
    pub(super) ready: Option<PathBuf>,
    /// Serve questions and changes on this socket (`mailrig control`)
    #[arg(long, value_name = "PATH", help_heading = "Where to listen")]
    pub(super) control: Option<PathBuf>,

    /// Deliver into the Maildirs below this folder
    #[arg(long, value_name = "DIR", help_heading = "Where mail goes")]
    pub(super) store: Option<PathBuf>,
    /// Where a mailbox lies in the store, with Dovecot's variables
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "%Ld/%Ln",
        help_heading = "Where mail goes"
    )]
    pub(super) layout: String,
    /// Make the mailbox of whoever gets mail
    #[arg(long, requires = "store", help_heading = "Where mail goes")]
    pub(super) create: bool,
    /// Answer 250 before a message is on disk: for load, not for mail
    #[arg(long, help_heading = "Where mail goes")]
    pub(super) no_fsync: bool,
    /// Hand on what is for no mailbox here to the server at this address
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, help_heading = "Where mail goes")]
    pub(super) relay: Option<SocketAddr>,
    /// Folder for what waits to be handed on; it survives a kill
    #[arg(long, value_name = "DIR", help_heading = "Where mail goes")]
    pub(super) queue: Option<PathBuf>,
    /// Hand on mail for this domain only; several times for several [default: for all]
    #[arg(
        long = "relay-domain",
        value_name = "DOMAIN",
        requires = "relay",
        help_heading = "Where mail goes"
    )]
    pub(super) relay_domains: Vec<String>,
    /// How long to wait after each attempt to hand on; the last goes for all that follow
    #[arg(long, value_name = "TIMES", value_parser = span, value_delimiter = ',', default_value = "5s,30s,2m,10m,30m", help_heading = "Where mail goes")]
    pub(super) retry: Vec<Duration>,
    /// When to give up, and tell the sender
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5d", help_heading = "Where mail goes")]
    pub(super) expire: Duration,
    /// Take and drop mail
    #[arg(long, conflicts_with_all = ["store", "create", "relay", "queue", "relay_domains"], help_heading = "Where mail goes")]
    pub(super) sink: bool,
    /// Folder for large messages while they come [default: the system's for temporary files]
    #[arg(long, value_name = "DIR", help_heading = "Where mail goes")]
    pub(super) spool: Option<PathBuf>,

    /// The server's name [default: this host's]
    #[arg(long, value_name = "NAME", help_heading = "What is spoken")]
    pub(super) host: Option<String>,
    /// Offer STARTTLS, with a certificate made now
    #[arg(long, help_heading = "What is spoken")]
    pub(super) tls: bool,
    /// Offer STARTTLS, with this certificate (PEM, its chain after it)
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "What is spoken")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "What is spoken")]
    pub(super) tls_key: Option<PathBuf>,
    /// Offer AUTH to the users in this file, a USER:PASSWORD on each line
    #[arg(long, value_name = "FILE", help_heading = "What is spoken")]
    pub(super) users: Option<PathBuf>,
    /// Offer AUTH without TLS, too
    #[arg(long, requires = "users", help_heading = "What is spoken")]
    pub(super) plain_auth: bool,
    /// What shall go wrong (see below)
    #[arg(long, value_name = "FILE", help_heading = "What is spoken")]
    pub(super) rules: Option<PathBuf>,
    /// Append a line of JSON for each transaction and each attempt to hand on
    #[arg(long, value_name = "FILE", help_heading = "What is spoken")]
    pub(super) log: Option<PathBuf>,

    /// Largest message in bytes, or with K, M or G for powers of 1024
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "50M", help_heading = "Limits")]
    pub(super) max_size: u64,
    /// Most recipients of a message
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Limits")]
    pub(super) max_recipients: usize,
    /// Connections at one time
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Limits")]
    pub(super) max_connections: usize,
    /// Connections at one time from one address
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(super) max_connections_per_client: Option<u32>,
    /// Messages a minute from one address
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(super) messages_per_minute: Option<u32>,
    /// How long a client may say nothing
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5m", help_heading = "Limits")]
    pub(super) timeout: Duration,
}

impl ServeArgs {
    /// Where to listen, and for what.
    pub(super) fn places(&self) -> Vec<(Kind, String)> {
        let of = |kind, addresses: &[SocketAddr]| {
            addresses.iter().map(move |address| (kind, address.to_string())).collect::<Vec<_>>()
        };
        let mut places = of(Kind::Smtp, &self.smtp);
        places.extend(of(Kind::Submission, &self.submission));
        places.extend(of(Kind::Submissions, &self.submissions));
        places.extend(self.lmtp.iter().map(|place| (Kind::Lmtp, place.clone())));
        if places.is_empty() {
            places.push((Kind::Smtp, DEFAULT.into()));
        }
        places
    }

    /// The server's name.
    pub(super) fn host(&self) -> String {
        self.host
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    /// Where mailboxes are below the store.
    pub(super) fn layout(&self) -> Result<Pattern> {
        let layout = &self.layout;
        let pattern = format!("/{}", layout.trim_start_matches('/')).parse();
        pattern.map_err(|e| UsageError(format!("--layout {layout}: {e}")).into())
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:2525 or [::1]:2525; names are not looked up"
    })
}

const DEFAULT: &str = "127.0.0.1:2525";
