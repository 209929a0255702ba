//! Statuses as codes in a key: the class in the upper bits, the exact status in the lower ones, so that the lower ones can be
//! given up, and codes are in the order of classes.

use crate::key::{MTLS, STATUS};

/// Bits of a code that tell the statuses of one class apart; all 0 where only the class is known.
const EXACT_BITS: u32 = 7;
const EXACT: u32 = (1 << EXACT_BITS) - 1;
/// What a key gives up that keeps only classes.
pub(crate) const EXACT_MASK: u128 = STATUS.put(EXACT);
/// What a key gives up that says nothing of mutual TLS.
pub(crate) const MTLS_MASK: u128 = MTLS.mask();

const CLASSES: [&str; 6] = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The code of a status; 0 for none, and for what is no status.
#[inline]
pub(crate) fn code(status: Option<i16>) -> u32 {
    match status {
        Some(status @ 100..=599) => (status as u32 / 100) << EXACT_BITS | (status as u32 % 100 + 1),
        _ => 0,
    }
}

/// The code of a class without a status.
pub(crate) fn code_of_class(class: &str) -> u32 {
    CLASSES.iter().position(|known| *known == class).unwrap_or(0) as u32 * (1 << EXACT_BITS)
}

/// `1xx` to `5xx`, or empty.
pub(crate) fn class(code: u32) -> &'static str {
    CLASSES.get((code >> EXACT_BITS) as usize).copied().unwrap_or_default()
}

/// The code of the class alone.
pub(crate) fn coarse(code: u32) -> u32 {
    code & !EXACT
}

/// The exact status, where it is known.
pub(crate) fn exact(code: u32) -> Option<i16> {
    let (class, rest) = (code >> EXACT_BITS, code & EXACT);
    (rest > 0).then(|| (class * 100 + rest - 1) as i16)
}

/// Whether requests with this status failed: 5xx, or no status.
#[inline]
pub(crate) fn is_error(code: u32) -> bool {
    matches!(code >> EXACT_BITS, 0 | 5)
}

/// The code of true, false and unknown.
#[inline]
pub(crate) fn code_of_flag(flag: Option<bool>) -> u32 {
    flag.map_or(0, |flag| u32::from(flag) + 1)
}

/// True, false or unknown.
pub(crate) fn flag(code: u32) -> Option<bool> {
    (code > 0).then_some(code > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_come_back_in_order_and_give_up_all_but_their_class() {
        let mut last = 0;
        for status in 100..600 {
            let code = code(Some(status));
            assert!(code > last && code < 1 << 10, "{status}");
            assert_eq!((exact(code), class(code)), (Some(status), &*format!("{}xx", status / 100)));
            let coarse = STATUS.get(STATUS.put(code) & !EXACT_MASK);
            assert_eq!((exact(coarse), class(coarse)), (None, class(code)));
            assert_eq!((coarse, super::coarse(code)), (code_of_class(class(code)), coarse));
            assert_eq!((is_error(code), is_error(coarse)), (status >= 500, status >= 500));
            last = code;
        }
        for none in [None, Some(0), Some(99), Some(600), Some(-1)] {
            assert_eq!((code(none), class(0), exact(0), is_error(0)), (0, "", None, true), "{none:?}");
        }
    }

    #[test]
    fn flags_come_back() {
        for value in [None, Some(false), Some(true)] {
            assert_eq!(flag(MTLS.get(MTLS.put(code_of_flag(value)))), value);
        }
    }
}
