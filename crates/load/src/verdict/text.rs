//! Numbers as people read them: three digits or so, and a unit.

use super::metric::Unit;

/// With its unit.
pub(super) fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Us => time(value),
        Unit::Percent => format!("{} %", short(value)),
        Unit::Messages => short(value),
        Unit::PerS => format!("{}/s", short(value)),
    }
}

/// Of microseconds.
pub(super) fn time(us: f64) -> String {
    match us {
        us if us < 999.5 => format!("{us:.0} us"),
        us if us < 999_950.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// Without digits behind the dot that say nothing.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 1.0 => 2,
        size if size >= 0.001 => 4,
        _ => 7,
    };
    let text = format!("{value:.digits$}");
    if digits == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, unit, text) in [
            (0.0, Unit::Us, "0 us"),
            (999.0, Unit::Us, "999 us"),
            (999.9, Unit::Us, "1.0 ms"),
            (12_345.0, Unit::Us, "12.3 ms"),
            (999_999.0, Unit::Us, "1.00 s"),
            (90e6, Unit::Us, "90.00 s"),
            (0.1, Unit::Percent, "0.1 %"),
            (0.0123, Unit::Percent, "0.0123 %"),
            (100.0, Unit::Percent, "100 %"),
            (0.000_012, Unit::Percent, "0.000012 %"),
            (5000.0, Unit::Messages, "5000"),
            (10.0, Unit::Messages, "10"),
            (199.7, Unit::PerS, "200/s"),
            (37.951, Unit::PerS, "37.95/s"),
            (-2.5, Unit::PerS, "-2.5/s"),
        ] {
            assert_eq!(value(number, unit), text);
        }
    }
}
