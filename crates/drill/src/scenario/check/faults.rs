//! Whether faults can be what a scenario says of them: what they break is there, and may be broken.

use super::{Check, size};
use crate::proxy::Rule;
use crate::scenario::parse::hint;
use crate::scenario::{Fault, NetworkFault, ProxyFault, Scenario, Where};

impl Check<'_> {
    pub(super) fn fault(&self, fault: &Fault, place: &str) -> Result<(), String> {
        match fault {
            Fault::Kill(name) | Fault::Stop(name) | Fault::Pause(name) | Fault::Resume(name) => {
                self.process(name, place)
            }
            Fault::Proxy(fault) => self.proxy(fault, place),
            Fault::Network(fault) => self.network(fault, place),
            Fault::Fill(fill) => size(&fill.leave, place),
            Fault::Empty(_) => Ok(()),
            Fault::Clock(clock) => {
                self.process(&clock.process, place)?;
                let process = self.scenario.lab.processes.get(&clock.process);
                match process.and_then(|process| process.clock.as_ref()) {
                    Some(_) => Ok(()),
                    None => Err(format!(
                        "{place}: process `{}` sees this machine's own clock, which is never set; give it `clock`, the \
                         path of libfaketime's library",
                        clock.process
                    )),
                }
            }
        }
    }

    fn network(&self, fault: &NetworkFault, place: &str) -> Result<(), String> {
        let Scenario { lab, roles, .. } = self.scenario;
        let is_known = |name: &str| lab.nodes.contains_key(name) || roles.contains_key(name);
        for name in std::iter::once(&fault.of).chain(&fault.from) {
            let is_address = name != &fault.of && name.parse::<std::net::IpAddr>().is_ok();
            if !is_known(name) && !is_address && !name.contains("${") {
                let hint = hint(name, lab.nodes.keys().chain(roles.keys()).map(String::as_str));
                return Err(format!("{place}: there is no role or node `{name}`{hint}"));
            }
        }
        let on = roles.get(&fault.of).map(|role| &role.on);
        if on.is_some_and(|on| *on == Where::Local) {
            return Err(format!(
                "{place}: role `{}` is on this machine, whose own network is never touched; put it into a node \
                 (`lab.nodes`, `on = {{ node = … }}`) or a network namespace",
                fault.of
            ));
        }
        if on.is_some_and(|on| crate::faults::cuts_itself_off(fault, on)) {
            return Err(format!("{place}: that cuts off ssh, too; say `from` whom"));
        }
        let ways = [fault.drop, fault.reset, fault.loss_percent.is_some()];
        if ways.iter().filter(|is| **is).count() > 1 {
            return Err(format!("{place}: one of `drop`, `reset` and `loss_percent`, not several"));
        }
        if fault.loss_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            return Err(format!("{place}: `loss_percent` is from 1 to 100"));
        }
        Ok(())
    }

    fn proxy(&self, fault: &ProxyFault, place: &str) -> Result<(), String> {
        let proxies = &self.scenario.lab.proxies;
        if !proxies.contains_key(&fault.name) {
            let hint = hint(&fault.name, proxies.keys().map(String::as_str));
            return Err(format!("{place}: the lab has no proxy `{}`{hint}", fault.name));
        }
        fault.rules.iter().try_for_each(Rule::check).map_err(|why| format!("{place}: {why}"))
    }
}
