//! Rules on Rust sources: heads, sizes, and what a library crate may not do.

use super::Finding;

const MOST_LINES: usize = 500;
/// Files that may be longer, because they are a regular table. None is so far.
const LONG_FILES: &[&str] = &[];

/// What only the binary may do: it alone knows the terminal, the environment and the exit code.
const ONLY_IN_THE_BINARY: &[&str] = &["println!", "eprintln!", "std::env", "process::exit"];
/// Where a library crate may all the same: path, what, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// A file opens with `//!` lines that say what it owns.
pub(super) fn head(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
    let most = if path.ends_with("lib.rs") { 10 } else { 6 };
    match lines {
        0 => Some(Finding::new(path, "opens without a `//!` head that says what it owns")),
        n if n > most => Some(Finding::new(path, format!("a head of {n} lines, more than {most}"))),
        _ => None,
    }
}

pub(super) fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > MOST_LINES && !LONG_FILES.contains(&path))
        .then(|| Finding::new(path, format!("{lines} lines, more than {MOST_LINES}: split it")))
}

/// What a library crate may not do, and the exceptions that were needed.
pub(super) fn library_manners(path: &str, text: &str) -> (Vec<Finding>, Vec<usize>) {
    let (mut findings, mut used) = (Vec::new(), Vec::new());
    if !is_library_code(path) {
        return (findings, used);
    }
    for (index, line) in lines_outside_tests(text) {
        let code = line.split("//").next().unwrap_or_default();
        for &word in ONLY_IN_THE_BINARY {
            // `eprintln!` holds `println!`: it is found under its own name.
            if !code.contains(word) || word == "println!" && code.contains("eprintln!") {
                continue;
            }
            let is_this = |(place, what, _): &(&str, &str, &str)| *place == path && *what == word;
            match EXCEPTIONS.iter().position(is_this) {
                Some(exception) => used.push(exception),
                None => findings.push(Finding::at_line(
                    path,
                    index,
                    format!(
                        "`{word}` is for the binary only: return it, or take it as an argument"
                    ),
                )),
            }
        }
    }
    (findings, used)
}

/// Exceptions only ever get fewer.
pub(super) fn unused_exceptions(used: &[usize]) -> Vec<Finding> {
    let unused = (0..EXCEPTIONS.len()).filter(|exception| !used.contains(exception));
    unused
        .map(|exception| Finding::new(EXCEPTIONS[exception].0, "an exception that is not needed"))
        .collect()
}

fn is_library_code(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_crate = parts.next() == Some("crates") && parts.next() != Some("mailrig");
    let is_source = parts.next() == Some("src");
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
    is_crate && is_source && !is_test
}

/// Lines with their index, without the items under `#[cfg(test)]`. rustfmt closes an item at the
/// indentation of its first line, so no parser is needed.
fn lines_outside_tests(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept.push((index, line));
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        for (_, line) in lines.by_ref() {
            let is_one_line = line.ends_with(';')
                && line.starts_with(indent)
                && !line[indent.len()..].starts_with(' ');
            if line == close || is_one_line {
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_rambling_head_is_found() {
        assert_eq!(head("a.rs", "//! Owns a.\n\nfn a() {}\n"), None);
        assert!(head("a.rs", "fn a() {}\n").is_some());
        assert!(head("a.rs", &"//! more\n".repeat(7)).is_some());
        assert_eq!(head("lib.rs", &"//! more\n".repeat(7)), None);
        assert!(head("lib.rs", &"//! more\n".repeat(11)).is_some());
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(length("a.rs", &"//\n".repeat(MOST_LINES)), None);
        assert!(length("a.rs", &"//\n".repeat(MOST_LINES + 1)).is_some());
    }

    #[test]
    fn a_library_that_acts_like_a_binary_is_found() {
        for word in ONLY_IN_THE_BINARY {
            let text = format!("//! A.\nfn a() {{\n    {word}(1);\n}}\n");
            let (found, _) = library_manners("crates/maildir/src/a.rs", &text);
            assert_eq!(found.len(), 1, "{word}");
            assert_eq!(found[0].place, "crates/maildir/src/a.rs:3");
            assert_eq!(library_manners("crates/mailrig/src/a.rs", &text).0, []);
            assert_eq!(library_manners("crates/maildir/src/a/tests.rs", &text).0, []);
        }
    }

    #[test]
    fn tests_and_comments_may_print_and_what_follows_them_may_not() {
        let text = "// println!\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more {\n    fn a() {\n        println!(\"a\");\n    }\n}\nfn b() {\n    println!(\"b\");\n}\n";
        let (found, _) = library_manners("crates/maildir/src/a.rs", text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "crates/maildir/src/a.rs:11");
    }
}
