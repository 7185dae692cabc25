//! Reads the secrets that a scenario names, before anything else is done. A command that prints one has no terminal to ask
//! at, and a file may be a pipe; both have a limit of time: nobody sits there at night.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::command::Command;
use crate::scenario::{Scenario, Secret, Where};
use crate::world::Stop;

/// Their values, by name; or why one of them cannot be had.
pub(crate) async fn read(
    scenario: &Scenario,
    variable: fn(&str) -> Option<String>,
    stop: &Stop,
) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for (name, secret) in &scenario.secrets {
        let value = one(secret, variable, stop).await;
        let value = value.and_then(|value| match value.as_str() {
            "" => Err("it is empty".to_owned()),
            _ => Ok(value),
        });
        values.insert(name.clone(), value.map_err(|why| format!("the secret `{name}`: {why}"))?);
    }
    Ok(values)
}

async fn one(
    secret: &Secret,
    variable: fn(&str) -> Option<String>,
    stop: &Stop,
) -> Result<String, String> {
    match secret {
        Secret::File(path) => {
            let text = within_limit(path, stop).await?;
            let text = text.map_err(|e| format!("cannot read {path}: {e}"))?;
            first_line(&text).map_err(|why| format!("{path}: {why}"))
        }
        Secret::Env(name) => variable(name).ok_or_else(|| format!("the environment has no {name}")),
        Secret::Command(argv) => {
            let program = argv.first().ok_or("its command is empty")?;
            let command = Command::new(argv, &BTreeMap::new(), &Where::Local);
            let ran = command.run(LIMIT, stop.asked()).await.map_err(|e| e.to_string())?;
            match ran.code {
                Some(0) => {
                    first_line(ran.stdout.as_bytes()).map_err(|why| format!("{program}: {why}"))
                }
                code => Err(format!(
                    "{program} ended with {}: {}",
                    code.map_or("a signal".to_owned(), |code| code.to_string()),
                    ran.last_words()
                )),
            }
        }
    }
}

/// What begins a file, unless that takes too long.
async fn within_limit(path: &str, stop: &Stop) -> Result<io::Result<Vec<u8>>, String> {
    let (give, taken) = oneshot::channel();
    let from = path.to_owned();
    // A pipe to which nobody writes keeps it for ever; the program ends beside such a thread, and not beside one of tokio's.
    thread::spawn(move || give.send(beginning(&from)));
    tokio::select! {
        text = taken => text.map_err(|e| format!("cannot read {path}: {e}")),
        () = tokio::time::sleep(LIMIT) => {
            Err(format!("{path}: nothing came from it for {}", crate::human(LIMIT)))
        }
        () = stop.asked() => Err(format!("{path}: nothing came from it until the drill stopped")),
    }
}

fn beginning(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn first_line(text: &[u8]) -> Result<String, String> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LONGEST {
        return Err(format!("its first line is longer than {LONGEST} bytes"));
    }
    String::from_utf8(line.to_vec()).map_err(|_| "its first line is no UTF-8".to_owned())
}

/// For one of them.
const LIMIT: Duration = Duration::from_secs(60);
/// A secret, in bytes.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(secret: Secret) -> Result<String, String> {
        one(&secret, |name| (name == "HERE").then(|| "from afar".to_owned()), &Stop::default())
            .await
    }

    #[tokio::test]
    async fn the_first_line_is_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret").to_string_lossy().into_owned();
        std::fs::write(&path, "pass word\r\nrest").unwrap();
        assert_eq!(ask(Secret::File(path)).await.unwrap(), "pass word");
        assert_eq!(ask(Secret::Env("HERE".into())).await.unwrap(), "from afar");
        let command = ["printf", "one\\ntwo"].map(str::to_owned).to_vec();
        assert_eq!(ask(Secret::Command(command)).await.unwrap(), "one");
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_told() {
        let failed = [
            (Secret::File("/nowhere/at/all".into()), "cannot read /nowhere/at/all"),
            (Secret::File("/dev/zero".into()), "/dev/zero: its first line is longer than"),
            (Secret::Env("GONE".into()), "the environment has no GONE"),
            (Secret::Command(vec![]), "its command is empty"),
            (Secret::Command(vec!["/nowhere".into()]), "cannot run /nowhere"),
            (
                Secret::Command(
                    ["sh", "-c", "echo no key >&2; exit 3"].map(str::to_owned).to_vec(),
                ),
                "sh ended with 3: no key",
            ),
        ];
        for (secret, expected) in failed {
            let why = ask(secret).await.unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
    }

    /// One that waits for somebody is ended when the drill is: it would hold all up.
    #[tokio::test]
    async fn one_that_hangs_ends_with_the_drill() {
        let stop = Stop::default();
        stop.stop("it was interrupted");
        let hangs = Secret::Command(["sleep", "1000"].map(str::to_owned).to_vec());
        let why = one(&hangs, |_| None, &stop).await.unwrap_err();
        assert!(why.contains("because the drill stops"), "{why}");

        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe").to_string_lossy().into_owned();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let why = one(&Secret::File(pipe), |_| None, &stop).await.unwrap_err();
        assert!(why.ends_with("nothing came from it until the drill stopped"), "{why}");
    }
}
