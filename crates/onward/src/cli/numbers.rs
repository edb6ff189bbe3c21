//! Numbers as people read them.

use std::time::Duration;

/// `12431` as `12,431`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1536` as `1.5 KB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let (mut value, mut unit) = (number as f64 / 1000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `350 ms`, `1.4 s`, `2 min 5 s`.
pub fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", duration.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// `1 file`, `2 files`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let texts = [0, 12, 123, 1234, 12_431, 123_456_789].map(grouped);
        assert_eq!(texts, ["0", "12", "123", "1,234", "12,431", "123,456,789"]);
    }

    #[test]
    fn bytes_have_units() {
        let texts = [0, 999, 1000, 1536, 999_949, 1_000_000, 430_000_000].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 KB", "1.5 KB", "999.9 KB", "1.0 MB", "430.0 MB"]);
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        let texts =
            [5, 999, 1400, 125_000, 7_260_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(texts, ["5 ms", "999 ms", "1.4 s", "2 min 5 s", "2 h 1 min"]);
    }
}
