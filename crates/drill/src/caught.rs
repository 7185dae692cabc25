//! Panics. A bug in one part must not keep a fault in place, and a run in which a part fell over passes nothing: what that
//! part would have seen is unknown.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::journal::Event;
use crate::world::World;

/// What a future comes to; an error, if it panics. What it held is dropped; what it shared with others is theirs: locks
/// are taken whether or not they are poisoned.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(panic) => Poll::Ready(Err(told(&*panic))),
    })
    .await
}

/// For a task beside the run: when it panics, the run ends.
pub(crate) async fn guarded(world: Arc<World>, work: impl Future<Output = ()>) {
    if let Err(why) = caught(work).await {
        // When it is at its end already, stopping is not enough.
        world.journal.note(Event::Aborted { why: why.clone() });
        world.stop.stop(&why);
    }
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason");
    format!("a bug in mailrig, please report it: it panicked: {text}")
}

/// Where the title of a scenario asks for it, a test's bug.
#[cfg(test)]
pub(crate) fn planted(world: &World, place: &str) {
    assert_ne!(world.scenario.title, format!("a bug in {place}"), "planted");
}

#[cfg(not(test))]
pub(crate) fn planted(_: &World, _: &str) {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    use load::letters::{Addresses, Ingredients, Letters, PerMessage, Template};
    use load::plan::{Plan, Shape, Spacing, Stage};

    use crate::judge::Word;
    use crate::{Setup, Stop, analyze, run, scenario};

    const SCENARIO: &str = r#"version = 1
title = "a bug in PLACE"
[lab]
ports = ["a"]
folders = ["store"]
[lab.processes.a]
run = ["sleep", "600"]
ready = { command = { argv = ["true"] } }
[roles.a]
smtp = "127.0.0.1:${port.a}"
store = { maildirs = "${lab}/store" }
serves = true
[services.a]
probe = { tcp = "127.0.0.1:${port.a}" }
[traffic]
rate = "50/s"
recipients = "u1@drill.test"
to = ["a"]
retry = []
baseline = "200ms"
recovered = "RECOVERED"
drain = "1s"
[[undo]]
argv = ["touch", "${logs}/undone"]
[[steps]]
name = "wait"
run = { argv = ["true"], undo = ["cp", "/proc/self/status", "${logs}/undone-too"] }
"#;

    fn setup(home: &Path) -> Setup {
        // It stands above processes, and holds them.
        let program = home.join("mailrig");
        fs::write(&program, "#!/bin/sh\nshift 3\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let letters = Letters::new(Ingredients {
            run: 7,
            seed: 7,
            start: jiff::Timestamp::UNIX_EPOCH,
            templates: vec![(1.0, Template::new(b"Subject: x\r\n\r\nx\r\n").unwrap())],
            senders: Addresses::parse("s@drill.test").unwrap(),
            recipients: Addresses::parse("u1@drill.test").unwrap(),
            per_message: PerMessage::ONE,
            signer: None,
            observed: None,
        });
        let stage = Stage {
            name: "traffic".into(),
            duration: Duration::from_secs(600),
            shape: Shape::Constant { per_s: 50.0 },
            is_warmup: false,
        };
        Setup {
            dir: home.join("run"),
            name: "bug".into(),
            run: rand_run(),
            letters: letters.unwrap().into(),
            recipients: vec!["u1@drill.test".into()],
            plan: Plan::new(vec![stage], Spacing::Poisson, 7).unwrap(),
            program,
            variable: |_| None,
            tool_version: "0".into(),
            person: |_| Ok(String::new()),
            told: None,
        }
    }

    /// Marks of processes are of the whole machine.
    fn rand_run() -> u64 {
        let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        nanos ^ u64::from(std::process::id()) << 40
    }

    #[tokio::test]
    async fn whatever_falls_over_everything_is_undone_and_nothing_passes() {
        for (place, recovered) in
            [("a step", "200ms"), ("a message", "5m"), ("a service", "5m"), ("nothing", "200ms")]
        {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("run");
            let text = SCENARIO.replace("PLACE", place).replace("RECOVERED", recovered);
            let loaded = scenario::load("x.toml", &text, &[]).unwrap();
            let setup = setup(home.path());
            let mark = format!("{:016x}.a", setup.run);
            let left = run(loaded, setup, Stop::default()).await.unwrap();
            assert_eq!(left, [], "{place}");
            let is_planted = place != "nothing";
            let result = analyze(&dir).unwrap().result;
            assert_eq!(result.verdict, Word::Unknown, "{place}: {}", result.sentence);
            let aborted = result.aborted.unwrap_or_default();
            assert_eq!(aborted.contains("planted"), is_planted, "{place}: {aborted}");
            assert!(!dir.join("lab").exists() && dir.join("logs/undone").exists(), "{place}");
            // A step that did not begin has nothing to undo.
            assert_eq!(dir.join("logs/undone-too").exists(), !is_planted, "{place}");
            for process in fs::read_dir("/proc").unwrap().flatten() {
                let environ = fs::read(process.path().join("environ")).unwrap_or_default();
                let environ = String::from_utf8_lossy(&environ);
                assert!(!environ.contains(&mark), "{place}: {:?}", process.path());
            }
        }
    }
}
