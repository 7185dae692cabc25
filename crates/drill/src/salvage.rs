//! Brings what waits in a dead role's queue to somebody who serves: each message is read from the queue's own files and
//! handed over as its server would have done. The queue stays as it is; who starts that server again must empty it first.

use std::time::{Duration, Instant};

use smtp::client::{Client, Endpoint, Limits, Options};
use smtp::{Address, Content, Envelope, Outcome};

use crate::scenario::Queue;
use crate::survey::{self, Waiting};
use crate::world::resolve;

/// What was brought over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Salvaged {
    /// Messages, once for each recipient, that were accepted.
    pub(crate) accepted: u64,
    /// Those that were not, or of which nobody knows.
    pub(crate) left: u64,
}

/// Hands everything over, within `limit`.
pub(crate) async fn salvage(queue: &Queue, to: &str, limit: Duration) -> Result<Salvaged, String> {
    let (queue, begun) = (queue.clone(), Instant::now());
    let (waiting_to, mut waiting) = tokio::sync::mpsc::channel(READ_AHEAD);
    let read = tokio::task::spawn_blocking(move || {
        survey::read_queue(&queue, &mut |one| waiting_to.blocking_send(one).is_ok())
    });
    let mut salvaged = Salvaged::default();
    let mut client = None;
    while let Some(one) = waiting.recv().await {
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(format!(
                "{} brought over, and no time was left for the rest",
                salvaged.accepted
            ));
        }
        let handed = tokio::time::timeout(left, hand_over(&mut client, to, &one)).await;
        let outcomes = handed.map_err(|_| "it took too long".to_owned())??;
        for outcome in outcomes {
            let count =
                if outcome.is_accepted() { &mut salvaged.accepted } else { &mut salvaged.left };
            *count += 1;
        }
    }
    match read.await.map_err(|e| e.to_string())?? {
        true => Ok(salvaged),
        false => Err(format!(
            "{} brought over, but somebody works on that queue: stop its server first",
            salvaged.accepted
        )),
    }
}

async fn hand_over(
    client: &mut Option<Client>,
    to: &str,
    one: &Waiting,
) -> Result<Vec<Outcome>, String> {
    let address = |text: &String| Address::parse(text).map_err(|e| format!("{text}: {e}"));
    let from = if one.from.is_empty() { None } else { Some(address(&one.from)?) };
    let recipients =
        one.to.iter().map(|to| address(to).map(Into::into)).collect::<Result<_, _>>()?;
    let envelope = Envelope { from, to: recipients, ..Envelope::default() };
    let open = match client.take().filter(Client::is_open) {
        Some(open) => open,
        None => {
            let options =
                Options { limits: Limits::all(PATIENCE), ..Options::new("salvage.drill.test") };
            let endpoint = Endpoint::Tcp(resolve(to)?, None);
            Client::connect(&endpoint, &options).await.map_err(|e| format!("{to}: {e}"))?
        }
    };
    let open = client.insert(open);
    Ok(open.send(&envelope, &[&Content::new(&on_the_wire(&one.message))], None).await)
}

/// Queues keep lines as their system does; over the wire each ends in CR LF, or a dot on a line of its own ends the message.
fn on_the_wire(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 32);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                wire.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                wire.extend_from_slice(b"\r\n");
            }
            None => wire.extend_from_slice(line),
        }
    }
    wire
}

/// Messages in memory beside the one that is handed over.
const READ_AHEAD: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_the_wire_has_them() {
        for (queued, wire) in [
            ("a\n.\nb\n", "a\r\n.\r\nb\r\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\n\nb", "a\r\n\r\nb"),
            ("", ""),
        ] {
            assert_eq!(on_the_wire(queued.as_bytes()), wire.as_bytes());
        }
    }
}
