//! The project's own rules, those that no compiler lint holds: each is a function from text to
//! findings, so that its test can show that it fails. The whole runs as a test too.

mod edges;
mod packages;
mod sources;
mod texts;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// One broken rule: where, and what to do about it.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    place: String,
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { place: place.into(), what: what.into() }
    }

    fn at_line(path: &str, index: usize, what: impl Into<String>) -> Finding {
        Finding::new(format!("{path}:{}", index + 1), what)
    }
}

pub(crate) fn run() -> Result<()> {
    let findings = findings()?;
    for finding in &findings {
        eprintln!("{}: {}", finding.place, finding.what);
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("tidy found {n} broken rules, listed above"),
    }
}

fn findings() -> Result<Vec<Finding>> {
    let mut findings = edges::check(&edges::read_metadata()?);
    let root = workspace::root();
    let mut exceptions_used = Vec::new();
    for path in workspace::files()? {
        let bytes = std::fs::read(root.join(&path)).with_context(|| format!("reading {path}"))?;
        // Fixtures that are not text follow no rule of these.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        findings.extend(texts::machine_paths(&path, &text));
        if path.ends_with(".rs") {
            findings.extend(texts::leftovers(&path, &text));
            findings.extend(sources::head(&path, &text));
            findings.extend(sources::length(&path, &text));
            let (found, used) = sources::library_manners(&path, &text);
            findings.extend(found);
            exceptions_used.extend(used);
        }
        if path == "Cargo.lock" {
            findings.extend(packages::cap(&text));
        }
        if path.starts_with("docs/schema/") && path.ends_with(".json") {
            findings.extend(schema(&path, &text));
        }
    }
    findings.extend(sources::unused_exceptions(&exceptions_used));
    Ok(findings)
}

fn schema(path: &str, text: &str) -> Option<Finding> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(schema)) if schema.contains_key("$schema") => None,
        Ok(_) => Some(Finding::new(path, "a schema is an object with a `$schema`")),
        Err(error) => Some(Finding::new(path, format!("not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        let findings = findings().expect("tidy can run");
        assert!(findings.is_empty(), "{findings:#?}");
    }

    #[test]
    fn a_schema_must_parse() {
        let schema_line = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema"}"#;
        assert_eq!(schema("docs/schema/a.json", schema_line), None);
        assert!(schema("docs/schema/a.json", "{").is_some());
        assert!(schema("docs/schema/a.json", "[]").is_some());
    }
}
