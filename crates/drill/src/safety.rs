//! What a scenario touches outside of this machine's loopback and of the lab: that must be said by name before anything
//! happens, and what is protected is never touched. Hosts of commands are found as far as a command shows them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::named;
use crate::nodes::is_within;
use crate::scenario::{Action, Loaded, Probe, Run, Scenario, Step, Where};

/// Why a scenario may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It names hosts, and nobody said that they may be touched.
    #[error(
        "the scenario touches {}: if they are yours and this is what you want, say so with --yes-affect {name}",
        list(hosts)
    )]
    NotSaid {
        /// What is to be typed: the scenario's name.
        name: String,
        /// The hosts.
        hosts: Vec<String>,
    },
    /// What was typed is another name.
    #[error("--yes-affect {typed}: this scenario is called {name}")]
    OtherName {
        /// What was typed.
        typed: String,
        /// The scenario's name.
        name: String,
    },
    /// A host is protected.
    #[error("{0} is protected by the scenario, which names it elsewhere, too: nothing is done")]
    Protected(String),
}

/// Hosts outside of loopback, of this machine's namespaces and of the lab, in order.
pub fn foreign_hosts(loaded: &Loaded) -> Vec<String> {
    let scenario = &loaded.scenario;
    let mut hosts = Hosts { found: named::hosts(&loaded.tree) };
    hosts.scenario(scenario);
    // From the lab's own network nothing leads out of it.
    hosts.found.into_iter().filter(|host| !is_here(host) && !is_of_lab(scenario, host)).collect()
}

fn is_of_lab(scenario: &Scenario, host: &str) -> bool {
    let network = scenario.lab.network.as_deref();
    network.is_some_and(|network| is_within(network, host) == Some(true))
}

/// Addresses that outlive a run, and which two drills must not touch at one time.
pub fn targets(loaded: &Loaded) -> Vec<String> {
    let scenario = &loaded.scenario;
    let mut targets = foreign_hosts(loaded);
    let own = |role: &crate::scenario::Role| {
        let submission = role.submission.as_ref().map(|submission| submission.address.clone());
        let imap = role.imap.as_ref().map(|imap| imap.address.clone());
        let stores =
            [&role.store, &role.snapshot].map(|store| Some(store.as_ref()?.maildirs.clone()));
        [role.smtp.clone(), submission, imap].into_iter().chain(stores)
    };
    let named = scenario.roles.values().flat_map(own).flatten();
    // What the lab makes is this run's alone, and so is what has its name in the lab's own network.
    let is_made = |text: &String| text.contains("${") || is_of_lab(scenario, host_of(text));
    targets.extend(named.filter(|text| !is_made(text)));
    targets.sort();
    targets.dedup();
    targets
}

/// Whether nothing in it names a host that is protected.
pub fn check_protected(loaded: &Loaded) -> Result<(), NotAllowed> {
    let named = named::protected_in(&loaded.tree, &loaded.scenario.protected);
    named.map_or(Ok(()), |host| Err(NotAllowed::Protected(host.clone())))
}

/// Whether a scenario of this name may run.
pub fn check(loaded: &Loaded, name: &str, yes_affect: Option<&str>) -> Result<(), NotAllowed> {
    check_protected(loaded)?;
    let hosts = foreign_hosts(loaded);
    match yes_affect {
        Some(typed) if typed != name => {
            Err(NotAllowed::OtherName { typed: typed.to_owned(), name: name.to_owned() })
        }
        None if !hosts.is_empty() => Err(NotAllowed::NotSaid { name: name.to_owned(), hosts }),
        _ => Ok(()),
    }
}

struct Hosts {
    found: BTreeSet<String>,
}

impl Hosts {
    fn scenario(&mut self, scenario: &Scenario) {
        for role in scenario.roles.values() {
            self.place(&role.on);
            role.addresses().for_each(|address| self.address(address));
        }
        let services = scenario.services.values().map(|service| &service.probe);
        let ready = scenario.lab.processes.values().map(|process| &process.ready);
        for proxy in scenario.lab.proxies.values() {
            [&proxy.listen, &proxy.to].into_iter().for_each(|address| self.address(address));
        }
        for probe in services.chain(ready).chain(&scenario.steady) {
            self.probe(probe);
        }
        self.steps(&scenario.steps);
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            match &step.action {
                Action::WaitUntil(wait) => self.probe(&wait.probe),
                Action::Expect(probe) => self.probe(probe),
                Action::Parallel(steps) => self.steps(steps),
                Action::Promote(promote) | Action::Failback(promote) => {
                    let sockets = promote.haproxy.iter().map(|told| &told.socket);
                    sockets.filter(|socket| !socket.contains('/')).for_each(|at| self.address(at));
                }
                _ => {}
            }
        }
    }

    fn probe(&mut self, probe: &Probe) {
        match probe {
            Probe::Tcp(address) | Probe::Smtp(address) | Probe::Certificate { address, .. } => {
                self.address(address);
            }
            // Where it runs is a role's.
            Probe::Command(Run { .. })
            | Probe::File(_)
            | Probe::Queue { .. }
            | Probe::Lag { .. }
            | Probe::Imap(_)
            | Probe::Submission(_)
            | Probe::Dns { .. }
            | Probe::Disk { .. }
            | Probe::Snapshot { .. } => {}
        }
    }

    fn place(&mut self, place: &Where) {
        match place {
            Where::Local | Where::Namespace(_) | Where::Node(_) => {}
            Where::Ssh(target) => {
                let host = target.rsplit('@').next().unwrap_or(target);
                self.found.insert(host.to_owned());
            }
            Where::Container(prefix) => {
                self.found.insert(prefix.join(" "));
            }
        }
    }

    fn address(&mut self, address: &str) {
        self.found.insert(host_of(address).to_owned());
    }
}

/// Of `HOST:PORT`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(load::safety::is_loopback)
}

fn list(hosts: &[String]) -> String {
    hosts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn scenario(role: &str, more: &str) -> Loaded {
        let text = format!(
            "version = 1\ntitle = 'x'\n{more}\n[secrets.x]\nenv = 'X'\n[roles.a]\nserves = true\n{role}\n\
             [traffic]\nrate = '1/s'\nrecipients = 'u@drill.test'\nto = ['a']\n"
        );
        scenario::load("x.toml", &text, &[]).unwrap()
    }

    #[test]
    fn hosts_outside_must_be_said_by_the_scenarios_name() {
        for (role, hosts) in [
            ("smtp = '127.0.0.1:25'", &[][..]),
            ("smtp = '[::1]:25'", &[]),
            ("smtp = 'localhost:25'", &[]),
            ("smtp = '127.0.0.1:25'\non = { namespace = 'p' }", &[]),
            ("smtp = '192.0.2.1:25'", &["192.0.2.1"]),
            ("smtp = 'mx1.example.org:25'", &["mx1.example.org"]),
            ("smtp = '127.0.0.1:25'\non = { ssh = 'root@mx1' }", &["mx1"]),
            (
                "smtp = '127.0.0.1:25'\non = { container = ['podman', 'exec', 'mx1'] }",
                &["podman exec mx1"],
            ),
            (
                "smtp = '127.0.0.1:25'\nimap = { address = '192.0.2.2:143', password = 'x' }",
                &["192.0.2.2"],
            ),
        ] {
            let scenario = scenario(role, "");
            assert_eq!(foreign_hosts(&scenario), hosts, "{role}");
            assert_eq!(check(&scenario, "x", None).is_ok(), hosts.is_empty(), "{role}");
            assert_eq!(check(&scenario, "x", Some("x")), Ok(()), "{role}");
            assert!(matches!(check(&scenario, "x", Some("y")), Err(NotAllowed::OtherName { .. })));
        }
        let error = check(&scenario("smtp = 'mx1.example.org:25'", ""), "x", None).unwrap_err();
        assert!(error.to_string().ends_with("--yes-affect x"), "{error}");
    }

    #[test]
    fn what_is_protected_is_never_touched() {
        for (role, protected) in [
            ("smtp = 'mx1.example.org:25'", "MX1.example.org"),
            ("smtp = '127.0.0.1:25'", "127.0.0.1"),
        ] {
            let scenario = scenario(role, &format!("protected = ['{protected}']"));
            let refused = check(&scenario, "x", Some("x"));
            assert_eq!(refused, Err(NotAllowed::Protected(protected.into())));
        }
    }

    #[test]
    fn what_commands_talk_to_is_touched() {
        let role = "smtp = '127.0.0.1:25'";
        for (more, hosts) in [
            ("steps = [{ name = 'x', mailrig = ['load', 'mx1:25'] }]", &["mx1"][..]),
            ("steps = [{ name = 'x', mailrig = ['load', '127.0.0.1:25'] }]", &[]),
            (
                "steps = [{ name = 'x', run = { argv = ['true'], undo = ['ssh', 'mx1', 'true'] } }]",
                &["mx1"],
            ),
            ("undo = [{ argv = ['ssh', 'mx1'] }]", &["mx1"]),
            (
                "lab = { ports = ['p'], proxies = { p = { listen = '127.0.0.1:${port.p}', to = 'mx1:25' } } }",
                &["mx1"],
            ),
            (
                "steps = [{ name = 'x', promote = { to = 'a', haproxy = { socket = 'mx1:9999' } } }]",
                &["mx1"],
            ),
            (
                "steps = [{ name = 'x', promote = { to = 'a', haproxy = { socket = '/run/x' } } }]",
                &[],
            ),
        ] {
            assert_eq!(foreign_hosts(&scenario(role, more)), hosts, "{more}");
        }
    }

    #[test]
    fn two_drills_meet_where_what_they_touch_outlives_them() {
        let fixed = scenario("smtp = '127.0.0.1:25'\nstore = { maildirs = '/srv/mail' }", "");
        assert_eq!(targets(&fixed), ["/srv/mail", "127.0.0.1:25"]);
        let lab = scenario("smtp = '127.0.0.1:${port.x}'", "lab = { ports = ['x'] }");
        assert_eq!(targets(&lab), Vec::<String>::new());
        let network = "lab = { network = '10.77.0.1/24' }";
        assert_eq!(targets(&scenario("smtp = '10.77.0.2:25'", network)), Vec::<String>::new());
    }
}
