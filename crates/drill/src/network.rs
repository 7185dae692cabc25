//! What is wrong with a network: a table of nft or a queueing discipline that carries the drill's name, on the machine of
//! a role. Nothing else there is read, changed or removed, and a foreign discipline is not replaced but complained of.

use std::net::IpAddr;

use crate::nodes::INTERFACE;
use crate::scenario::{NetworkFault, Scenario};

/// The commands that do it, and those that undo it and look: each for a shell on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commands {
    pub(crate) apply: Vec<Vec<String>>,
    pub(crate) undo: Vec<String>,
    pub(crate) undone: Vec<String>,
}

/// What `fault` means for the run.
pub(crate) fn commands(
    fault: &NetworkFault,
    scenario: &Scenario,
    run: &str,
) -> Result<Commands, String> {
    let table = format!("mailrig_drill_{run}");
    let interface = fault.interface.as_deref().unwrap_or(INTERFACE);
    // Of what was there before, nothing is left; that it may not be there is no failure.
    let gone = format!("add table inet {table}; delete table inet {table};");
    let mut apply = Vec::new();
    let peers = fault.from.iter().map(|name| addresses(name, scenario));
    let peers = peers.collect::<Result<Vec<_>, _>>()?.concat();
    let rules = rules(fault, &peers, &table);
    apply.push(vec!["nft".to_owned(), format!("{gone}{rules}")]);
    let slow =
        |show: &str| format!("tc qdisc show dev {interface} root | grep -q ' {HANDLE}: ' {show}");
    let mended = slow(&format!("&& tc qdisc del dev {interface} root handle {HANDLE}: || true"));
    if fault.breaks_time() || fault.is_mended() {
        apply.push(shell(&mended));
    }
    if fault.breaks_time() {
        let delay = |span: &crate::scenario::Span| format!("{}us", span.0.as_micros());
        let latency = fault.latency.as_ref().map_or("0us".into(), delay);
        let mut words = vec!["tc", "qdisc", "add", "dev", interface, "root", "handle"];
        let handle = format!("{HANDLE}:");
        words.extend([&handle, "netem", "delay", &latency]);
        let jitter = fault.jitter.as_ref().map(delay);
        words.extend(jitter.as_deref());
        apply.push(words.into_iter().map(str::to_owned).collect());
    }
    let undo = shell(&format!("nft '{gone}' && {{ {mended}; }}"));
    let undone =
        shell(&format!("! nft list table inet {table} 2>/dev/null && ! {{ {}; }}", slow("")));
    Ok(Commands { apply, undo, undone })
}

fn shell(line: &str) -> Vec<String> {
    ["sh", "-c", line].map(str::to_owned).to_vec()
}

fn rules(fault: &NetworkFault, peers: &[IpAddr], table: &str) -> String {
    let effect = match (fault.reset, fault.drop, fault.loss_percent) {
        (true, ..) => "meta l4proto tcp reject with tcp reset".to_owned(),
        (_, true, _) => "drop".to_owned(),
        (_, _, Some(percent)) => format!("numgen random mod 100 < {percent} drop"),
        (false, false, None) => return String::new(),
    };
    let list = |of: &dyn Fn(&IpAddr) -> bool| {
        let some: Vec<String> =
            peers.iter().filter(|peer| of(peer)).map(ToString::to_string).collect();
        (!some.is_empty()).then(|| format!("{{ {} }}", some.join(", ")))
    };
    let ports = fault.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("add table inet {table};");
    for (chain, hook, side, link) in
        [("heard", "input", "saddr", "iifname"), ("said", "output", "daddr", "oifname")]
    {
        text += &format!(
            "add chain inet {table} {chain} {{ type filter hook {hook} priority -150; }};"
        );
        if fault.reset {
            // What resets a connection comes through here itself.
            text += &format!("add rule inet {table} {chain} tcp flags & rst == rst accept;");
        }
        let mut whom = Vec::new();
        whom.extend(list(&IpAddr::is_ipv4).map(|some| format!("ip {side} {some} ")));
        whom.extend(list(&IpAddr::is_ipv6).map(|some| format!("ip6 {side} {some} ")));
        if peers.is_empty() {
            whom.push(format!("{link} != \"lo\" "));
        }
        for whom in &whom {
            if ports.is_empty() {
                text += &format!("add rule inet {table} {chain} {whom}{effect};");
            }
            for end in ["dport", "sport"].iter().filter(|_| !ports.is_empty()) {
                let which = format!("meta l4proto {{ tcp, udp }} th {end} {{ {ports} }} ");
                text += &format!("add rule inet {table} {chain} {whom}{which}{effect};");
            }
        }
    }
    text
}

/// The addresses of a node or role, or an address itself.
fn addresses(name: &str, scenario: &Scenario) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    if let Some(addresses) = scenario.lab.nodes.get(name) {
        let parse = |address: &String| address.parse().map_err(|e| format!("{address}: {e}"));
        return addresses.iter().map(parse).collect();
    }
    let role = scenario.roles.get(name).ok_or_else(|| format!("there is no role `{name}`"))?;
    let mut found = Vec::new();
    for address in role.addresses() {
        let address = crate::world::resolve(address)?.ip();
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// Of our discipline; nobody else's looks like it.
const HANDLE: &str = "6d72";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn scenario() -> Scenario {
        let text = "version = 1\ntitle = 'x'\n[lab]\nnetwork = '10.7.0.1/24'\nnodes = { a = ['10.7.0.2'] }\n\
            [roles.a]\nserves = true\nsmtp = '10.7.0.9:25'\nimap = { address = '10.7.0.9:143', password = 'x' }\n\
            [secrets]\nx = { env = 'X' }\n[traffic]\nrate = '1/s'\nrecipients = 'u@drill.test'\nto = ['a']\n";
        scenario::load("x.toml", text, &[]).unwrap().scenario
    }

    fn applied(fault: &str) -> Vec<String> {
        let fault: NetworkFault = toml::from_str(fault).unwrap();
        let commands = commands(&fault, &scenario(), "7").unwrap();
        commands.apply.iter().map(|argv| argv.join(" ")).collect()
    }

    #[test]
    fn rules_are_the_drills_own_and_name_whom_they_are_for() {
        let all = applied("of = 'a'\nfrom = ['10.7.0.3', 'fd00::3']\ndrop = true\n");
        let gone = "nft add table inet mailrig_drill_7; delete table inet mailrig_drill_7;";
        assert!(all[0].starts_with(gone) && all.len() == 1, "{all:?}");
        for rule in [
            "add rule inet mailrig_drill_7 heard ip saddr { 10.7.0.3 } drop;",
            "add rule inet mailrig_drill_7 said ip6 daddr { fd00::3 } drop;",
        ] {
            assert!(all[0].contains(rule), "{all:?}");
        }
        let names = applied("of = 'a'\nfrom = ['a']\nloss_percent = 10\n");
        assert!(names[0].contains("{ 10.7.0.2 } numgen random mod 100 < 10 drop"), "{names:?}");
        let port = applied("of = 'a'\nports = [53]\nreset = true\n");
        let rule = "said oifname != \"lo\" meta l4proto { tcp, udp } th dport { 53 } meta l4proto tcp reject";
        assert!(port[0].contains(rule), "{port:?}");
        let slow = applied("of = 'a'\nlatency = '20ms'\njitter = '5ms'\n");
        assert_eq!(slow[0], gone);
        assert_eq!(slow[2], "tc qdisc add dev eth0 root handle 6d72: netem delay 20000us 5000us");
        assert_eq!(applied("of = 'a'\n").len(), 2);
    }
}
