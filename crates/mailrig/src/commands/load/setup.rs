//! From arguments to what a run needs: everything that can be wrong is found here, before the first byte is sent.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use load::engine::{Pace, Settings, TlsShares, Wire};
use load::letters::{Addresses, Ingredients, Letters, PerMessage, Signer, Sizes, mean_head_bytes};
use load::own;
use load::plan::{Plan, Profile, Shape, Spacing, Stage};
use load::result::Shard;
use load::safety::{self, Ask};
use load::verdict::Objectives;
use sha2::{Digest, Sha256};
use smtp::client::{Endpoint, Limits, Options, Protocol, Secure};
use smtp::proxy::Version;
use smtp::sasl::{Credentials, Mechanism};
use smtp::tls::{Tls, Trust, certificates};

use super::args::{RunArgs, TlsKind};
use super::compose::{self, Style};
use super::corpus;
use super::target::{self, Targets};
use crate::exit::UsageError;
use crate::ui::Ui;

/// What a run needs.
pub(super) struct Setup {
    pub(super) settings: Settings,
    pub(super) targets: Targets,
    /// In every message.
    pub(super) run: u64,
    pub(super) letters: Letters,
    pub(super) expect: String,
    pub(super) shard: Option<Shard>,
    /// The plan before it was cut into shards; none in closed mode.
    pub(super) plan: Option<Plan>,
    pub(super) start_at: Option<Timestamp>,
}

/// What a profile says beside its plan.
#[derive(Default)]
struct Advised {
    retry: Option<Vec<Duration>>,
    connections: Option<usize>,
    messages_per_connection: Option<u64>,
}

pub(super) fn prepare(args: &RunArgs, trace: Option<Plan>, ui: &Ui) -> Result<Setup> {
    let shard = args.shard.as_deref().map(str::parse::<Shard>).transpose();
    let shard = shard.map_err(|e| UsageError(format!("--shard: {e}")))?;
    let targets = target::find(&args.target, &args.i_own, args.lmtp)?;
    let (plan, advised) = plan(args, trace)?;
    let connections = args.closed.or(args.connections).or(advised.connections).unwrap_or(100);
    if connections == 0 || args.closed == Some(0) {
        return usage("no connections send nothing: expected 1 or more");
    }
    if args.messages == Some(0) {
        return usage("--messages: expected 1 or more");
    }
    check_ceiling(args, plan.as_ref(), &targets, connections)?;
    check_descriptors(connections.saturating_add(args.idle_connections), ui)?;
    let started = args.start_at.unwrap_or_else(Timestamp::now);
    let run = run_id(args, plan.as_ref(), started);
    let letters = letters(args, run, started, ui)?;
    let pace = pace(args, plan.as_ref(), shard);
    let messages_per_connection = args.messages_per_connection;
    let settings = Settings {
        pace,
        wire: wire(args, &targets)?,
        connections,
        messages_per_connection: messages_per_connection
            .or(advised.messages_per_connection)
            .unwrap_or(1),
        idle_connections: args.idle_connections,
        retry: if args.retry.is_empty() {
            advised.retry.unwrap_or_default()
        } else {
            args.retry.clone()
        },
        idle: args.idle,
        drain: args.drain,
        deliver_wait: args.deliver_wait,
        interval: Duration::from_secs(1),
        begin: None,
        workers: args.workers.unwrap_or_else(crate::commands::threads).max(1),
        first_index: 0,
        seed: args.seed,
    };
    if settings.messages_per_connection == 0 {
        return usage("--messages-per-connection: expected 1 or more");
    }
    let expect = expect(args)?;
    Ok(Setup { settings, targets, run, letters, expect, shard, plan, start_at: args.start_at })
}

fn usage<T>(reason: &str) -> Result<T> {
    Err(UsageError(reason.to_owned()).into())
}

fn plan(args: &RunArgs, trace: Option<Plan>) -> Result<(Option<Plan>, Advised)> {
    let mut advised = Advised::default();
    let plan = match (&trace, &args.profile, args.rate) {
        (Some(_), None, None) if is_left_to_the_plan(args) => trace,
        (Some(_), ..) => {
            return usage(
                "replay has its plan from the log: --rate, --poisson, --for, --warmup, --profile, \
                 --find-limit and --closed have others",
            );
        }
        (None, Some(path), _) => {
            let profile = read_profile(path)?;
            advised.retry = profile.retry.clone();
            advised.connections = profile.connections.map(|count| count as usize);
            advised.messages_per_connection = profile.messages_per_connection.map(u64::from);
            let plan = profile.plan(args.seed).with_context(|| format!("in {}", path.display()))?;
            Some(plan)
        }
        (None, None, Some(per_s)) => Some(constant(args, per_s)?),
        (None, None, None) if args.closed.is_some() || args.find_limit => None,
        (None, None, None) => {
            return usage(
                "how much is to be sent? Give a --rate such as 200/s, a --profile, --find-limit, or --closed",
            );
        }
    };
    Ok((plan.map(|plan| args.messages.map_or(plan.clone(), |most| plan.limited(most))), advised))
}

fn is_left_to_the_plan(args: &RunArgs) -> bool {
    let is_other = args.closed.is_some() || args.find_limit || args.poisson;
    !is_other && args.duration.is_none() && args.warmup.is_none()
}

/// At one rate: for as long as was said, or until all messages have begun.
fn constant(args: &RunArgs, per_s: f64) -> Result<Plan> {
    let enough = |messages: u64| Duration::try_from_secs_f64((messages as f64 + 1.0) / per_s);
    let duration = match (args.duration, args.messages) {
        (Some(duration), _) => duration,
        // At random some need longer than on average.
        (None, Some(messages)) => {
            let enough = enough(messages).map_err(|_| {
                UsageError(format!(
                    "{messages} messages at {per_s}/s take longer than any clock runs"
                ))
            })?;
            if args.poisson { enough * 2 + Duration::from_secs(60) } else { enough }
        }
        (None, None) => Duration::from_secs(60),
    };
    let spacing = if args.poisson { Spacing::Poisson } else { Spacing::Even };
    steady(per_s, args.warmup.unwrap_or_default(), duration, spacing, args.seed)
}

/// A plan of one rate, with a warm-up before it.
pub(super) fn steady(
    per_s: f64,
    warmup: Duration,
    duration: Duration,
    spacing: Spacing,
    seed: u64,
) -> Result<Plan> {
    let shape = Shape::Constant { per_s };
    let main = Stage { name: "constant".into(), duration, shape, is_warmup: false };
    let mut stages = Vec::new();
    if !warmup.is_zero() {
        stages.push(Stage {
            name: "warm-up".into(),
            duration: warmup,
            is_warmup: true,
            ..main.clone()
        });
    }
    stages.push(main);
    Ok(Plan::new(stages, spacing, seed)?)
}

fn read_profile(path: &Path) -> Result<Profile> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Profile::parse(&path.display().to_string(), &text)?)
}

fn pace(args: &RunArgs, plan: Option<&Plan>, shard: Option<Shard>) -> Pace {
    match (plan, shard) {
        (Some(plan), None) => Pace::Open(plan.clone()),
        (Some(plan), Some(Shard { index, count })) => Pace::Open(plan.shard(index, count)),
        (None, _) => Pace::Closed {
            messages: args.messages,
            duration: match (args.duration, args.messages) {
                (None, None) => Some(Duration::from_secs(60)),
                (duration, _) => duration,
            },
            warmup: args.warmup.unwrap_or_default(),
        },
    }
}

fn check_ceiling(
    args: &RunArgs,
    plan: Option<&Plan>,
    targets: &Targets,
    connections: usize,
) -> Result<()> {
    let ask = Ask {
        peak_per_s: plan.map(Plan::peak_per_s),
        duration: plan.map(Plan::duration).or(args.duration),
        connections: connections.saturating_add(args.idle_connections) as u64,
    };
    let checked = safety::check_ceiling(&ask, targets.reach, args.yes_really);
    checked.map_err(|e| UsageError(e.to_string()).into())
}

/// Raises the limit of descriptors to the hard one; what is more than that is told before it fails in the middle.
fn check_descriptors(connections: usize, ui: &Ui) -> Result<()> {
    let limit = own::raise_descriptors().context("cannot raise the limit of open files")?;
    let needed = (connections as u64).saturating_add(DESCRIPTORS_BESIDE);
    if needed > limit {
        bail!(
            "{connections} connections need {needed} open files, and this process may have {limit}; \
             raise the hard limit (ulimit -Hn, LimitNOFILE=), or take fewer --connections"
        );
    }
    if needed > limit - limit / 10 {
        ui.warning(format!("{needed} of {limit} open files may be needed: that is nearly all"));
    }
    Ok(())
}

/// The same for all shards of one plan, another one for each other run.
fn run_id(args: &RunArgs, plan: Option<&Plan>, started: Timestamp) -> u64 {
    let digest = plan.map(Plan::digest).unwrap_or_default();
    let own = if args.shard.is_some() { 0 } else { std::process::id() };
    let text = format!("{digest} {} {started} {own}", args.seed);
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn letters(args: &RunArgs, run: u64, start: Timestamp, ui: &Ui) -> Result<Letters> {
    let senders = addresses("--senders", &args.senders)?;
    let recipients = addresses("--recipients", &args.recipients)?;
    let domains = recipients.domains();
    safety::check_recipient_domains(domains.iter().map(String::as_str), &args.recipient_domains)
        .map_err(|e| UsageError(e.to_string()))?;
    let per_message: PerMessage = args
        .recipients_per_message
        .parse()
        .map_err(|e| UsageError(format!("--recipients-per-message: {e}")))?;
    if per_message.most() > recipients.count() {
        return usage(&format!(
            "a message cannot have {} recipients of {}",
            per_message.most(),
            recipients.count()
        ));
    }
    let signer = signer(args)?;
    // What is below the heads must be so much smaller than what is asked for.
    let head_bytes = mean_head_bytes(&senders, &recipients, per_message, signer.as_ref());
    let templates = match &args.corpus {
        Some(dir) => {
            let corpus = corpus::corpus(dir)?;
            if corpus.skipped > 0 {
                ui.warning(format!(
                    "{} of {} files in {} cannot be used: {}",
                    corpus.skipped,
                    corpus.files,
                    dir.display(),
                    corpus.problems.join("; ")
                ));
            }
            corpus.templates
        }
        None => compose::templates(&sizes(args)?, args.seed, style(args), head_bytes)?,
    };
    let made = Letters::new(Ingredients {
        run,
        seed: args.seed,
        start,
        templates,
        senders,
        recipients,
        per_message,
        signer,
    });
    Ok(made?)
}

fn style(args: &RunArgs) -> Style {
    if args.plain { Style::Plain } else { Style::Mixed }
}

fn sizes(args: &RunArgs) -> Result<Sizes> {
    let (option, text) = match (&args.mix, &args.size) {
        (Some(mix), _) => ("--mix", mix.as_str()),
        (None, Some(size)) => ("--size", size.as_str()),
        (None, None) => ("--size", "4K"),
    };
    text.parse().map_err(|e| UsageError(format!("{option} {text}: {e}")).into())
}

/// A file if there is one of that name, else a pattern.
fn addresses(option: &str, text: &str) -> Result<Addresses> {
    let path = Path::new(text);
    let read = if path.is_file() { Addresses::read(path) } else { Addresses::parse(text) };
    read.map_err(|e| UsageError(format!("{option}: {e}")).into())
}

fn signer(args: &RunArgs) -> Result<Option<Signer>> {
    let (Some(who), Some(path)) = (&args.dkim, &args.dkim_key) else { return Ok(None) };
    let Some((selector, domain)) = who.split_once('@') else {
        return usage("--dkim is SELECTOR@DOMAIN, such as s1@example.org");
    };
    let pem =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let signer = Signer::from_pem(&pem, domain, selector);
    Ok(Some(signer.with_context(|| format!("cannot sign with {}", path.display()))?))
}

fn wire(args: &RunArgs, targets: &Targets) -> Result<Wire> {
    let limit = args.timeout;
    let limits = Limits {
        connect: limit,
        tls: limit,
        banner: limit,
        command: limit,
        data: limit,
        write: limit,
        end: limit,
        quit: limit.min(Duration::from_secs(5)),
    };
    if limit.is_zero() {
        return usage("--timeout: expected more than 0");
    }
    let hello = args.hello.clone().unwrap_or_else(|| "[127.0.0.1]".to_owned());
    if hello.is_empty() || hello.contains(|c: char| !c.is_ascii_graphic()) {
        return usage("--hello is one word: a host name, or an address in brackets");
    }
    let options = Options {
        protocol: if targets.is_lmtp { Protocol::Lmtp } else { Protocol::Esmtp },
        hello,
        pipelining: !args.no_pipelining,
        chunking: args.bdat,
        proxy: args.proxy.as_deref().map(proxy).transpose()?,
        tls: None,
        auth: None,
        is_plaintext_allowed: args.plain_auth,
        limits,
    };
    check_sources(&args.source, &targets.endpoints)?;
    Ok(Wire {
        endpoints: targets.endpoints.clone(),
        sources: args.source.clone(),
        options,
        tls: tls(args, targets)?,
        auth: credentials(args)?,
    })
}

/// Found here, and not by every connection.
fn check_sources(sources: &[IpAddr], endpoints: &[Endpoint]) -> Result<()> {
    for source in sources {
        UdpSocket::bind((*source, 0)).map_err(|e| {
            UsageError(format!("--source {source}: {e}; it must be an address of this machine"))
        })?;
        let is_other = |endpoint: &Endpoint| match endpoint {
            Endpoint::Tcp(to, _) => to.is_ipv4() != source.is_ipv4(),
            Endpoint::Unix(_) => true,
        };
        if endpoints.iter().any(is_other) {
            return usage(&format!(
                "--source {source} cannot reach every server of TARGET: one is of another kind of address"
            ));
        }
    }
    Ok(())
}

fn proxy(text: &str) -> Result<(Version, std::net::SocketAddr)> {
    let expected =
        || UsageError("--proxy is v1 or v2 and an address: v2:192.0.2.1:1234".to_owned());
    let (version, address) = text.split_once(':').ok_or_else(expected)?;
    let version = match version {
        "v1" => Version::V1,
        "v2" => Version::V2,
        _ => return Err(expected().into()),
    };
    Ok((version, address.parse().map_err(|_| expected())?))
}

fn tls(args: &RunArgs, targets: &Targets) -> Result<Option<TlsShares>> {
    let is_implicit = match (args.tls, targets.is_implicit_tls) {
        (Some(TlsKind::Starttls), true) => {
            return usage("smtps:// has TLS before the greeting, and no STARTTLS");
        }
        (Some(kind), _) => kind == TlsKind::Implicit,
        (None, true) => true,
        (None, false) => return no_tls(args),
    };
    let trust = trust(args)?;
    let server_name = args.tls_name.clone().unwrap_or_else(|| targets.host.clone());
    let secure = |is_resuming| {
        let tls = Tls::new(&trust, is_resuming, None)?;
        anyhow::Ok(Secure { tls, is_implicit, server_name: server_name.clone() })
    };
    let (full, resuming) = (secure(false)?, secure(true)?);
    let (share, resumed) = (args.tls_share.unwrap_or(1.0), args.tls_resumed.unwrap_or(0.0));
    Ok(Some(TlsShares { share, resumed, full, resuming }))
}

/// Options of TLS are of no use then, but for the server where mail is looked for.
fn no_tls(args: &RunArgs) -> Result<Option<TlsShares>> {
    let is_trust = args.tls_any || args.tls_ca.is_some() || args.tls_pin.is_some();
    let is_imaps = args.deliver.as_ref().is_some_and(|place| place.starts_with("imaps:"));
    let is_of_session =
        args.tls_share.is_some() || args.tls_resumed.is_some() || args.tls_name.is_some();
    if is_of_session || (is_trust && !is_imaps) {
        return usage("options of TLS need TLS: give --tls starttls, --tls implicit or smtps://");
    }
    Ok(None)
}

/// Whom to trust.
pub(super) fn trust(args: &RunArgs) -> Result<Trust> {
    Ok(match (&args.tls_ca, &args.tls_pin) {
        (Some(path), _) => {
            let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let roots = certificates(&pem);
            Trust::Roots(roots.with_context(|| format!("cannot use {}", path.display()))?)
        }
        (None, Some(pin)) => Trust::Pinned(fingerprint(pin)?),
        (None, None) if args.tls_any => Trust::Anybody,
        (None, None) => Trust::System,
    })
}

/// Hexadecimal digits, with colons or without.
fn fingerprint(text: &str) -> Result<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .unwrap_or_default();
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | d)).collect();
    if digits.len() != 64 {
        return usage("--tls-pin is the SHA-256 of a certificate: 64 hexadecimal digits");
    }
    bytes.try_into().map_err(|_| UsageError("--tls-pin: expected 32 bytes".to_owned()).into())
}

fn credentials(args: &RunArgs) -> Result<Vec<(Mechanism, Credentials)>> {
    let Some(path) = &args.users else { return Ok(Vec::new()) };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut mechanisms = Vec::new();
    for name in &args.auth {
        let all = Mechanism::ALL.map(Mechanism::name).join(", ");
        let mechanism = Mechanism::parse(name)
            .ok_or_else(|| UsageError(format!("--auth {name}: expected one of {all}")))?;
        mechanisms.push(mechanism);
    }
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((user, secret)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            bail!("{}: line {}: expected USER:PASSWORD", path.display(), at + 1);
        };
        let (user, secret) = (user.to_owned(), secret.to_owned());
        let credentials = Credentials { user, secret, authorize_as: None };
        all.extend(mechanisms.iter().map(|mechanism| (*mechanism, credentials.clone())));
    }
    if all.is_empty() {
        bail!("{} names no user; expected a USER:PASSWORD on each line", path.display());
    }
    Ok(all)
}

fn expect(args: &RunArgs) -> Result<String> {
    let text = match &args.expect {
        Some(text) => text.clone(),
        None => Objectives::usual(args.queue.is_some()).to_string(),
    };
    Objectives::parse(&text).map_err(|e| UsageError(format!("--expect: {e}")))?;
    Ok(text)
}

/// For logs, libraries, and watchers of mailboxes.
const DESCRIPTORS_BESIDE: u64 = 64;
