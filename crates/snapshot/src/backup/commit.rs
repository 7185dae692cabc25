//! Makes mailboxes durable in groups and in order: packs and keys first, then the catalogs that
//! name them, then the host's state that builds on those. A kill between any two leaves a
//! repository that an older manifest describes exactly.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use super::alarm::Expunged;
use super::context::Context;
use super::ledger::{Ledger, NAMED_MAX};
use super::mailbox::{Outcome, Work};
use super::remarks::Remarks;
use crate::error::Result;
use crate::layout::{catalog_name, mailbox_prefix};
use crate::manifest::{CatalogRef, Totals};
use crate::progress::Progress;

/// All outcomes together.
#[derive(Default)]
pub(crate) struct Committed {
    pub(crate) catalogs: BTreeMap<String, CatalogRef>,
    pub(crate) totals: Totals,
    pub(crate) work: Work,
    pub(crate) changed: u64,
    /// What happened in mailboxes, and is in their catalogs.
    pub(crate) recorded: Ledger,
    /// What else happened.
    pub(crate) ledger: Ledger,
    pub(crate) remarks: Remarks,
    pub(crate) alarms: Vec<Expunged>,
    /// Why mailboxes were listed without Dovecot's lock: how many, and the first reasons.
    pub(crate) unlocked: (u64, Vec<String>),
}

/// Commits what arrives until the last sender is gone, or one mailbox fails.
pub(crate) fn run(
    context: &Context<'_>,
    outcomes: &Receiver<Result<Outcome>>,
) -> Result<Committed> {
    let mut committed = Committed::default();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    for outcome in outcomes {
        let outcome = outcome?;
        match &outcome.body {
            Some(body) => {
                group_bytes += body.size_bytes;
                group.push(outcome);
            }
            None => committed.add(context, outcome),
        }
        if group.len() >= GROUP_MAX || group_bytes >= GROUP_BYTES {
            commit(context, &mut group, &mut committed)?;
            group_bytes = 0;
        }
    }
    commit(context, &mut group, &mut committed)?;
    Ok(committed)
}

fn commit(
    context: &Context<'_>,
    group: &mut Vec<Outcome>,
    committed: &mut Committed,
) -> Result<()> {
    context.progress.check()?;
    let store = context.repository.store();
    for outcome in &mut *group {
        for ticket in outcome.tickets.drain(..) {
            ticket.wait()?;
        }
    }
    store.sync()?;
    let mut tickets = Vec::new();
    for outcome in &mut *group {
        let (Some(body), Some(catalog)) = (outcome.body.take(), &outcome.catalog) else { continue };
        let key = format!("{}{}", mailbox_prefix(&outcome.id), catalog_name(&catalog.catalog));
        let progress = context.progress;
        let bytes = body.size_bytes;
        tickets.push(context.uploads.submit(bytes, move || {
            store.put(&key, body)?;
            Progress::add(&progress.stored_bytes, bytes);
            Ok(())
        }));
    }
    for ticket in tickets {
        ticket.wait()?;
    }
    store.sync()?;
    for outcome in group.drain(..) {
        context.state.commit_mailbox(&outcome.id)?;
        committed.changed += u64::from(!outcome.is_tree);
        committed.add(context, outcome);
    }
    Ok(())
}

impl Committed {
    /// Takes an alarm; its mailbox is in the ledger already.
    pub(crate) fn sound(&mut self, alarm: Option<Expunged>) {
        self.alarms.extend(alarm.filter(|_| self.alarms.len() < NAMED_MAX));
    }

    fn add(&mut self, context: &Context<'_>, outcome: Outcome) {
        Progress::add(&context.progress.units_done, 1);
        if let Some(catalog) = outcome.catalog {
            self.totals.mailboxes += u64::from(!outcome.is_tree);
            self.totals.trees += u64::from(outcome.is_tree);
            self.totals.messages += outcome.messages;
            self.totals.bytes += outcome.bytes;
            self.catalogs.insert(outcome.id, CatalogRef { tree: outcome.is_tree, ..catalog });
        }
        self.work.add(&outcome.work);
        self.remarks.merge(outcome.remarks);
        let ledger = if outcome.is_recorded { &mut self.recorded } else { &mut self.ledger };
        ledger.merge(outcome.ledger);
        self.sound(outcome.alarm);
        if let Some(reason) = outcome.unlocked {
            self.unlocked.0 += 1;
            if self.unlocked.1.len() < NAMED_MAX {
                self.unlocked.1.push(reason);
            }
        }
    }
}

/// How many mailboxes become durable together, at most.
const GROUP_MAX: usize = 256;

/// Bytes of catalogs that wait for it in memory.
const GROUP_BYTES: u64 = 16 << 20;
