//! Parquet's hybrid of run lengths and bit packing, for numbers of few bits: definition levels and places in a dictionary.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#run-length-encoding--bit-packing-hybrid-rle--3>

/// Numbers that are packed together.
const GROUP: usize = 8;

/// Bits that every number up to `most` fits into.
pub(super) fn bits(most: u32) -> u8 {
    (u32::BITS - most.leading_zeros()) as u8
}

/// Bits that are taken for numbers up to `most`. With whole bytes zstd sees which numbers are frequent, and which follow one another;
/// few bits it repeats well as they are, and two bytes of one number are of different kinds.
pub(super) fn stored_bits(most: u32) -> u8 {
    match bits(most) {
        4..=8 => 8,
        bits => bits,
    }
}

/// Appends numbers, each of which fits into `bits`. Those behind the last one, up to a full group, are 0.
pub(super) fn encode(numbers: &[u32], bits: u8, into: &mut Vec<u8>) {
    let (mut packed_from, mut at) = (0, 0);
    while at < numbers.len() {
        let run = run_length(&numbers[at..]);
        // What comes before a run is packed in whole groups, which takes some of the run.
        let fill = (at - packed_from).next_multiple_of(GROUP) - (at - packed_from);
        let is_all = at == 0 && run == numbers.len();
        if is_all || run >= fill + GROUP {
            pack(&numbers[packed_from..at + fill], bits, into);
            repeat(numbers[at], run - fill, bits, into);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&numbers[packed_from..], bits, into);
}

/// Appends one number as often as it occurs.
pub(super) fn repeat(number: u32, times: usize, bits: u8, into: &mut Vec<u8>) {
    if times > 0 {
        varint((times as u64) << 1, into);
        into.extend_from_slice(&number.to_le_bytes()[..usize::from(bits.div_ceil(8))]);
    }
}

fn pack(numbers: &[u32], bits: u8, into: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    varint((groups as u64) << 1 | 1, into);
    let bytes = into.len() + groups * usize::from(bits);
    let (mut pending, mut pending_bits) = (0_u64, 0_u32);
    for number in numbers {
        pending |= u64::from(*number) << pending_bits;
        pending_bits += u32::from(bits);
        if pending_bits >= 32 {
            into.extend_from_slice(&(pending as u32).to_le_bytes());
            pending >>= 32;
            pending_bits -= 32;
        }
    }
    into.extend_from_slice(&pending.to_le_bytes()[..pending_bits.div_ceil(8) as usize]);
    into.resize(bytes, 0);
}

/// How often the first number is repeated.
fn run_length(numbers: &[u32]) -> usize {
    let Some(first) = numbers.first() else { return 0 };
    numbers.iter().position(|number| number != first).unwrap_or(numbers.len())
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads what [`encode`] writes, by the specification.
    fn decode(mut bytes: &[u8], bits: u8, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let (byte, rest) = bytes.split_first().unwrap();
                bytes = rest;
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let runs = (header >> 1) as usize;
            if header & 1 == 0 {
                let (value, rest) = bytes.split_at(usize::from(bits.div_ceil(8)));
                bytes = rest;
                let value = value.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                numbers.extend(std::iter::repeat_n(value, runs));
            } else {
                let (packed, rest) = bytes.split_at(runs * usize::from(bits));
                bytes = rest;
                let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
                let value = |n: usize| (0..usize::from(bits)).map(|i| bit(n * usize::from(bits) + i) << i).sum::<u32>();
                numbers.extend((0..runs * GROUP).map(value));
            }
        }
        assert!(bytes.is_empty() && numbers.len() < count + GROUP);
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn numbers_come_back(runs in prop::collection::vec((any::<u32>(), 1_usize..40), 0..60), most in any::<u32>(), shift in 0_u32..32) {
            let most = most >> shift;
            let numbers: Vec<u32> = runs
                .iter()
                .flat_map(|(number, times)| std::iter::repeat_n((u64::from(*number) % (u64::from(most) + 1)) as u32, *times))
                .collect();
            let mut bytes = Vec::new();
            encode(&numbers, bits(most), &mut bytes);
            prop_assert_eq!(decode(&bytes, bits(most), numbers.len()), numbers);
        }
    }

    #[test]
    fn one_number_over_and_over_takes_few_bytes() {
        for count in [1, 7, 8, 20_000] {
            let mut bytes = Vec::new();
            encode(&vec![5; count], 3, &mut bytes);
            assert!(bytes.len() <= 4, "{count}: {bytes:?}");
            assert_eq!(decode(&bytes, 3, count), vec![5; count]);
        }
    }
}
