//! Times and durations as the HTTP API's parameters write them.

/// Times beyond this many seconds from the epoch, about 31,000 years, are refused.
const FAR_S: f64 = 1e12;

/// Seconds since the epoch with a fraction, or RFC 3339: milliseconds since the epoch.
///
/// # Errors
/// What is wrong with the text, as Prometheus says it.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.abs() <= FAR_S
    {
        return Ok((seconds * 1000.0).round() as i64);
    }
    rfc3339(text).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Seconds with a fraction, or a duration such as `1h30m`: milliseconds.
///
/// # Errors
/// What is wrong with the text, as Prometheus says it.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.abs() <= FAR_S
    {
        return Ok((seconds * 1000.0).round() as i64);
    }
    units(text).ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// Numbers and units, from the longest to the shortest, each at most once.
fn units(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut total_ms, mut allowed) = (text, 0_i64, UNITS.as_slice());
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let at = allowed.iter().position(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.parse::<i64>().ok()?.checked_mul(allowed[at].1)?)?;
        (rest, allowed) = (tail, &allowed[at + 1..]);
    }
    (!text.is_empty() && total_ms as f64 <= FAR_S * 1000.0).then_some(total_ms)
}

/// `2015-07-01T20:10:51.781Z`, or with an offset such as `+02:00`.
fn rfc3339(text: &str) -> Option<i64> {
    let field = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten()
    };
    let separator = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|byte| allowed.contains(byte));
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let separated =
        separator(4, b"-") && separator(7, b"-") && separator(10, b"Tt") && separator(13, b":") && separator(16, b":");
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !separated || !in_range {
        return None;
    }
    let rest = text.get(19..)?;
    let fraction = rest.strip_prefix('.').map_or(0, |tail| tail.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction_ms, zone) = match rest.strip_prefix('.') {
        Some(_) if fraction == 0 => return None,
        Some(tail) => {
            let digits: String = tail[..fraction].chars().chain("000".chars()).take(3).collect();
            (digits.parse::<i64>().ok()?, &tail[fraction..])
        }
        None => (0, rest),
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s(zone)?;
    Some(seconds * 1000 + fraction_ms)
}

fn offset_s(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str, max: i64| {
        let number: i64 = digits.parse().ok()?;
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) && number <= max).then_some(number)
    };
    Some(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60))
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch, in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_time(text).ok(), expected, "{text}");
        check("1435781451.781", Some(1_435_781_451_781));
        check("0", Some(0));
        check("-1.5", Some(-1500));
        check("1e9", Some(1_000_000_000_000));
        check("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781));
        check("2015-07-01T22:10:51.7819+02:00", Some(1_435_781_451_781));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("2023-02-29T00:00:00Z", None);
        check("1969-12-31T23:59:59Z", Some(-1000));
        for wrong in [
            "",
            "NaN",
            "Inf",
            "1e300",
            "now",
            "2015-07-01",
            "2015-07-01T20:10:51",
            "2015-07-01T20:10:51.Z",
            "2015-07-01T20:10:51Zé",
            "é015-07-01T20:10:51Z",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn reads_durations() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_duration(text).ok(), expected, "{text}");
        check("15", Some(15_000));
        check("0.5", Some(500));
        check("1m", Some(60_000));
        check("1h30m", Some(5_400_000));
        check("1d2h3m4s5ms", Some(93_784_005));
        for wrong in ["", "m", "1x", "1m1h", "1h1h", "-1m", "1 m", "NaN", "999999999999999999y"] {
            check(wrong, None);
        }
    }
}
