//! Moments as the shop writes them: RFC 3339, read strictly, so that a time never means another.

use kernel::Timestamp;

/// The longest text that can be one: a date, a time, 9 digits of a second, an offset.
const LONGEST: usize = 35;

/// Reads an RFC 3339 date-time; finer parts than microseconds are cut off. A leap second is none.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    if text.len() > LONGEST || !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't'])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let days = days(date)?;
    let [hour, minute, second] = three(time, ':')?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    let micros = micros(fraction)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    Some(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Three numbers of two digits.
fn three(text: &str, sign: char) -> Option<[i64; 3]> {
    let mut parts = text.split(sign);
    let mut next = || parts.next().filter(|part| part.len() == 2).and_then(number);
    let three = [next()?, next()?, next()?];
    parts.next().is_none().then_some(three)
}

fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let cut = fraction.get(..6).unwrap_or(fraction);
    let scale = 10_i64.pow(6 - u32::try_from(cut.len()).ok()?);
    Some(number(cut)? * scale)
}

/// The zone's offset in seconds, to be taken off.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970-01-01 of a date, in the proleptic Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let (year, rest) = date.split_at_checked(4)?;
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    if month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_the_kernel_writes(
            micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000,
        ) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(read(&at.to_string()), Some(at));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}") {
            let _ = read(&text);
        }

        #[test]
        fn almost_moments_are_read_without_a_panic(
            text in "[0-9]{1,5}-[0-9]{1,3}-[0-9]{2}[Tt ][0-9:]{8}[.]?[0-9]{0,10}[Z+-]?[0-9:]{0,6}",
        ) {
            let _ = read(&text);
        }
    }

    #[test]
    fn offsets_and_fractions() {
        let at = Timestamp::from_seconds(1_795_487_140);
        for text in [
            "2026-11-24T02:25:40Z",
            "2026-11-24t02:25:40.000000z",
            "2026-11-24T03:25:40+01:00",
            "2026-11-23T21:55:40.0-04:30",
        ] {
            assert_eq!(read(text), Some(at), "{text}");
        }
        let fine = read("2026-11-24T02:25:40.123456789Z").unwrap();
        assert_eq!(fine.micros() - at.micros(), 123_456);
        for text in [
            "2026-11-24",
            "2026-11-24T02:25:40",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T23:59:60Z",
            "2026-11-24 02:25:40Z",
            "2026-11-24T02:25:40.Z",
            "2026-11-24T02:25:40+1:00",
            "+026-11-24T02:25:40Z",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
