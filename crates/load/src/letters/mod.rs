//! The messages of a run. What many share is made once; a message's own are its head and its envelope, which follow
//! from the seed and its index: whoever sends number 4711, today or again, sends the same bytes.

mod addresses;
mod dkim;
mod mark;
mod pattern;
mod relaxed;
mod sizes;
mod template;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use smtp::{Address, Content, Envelope, Recipient};

pub use addresses::{Addresses, BadAddresses, BadPerMessage, PerMessage};
pub use dkim::{BadSigner, Signer};
pub use mark::{FIELD, Mark, read_mark, sum};
pub use pattern::BadPattern;
pub use sizes::{BadBytes, BadSizes, Sizes, Stratum, parse_bytes};
pub use template::{BadTemplate, Template, fields, is_own, name};

use crate::plan::{Trace, TraceArrival};
use crate::random::Random;

/// A message to send, as the parts `[&head, &body]`.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its number in the arrival plan.
    pub index: u64,
    /// Who it is from and for.
    pub envelope: Envelope,
    /// Its own header fields.
    pub head: Content,
    /// The other header fields, and the body.
    pub body: Arc<Content>,
}

/// What the messages of a run are made of.
#[derive(Debug)]
pub struct Ingredients {
    /// The id of the run.
    pub run: u64,
    /// The same seed, run and start make the same messages.
    pub seed: u64,
    /// The `Date` of all messages.
    pub start: Timestamp,
    /// Templates with their weights, which need not make 1.
    pub templates: Vec<(f64, Template)>,
    /// Who messages are from.
    pub senders: Addresses,
    /// Who they are for.
    pub recipients: Addresses,
    /// How many get one message.
    pub per_message: PerMessage,
    /// Signs them all.
    pub signer: Option<Signer>,
    /// Messages of a mail log, which these are to be like.
    pub observed: Option<Observed>,
}

/// What messages of a mail log were like, by their number in the arrival plan.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The log.
    pub trace: Arc<Trace>,
    /// Whether a message is of the template whose size is nearest to that of the log's.
    pub has_sizes: bool,
    /// Whether it has as many recipients as the log's; no more than there are, and than a template may have.
    pub has_recipients: bool,
}

/// Makes the messages of a run.
#[derive(Debug)]
pub struct Letters {
    run: u64,
    seed: u64,
    seconds: i64,
    /// The line.
    date: String,
    pool: Vec<Pooled>,
    /// The weights up to and with each template.
    weights: Vec<f64>,
    senders: Addresses,
    recipients: Addresses,
    per_message: PerMessage,
    signer: Option<Signer>,
    observed: Option<Observed>,
    /// Sizes of templates with their place in the pool, smallest first; where sizes are observed.
    by_size: Vec<(u64, usize)>,
}

/// Why there are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLetters {
    /// Nothing to send.
    #[error("there is no template with a weight above zero")]
    Empty,
    /// More than are kept in memory.
    #[error("there are {0} templates; 512 are the most")]
    TooMany(usize),
    /// More than are kept in memory.
    #[error("the templates have {0} bytes together; 256 MiB are the most")]
    TooLarge(u64),
}

impl Letters {
    /// Hashes what is hashed once.
    pub fn new(ingredients: Ingredients) -> Result<Self, BadLetters> {
        let Ingredients { run, seed, start, templates, .. } = ingredients;
        let Ingredients { senders, recipients, per_message, signer, observed, .. } = ingredients;
        if templates.len() > MOST_TEMPLATES {
            return Err(BadLetters::TooMany(templates.len()));
        }
        let bytes = templates.iter().map(|(_, template)| template.size_bytes()).sum();
        if bytes > MOST_BYTES {
            return Err(BadLetters::TooLarge(bytes));
        }
        let (mut pool, mut weights, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (weight, template) in templates {
            if weight > 0.0 && weight.is_finite() {
                sum += weight;
                weights.push(sum);
                let prepare = |_: &Signer| {
                    let (header, body) = template.parts();
                    dkim::Prepared::new(header, body)
                };
                pool.push(Pooled { prepared: signer.as_ref().map(prepare), template });
            }
        }
        if pool.is_empty() {
            return Err(BadLetters::Empty);
        }
        let date = date(start);
        let sizes = pool.iter().map(|pooled: &Pooled| pooled.template.size_bytes());
        let mut by_size: Vec<(u64, usize)> = sizes.zip(0..).collect();
        by_size.sort_unstable();
        let seconds = start.as_second();
        Ok(Self {
            run,
            seed,
            seconds,
            date,
            pool,
            weights,
            senders,
            recipients,
            per_message,
            signer,
            observed,
            by_size,
        })
    }

    /// Makes the message of this index.
    pub fn make(&self, index: u64) -> Letter {
        let mut random = Random::new(self.seed, STREAM.wrapping_add(index));
        let at = random.unit() * self.weights.last().copied().unwrap_or(0.0);
        let drawn = self.weights.partition_point(|weight| *weight <= at).min(self.pool.len() - 1);
        let observed = self.observed(index);
        let size =
            observed.and_then(|(observed, like)| like.size_bytes.filter(|_| observed.has_sizes));
        let chosen = size.map_or(drawn, |size| self.nearest(size));
        let Pooled { template, prepared } = &self.pool[chosen];
        let Self { senders, recipients, .. } = self;
        let per_message = match observed {
            Some((observed, like)) if observed.has_recipients => {
                PerMessage::exactly(u64::from(like.recipients).min(recipients.count()))
            }
            _ => self.per_message,
        };
        let (from, to) = ends(senders, recipients, per_message, &mut random);
        let mark = Mark { run: self.run, index, sum: template.sum() };
        let mut head = head(&self.date, &from, &to, mark);
        if let (Some(signer), Some(prepared)) = (&self.signer, prepared) {
            signer.add(&mut head, prepared, self.seconds);
        }
        let to = to.into_iter().map(Recipient::from).collect();
        let envelope = Envelope { from: Some(from), to, ..Envelope::default() };
        let body = Arc::clone(template.content());
        Letter { index, envelope, head: Content::new(head.as_bytes()), body }
    }

    /// What the log's message of this number was like.
    fn observed(&self, index: u64) -> Option<(&Observed, TraceArrival)> {
        let observed = self.observed.as_ref()?;
        let like = observed.trace.arrivals.get(usize::try_from(index).ok()?)?;
        Some((observed, *like))
    }

    /// The template whose size is nearest.
    fn nearest(&self, size_bytes: u64) -> usize {
        let after = self.by_size.partition_point(|(size, _)| *size < size_bytes);
        let beside = self.by_size[after.saturating_sub(1)..].iter().take(2);
        let nearest = beside.min_by_key(|(size, _)| size.abs_diff(size_bytes));
        nearest.map_or(0, |(_, place)| *place)
    }

    /// Who messages are for.
    pub fn recipients(&self) -> &Addresses {
        &self.recipients
    }
}

/// The mean size in bytes of the heads that messages will get: whoever wants messages of a certain
/// size makes their templates so much smaller.
pub fn mean_head_bytes(
    senders: &Addresses,
    recipients: &Addresses,
    per_message: PerMessage,
    signer: Option<&Signer>,
) -> u64 {
    const HEADER: &[u8] = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n";
    const SAMPLE: u64 = 64;
    let prepared = dkim::Prepared::new(HEADER, b"");
    let date = date(Timestamp::UNIX_EPOCH);
    let bytes = |number| {
        let (from, to) = ends(senders, recipients, per_message, &mut Random::new(0, number));
        let mark = Mark { run: 0, index: 10_000 + number, sum: [0; 16] };
        let mut head = head(&date, &from, &to, mark);
        if let Some(signer) = signer {
            signer.add(&mut head, &prepared, 1_000_000_000);
        }
        head.len() as u64
    };
    (0..SAMPLE).map(bytes).sum::<u64>() / SAMPLE
}

fn ends(
    senders: &Addresses,
    recipients: &Addresses,
    per_message: PerMessage,
    random: &mut Random,
) -> (Address, Vec<Address>) {
    let from = senders.pick(random);
    let count = per_message.pick(random);
    (from, recipients.pick_distinct(random, count))
}

/// The line.
fn date(time: Timestamp) -> String {
    format!("Date: {}\r\n", time.strftime("%a, %d %b %Y %H:%M:%S +0000"))
}

fn head(date: &str, from: &Address, to: &[Address], mark: Mark) -> String {
    let mut head = String::with_capacity(256 + 40 * to.len());
    head.push_str(date);
    head.push_str("From: ");
    head.push_str(from.as_str());
    for (i, to) in to.iter().enumerate() {
        head.push_str(if i == 0 { "\r\nTo: " } else { ",\r\n " });
        head.push_str(to.as_str());
    }
    let domain = match from.domain() {
        "" => "mailrig.test",
        domain => domain,
    };
    let Mark { run, index, .. } = mark;
    // Writing to a string does not fail.
    let _ = write!(head, "\r\nMessage-ID: <{run:016x}.{index}@{domain}>\r\n{FIELD}: {mark}\r\n");
    head
}

#[derive(Debug)]
struct Pooled {
    template: Template,
    prepared: Option<dkim::Prepared>,
}

const MOST_TEMPLATES: usize = 512;
const MOST_BYTES: u64 = 256 << 20;

/// Messages draw other numbers than the plan does from the same seed.
const STREAM: u64 = 0x6c65_7474_6572_7300;
