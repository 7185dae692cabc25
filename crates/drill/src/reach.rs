//! How a role is reached: what a connection to it needs of TLS, names and secrets. A password goes in plain text to this
//! machine and to the lab only, from where nothing leads out.

use std::time::Duration;

use load::deliver::{ImapReader, Place};
use smtp::client::{Client, Endpoint, Limits, Options, Secure};
use smtp::sasl::{Credentials, Mechanism};
use smtp::tls::{Trust, certificates};

use crate::nodes::is_within;
use crate::scenario::{Imap, Scenario, Submission, Tls, Values};
use crate::world::resolve;

/// A server that takes mail.
pub(crate) struct Server {
    /// `HOST:PORT`.
    pub(crate) address: String,
    pub(crate) options: Options,
}

impl Server {
    /// Where a role takes mail of strangers.
    pub(crate) fn of_strangers(
        role: &str,
        scenario: &Scenario,
        hello: &str,
        patience: Duration,
    ) -> Result<Self, String> {
        let facts = scenario.roles.get(role);
        let address = facts.and_then(|facts| facts.smtp.clone());
        let address = address.ok_or_else(|| format!("role `{role}` takes no mail"))?;
        let tls = facts.and_then(|facts| facts.tls.as_ref());
        let tls = tls.map(|tls| secure(tls, &address)).transpose()?;
        let limits = Limits::all(patience);
        Ok(Self { options: Options { limits, tls, ..Options::new(hello) }, address })
    }

    /// Where a role takes mail for submission.
    pub(crate) fn of_members(
        role: &str,
        scenario: &Scenario,
        values: &Values,
        patience: Duration,
    ) -> Result<Self, String> {
        let submission = scenario.roles.get(role).and_then(|facts| facts.submission.as_ref());
        let submission =
            submission.ok_or_else(|| format!("role `{role}` takes no mail for submission"))?;
        let Submission { address, user, password, tls } = submission;
        let tls = tls.as_ref().map(|tls| secure(tls, address)).transpose()?;
        let credentials = Credentials {
            user: user.clone(),
            secret: secret(password, values)?,
            authorize_as: None,
        };
        let options = Options {
            limits: Limits::all(patience),
            auth: Some((Mechanism::Plain, credentials)),
            is_plaintext_allowed: tls.is_none() && is_near(address, scenario)?,
            tls,
            ..Options::new("submission.drill.test")
        };
        Ok(Self { address: address.clone(), options })
    }

    /// Whether it greets, and lets us in.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        let endpoint = Endpoint::Tcp(resolve(&self.address)?, None);
        let client = Client::connect(&endpoint, &self.options).await;
        client.map_err(|e| format!("{}: {e}", self.address))?.quit().await;
        Ok(())
    }
}

/// A place where people read their mail.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    host: String,
    port: u16,
    imap: Imap,
    password: String,
    tls: Option<smtp::tls::Tls>,
}

impl Reading {
    pub(crate) fn of(role: &str, scenario: &Scenario, values: &Values) -> Result<Self, String> {
        let imap = scenario.roles.get(role).and_then(|facts| facts.imap.clone());
        let imap = imap.ok_or_else(|| format!("role `{role}` has no `imap`"))?;
        let (host, port) =
            imap.address.rsplit_once(':').ok_or_else(|| format!("{} has no port", imap.address))?;
        let (host, port) = (host.trim_matches(['[', ']']).to_owned(), port.parse());
        let port = port.map_err(|e| format!("{}: {e}", imap.address))?;
        let tls = imap.tls.as_ref().map(client_tls).transpose()?;
        let password = secret(&imap.password, values)?;
        Ok(Self { host, port, imap, password, tls })
    }

    /// Whether both lead to the same mailboxes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.imap == other.imap
    }

    /// Those in which mail may lie, beside INBOX.
    pub(crate) fn folders(&self) -> &[String] {
        &self.imap.folders
    }

    /// A session of a person.
    pub(crate) async fn log_in(&self, address: &str) -> Result<ImapReader, String> {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        let user = self.imap.user.replace("%u", address).replace("%n", local).replace("%d", domain);
        let is_tls = self.imap.tls.as_ref().is_some_and(|tls| tls.implicit);
        let (host, folder) = (self.host.clone(), INBOX.to_owned());
        let place = Place { user, host, port: self.port, folder, is_tls };
        let session = ImapReader::log_in(&place, &self.password, self.tls.as_ref()).await;
        session.map_err(|e| format!("{}: {e}", self.imap.address))
    }

    /// Whether a person gets at his mail.
    pub(crate) async fn ask(&self, address: &str) -> Result<(), String> {
        let mut session = self.log_in(address).await?;
        let opened = session.examine(INBOX).await;
        opened.map_err(|e| format!("{}: {e}", self.imap.address))?;
        session.log_out().await;
        Ok(())
    }
}

/// TLS for a connection to `HOST:PORT`.
pub(crate) fn secure(tls: &Tls, address: &str) -> Result<Secure, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    let server_name = tls.name.clone().unwrap_or(host);
    Ok(Secure { tls: client_tls(tls)?, is_implicit: tls.implicit, server_name })
}

fn client_tls(tls: &Tls) -> Result<smtp::tls::Tls, String> {
    let trust = match &tls.ca {
        _ if tls.any => Trust::Anybody,
        None => Trust::System,
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
            Trust::Roots(certificates(&pem).map_err(|e| format!("cannot use {path}: {e}"))?)
        }
    };
    smtp::tls::Tls::new(&trust, false, None).map_err(|e| e.to_string())
}

fn secret(name: &str, values: &Values) -> Result<String, String> {
    let value = values.get(&format!("secret.{name}"));
    value.map(str::to_owned).ok_or_else(|| format!("there is no secret `{name}`"))
}

fn is_near(address: &str, scenario: &Scenario) -> Result<bool, String> {
    let ip = resolve(address)?.ip();
    let network = scenario.lab.network.as_deref();
    let is_of_lab = network.is_some_and(|net| is_within(net, &ip.to_string()) == Some(true));
    Ok(is_of_lab || load::safety::is_loopback(ip))
}

pub(crate) const INBOX: &str = "INBOX";
