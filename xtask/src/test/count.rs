//! Reads how many tests passed from what nextest and cargo's own test runner print.

use std::fmt;

/// Tests by outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Count {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Count {
    pub(super) fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Sums the closing lines of all test binaries in an output.
pub(super) fn read(lines: &[String]) -> Count {
    let mut count = Count::default();
    for line in lines {
        let line = without_colours(line);
        // Indented, the same words are what a failed test printed itself, which nextest repeats.
        let outcomes = if let Some(rest) = line.strip_prefix("test result: ") {
            rest.split_once(". ").map(|(_, outcomes)| outcomes)
        } else if line.trim_start().starts_with("Summary [") {
            line.split_once(" run: ").map(|(_, outcomes)| outcomes)
        } else {
            None
        };
        for outcome in outcomes.unwrap_or_default().split([',', ';']) {
            add_outcome(&mut count, outcome);
        }
    }
    count
}

/// Adds one outcome such as `3 passed (1 slow)`. Details that stand in parentheses after a comma
/// are no number first, or repeat what was counted, and fall through.
fn add_outcome(count: &mut Count, outcome: &str) {
    let mut words = outcome.split_whitespace();
    let Some(n) = words.next().and_then(|word| word.parse::<usize>().ok()) else { return };
    match words.next() {
        Some("passed") => count.passed += n,
        Some("failed" | "timed" | "exec") => count.failed += n,
        Some("ignored" | "skipped" | "filtered") => count.skipped += n,
        _ => {}
    }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // An escape sequence ends with its first letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, passed: usize, failed: usize, skipped: usize) {
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        assert_eq!(read(&lines), Count { passed, failed, skipped }, "{output}");
    }

    #[test]
    fn nextest_closing_lines_are_read() {
        check("     Summary [   0.005s] 3 tests run: 3 passed, 0 skipped", 3, 0, 0);
        check(
            "\u{1b}[32;1m     Summary\u{1b}[0m [   9.1s] \u{1b}[1m4\u{1b}[0m tests run: \u{1b}[1m4\u{1b}[0m passed, 1 skipped",
            4,
            0,
            1,
        );
        check(
            "Summary [ 61.2s] 9/12 tests run: 5 passed (2 slow, 1 flaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped",
            5,
            4,
            3,
        );
    }

    #[test]
    fn cargo_closing_lines_are_summed() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.00s\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        check(output, 3, 1, 6);
    }

    #[test]
    fn what_a_failed_test_printed_is_not_counted_again() {
        let output = "  stdout\n    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 177 filtered out\n     Summary [  1.2s] 2 tests run: 1 passed, 1 failed, 3 skipped";
        check(output, 1, 1, 3);
    }

    #[test]
    fn other_output_counts_nothing() {
        check("3 passed, 0 failed\nrunning 3 tests", 0, 0, 0);
    }
}
