//! From text to a scenario. What is wrong is told with its line and column, and with the key that may have been meant.

use toml::Value;

use super::vars::{BadVariable, Values};
use super::{Scenario, check};

/// A scenario with its variables in place, and its text as a tree, in which stands what is put in later.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// As it is known before it runs.
    pub scenario: Scenario,
    /// The whole as a tree.
    pub tree: Value,
}

/// A scenario that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScenario {
    /// Not what a scenario looks like.
    #[error("{name}:{line}:{column}: {reason}")]
    Text {
        /// Of the file.
        name: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// Its parts do not fit together.
    #[error("{name}: {reason}")]
    Sense {
        /// Of the file.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a scenario. `name` is that of its file; `sets` are values for its variables.
pub fn load(name: &str, text: &str, sets: &[(String, String)]) -> Result<Loaded, BadScenario> {
    let sense = |reason: String| BadScenario::Sense { name: name.to_owned(), reason };
    if text.len() > LONGEST_BYTES {
        return Err(sense("it is longer than 1 MiB, which is no scenario".to_owned()));
    }
    let located = |e: &toml::de::Error| located(name, text, e);
    // Once for what stands where, and once more with all values in place.
    let first: Scenario = toml::from_str(text).map_err(|e| located(&e))?;
    let mut tree: Value = toml::from_str(text).map_err(|e| located(&e))?;
    let values = values(&first, sets).map_err(sense)?;
    let variable = |e: BadVariable| sense(e.to_string());
    values.fill(&mut tree, &is_later).map_err(variable)?;
    let scenario: Scenario =
        tree.clone().try_into().map_err(|e: toml::de::Error| sense(message(&e)))?;
    check::check(&scenario, &tree).map_err(sense)?;
    Ok(Loaded { scenario, tree })
}

/// What is known only when the drill runs.
pub(super) fn is_later(name: &str) -> bool {
    let prefixes = ["port.", "steps.", "secret.", "process."];
    matches!(name, "lab" | "logs" | "mailrig")
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn values(scenario: &Scenario, sets: &[(String, String)]) -> Result<Values, String> {
    let mut values = Values::default();
    for (name, value) in &scenario.variables {
        if is_later(name) || !is_name(name) {
            return Err(format!(
                "`{name}` is no name for a variable: letters, digits, `_` and `-`"
            ));
        }
        if value.contains("${") {
            return Err(format!("the variable `{name}` is made of another one: write its value"));
        }
        values.set(name, value);
    }
    for (name, value) in sets {
        if !scenario.variables.contains_key(name) {
            let hint = hint(name, scenario.variables.keys().map(String::as_str));
            return Err(format!("--set {name}: the scenario has no such variable{hint}"));
        }
        if value.contains("${") {
            return Err(format!("--set {name}: it is made of another variable: write its value"));
        }
        values.set(name, value);
    }
    Ok(values)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn located(name: &str, text: &str, error: &toml::de::Error) -> BadScenario {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    BadScenario::Text { name: name.to_owned(), line, column, reason: message(error) }
}

/// What the reader of TOML says, with the nearest of the keys that it would have taken.
fn message(error: &toml::de::Error) -> String {
    let message = error.message();
    if message == "missing field `argv`" {
        return "`argv` is missing here: the command that is run, and that an `undo` undoes".into();
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some(typed) = quoted.next().filter(|_| is_unknown) else { return message.to_owned() };
    if typed == "undo" {
        return "an `undo` undoes what stands beside it: run = { argv = [...], undo = [...] }"
            .into();
    }
    let kind = if message.starts_with("unknown field") { "key" } else { "kind" };
    let known: Vec<&str> = quoted.collect();
    match nearest(typed, known.iter().copied()) {
        Some(near) => format!("there is no {kind} `{typed}` here; did you mean `{near}`?"),
        None => format!("there is no {kind} `{typed}` here; there are {}", known.join(", ")),
    }
}

/// For the end of a sentence.
pub(super) fn hint<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> String {
    nearest(typed, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn nearest<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = known.map(|name| (strsim::osa_distance(typed, name), name));
    let near = near.filter(|(distance, name)| *distance <= 1 + typed.len().min(name.len()) / 3);
    near.min().map(|(_, name)| name)
}

/// A scenario.
pub const LONGEST_BYTES: usize = 1 << 20;
