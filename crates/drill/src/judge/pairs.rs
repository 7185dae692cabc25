//! All messages for all their recipients, in one table that stays small: a million of them is a matter of some hundred
//! megabytes. Counts of copies stand in columns, one for each place, so that a place can be read again.

use std::collections::{HashMap, HashSet};

use super::class::{Said, There};
use crate::journal::{Begin, Place, PlaceKind};

/// A message for one of its recipients.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair {
    pub(super) message: u64,
    pub(super) recipient: u32,
    bytes: u32,
    /// When it was first accepted; `NEVER`: it was not.
    pub(super) accepted_us: u64,
    /// When it was first seen.
    seen_us: u64,
    ok: u16,
    info: u16,
    /// Attempts that have begun and have not come to their end.
    open: u16,
    expunged: u16,
    may_be_expunged: bool,
}

impl Pair {
    pub(super) fn is_accepted(&self) -> bool {
        self.ok > 0
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.bytes)
    }

    pub(super) fn seen_after_us(&self) -> Option<u64> {
        let is_known = self.is_accepted() && self.seen_us != NEVER;
        is_known.then(|| self.seen_us.saturating_sub(self.accepted_us))
    }

    pub(super) fn is_explained(&self, copies: u32) -> bool {
        copies <= u32::from(self.ok) + u32::from(self.info) + u32::from(self.open)
    }

    pub(super) fn said(&self, late_us: Option<u64>) -> Said {
        // An attempt whose end was never written down may have brought a copy.
        let info = self.info.saturating_add(self.open);
        let is_late = late_us.zip(self.seen_after_us()).is_some_and(|(limit, took)| took > limit);
        let (expunged, may_be_expunged) = (self.expunged, self.may_be_expunged);
        Said { ok: self.ok, info, expunged, may_be_expunged, is_late }
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Pairs {
    rows: Vec<Pair>,
    /// Where the rows of a message begin: messages are numbered from 0, and few are left out.
    firsts: Vec<u32>,
    /// Messages with a number far from all others.
    outliers: HashMap<u64, u32>,
    places: Vec<Place>,
    /// By place, three for each row: whole copies, others, and those that are known to be in an INBOX.
    columns: Vec<Vec<[u8; 3]>>,
    /// By place: copies in a mailbox whose message is for somebody else, by message.
    strays: Vec<HashMap<u64, u32>>,
    bounced: HashMap<(u64, Option<u32>), u32>,
    /// Those that wait in a queue of somebody who serves.
    waiting_bounces: HashSet<(u64, Option<u32>)>,
}

impl Pairs {
    pub(super) fn new(begin: &Begin) -> Self {
        Self {
            rows: Vec::new(),
            firsts: Vec::new(),
            outliers: HashMap::new(),
            places: begin.places.clone(),
            columns: vec![Vec::new(); begin.places.len()],
            strays: vec![HashMap::new(); begin.places.len()],
            bounced: HashMap::new(),
            waiting_bounces: HashSet::new(),
        }
    }

    pub(super) fn rows(&self) -> &[Pair] {
        &self.rows
    }

    /// The rows of a message; none: it was never sent.
    fn rows_of(&self, message: u64) -> std::ops::Range<usize> {
        let dense = usize::try_from(message).ok().and_then(|at| self.firsts.get(at).copied());
        let first =
            dense.filter(|first| *first != ABSENT).or_else(|| self.outliers.get(&message).copied());
        let Some(first) = first else { return 0..0 };
        let first = first as usize;
        let count = self.rows[first..].iter().take_while(|row| row.message == message).count();
        first..first + count
    }

    pub(super) fn is_known(&self, message: u64) -> bool {
        !self.rows_of(message).is_empty()
    }

    fn find(&mut self, message: u64, recipient: u32) -> Option<&mut Pair> {
        let rows = self.rows_of(message);
        self.rows[rows].iter_mut().find(|row| row.recipient == recipient)
    }

    /// An attempt begins. All recipients of a message are told with its first; a later one has none that are new.
    pub(super) fn begins(
        &mut self,
        message: u64,
        recipients: &[u32],
        bytes: u64,
    ) -> Result<(), Odd> {
        if !self.is_known(message) {
            self.insert(message, recipients, bytes)?;
        }
        for recipient in recipients {
            let row = self.find(message, *recipient).ok_or(Odd::Recipient(message))?;
            row.open = row.open.saturating_add(1);
        }
        Ok(())
    }

    fn insert(&mut self, message: u64, recipients: &[u32], bytes: u64) -> Result<(), Odd> {
        let first = u32::try_from(self.rows.len()).map_err(|_| Odd::TooMany)?;
        let at = usize::try_from(message).map_err(|_| Odd::TooMany)?;
        // By what was sent, and not by what a number says: a short journal takes little room.
        if at <= self.rows.len().saturating_mul(2).saturating_add(GAP) {
            if at >= self.firsts.len() {
                self.firsts.resize(at + 1, ABSENT);
            }
            self.firsts[at] = first;
        } else {
            self.outliers.insert(message, first);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.rows.extend(recipients.iter().map(|recipient| Pair {
            message,
            recipient: *recipient,
            bytes,
            accepted_us: NEVER,
            seen_us: NEVER,
            ..Pair::default()
        }));
        Ok(())
    }

    /// An attempt came to its end for one recipient.
    pub(super) fn ends(
        &mut self,
        message: u64,
        recipient: u32,
        t_us: u64,
        end: End,
    ) -> Result<(), Odd> {
        let row = self.find(message, recipient).ok_or(Odd::NoIntent(message))?;
        row.open = row.open.checked_sub(1).ok_or(Odd::NoIntent(message))?;
        match end {
            End::Ok => {
                row.ok = row.ok.saturating_add(1);
                row.accepted_us = row.accepted_us.min(t_us);
            }
            End::Info => row.info = row.info.saturating_add(1),
            End::Fail => {}
        }
        Ok(())
    }

    pub(super) fn seen(&mut self, message: u64, recipient: Option<u32>, t_us: u64) {
        let rows = self.rows_of(message);
        let is_its = |row: &&mut Pair| recipient.is_none_or(|recipient| row.recipient == recipient);
        for row in self.rows[rows].iter_mut().filter(is_its) {
            row.seen_us = row.seen_us.min(t_us);
        }
    }

    pub(super) fn expunged(&mut self, message: u64, recipient: u32) {
        if let Some(row) = self.find(message, recipient) {
            row.expunged = row.expunged.saturating_add(1);
        }
    }

    pub(super) fn may_be_expunged(&mut self, message: u64, recipient: u32) {
        if let Some(row) = self.find(message, recipient) {
            row.may_be_expunged = true;
        }
    }

    /// The recipient of a message that has one: what was put aside names nobody.
    pub(super) fn only(&self, message: u64) -> Option<u32> {
        let rows = self.rows_of(message);
        (rows.len() == 1).then(|| self.rows[rows.start].recipient)
    }

    /// What a look found is all there is: a bounce may be lost, too.
    pub(super) fn forget_bounces(&mut self) {
        self.bounced.clear();
        self.waiting_bounces.clear();
    }

    pub(super) fn bounce_waits(&mut self, message: u64, recipient: Option<u32>) {
        self.waiting_bounces.insert((message, recipient));
    }

    pub(super) fn bounced(&mut self, message: u64, recipient: Option<u32>) {
        *self.bounced.entry((message, recipient)).or_default() += 1;
    }

    /// A place is read from its beginning: what was there before does not count.
    pub(super) fn reads(&mut self, place: u16) {
        let at = usize::from(place);
        if let (Some(column), Some(strays)) = (self.columns.get_mut(at), self.strays.get_mut(at)) {
            column.clear();
            strays.clear();
        }
    }

    /// A copy that lies in a place of this run; false: nobody sent such a message.
    pub(super) fn found(
        &mut self,
        message: u64,
        recipient: Option<u32>,
        place: u16,
        is_bad: bool,
        is_in_inbox: bool,
    ) -> Result<bool, Odd> {
        let at = usize::from(place);
        if at >= self.columns.len() {
            return Err(Odd::Place(place));
        }
        let rows = self.rows_of(message);
        if rows.is_empty() {
            return Ok(false);
        }
        let row = rows.clone().find(|row| Some(self.rows[*row].recipient) == recipient);
        match row {
            Some(row) => {
                let column = &mut self.columns[at];
                if column.len() <= row {
                    column.resize(row + 1, [0; 3]);
                }
                let counts = &mut column[row];
                counts[usize::from(is_bad)] = counts[usize::from(is_bad)].saturating_add(1);
                counts[2] = counts[2].saturating_add(u8::from(is_in_inbox));
            }
            None => *self.strays[at].entry(message).or_default() += 1,
        }
        Ok(true)
    }

    /// What is there of a row, if `serving` are the roles that serve. Only places that `is_counted` are looked at.
    pub(super) fn there(
        &self,
        row: usize,
        serving: &[u16],
        is_counted: impl Fn(&Place) -> bool,
    ) -> There {
        let pair = &self.rows[row];
        let mut there = There::default();
        // Of places that show one store, the one that shows most tells how many copies there are.
        let mut stores = [0u32; MOST_STORES];
        for (at, place) in self.places.iter().enumerate() {
            if !is_counted(place) {
                continue;
            }
            let [good, bad, _] = self.columns[at].get(row).copied().unwrap_or_default();
            let (good, bad) = (u32::from(good), u32::from(bad));
            let is_serving = serving.contains(&place.role);
            if is_serving || place.kind == PlaceKind::Snapshot {
                let is_first = self.rows_of(pair.message).start == row;
                let strays = self.strays[at].get(&pair.message).copied().unwrap_or(0);
                there.corrupt += bad;
                // A message with several recipients is misdelivered once.
                there.misdelivered += if is_first { strays } else { 0 };
            }
            let store = usize::from(place.store).min(MOST_STORES - 1);
            match (place.kind, is_serving) {
                (PlaceKind::Mailbox, true) | (PlaceKind::Snapshot, _) => {
                    there.delivered += more(good, &mut stores[store]);
                }
                (PlaceKind::Queue, true) => there.pending += more(good, &mut stores[store]),
                (PlaceKind::Quarantine, true) => there.quarantined += good,
                (_, false) => there.stranded += good + bad,
            }
        }
        let bounces = [Some(pair.recipient), None].map(|to| self.bounced.get(&(pair.message, to)));
        there.bounced = bounces.into_iter().flatten().sum();
        let waits = |to: &Option<u32>| self.waiting_bounces.contains(&(pair.message, *to));
        if there.delivered + there.pending == 0 && [Some(pair.recipient), None].iter().any(waits) {
            there.pending = 1;
        }
        there
    }
}

impl Pairs {
    /// Pairs of places that show the mailboxes of one store to the same people, the one that is read first before the other:
    /// files before IMAP.
    pub(super) fn views(&self, serving: &[u16]) -> Vec<(usize, usize)> {
        let is_view =
            |place: &Place| place.kind == PlaceKind::Mailbox && serving.contains(&place.role);
        let all = || self.places.iter().enumerate().filter(|(_, place)| is_view(place));
        all()
            .flat_map(|(a, one)| {
                let is_other = move |b: usize, other: &Place| {
                    b > a && other.store == one.store && other.role == one.role
                };
                all().filter(move |(b, other)| is_other(*b, other)).map(move |(b, _)| (a, b))
            })
            .collect()
    }

    /// Copies of a row that lie in an INBOX, with a UID, and are not shown there by who was asked later.
    pub(super) fn hidden(&self, row: usize, (files, shown): (usize, usize)) -> u64 {
        if self.rows[row].may_be_expunged {
            // It may have gone between one look and the other.
            return 0;
        }
        let counts = |place: usize| self.columns[place].get(row).copied().unwrap_or_default();
        let ([.., inbox], [.., shown]) = (counts(files), counts(shown));
        inbox.saturating_sub(shown).into()
    }
}

/// What a place shows beyond what others of the same store have shown.
fn more(count: u32, shown: &mut u32) -> u32 {
    let more = count.saturating_sub(*shown);
    *shown += more;
    more
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Ok,
    Info,
    Fail,
}

/// What no journal of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// An end without a beginning.
    #[error("message {0} came to an end that no attempt of it had")]
    NoIntent(u64),
    /// Recipients do not change.
    #[error("message {0} was tried again for somebody else")]
    Recipient(u64),
    /// A place of which the beginning says nothing.
    #[error("there is no place {0}")]
    Place(u16),
    /// More than four billion.
    #[error("there are more messages than can be counted")]
    TooMany,
}

pub(super) const NEVER: u64 = u64::MAX;
const ABSENT: u32 = u32::MAX;
/// Numbers that may be missing in a row.
const GAP: usize = 1 << 16;
/// Of one scenario; a test holds it to that.
pub(crate) const MOST_STORES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_apart_take_no_room_for_those_between_them() {
        let mut pairs = Pairs::new(&Begin::default());
        let far = |n: u64| 60_000 << n;
        (0..12).for_each(|n| pairs.begins(far(n), &[0], 1).unwrap());
        assert!(pairs.firsts.len() < 2 * GAP, "{}", pairs.firsts.len());
        assert!((0..12).all(|n| pairs.is_known(far(n)) && !pairs.is_known(far(n) + 1)));
        // Those that follow each other all lie in the table.
        let mut pairs = Pairs::new(&Begin::default());
        (0..200_000).for_each(|n| pairs.begins(n, &[0], 1).unwrap());
        assert!(pairs.firsts.len() == 200_000 && pairs.outliers.is_empty());
    }
}
