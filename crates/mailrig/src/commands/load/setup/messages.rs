//! What to send, from whom and to whom.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use load::letters::{
    Addresses, Ingredients, Letters, Observed, PerMessage, Signer, Sizes, mean_head_bytes,
};
use load::plan::Trace;
use load::safety;

use super::usage;
use crate::commands::load::args::RunArgs;
use crate::commands::load::compose::{self, Style};
use crate::commands::load::corpus;
use crate::exit::UsageError;
use crate::ui::Ui;

pub(in crate::commands::load) fn letters(
    args: &RunArgs,
    run: u64,
    start: Timestamp,
    trace: Option<Arc<Trace>>,
    ui: &Ui,
) -> Result<Letters> {
    let senders = addresses("--senders", &args.senders)?;
    let recipients = addresses("--recipients", &args.recipients)?;
    let domains = recipients.domains();
    safety::check_recipient_domains(domains.iter().map(String::as_str), &args.recipient_domains)
        .map_err(|e| UsageError(e.to_string()))?;
    let per_message = match &args.recipients_per_message {
        Some(text) => {
            text.parse().map_err(|e| UsageError(format!("--recipients-per-message: {e}")))?
        }
        None => PerMessage::ONE,
    };
    if per_message.most() > recipients.count() {
        return usage(&format!(
            "a message cannot have {} recipients of {}",
            per_message.most(),
            recipients.count()
        ));
    }
    let signer = signer(args)?;
    // What is below the heads must be so much smaller than what is asked for.
    let head_bytes = mean_head_bytes(&senders, &recipients, per_message, signer.as_ref());
    let templates = match &args.corpus {
        Some(dir) => {
            let corpus = corpus::corpus(dir)?;
            if corpus.skipped > 0 {
                ui.warning(format!(
                    "{} of {} files in {} cannot be used: {}",
                    corpus.skipped,
                    corpus.files,
                    dir.display(),
                    corpus.problems.join("; ")
                ));
            }
            corpus.templates
        }
        None => {
            let sizes = sizes(args, trace.as_deref())?;
            compose::templates(&sizes, args.seed, style(args), head_bytes)?
        }
    };
    let made = Letters::new(Ingredients {
        run,
        seed: args.seed,
        start,
        templates,
        senders,
        recipients,
        per_message,
        signer,
        observed: trace.map(|trace| Observed {
            trace,
            has_sizes: !is_size_given(args),
            has_recipients: args.recipients_per_message.is_none(),
        }),
    });
    Ok(made?)
}

fn style(args: &RunArgs) -> Style {
    if args.plain { Style::Plain } else { Style::Mixed }
}

/// Whether somebody said how large messages are to be.
fn is_size_given(args: &RunArgs) -> bool {
    args.size.is_some() || args.mix.is_some() || args.corpus.is_some()
}

fn sizes(args: &RunArgs, trace: Option<&Trace>) -> Result<Sizes> {
    if let Some(trace) = trace.filter(|_| !is_size_given(args)) {
        let told = trace.arrivals.iter().filter_map(|arrival| arrival.size_bytes);
        if let Some(sizes) = Sizes::observed(told.collect(), OBSERVED_BYTES) {
            return Ok(sizes);
        }
    }
    let (option, text) = match (&args.mix, &args.size) {
        (Some(mix), _) => ("--mix", mix.as_str()),
        (None, Some(size)) => ("--size", size.as_str()),
        (None, None) => ("--size", "4K"),
    };
    text.parse().map_err(|e| UsageError(format!("{option} {text}: {e}")).into())
}

/// A file if there is one of that name, else a pattern.
fn addresses(option: &str, text: &str) -> Result<Addresses> {
    let path = Path::new(text);
    let read = if path.is_file() { Addresses::read(path) } else { Addresses::parse(text) };
    read.map_err(|e| UsageError(format!("{option}: {e}")).into())
}

fn signer(args: &RunArgs) -> Result<Option<Signer>> {
    let (Some(who), Some(path)) = (&args.dkim, &args.dkim_key) else { return Ok(None) };
    let Some((selector, domain)) = who.split_once('@') else {
        return usage("--dkim is SELECTOR@DOMAIN, such as s1@example.org");
    };
    let pem =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let signer = Signer::from_pem(&pem, domain, selector);
    Ok(Some(signer.with_context(|| format!("cannot sign with {}", path.display()))?))
}

/// In memory, of messages that are like those of a log.
const OBSERVED_BYTES: u64 = 96 << 20;
