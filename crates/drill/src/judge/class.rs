//! What became of a message for one recipient: one word for what was said of it and what was found. The table that the
//! whole drill stands on, without anything around it.

use serde::{Deserialize, Serialize};

/// What became of a message for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Accepted, and nowhere.
    Lost,
    /// It is there, and not what was sent.
    Corrupt,
    /// It is in the mailbox of somebody else.
    Misdelivered,
    /// It is there although every attempt was refused.
    DeliveredAfterReject,
    /// A reader had removed it, and it is back.
    Resurrected,
    /// More copies than attempts that may have brought one.
    Duplicate,
    /// Accepted, and only where nobody serves: on the dead one's disk.
    Stranded,
    /// Accepted, and still in the queue of one that serves.
    Pending,
    /// Accepted, and told to the sender that it cannot be delivered.
    Bounced,
    /// Accepted, and put aside for somebody to look at.
    Quarantined,
    /// Accepted, and seen later than it may be.
    Late,
    /// Accepted, and there.
    Delivered,
    /// Accepted, there, and removed by its reader.
    Expunged,
    /// Nobody knows whether it was accepted; it is there.
    Recovered,
    /// Nobody knows whether it was accepted; it is nowhere.
    NotAccepted,
    /// Refused at every attempt, and nowhere.
    Refused,
}

impl Class {
    /// All, worst first.
    pub const ALL: [Class; 16] = [
        Class::Lost,
        Class::Corrupt,
        Class::Misdelivered,
        Class::DeliveredAfterReject,
        Class::Resurrected,
        Class::Duplicate,
        Class::Stranded,
        Class::Pending,
        Class::Bounced,
        Class::Quarantined,
        Class::Late,
        Class::Delivered,
        Class::Expunged,
        Class::Recovered,
        Class::NotAccepted,
        Class::Refused,
    ];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Class::Lost => "lost",
            Class::Corrupt => "corrupt",
            Class::Misdelivered => "misdelivered",
            Class::DeliveredAfterReject => "delivered_after_reject",
            Class::Resurrected => "resurrected",
            Class::Duplicate => "duplicate",
            Class::Stranded => "stranded",
            Class::Pending => "pending",
            Class::Bounced => "bounced",
            Class::Quarantined => "quarantined",
            Class::Late => "late",
            Class::Delivered => "delivered",
            Class::Expunged => "expunged",
            Class::Recovered => "recovered",
            Class::NotAccepted => "not_accepted",
            Class::Refused => "refused",
        }
    }
}

/// What was said of a message to one recipient, attempt by attempt (RFC 5321, 4.2.5 and 4.5.3.2.6; RFC 1047).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Attempts with a complete 2yz to the end.
    pub ok: u16,
    /// Attempts of which nobody knows.
    pub info: u16,
    /// Copies that readers have removed.
    pub expunged: u16,
    /// Whether one was about to.
    pub may_be_expunged: bool,
    /// Whether it was seen later than it may be.
    pub is_late: bool,
}

/// What was found of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct There {
    /// Whole copies in its mailbox, where somebody serves.
    pub delivered: u32,
    /// Copies in its mailbox that are not what was sent.
    pub corrupt: u32,
    /// Copies in mailboxes of others.
    pub misdelivered: u32,
    /// Copies in the queue of one that serves.
    pub pending: u32,
    /// Copies in a mailbox or queue of one that does not.
    pub stranded: u32,
    /// Copies that were put aside.
    pub quarantined: u32,
    /// Bounces that name it.
    pub bounced: u32,
}

impl Said {
    /// Whether that it is not there any more is somebody's wish.
    pub fn is_unwanted(&self) -> bool {
        self.expunged > 0 || self.may_be_expunged
    }
}

impl There {
    fn is_anywhere(&self) -> bool {
        let Self { delivered, pending, stranded, quarantined, .. } = *self;
        delivered + pending + stranded + quarantined > 0
    }
}

/// The one word. What is worse than another thing comes before it.
pub fn class(said: Said, there: There) -> Class {
    let may_be = u32::from(said.ok) + u32::from(said.info);
    if there.corrupt > 0 {
        return Class::Corrupt;
    }
    if there.misdelivered > 0 {
        return Class::Misdelivered;
    }
    if may_be == 0 {
        let is_there = there.is_anywhere();
        return if is_there { Class::DeliveredAfterReject } else { Class::Refused };
    }
    if said.expunged > 0 {
        // What another attempt brought once more is no ghost; what was removed more often than it came is one.
        let is_back = there.delivered + u32::from(said.expunged) > may_be;
        return if is_back { Class::Resurrected } else { Class::Expunged };
    }
    if said.may_be_expunged && there.delivered == 0 {
        return Class::Expunged;
    }
    if there.delivered + there.pending > may_be {
        return Class::Duplicate;
    }
    if said.ok == 0 {
        let is_there = there.is_anywhere();
        return if is_there { Class::Recovered } else { Class::NotAccepted };
    }
    match there {
        There { delivered: 1.., .. } if said.is_late => Class::Late,
        There { delivered: 1.., .. } => Class::Delivered,
        There { pending: 1.., .. } => Class::Pending,
        There { quarantined: 1.., .. } => Class::Quarantined,
        There { stranded: 1.., .. } => Class::Stranded,
        There { bounced: 1.., .. } => Class::Bounced,
        _ => Class::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ok: u16, info: u16) -> Said {
        Said { ok, info, ..Said::default() }
    }

    fn there(delivered: u32) -> There {
        There { delivered, ..There::default() }
    }

    #[test]
    fn the_reply_and_the_copies_make_the_class() {
        let none = There::default();
        for (ok, info, copies, expected) in [
            (1, 0, 1, Class::Delivered),
            (1, 0, 0, Class::Lost),
            (1, 0, 2, Class::Duplicate),
            // The reply was lost, the sender tried again: two copies are what RFC 1047 lets happen.
            (1, 1, 2, Class::Delivered),
            (1, 1, 1, Class::Delivered),
            (1, 1, 0, Class::Lost),
            (1, 1, 3, Class::Duplicate),
            (0, 1, 0, Class::NotAccepted),
            (0, 1, 1, Class::Recovered),
            (0, 1, 2, Class::Duplicate),
            (0, 0, 0, Class::Refused),
            (0, 0, 1, Class::DeliveredAfterReject),
        ] {
            assert_eq!(class(said(ok, info), there(copies)), expected, "{ok} {info} {copies}");
        }
        for (place, expected) in [
            (There { pending: 1, ..none }, Class::Pending),
            (There { stranded: 2, ..none }, Class::Stranded),
            (There { quarantined: 1, ..none }, Class::Quarantined),
            (There { bounced: 1, ..none }, Class::Bounced),
            (There { corrupt: 1, delivered: 1, ..none }, Class::Corrupt),
            (There { misdelivered: 1, delivered: 1, ..none }, Class::Misdelivered),
            // It lies where nobody serves, too: no user has it twice.
            (There { delivered: 1, stranded: 1, ..none }, Class::Delivered),
            // It will be there twice.
            (There { delivered: 1, pending: 1, ..none }, Class::Duplicate),
            (There { delivered: 1, bounced: 1, ..none }, Class::Delivered),
        ] {
            assert_eq!(class(said(1, 0), place), expected, "{place:?}");
        }
        assert_eq!(class(Said { is_late: true, ..said(1, 0) }, there(1)), Class::Late);
        for (ok, info, expunged, may_be_expunged, copies, expected) in [
            (1, 0, 1, true, 0, Class::Expunged),
            (1, 0, 1, true, 1, Class::Resurrected),
            // The other copy that RFC 1047 lets happen.
            (1, 1, 1, true, 1, Class::Expunged),
            (1, 1, 1, true, 2, Class::Resurrected),
            (1, 1, 2, true, 0, Class::Expunged),
            (1, 1, 2, true, 1, Class::Resurrected),
            // It came back, and was removed again.
            (1, 0, 2, true, 0, Class::Resurrected),
            // Nobody knows whether it was done.
            (1, 0, 0, true, 0, Class::Expunged),
            (1, 0, 0, true, 1, Class::Delivered),
            (1, 0, 0, true, 2, Class::Duplicate),
            (1, 0, 0, false, 0, Class::Lost),
        ] {
            let said = Said { expunged, may_be_expunged, ..said(ok, info) };
            assert_eq!(class(said, there(copies)), expected, "{said:?} {copies}");
        }
    }

    #[test]
    fn every_class_has_its_name() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
    }
}
