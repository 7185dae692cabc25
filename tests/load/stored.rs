//! What a store holds of a run, read by the test itself, and whether the account that `load` gives is that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// How many copies there are of each message, by run and index.
#[derive(Debug, Default)]
pub(crate) struct Stored(BTreeMap<(String, u64), u64>);

impl Stored {
    /// Of all mailboxes `STORE/DOMAIN/USER`. Others may write to them meanwhile.
    pub(crate) fn read(store: &Path) -> Self {
        let mut stored = Self::default();
        let inside = |path: &Path| {
            let entries = fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        for domain in inside(store) {
            for mailbox in inside(&domain) {
                for message in inside(&mailbox.join("new")) {
                    let bytes = fs::read(&message).unwrap();
                    let message = String::from_utf8_lossy(&bytes);
                    let marks = message.lines();
                    let mut marks = marks.filter_map(|line| line.strip_prefix("X-Mailrig-Load: "));
                    let mut words = marks.next().unwrap().split(' ');
                    let run = words.next().unwrap().to_owned();
                    let index = words.next().unwrap().parse().unwrap();
                    *stored.0.entry((run, index)).or_default() += 1;
                }
            }
        }
        stored
    }

    /// Messages, of all runs.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Copies of them.
    pub(crate) fn copies(&self) -> u64 {
        self.0.values().sum()
    }

    /// Insists that each message of a run became one thing, and that its account of what was delivered is what is here.
    #[track_caller]
    pub(crate) fn agrees(&self, document: &Value) {
        let count = |name: &str| document[name].as_u64().unwrap();
        let parts =
            ["accepted", "refused", "deferred", "failed", "unknown", "not_started", "not_retried"];
        let sum: u64 = parts.into_iter().map(count).sum();
        assert_eq!(sum, count("offered"), "not every message became one thing: {document}");
        // Nobody is left out because he waited in vain.
        assert_eq!(document["response_us"]["count"], count("offered"), "{document}");
        let run = document["run"].as_str().unwrap();
        let here = self.0.iter().filter(|((of, _), _)| of == run);
        let copies: u64 = here.clone().map(|(_, copies)| copies).sum();
        let delivery = &document["delivery"];
        let found = |name: &str| delivery[name].as_u64().unwrap();
        assert_eq!(found("delivered") + found("unknown_delivered"), copies, "{document}");
        for none in ["lost", "doubled", "corrupted", "unexpected", "untold", "unreadable"] {
            assert_eq!(found(none), 0, "{none}: {document}");
        }
        assert_eq!(found("expected"), count("recipients_accepted"), "{document}");
        let messages = here.count() as u64;
        let (accepted, unknown) = (count("accepted"), count("unknown"));
        assert!((accepted..=accepted + unknown).contains(&messages), "{messages}: {document}");
    }
}
