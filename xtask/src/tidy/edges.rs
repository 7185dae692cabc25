//! Which crate may depend on which. Only normal dependencies count: a test may reach further.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::workspace;

/// The whole direction of the project in one table; a crate that is not in it is not allowed.
const ALLOWED: &[(&str, &[&str])] = &[
    ("drill", &["load", "maildir", "probe", "smtp"]),
    ("load", &["smtp"]),
    ("maildir", &[]),
    ("mailrig", &["drill", "load", "maildir", "probe", "report", "smtp", "snapshot"]),
    ("probe", &["smtp"]),
    ("report", &[]),
    ("smtp", &["maildir"]),
    ("snapshot", &["maildir"]),
    ("xtask", &[]),
];

pub(super) fn read_metadata() -> Result<Value> {
    let metadata = workspace::cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .stdout()?;
    serde_json::from_str(&metadata).context("cannot read what `cargo metadata` printed")
}

pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let members: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    if members.is_empty() {
        findings.push(Finding::new("cargo metadata", "lists no packages"));
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(from, _)| *from == name) else {
            findings.push(Finding::new(name, "a crate that the table of edges does not hold"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"].is_null() && members.contains(&to) && !allowed.contains(&to) {
                findings.push(Finding::new(name, format!("may not depend on `{to}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_edge(from: &str, to: &str, kind: Value) -> Value {
        json!({"packages": [
            {"name": from, "dependencies": [{"name": to, "kind": kind}, {"name": "serde", "kind": null}]},
            {"name": to, "dependencies": []},
        ]})
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        let found = check(&with_edge("maildir", "snapshot", Value::Null));
        assert_eq!(found, [Finding::new("maildir", "may not depend on `snapshot`")]);
        assert_eq!(check(&with_edge("snapshot", "maildir", Value::Null)), []);
    }

    #[test]
    fn a_test_may_depend_on_any_crate() {
        assert_eq!(check(&with_edge("maildir", "snapshot", json!("dev"))), []);
    }

    #[test]
    fn an_unlisted_crate_is_found() {
        assert_eq!(check(&with_edge("utils", "maildir", Value::Null)).len(), 1);
        assert_eq!(check(&json!({})).len(), 1);
    }
}
