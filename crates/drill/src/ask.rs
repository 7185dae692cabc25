//! Asks one question about something that lives, and says why the answer is no. Nothing is changed by asking.

use std::time::Duration;

use jiff::{Timestamp, Unit};
use load::letters::parse_bytes;
use smtp::client::{Client, Endpoint, Limits, Options, Secure};

use crate::reach::{Reading, Server, secure};
use crate::scenario::{Probe, Run, Tls};
use crate::world::{World, lock, resolve};

impl World {
    /// Asks once.
    pub(crate) async fn ask(&self, probe: &Probe, limit: Duration) -> Result<(), String> {
        let asked = tokio::time::timeout(limit, self.answer(probe, limit)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {}", crate::human(limit))))
    }

    async fn answer(&self, probe: &Probe, limit: Duration) -> Result<(), String> {
        match probe {
            Probe::Tcp(address) => {
                probe::tcp(resolve(address)?, limit).await.map_err(|e| format!("{address}: {e}"))
            }
            Probe::Smtp(address) => {
                probe::smtp(resolve(address)?, limit).await.map_err(|e| format!("{address}: {e}"))
            }
            Probe::Submission(role) => {
                let server = Server::of_members(role, &self.scenario, &lock(&self.values), limit)?;
                server.ask().await
            }
            Probe::Imap(role) => {
                let reading = Reading::of(role, &self.scenario, &lock(&self.values))?;
                let first = self.recipients.iter().min_by_key(|(_, r)| **r);
                let (person, _) = first.ok_or("mail is for nobody")?;
                reading.ask(person).await
            }
            Probe::Dns { name, is } => named(name, is.as_deref()).await,
            Probe::Certificate { address, days, tls } => {
                certificate(address, *days, tls, limit).await
            }
            Probe::Disk { folder, free } => disk(folder, free),
            Probe::Snapshot { repository, younger_than, verified } => {
                self.snapshot(repository, younger_than.0, *verified, limit).await
            }
            Probe::Command(run) => self.run(run, limit).await.map(|_| ()),
            Probe::File(path) => match tokio::fs::metadata(path).await {
                Ok(_) => Ok(()),
                Err(e) => Err(format!("{path}: {e}")),
            },
            Probe::Queue { of, at_most } => {
                let role = self.scenario.roles.get(of);
                let queue = role.and_then(|role| Some((role.queue.as_ref()?, &role.on)));
                let (queue, on) = queue.ok_or_else(|| format!("{of} has no queue"))?;
                let waiting = crate::survey::queue_length(self, queue, on).await?;
                let is_short = waiting <= *at_most;
                is_short.then_some(()).ok_or_else(|| format!("{waiting} messages wait at {of}"))
            }
            Probe::Lag { of, behind, at_most } => {
                let lag = crate::lag::lag(self, of, behind).await?;
                let is_close = lag <= *at_most;
                is_close
                    .then_some(())
                    .ok_or_else(|| format!("{of} is {lag} messages behind {behind}"))
            }
        }
    }

    /// As an administrator would look.
    async fn snapshot(
        &self,
        repository: &str,
        younger_than: Duration,
        is_verified: bool,
        limit: Duration,
    ) -> Result<(), String> {
        let mailrig = async |words: &[&str]| {
            let argv = ["mailrig"].iter().chain(words).map(|word| (*word).to_owned()).collect();
            self.run(&Run { argv, ..Run::default() }, limit).await
        };
        let listed = mailrig(&["snapshots", repository, "--json", "--quiet"]).await?;
        let listed: serde_json::Value =
            serde_json::from_str(&listed.stdout).map_err(|e| format!("{repository}: {e}"))?;
        let times = listed["snapshots"].as_array().into_iter().flatten();
        let times = times.filter_map(|one| one["time"].as_str()?.parse::<Timestamp>().ok());
        let last = times.max().ok_or_else(|| format!("{repository} has no snapshot"))?;
        let age = Timestamp::now().since((Unit::Second, last)).map_err(|e| e.to_string())?;
        let age = Duration::from_secs(u64::try_from(age.get_seconds()).unwrap_or(0));
        if age > younger_than {
            return Err(format!("the last snapshot in {repository} is {} old", crate::human(age)));
        }
        if is_verified {
            mailrig(&["verify", repository, "latest", "--quiet"]).await?;
        }
        Ok(())
    }
}

async fn named(name: &str, is: Option<&str>) -> Result<(), String> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|e| format!("{name}: {e}"))?;
    let found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
    match is {
        None if !found.is_empty() => Ok(()),
        Some(is) if found.iter().any(|one| one == is) => Ok(()),
        _ => Err(format!("{name} is {}", found.join(", "))),
    }
}

/// Whether the certificate is good today and will be then, by a handshake of each day.
async fn certificate(address: &str, days: u32, tls: &Tls, limit: Duration) -> Result<(), String> {
    let now = secure(tls, address)?;
    let later = now.tls.ahead(Duration::from_secs(u64::from(days) * 86_400));
    for (secure, when) in [(now.clone(), "today"), (Secure { tls: later, ..now }, "then")] {
        let options = Options {
            limits: Limits::all(limit),
            tls: Some(secure),
            ..Options::new("probe.drill.test")
        };
        let endpoint = Endpoint::Tcp(resolve(address)?, None);
        let client = Client::connect(&endpoint, &options).await;
        client.map_err(|e| format!("{address}, {when}: {e}"))?.quit().await;
    }
    Ok(())
}

fn disk(folder: &str, free: &str) -> Result<(), String> {
    let wanted = parse_bytes(free).map_err(|e| format!("{free}: {e}"))?;
    let facts = rustix::fs::statvfs(folder).map_err(|e| format!("{folder}: {e}"))?;
    let is = facts.f_bavail * facts.f_frsize;
    let enough = is >= wanted;
    enough.then_some(()).ok_or_else(|| format!("the disk of {folder} has {is} bytes free"))
}
