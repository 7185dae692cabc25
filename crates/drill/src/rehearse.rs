//! Asks everything that a run would ask before it breaks anything: whether hosts can be reached without a password,
//! servers answer, and what must be true is true. Nothing is changed.

use std::time::Duration;

use crate::ready;
use crate::scenario::{Probe, Scenario, Where};
use crate::world::resolve;

/// What was asked, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The question.
    pub question: String,
    /// Why the answer is no; none: it is yes.
    pub failed: Option<String>,
}

/// Asks. What the lab would make is not there yet, and is not asked for.
pub async fn rehearse(scenario: &Scenario) -> Vec<Rehearsed> {
    let mut answers = Vec::new();
    for (name, role) in &scenario.roles {
        if role.on != Where::Local {
            let question = format!("{name} runs commands");
            let failed = ready::runs_commands(&role.on).await.err();
            answers.push(Rehearsed { question, failed });
        }
        if let Some(address) = role.smtp.as_ref().filter(|address| !address.contains("${")) {
            let question = format!("{name} takes mail at {address}");
            let failed = ready::takes_mail(address).await.err();
            answers.push(Rehearsed { question, failed });
        }
    }
    for probe in &scenario.steady {
        let (Probe::Tcp(address) | Probe::Smtp(address)) = probe else { continue };
        if address.contains("${") {
            continue;
        }
        let answer = match resolve(address) {
            Ok(at) => probe::tcp(at, LIMIT).await.map_err(|e| e.to_string()),
            Err(why) => Err(why),
        };
        answers.push(Rehearsed { question: probe.to_string(), failed: answer.err() });
    }
    answers
}

/// Of one question.
const LIMIT: Duration = Duration::from_secs(10);
