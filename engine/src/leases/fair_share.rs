//! Weighted max-min fairness by water-filling, in exact integers.

/// What one reporter wants from a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    pub(super) demand: u64,
    pub(super) weight: u32,
}

/// Divides `pool` so that nobody gets more than its demand, and nobody could get more without taking from somebody who
/// has no more per weight. The shares sum to the pool exactly, or to the whole demand if that is less.
pub(super) fn divide(pool: u64, wants: &[Want]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..wants.len()).filter(|&i| wants[i].weight > 0).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (wants[a], wants[b]);
        (u128::from(a.demand) * u128::from(b.weight)).cmp(&(u128::from(b.demand) * u128::from(a.weight)))
    });
    let mut shares = vec![0; wants.len()];
    let mut left = pool;
    let mut weights: u64 = order.iter().map(|&i| u64::from(wants[i].weight)).sum();
    for i in order {
        // Those still to come want at least as much per weight, so that what is rounded off here is never left over.
        let fair = portion(left, u64::from(wants[i].weight), weights);
        shares[i] = fair.min(wants[i].demand);
        left -= shares[i];
        weights -= u64::from(wants[i].weight);
    }
    shares
}

/// Adds what `shares` leave of the pool, in proportion to `parts`. They then sum to the pool exactly, unless all parts
/// are zero.
pub(super) fn divide_rest(pool: u64, shares: &mut [u64], parts: &[u64]) {
    let given: u64 = shares.iter().sum();
    let mut left = pool.saturating_sub(given);
    let mut parts_left: u128 = parts.iter().map(|&part| u128::from(part)).sum();
    for (share, &part) in shares.iter_mut().zip(parts) {
        if parts_left == 0 {
            return;
        }
        let more = (u128::from(left) * u128::from(part) / parts_left) as u64;
        *share += more;
        left -= more;
        parts_left -= u128::from(part);
    }
}

/// `amount * part / whole`, rounded down. More than the amount where `part` is more than the whole.
pub(super) fn portion(amount: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    u64::try_from(u128::from(amount) * u128::from(part) / u128::from(whole)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pool: u64, wants: &[(u64, u32)], expected: &[u64]) {
        let wants: Vec<Want> = wants.iter().map(|&(demand, weight)| Want { demand, weight }).collect();
        assert_eq!(divide(pool, &wants), expected);
    }

    #[test]
    fn small_demands_are_met_and_the_rest_is_divided_equally() {
        check(100, &[(10, 1), (200, 1), (200, 1)], &[10, 45, 45]);
        check(100, &[(10, 1), (20, 1)], &[10, 20]);
        check(5, &[(2, 1), (2, 1), (2, 1)], &[1, 2, 2]);
        check(100, &[], &[]);
        check(0, &[(5, 1)], &[0]);
    }

    #[test]
    fn weights_scale_the_level() {
        check(100, &[(1000, 3), (1000, 1)], &[75, 25]);
        check(100, &[(30, 3), (1000, 1)], &[30, 70]);
        check(100, &[(1000, 0), (1000, 1)], &[0, 100]);
    }

    #[test]
    fn the_rest_goes_in_proportion() {
        let mut shares = vec![10, 20];
        divide_rest(100, &mut shares, &[1, 2]);
        assert_eq!(shares, [33, 67]);
        divide_rest(100, &mut shares, &[0, 0]);
        assert_eq!(shares, [33, 67]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_is_invented(
            pool in prop_oneof![0u64..1000, any::<u64>()],
            wants in prop::collection::vec((prop_oneof![0u64..300, any::<u64>()], 1u32..9), 0..12),
        ) {
            let wants: Vec<Want> = wants.into_iter().map(|(demand, weight)| Want { demand, weight }).collect();
            let shares = divide(pool, &wants);
            let total: u128 = shares.iter().map(|&share| u128::from(share)).sum();
            let demanded: u128 = wants.iter().map(|want| u128::from(want.demand)).sum();
            prop_assert_eq!(total, demanded.min(u128::from(pool)));
            for (share, want) in shares.iter().zip(&wants) {
                prop_assert!(*share <= want.demand);
            }
            // Whoever got less than it wanted is no worse off per weight than anybody else, but for rounding.
            for (i, want) in wants.iter().enumerate().filter(|(i, want)| shares[*i] < want.demand) {
                for (j, other) in wants.iter().enumerate() {
                    let mine = (u128::from(shares[i]) + wants.len() as u128) * u128::from(other.weight);
                    let theirs = u128::from(shares[j].saturating_sub(wants.len() as u64)) * u128::from(want.weight);
                    prop_assert!(mine >= theirs, "{i} has {} and {j} has {}", shares[i], shares[j]);
                }
            }
        }

        #[test]
        fn the_rest_is_divided_exactly(pool in any::<u64>(), parts in prop::collection::vec(any::<u64>(), 1..9)) {
            let mut shares = vec![0; parts.len()];
            divide_rest(pool, &mut shares, &parts);
            let total: u128 = shares.iter().map(|&share| u128::from(share)).sum();
            prop_assert_eq!(total, if parts.iter().all(|&part| part == 0) { 0 } else { u128::from(pool) });
        }
    }
}
