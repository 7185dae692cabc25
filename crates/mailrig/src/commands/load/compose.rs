//! The messages that a run is made of, where they are made up: in several languages and charsets, plain and multipart,
//! with documents and pictures, and each of the size that is wanted of it.

use anyhow::{Context, Result};
use load::letters::{Sizes, Stratum, Template};

use crate::demo::content::{self, Kind};
use crate::demo::message::{Scribe, below_head};
use crate::demo::rng::Rng;
use crate::exit::UsageError;
use crate::ui::size;

/// What messages consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As people and machines write them: text, HTML, documents, tables and pictures.
    Mixed,
    /// Text alone.
    Plain,
}

/// Makes templates with their weights. A message has the size that is wanted together with the `head_bytes` that it
/// gets of its own.
pub(crate) fn templates(
    sizes: &Sizes,
    seed: u64,
    style: Style,
    head_bytes: u64,
) -> Result<Vec<(f64, Template)>> {
    let mut strata = sizes.strata(TEMPLATES, TEMPLATES_BYTES);
    if style == Style::Plain && strata.windows(2).all(|two| two[0].bytes == two[1].bytes) {
        // Texts of one size are all alike to a server, and making them takes time.
        strata = sizes.strata(TEMPLATES_ALIKE, TEMPLATES_BYTES);
    }
    of_strata(sizes, strata, seed, style, head_bytes)
}

fn of_strata(
    sizes: &Sizes,
    strata: Vec<Stratum>,
    seed: u64,
    style: Style,
    head_bytes: u64,
) -> Result<Vec<(f64, Template)>> {
    let bytes = strata.iter().fold(0_u64, |sum, one| sum.saturating_add(one.bytes));
    if bytes > MOST_BYTES {
        let reason =
            format!("--size {sizes} needs {} in memory; 256 MiB are the most", size(bytes));
        return Err(UsageError(reason).into());
    }
    let rng = |number| Rng::new(seed, STREAM + number as u64);
    let template = |(number, stratum): (usize, Stratum)| {
        let wanted = stratum.bytes.saturating_sub(head_bytes) as usize;
        let made = message(rng(number), style, wanted)?;
        Ok((stratum.share, Template::new(&made).context("a message that was made up")?))
    };
    strata.into_iter().enumerate().map(template).collect()
}

/// A message without its head. Where a text does not come in the wanted size, because one letter more has another
/// encoding chosen, another text is tried.
fn message(mut rng: Rng, style: Style, wanted: usize) -> Result<Vec<u8>> {
    let kind = kind(&mut rng, style, wanted);
    let mut next = || {
        let rng = Rng::new(rng.next(), 0);
        fit(wanted, |amount| {
            // Always the same, but for the amount.
            let mut rng = rng.clone();
            let scribe = Scribe::any(&mut rng);
            let content = content::of_kind(kind, &mut rng, &scribe, amount)?;
            below_head(&mut rng, &scribe, content)
        })
    };
    let mut best = next()?;
    for _ in 0..TRIES {
        if is_close(best.len(), wanted) || wanted < LEAST_BYTES {
            break;
        }
        let made = next()?;
        if made.len().abs_diff(wanted) < best.len().abs_diff(wanted) {
            best = made;
        }
    }
    Ok(best)
}

/// Tries the amount of what is encoded until the whole has the size that is wanted: how many bytes an encoding takes
/// depends on the text. The closest is taken.
fn fit(wanted: usize, make: impl Fn(usize) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut amount = wanted.saturating_sub(600);
    let (mut best, mut before, mut per_amount) = (make(amount)?, None, 1.2);
    let mut size = best.len();
    for _ in 0..TRIES {
        if is_close(size, wanted) {
            break;
        }
        let missing = wanted as f64 - size as f64;
        if let Some((amount_before, size_before)) = before.replace((amount as f64, size as f64)) {
            let (more, larger) = (amount as f64 - amount_before, size as f64 - size_before);
            per_amount = (larger / more).clamp(0.8, 4.0);
        }
        let next = (amount as f64 + missing / per_amount).max(0.0) as usize;
        if next == amount {
            break;
        }
        amount = next;
        let made = make(amount)?;
        size = made.len();
        if size.abs_diff(wanted) < best.len().abs_diff(wanted) {
            best = made;
        }
    }
    Ok(best)
}

fn is_close(size: usize, wanted: usize) -> bool {
    size.abs_diff(wanted) <= 3 + wanted / 1000
}

fn kind(rng: &mut Rng, style: Style, bytes: usize) -> Kind {
    use Kind::{Document, Newsletter, Picture, Table, Text};
    if style == Style::Plain {
        return Text;
    }
    let shares: &[(Kind, u64)] = match bytes {
        ..4_000 => &[(Text, 100)],
        4_000..16_000 => &[(Text, 60), (Newsletter, 40)],
        16_000..128_000 => {
            &[(Text, 15), (Newsletter, 35), (Document, 30), (Table, 10), (Picture, 10)]
        }
        _ => &[(Document, 70), (Table, 15), (Picture, 15)],
    };
    let mut at = rng.below(100);
    for (kind, share) in shares {
        match at.checked_sub(*share) {
            Some(rest) => at = rest,
            None => return *kind,
        }
    }
    Text
}

/// As many as give variety.
const TEMPLATES: usize = 256;
const TEMPLATES_ALIKE: usize = 32;
/// What they have together, if they can.
const TEMPLATES_BYTES: u64 = 96 << 20;
/// As many as a run takes.
const MOST_BYTES: u64 = 256 << 20;
const TRIES: usize = 8;
/// What subject and encoding alone may take.
const LEAST_BYTES: usize = 500;

/// A demo of the same seed makes other messages.
const STREAM: u64 = 0x6c6f_6164_0000_0000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    /// So many templates only: what makes them is slow where it is not optimised.
    fn made(sizes: &str, count: usize, seed: u64, style: Style) -> Vec<(f64, Template)> {
        let sizes: Sizes = sizes.parse().unwrap();
        let strata = sizes.strata(count, u64::MAX);
        of_strata(&sizes, strata, seed, style, 220).unwrap()
    }

    #[test]
    fn messages_have_the_size_that_is_wanted() {
        for (sizes, count, style, tolerance) in [
            ("1K", 64, Style::Mixed, 0.01),
            ("4096", 64, Style::Mixed, 0.01),
            ("4096", 16, Style::Plain, 0.01),
            ("20K", 24, Style::Mixed, 0.003),
            ("200K", 2, Style::Plain, 0.003),
            ("300K", 6, Style::Mixed, 0.003),
        ] {
            let wanted = load::letters::parse_bytes(sizes).unwrap() as f64;
            for (_, template) in made(sizes, count, 1, style) {
                let size = (template.size_bytes() + 220) as f64;
                assert!((size / wanted - 1.0).abs() < tolerance, "{size} and not {wanted}");
            }
        }
        let small = made("10", 20, 1, Style::Mixed);
        assert!(small.iter().all(|(_, template)| template.size_bytes() < 600));
    }

    #[test]
    fn a_mix_is_mail_of_many_kinds() {
        let (mut charsets, mut attachments, mut multiparts) = (BTreeSet::new(), 0, 0);
        let made = made("2K-150K", 64, 1, Style::Mixed);
        for (_, template) in &made {
            let bytes = template.content().raw();
            let text = String::from_utf8_lossy(bytes).replace("\r\n", "");
            assert!(!text.contains(['\r', '\n']), "{text}");
            assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 998));
            let message = MessageParser::new().parse(bytes).unwrap();
            let subject = message.subject().unwrap_or_default();
            assert!(!subject.is_empty() && !subject.contains("=?"), "{subject}");
            assert!(!message.body_text(0).unwrap_or_default().contains('\u{fffd}'), "{subject}");
            for part in &message.parts {
                let charset = part.content_type().and_then(|kind| kind.attribute("charset"));
                charsets.extend(charset.map(str::to_owned));
            }
            attachments += message.attachment_count();
            multiparts += usize::from(message.parts.len() > 1);
        }
        assert!(charsets.len() > 5, "{charsets:?}");
        assert!(attachments > 10, "{attachments}");
        assert!((20..made.len()).contains(&multiparts), "{multiparts}");
    }

    #[test]
    fn plain_messages_are_of_text_alone() {
        for (_, template) in made("1K-40K", 12, 1, Style::Plain) {
            let text = String::from_utf8_lossy(template.content().raw()).into_owned();
            assert!(text.contains("text/plain") && !text.contains("multipart"), "{text}");
        }
    }

    #[test]
    fn a_seed_makes_the_same_messages() {
        let all = |seed| -> Vec<Vec<u8>> {
            let made = made("3K-30K", 12, seed, Style::Mixed);
            made.iter().map(|(_, template)| template.content().raw().to_vec()).collect()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn what_does_not_fit_into_memory_is_refused_before_it_is_made() {
        let sizes = "300G".parse().unwrap();
        let error = templates(&sizes, 1, Style::Mixed, 220).unwrap_err().to_string();
        assert!(error.contains("--size 300G needs 300.0 GiB in memory"), "{error}");
    }
}
