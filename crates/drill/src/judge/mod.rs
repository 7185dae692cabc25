//! From a journal to a verdict. It takes event after event and holds no more than a table of messages, so that the run
//! itself, and whoever reads its journal years later, come to the same. Nothing here looks at the world.

mod class;
mod marks;
mod pairs;
#[cfg(test)]
mod tests;
mod uids;
mod verdict;

use std::collections::{BTreeMap, HashMap};

pub use self::class::{Class, Said, There, class};
pub use self::marks::{Clock, Marks, Stable};
pub use self::pairs::Odd;
use self::pairs::{End, Pairs};
use self::uids::Uids;
pub use self::uids::{Breach, Continuity};
pub use self::verdict::{Criterion, Example, Loss, Messages, Outage, Result, Word};
use crate::journal::{Begin, Done, Event, Intent, Moment, PlaceKind, Survey};
use crate::reach::INBOX;

/// Takes events, in the order of the journal.
#[derive(Debug)]
pub struct Judge {
    begin: Begin,
    pairs: Pairs,
    uids: Uids,
    /// By incident, in their order.
    incidents: Vec<Incident>,
    /// What a survey that goes on wants to know.
    survey: Option<Survey>,
    /// When that began: what was accepted later may be where it had looked already.
    survey_us: u64,
    /// Places that are read now or were, in that survey, with why they could not be.
    reads: BTreeMap<u16, Option<String>>,
    /// Of each look: there may be several promotions.
    losses: BTreeMap<Moment, Vec<Loss>>,
    /// Of the last survey that counts.
    last: Option<Last>,
    attempts: u64,
    /// When attempts began that have not ended.
    open: HashMap<(u64, u32), u64>,
    /// Messages that carry the mark of this run and were never sent.
    unknown: u64,
    foreign: u64,
    aborted: Option<String>,
    armed: BTreeMap<u32, String>,
    failed_steps: Vec<(Word, String)>,
    odd: Option<Odd>,
    odd_count: u64,
    is_ended: bool,
    t_us: u64,
    /// The last moment but for undos, which may be of much later.
    at_work_us: u64,
}

#[derive(Debug)]
struct Incident {
    name: String,
    t_us: u64,
    /// A person was asked for it, and it has not happened as far as anybody noticed.
    is_open: bool,
    clocks: Vec<Clock>,
}

impl Incident {
    /// At the first failure after it was asked for, or when somebody says so.
    fn happened(&mut self, t_us: u64) {
        (self.t_us, self.is_open) = (t_us, false);
        self.clocks.iter_mut().for_each(|clock| clock.happened(t_us));
    }
}

#[derive(Debug)]
struct Last {
    serving: Vec<u16>,
    unread: Vec<String>,
}

impl Judge {
    /// Of a run that begins so.
    pub fn new(begin: &Begin) -> Self {
        Self {
            pairs: Pairs::new(begin),
            uids: Uids::default(),
            incidents: Vec::new(),
            survey: None,
            survey_us: 0,
            open: HashMap::new(),
            reads: BTreeMap::new(),
            losses: BTreeMap::new(),
            last: None,
            attempts: 0,
            unknown: 0,
            foreign: 0,
            aborted: None,
            armed: BTreeMap::new(),
            failed_steps: Vec::new(),
            odd: None,
            odd_count: 0,
            is_ended: false,
            t_us: 0,
            at_work_us: 0,
            begin: begin.clone(),
        }
    }

    /// The next event.
    pub fn take(&mut self, t_us: u64, event: &Event) {
        self.t_us = self.t_us.max(t_us);
        if !matches!(event, Event::Undone { .. }) {
            self.at_work_us = self.t_us;
        }
        if let Err(odd) = self.try_take(t_us, event) {
            self.odd_count += 1;
            self.odd.get_or_insert(odd);
        }
    }

    fn try_take(&mut self, t_us: u64, event: &Event) -> std::result::Result<(), Odd> {
        match event {
            Event::Intent(Intent { m, a, to, bytes, .. }) => {
                self.attempts += 1;
                self.open.insert((*m, *a), t_us);
                self.pairs.begins(*m, to, *bytes)?;
            }
            Event::Done(done) => self.done(t_us, done)?,
            Event::Seen(seen) => self.pairs.seen(seen.m, seen.r, t_us),
            Event::Expunging { m, r } => {
                self.pairs.may_be_expunged(*m, *r);
                self.uids.unwanted(*m, *r);
            }
            Event::Expunged { m, r } => self.pairs.expunged(*m, *r),
            // Where nobody serves it tells nobody ever, and one that still waits has told nobody yet.
            Event::Bounced { p: Some(p), .. } if !self.is_served(*p) => {}
            Event::Bounced { m, r, p: Some(p) } if !self.is_client_view(*p) => {
                self.pairs.bounce_waits(*m, *r);
            }
            Event::Bounced { m, r, .. } => self.pairs.bounced(*m, *r),
            Event::Survey(survey) => {
                (self.survey, self.survey_us) = (Some(survey.clone()), t_us);
                self.reads.clear();
                self.pairs.forget_bounces();
                self.uids.survey_begins();
            }
            Event::Read { p } => {
                self.pairs.reads(*p);
                self.reads.insert(*p, Some("it was not read to its end".to_owned()));
            }
            Event::Found(found) => {
                let place = self.begin.places.get(usize::from(found.p));
                // What was put aside names nobody, and in a queue an alias may have given him another name.
                let kind = place.map(|place| place.kind);
                let is_aside = matches!(kind, Some(PlaceKind::Quarantine | PlaceKind::Queue));
                let r = if is_aside { found.r.or(self.pairs.only(found.m)) } else { found.r };
                let is_in_inbox = found.imap.as_ref().is_some_and(|imap| imap.folder == INBOX);
                let is_sent = self.pairs.found(found.m, r, found.p, found.bad, is_in_inbox)?;
                self.unknown += u64::from(!is_sent && self.is_final());
                if is_sent && self.is_client_view(found.p) {
                    self.uids.found(found);
                }
            }
            Event::Folder(folder) if self.is_client_view(folder.p) => {
                self.uids.folder_state(folder);
            }
            Event::ReadEnd { p, failed, foreign } => {
                self.reads.insert(*p, failed.clone());
                let foreign = if self.is_final() { *foreign } else { 0 };
                self.foreign = self.foreign.saturating_add(foreign);
            }
            Event::SurveyEnd { moment } => self.survey_end(*moment),
            Event::Incident { name, asked } => {
                let objectives = &self.begin.objectives;
                let stable =
                    Stable { count: objectives.stable_count, length_us: objectives.stable_us };
                let clocks = vec![Clock::new(t_us, stable); self.begin.services.len()];
                self.incidents.push(Incident { name: name.clone(), t_us, is_open: *asked, clocks });
            }
            Event::Happened { name } => {
                let open = |incident: &&mut Incident| incident.is_open && incident.name == *name;
                self.incidents.iter_mut().filter(open).for_each(|incident| incident.happened(t_us));
            }
            Event::Promoted { .. } => {
                let clocks = self.incidents.iter_mut().flat_map(|incident| &mut incident.clocks);
                clocks.for_each(|clock| clock.promoted(t_us));
            }
            Event::Probe { s, failed, took } => {
                self.service(*s, t_us, t_us.saturating_add(*took), failed.is_none());
            }
            Event::StepEnd { name, failed: Some(why), judged, .. } => {
                let word = if *judged { Word::Fail } else { Word::Unknown };
                self.failed_steps.push((word, format!("{name}: {why}")));
            }
            Event::Armed(armed) => {
                self.armed.insert(armed.id, armed.by_hand.clone());
            }
            Event::Undone { id, failed: None } => {
                self.armed.remove(id);
            }
            Event::Aborted { why } => {
                self.aborted.get_or_insert_with(|| why.clone());
            }
            Event::End => {
                // Nobody answered them.
                let open = std::mem::take(&mut self.open);
                open.into_values().for_each(|asked_us| self.service(MAIL, asked_us, t_us, false));
                self.is_ended = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn done(&mut self, t_us: u64, done: &Done) -> std::result::Result<(), Odd> {
        let ends = [
            (&done.ok, End::Ok),
            (&done.info, End::Info),
            (&done.fail, End::Fail),
            (&done.rejected, End::Fail),
        ];
        let is_ok = !done.ok.is_empty();
        let asked_us = self.open.remove(&(done.m, done.a)).unwrap_or(t_us);
        if is_ok || !done.more {
            self.service(MAIL, asked_us, t_us, is_ok);
        }
        for (recipients, end) in ends {
            for recipient in recipients {
                self.pairs.ends(done.m, *recipient, t_us, end)?;
            }
        }
        Ok(())
    }

    /// A service did what it is for, or did not. An answer to a question from before an incident says nothing of it.
    fn service(&mut self, service: u16, asked_us: u64, answered_us: u64, is_ok: bool) {
        for incident in &mut self.incidents {
            // That a question from before the incident has its answer says nothing of it; that it has none does.
            if (if is_ok { asked_us } else { answered_us }) < incident.t_us {
                continue;
            }
            if incident.is_open {
                if is_ok {
                    continue;
                }
                incident.happened(answered_us);
            }
            if let Some(clock) = incident.clocks.get_mut(usize::from(service)) {
                clock.take(answered_us, is_ok);
            }
        }
    }

    fn is_final(&self) -> bool {
        self.survey.as_ref().is_some_and(|survey| survey.moment == Moment::Final)
    }

    /// Whether the role of a place serves.
    fn is_served(&self, place: u16) -> bool {
        let place = self.begin.places.get(usize::from(place));
        let serving = self.survey.as_ref().map_or(&[][..], |survey| &survey.serving);
        place.is_some_and(|place| serving.contains(&place.role))
    }

    /// Whether users see what lies in a place.
    fn is_client_view(&self, place: u16) -> bool {
        let place = self.begin.places.get(usize::from(place));
        let serving = self.survey.as_ref().map_or(&[][..], |survey| &survey.serving);
        place.is_some_and(|place| place.kind == PlaceKind::Mailbox && serving.contains(&place.role))
    }

    /// What could not be read, of the places that belong to a moment.
    fn unread(&self, moment: Moment) -> Vec<String> {
        let places = self.begin.places.iter().zip(0..);
        let wanted = places.filter(|(place, _)| {
            (place.kind == PlaceKind::Snapshot) == (moment == Moment::Snapshot)
        });
        let why = |(place, at): (&crate::journal::Place, u16)| match self.reads.get(&at) {
            Some(None) => None,
            Some(Some(why)) => Some(format!("{}: {why}", place.name)),
            None => Some(format!("{}: it was not read", place.name)),
        };
        wanted.filter_map(why).collect()
    }

    fn survey_end(&mut self, moment: Moment) {
        let Some(survey) = self.survey.take().filter(|survey| survey.moment == moment) else {
            return;
        };
        let unread = self.unread(moment);
        self.uids.survey_ends(unread.is_empty());
        if moment != Moment::Between {
            let loss = self.loss(moment, &survey.serving, &unread);
            self.losses.entry(moment).or_default().push(loss);
        }
        if moment == Moment::Final {
            self.last = Some(Last { serving: survey.serving, unread });
        }
    }

    /// What is out of sight of what was accepted. RPO looks back from the first incident.
    fn loss(&self, moment: Moment, serving: &[u16], unread: &[String]) -> Loss {
        let until_us = match moment {
            Moment::Final => u64::MAX,
            Moment::Salvage => self.survey_us,
            _ => self
                .incidents
                .first()
                .map_or(self.survey_us, |first| first.t_us.min(self.survey_us)),
        };
        let is_snapshot = moment == Moment::Snapshot;
        let mut loss = Loss { unread: unread.to_vec(), ..Loss::default() };
        for (at, pair) in self.pairs.rows().iter().enumerate() {
            if !pair.is_accepted() || pair.accepted_us > until_us {
                continue;
            }
            let there = self
                .pairs
                .there(at, serving, |place| (place.kind == PlaceKind::Snapshot) == is_snapshot);
            loss.accepted += 1;
            let is_safe = there.delivered + there.pending + there.quarantined + there.bounced > 0;
            // Nobody reads what stands on the disk of the dead one; after salvage it counts as what it is, stranded.
            let is_in_reach = matches!(moment, Moment::Final) && there.stranded > 0;
            if !is_safe && !is_in_reach && !pair.said(None).is_unwanted() {
                loss.messages += 1;
                loss.bytes += pair.bytes();
                let oldest = loss.oldest_us.get_or_insert(pair.accepted_us);
                *oldest = (*oldest).min(pair.accepted_us);
            }
        }
        let from = self.incidents.first().map_or(self.t_us, |incident| incident.t_us);
        loss.age_us = loss.oldest_us.map(|oldest| from.saturating_sub(oldest));
        loss
    }
}

/// Of the services, the traffic itself.
const MAIL: u16 = 0;
