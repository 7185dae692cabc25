//! A program with a limit of time whose output is taken in as it comes and never kept whole. It leads a process group of
//! its own, so that a shell's children end with it.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::QueueError;

/// Takes in output.
pub(super) trait Sink {
    fn take(&mut self, bytes: &[u8]);
}

/// Runs it to its end; `name` is what errors call it, the words themselves by default.
pub(super) async fn run<S: Sink>(
    argv: &[&str],
    name: Option<&str>,
    limit: Duration,
    mut sink: S,
) -> Result<S, QueueError> {
    let command = || shown(name.map_or_else(|| argv.join(" "), str::to_owned));
    let (program, arguments) = argv.split_first().unwrap_or((&"", &[]));
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| QueueError::Start { command: command(), source })?;
    let mut group = Group(child);
    let mut stderr = Head::default();
    let ended = tokio::time::timeout(limit, group.run(&mut sink, &mut stderr)).await;
    match ended {
        Err(_) => Err(QueueError::Slow { command: command(), limit }),
        Ok(Err(source)) => Err(QueueError::Read { command: command(), source }),
        Ok(Ok(status)) if status.success() => Ok(sink),
        Ok(Ok(status)) => {
            let line = stderr.text().lines().next().unwrap_or("it said nothing").trim().to_owned();
            Err(QueueError::Failed { command: command(), status, stderr: line })
        }
    }
}

/// Stopped as a whole when dropped.
struct Group(Child);

impl Group {
    async fn run(
        &mut self,
        stdout: &mut impl Sink,
        stderr: &mut Head,
    ) -> std::io::Result<std::process::ExitStatus> {
        let out = self.0.stdout.take();
        let err = self.0.stderr.take();
        tokio::try_join!(drain(out, stdout), drain(err, stderr))?;
        self.0.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: the number may be another's by then.
        let leader = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            // It may have ended by itself just now.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn drain(from: Option<impl AsyncRead + Unpin>, sink: &mut impl Sink) -> std::io::Result<()> {
    let Some(mut from) = from else {
        return Ok(());
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            read => sink.take(&buffer[..read]),
        }
    }
}

fn shown(command: String) -> String {
    match command.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &command[..end]),
        None => command,
    }
}

/// The first of an output.
#[derive(Debug, Default)]
pub(super) struct Head(String);

impl Sink for Head {
    fn take(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES.saturating_sub(self.0.len());
        self.0.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(room)]));
    }
}

impl Head {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// The last line of an output.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: Lines,
    last: String,
}

impl Sink for Tail {
    fn take(&mut self, bytes: &[u8]) {
        let last = &mut self.last;
        self.lines.take(bytes, |line| *last = String::from_utf8_lossy(line).trim().to_owned());
    }
}

impl Tail {
    /// The last that is not empty, cut where it is long.
    pub(super) fn last_line(&self) -> &str {
        &self.last
    }
}

/// The starts of the lines of an output, whatever the pieces it comes in.
#[derive(Debug, Default)]
pub(super) struct Lines {
    start: Vec<u8>,
}

impl Lines {
    /// Calls for each line that is complete and not empty.
    pub(super) fn take(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = START_BYTES.saturating_sub(self.start.len());
            self.start.extend_from_slice(&text[..text.len().min(room)]);
            if is_whole {
                if !self.start.trim_ascii().is_empty() {
                    line(&self.start);
                }
                self.start.clear();
            }
        }
    }
}

const BUFFER_BYTES: usize = 32 << 10;
const KEPT_BYTES: usize = 4 << 10;
const START_BYTES: usize = 200;
const SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[ab \n]{0,60}", at in any::<prop::sample::Index>()) {
            let lines_of = |pieces: &[&[u8]]| {
                let mut lines = Lines::default();
                let mut found = Vec::new();
                for piece in pieces {
                    lines.take(piece, |line| found.push(line.to_vec()));
                }
                found
            };
            let (first, second) = text.as_bytes().split_at(at.index(text.len() + 1));
            prop_assert_eq!(lines_of(&[text.as_bytes()]), lines_of(&[first, second]));
        }

        #[test]
        fn memory_is_bounded(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..9)) {
            let (mut head, mut tail) = (Head::default(), Tail::default());
            for piece in &pieces {
                head.take(piece);
                tail.take(piece);
            }
            // What is no UTF-8 takes three bytes each.
            prop_assert!(head.text().len() <= 3 * KEPT_BYTES);
            prop_assert!(tail.last_line().len() <= 3 * START_BYTES);
        }
    }
}
