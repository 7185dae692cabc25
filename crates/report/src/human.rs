//! Numbers for people. The raw ones stand beside them in the page, so these may be rounded.

/// `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Microseconds: `850 µs`, `12.3 ms`, `2.10 s`, `2 min 05 s`, `1 h 02 min`.
pub(crate) fn us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        // What would be rounded to `1000 ms` is a second.
        1_000..999_500 => format!("{} ms", three_digits(us as f64 / 1e3)),
        999_500..99_950_000 => format!("{} s", three_digits(us as f64 / 1e6)),
        _ => {
            let s = us.saturating_add(500_000) / 1_000_000;
            let (h, min) = (s / 3600, s / 60 % 60);
            if h > 0 { format!("{h} h {min:02} min") } else { format!("{min} min {:02} s", s % 60) }
        }
    }
}

/// A rate: `1,234.5/s`.
pub(crate) fn per_s(rate: f64) -> String {
    if rate.is_finite() { format!("{}/s", decimal(rate)) } else { NONE.to_owned() }
}

/// A slope: a rate with its sign.
pub(crate) fn slope(rate: f64) -> String {
    match rate {
        rate if !rate.is_finite() => NONE.to_owned(),
        rate if rate > 0.0 => format!("+{}", per_s(rate)),
        rate if rate < 0.0 => format!("−{}", per_s(-rate)),
        _ => per_s(0.0),
    }
}

/// A part of one: `12.3 %`.
pub(crate) fn share(part: f64) -> String {
    match part * 100.0 {
        percent if !percent.is_finite() => NONE.to_owned(),
        percent if percent > 0.0 && percent < 0.095 => format!("{percent:.3} %"),
        percent => format!("{percent:.1} %"),
    }
}

/// A quantile: `99.9 %`, with the digits it needs.
pub(crate) fn quantile(q: f64) -> String {
    let percent = format!("{:.5}", q * 100.0);
    let short = percent.trim_end_matches('0').trim_end_matches('.');
    if q.is_finite() { format!("{short} %") } else { NONE.to_owned() }
}

/// Bytes in binary units: `12.3 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let (mut value, mut unit) = (n as f64, 0);
    // What would be rounded to `1024 KiB` is a MiB.
    while value >= 1023.5 && unit + 1 < BYTE_UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 { n.to_string() } else { three_digits(value) };
    format!("{digits} {}", BYTE_UNITS[unit])
}

/// Seconds of a short run: `7.5 s`.
pub(crate) fn seconds(s: f64) -> String {
    if s.is_finite() { format!("{} s", (s * 100.0).round() / 100.0) } else { NONE.to_owned() }
}

/// Seconds as a clock shows them: `1:05`, `1:02:05`.
pub(crate) fn clock(s: f64) -> String {
    if !s.is_finite() {
        return NONE.to_owned();
    }
    // A cast of a float saturates.
    let s = s.max(0.0).round() as u64;
    let (h, min, s) = (s / 3600, s / 60 % 60, s % 60);
    if h > 0 { format!("{h}:{min:02}:{s:02}") } else { format!("{min}:{s:02}") }
}

/// Microseconds at a tick, which are round: `2 ms`, `500 µs`.
pub(crate) fn tick_us(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", decimal(value))
}

/// A number at a tick: `12,000`, `0.5`.
pub(crate) fn tick(value: f64) -> String {
    decimal(value)
}

/// A rate at a tick.
pub(crate) fn tick_per_s(value: f64) -> String {
    format!("{}/s", decimal(value))
}

/// One digit after the point where it says something, three for what is below one.
fn decimal(value: f64) -> String {
    let places = if value.abs() < 1.0 { 1000.0 } else { 10.0 };
    let rounded = (value.abs() * places).round() / places;
    let (whole, part) = (rounded.trunc(), (rounded.fract() * places).round());
    let sign = if value < 0.0 && rounded > 0.0 { "−" } else { "" };
    if part == 0.0 {
        return format!("{sign}{}", count(whole as u64));
    }
    let part = if places > 10.0 { format!("{part:03}") } else { part.to_string() };
    format!("{sign}{}.{}", count(whole as u64), part.trim_end_matches('0'))
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

const BYTE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Stands where no number can.
pub(crate) const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (shown, asked) in [
            (count(0), "0"),
            (count(999), "999"),
            (count(1_000), "1,000"),
            (count(u64::MAX), "18,446,744,073,709,551,615"),
            (us(0), "0 µs"),
            (us(850), "850 µs"),
            (us(1_000), "1.00 ms"),
            (us(12_345), "12.3 ms"),
            (us(999_499), "999 ms"),
            (us(999_500), "1.00 s"),
            (us(2_100_000), "2.10 s"),
            (us(99_949_999), "99.9 s"),
            (us(99_950_000), "1 min 40 s"),
            (us(125_400_000), "2 min 05 s"),
            (us(3_720_000_000), "1 h 02 min"),
            (per_s(1_234.5), "1,234.5/s"),
            (per_s(200.0), "200/s"),
            (per_s(0.05), "0.05/s"),
            (per_s(999.96), "1,000/s"),
            (per_s(f64::NAN), "–"),
            (slope(2.5), "+2.5/s"),
            (slope(-0.25), "−0.25/s"),
            (slope(0.0), "0/s"),
            (share(0.1234), "12.3 %"),
            (share(0.0005), "0.050 %"),
            (share(f64::INFINITY), "–"),
            (quantile(0.999), "99.9 %"),
            (quantile(1.0), "100 %"),
            (quantile(0.5), "50 %"),
            (bytes(1_023), "1023 B"),
            (bytes(1_048_575), "1.00 MiB"),
            (bytes(12_900_000), "12.3 MiB"),
            (clock(65.2), "1:05"),
            (clock(3_725.0), "1:02:05"),
            (clock(-1.0), "0:00"),
            (clock(f64::NAN), "–"),
            (seconds(7.5), "7.5 s"),
            (tick_us(500.0), "500 µs"),
            (tick_us(2_000.0), "2 ms"),
            (tick_us(1e6), "1 s"),
            (tick(12_000.0), "12,000"),
            (tick(0.5), "0.5"),
        ] {
            assert_eq!(shown, asked);
        }
    }

    #[test]
    fn the_greatest_numbers_do_not_overflow() {
        assert!(us(u64::MAX).ends_with(" min"));
        assert!(bytes(u64::MAX).ends_with(" PiB"));
        assert!(per_s(f64::MAX).ends_with("/s"));
    }
}
