//! Machines of the lab: a network namespace each, on one bridge with the drill's own. All of it hangs on processes with
//! the drill's mark, so that nothing of it outlives them: no name, no interface, no rule, whatever ends the drill.

use std::net::IpAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::marked::MARK;
use crate::owned::{self, Owned};
use crate::scenario::Where;
use crate::stack::Stack;
use crate::undo::Undo;
use crate::world::{NODES, OWN, World, lock};

/// Makes the network, when the drill has one of its own.
pub(crate) async fn build(world: &World, stack: &Stack) -> Result<(), String> {
    let lab = &world.scenario.lab;
    let Some(own) = &lab.network else { return Ok(()) };
    let here = Where::Local;
    let ip = async |on: &Where, words: &str| {
        let argv: Vec<String> = words.split(' ').map(str::to_owned).collect();
        world.must(&argv, on).await
    };
    ip(&here, "ip link set lo up").await?;
    ip(&here, &format!("ip link add name {BRIDGE} type bridge")).await?;
    ip(&here, &format!("ip address add {own} dev {BRIDGE}")).await?;
    ip(&here, &format!("ip link set {BRIDGE} up")).await?;
    let boot_id = owned::boot_id().map_err(|e| e.to_string())?;
    stack.arm("nodes", Undo::EndMarked { mark: world.mark(NODES), boot_id }).await?;
    // When the drill is killed, what was done here can still be undone here.
    let holder = started(world, &["sleep", "infinity"])?;
    lock(&world.nodes).insert(OWN.to_owned(), holder);
    let bits = own.split_once('/').map_or("24", |(_, bits)| bits);
    for (number, (name, addresses)) in lab.nodes.iter().enumerate() {
        let holder = hold(world).await.map_err(|why| format!("the node `{name}`: {why}"))?;
        let (pid, link) = (holder.pid, format!("node{number}"));
        lock(&world.nodes).insert(name.clone(), holder);
        let there = Where::Node(name.clone());
        ip(&here, &format!("ip link add {link} type veth peer name {INTERFACE} netns {pid}"))
            .await?;
        ip(&here, &format!("ip link set {link} master {BRIDGE} up")).await?;
        ip(&there, "ip link set lo up").await?;
        for address in addresses {
            ip(&there, &format!("ip address add {address}/{bits} dev {INTERFACE}")).await?;
        }
        ip(&there, &format!("ip link set {INTERFACE} up")).await?;
    }
    Ok(())
}

/// A process that does nothing but keep a network of its own.
async fn hold(world: &World) -> Result<Owned, String> {
    let owned = started(world, &["unshare", "--net", "sleep", "infinity"])?;
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let begun = Instant::now();
    // Until it has left ours, what is done to it is done to us.
    while network(&owned.pid.to_string()).is_none_or(|its| Some(its) == network("self")) {
        if !owned.is_there() || begun.elapsed() > PATIENCE {
            return Err("`unshare --net` made no network; it needs root".into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(owned)
}

/// A process of the network, with its mark.
fn started(world: &World, argv: &[&str]) -> Result<Owned, String> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let mut builder = world.command(&argv, &Default::default(), &Where::Local).process();
    builder.env(MARK, world.mark(NODES)).stdout(Stdio::null()).stderr(Stdio::null());
    builder.kill_on_drop(false);
    let mut child = builder.spawn().map_err(|e| format!("cannot start `{}`: {e}", argv[0]))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let owned = pid.and_then(|pid| Owned::of(pid).ok());
    let owned = owned.ok_or_else(|| format!("`{}` ended at once", argv[0]))?;
    tokio::spawn(async move { child.wait().await });
    Ok(owned)
}

/// Whether `address/bits` holds another address.
pub(crate) fn is_within(network: &str, address: &str) -> Option<bool> {
    let (own, bits) = network.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    let number = |address: &str| match address.parse().ok()? {
        IpAddr::V4(v4) => Some((32, u128::from(u32::from(v4)))),
        IpAddr::V6(v6) => Some((128, u128::from(v6))),
    };
    let ((width, own), (other_width, other)) = (number(own)?, number(address)?);
    if bits > width || bits == 0 {
        return None;
    }
    Some(width == other_width && own >> (width - bits) == other >> (width - bits))
}

const BRIDGE: &str = "drill";
/// What a node's way out is called in it.
pub(crate) const INTERFACE: &str = "eth0";
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses() {
        for (network, address, expected) in [
            ("10.77.0.1/24", "10.77.0.200", Some(true)),
            ("10.77.0.1/24", "10.77.1.2", Some(false)),
            ("10.77.0.1/16", "10.77.1.2", Some(true)),
            ("10.77.0.1/33", "10.77.1.2", None),
            ("10.77.0.1", "10.77.1.2", None),
            ("fd00::1/64", "fd00::2", Some(true)),
            ("fd00::1/64", "10.77.0.1", Some(false)),
            ("fd00::1/64", "x", None),
        ] {
            assert_eq!(is_within(network, address), expected, "{network} {address}");
        }
    }
}
