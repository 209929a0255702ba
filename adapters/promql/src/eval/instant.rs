//! Functions of one number.

use std::f64::consts::PI;

/// The function of this name.
pub(super) fn of_number(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sqrt" => f64::sqrt,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |value| value * 180.0 / PI,
        "rad" => |value| value * PI / 180.0,
        "sgn" => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        _ => return None,
    })
}

/// The function of this name, of seconds since the epoch; nothing for a number that is no time.
pub(super) fn of_time(name: &str) -> Option<fn(f64) -> Option<f64>> {
    Some(match name {
        "minute" => |seconds| Some(whole(seconds)?.div_euclid(60).rem_euclid(60) as f64),
        "hour" => |seconds| Some(whole(seconds)?.div_euclid(3600).rem_euclid(24) as f64),
        // The epoch was a Thursday.
        "day_of_week" => |seconds| Some((days(seconds)? + 4).rem_euclid(7) as f64),
        "day_of_month" => |seconds| Some(date(days(seconds)?).2 as f64),
        "day_of_year" => |seconds| {
            let days = days(seconds)?;
            Some((days - first_day(date(days).0) + 1) as f64)
        },
        "days_in_month" => |seconds| {
            let (year, month, _) = date(days(seconds)?);
            let leap = first_day(year + 1) - first_day(year) == 366;
            Some(match month {
                2 if leap => 29.0,
                2 => 28.0,
                4 | 6 | 9 | 11 => 30.0,
                _ => 31.0,
            })
        },
        "month" => |seconds| Some(date(days(seconds)?).1 as f64),
        "year" => |seconds| Some(date(days(seconds)?).0 as f64),
        _ => return None,
    })
}

/// Greater of the two; NaN if one of them is.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Lesser of the two; NaN if one of them is.
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn whole(seconds: f64) -> Option<i64> {
    (seconds.abs() < 1e14).then_some(seconds as i64)
}

fn days(seconds: f64) -> Option<i64> {
    Some(whole(seconds)?.div_euclid(86_400))
}

/// Days from the epoch to the first of January.
fn first_day(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// Year, month and day of the month (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
