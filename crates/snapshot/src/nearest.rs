//! Names that a person may have meant who typed another one.

/// The likeliest of `names`, at most [`SHOWN`]: those that contain what was typed or are contained in
/// it, and those a few letters away, whatever the case.
pub(crate) fn nearest(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let typed = folded(wanted);
    let mut near: Vec<(usize, String)> = Vec::new();
    for name in names {
        if let Some(distance) = distance(&typed, &folded(&name)) {
            near.push((distance, name));
            near.sort();
            near.dedup();
            near.truncate(SHOWN);
        }
    }
    near.into_iter().map(|(_, name)| name).collect()
}

/// `did you mean …?`, or the other sentence if there is nothing near.
pub(crate) fn hint(near: &[String], otherwise: &str) -> String {
    if near.is_empty() {
        return otherwise.to_owned();
    }
    let names: Vec<String> = near.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    format!("did you mean {}?", names.join(" or "))
}

fn folded(name: &str) -> Vec<char> {
    name.chars().take(LENGTH_MAX).flat_map(char::to_lowercase).collect()
}

/// How far apart two names are; `None` if nobody would mix them up.
fn distance(typed: &[char], name: &[char]) -> Option<usize> {
    let (short, long) = if typed.len() < name.len() { (typed, name) } else { (name, typed) };
    let is_part = short.len() >= PART_MIN && long.windows(short.len()).any(|part| part == short);
    let most = (typed.len() / 4).clamp(1, 3);
    let edits = if long.len() - short.len() > most { None } else { Some(edits(short, long)) };
    match edits {
        Some(edits) if edits <= most => Some(edits),
        _ if is_part => Some(most + long.len() - short.len()),
        _ => None,
    }
}

/// Letters to change, add or remove (Levenshtein).
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Names in a hint.
const SHOWN: usize = 3;

/// A part that says something.
const PART_MIN: usize = 3;

/// Letters that are compared.
const LENGTH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_by_a_slip_or_a_part() {
        let names = ["alice@example.org", "bob@example.org", "alina@example.net", "Sent", "Trash"];
        let table: [(&str, &[&str]); 9] = [
            ("alice@exmaple.org", &["alice@example.org"]),
            ("ALICE", &["alice@example.org"]),
            ("alice", &["alice@example.org"]),
            ("alicia@example.org", &["alice@example.org"]),
            ("sent", &["Sent"]),
            ("Snet", &[]),
            ("Set", &["Sent"]),
            ("example", &["bob@example.org", "alice@example.org", "alina@example.net"]),
            ("", &[]),
        ];
        for (typed, expected) in table {
            assert_eq!(nearest(typed, names.map(str::to_owned)), expected, "{typed}");
        }
        assert_eq!(hint(&["a".into(), "b".into()], "x"), "did you mean `a` or `b`?");
        assert_eq!(hint(&[], "x"), "x");
    }
}
