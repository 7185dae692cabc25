//! Variables: `${name}` in any text of a scenario, except in names of keys. A value is put in as it is and not looked at
//! again, so that nothing that a program prints can name a secret. `$${` is no variable: a file of the lab has `${` there.

use std::collections::BTreeMap;

use toml::Value;

/// Values by name.
#[derive(Debug, Clone, Default)]
pub struct Values(BTreeMap<String, String>);

/// A variable that cannot be put in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVariable {
    /// Nobody set it.
    #[error("${{{name}}} is not set{hint}")]
    Unknown {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// No closing brace.
    #[error("`{0}` has a `${{` that is not closed")]
    Open(String),
}

impl Values {
    /// Sets one; what was there before is gone.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a name, if it has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Puts values into all texts of a tree. A name that `is_later` stays as it stands.
    pub fn fill(
        &self,
        tree: &mut Value,
        is_later: &dyn Fn(&str) -> bool,
    ) -> Result<(), BadVariable> {
        match tree {
            Value::String(text) => *text = self.fill_text(text, is_later)?,
            Value::Array(items) => {
                for item in items {
                    self.fill(item, is_later)?;
                }
            }
            Value::Table(table) => {
                for (_, value) in table.iter_mut() {
                    self.fill(value, is_later)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The same for one text.
    pub fn fill_text(
        &self,
        text: &str,
        is_later: &dyn Fn(&str) -> bool,
    ) -> Result<String, BadVariable> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            if rest[..at].ends_with('$') {
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            let (name, after) =
                rest[at + 2..].split_once('}').ok_or_else(|| BadVariable::Open(excerpt(text)))?;
            match self.0.get(name) {
                Some(value) => out.push_str(value),
                None if is_later(name) => {
                    out.push_str("${");
                    out.push_str(name);
                    out.push('}');
                }
                None => {
                    let hint = super::parse::hint(name, self.0.keys().map(String::as_str));
                    return Err(BadVariable::Unknown { name: name.to_owned(), hint });
                }
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// The names of variables in a tree.
pub(super) fn names(tree: &Value, take: &mut dyn FnMut(&str)) {
    match tree {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some(at) = rest.find("${") {
                let is_escaped = rest[..at].ends_with('$');
                rest = &rest[at + 2..];
                if is_escaped {
                    continue;
                }
                let Some((name, after)) = rest.split_once('}') else { break };
                take(name);
                rest = after;
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, take)),
        Value::Table(table) => table.values().for_each(|value| names(value, take)),
        _ => {}
    }
}

/// What stands in a file of the lab: `$${` was for its reader.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace("$${", "${")
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}
