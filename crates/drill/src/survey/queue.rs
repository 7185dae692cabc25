//! Reads queues without the help of whoever owns them: a dead server answers no question.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde::Deserialize;

use super::LONGEST;

/// What matters of an envelope in a queue of `mailrig serve`.
#[derive(Deserialize)]
pub(super) struct Envelope {
    /// Empty for the null path.
    pub(super) from: String,
    pub(super) to: Vec<String>,
}

/// Gives each message that waits with who is still to get it.
pub(super) fn read(dir: &Path, tell: &mut dyn FnMut(&Envelope, &[u8])) -> Result<(), String> {
    let failed =
        |path: &Path, e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
    let entries = fs::read_dir(dir).map_err(|e| failed(dir, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| failed(dir, &e))?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".envelope.json")) else {
            continue;
        };
        let message = read_file(&dir.join(format!("{id}.message")));
        let envelope = read_file(&entry.path());
        // It goes on its way while we look: the envelope is what is removed first.
        let (message, envelope) = match (message, envelope) {
            (Ok(message), Ok(envelope)) => (message, envelope),
            (_, Err(e)) if e.kind() == ErrorKind::NotFound => continue,
            (Err(e), _) if e.kind() == ErrorKind::NotFound && !entry.path().exists() => continue,
            (Err(e), _) | (_, Err(e)) => return Err(failed(&entry.path(), &e)),
        };
        let envelope: Envelope =
            serde_json::from_slice(&envelope).map_err(|e| failed(&entry.path(), &e))?;
        tell(&envelope, &message);
    }
    Ok(())
}

/// Gives each message of a folder of them.
pub(super) fn read_files(dir: &Path, tell: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let failed =
        |path: &Path, e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
    for entry in fs::read_dir(dir).map_err(|e| failed(dir, &e))? {
        let entry = entry.map_err(|e| failed(dir, &e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            match read_file(&entry.path()) {
                Ok(message) => tell(&message),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(failed(&entry.path(), &e)),
            }
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
