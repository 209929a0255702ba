//! From a duration to its bucket and back, without a logarithm.

/// Buckets per power of two.
const PER_OCTAVE: i32 = 8;
/// Bucket of the least duration above zero, 1 us.
pub(crate) const INDEX_MIN: i32 = -1;
/// Bucket of the greatest duration of 64 bits.
pub(crate) const INDEX_MAX: i32 = 64 * PER_OCTAVE - 1;

/// One sixteenth of an octave: no more than one boundary between buckets lies in it.
struct Slot {
    /// Bucket, counted from the octave's first, of what is at most the boundary.
    below: i32,
    /// floor(2^(63 + j/8)) for some j. Values are integers and the boundaries between powers of two irrational, so that
    /// comparing with the floor is exact.
    boundary: u64,
}

const fn slot(below: i32, boundary: u64) -> Slot {
    Slot { below, boundary }
}

const SLOTS: [Slot; 16] = [
    slot(-1, 1 << 63),
    slot(0, 0x8b95_c1e3_ea8b_d6e6),
    slot(1, u64::MAX),
    slot(1, 0x9837_f051_8db8_a96f),
    slot(2, 0xa5fe_d6a9_b151_38ea),
    slot(3, u64::MAX),
    slot(3, 0xb504_f333_f9de_6484),
    slot(4, u64::MAX),
    slot(4, 0xc567_2a11_5506_dadd),
    slot(5, u64::MAX),
    slot(5, 0xd744_fcca_d69d_6af4),
    slot(6, u64::MAX),
    slot(6, u64::MAX),
    slot(6, 0xeac0_c6e7_dd24_392e),
    slot(7, u64::MAX),
    slot(7, u64::MAX),
];

/// The bucket of a duration of at least 1 us: the `i` with 2^(i/8) < `duration_us` <= 2^((i+1)/8), exactly.
///
/// Zero has no bucket; it is taken for 1.
#[inline]
#[must_use]
pub const fn bucket_index(duration_us: u64) -> i32 {
    let leading = (duration_us | 1).leading_zeros();
    let mantissa = (duration_us | (duration_us == 0) as u64) << leading;
    let octave = 63 - leading as i32;
    let slot = &SLOTS[(mantissa >> 59 & 15) as usize];
    octave * PER_OCTAVE + slot.below + (mantissa > slot.boundary) as i32
}

/// Upper bound of a bucket, which belongs to it.
#[must_use]
pub fn bucket_upper_us(index: i32) -> f64 {
    (f64::from(index + 1) / f64::from(PER_OCTAVE)).exp2()
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    /// `value` to the eighth power, as sixteen 32-bit digits, lowest first: exact arithmetic to compare with.
    fn eighth_power(value: u64) -> [u32; 16] {
        let mut power = [0_u32; 16];
        power[0] = 1;
        for _ in 0..8 {
            let mut product = [0_u32; 16];
            for (shift, digit) in [value as u32, (value >> 32) as u32].into_iter().enumerate() {
                let mut carry = 0_u64;
                for at in 0..16 - shift {
                    let sum = u64::from(product[at + shift]) + u64::from(power[at]) * u64::from(digit) + carry;
                    product[at + shift] = sum as u32;
                    carry = sum >> 32;
                }
                assert_eq!(carry, 0, "the power fits into 512 bits");
            }
            power = product;
        }
        power
    }

    /// Compares `value` with 2^(`eighths`/8).
    fn compare(value: u64, eighths: i32) -> Ordering {
        if eighths < 0 {
            return Ordering::Greater;
        }
        if eighths >= 512 {
            return Ordering::Less;
        }
        let mut boundary = [0_u32; 16];
        boundary[eighths as usize / 32] = 1 << (eighths % 32);
        eighth_power(value).iter().rev().cmp(boundary.iter().rev())
    }

    fn check(value: u64) {
        let index = bucket_index(value);
        assert!((INDEX_MIN..=INDEX_MAX).contains(&index), "{value} is in bucket {index}");
        assert_eq!(compare(value, index), Ordering::Greater, "{value} is above the lower bound of bucket {index}");
        assert_ne!(compare(value, index + 1), Ordering::Greater, "{value} is at most the upper bound of {index}");
    }

    #[test]
    fn every_boundary_is_exact() {
        (1..=100_000).for_each(check);
        for index in INDEX_MIN..=INDEX_MAX {
            // The last integer of the bucket, found by halving with exact comparisons, and the one after it.
            let (mut least, mut greatest) = (0_u64, u64::MAX);
            while least < greatest {
                let middle = least + (greatest - least).div_ceil(2);
                if compare(middle, index + 1) == Ordering::Greater { greatest = middle - 1 } else { least = middle }
            }
            [least, least.saturating_add(1)].into_iter().filter(|value| *value > 0).for_each(check);
        }
        check(u64::MAX);
        assert_eq!((bucket_index(0), bucket_index(1)), (-1, -1));
    }

    #[test]
    fn upper_bounds_are_powers_of_the_base() {
        assert_eq!(bucket_upper_us(-1), 1.0);
        assert_eq!(bucket_upper_us(7), 2.0);
        assert_eq!(bucket_upper_us(79), 1_024.0);
        assert!((bucket_upper_us(0) - 2_f64.powf(0.125)).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn any_value_is_within_its_bucket(value in 1_u64.., shift in 0_u32..64) {
            check((value >> shift).max(1));
        }
    }
}
