//! What must be there before the first step: who cannot be reached, and what a kernel cannot do, is no news that a drill
//! should have in its midst, when half of it is done.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::Command;
use crate::journal::Event;
use crate::scenario::{Action, Fault, NetworkFault, Step, Where};
use crate::world::{World, resolve};

/// Whether commands can be run somewhere.
pub(crate) async fn runs_commands(on: &Where) -> Result<(), String> {
    let command = Command::new(&["true".to_owned()], &BTreeMap::new(), on);
    let ran = command.run(LIMIT, std::future::pending()).await;
    let why = match ran {
        Ok(ran) if ran.code == Some(0) => return Ok(()),
        Ok(ran) => ran.last_words(),
        Err(e) => e.to_string(),
    };
    match on {
        Where::Ssh(target) => Err(format!(
            "{target}: {why}; ssh must let us in without asking anybody: see that `ssh -o BatchMode=yes {target} true` works"
        )),
        _ => Err(why),
    }
}

/// Whether a server greets.
pub(crate) async fn takes_mail(address: &str) -> Result<(), String> {
    let at = resolve(address)?;
    probe::smtp(at, LIMIT).await.map_err(|e| e.to_string())
}

/// Asks before the first step. A machine on which nothing could be undone ends the drill; a server that takes no mail
/// does not, for that may be what it is about, but it is said.
pub(crate) async fn check(world: &World) -> Result<(), String> {
    for (name, role) in &world.scenario.roles {
        if !matches!(role.on, Where::Local | Where::Node(_)) {
            let failed = |why: String| format!("role `{name}` runs no commands: {why}");
            runs_commands(&role.on).await.map_err(failed)?;
        }
        if let Some(address) = &role.smtp
            && let Err(why) = takes_mail(address).await
        {
            let text =
                format!("role `{name}` takes no mail at {address} before the first step: {why}");
            world.journal.note(Event::Note { text });
        }
    }
    let mut faults = Vec::new();
    slow(&world.scenario.steps, &mut faults);
    for (step, fault) in faults {
        // In a network that is there for this only.
        let argv = [
            "unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms",
        ];
        let argv = argv.map(str::to_owned);
        world.must(&argv, &world.place(Some(&fault.of))).await.map_err(|why| {
            format!(
                "step `{step}` makes packets late, for which the kernel of `{}` needs netem (sch_netem): {why}; leave \
                 out `latency` and `jitter`, or use a proxy's `latency_ms`",
                fault.of
            )
        })?;
    }
    Ok(())
}

/// Steps that make packets late.
fn slow<'s>(steps: &'s [Step], found: &mut Vec<(&'s str, &'s NetworkFault)>) {
    for step in steps {
        match &step.action {
            Action::Fault(Fault::Network(fault)) if fault.breaks_time() => {
                found.push((&step.name, fault));
            }
            Action::Parallel(steps) => slow(steps, found),
            _ => {}
        }
    }
}

/// Of one question.
const LIMIT: Duration = Duration::from_secs(15);
