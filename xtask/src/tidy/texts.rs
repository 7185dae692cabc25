//! Rules on the text of a file, whatever its language.

use super::Finding;

/// Written in halves, so that this file does not break its own rules.
const LEFTOVERS: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ign", "ore"),
    concat!("FIX", "ME"),
];

const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/ro", "ot/")];

/// Work that was put off, and tests that were switched off.
pub(super) fn leftovers(path: &str, text: &str) -> Vec<Finding> {
    let found = |(index, line): (usize, &str)| {
        let leftover = LEFTOVERS.iter().find(|leftover| line.contains(**leftover))?;
        Some(Finding::at_line(path, index, format!("`{leftover}` must not be committed")))
    };
    text.lines().enumerate().filter_map(found).collect()
}

/// Absolute paths of one person's machine.
pub(super) fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let found = |(index, line): (usize, &str)| {
        let named = MACHINE_PATHS.iter().find(|machine| starts_a_path(line, machine))?;
        Some(Finding::at_line(path, index, format!("`{named}` is a path of one machine only")))
    };
    text.lines().enumerate().filter_map(found).collect()
}

/// Whether the path stands there from its root, not as the middle of a longer one.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~/}*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leftover_is_found() {
        for leftover in LEFTOVERS {
            let text = format!("fn a() {{}}\n// {leftover}\n");
            assert_eq!(leftovers("a.rs", &text).len(), 1, "{leftover}");
        }
        assert_eq!(leftovers("a.rs", "fn todo() {}\n"), []);
    }

    #[test]
    fn a_machine_path_is_found_and_a_longer_path_is_not() {
        for machine in MACHINE_PATHS {
            assert_eq!(machine_paths("a.md", &format!("see `{machine}x`")).len(), 1, "{machine}");
            assert_eq!(machine_paths("a.md", &format!("see `/home{machine}x`")), []);
        }
    }
}
