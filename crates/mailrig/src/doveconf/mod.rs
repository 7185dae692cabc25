//! Dovecot's own settings, by running `doveconf -n`: bounded in time and in what it may print.

mod places;
mod settings;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) use self::places::{Keys, Places};
use self::settings::Settings;

/// What Dovecot says, and of itself.
pub(crate) struct Dovecot {
    pub(crate) places: Places,
    pub(crate) version: String,
    /// The folder of its configuration.
    pub(crate) configuration: PathBuf,
}

/// Asks `doveconf`: the given one, else the one that is found.
pub(crate) fn ask(program: Option<&Path>) -> Result<Dovecot> {
    let text = match program {
        Some(program) => run(program).with_context(|| format!("running {}", program.display()))?,
        None => run_found()?,
    };
    let settings = Settings::parse(&text);
    let version = settings.version.clone().unwrap_or_else(|| "of an unknown version".into());
    let file = settings.file.as_ref().map_or(Path::new(CONFIGURATION), Path::new);
    let configuration = file.parent().filter(|dir| dir.is_absolute());
    let places = places::places(&settings).map_err(|refused| snapshot::Error::ForeignDriver {
        driver: refused.driver,
        setting: refused.setting,
    })?;
    let default = Path::new(CONFIGURATION).parent().unwrap_or(Path::new("/"));
    Ok(Dovecot { places, version, configuration: configuration.unwrap_or(default).to_owned() })
}

fn run_found() -> Result<String> {
    for program in ["doveconf", "/usr/bin/doveconf", "/usr/sbin/doveconf"] {
        match run(Path::new(program)) {
            Err(e) if is_not_found(&e) => {}
            other => return other.with_context(|| format!("running {program}")),
        }
    }
    bail!("doveconf is not found; name it by --doveconf")
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn run(program: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.arg("-n").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (sender, outputs) = channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    ];
    for (number, pipe) in pipes.into_iter().enumerate() {
        let (sender, Some(pipe)) = (sender.clone(), pipe) else { continue };
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = pipe.take(OUTPUT_BYTES).read_to_end(&mut bytes);
            // Nobody listens after the time limit.
            let _ = sender.send((number, read.map(|_| bytes)));
        });
    }
    let deadline = Instant::now() + TIME_LIMIT;
    let mut texts = [String::new(), String::new()];
    for _ in 0..2 {
        let Ok((number, read)) =
            outputs.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        else {
            stop(&mut child);
            bail!(too_late());
        };
        let bytes = read?;
        if bytes.len() as u64 == OUTPUT_BYTES {
            stop(&mut child);
            bail!("it prints more than {} KiB", OUTPUT_BYTES >> 10);
        }
        texts[number] = String::from_utf8_lossy(&bytes).into_owned();
    }
    let Some(status) = wait_until(&mut child, deadline)? else {
        stop(&mut child);
        bail!(too_late());
    };
    let [text, complaint] = texts;
    if !status.success() {
        match complaint.trim() {
            "" => bail!("it failed ({status}), and says nothing on standard error"),
            complaint => bail!("it failed ({status}): {complaint}"),
        }
    }
    if text.trim().is_empty() {
        bail!("it printed nothing: is it doveconf? Name the right one by --doveconf");
    }
    Ok(text)
}

/// Waits for the end of a program that has closed its pipes; `None` if it lives on.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() >= deadline {
            return Ok(ended);
        }
        thread::sleep(PAUSE);
    }
}

fn too_late() -> String {
    format!("it has not ended after {} s", TIME_LIMIT.as_secs())
}

/// Ends a program that is not waited for any longer.
fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Its pipes are closed, so it has ended as good as always.
const PAUSE: Duration = Duration::from_millis(5);
const TIME_LIMIT: Duration = Duration::from_secs(10);
const OUTPUT_BYTES: u64 = 1 << 20;
const CONFIGURATION: &str = "/etc/dovecot/dovecot.conf";
