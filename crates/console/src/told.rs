//! Times and numbers as people read them. All times are UTC and say so.

use kernel::Timestamp;

/// A moment to the second: `2026-11-24 02:25:40`.
pub(crate) fn clock(at: Timestamp) -> String {
    at.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

/// A moment for machines, as `<time datetime>` wants it.
pub(crate) fn machine(at: Timestamp) -> String {
    at.to_string()
}

/// How long ago: `just now`, `12 s ago`, `3 min ago`, `2 h ago`, `5 days ago`.
pub(crate) fn ago(now: Timestamp, at: Timestamp) -> String {
    match now.since(at).as_secs() {
        0..=1 => "just now".to_owned(),
        seconds => format!("{} ago", span(seconds)),
    }
}

/// A span of seconds in its largest fitting unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number with its thousands apart: `12,345`.
pub(crate) fn grouped(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A list's length as shown where at most `most` were counted.
pub(crate) fn counted(rows: usize, most: usize) -> String {
    if rows > most { format!("{most}+") } else { rows.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(-12_345_678), "-12,345,678");
        let at = Timestamp::from_seconds(1_795_487_140);
        assert_eq!(clock(at), "2026-11-24 02:25:40");
        let later = |seconds: i64| Timestamp::from_seconds(1_795_487_140 + seconds);
        for (seconds, text) in
            [(0_i64, "just now"), (59, "59 s ago"), (200, "3 min ago"), (7_200, "2 h ago")]
        {
            assert_eq!(ago(later(seconds), at), text);
        }
        assert_eq!(ago(later(-50), at), "just now");
        assert_eq!(counted(201, 200), "200+");
    }
}
